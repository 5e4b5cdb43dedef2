"""The dashboard's file matches its rows; its queries, links and positions are valid."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.grafana import dashboards
from deploy.grafana.panels import WIDTH, filled_in
from deploy.grafana.rows import ROWS

FOLDER = Path(__file__).parents[2] / "deploy/grafana"


@pytest.fixture(scope="module")
def shown() -> dict[str, Any]:
    return json.loads((FOLDER / "dashboards/flashu-server.json").read_text())


def expressions(dashboard: dict[str, Any]) -> list[str]:
    return [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]


def test_the_files_are_what_the_rows_say(shown: dict[str, Any]) -> None:
    made = dashboards.files()
    assert {path.name for path in (FOLDER / "dashboards").iterdir()} == set(made)
    for name, content in made.items():
        assert (FOLDER / "dashboards" / name).read_text() == dashboards.text_of(content)
    queries = [query.expr for row in ROWS for panel in row.panels for query in panel.queries]
    assert expressions(shown) == queries


def test_stale_files_are_reported_and_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(dashboards, "FOLDER", tmp_path)
    monkeypatch.setattr(sys, "argv", ["dashboards", "--check"])
    with pytest.raises(SystemExit):
        dashboards.main()
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(sys, "argv", ["dashboards"])
    dashboards.main()
    monkeypatch.setattr(sys, "argv", ["dashboards", "--check"])
    dashboards.main()
    assert len(list(tmp_path.iterdir())) == 1


def test_every_expression_parses_and_names_metrics_that_exist(
    shown: dict[str, Any], known: set[str], metrics_of: Callable[[str], set[str]]
) -> None:
    for expr in expressions(shown):
        filled = filled_in(expr, rate_s=60)
        assert "$" not in filled
        names = metrics_of(filled)
        assert names
        assert names <= known, expr
        assert expr.count('job=~"$job", instance=~"$instance"') >= len(names)


def test_every_metric_of_the_server_is_shown(
    shown: dict[str, Any],
    families: dict[str, list[str]],
    rules: list[dict[str, Any]],
    metrics_of: Callable[[str], set[str]],
) -> None:
    used = {name for expr in expressions(shown) for name in metrics_of(filled_in(expr, rate_s=60))}
    assert len(families) >= 29
    for family, names in families.items():
        assert used & set(names), family


def test_panels_have_places_and_words_of_their_own(shown: dict[str, Any]) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in shown["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert max(x for x, _ in cells) < WIDTH
        assert not cells & taken, panel["title"]
        taken |= cells
        if panel["type"] == "timeseries":
            assert panel["description"]
            assert panel["fieldConfig"]["defaults"]["unit"]
            assert all(target["legendFormat"] for target in panel["targets"])
    titles = [panel["title"] for panel in shown["panels"] if panel["type"] != "text"]
    assert len(set(titles)) == len(titles)
    numbers = [panel["id"] for panel in shown["panels"]]
    assert len(set(numbers)) == len(numbers)


def test_every_alert_is_linked_from_a_panel(
    shown: dict[str, Any], rules: list[dict[str, Any]], anchors: set[str]
) -> None:
    links = [link["url"] for panel in shown["panels"] for link in panel.get("links", [])]
    linked = {link.removeprefix("${runbooks}#") for link in links}
    assert linked <= anchors
    assert linked == {rule["alert"].lower() for rule in rules if "alert" in rule}


def test_limits_are_the_alerts_thresholds(rules: list[dict[str, Any]]) -> None:
    exprs = {rule["alert"]: rule["expr"].replace("2 * 2^30", str(2 * 2**30)) for rule in rules if "alert" in rule}
    limited = [panel for row in ROWS for panel in row.panels if panel.limit is not None]
    assert len(limited) >= 6
    for panel in limited:
        assert any(f"> {panel.limit:g}" in exprs[alert] or f"> {panel.limit}" in exprs[alert] for alert in panel.alerts)


def test_provisioning_matches_the_dashboard(shown: dict[str, Any]) -> None:
    (source,) = yaml.safe_load((FOLDER / "provisioning/datasources/prometheus.yaml").read_text())["datasources"]
    assert source["type"] == "prometheus"
    scrape = yaml.safe_load((FOLDER.parent / "prometheus/prometheus.yml").read_text())["global"]["scrape_interval"]
    assert source["jsonData"]["timeInterval"] == scrape
    (provider,) = yaml.safe_load((FOLDER / "provisioning/dashboards/flashu.yaml").read_text())["providers"]
    assert provider["type"] == "file"
    assert provider["options"]["path"].startswith("/")
    variables = {variable["name"]: variable for variable in shown["templating"]["list"]}
    assert set(variables) == {"datasource", "job", "instance", "runbooks"}
