"""The gallery in a real Chromium: what a person sees and does."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import boxwork
from boxwork.packs.thumbs.sample import make_sample
from boxwork.testing.served import served

pytestmark = pytest.mark.servers

VISIBLE_DONE = """() => {
  const on = [...document.querySelectorAll('.cell')].filter(c => { const b = c.getBoundingClientRect();
    return b.bottom > 0 && b.top < innerHeight && b.right > 0; });
  return on.length > 3 && on.every(c => c.classList.contains('there') || c.classList.contains('broken'));
}"""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    place = tmp_path_factory.mktemp("gallery")
    make_sample(place / "photos", 60)
    (place / "photos" / "000-broken.jpg").write_bytes((place / "photos" / "000-dawn-ridges.jpg").read_bytes()[:3000])
    with boxwork.open(place / "data") as work:
        list(work.inventory.scan(place / "photos"))
        with served(work) as server:
            yield server.url


@pytest.fixture
def page(open_page: Any, url: str) -> Any:
    # a broken picture answers 422, and the browser says so in its console; nothing else may go wrong
    opened = open_page(allowed=("422",), viewport={"width": 1200, "height": 800}, accept_downloads=True)
    opened.goto(url)
    opened.wait_for_function(VISIBLE_DONE)
    return opened


def test_every_visible_picture_shows_and_the_broken_one_is_marked(page: Any) -> None:
    assert page.locator(".cell.broken").count() == 1
    assert page.locator("#count").inner_text() == "61 pictures"


def test_a_broken_picture_is_named_and_its_viewer_says_why_in_plain_words(page: Any) -> None:
    cell = page.locator(".cell.broken")
    shown = cell.evaluate("cell => getComputedStyle(cell, '::after').content")
    assert '"000-broken.jpg"' == shown
    for _ in range(2):  # the second time the failure is remembered, and says since when
        cell.click()
        page.wait_for_selector("#fault:not([hidden])")
        said = page.locator("#fault").inner_text()
        assert said.startswith("This picture cannot be shown")
        assert "the picture is broken" in said
        assert "ValueError" not in said
        assert "ago" not in said
        page.keyboard.press("Escape")


def test_a_link_leads_to_what_could_not_be_read(page: Any) -> None:
    link = page.locator("#faults")
    link.wait_for()  # the gallery looks again every 4 s
    assert "1 file could not be read" == link.inner_text()
    link.click()
    page.wait_for_selector(".faults table")
    assert "000-broken.jpg" == page.locator(".faults tbody th").inner_text()


def test_scrolling_to_the_end_shows_the_last_picture_with_few_cells(page: Any) -> None:
    page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    page.wait_for_function(VISIBLE_DONE)
    assert page.locator('.cell[aria-posinset="61"].there').count() == 1
    page.evaluate("scrollTo(0, 0)")
    page.wait_for_function(VISIBLE_DONE)
    assert page.locator(".cell").count() < 120


def test_search_narrows_and_comes_back(page: Any) -> None:
    page.keyboard.press("/")
    page.keyboard.type("planet")
    page.wait_for_function("() => document.getElementById('count').textContent.includes('found')")
    page.wait_for_function(VISIBLE_DONE)
    labels = page.locator(".cell").evaluate_all("cells => cells.filter(c => c.ref).map(c => c.ariaLabel)")
    assert labels
    assert all("planet" in label for label in labels)
    page.keyboard.press("Escape")
    page.wait_for_function("() => document.getElementById('count').textContent === '61 pictures'")


def test_the_keyboard_reaches_everything(page: Any) -> None:
    page.locator(".cell").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    active = page.evaluate("document.activeElement.getAttribute('aria-posinset')")
    columns = page.evaluate("document.querySelector('photo-grid').columns")
    assert int(active) == 2 + columns
    page.keyboard.press("Space")
    assert page.locator('.cell[aria-selected="true"]').count() == 1
    page.keyboard.press("Shift+ArrowRight")
    assert page.locator("#chosen").inner_text() == "2 selected"
    page.keyboard.press("Escape")
    assert page.locator("#tray").is_hidden()
    page.keyboard.press("End")
    assert page.evaluate("document.activeElement.getAttribute('aria-posinset')") == "61"
    page.keyboard.press("Enter")
    assert page.locator("#viewer").evaluate("d => d.open")
    page.keyboard.press("ArrowLeft")
    page.wait_for_function("() => document.getElementById('photo').naturalWidth > 320")
    page.keyboard.press("Escape")
    assert not page.locator("#viewer").evaluate("d => d.open")
    assert page.evaluate("document.activeElement.getAttribute('aria-posinset')") == "60"


def test_the_viewer_zooms_and_tells_the_lineage(page: Any) -> None:
    page.locator(".cell.there").nth(3).click()
    page.wait_for_function("() => document.getElementById('photo').naturalWidth > 320")
    page.mouse.move(600, 400)
    page.mouse.wheel(0, -600)
    assert page.locator("#zoom").inner_text() != "100 %"
    page.keyboard.press("0")
    assert page.locator("#zoom").inner_text() == "100 %"
    page.keyboard.press("i")
    page.wait_for_selector(".lineage")
    assert "Derived by thumbnail in" in page.locator(".lineage").inner_text()
    page.go_back()
    assert not page.locator("#viewer").evaluate("d => d.open")


def test_a_selection_is_downloaded(page: Any) -> None:
    for at in (2, 4):
        page.locator(".cell.there").nth(at).click(modifiers=["Control"])
    with page.expect_download() as waiting:
        page.locator("#download").click()
    with zipfile.ZipFile(io.BytesIO(Path(waiting.value.path()).read_bytes())) as archive:
        assert len(archive.namelist()) == 2


def test_light_and_dark_can_be_chosen_and_stay(page: Any) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    before = page.evaluate(ground)
    page.locator("#theme").click()
    assert page.evaluate(ground) != before
    page.reload()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_it_fits_a_phone(browser: Any, url: str) -> None:
    context = browser.new_context(viewport={"width": 360, "height": 740}, is_mobile=True, has_touch=True)
    page = context.new_page()
    page.goto(url)
    page.wait_for_function(VISIBLE_DONE)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.locator(".cell.there").nth(2).tap()
    assert page.locator("#viewer").evaluate("d => d.open")
    context.close()


def test_names_and_roles_are_there_for_a_screen_reader(page: Any) -> None:
    nameless = page.evaluate("""() => [...document.querySelectorAll('button, a, input, [role=option]')]
      .filter(e => e.checkVisibility() && !(e.ariaLabel || e.textContent.trim() || e.labels?.length || e.title))
      .map(e => e.outerHTML)""")
    assert nameless == []
    assert page.locator("photo-grid").get_attribute("role") == "listbox"
    assert page.locator(".cell").first.get_attribute("aria-setsize") == "61"
    assert page.evaluate("document.querySelectorAll('[tabindex=\"0\"].cell').length") == 1
