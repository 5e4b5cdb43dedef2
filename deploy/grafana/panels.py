"""Panels, rows and dashboards as values, Grafana's JSON of them, and the selectors that all queries share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

WIDTH = 24  # columns of Grafana's grid
_HEIGHT = 8
_RUNBOOKS = "docs/runbooks.md"  # an operator enters the URL where they are served
_SELECTOR = 'job=~"$job", instance=~"$instance"'
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
Unit = Literal["reqps", "s", "bytes", "percentunit", "ops", "none"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    """A PromQL expression with Grafana's variables, and the legend of its lines."""

    expr: str
    legend: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """Lines over time.

    Attributes:
        about: description in Markdown.
        stacked: whether lines are stacked.
        limit: threshold, shown as a red line.
        alerts: names of related alerts; the panel links to their runbooks.
    """

    title: str
    about: str
    unit: Unit
    queries: Sequence[Query]
    stacked: bool = False
    limit: float | None = None
    alerts: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """Panels side by side. `name` is used in file names; `note` is text above the panels."""

    name: str
    title: str
    panels: Sequence[Panel]
    note: str = ""

    @property
    def columns(self) -> int:
        """Panels per line."""
        return 3 if len(self.panels) % 3 == 0 else 2


def of(metric: str, **labels: str) -> str:
    """Selector of a metric's series of the selected servers; a label value with | matches any of its parts."""
    matchers = [f'{name}{"=~" if "|" in value else "="}"{value}"' for name, value in labels.items()]
    return f"{metric}{{{', '.join((*matchers, _SELECTOR))}}}"


def rate(metric: str, **labels: str) -> str:
    """Per-second increase of a counter."""
    return f"rate({of(metric, **labels)}[$__rate_interval])"


def quantile(share: float, histogram: str, *, by: str = "", **labels: str) -> str:
    """A quantile of a histogram over all selected servers."""
    kept = f"{by}, le" if by else "le"
    return f"histogram_quantile({share:g}, sum by ({kept}) ({rate(f'{histogram}_bucket', **labels)}))"


def percentiles(histogram: str, **labels: str) -> tuple[Query, ...]:
    """The 50th, 95th and 99th."""
    return tuple(Query(expr=quantile(share / 100, histogram, **labels), legend=f"p{share}") for share in (50, 95, 99))


def filled_in(expr: str, *, rate_s: int, job: str = ".+", instance: str = ".+") -> str:
    """The expression with values in place of Grafana's variables."""
    return expr.replace("$__rate_interval", f"{rate_s}s").replace("$job", job).replace("$instance", instance)


def dashboard(*, uid: str, title: str, about: str, rows: Sequence[Row]) -> dict[str, Any]:
    """Grafana's JSON of a dashboard."""
    panels: list[dict[str, Any]] = []
    top = 0
    for row in rows:
        panels.append(_header(row, top))
        top += 1
        if row.note:
            panels.append(_text(row.note, top))
            top += 3
        for index, panel in enumerate(row.panels):
            width = WIDTH // row.columns
            place = {
                "x": index % row.columns * width,
                "y": top + index // row.columns * _HEIGHT,
                "w": width,
                "h": _HEIGHT,
            }
            panels.append(_lines(panel, place))
        top += -(-len(row.panels) // row.columns) * _HEIGHT
    for number, shown in enumerate(panels, start=1):
        shown["id"] = number
    return {
        "uid": uid,
        "title": title,
        "description": about,
        "tags": ["flashu"],
        "schemaVersion": 38,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "",
        "templating": {"list": _variables()},
        "links": [{"type": "link", "title": "Runbooks", "url": "${runbooks}", "targetBlank": True}],
        "panels": panels,
    }


def _variables() -> list[dict[str, Any]]:
    def values(name: str, query: str) -> dict[str, Any]:
        return {
            "name": name,
            "label": name,
            "type": "query",
            "datasource": _SOURCE,
            "query": {"query": query, "refId": name},
            "refresh": 2,
            "sort": 1,
            "multi": True,
            "includeAll": True,
            "current": {"text": ["All"], "value": ["$__all"]},
        }

    return [
        {"name": "datasource", "label": "data source", "type": "datasource", "query": "prometheus"},
        values("job", "label_values(flashu_build_info, job)"),
        values("instance", 'label_values(flashu_build_info{job=~"$job"}, instance)'),
        {
            "name": "runbooks",
            "label": "runbooks at",
            "type": "textbox",
            "query": _RUNBOOKS,
            "current": {"text": _RUNBOOKS, "value": _RUNBOOKS},
        },
    ]


def _header(row: Row, top: int) -> dict[str, Any]:
    place = {"x": 0, "y": top, "w": WIDTH, "h": 1}
    return {"type": "row", "title": row.title, "collapsed": False, "gridPos": place, "panels": []}


def _text(words: str, top: int) -> dict[str, Any]:
    place = {"x": 0, "y": top, "w": WIDTH, "h": 3}
    return {"type": "text", "title": "", "gridPos": place, "options": {"mode": "markdown", "content": words}}


def _lines(panel: Panel, place: Mapping[str, int]) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.limit is not None:
        steps.append({"color": "red", "value": panel.limit})
    custom = {
        "lineWidth": 1,
        "fillOpacity": 40 if panel.stacked else 5,
        "showPoints": "never",
        "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
        "thresholdsStyle": {"mode": "off" if panel.limit is None else "line"},
    }
    return {
        "type": "timeseries",
        "title": panel.title,
        "description": panel.about,
        "datasource": _SOURCE,
        "gridPos": dict(place),
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "min": 0,
                "color": {"mode": "palette-classic"},
                "custom": custom,
                "thresholds": {"mode": "absolute", "steps": steps},
            },
            "overrides": [],
        },
        "options": {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        "links": [
            {"title": f"Runbook: {alert}", "url": f"${{runbooks}}#{alert.lower()}", "targetBlank": True}
            for alert in panel.alerts
        ],
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": _SOURCE,
                "expr": query.expr,
                "legendFormat": query.legend,
                "range": True,
            }
            for index, query in enumerate(panel.queries)
        ],
    }
