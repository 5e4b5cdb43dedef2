"""The page as such: its errors, a server that is not ready or wants a key, and fields that depend on others."""

from __future__ import annotations

import re
from typing import Any

from accessibility import check_accessible
from playwright.sync_api import expect

from server.middleware.keys import PAGE

KEY = "sk-alice-5f0c9d1e7a"


def test_several_pictures_have_no_partial_ones(shared: Any, opened: Any, card: Any) -> None:
    page, _ = opened(shared)
    page.get_by_label("Pictures").fill("3")
    expect(page.get_by_label("Partial images")).to_be_disabled()
    page.get_by_label("Seed").fill("")
    page.get_by_role("button", name="Draw").click()
    expect(card(page, "flashu", "done").locator(".canvas img:visible")).to_have_count(3)
    seeds = [int(text.split()[1]) for text in page.locator(".seed").all_inner_texts()]
    assert seeds == [seeds[0], seeds[0] + 1, seeds[0] + 2]
    page.get_by_label("Pictures").fill("1")
    expect(page.get_by_label("Partial images")).to_be_enabled()


def test_an_error_names_its_field_and_markup_stays_text(shared: Any, opened: Any, card: Any) -> None:
    page, seen = opened(shared)
    prompt = page.get_by_role("textbox", name="Prompt", exact=True)
    prompt.fill("   ")
    page.get_by_role("button", name="Draw").click()
    failed = card(page, "flashu", "failed")
    expect(failed.get_by_role("alert")).to_contain_text("prompt: must not be empty")
    expect(failed.locator(".detail")).to_have_text("400 · invalid_value · param prompt")
    assert prompt.get_attribute("aria-invalid") == "true"
    seen.forget("400 (Bad Request)")
    markup = "<img src=x onerror=alert(1)><b id=made>"
    prompt.fill(markup)
    page.get_by_role("button", name="Draw").click()
    expect(card(page, "flashu", "done").locator(".canvas img")).to_have_attribute("alt", markup)
    assert prompt.get_attribute("aria-invalid") is None
    assert page.locator("#made, [src=x]").count() == 0


def test_a_server_that_loads_says_when_to_come_again(toy: Any, serving: Any, opened: Any, card: Any) -> None:
    engine = toy()
    engine.hold("hold-loading")
    with serving(engine) as live:
        page, seen = opened(live, ready=False)
        expect(page.locator("#model")).to_have_text(re.compile("still loading"))
        page.get_by_role("button", name="Draw").click()
        failed = card(page, "flashu", "failed")
        expect(failed.locator(".detail")).to_have_text("503 · loading · try again in 5 s")
        engine.release("hold-loading")
        expect(page.locator("#model[data-state=ready]")).to_be_visible()
        seen.forget("503 (Service Unavailable)")


def test_a_key_is_asked_for_and_kept_nowhere(toy: Any, serving: Any, opened: Any, card: Any) -> None:
    with serving(toy(), api_keys=KEY) as live:
        live.wait_until_ready()
        for path in PAGE:
            assert live.client.get(path).status_code == 200
        page, seen = opened(live, ready=False)
        expect(page.locator("#model")).to_have_text(re.compile("needs a valid API key"))
        expect(page.locator("#access-words")).to_contain_text("wants an API key")
        expect(page.get_by_label("API key")).to_be_focused()
        check_accessible(page)
        page.get_by_label("API key").fill("sk-mistyped")
        page.get_by_role("button", name="Use it").click()
        expect(page.locator("#access-words")).to_contain_text("does not know this key")
        seen.forget("401 (Unauthorized)")
        page.get_by_label("API key").fill(KEY)
        page.keyboard.press("Enter")
        expect(page.locator("#model[data-state=ready]")).to_have_text(re.compile("^toy"))
        expect(page.locator("#access")).to_be_hidden()
        page.get_by_role("button", name="Draw").click()
        expect(card(page, "flashu", "done")).to_be_visible()
        kept = "[localStorage.length, sessionStorage.length, document.cookie, location.href]"
        assert page.evaluate(kept) == [0, 0, "", seen.origin]
        assert all(KEY not in address for address in seen.addresses)
        page.reload()
        expect(page.get_by_label("API key")).to_have_value("")
        expect(page.locator("#model[data-state=failed]")).to_be_visible()
        seen.forget("401 (Unauthorized)")
