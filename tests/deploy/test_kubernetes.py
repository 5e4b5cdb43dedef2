"""The Helm chart: rendered by Helm's own engine, checked against Kubernetes' schemas, held to what the server is."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from server import __version__
from server.app import create_app
from server.keys import PROBES, KeyRing
from server.settings import PREFIX, Settings

ROOT = Path(__file__).parents[2]
HERE = ROOT / "deploy" / "kubernetes"


def tool(name: str) -> Any:
    """A package of the extra `ops`; where it has to be there (FLASHU_OPS=1), its lack is a failure."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        if os.environ.get("FLASHU_OPS") == "1":
            raise
        pytest.skip(f"{name} is not installed: pip install -c constraints.txt -e '.[ops]'", allow_module_level=True)


helm = tool("helm_python")
kubernetes_validate = tool("kubernetes_validate")
_spec = importlib.util.spec_from_file_location("render", HERE / "render.py")
assert _spec is not None and _spec.loader is not None
render = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(render)

SETS = {file.stem: helm.values_from_yaml(file.read_text("utf-8")) for file in render.VALUES}
OPEN = {"keys": {"open": True}}
# Kinds that operators bring: Kubernetes has no schema of them.
CUSTOM = {"ServiceMonitor", "PrometheusRule", "ScaledObject"}
RULES = """
groups:
  - name: flashu
    rules:
      - alert: FlashuUnready
        expr: up == 0
        annotations: {summary: "{{ $labels.pod }} is down"}
"""
# Everything that a set of values leaves out, switched on.
ALL = {
    "keys": {"values": {"team-a": "abcdefgh12"}},
    "image": {"digest": "sha256:" + "0" * 64, "pullSecrets": ["registry"]},
    "settings": {"model": "someone/show-o2", "remote_images": True},
    "nodeSelector": {"pool": "gpu"},
    "runtimeClassName": "nvidia",
    "podLabels": {"team": "a"},
    "podAnnotations": {"note": "1"},
    "hub": {"tokenSecret": {"name": "hub"}},
    "convert": {"enabled": True},
    "networkPolicy": {"extraEgress": [{"to": [{"podSelector": {}}], "ports": [{"port": 4318, "protocol": "TCP"}]}]},
    "cache": {"storageClass": "fast"},
    "extraEnv": [{"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": "http://collector:4318"}],
    "monitoring": {
        "serviceMonitor": {"enabled": True, "bearerSecret": {"name": "scrape"}},
        "prometheusRule": {"enabled": True, "rules": RULES},
    },
}
CASES = {**SETS, "defaults": OPEN, "all": ALL}


def documents(values: dict[str, Any]) -> list[dict[str, Any]]:
    return [one for text in render.rendered(values).values() for one in yaml.safe_load_all(text) if one]


