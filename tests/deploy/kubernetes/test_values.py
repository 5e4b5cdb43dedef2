"""The chart accepts the values that the server accepts, and computes others from them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from server import __version__
from server.middleware.keys import PROBES, KeyRing
from server.settings import Settings

ROOT = Path(__file__).parents[3]


def test_lint_has_nothing_to_say(chart: Any, values: dict[str, Any]) -> None:
    report = chart.helm.lint(chart.render.CHART, values, strict=True, kube_version="v1.30.0")
    warnings = [message["error"] for message in report["messages"]]
    assert report["errors"] == [] and warnings == ["icon is recommended"]


def test_generated_files_are_as_they_should_be(chart: Any) -> None:
    for path, text in chart.render.outputs().items():
        assert path.read_text("utf-8") == text, (
            f"{path.relative_to(ROOT)}: run python deploy/kubernetes/chart.render.py"
        )
    assert {file.name for file in (chart.render.HERE / "rendered").iterdir()} == {
        file.name for file in chart.render.VALUES
    }


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
def test_the_schema_refuses(chart: Any, wrong: dict[str, Any], said: str) -> None:
    chart.rendered(chart.open)
    with pytest.raises(chart.helm.HelmValuesError, match=re.escape(said)):
        chart.rendered({**chart.open, **wrong})


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
def test_templates_refuse_values_that_do_not_go_together(chart: Any, wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(chart.helm.HelmRenderError, match=re.escape(said)):
        chart.rendered({**chart.open, **wrong})


def test_values_know_every_setting_of_the_server_but_the_charts_own(chart: Any) -> None:
    known = json.loads(chart.render.SCHEMA.read_text("utf-8"))["properties"]["settings"]["properties"]
    assert known.keys() == Settings.model_fields.keys() - chart.render.SET_BY_CHART
    assert Settings.model_fields.keys() >= chart.render.SET_BY_CHART


def another_value(field: dict[str, Any]) -> Any:
    """A value that its schema allows and that is written in the way most likely to go wrong."""
    if "enum" in field:
        return field["enum"][-1]
    if field["type"] == "integer":
        return field["maximum"]
    if field["type"] == "number":
        return 0.0625
    if field["type"] == "boolean":
        return True
    texts = ("a: 'b' \"c\" {{ d }}", "/~1.0", "http://a:1/'b'\"c\"{{d}}")
    return next(text for text in texts if re.search(field.get("pattern", ""), text))


def test_every_setting_arrives_as_it_was_written(chart: Any, clean: pytest.MonkeyPatch) -> None:
    fields = json.loads(chart.render.SCHEMA.read_text("utf-8"))["properties"]["settings"]["properties"]
    given = {name: another_value(field) for name, field in fields.items()}
    settings = chart.settings({**chart.open, "settings": given}, clean)
    assert {name: getattr(settings, name) for name in given} == given


def test_containers_get_no_variable_that_the_server_does_not_know(
    chart: Any, values: dict[str, Any], clean: pytest.MonkeyPatch
) -> None:
    settings = chart.settings(values, clean)
    assert settings.host == "0.0.0.0"
    assert [settings.port] == [port["containerPort"] for port in chart.server(values)["ports"]]
    assert chart.pod(values)["spec"]["enableServiceLinks"] is False


def test_defaults_are_the_servers_own(chart: Any) -> None:
    with chart.helm.Chart.load(chart.render.CHART) as loaded:
        given = loaded.values["settings"]
        assert loaded.version == __version__ and loaded.metadata["appVersion"] == __version__
    fields = Settings.model_fields
    assert {name: fields[name].default for name in chart.render.NEEDED} == {
        name: given[name] for name in chart.render.NEEDED
    }
    assert given.keys() == {*chart.render.NEEDED, "log_format"}


@pytest.mark.parametrize("shutdown", [1, 30, 3600])
@pytest.mark.parametrize("pre_stop", [1, 10, 3600])
def test_the_grace_outlasts_the_drain(chart: Any, shutdown: int, pre_stop: int) -> None:
    given = {**chart.open, "preStopSeconds": pre_stop, "settings": {"shutdown_timeout_s": shutdown}}
    container = chart.server(given)
    assert container["lifecycle"] == {"preStop": {"sleep": {"seconds": pre_stop}}}
    # the worker has 5 s to end after the last request, and the process has to end too
    assert chart.pod(given)["spec"]["terminationGracePeriodSeconds"] >= pre_stop + shutdown + 10


@pytest.mark.parametrize("load", [0.5, 1, 599.5, 600, 601, 86_400])
def test_probes_request_the_right_paths_for_as_long_as_loading_may_take(chart: Any, load: float) -> None:
    container = chart.server({**chart.open, "settings": {"load_timeout_s": load}})
    paths = {kind: container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "readiness", "liveness")}
    assert paths == {"startup": "/readyz", "readiness": "/readyz", "liveness": "/livez"}
    assert set(paths.values()) <= PROBES  # no key is asked for there
    startup = container["startupProbe"]
    budget = startup["periodSeconds"] * startup["failureThreshold"]
    assert load + 60 <= budget < load + 80
    assert (
        chart.only({**chart.open, "settings": {"load_timeout_s": load}}, "Deployment")["spec"][
            "progressDeadlineSeconds"
        ]
        > budget
    )


@pytest.mark.parametrize("kind", ["none", "hpa", "keda"])
def test_no_two_autoscalers_set_the_replicas(chart: Any, kind: str) -> None:
    given = {**chart.open, "replicas": 3, "cache": {"enabled": False}, "autoscaling": {"kind": kind}}
    kinds = {one["kind"] for one in chart.documents(given)}
    scalers = {"hpa": {"HorizontalPodAutoscaler"}, "keda": {"ScaledObject"}, "none": set()}[kind]
    assert kinds & {"HorizontalPodAutoscaler", "ScaledObject"} == scalers
    assert chart.only(given, "Deployment")["spec"].get("replicas") == (3 if kind == "none" else None)


def test_keys_arrive_as_a_file_that_the_server_reads(chart: Any, tmp_path: Path, clean: pytest.MonkeyPatch) -> None:
    given = {"keys": {"values": {"team-a": "abcdefgh12", "team-b": "/+~._-AZ09=="}}}
    secret = chart.only(given, "Secret")
    volume = next(volume for volume in chart.pod(given)["spec"]["volumes"] if volume["name"] == "keys")["secret"]
    mount = next(mount for mount in chart.server(given)["volumeMounts"] if mount["name"] == "keys")
    assert volume["secretName"] == secret["metadata"]["name"] and volume["defaultMode"] == 0o440
    assert "subPath" not in mount  # such a file would never change
    (item,) = volume["items"]
    assert chart.settings(given, clean).api_key_file == Path(mount["mountPath"], item["path"])
    file = tmp_path / "keys"
    file.write_text(secret["stringData"][item["key"]], "utf-8")
    ring = KeyRing(file=file)
    assert [ring.name_of(key) for key in (b"abcdefgh12", b"/+~._-AZ09==", b"other")] == ["team-a", "team-b", None]
