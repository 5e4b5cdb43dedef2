"""The chart's manifests are valid by Kubernetes' schemas, and fit each other and the server."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from server.app import create_app
from server.settings import Settings

# Kinds that operators bring: Kubernetes has no schema of them.
CUSTOM = {"ServiceMonitor", "PrometheusRule", "ScaledObject"}


def selects(selector: dict[str, str], labels: dict[str, str]) -> bool:
    return selector.items() <= labels.items()


@pytest.mark.parametrize("version", ["1.30", "1.37"])
def test_manifests_are_valid(chart: Any, values: dict[str, Any], version: str) -> None:
    kinds = set()
    for document in chart.documents(values):
        kinds.add(document["kind"])
        if document["kind"] not in CUSTOM:
            assert chart.kubernetes_validate.validate(document, version, strict=True) == version
    assert {"Deployment", "Service", "ServiceAccount", "PodDisruptionBudget", "NetworkPolicy"} <= kinds


def test_the_validator_would_notice(chart: Any) -> None:
    wrong = chart.only(chart.open, "Deployment")
    wrong["spec"]["template"]["spec"]["containers"][0]["livenessprobe"] = {}
    with pytest.raises(chart.kubernetes_validate.ValidationError):
        chart.kubernetes_validate.validate(wrong, "1.37", strict=True)


def test_custom_kinds_have_the_fields_their_operators_know(chart: Any) -> None:
    monitor = chart.only(chart.everything, "ServiceMonitor")
    assert monitor["apiVersion"] == "monitoring.coreos.com/v1"
    assert monitor["spec"].keys() == {"selector", "endpoints"}
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint.keys() == {"port", "path", "interval", "authorization"}
    assert endpoint["authorization"] == {"credentials": {"name": "scrape", "key": "key"}}

    rule = chart.only(chart.everything, "PrometheusRule")
    assert rule["apiVersion"] == "monitoring.coreos.com/v1"
    assert rule["spec"] == yaml.safe_load(chart.rules)  # with Prometheus' own templates untouched

    scaled = chart.only(chart.sets["h100-keda"], "ScaledObject")
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
    assert behaviour == chart.only(chart.sets["cpu"], "HorizontalPodAutoscaler")["spec"]["behavior"]


def test_paths_and_metrics_are_the_servers(chart: Any, clean: pytest.MonkeyPatch) -> None:
    app = create_app(Settings())
    routes = {getattr(route, "path", "") for route in app.routes}
    container = chart.server(chart.open)
    (endpoint,) = chart.only(chart.everything, "ServiceMonitor")["spec"]["endpoints"]
    requested = {container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "readiness", "liveness")}
    assert requested | {endpoint["path"]} <= set(app.openapi()["paths"]) | routes
    exposition = app.state.services.metrics.render().decode()
    (metric,) = chart.only(chart.sets["cpu"], "HorizontalPodAutoscaler")["spec"]["metrics"]
    (trigger,) = chart.only(chart.sets["h100-keda"], "ScaledObject")["spec"]["triggers"]
    name = metric["pods"]["metric"]["name"]
    assert f"\n{name} " in exposition and f"sum({name}{{" in trigger["metadata"]["query"]


def test_nothing_runs_as_root_or_may_become_more(chart: Any, values: dict[str, Any]) -> None:
    pods = [one["spec"]["template"]["spec"] for one in chart.documents(values) if one["kind"] in ("Deployment", "Job")]
    assert len(pods) == (2 if values.get("convert", {}).get("enabled") else 1)
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
    accounts = chart.find(values, "ServiceAccount")
    assert [account["automountServiceAccountToken"] for account in accounts] == [False]


def test_ports_have_one_name(chart: Any, values: dict[str, Any]) -> None:
    container = chart.server(values)
    (port,) = container["ports"]
    (service_port,) = chart.only(values, "Service")["spec"]["ports"]
    assert service_port["targetPort"] == service_port["name"] == port["name"]
    assert {container[f"{kind}Probe"]["httpGet"]["port"] for kind in ("startup", "readiness", "liveness")} == {"http"}
    for monitor in chart.find(values, "ServiceMonitor"):
        assert [endpoint["port"] for endpoint in monitor["spec"]["endpoints"]] == [service_port["name"]]
    (rule,) = chart.find(values, "NetworkPolicy")[0]["spec"]["ingress"]
    assert rule["ports"] == [{"port": port["name"], "protocol": "TCP"}]
    for ingress in chart.find(values, "Ingress"):
        for path in ingress["spec"]["rules"][0]["http"]["paths"]:
            assert path["backend"]["service"] == {"name": "flashu", "port": {"name": service_port["name"]}}


def test_selectors_find_the_server_and_only_it(chart: Any, values: dict[str, Any]) -> None:
    labels = chart.pod(values)["metadata"]["labels"]
    service = chart.only(values, "Service")
    selectors = [
        chart.only(values, "Deployment")["spec"]["selector"]["matchLabels"],
        service["spec"]["selector"],
        chart.only(values, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        chart.find(values, "NetworkPolicy")[0]["spec"]["podSelector"]["matchLabels"],
        *(spread["labelSelector"]["matchLabels"] for spread in chart.pod(values)["spec"]["topologySpreadConstraints"]),
    ]
    assert all(selects(selector, labels) for selector in selectors)
    for monitor in chart.find(values, "ServiceMonitor"):
        assert selects(monitor["spec"]["selector"]["matchLabels"], service["metadata"]["labels"])
    for job in chart.find(values, "Job"):
        others = job["spec"]["template"]["metadata"]["labels"]
        assert not any(selects(selector, others) for selector in selectors)
        assert selects(chart.find(values, "NetworkPolicy")[1]["spec"]["podSelector"]["matchLabels"], others)


def test_one_accelerator_on_the_right_nodes(chart: Any) -> None:
    for name in ("a100", "h100-keda"):
        resources = chart.server(chart.sets[name])["resources"]
        assert resources["limits"]["nvidia.com/gpu"] == resources["requests"]["nvidia.com/gpu"] == 1
        assert "cpu" not in resources["limits"]
        spec = chart.pod(chart.sets[name])["spec"]
        affinity = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        (expression,) = affinity["nodeSelectorTerms"][0]["matchExpressions"]
        assert expression["key"] == "nvidia.com/gpu.product"
        assert all(name[:4].upper() in product for product in expression["values"])
        assert [toleration["key"] for toleration in spec["tolerations"]] == ["nvidia.com/gpu"]
    on_cpu = chart.server(chart.sets["cpu"])["resources"]
    assert not any(key.startswith("nvidia") for amounts in on_cpu.values() for key in amounts)


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
def test_traffic_goes_out_only_where_it_has_to(chart: Any, given: dict[str, Any], ports: list[int]) -> None:
    whole = {**chart.open, **given}
    dns, *rest = chart.only(whole, "NetworkPolicy")["spec"]["egress"]
    assert {(port["port"], port["protocol"]) for port in dns["ports"]} == {(53, "UDP"), (53, "TCP")}
    assert [port["port"] for rule in rest for port in rule["ports"]] == ports
    for rule in rest:
        blocks = {peer["ipBlock"]["cidr"]: peer["ipBlock"]["except"] for peer in rule["to"]}
        private = {"10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"}
        assert set(blocks["0.0.0.0/0"]) == private
    online = bool(given.get("settings", {}).get("model") == "someone/mine" and "hub" not in given)
    assert chart.variables(whole)["HF_HUB_OFFLINE"] == ("0" if online else "1")


def test_traffic_comes_in_from_named_namespaces(chart: Any) -> None:
    (rule,) = chart.only(chart.sets["h100-keda"], "NetworkPolicy")["spec"]["ingress"]
    named = [peer["namespaceSelector"]["matchLabels"] for peer in rule["from"] if "namespaceSelector" in peer]
    assert [labels["kubernetes.io/metadata.name"] for labels in named] == ["ingress-nginx", "monitoring"]
    assert [peer for peer in rule["from"] if "namespaceSelector" not in peer] == [{"podSelector": {}}]


def test_a_secret_of_ones_own_is_mounted_and_none_is_made(chart: Any) -> None:
    assert chart.find(chart.sets["a100"], "Secret") == [] and chart.find(chart.sets["cpu"], "Secret") == []
    volumes = {volume["name"]: volume for volume in chart.pod(chart.sets["a100"])["spec"]["volumes"]}
    assert volumes["keys"]["secret"]["secretName"] == "flashu-keys"
    assert "keys" not in {volume["name"] for volume in chart.pod(chart.sets["cpu"])["spec"]["volumes"]}
