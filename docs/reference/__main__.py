"""Writes the pages of the reference, or with `--check` returns 1 where one is stale."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path

from docs.reference import cli, http, metrics, python
from server import settings_reference

FOLDER = Path(__file__).parent
PAGES: Mapping[Path, Callable[[], str]] = {
    FOLDER / "python.md": python.text,
    FOLDER / "cli.md": cli.text,
    FOLDER / "http.md": http.text,
    FOLDER / "metrics.md": metrics.text,
    settings_reference.FILE: settings_reference.text,
}


def main(arguments: list[str] | None = None) -> int:
    """Returns 1 where a page is stale and only checked, else 0."""
    parser = argparse.ArgumentParser(prog="python -m docs.reference", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args(arguments).check
    stale = [page for page, text in PAGES.items() if not page.is_file() or page.read_text() != text()]
    for page in stale:
        print(f"{page.name} is {'stale; write it with: python -m docs.reference' if check else 'written'}")
        if not check:
            page.write_text(PAGES[page]())
    return int(check and bool(stale))


if __name__ == "__main__":
    raise SystemExit(main())