def find(values: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [one for one in documents(values) if one["kind"] == kind]


def only(values: dict[str, Any], kind: str) -> dict[str, Any]:
    (found,) = find(values, kind)
    return found


def pod(values: dict[str, Any]) -> dict[str, Any]:
    template: dict[str, Any] = only(values, "Deployment")["spec"]["template"]
    return template


def server(values: dict[str, Any]) -> dict[str, Any]:
    (container,) = pod(values)["spec"]["containers"]
    return dict(container)


def variables(values: dict[str, Any]) -> dict[str, str]:
    entries = server(values)["env"]
    assert len({entry["name"] for entry in entries}) == len(entries)
    return {entry["name"]: entry.get("value", "") for entry in entries}


def selects(selector: dict[str, str], labels: dict[str, str]) -> bool:
    return selector.items() <= labels.items()


@pytest.fixture(params=CASES)
def values(request: pytest.FixtureRequest) -> dict[str, Any]:
    return CASES[request.param]


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment without settings of ours."""
    for name in list(os.environ):
        if name.upper().startswith(PREFIX):
            monkeypatch.delenv(name)
    return monkeypatch


def settings_of(values: dict[str, Any], clean: pytest.MonkeyPatch) -> Settings:
    """What the server makes of a container's variables; it refuses those it does not know."""
    for name, value in variables(values).items():
        if name.startswith(PREFIX):
            clean.setenv(name, value)
    return Settings()


def test_lint_has_nothing_to_say(values: dict[str, Any]) -> None:
    report = helm.lint(render.CHART, values, strict=True, kube_version="v1.30.0")
    told = [message["error"] for message in report["messages"]]
    assert report["errors"] == [] and told == ["icon is recommended"]


def test_generated_files_are_as_they_should_be() -> None:
    for path, text in render.outputs().items():
        assert path.read_text("utf-8") == text, f"{path.relative_to(ROOT)}: run python deploy/kubernetes/render.py"
    assert {file.name for file in (HERE / "rendered").iterdir()} == {file.name for file in render.VALUES}


@pytest.mark.parametrize("version", ["1.30", "1.37"])
def test_manifests_are_valid(values: dict[str, Any], version: str) -> None:
    kinds = set()
    for document in documents(values):
        kinds.add(document["kind"])
        if document["kind"] not in CUSTOM:
            assert kubernetes_validate.validate(document, version, strict=True) == version
    assert {"Deployment", "Service", "ServiceAccount", "PodDisruptionBudget", "NetworkPolicy"} <= kinds


def test_the_validator_would_notice() -> None:
    wrong = only(OPEN, "Deployment")
    wrong["spec"]["template"]["spec"]["containers"][0]["livenessprobe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, "1.37", strict=True)


def test_custom_kinds_have_the_fields_their_operators_know() -> None:
    monitor = only(ALL, "ServiceMonitor")
    assert monitor["apiVersion"] == "monitoring.coreos.com/v1"
    assert monitor["spec"].keys() == {"selector", "endpoints"}
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint.keys() == {"port", "path", "interval", "authorization"}
    assert endpoint["authorization"] == {"credentials": {"name": "scrape", "key": "key"}}

    rule = only(ALL, "PrometheusRule")
    assert rule["apiVersion"] == "monitoring.coreos.com/v1"
    assert rule["spec"] == yaml.safe_load(RULES)  # with Prometheus' own templates untouched

    scaled = only(SETS["h100-keda"], "ScaledObject")
    assert scaled["apiVersion"] == "keda.sh/v1alpha1"
    assert scaled["spec"].keys() == {
        *(
            "scaleTargetRef",
            "pollingInterval",
            "minReplicaCount",
            "maxReplicaCount",
            "fallback",
            "advanced",
            "triggers",
        ),
    }
    (trigger,) = scaled["spec"]["triggers"]
    assert trigger.keys() == {"type", "metricType", "metadata"} and trigger["metricType"] == "AverageValue"
    assert trigger["metadata"].keys() == {"serverAddress", "query", "threshold"}
    assert all(isinstance(value, str) for value in trigger["metadata"].values())  # KEDA takes text only
    behaviour = scaled["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert behaviour == only(SETS["cpu"], "HorizontalPodAutoscaler")["spec"]["behavior"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"settings": {"max_bach": 4}}, "max_bach"),
        ({"settings": {"host": "::"}}, "host"),
        ({"settings": {"port": 1}}, "port"),
        ({"settings": {"api_keys": "abcdefgh12"}}, "api_keys"),
        ({"settings": {"api_key_file": "/etc/keys"}}, "api_key_file"),
        ({"settings": {"max_batch": "8"}}, "max_batch"),
        ({"settings": {"max_batch": 0}}, "max_batch"),
        ({"settings": {"max_batch": 2.5}}, "max_batch"),
        ({"settings": {"dtype": "int8"}}, "dtype"),
        ({"settings": {"remote_images": "yes"}}, "remote_images"),
        ({"settings": {"load_timeout_s": None}}, "load_timeout_s"),
        ({"replica": 2}, "replica"),
        ({"replicas": "2"}, "replicas"),
        ({"gpu": {"count": 2}}, "count"),
        ({"user": 0}, "user"),
        ({"preStopSeconds": 0}, "preStopSeconds"),
        ({"autoscaling": {"kind": "vpa"}}, "kind"),
        ({"autoscaling": {"minReplicas": 0}}, "minReplicas"),
        ({"keys": {"open": False, "values": {"a": "short"}}}, "keys/values"),
        ({"keys": {"open": False, "values": {"a b": "abcdefgh12"}}}, "a b"),
        ({"extraEnv": [{"name": "FLASHU_MAX_BATCH", "value": "8"}]}, "extraEnv"),
        ({"extraEnv": [{"name": "flashu_max_batch", "value": "8"}]}, "extraEnv"),
        ({"networkPolicy": {"allow": True}}, "allow"),
    ],
)
def test_the_schema_refuses(wrong: dict[str, Any], said: str) -> None:
    render.rendered(OPEN)
    with pytest.raises(helm.HelmValuesError, match=re.escape(said)):
        render.rendered({**OPEN, **wrong})


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"keys": {}}, "keys: 0 of"),
        ({"keys": {"open": True, "existingSecret": "mine"}}, "keys: 2 of"),
        ({"replicas": 2}, "accessMode"),
        ({"strategy": {"maxSurge": 1}}, "accessMode"),
        ({"strategy": {"maxUnavailable": 0}}, "no pod could ever be replaced"),
        ({"autoscaling": {"kind": "hpa"}}, "accessMode"),
        ({"autoscaling": {"kind": "hpa", "minReplicas": 5}, "cache": {"enabled": False}}, "minReplicas: 5"),
        ({"autoscaling": {"kind": "keda", "backlogSeconds": 10}, "cache": {"enabled": False}}, "backlogSeconds: 10"),
        ({"convert": {"enabled": True}, "cache": {"enabled": False}}, "convert.enabled"),
        ({"monitoring": {"prometheusRule": {"enabled": True, "rules": "- a"}}}, "no file of rules"),
        ({"monitoring": {"prometheusRule": {"enabled": True}}}, "no file of rules"),
        (
            {
                "keys": {"existingSecret": "mine"},
                "settings": {"open_metrics": False},
                "monitoring": {"serviceMonitor": {"enabled": True}},
            },
            "bearerSecret",
        ),
    ],
)
def test_templates_refuse_values_that_do_not_go_together(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(helm.HelmRenderError, match=re.escape(said)):
        render.rendered({**OPEN, **wrong})


def test_values_know_every_setting_of_the_server_but_the_charts_own() -> None:
    known = json.loads(render.SCHEMA.read_text("utf-8"))["properties"]["settings"]["properties"]
    assert known.keys() == Settings.model_fields.keys() - render.SET_BY_CHART
    assert Settings.model_fields.keys() >= render.SET_BY_CHART


def another_value(field: dict[str, Any]) -> Any:
    """A value that its schema allows and that is written in the way most likely to go wrong."""
    if "enum" in field:
        return field["enum"][-1]
    if field["type"] == "integer":
        return field["maximum"]
    if field["type"] == "number":
        return 0.0625
    return True if field["type"] == "boolean" else "a: 'b' \"c\" {{ d }}"


def test_every_setting_arrives_as_it_was_written(clean: pytest.MonkeyPatch) -> None:
    fields = json.loads(render.SCHEMA.read_text("utf-8"))["properties"]["settings"]["properties"]
    given = {name: another_value(field) for name, field in fields.items()}
    settings = settings_of({**OPEN, "settings": given}, clean)
    assert {name: getattr(settings, name) for name in given} == given


def test_containers_are_told_nothing_that_the_server_does_not_know(
    values: dict[str, Any], clean: pytest.MonkeyPatch
) -> None:
    settings = settings_of(values, clean)
    assert settings.host == "0.0.0.0"
    assert [settings.port] == [port["containerPort"] for port in server(values)["ports"]]
    assert pod(values)["spec"]["enableServiceLinks"] is False


def test_defaults_are_the_servers_own() -> None:
    with helm.Chart.load(render.CHART) as chart:
        given = chart.values["settings"]
        assert chart.version == __version__ and chart.metadata["appVersion"] == __version__
    fields = Settings.model_fields
    assert {name: fields[name].default for name in render.NEEDED} == {name: given[name] for name in render.NEEDED}
    assert given.keys() == {*render.NEEDED, "log_format"}


@pytest.mark.parametrize("shutdown", [1, 30, 3600])
@pytest.mark.parametrize("pre_stop", [1, 10, 3600])
def test_the_grace_outlasts_the_drain(shutdown: int, pre_stop: int) -> None:
    given = {**OPEN, "preStopSeconds": pre_stop, "settings": {"shutdown_timeout_s": shutdown}}
    container = server(given)
    assert container["lifecycle"] == {"preStop": {"sleep": {"seconds": pre_stop}}}
    # the worker has 5 s to end after the last request, and the process has to end too
    assert pod(given)["spec"]["terminationGracePeriodSeconds"] >= pre_stop + shutdown + 10


@pytest.mark.parametrize("load", [0.5, 1, 599.5, 600, 601, 86_400])
def test_probes_ask_what_they_should_for_as_long_as_loading_may_take(load: float) -> None:
    container = server({**OPEN, "settings": {"load_timeout_s": load}})
    paths = {kind: container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "readiness", "liveness")}
    assert paths == {"startup": "/readyz", "readiness": "/readyz", "liveness": "/livez"}
    assert set(paths.values()) <= PROBES  # no key is asked for there
    startup = container["startupProbe"]
    budget = startup["periodSeconds"] * startup["failureThreshold"]
    assert load + 60 <= budget < load + 80
    assert (
        only({**OPEN, "settings": {"load_timeout_s": load}}, "Deployment")["spec"]["progressDeadlineSeconds"] > budget
    )


