"""A room in three real Chromiums: seen at once, without gap and double across a cut, exact likes, order kept."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from boxwork.packs.lounge.comments import comment

pytestmark = pytest.mark.servers

# Of a comment, from the press of Enter on one page until it stands on another one's screen.  Unit: ms.  The goal is
# 100 (docs/live.md has what was measured); a shared machine gets more, so that the test is about the code.
SEEN_MS_MAX = 500

# Keeps when each comment came, by the clock that all pages of a machine share.
WATCH = """
window.came = {};
new MutationObserver(() => {
  const now = performance.timeOrigin + performance.now();
  for (const words of document.querySelectorAll("#comments p")) window.came[words.textContent] ??= now;
}).observe(document.getElementById("comments"), { childList: true });
"""
# A cut: the sockets end, and none can be opened until it is over.
CUT = """
const real = window.WebSocket;
window.sockets = [];
window.isCut = false;
window.WebSocket = class extends real {
  constructor(...given) {
    super(window.isCut ? new URL("/cut", given[0]) : given[0]);
    window.sockets.push(this);
  }
};
window.cut = (on) => { window.isCut = on; if (on) for (const socket of window.sockets) socket.close(); };
"""

Come = Callable[..., Any]


@pytest.fixture
def come(browser: Any, url: str, key: str) -> Iterator[Come]:
    """Opens the room for another person each time."""
    with contextlib.ExitStack() as contexts:

        def person(name: str, *, secret: str = "", keeps_order: bool = False, **options: Any) -> Any:
            context = browser.new_context(**options)
            contexts.callback(context.close)
            kept = {"boxwork.lounge.name": name}
            if secret:
                kept["boxwork.lounge.secret"] = secret
            if keeps_order:
                kept["boxwork.lounge.key.friday"] = key
            context.add_init_script(
                CUT + "".join(f"localStorage.setItem({name!r}, {text!r});" for name, text in kept.items())
            )
            page = context.new_page()
            page.set_default_timeout(15_000)
            page.goto(f"{url}/lounge/friday")
            page.wait_for_selector('#line[data-state="here"]')
            page.evaluate(WATCH)
            return page

        yield person


def say(page: Any, text: str) -> float:
    """Type it and press Enter; the answer is when, in ms."""
    page.fill("#text", text)
    at = page.evaluate("performance.timeOrigin + performance.now()")
    page.keyboard.press("Enter")
    return float(at)


def sees(page: Any, text: str) -> float:
    page.get_by_text(text, exact=True).last.wait_for()
    return float(page.evaluate("text => window.came[text]", text))


def texts(page: Any) -> list[str]:
    return list(page.locator("#comments p").all_inner_texts())


def test_a_comment_is_seen_by_the_others_at_once(come: Come, record_property: Any) -> None:
    ada, bob, eve = come("ada"), come("bob"), come("eve")
    took = []
    for number in range(10):
        at = say(ada, f"comment {number}")
        took += [sees(page, f"comment {number}") - at for page in (bob, eve)]
    took.sort()
    record_property("seen_ms", took)
    print(f"\nseen after {took[len(took) // 2]:.0f} ms (median), {took[-1]:.0f} ms (worst of {len(took)})")
    assert took[len(took) // 2] < SEEN_MS_MAX
    expected = [f"comment {number}" for number in range(10)]
    assert expected == texts(ada) == texts(bob) == texts(eve)
    assert "3 here" == bob.locator("#present").inner_text()


def test_a_cut_of_five_seconds_leaves_no_gap_and_no_double(come: Come, work: Any) -> None:
    ada, bob = come("ada"), come("bob")
    say(ada, "before")
    sees(bob, "before")
    bob.evaluate("window.cut(true)")
    bob.wait_for_selector('#line[data-state="away"]')
    assert "Cut off" in bob.locator("#line-text").inner_text()
    bob.fill("#text", "said while cut off")
    bob.keyboard.press("Enter")
    for number in range(40):
        work.commit(comment, "friday", "x", False, "ada2", f"missed {number}")
    bob.wait_for_timeout(5000)
    bob.evaluate("window.cut(false)")
    bob.wait_for_selector('#line[data-state="here"]')
    sees(bob, "said while cut off")
    expected = ["before", *(f"missed {number}" for number in range(40)), "said while cut off"]
    sees(ada, "said while cut off")
    assert expected == texts(ada) == texts(bob)


def test_a_thousand_likes_in_a_second_are_exactly_a_thousand(come: Come, work: Any) -> None:
    pages = [come("ada"), come("bob"), come("eve")]
    for page, presses in zip(pages, (334, 333, 333), strict=True):
        page.evaluate("n => { for (let i = 0; i < n; i++) document.getElementById('like').click(); }", presses)
    for page in pages:
        page.locator('#like[aria-label="Like, 1,000 so far"]').wait_for()
    assert 1000 == work.read().get(("lounge", "friday", "likes"))
    late = come("late")
    late.locator('#like[aria-label="Like, 1,000 so far"]').wait_for()


def test_who_is_muted_is_refused_and_nothing_that_he_wrote_is_lost(come: Come) -> None:
    ada, bob = come("ada", keeps_order=True), come("bob")
    say(bob, "something rude")
    sees(ada, "something rude")
    ada.get_by_role("button", name="Mute bob").click()
    ada.locator("#muted li").wait_for(state="attached")
    say(bob, "more of it")
    bob.get_by_text("You are muted in this room.").wait_for()
    assert "more of it" == bob.locator("#text").input_value()
    ada.get_by_role("button", name="Remove the comment of bob").click()
    bob.locator(".removed").wait_for()
    assert ["removed"] == texts(ada) == texts(bob)
    ada.locator("#order").click()
    ada.get_by_role("button", name="Unmute bob").click()
    bob.locator("#text").press("Enter")
    sees(ada, "more of it")


def test_who_is_mentioned_finds_it_by_keyboard(come: Come) -> None:
    ada, bob = come("ada"), come("bob", secret="b" * 32)
    say(bob, "hello")
    sees(ada, "hello")
    say(ada, "sing with me @bob <b>now</b>")
    bob.locator('summary[aria-label="Notifications, 1 new"]').wait_for()
    bob.locator('summary[aria-label="Notifications, 1 new"]').focus()
    bob.keyboard.press("Enter")
    bob.locator("#notes a").wait_for()
    assert "@bob <b>now</b>" in bob.locator("#notes").inner_text()
    bob.locator('summary[aria-label="Notifications"]').wait_for()
    bob.keyboard.press("Escape")
    assert not bob.locator("#notes").is_visible()


def test_the_room_is_for_everybody_on_a_phone_and_in_the_dark(come: Come) -> None:
    from axe_playwright_python.sync_playwright import Axe

    for scheme in ("light", "dark"):
        phone = {"viewport": {"width": 390, "height": 740}, "color_scheme": scheme, "bypass_csp": True}
        page = come(f"ada-{scheme}", keeps_order=True, **phone)
        say(page, f"hello @ada {scheme}")
        page.locator("#comments p", has_text=scheme).wait_for()
        page.locator("#order").click()
        found = Axe().run(page)
        assert 0 == found.violations_count, found.generate_report()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
