"""The website in a real Chromium: no accessibility violation on any page, and the whole way by keyboard."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from boxwork.packs.course import facts
from boxwork.testing.served import served
from tests.packs.course.conftest import NAME, Stage

pytestmark = pytest.mark.servers

PICTURES = os.environ.get("BOXWORK_TEST_PICTURES", "")
LOOKS: dict[str, dict[str, Any]] = {
    "light": {"viewport": {"width": 1200, "height": 900}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1200, "height": 900}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 844}, "color_scheme": "light"},
    "magnified": {"viewport": {"width": 320, "height": 256}, "color_scheme": "dark"},  # 1280 pixels at 400 %
}
# Sessions that look different from each other: a list and a quote, a table, a program, handouts.  The others are judged
# once, which is for what they say.
UNLIKE = ("session-what-a-name-is", "session-collisions", "session-first-store", "session-merge")
# What the console says of an answer that is meant to be no 200.
MEANT = ("Failed to load resource",)


class Place:
    """A course with people, bookings and both kinds of handouts, and the addresses of all its pages."""

    def __init__(self, stage: Stage, url: str) -> None:
        self.stage = stage
        self.url = url
        self.course = f"{url}/course/{NAME}"
        (_, ada), (bob, _), (_, eve) = (stage.register(name, wishes="captions") for name in ("ada", "bob", "eve"))
        date = stage.course.head.days[0].date.isoformat()
        stage.work.commit(facts.book, course=NAME, link=bob.link, resource="desk-1", date=date, start=600, length=60)
        stage.office.cancel(NAME, eve.token)
        self.me, self.gone = (f"{self.course}/me/{details.token}" for details in (ada, eve))

    def pages(self) -> dict[str, str]:
        site = self.stage.office.site(self.stage.course)
        found = {path.replace("/", "-") or "start": f"{self.course}/{path}" for path, _, _ in site.paths()}
        return found | {
            "register": f"{self.course}/register", "resources": f"{self.course}/resources",
            "me": self.me, "me-resources": f"{self.me}/resources", "gone": self.gone,
            "later": f"{self.course}/materials/what-next.md", "nothing": f"{self.course}/nothing",
            "courses": f"{self.url}/courses", "organiser": f"{self.url}/courses/{NAME}",
        }  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    stage = Stage(tmp_path_factory.mktemp("course"))
    stage.publish()
    stage.until(stage.course.moment(2, "15:00"))
    # registration is over by then, so it is opened for longer
    stage.edit("course.md", "registration_closes", "# registration_closes")
    stage.publish()
    with served(stage.work) as server:
        yield Place(stage, server.url)
    stage.close()


def judged(page: Any, rules: list[str] | None = None) -> list[str]:
    """What axe-core finds, by all its rules or by these: rule, impact and the elements."""
    from axe_playwright_python.sync_playwright import Axe

    return [
        f"{one['id']} ({one['impact']}): {one['help']}: " + "; ".join(node["html"][:120] for node in one["nodes"][:3])
        for one in Axe().run(page, options={"runOnly": rules} if rules else None).response["violations"]
    ]


def shot(page: Any, name: str) -> None:
    if PICTURES:
        page.screenshot(path=str(Path(PICTURES) / f"course-{name}.png"))


def test_no_page_has_an_accessibility_violation_or_is_wider_than_the_screen(open_page: Any, place: Place) -> None:
    page = open_page(allowed=MEANT, timeout_s=30)
    found = {}
    for name, url in place.pages().items():
        page.goto(url)
        for look, options in LOOKS.items():
            if look != "light" and name.startswith("session-") and name not in UNLIKE:
                continue
            page.emulate_media(color_scheme=options["color_scheme"])
            page.set_viewport_size(options["viewport"])
            shot(page, f"{name}-{look}")
            # a magnified page is a narrower phone: what can still go wrong is its width
            # and the dark differs from the light in its colours
            slips = judged(page, ["color-contrast"] if look == "dark" else None) if look != "magnified" else []
            if not page.evaluate("document.documentElement.scrollWidth <= innerWidth"):
                slips.append("wider than the screen")
            if slips:
                found[f"{name}, {look}"] = slips
    assert {} == found


def test_a_form_with_mistakes_has_no_violation_either_and_leads_to_the_field(open_page: Any, place: Place) -> None:
    page = open_page(allowed=MEANT, **LOOKS["light"])
    page.goto(f"{place.course}/register")
    page.evaluate("document.querySelector('form.form').noValidate = true")
    page.locator("#name").fill("Cyd")
    page.locator("#address").fill("cyd")
    page.get_by_role("button", name="Register").click()
    page.get_by_role("alert").wait_for()
    assert [] == judged(page)
    shot(page, "mistake-light")
    page.get_by_role("link", name="Write a whole e-mail address").press("Enter")
    assert "address" == page.evaluate("document.activeElement.id")
    assert "Cyd" == page.locator("#name").input_value()


@pytest.mark.parametrize("scripts", [True, False])
def test_somebody_registers_books_and_cancels_by_keyboard_alone(open_page: Any, place: Place, scripts: bool) -> None:
    page = open_page(allowed=MEANT, java_script_enabled=scripts, **LOOKS["light"])

    def tab_to(name: str) -> None:
        """Press Tab until what has this name has the focus."""
        for _ in range(90):
            page.keyboard.press("Tab")
            if page.locator(":focus").count() and name in (
                page.locator(":focus").get_attribute("aria-label") or page.locator(":focus").inner_text()
            ):
                return
        raise AssertionError(f"Tab never came to {name!r}")

    page.goto(f"{place.course}/")
    page.keyboard.press("Tab")
    assert "Skip to content" == page.locator(":focus").inner_text()
    tab_to("Register")
    page.keyboard.press("Enter")
    page.wait_for_url("**/register")
    page.locator("#main").focus()
    for text in ("Dan", f"dan-{scripts}@example.org", "a table that goes up".replace(" ", "_")):
        page.keyboard.press("Tab")
        page.keyboard.type(text)
    tab_to("Register")
    page.keyboard.press("Enter")
    page.wait_for_url("**/me/*")
    assert "You have a seat." == page.locator(".state strong").inner_text()
    me = page.url
    tab_to("Book a room")
    page.keyboard.press("Enter")
    page.wait_for_url("**/resources")
    tab_to("Book Lab machine at 09:00")
    if scripts:  # the arrows go to the neighbours
        page.keyboard.press("ArrowDown")
        assert "Book Lab machine at 10:00" == page.locator(":focus").get_attribute("aria-label")
        page.keyboard.press("ArrowRight")
        assert "Book Quiet room at 10:00" == page.locator(":focus").get_attribute("aria-label")
    else:
        tab_to("Book Quiet room at 10:00")
    page.keyboard.press("Enter")
    page.wait_for_url("**done=booked**")
    assert "yours" == page.locator("td.own").first.inner_text()
    page.goto(me)
    assert "10:00–11:00" == page.locator("#bookings ~ ul .at").inner_text()
    tab_to("Cancel my registration")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url("**done=cancelled")
    assert "This registration was cancelled" in page.locator("main").inner_text()
    assert [] == [one for one in place.stage.office.ask(facts.bookings, course=NAME) if one.resource == "quiet-room"]


def test_a_page_weighs_little_and_needs_nothing_from_elsewhere(open_page: Any, place: Place) -> None:
    page = open_page(**LOOKS["phone"])
    asked: list[Any] = []
    page.on("response", lambda answer: asked.append(answer))
    page.goto(f"{place.course}/", wait_until="networkidle")
    assert {place.url} == {"/".join(answer.url.split("/")[:3]) for answer in asked}
    assert sum(len(answer.body()) for answer in asked) < 50_000
