# `make serve` starts the server, `make test` runs every check and test, `make fix` and `make test-fast` are for between edits,
# `make docs` builds the documentation site, `make ops` and `make ops-e2e` try what operators use, `make bare` tries the first
# two on a bare machine. All install what they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 8000

.PHONY: serve test test-fast check fix docs docs-serve install clients clients-packages clients-open-webui ops ops-e2e container bare clean

$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test,bench]'
	touch $@

install: $(VENV)/.installed

serve: install
	$(BIN)/flashu serve --port $(PORT)

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: check
	@# Each takes half of the tests as they stand, so that what a module's tests share is started once. One thread in every
	@# process: there are more of them than cores, and threads that wait for each other's cores spin.
	OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m "not ops and not packages and not container and not clients"

# What ruff can repair: formatting, order of imports, simple lint.
fix: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Under a minute on two cores: the engine with tiny random weights, routing of intents, and admission in the server. Left to
# `make test`: sockets, worker processes, decoding of pictures, benchmarks, shapes, deployment, documents.
FAST := tests/acceleration tests/checkpoint tests/engine tests/model tests/pathways tests/text tests/server/intent \
	tests/server/worker/test_admission.py tests/server/worker/test_backlog.py tests/server/test_suggestions.py \
	tests/test_config.py tests/test_contracts.py tests/test_timing.py tests/test_types.py

test-fast: install
	OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -q -n 2 --dist worksteal -m "not gpu" \
		--ignore tests/engine/test_memory_growth.py $(FAST)

$(VENV)/.docs: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test,bench,docs]'
	touch $@

# The site in build/site, strictly: a link that leads nowhere is an error. Its tests need the built site.
docs: $(VENV)/.docs
	$(BIN)/python -m docs.reference --check
	$(BIN)/python -m docs.site build
	CHECK_DOCS=1 $(BIN)/python -m pytest -q tests/docs/test_site.py

DOCS_ADDRESS ?= 127.0.0.1:8001

docs-serve: $(VENV)/.docs
	$(BIN)/python -m docs.site serve --address $(DOCS_ADDRESS)

CLIENTS := .venv-clients

$(CLIENTS)/.installed: tests/clients/requirements.txt tests/clients/constraints.txt
	test -x $(CLIENTS)/bin/python || $(PYTHON) -m venv $(CLIENTS)
	@# Compiling all of it takes as long again; what is imported is compiled then.
	$(CLIENTS)/bin/python -m pip install --quiet --no-compile --constraint tests/clients/constraints.txt --requirement tests/clients/requirements.txt
	touch $@

tests/clients/npm/node_modules/.installed: tests/clients/npm/package-lock.json
	@# Only what promptfoo cannot do without: its optional packages take another gigabyte.
	cd tests/clients/npm && npm ci --omit=optional --no-audit --no-fund --fetch-retries=1 && touch node_modules/.installed || \
		echo "without npm and its registry there are no packages of Node's; their tests are skipped" >&2

clients-packages: $(CLIENTS)/.installed tests/clients/npm/node_modules/.installed

# Other people's clients, against a server with the embedded model. Two gigabytes are installed once.
clients: install clients-packages
	CLIENTS_SERVER=$(BIN)/flashu $(CLIENTS)/bin/python -m pytest -c tests/clients/pytest.ini tests/clients

# Open WebUI besides, in an environment of its own, for it pins what the others use.
clients-open-webui: clients
	test -x .venv-open-webui/bin/python || $(PYTHON) -m venv .venv-open-webui
	.venv-open-webui/bin/python -m pip install --quiet torch==2.13.0 open-webui==0.12.4
	CLIENTS_SERVER=$(BIN)/flashu $(CLIENTS)/bin/python -m pytest -c tests/clients/pytest.ini tests/clients/test_open_webui.py

$(VENV)/.ops: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test,bench,ops,ray,locust]'
	touch $@

# Everything that needs neither root nor Debian's packages: files for containers, Kubernetes and Grafana, replicas, locust.
ops: $(VENV)/.ops
	@echo "== the chart renders to what is checked in, valid by Kubernetes' own schemas"
	$(BIN)/python deploy/kubernetes/render.py --check
	$(BIN)/kubernetes-validate --strict --no-warn deploy/kubernetes/rendered/*.yaml
	@echo "== Dockerfile, scripts and Compose; chart; rules and dashboards; Ray Serve with two replicas; locust"
	CHECK_OPS=1 HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -m "not packages and not container" \
		tests/deploy tests/load_tests/test_locustfile.py

# Real Prometheus and Alertmanager on loopback, from Debian's packages; needs root to install them.
ops-e2e: $(VENV)/.ops
	deploy/install_packages.sh prometheus prometheus-alertmanager
	PYTHON=$(BIN)/python deploy/check_prometheus.sh
	@echo "== a real Prometheus watches a server under load: the queue's alert comes and goes, every panel has its data"
	CHECK_OPS=1 HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -m packages tests/deploy/test_watching.py

# Builds the image, starts it and asks it for a picture; needs root.
container: $(VENV)/.ops
	deploy/install_packages.sh buildah debootstrap
	CHECK_CONTAINER=1 $(BIN)/python -m pytest tests/deploy/test_container.py

# README's two commands in a Debian that has only Python, make and git; needs root.
bare:
	deploy/install_packages.sh debootstrap
	deploy/check_bare.sh

clean:
	rm -rf $(VENV) $(CLIENTS) .venv-open-webui tests/clients/npm/node_modules build dist *.egg-info
