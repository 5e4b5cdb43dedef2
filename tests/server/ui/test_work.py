"""What the page is for: drawing, asking, comparing, cancelling; mouse or keyboard, files however they come."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Locator, Page, expect

STEP = re.compile(r"step \d+: backbone (full|pruned|not needed)(, \d+ layers? skipped)?, head (computed|reused)")


def choose_policy(page: Page, task: str, policy: str) -> None:
    page.locator(f"#{task} input[value={policy}]").check()


def set_points(page: Page, num_inference_steps: int) -> None:
    if not page.locator("details[open]").count():
        page.get_by_text("More", exact=True).click()
    page.get_by_label("Time points").fill(str(num_inference_steps))


def watch(page: Page) -> None:
    """Notes every change of the results, those too that the browser shows for less than a frame."""
    page.evaluate(
        """() => {
            window.changes = [];
            const note = ({ type, target, attributeName }) => ({
                type, what: attributeName ?? target.className, kind: target.localName,
            });
            const observer = new MutationObserver((records) => changes.push(...records.map(note)));
            observer.observe(document.querySelector("main"), { subtree: true, childList: true, attributes: true });
        }"""
    )


def changes(page: Page, kind: str, what: str) -> int:
    return int(
        page.evaluate(
            "([kind, what]) => changes.filter((c) => c.kind === kind && c.what === what).length", [kind, what]
        )
    )


def ran(done: Locator) -> list[dict[str, str]]:
    """The cells of a card's strip."""
    cells = done.locator(".strip .cell")
    found: list[dict[str, str]] = cells.evaluate_all("(cells) => cells.map((cell) => ({ ...cell.dataset }))")
    titles = cells.evaluate_all("(cells) => cells.map((cell) => cell.title)")
    assert all(STEP.fullmatch(title) for title in titles)
    return found


def expected(live: Any, policy: str, **fields: Any) -> dict[str, Any]:
    """What the server says of the page's own first request."""
    body = {"prompt": "a large red circle left of a small blue square", "seed": 11, "acceleration": policy, **fields}
    answer: dict[str, Any] = live.client.post("/v1/generate", json=body).json()
    return answer


def cells_of(steps: list[dict[str, Any]]) -> list[dict[str, str]]:
    return [
        {
            "kind": "reused" if one["backbone"] == "not_needed" else one["backbone"],
            "backbone": one["backbone"],
            "head": one["head"],
            "skipped": str(one["layers_skipped"]),
        }
        for one in steps
    ]


def test_a_picture_is_drawn_and_asked_about(real: Any, opened: Any, card: Any) -> None:
    page, _ = opened(real)
    watch(page)
    page.get_by_role("button", name="Draw").click()
    shown = card(page, "flashu", "done")
    expect(shown).to_be_visible()
    expected_result = expected(real, "flashu")
    steps = expected_result["schedule"]["evaluations"]
    # A slow reader receives the latest only, of progress and of two partial images; the picture comes last.
    assert 1 <= changes(page, "progress", "value") <= steps
    assert 2 <= changes(page, "img", "src") <= 3
    assert ran(card(page, "flashu", "done")) == cells_of(expected_result["evaluations"])
    kinds = {cell["kind"] for cell in ran(card(page, "flashu", "done"))}
    assert kinds == {"full", "pruned", "reused"}
    strip = shown.get_by_role("img", name=f"{steps} steps:")
    expect(strip).to_be_visible()
    names = shown.locator(".bars th").all_inner_texts()
    assert {"backbone", "head", "vae decode", "image encode", "queue"} <= set(names)
    assert {name.replace("_", " ") for name in expected_result["timings_ms"]} - set(names) == {"total"}
    widths = shown.locator(".bar").evaluate_all("(bars) => bars.map((bar) => bar.getBoundingClientRect().width)")
    assert max(widths) > 50 and min(widths) >= 1
    expect(shown.locator(".total")).to_have_text(re.compile(r"[\d.]+ ms"))
    picture = shown.get_by_role("img", name="a large red circle left of a small blue square")
    assert picture.evaluate("(image) => [image.naturalWidth, image.naturalHeight]") == [64, 64]
    expect(shown.locator(".seed")).to_have_text("seed 11")

    shown.get_by_role("button", name="Ask about it").click()
    expect(page.get_by_label("Question")).to_be_focused()
    page.get_by_label("Question").fill("what is in the picture?")
    page.get_by_role("button", name="Ask", exact=True).click()
    answered = page.locator("#answers .card[data-state=done]")
    expect(answered).to_be_visible()
    body = {
        "question": "what is in the picture?",
        "image": expected_result["images"][0]["b64_json"],
        "acceleration": "flashu",
    }
    said = real.client.post("/v1/vqa", json=body).json()
    assert len(said["answer"].split()) > 5
    expect(answered.locator(".answer")).to_have_text(said["answer"])
    assert changes(page, "p", "answer") >= 1
    assert answered.locator(".answer").get_attribute("aria-live") == "polite"
    assert {"prefill", "decode", "image decode"} <= set(answered.locator(".bars th").all_inner_texts())


