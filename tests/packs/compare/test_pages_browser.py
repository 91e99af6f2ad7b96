"""The pages in a real Chromium: by keyboard from the list to a model's lineage, in both schemes, on a phone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from boxwork.testing.served import served

pytestmark = pytest.mark.servers
# Where pictures of the pages go, for people who want to see them.
PICTURES = os.environ.get("BOXWORK_TEST_PICTURES", "")


@pytest.fixture(scope="module")
def url(work: Any, compared: dict[str, Any]) -> Iterator[str]:
    with served(work) as server:
        yield server.url


def shot(page: Any, name: str) -> None:
    if PICTURES:
        page.screenshot(path=str(Path(PICTURES) / f"{name}.png"), full_page=True)


def test_from_the_list_to_the_lineage_of_a_model_by_keyboard(open_page: Any, url: str) -> None:
    page = open_page(timeout_s=30, viewport={"width": 1200, "height": 900})
    page.goto(f"{url}/compare")
    shot(page, "compare-list")
    page.get_by_role("link", name="bookings", exact=True).first.focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/compare/bookings")
    assert "The column refund alone predicts cancelled" in page.inner_text(".alarms .leak")
    assert "alarm: refund" in page.inner_text("h2:has-text('Leaderboard')")
    rows = page.locator("table.board tbody tr")
    assert 4 == rows.count()
    assert "dummy" in rows.nth(3).inner_text()
    assert 4 == page.locator("svg.interval").count()
    bar, at = (page.locator(f"table.board tbody tr:first-child svg {part}").bounding_box() for part in ("rect", ".at"))
    assert bar["x"] - 2 <= at["x"] <= bar["x"] + bar["width"] + 2
    shot(page, "compare-run")
    page.get_by_role("link", name="tree", exact=True).focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/model/tree")
    assert "compare.models:tree" in page.inner_text(".lineage")
    assert "compare.cleaning:clean" in page.inner_text(".lineage")
    page.locator(".lineage summary").first.focus()
    page.keyboard.press("Enter")
    assert "scikit-learn" in page.inner_text(".lineage details[open]")
    counts = [int(text.split("\n")[0].replace(",", "")) for text in page.locator(".confusion td").all_inner_texts()]
    tests = [int(text.replace(",", "")) for text in page.locator("table td:nth-child(5)").all_inner_texts()]
    assert sum(counts) == sum(tests) > 0
    shot(page, "compare-model")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_pages_are_for_everybody_and_fit_a_phone(open_page: Any, url: str, scheme: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page = open_page(timeout_s=30, viewport={"width": 390, "height": 844}, color_scheme=scheme)
    for path in ("/compare", "/compare/bookings", "/compare/bookings/1/model/tree"):
        page.goto(url + path)
        assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth"), path
        found = Axe().run(page)
        assert 0 == found.violations_count, found.generate_report()
        shot(page, f"compare-phone-{scheme}{path.replace('/', '-')}")
