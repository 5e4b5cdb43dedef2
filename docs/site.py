"""Builds the documentation site: `python -m docs.site build` or `serve`.

Pages are Markdown files all over the repository, with links that work there. They are copied below `build/docs`, to
their places in the site, every link is changed to lead to the same file, and Zensical builds the site from them and
`mkdocs.yml`. Linked files that are no pages are copied along.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "build" / "docs"
SITE = ROOT / "build" / "site"
_FIXED = {
    "README.md": "index.md",
    "docs/README.md": "overview.md",
    "ARCHITECTURE.md": "architecture.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "deploy/kubernetes/README.md": "kubernetes.md",
    "deploy/ray/README.md": "ray.md",
    "docker/README.md": "containers.md",
}
_LINK = re.compile(r"(?<=\]\()([^)#\s]+)((?:#[^)\s]*)?)(?=\))")
_CODE = re.compile(r"(^```.*?^```|`[^`\n]+`)", re.DOTALL | re.MULTILINE)


def pages() -> dict[str, str]:
    """Every page's place in the site by its file's path in the repository."""
    found = dict(_FIXED)
    for folder, below in (("docs", ""), ("decisions", "decisions/")):
        for file in sorted((ROOT / folder).rglob("*.md")):
            path = file.relative_to(ROOT / folder).as_posix()
            found.setdefault(f"{folder}/{path}", below + path)
    return found


def place_of(path: str) -> str:
    """Where a file of the repository is in the site: a page, an image of the documentation, or a file beside them.

    Raises:
        FileNotFoundError: there is none.
    """
    if (ROOT / path).is_dir():
        path = (PurePosixPath(path) / "README.md").as_posix()
    if not (ROOT / path).is_file():
        raise FileNotFoundError(path)
    known = pages().get(path)
    if known is not None:
        return known
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    # A builder leaves out what begins with a dot.
    return (PurePosixPath("files") / path.lstrip(".")).as_posix()


def relinked(path: str) -> tuple[str, set[str]]:
    """A page's text with its links as they are in the site, and the files that it links to.

    Raises:
        FileNotFoundError: a link leads nowhere; the message names both.
    """
    here = PurePosixPath(place_of(path)).parent
    linked: set[str] = set()

    def change(link: re.Match[str]) -> str:
        if "://" in link[1]:
            return link[0]
        target = os.path.normpath(PurePosixPath(path).parent / link[1])
        try:
            place = place_of(target)
        except FileNotFoundError:
            raise FileNotFoundError(f"{path} links to {link[1]}, which does not exist") from None
        if not (ROOT / target).is_dir():
            linked.add(target)
        return os.path.relpath(place, here) + link[2]

    text = (ROOT / path).read_text()
    parts = _CODE.split(text)
    # Every second part is code, in which nothing is a link.
    return "".join(part if index % 2 else _LINK.sub(change, part) for index, part in enumerate(parts)), linked


def assemble() -> None:
    """Writes the pages and what they link to. What has not changed is not written, so that a builder sees what has."""
    wanted = {}
    for path, place in pages().items():
        text, linked = relinked(path)
        wanted[place] = text.encode()
        wanted.update({place_of(one): (ROOT / one).read_bytes() for one in linked if one not in pages()})
    for file in [file for file in PAGES.rglob("*") if file.is_file()]:
        if file.relative_to(PAGES).as_posix() not in wanted:
            file.unlink()
    for place, content in wanted.items():
        file = PAGES / place
        if not file.is_file() or file.read_bytes() != content:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)


def build() -> int:
    """Builds the site below `build/site`; every warning is an error. Returns the builder's exit status."""
    shutil.rmtree(PAGES, ignore_errors=True)
    shutil.rmtree(SITE, ignore_errors=True)
    assemble()
    return subprocess.run([*_builder("build"), "--clean", "--strict"], cwd=ROOT, check=False).returncode


def serve(address: str) -> int:
    """Shows the site, and what changes of it, until the process is ended."""
    assemble()
    # Ends the builder as well, which would go on without its parent.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    with subprocess.Popen([*_builder("serve"), "--dev-addr", address], cwd=ROOT) as builder:
        try:
            while builder.poll() is None:
                time.sleep(1)
                try:
                    assemble()
                except FileNotFoundError as error:  # a link that is half written
                    print(error, file=sys.stderr)
        except KeyboardInterrupt:
            return 0
        finally:
            builder.terminate()
    return builder.returncode


def _builder(command: str) -> list[str]:
    return [str(Path(sys.executable).with_name("zensical")), command]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m docs.site", description="Builds or shows the documentation site.")
    parser.add_argument("command", choices=("build", "serve"))
    parser.add_argument("--address", default="127.0.0.1:8001", help="host and port of `serve`")
    options = parser.parse_args(arguments)
    return build() if options.command == "build" else serve(options.address)


if __name__ == "__main__":
    raise SystemExit(main())