def test_exact_and_flashu_are_compared(real: Any, opened: Any, card: Any) -> None:
    page, _ = opened(real)
    choose_policy(page, "draw", "compare")
    set_points(page, 25)
    page.get_by_role("button", name="Draw").click()
    for policy in ("exact", "flashu"):
        done = card(page, policy, "done")
        expect(done).to_be_visible()
        assert ran(done) == cells_of(expected(real, policy, num_inference_steps=25)["evaluations"])
    expect(page.locator("#draw-comparison")).to_contain_text(re.compile("times as (fast|long)"))
    boxes = [card(page, policy, "done").bounding_box() for policy in ("exact", "flashu")]
    assert all(boxes)
    one, other = boxes
    assert one["y"] == other["y"] and one["x"] + one["width"] <= other["x"]
    assert {cell["kind"] for cell in ran(card(page, "exact", "done"))} == {"full"}
    # One scale for both columns: the longest bar of all is exact's, or flashu's; the same time is as long in both.
    scale = page.locator(".bars tr").evaluate_all(
        """(rows) => rows.map((row) => [
            parseFloat(row.querySelector(".number").textContent), parseFloat(row.querySelector(".bar").style.width)
        ])"""
    )
    maximum = max(milliseconds for milliseconds, _ in scale)
    assert all(abs(width - 100 * milliseconds / maximum) < 1.5 for milliseconds, width in scale)


def test_a_drawing_is_cancelled_and_the_next_one_drawn(real: Any, opened: Any, card: Any) -> None:
    page, _ = opened(real)
    choose_policy(page, "draw", "exact")
    saved = real.metric("flashu_evaluations_saved_by_cancel_total")
    for end in (lambda: page.keyboard.press("Escape"), lambda: page.get_by_role("button", name="Cancel").first.click()):
        set_points(page, 1000)
        page.get_by_role("button", name="Draw").click()
        expect(card(page, "exact", "running")).to_be_visible()
        expect(page.get_by_role("button", name="Cancel").first).to_be_enabled()
        end()
        cancelled = card(page, "exact", "cancelled")
        expect(cancelled.locator(".status")).to_have_text(re.compile(r"cancelled after step \d+ of 999"))
        expect(page.get_by_role("button", name="Cancel").first).to_be_disabled()
        before = saved
        real.wait_for(lambda before=before: real.metric("flashu_evaluations_saved_by_cancel_total") > before)  # type: ignore[misc]
        saved = real.metric("flashu_evaluations_saved_by_cancel_total")
        set_points(page, 5)
        page.get_by_role("button", name="Draw").click()
        expect(card(page, "exact", "done").locator(".cell")).to_have_count(4)


