"""Every page of the navigation, light, dark and on a phone, as axe-core judges it: no violation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import boxwork
from boxwork.packs.thumbs.sample import make_sample
from boxwork.testing.served import served

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    place = tmp_path_factory.mktemp("accessible")
    make_sample(place / "photos", 20)
    (place / "photos" / "000-broken.jpg").write_bytes((place / "photos" / "000-dawn-ridges.jpg").read_bytes()[:3000])
    with boxwork.open(place / "data") as work:
        list(work.inventory.scan(place / "photos"))
        for item in work.inventory.items(contains="broken").items:
            assert item.ref is not None
            work.inventory.note(item.ref, "it ends in the middle")
        with served(work) as server:
            yield server.url


def judged(page: Any) -> list[str]:
    """What axe-core finds: rule, impact and the elements."""
    from axe_playwright_python.sync_playwright import Axe

    response = Axe().run(page).response
    return [
        f"{one['id']} ({one['impact']}): {one['help']}: " + "; ".join(node["html"][:120] for node in one["nodes"][:3])
        for one in response["violations"]
    ]


@pytest.fixture(params=["light", "dark", "phone"])
def page(request: pytest.FixtureRequest, browser: Any) -> Iterator[Any]:
    looks: dict[str, Any] = {
        "light": {"color_scheme": "light", "viewport": {"width": 1200, "height": 800}},
        "dark": {"color_scheme": "dark", "viewport": {"width": 1200, "height": 800}},
        "phone": {"color_scheme": "dark", "viewport": {"width": 360, "height": 740}, "has_touch": True},
    }[request.param]
    # axe is put into the page from outside, which the pages' own policy forbids to everybody else
    context = browser.new_context(**looks, bypass_csp=True, reduced_motion="reduce")
    opened = context.new_page()
    opened.set_default_timeout(15_000)
    yield opened
    context.close()


def test_no_page_has_a_violation(page: Any, url: str) -> None:
    page.goto(url)
    page.wait_for_selector(".cell.there")
    paths = page.locator("nav a").evaluate_all("links => links.map(link => link.getAttribute('href'))")
    assert "/" in paths
    slips = []
    for path in [*paths, "/faults", "/no-such-page"]:
        page.goto(url + path)
        page.wait_for_load_state("load")
        page.wait_for_timeout(300)  # live pages draw their first values
        slips += [f"{path}: {one}" for one in judged(page)]
    assert [] == slips


def test_the_viewer_its_details_and_a_selection_have_none(page: Any, url: str) -> None:
    page.goto(url)
    page.wait_for_selector(".cell.there")
    page.locator(".cell.there").nth(1).focus()
    page.keyboard.press("Space")
    slips = [f"selection: {one}" for one in judged(page)]
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.getElementById('photo').naturalWidth > 320")
    page.keyboard.press("i")
    page.wait_for_selector(".lineage")
    slips += [f"viewer: {one}" for one in judged(page)]
    assert [] == slips
