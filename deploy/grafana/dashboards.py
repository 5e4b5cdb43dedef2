"""The dashboards' files, made of their rows: `python -m deploy.grafana.dashboards [--check]`. It knows where they lie,
not what they show."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from deploy.grafana.panels import dashboard
from deploy.grafana.rows import ROWS

FOLDER = Path(__file__).with_name("dashboards")


def files() -> dict[str, dict[str, Any]]:
    """Every dashboard by the name of its file."""
    return {
        "flashu-server.json": dashboard(
            uid="flashu-server",
            title="FlashU Server",
            about="A server of native unified models: traffic, latency, where time goes, what acceleration does.",
            rows=ROWS,
        )
    }


def text_of(found: dict[str, Any]) -> str:
    """A dashboard as it stands in its file."""
    return json.dumps(found, indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    """Writes the files, or with `--check` ends with status 1 where one is not as it would be written."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say which files are not up to date")
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
