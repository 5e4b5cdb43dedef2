"""What a visitor meets: a recorded comparison, examples, the gallery of a visit, and a server that comes and goes."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from accessibility import check_accessible
from PIL import Image
from playwright.sync_api import Page, expect

RECORDED = json.loads(files("server").joinpath("ui/showcase.json").read_text())
SECURE = "Object.defineProperty(navigator, 'clipboard', { value: undefined })"


def draw(page: Page, prompt: str, **fields: str) -> None:
    page.get_by_role("textbox", name="Prompt", exact=True).fill(prompt)
    for label, value in fields.items():
        page.get_by_label(label).fill(value)
    page.get_by_role("button", name="Draw").click()
    expect(page.locator("#pictures .card[data-state=done]")).to_be_visible()


def test_the_page_opens_with_a_recorded_comparison(shared: Any, opened: Any) -> None:
    page, _ = opened(shared)
    cards = page.locator("#pictures .card[data-state=recorded]")
    expect(cards).to_have_count(2)
    assert cards.locator("h3").all_inner_texts() == ["exact", "flashu"]
    assert cards.locator(".mark-recorded").all_inner_texts() == ["recorded", "recorded"]
    words = page.locator("#draw-comparison").inner_text()
    assert RECORDED["prompt"] in words and RECORDED["model"] in words and RECORDED["date"] in words
    times = [run["timings_ms"]["total"] for run in RECORDED["runs"]]
    assert f"{times[0] / times[1]:.1f} times as fast" in words
    for run, card in zip(RECORDED["runs"], cards.all(), strict=True):
        expect(card.locator(".cell")).to_have_count(len(run["evaluations"]))
    check_accessible(page)
    draw(page, "a red circle")
    expect(cards).to_have_count(0)
    expect(page.locator("#draw-comparison")).to_be_empty()


def test_what_is_recorded_shows_what_the_techniques_do() -> None:
    exact, flashu = RECORDED["runs"]
    assert {step["backbone"] for step in exact["evaluations"]} == {"full"}
    assert {step["backbone"] for step in flashu["evaluations"]} == {"full", "pruned", "not_needed"}


def test_an_example_is_sent_with_one_click(real: Any, opened: Any, card: Any) -> None:
    page, _ = opened(real)
    chips = page.locator("#draw .chip")
    texts = chips.all_inner_texts()
    assert len(texts) >= 4 and page.get_by_role("textbox", name="Prompt", exact=True).input_value() == texts[0]
    chips.nth(1).click()
    expect(card(page, "flashu", "done").locator(".canvas img")).to_have_attribute("alt", texts[1])
    card(page, "flashu", "done").get_by_role("button", name="Ask about it").click()
    page.locator("#ask .chip").nth(1).click()
    answered = page.locator("#answers .card[data-state=done]")
    expect(answered.locator(".answer")).not_to_be_empty()
    # The answer is beside the picture it is about.
    boxes = [answered.locator(selector).bounding_box() for selector in (".canvas img", ".answer")]
    assert boxes[0] and boxes[1] and boxes[0]["x"] + boxes[0]["width"] <= boxes[1]["x"]
    check_accessible(page)


def test_what_is_written_stays_when_the_model_is_met(toy: Any, serving: Any, opened: Any) -> None:
    engine = toy()
    engine.hold("hold-loading")
    with serving(engine) as live:
        page, seen = opened(live, ready=False)
        page.get_by_role("textbox", name="Prompt", exact=True).fill("my own")
        engine.release("hold-loading")
        expect(page.locator("#model[data-state=ready]")).to_be_visible()
        assert page.get_by_role("textbox", name="Prompt", exact=True).input_value() == "my own"
        seen.errors = [error for error in seen.errors if "503" not in error]


def test_policies_say_what_they_do(shared: Any, opened: Any) -> None:
    page, _ = opened(shared)
    found = []
    for policy in ("exact", "flashu", "compare"):
        page.locator(f"#draw input[value={policy}]").check()
        found.append(page.locator("#draw-policy-words").inner_text())
    assert len(set(found)) == 3 and all(len(text) > 40 for text in found)


def test_the_gallery_keeps_downloads_and_opens_again(shared: Any, opened: Any) -> None:
    page, _ = opened(shared)
    expect(page.locator("#gallery")).to_be_hidden()
    draw(page, "it's the first", Seed="5")
    page.locator("#draw input[value=exact]").check()
    draw(page, "the second", Seed="6")
    items = page.locator("#gallery li")
    expect(items).to_have_count(2)
    assert items.locator(".words").all_inner_texts() == ["the second", "it's the first"]
    items.nth(1).get_by_role("button", name="Keep").click()
    expect(items.nth(1).get_by_role("button", name="Kept")).to_have_attribute("aria-pressed", "true")
    with page.expect_download() as download:
        items.nth(1).get_by_role("link", name="Download").click()
    assert download.value.suggested_filename == "it-s-the-first-5.png"
    with Image.open(download.value.path()) as image:
        assert image.size == (64, 64)
    items.nth(1).get_by_role("button", name="open again").click()
    expect(page.locator("#pictures .card[data-policy=flashu][data-state=done] .seed")).to_have_text("seed 5")
    assert page.get_by_role("textbox", name="Prompt", exact=True).input_value() == "it's the first"
    assert page.get_by_label("Seed").input_value() == "5"
    assert page.locator("#draw input[value=flashu]").is_checked()
    check_accessible(page)


def test_pictures_that_are_not_kept_go_when_there_are_many(shared: Any, opened: Any) -> None:
    page, _ = opened(shared)
    draw(page, "kept")
    page.get_by_role("button", name="Keep").click()
    for number in range(4):
        draw(page, f"many {number}", Pictures="8")
    expect(page.locator("#gallery li")).to_have_count(25)
    assert page.locator("#gallery .is-kept .words").all_inner_texts() == ["kept"]
    assert "many 0" not in page.locator("#gallery .words").all_inner_texts()


@pytest.mark.parametrize("language", ["curl", "Python"])
def test_a_program_makes_the_same_picture(shared: Any, opened: Any, tmp_path: Path, language: str) -> None:
    page, _ = opened(shared)
    draw(page, 'it\'s "quoted" \\ and $HOME', Seed="9")
    page.evaluate(SECURE)  # as on a page that is not of a secure origin
    page.get_by_role("button", name=language, exact=True).click()
    text = page.locator("dialog textarea").input_value()
    check_accessible(page)
    program = ["bash", "-c", text] if language == "curl" else [sys.executable, "-c", text]
    folder = tmp_path / "made"
    folder.mkdir()
    subprocess.run(program, cwd=folder, check=True, capture_output=True, timeout=60)
    (file,) = folder.iterdir()
    body = {"prompt": 'it\'s "quoted" \\ and $HOME', "seed": 9, "response_format": "binary"}
    expected = shared.client.post("/v1/generate", json=body).content
    with Image.open(file) as made, Image.open(io.BytesIO(expected)) as same:
        assert made.tobytes() == same.tobytes()


def test_a_program_is_copied_where_that_is_allowed(shared: Any, opened: Any) -> None:
    page, _ = opened(shared)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    draw(page, "copied")
    page.get_by_role("button", name="curl", exact=True).click()
    expect(page.get_by_role("button", name="copied", exact=True)).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()").startswith("curl 'http://127.0.0.1:")


def test_a_server_that_went_away_shows_and_is_met_again(shared: Any, opened: Any) -> None:
    page, seen = opened(shared)
    page.context.set_offline(True)
    lost = page.locator("#lost")
    expect(lost).to_contain_text("cannot be reached")
    expect(page.locator("#model")).to_have_attribute("data-state", "failed")
    check_accessible(page)
    page.context.set_offline(False)
    expect(lost).to_be_hidden()
    expect(page.locator("#model")).to_have_attribute("data-state", "ready")
    seen.forget("ERR_INTERNET_DISCONNECTED")


def test_a_failed_request_tells_at_once_that_the_server_is_gone(toy: Any, serving: Any, opened: Any) -> None:
    engine = toy(step_s=0.5)
    with serving(engine) as live:
        live.wait_until_ready()
        page, seen = opened(live)
        page.get_by_role("button", name="Draw").click()
        expect(page.locator("#pictures .card[data-state=running]")).to_be_visible()
        page.route("**/readyz", lambda route: route.abort())
        page.context.set_offline(True)
        page.get_by_role("button", name="Draw").click()
        expect(page.locator("#pictures .card[data-state=failed] .message")).to_contain_text("cannot be reached")
        expect(page.locator("#lost")).to_be_visible()
        page.context.set_offline(False)
        seen.errors = [error for error in seen.errors if "ERR_" not in error]


def test_unknown_words_are_shown_with_the_picture(toy: Any, serving: Any, opened: Any) -> None:
    with serving(toy(known_words="a red circle")) as live:
        live.wait_until_ready()
        page, _ = opened(live)
        draw(page, "a red dragon")
        expect(page.locator("#pictures .warnings")).to_have_text(re.compile('never trained on "dragon"'))
        draw(page, "a red circle")
        expect(page.locator("#pictures .warnings")).to_be_hidden()


def test_a_phone_has_no_hints_about_keys_and_sees_progress(toy: Any, serving: Any, opened: Any) -> None:
    engine = toy(step_s=0.2)
    with serving(engine) as live:
        live.wait_until_ready()
        page, _ = opened(live)
        page.set_viewport_size({"width": 390, "height": 800})
        assert page.locator("kbd:visible").count() == 0
        check_accessible(page)
        page.get_by_role("button", name="Draw").click()
        running = page.locator("#pictures .card[data-state=running]")
        expect(running).to_be_visible()
        expect(running.locator("h3")).to_be_in_viewport()
        expect(page.locator("#pictures .card[data-state=done]")).to_be_visible()
