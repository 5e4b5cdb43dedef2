"""Rules name existing metrics, and every alert has a runbook. What the rules compute is tested by `promtool`."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

FOLDER = Path(__file__).parents[2] / "deploy/prometheus"
RUNBOOKS = FOLDER.parents[1] / "docs/runbooks.md"


def test_every_expression_parses_and_names_metrics_that_exist(
    rules: list[dict[str, Any]], known: set[str], metrics_of: Callable[[str], set[str]]
) -> None:
    for rule in rules:
        names = metrics_of(rule["expr"])
        assert names
        assert names <= known, rule


def test_the_walk_sees_every_selector(metrics_of: Callable[[str], set[str]]) -> None:
    expr = 'sum by (a) (rate(one[5m])) / on () (two > 1) or absent(three{a="b"}) unless max_over_time(four[1m:10s])'
    assert metrics_of(expr) == {"one", "two", "three", "four"}
    with pytest.raises(ValueError):
        metrics_of("sum by (rate(one[5m])")


def test_rules_have_names_of_their_own(rules: list[dict[str, Any]]) -> None:
    names = [rule.get("record") or rule["alert"] for rule in rules]
    assert len(set(names)) == len(names)
    for rule in rules:
        if "record" in rule:
            assert re.fullmatch(r"instance(_task)?:flashu_\w+:\w+", rule["record"]), rule
        else:
            assert rule["labels"]["severity"] in ("warning", "critical")
            assert set(rule["annotations"]) == {"summary", "description", "runbook"}


def test_what_is_recorded_is_used(rules: list[dict[str, Any]]) -> None:
    dashboards = "".join(path.read_text() for path in (FOLDER.parent / "grafana/dashboards").glob("*.json"))
    used = dashboards + "".join(rule["expr"] for rule in rules)
    assert all(rule["record"] in used for rule in rules if "record" in rule)


def test_every_alert_has_its_chapter_and_every_chapter_its_alert(
    rules: list[dict[str, Any]], anchors: set[str]
) -> None:
    alerts = {rule["alert"]: rule["annotations"]["runbook"] for rule in rules if "alert" in rule}
    for name, link in alerts.items():
        page, _, anchor = link.partition("#")
        assert (page, anchor) == ("docs/runbooks.md", name.lower())
        assert anchor in anchors
    chapters = re.split(r"^## ", RUNBOOKS.read_text(), flags=re.MULTILINE)[1:]
    assert {chapter.split("\n")[0] for chapter in chapters} == set(alerts)
    for chapter in chapters:
        assert all(f"**{part}:**" in chapter for part in ("Means", "See", "Do")), chapter


def test_the_runbooks_name_what_there_is(anchors: set[str]) -> None:
    text = RUNBOOKS.read_text().replace("\n", " ")
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= anchors
    settings = (FOLDER.parents[1] / "server/settings.py").read_text()
    for name in set(re.findall(r"FLASHU_([A-Z_]+)", text)):
        assert re.search(rf"^    {name.lower()}:", settings, re.MULTILINE), name
    rows = "".join((FOLDER.parent / "grafana" / name).read_text() for name in ("rows.py", "processes.py"))
    # Panels are in italics; so are Prometheus's own pages, which are called Status.
    for title in sorted(set(re.findall(r"(?<!\*)\*([A-Z][^*]+)\*(?!\*)", text))):
        assert title.startswith("Status, ") or f'title="{title}"' in rows, title


def test_every_rule_has_a_unit_test(rules: list[dict[str, Any]]) -> None:
    alerts = yaml.safe_load((FOLDER / "tests/alerts.yml").read_text())["tests"]
    checks = [check for test in alerts for check in test["alert_rule_test"]]
    fires = {check["alertname"] for check in checks if check.get("exp_alerts")}
    quiet = {check["alertname"] for check in checks if not check.get("exp_alerts")}
    assert fires == quiet == {rule["alert"] for rule in rules if "alert" in rule}
    recordings = yaml.safe_load((FOLDER / "tests/recording.yml").read_text())["tests"]
    computed = {check["expr"] for test in recordings for check in test["promql_expr_test"]}
    assert computed == {rule["record"] for rule in rules if "record" in rule}


def test_the_configuration_points_at_what_there_is() -> None:
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    assert all((FOLDER / name).is_file() for name in config["rule_files"])
    assert {(FOLDER / name).name for name in config["rule_files"]} == {
        path.name for path in (FOLDER / "rules").glob("*.yml")
    }
    assert [job["job_name"] for job in config["scrape_configs"]] == ["flashu"]


def test_alerts_go_nowhere_until_an_operator_says_where(rules: list[dict[str, Any]]) -> None:
    config = yaml.safe_load((FOLDER / "alertmanager.yml").read_text())
    assert config["receivers"] == [{"name": config["route"]["receiver"]}]
    alerts = {rule["alert"] for rule in rules if "alert" in rule}
    named = re.findall(r"FlashU\w+", yaml.safe_dump(config["inhibit_rules"]))
    assert named
    assert set(named) <= alerts


def test_the_page_about_watching_names_what_there_is(rules: list[dict[str, Any]]) -> None:
    page = RUNBOOKS.with_name("monitoring.md")
    text = page.read_text()
    alerts = {rule["alert"] for rule in rules if "alert" in rule}
    assert set(re.findall(r"\bFlashU[A-Z]\w+", text)) <= alerts
    assert len(alerts) == 16
    for path in re.findall(r"`(deploy/[\w./-]+)`", text):
        assert (RUNBOOKS.parents[1] / path).exists(), path
    pictures = re.findall(r"\]\((images/[^)]+)\)", text)
    assert {page.parent / picture for picture in pictures} == set((page.parent / "images").glob("dashboard-*.png"))
    assert all((page.parent / picture).stat().st_size < 150_000 for picture in pictures)
