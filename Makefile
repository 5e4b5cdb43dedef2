# `make serve` starts the server, `make test` runs every check and test. Both install what they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 8000

.PHONY: serve test check lint install clean

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
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -n 2

clean:
	rm -rf $(VENV) build dist *.egg-info