def test_everything_by_keyboard(real: Any, opened: Any, card: Any) -> None:
    page, _ = opened(real)

    def tab_to(selector: str) -> None:
        for _ in range(40):
            page.keyboard.press("Tab")
            if page.evaluate("(selector) => document.activeElement.matches(selector)", selector):
                ring = page.evaluate(
                    """() => {
                        const active = document.activeElement;
                        return getComputedStyle(active.closest(".policies label, .drop") ?? active).outlineStyle;
                    }"""
                )
                assert ring == "solid"
                return
        raise AssertionError(f"{selector} is not reached by Tab")

    tab_to("[name=prompt]")
    page.keyboard.press("Control+A")
    page.keyboard.type("a green triangle")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("above a yellow circle")
    page.keyboard.press("Enter")
    picture = card(page, "flashu", "done").locator(".canvas img")
    expect(picture).to_have_attribute("alt", "a green triangle\nabove a yellow circle")
    tab_to("[name=draw-policy]")
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("document.activeElement.value") == "exact"
    tab_to(".use")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.name") == "question"
    page.keyboard.type("how many circles are there?")
    page.keyboard.press("Enter")
    expect(page.locator("#answers .card[data-state=done] .answer")).not_to_be_empty()


def test_a_file_is_chosen_dropped_and_pasted(shared: Any, opened: Any, tmp_path: Path) -> None:
    page, _ = opened(shared)
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.locator("#drop-text")).to_have_text(re.compile("First a picture"))
    expect(page.locator("#file")).to_be_focused()
    file = tmp_path / "picture.png"
    file.write_bytes(picture_of(48, 32))
    page.locator("#file").set_input_files(file)
    page.get_by_role("button", name="Ask", exact=True).click()
    answer = page.locator("#answers .card[data-state=done] .answer")
    expect(answer).to_have_text(re.compile("48x32"))
    for kind, size in (("drop", (40, 36)), ("paste", (64, 44))):
        give(page, kind, picture_of(*size))
        page.get_by_role("button", name="Ask", exact=True).click()
        expect(answer).to_have_text(re.compile("{}x{}".format(*size)))
    give(page, "drop", b"no picture", "text/plain")
    expect(page.locator("#drop-text")).to_have_text(re.compile("That is no picture"))


def test_an_answer_is_shown_while_it_comes(toy: Any, serving: Any, opened: Any) -> None:
    engine = toy(step_s=1.0)
    with serving(engine) as live:
        live.wait_until_ready()
        page, _ = opened(live)
        give(page, "drop", picture_of(48, 32))
        page.get_by_role("button", name="Ask", exact=True).click()
        coming = page.locator("#answers .card[data-state=running] .answer")
        expect(coming).to_have_text(re.compile("^48x32"))
        engine.hold()
        assert coming.get_attribute("aria-busy") == "true"
        assert coming.inner_text() != "48x32 200 30 30"
        engine.release()
        expect(page.locator("#answers .card[data-state=done] .answer")).to_have_text("48x32 200 30 30")
        assert page.locator("#answers .answer").get_attribute("aria-busy") is None


def picture_of(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), (200, 30, 30)).save(file, "PNG")
    return file.getvalue()


def give(page: Page, kind: str, content: bytes, media_type: str = "image/png") -> None:
    """Drops or pastes a file."""
    page.evaluate(
        """([kind, bytes, type]) => {
            const held = new DataTransfer();
            held.items.add(new File([Uint8Array.from(bytes)], "a", { type }));
            const made = kind === "drop"
                ? new DragEvent("drop", { dataTransfer: held, bubbles: true, cancelable: true })
                : new ClipboardEvent("paste", { clipboardData: held, bubbles: true });
            document.querySelector("#drop").dispatchEvent(made);
        }""",
        [kind, list(content), media_type],
    )


def test_light_dark_narrow_and_still(shared: Any, opened: Any) -> None:
    page, _ = opened(shared)
    papers = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        papers.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert papers[0] != papers[1]
    choose_policy(page, "draw", "compare")
    choose_policy(page, "ask", "compare")
    page.get_by_role("button", name="Draw").click()
    expect(page.locator("#draw-comparison")).to_contain_text(re.compile("times as (fast|long)"))
    assert page.evaluate("document.getAnimations().length") == 0
    for width in (1600, 1000, 700, 400, 320):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
