"""Takes README's screenshots of the playground with the embedded model: `python -m benchmarks.screenshots`.

Starts a server; needs the test extra and a Chromium. Times in the screenshots are of one run on the machine that took
them.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from PIL import Image
from playwright.sync_api import BrowserContext, FloatRect, Page, ViewportSize, expect, sync_playwright

IMAGES = Path(__file__).parents[1] / "docs" / "images"
CHROMIUM = "/usr/bin/chromium"
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
TIMEOUT_MS = 60_000
MAX_BYTES = 200_000
_MARGIN = 16
_WIDE = ViewportSize(width=1180, height=800)
_SERVE = "import sys; sys.argv = ['flashu', 'serve', '--port', '0']; from flashu_core.cli.main import main; main()"
_READY = re.compile(r"ready on (http://127\.0\.0\.1:\d+)")


@contextlib.contextmanager
def serving() -> Iterator[str]:
    """Runs a server with the embedded model; yields its URL once it is ready.

    Raises:
        RuntimeError: it exited before.
    """
    command = [sys.executable, "-u", "-c", _SERVE]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as server:
        try:
            lines: list[str] = []
            for line in server.stdout or ():
                lines.append(line)
                if found := _READY.search(line):
                    yield found[1]
                    return
            raise RuntimeError("the server did not start:\n" + "".join(lines))
        finally:
            server.terminate()
            server.communicate()  # drains its output, so that it can exit


def open_page(context: BrowserContext, address: str) -> Page:
    """The playground of a ready server."""
    page = context.new_page()
    page.goto(address)
    expect(page.locator("#model[data-state=ready]")).to_be_visible()
    return page


def generate(page: Page, policy: str, cards: int) -> None:
    """Generates the page's default prompt and waits for the results."""
    page.locator(f"#draw input[value={policy}]").check()
    page.get_by_role("button", name="Draw").click()
    expect(page.locator("#pictures .card[data-state=done]")).to_have_count(cards)


def send(page: Page) -> None:
    """Sends the page's default question about the latest image."""
    page.get_by_role("button", name="Ask about it").last.click()
    page.keyboard.press("Enter")
    expect(page.locator("#answers .card[data-state=done]")).to_be_visible()


def take(page: Page, name: str, folder: Path, selector: str = "body") -> None:
    """Writes a screenshot of a part of the page.

    Raises:
        RuntimeError: the part is not visible, or the file is too large for a README.
    """
    page.mouse.move(0, 0)  # avoid hover effects
    page.evaluate("() => { document.activeElement.blur(); scrollTo(0, 0); }")
    path = folder / f"playground-{name}.png"
    box = page.locator(selector).bounding_box()
    if box is None:
        raise RuntimeError(f"{selector} is not visible")
    left, top = max(0.0, box["x"] - _MARGIN), max(0.0, box["y"] - _MARGIN)
    right, bottom = box["x"] + box["width"] + _MARGIN, box["y"] + box["height"] + _MARGIN
    clip = FloatRect(x=left, y=top, width=right - left, height=bottom - top)
    taken = Image.open(io.BytesIO(page.screenshot(full_page=True, clip=clip, animations="disabled")))
    taken.convert("RGB").quantize(256).save(path, optimize=True)
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise RuntimeError(f"{path.name} has {size} bytes, over the limit of {MAX_BYTES}; show less of the page")
    print(f"{path} {size} bytes")


def main() -> None:
    """Takes all screenshots."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=IMAGES, help="output folder")
    parser.add_argument("--chromium", default=CHROMIUM, help="path of the browser")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    expect.set_options(timeout=TIMEOUT_MS)
    with serving() as address, sync_playwright() as playwright, tempfile.TemporaryDirectory() as profile:
        context = playwright.chromium.launch_persistent_context(
            profile,
            executable_path=options.chromium,
            headless=True,
            args=[*FLAGS],
            viewport=_WIDE,
            color_scheme="light",
            reduced_motion="reduce",
        )
        page = open_page(context, address)
        generate(page, "flashu", 1)
        take(page, "draw", options.folder, "section:has(#draw)")
        send(page)
        page.set_viewport_size({"width": 640, "height": 800})
        take(page, "ask", options.folder, "section:has(#ask)")
        page.set_viewport_size(_WIDE)
        page.emulate_media(color_scheme="dark")
        generate(page, "compare", 2)
        take(page, "compare", options.folder, "section:has(#draw)")
        context.close()


if __name__ == "__main__":
    main()
