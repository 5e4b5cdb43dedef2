"""The page at `/docs` in a real browser: it shows every operation of the document, from this server alone."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import expect


def test_the_page_shows_every_operation_of_the_document(shared: Any, opened: Any) -> None:
    document = shared.client.get("/openapi.json").json()
    operations = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    page, seen = opened(shared, ready=False, path="docs")
    expect(page.locator(".opblock")).to_have_count(len(operations))
    shown = [
        (
            block.locator(".opblock-summary-method").inner_text().strip(),
            # Swagger UI lets the browser break paths with zero-width spaces.
            block.locator(".opblock-summary-path").inner_text().replace("\u200b", "").strip(),
        )
        for block in page.locator(".opblock").all()
    ]
    assert set(shown) == operations
    generate = page.locator(".opblock").filter(has=page.locator("[data-path='/v1/generate']"))
    generate.locator(".opblock-summary-control").click()
    expect(generate.locator(".opblock-section-request-body")).to_contain_text("prompt")
    assert f"{seen.origin}openapi.json" in seen.addresses


def test_a_request_from_the_page(shared: Any, opened: Any) -> None:
    page, _ = opened(shared, ready=False, path="docs")
    version = page.locator(".opblock").filter(has=page.locator("[data-path='/version']"))
    version.locator(".opblock-summary-control").click()
    version.get_by_role("button", name="Try it out").click()
    version.get_by_role("button", name="Execute").click()
    expect(version.locator(".live-responses-table .response-col_status").last).to_contain_text("200")
