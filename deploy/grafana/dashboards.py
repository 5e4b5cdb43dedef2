"""Writes the dashboards' JSON files: `python -m deploy.grafana.dashboards [--check]`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from deploy.grafana.panels import dashboard
from deploy.grafana.rows import ROWS

FOLDER = Path(__file__).with_name("dashboards")


def files() -> dict[str, dict[str, Any]]:
    """Every dashboard by its file name."""
    return {
        "flashu-server.json": dashboard(
            uid="flashu-server",
            title="FlashU Server",
            about="Traffic, latency, time per component, acceleration, scheduler and processes of FlashU Server.",
            rows=ROWS,
        )
    }


def text_of(found: dict[str, Any]) -> str:
    """A dashboard as its file's content."""
    return json.dumps(found, indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    """Writes the files; with `--check` only exits with 1 if one is stale."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only report stale files")
    check = parser.parse_args().check
    stale = []
    for name, content in files().items():
        path = FOLDER / name
        if path.is_file() and path.read_text() == text_of(content):
            continue
        stale.append(name)
        if not check:
            path.write_text(text_of(content))
    print(f"{len(ROWS)} rows, {'stale' if check else 'written'}: {', '.join(stale) or 'nothing'}")
    if check and stale:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
