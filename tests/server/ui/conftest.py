"""The playground in a real browser, on a real server; at the end of each test nothing may have gone wrong in it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserType, ConsoleMessage, Locator, Page, expect, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
TIMEOUT_MS = 60_000


@dataclass
class Seen:
    """What a page did besides what is looked at."""

    origin: str
    errors: list[str] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)

    def listen(self, page: Page) -> None:
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self.addresses.append(request.url))

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(message.text)

    def forget(self, words: str) -> None:
        """An error that the test brought about."""
        assert any(words in error for error in self.errors), self.errors
        self.errors = [error for error in self.errors if words not in error]


@pytest.fixture(scope="module")
def chromium() -> Iterator[BrowserType]:
    if not CHROMIUM.exists():
        words = f"{CHROMIUM} is missing; install a browser (Debian: apt-get install chromium)"
        if os.environ.get("CI"):
            pytest.fail(words)
        pytest.skip(words)
    with sync_playwright() as playwright:
        yield playwright.chromium


@pytest.fixture
def opened(chromium: BrowserType, tmp_path: Path) -> Iterator[Callable[..., tuple[Page, Seen]]]:
    """Opens a server's page in a browser with an empty profile; at the end nothing may have gone wrong in it."""
    context = chromium.launch_persistent_context(
        tmp_path / "profile",
        executable_path=CHROMIUM,
        headless=True,
        args=FLAGS,
        viewport={"width": 1280, "height": 900},
    )
    context.set_default_timeout(TIMEOUT_MS)
    expect.set_options(timeout=TIMEOUT_MS)
    seen: list[Seen] = []
    (page,) = context.pages

    def open_page(live: Any, *, ready: bool = True, path: str = "") -> tuple[Page, Seen]:
        seen.append(Seen(f"http://127.0.0.1:{live.port}/"))
        seen[-1].listen(page)
        page.add_init_script(
            "window.violations = [];"
            "addEventListener('securitypolicyviolation', (event) => violations.push(event.violatedDirective));"
        )
        page.goto(seen[-1].origin + path)
        if ready:
            expect(page.locator("#model[data-state=ready]")).to_be_visible()
        return page, seen[-1]

    try:
        yield open_page
        for one in seen:
            assert not one.errors
            others = [url for url in one.addresses if not url.startswith((one.origin, "blob:", "data:"))]
            assert len(one.addresses) > 2 and not others
        if seen:
            assert page.evaluate("violations") == []
    finally:
        context.close()


@pytest.fixture
def card() -> Callable[[Page, str, str], Locator]:
    """Finds the card of a policy's pictures in a state."""
    return lambda page, policy, state: page.locator(f"#pictures .card[data-policy={policy}][data-state={state}]")
