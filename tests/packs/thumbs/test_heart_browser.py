"""The heart of a picture in a real Chromium: liked, counted live, put right by the answer."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any

import pytest

import boxwork
from boxwork.packs.thumbs.sample import make_sample
from boxwork.testing.served import served

pytestmark = pytest.mark.servers

LIKE = re.compile("/commit/(un)?like_photo$")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    place = tmp_path_factory.mktemp("hearts")
    make_sample(place / "photos", 6)
    with boxwork.open(place / "data") as work:
        list(work.inventory.scan(place / "photos"))
        with served(work) as server:
            yield server.url


@pytest.fixture
def people(browser: Any, url: str) -> Iterator[Any]:
    """Opens the picture at a position for another person each time."""
    contexts = contextlib.ExitStack()

    def person(at: int) -> Any:
        context = browser.new_context(viewport={"width": 1200, "height": 800})
        contexts.callback(context.close)
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.goto(url)
        page.locator(f'.cell[aria-posinset="{at}"]').focus()
        page.keyboard.press("Enter")
        page.wait_for_selector("#like:not([disabled])")
        return page

    with contexts:
        yield person


def shows(page: Any, likes: int, *, mine: bool) -> None:
    """Wait until the heart says so: to a screen reader, which is told the same as the eye."""
    told = f"Like (l), {likes} {'like' if likes == 1 else 'likes'}"
    page.wait_for_selector(f'#like[aria-label="{told}"][aria-pressed="{str(mine).lower()}"]')
    assert (str(likes) if likes else "") == page.locator("#likes").inner_text()


def test_a_like_is_seen_by_everybody_who_looks(people: Any) -> None:
    ada, bob = people(1), people(1)
    shows(ada, 0, mine=False)
    ada.keyboard.press("l")
    shows(ada, 1, mine=True)
    shows(bob, 1, mine=False)  # without doing anything
    bob.locator("#like").click()
    shows(bob, 2, mine=True)
    shows(ada, 2, mine=True)
    ada.locator("#like").focus()
    ada.keyboard.press("Enter")
    shows(ada, 1, mine=False)
    shows(bob, 1, mine=True)


def test_another_picture_has_its_own_heart_and_who_comes_back_finds_his(people: Any) -> None:
    ada = people(2)
    ada.keyboard.press("l")
    shows(ada, 1, mine=True)
    ada.keyboard.press("ArrowRight")
    shows(ada, 0, mine=False)
    ada.keyboard.press("ArrowLeft")
    shows(ada, 1, mine=True)
    ada.reload()
    ada.locator('.cell[aria-posinset="2"]').focus()
    ada.keyboard.press("Enter")
    shows(ada, 1, mine=True)


def test_a_press_whose_answer_got_lost_is_sent_again_and_counts_once(people: Any) -> None:
    ada, sent = people(4), []

    def lose(route: Any) -> None:
        sent.append(route.request.headers["idempotency-key"])
        if len(sent) == 1:
            route.fetch()  # it is committed …
            route.abort()  # … and nobody hears of it
        else:
            route.continue_()

    ada.route(LIKE, lose)
    with ada.expect_response(LIKE):  # of the second try: the first one has none
        ada.keyboard.press("l")
        shows(ada, 1, mine=True)
    assert 2 == len(sent)
    assert 1 == len(set(sent))
    shows(people(4), 1, mine=False)


def test_what_cannot_be_saved_is_taken_back_and_said(people: Any) -> None:
    ada = people(5)
    refusal = {"error": "storage.full", "message": "no space left for the log", "retry": "never", "details": {}}
    ada.route(LIKE, lambda route: route.fulfill(status=507, json=refusal))
    ada.keyboard.press("l")
    ada.wait_for_function("() => document.getElementById('like-said').textContent.includes('no space left')")
    shows(ada, 0, mine=False)
    ada.unroute(LIKE)
    ada.keyboard.press("l")
    shows(ada, 1, mine=True)
    assert "" == ada.locator("#like-said").inner_text()


def test_of_many_quick_presses_the_last_one_stands(people: Any) -> None:
    ada = people(6)
    for _ in range(7):
        ada.keyboard.press("l")
    shows(ada, 1, mine=True)
    shows(people(6), 1, mine=False)