def test_paths_and_metrics_are_the_servers(clean: pytest.MonkeyPatch) -> None:
    app = create_app(Settings())
    routes = {getattr(route, "path", "") for route in app.routes}
    container = server(OPEN)
    (endpoint,) = only(ALL, "ServiceMonitor")["spec"]["endpoints"]
    asked = {container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "readiness", "liveness")}
    assert asked | {endpoint["path"]} <= set(app.openapi()["paths"]) | routes
    told = app.state.services.metrics.render().decode()
    (metric,) = only(SETS["cpu"], "HorizontalPodAutoscaler")["spec"]["metrics"]
    (trigger,) = only(SETS["h100-keda"], "ScaledObject")["spec"]["triggers"]
    name = metric["pods"]["metric"]["name"]
    assert f"\n{name} " in told and f"sum({name}{{" in trigger["metadata"]["query"]


def test_nothing_runs_as_root_or_may_become_more(values: dict[str, Any]) -> None:
    pods = [one["spec"]["template"]["spec"] for one in documents(values) if one["kind"] in ("Deployment", "Job")]
    assert len(pods) == (2 if values is ALL else 1)
    for spec in pods:
        assert spec["automountServiceAccountToken"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & spec.keys()
        security = spec["securityContext"]
        assert security["runAsNonRoot"] is True and security["runAsUser"] > 0 and security["runAsGroup"] > 0
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
            assert mounts.keys() == {volume["name"] for volume in spec["volumes"]}
            assert not any("hostPath" in volume for volume in spec["volumes"])
            writable = [mount["mountPath"] for mount in mounts.values() if not mount.get("readOnly")]
            assert sorted(writable) == ["/cache", "/tmp"]
            places = {entry["name"]: entry.get("value", "") for entry in container["env"]}
            assert all(places[name].startswith("/cache") for name in ("HOME", "HF_HOME"))
    accounts = find(values, "ServiceAccount")
    assert [account["automountServiceAccountToken"] for account in accounts] == [False]


def test_ports_have_one_name(values: dict[str, Any]) -> None:
    container = server(values)
    (port,) = container["ports"]
    (service_port,) = only(values, "Service")["spec"]["ports"]
    assert service_port["targetPort"] == service_port["name"] == port["name"]
    assert {container[f"{kind}Probe"]["httpGet"]["port"] for kind in ("startup", "readiness", "liveness")} == {"http"}
    for monitor in find(values, "ServiceMonitor"):
        assert [endpoint["port"] for endpoint in monitor["spec"]["endpoints"]] == [service_port["name"]]
    (rule,) = find(values, "NetworkPolicy")[0]["spec"]["ingress"]
    assert rule["ports"] == [{"port": port["name"], "protocol": "TCP"}]
    for ingress in find(values, "Ingress"):
        for path in ingress["spec"]["rules"][0]["http"]["paths"]:
            assert path["backend"]["service"] == {"name": "flashu", "port": {"name": service_port["name"]}}


def test_selectors_find_the_server_and_only_it(values: dict[str, Any]) -> None:
    labels = pod(values)["metadata"]["labels"]
    service = only(values, "Service")
    selectors = [
        only(values, "Deployment")["spec"]["selector"]["matchLabels"],
        service["spec"]["selector"],
        only(values, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        find(values, "NetworkPolicy")[0]["spec"]["podSelector"]["matchLabels"],
        *(spread["labelSelector"]["matchLabels"] for spread in pod(values)["spec"]["topologySpreadConstraints"]),
    ]
    assert all(selects(selector, labels) for selector in selectors)
    for monitor in find(values, "ServiceMonitor"):
        assert selects(monitor["spec"]["selector"]["matchLabels"], service["metadata"]["labels"])
    for job in find(values, "Job"):
        others = job["spec"]["template"]["metadata"]["labels"]
        assert not any(selects(selector, others) for selector in selectors)
        assert selects(find(values, "NetworkPolicy")[1]["spec"]["podSelector"]["matchLabels"], others)


def test_one_accelerator_on_the_right_nodes() -> None:
    for name in ("a100", "h100-keda"):
        resources = server(SETS[name])["resources"]
        assert resources["limits"]["nvidia.com/gpu"] == resources["requests"]["nvidia.com/gpu"] == 1
        assert "cpu" not in resources["limits"]
        spec = pod(SETS[name])["spec"]
        affinity = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        (expression,) = affinity["nodeSelectorTerms"][0]["matchExpressions"]
        assert expression["key"] == "nvidia.com/gpu.product"
        assert all(name[:4].upper() in product for product in expression["values"])
        assert [toleration["key"] for toleration in spec["tolerations"]] == ["nvidia.com/gpu"]
    on_cpu = server(SETS["cpu"])["resources"]
    assert not any(key.startswith("nvidia") for amounts in on_cpu.values() for key in amounts)


@pytest.mark.parametrize("kind", ["none", "hpa", "keda"])
def test_one_thing_at_most_decides_on_replicas(kind: str) -> None:
    given = {**OPEN, "replicas": 3, "cache": {"enabled": False}, "autoscaling": {"kind": kind}}
    kinds = {one["kind"] for one in documents(given)}
    scalers = {"hpa": {"HorizontalPodAutoscaler"}, "keda": {"ScaledObject"}, "none": set()}[kind]
    assert kinds & {"HorizontalPodAutoscaler", "ScaledObject"} == scalers
    assert only(given, "Deployment")["spec"].get("replicas") == (3 if kind == "none" else None)


@pytest.mark.parametrize(
    ("given", "ports"),
    [
        ({}, []),
        ({"settings": {"model": "/cache/models/mine"}}, []),
        ({"settings": {"model": "someone/mine"}}, [443]),
        ({"settings": {"model": "someone/mine"}, "hub": {"offline": True}}, []),
        ({"settings": {"remote_images": True}}, [443, 80]),
    ],
)
def test_traffic_goes_out_only_where_it_has_to(given: dict[str, Any], ports: list[int]) -> None:
    whole = {**OPEN, **given}
    dns, *rest = only(whole, "NetworkPolicy")["spec"]["egress"]
    assert {(port["port"], port["protocol"]) for port in dns["ports"]} == {(53, "UDP"), (53, "TCP")}
    assert [port["port"] for rule in rest for port in rule["ports"]] == ports
    for rule in rest:
        blocks = {peer["ipBlock"]["cidr"]: peer["ipBlock"]["except"] for peer in rule["to"]}
        inside = {"10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"}
        assert set(blocks["0.0.0.0/0"]) == inside
    online = bool(given.get("settings", {}).get("model") == "someone/mine" and "hub" not in given)
    assert variables(whole)["HF_HUB_OFFLINE"] == ("0" if online else "1")


def test_traffic_comes_in_from_named_namespaces() -> None:
    (rule,) = only(SETS["h100-keda"], "NetworkPolicy")["spec"]["ingress"]
    named = [peer["namespaceSelector"]["matchLabels"] for peer in rule["from"] if "namespaceSelector" in peer]
    assert [labels["kubernetes.io/metadata.name"] for labels in named] == ["ingress-nginx", "monitoring"]
    assert [peer for peer in rule["from"] if "namespaceSelector" not in peer] == [{"podSelector": {}}]


def test_keys_arrive_as_a_file_that_the_server_reads(tmp_path: Path, clean: pytest.MonkeyPatch) -> None:
    given = {"keys": {"values": {"team-a": "abcdefgh12", "team-b": "/+~._-AZ09=="}}}
    secret = only(given, "Secret")
    volume = next(volume for volume in pod(given)["spec"]["volumes"] if volume["name"] == "keys")["secret"]
    mount = next(mount for mount in server(given)["volumeMounts"] if mount["name"] == "keys")
    assert volume["secretName"] == secret["metadata"]["name"] and volume["defaultMode"] == 0o440
    assert "subPath" not in mount  # such a file would never change
    (item,) = volume["items"]
    assert settings_of(given, clean).api_key_file == Path(mount["mountPath"], item["path"])
    file = tmp_path / "keys"
    file.write_text(secret["stringData"][item["key"]], "utf-8")
    ring = KeyRing(file=file)
    assert [ring.name_of(key) for key in (b"abcdefgh12", b"/+~._-AZ09==", b"other")] == ["team-a", "team-b", None]


def test_a_secret_of_ones_own_is_mounted_and_none_is_made() -> None:
    assert find(SETS["a100"], "Secret") == [] and find(SETS["cpu"], "Secret") == []
    volumes = {volume["name"]: volume for volume in pod(SETS["a100"])["spec"]["volumes"]}
    assert volumes["keys"]["secret"]["secretName"] == "flashu-keys"
    assert "keys" not in {volume["name"] for volume in pod(SETS["cpu"])["spec"]["volumes"]}


def snippets() -> list[tuple[bool, str]]:
    """README's commands, and whether they need a cluster."""
    text = (HERE / "README.md").read_text("utf-8")
    found = re.findall(r"(?:^|\n)([^\n]*)\n+```sh\n(.*?)```", text, re.DOTALL)
    return [(before.rstrip(":").endswith("(needs a cluster)"), script) for before, script in found]


def test_readme_says_which_commands_need_a_cluster() -> None:
    text = (HERE / "README.md").read_text("utf-8")
    assert text.count("```sh\n") == len(snippets())
    for needs_cluster, script in snippets():
        assert needs_cluster == bool(re.search(r"^\s*(helm|kubectl)\b", script, re.MULTILINE)), script


@pytest.mark.parametrize("script", [script for needs_cluster, script in snippets() if not needs_cluster])
def test_readmes_other_commands_run(script: str) -> None:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_readmes_values_are_values() -> None:
    """What README's `--set` and values files name is in the schema."""
    for needs_cluster, script in snippets():
        for options in re.findall(r"--set[= ](\S+)", script) if needs_cluster else []:
            with helm.Chart.load(render.CHART) as chart:
                chart.validate_schema(helm.parse_set_string(options))
        for file in re.findall(r"deploy/kubernetes/values/\S+", script):
            assert (ROOT / file).is_file()
