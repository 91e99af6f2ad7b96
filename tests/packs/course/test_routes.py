"""The website over HTTP, on a real server: pages, forms, handouts by their time, and what strangers do not get."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from boxwork.packs.course import facts
from boxwork.testing.served import served
from tests.packs.course.conftest import NAME, Stage

COURSE = f"/course/{NAME}"
PERSON = {"name": "Ada", "address": "ada@example.org", "wishes": "captions"}


class Site:
    """A served course, and a browser's worth of client."""

    def __init__(self, stage: Stage, url: str) -> None:
        self.stage = stage
        self.url = url
        self.client = httpx.Client(base_url=url, timeout=30, headers={"accept": "text/html"})

    def get(self, path: str, **headers: str) -> httpx.Response:
        return self.client.get(path, headers=headers)

    def post(self, path: str, fields: Any, **headers: str) -> httpx.Response:
        return self.client.post(path, data=fields, headers=headers)

    def form(self, **fields: str) -> dict[str, str]:
        """The form as it is served, filled in."""
        once = re.search(r'name="once" value="([0-9a-f]+)"', self.get(f"{COURSE}/register").text)
        assert once is not None
        return {**PERSON, "once": once[1], **fields}

    def me(self, **fields: str) -> str:
        """Somebody registered; the path of their page."""
        answer = self.post(f"{COURSE}/register", self.form(**fields))
        assert answer.status_code == 303, answer.text
        return answer.headers["location"]


@pytest.fixture
def site(stage: Stage) -> Iterator[Site]:
    with served(stage.work) as server:
        made = Site(stage, server.url)
        with made.client:
            yield made


def test_every_page_answers_and_is_not_sent_twice(site: Site) -> None:
    for path, _, _ in site.stage.office.site(site.stage.course).paths():
        answer = site.get(f"{COURSE}/{path}")
        assert (200, "no-cache") == (answer.status_code, answer.headers["cache-control"])
        assert "<!--looks-->" not in answer.text
        again = site.get(f"{COURSE}/{path}", **{"if-none-match": answer.headers["etag"]})
        assert (304, b"") == (again.status_code, again.content)
        for address in re.findall(r'(?:href|src)="(/[^"#]+)', answer.text):  # nothing leads nowhere
            assert site.get(address).status_code in (200, 403), address
    assert 308 == site.get(COURSE).status_code
    assert "default-src 'none'; script-src 'self'" in answer.headers["content-security-policy"]


def test_an_edit_is_seen_at_once_and_changes_the_etag_of_its_page_alone(site: Site) -> None:
    paths = ("", "schedule", "session/chains", "session/order")
    before = [site.get(f"{COURSE}/{path}").headers["etag"] for path in paths]
    site.stage.edit("sessions/chains.md", "A torn tail", "A torn end")
    site.stage.publish()
    after = [site.get(f"{COURSE}/{path}") for path in paths]
    assert [True, True, False, True] == [one.headers["etag"] == old for one, old in zip(after, before, strict=True)]
    assert "A torn end" in after[2].text


def test_a_page_that_is_not_there_is_told_in_the_courses_own_clothes(site: Site) -> None:
    answer = site.get(f"{COURSE}/page/nothing")
    assert (404, True) == (answer.status_code, "<title>Nothing here · Everything is a hashing" in answer.text)
    told = site.get(f"{COURSE}/page/nothing", accept="application/json")
    assert (404, "missing") == (told.status_code, told.json()["error"])
    assert 404 == site.get("/course/another/").status_code
    assert 404 == site.get("/course/UPPER%2Fcase/").status_code


def test_a_handout_is_closed_until_its_time_and_then_open(site: Site) -> None:
    stage, path = site.stage, f"{COURSE}/materials/merge-answers.md"
    data = (stage.folder / "materials" / "merge-answers.md").read_bytes()
    answer = site.get(path)
    assert 403 == answer.status_code
    assert re.search(
        r"It can be had from <time [^>]+>Tuesday, \d+ \w+ \d{4}, 16:30</time> \(Europe/Berlin\) on", answer.text
    )
    assert data[:20] not in answer.content
    stage.until(stage.course.moment(2, "16:30") - datetime.timedelta(seconds=1))
    assert 403 == site.get(path).status_code
    stage.clock.advance(10**9)
    answer = site.get(path)
    assert (200, data) == (answer.status_code, answer.content)
    # what could be a page with scripts is saved, not shown
    drawing = site.get(f"{COURSE}/materials/trees.svg")
    assert 'attachment; filename="trees.svg"' == drawing.headers["content-disposition"]
    assert drawing.headers["content-security-policy"].startswith("sandbox")


def test_the_bytes_of_a_closed_handout_lie_under_no_other_address(site: Site) -> None:
    stage = site.stage
    material = stage.course.materials["merge-answers.md"]
    data = (stage.folder / "materials" / "merge-answers.md").read_bytes()
    from boxwork import ref_of

    tree = stage.office.overview(NAME).version.tree
    for ref in (material.ref, str(ref_of(data))):
        assert 404 == site.get(f"/blobs/{ref}").status_code
    for ref in (tree, *(entry.ref for _, entry in stage.work.tree(tree).walk() if entry.ref)):
        assert data not in site.get(f"/blobs/{ref}").content


def test_a_file_that_no_session_hands_out_is_not_handed_out(site: Site) -> None:
    (site.stage.folder / "materials" / "notes.md").write_text("for speakers only", "utf-8")
    site.stage.publish()
    assert 404 == site.get(f"{COURSE}/materials/notes.md").status_code
    assert 404 == site.get(f"{COURSE}/materials/materials.json").status_code
    assert 404 == site.get(f"{COURSE}/materials/..%2fcourse.md").status_code


def test_somebody_registers_and_gets_a_page_of_their_own(site: Site) -> None:
    me = site.me()
    page = site.get(me)
    assert (200, "no-store") == (page.status_code, page.headers["cache-control"])
    for said in ("You have a seat", "This site sends no e-mail", "Dear Ada", f"{site.url}{me}", ">captions<"):
        assert said in page.text
    assert "59 of 60 seats are free" in site.get(f"{COURSE}/register").text
    assert "Ada" not in site.get(f"{COURSE}/register").text


def test_the_same_form_sent_twice_is_one_registration(site: Site) -> None:
    form = site.form()
    first, second = (site.post(f"{COURSE}/register", form) for _ in range(2))
    assert first.headers["location"] == second.headers["location"]
    assert ["enrolled"] == site.stage.states()
    other = site.post(f"{COURSE}/register", {**form, "address": "bob@example.org"})
    assert 400 == other.status_code
    assert "This form was sent already" in other.text


def test_a_wrong_field_is_told_at_the_field_and_what_was_typed_stays(site: Site) -> None:
    answer = site.post(f"{COURSE}/register", site.form(address="ada", name="A <b>da</b>"))
    assert 400 == answer.status_code
    assert '<a href="#address">Write a whole e-mail address' in answer.text
    assert re.search(
        r'id="address"[^>]*value="ada"[^>]*aria-describedby="address-hint address-fault"[^>]*aria-invalid', answer.text
    )
    assert "A &lt;b&gt;da&lt;/b&gt;" in answer.text
    site.me()
    again = site.post(f"{COURSE}/register", site.form())
    assert (400, True) == (again.status_code, "Somebody has registered with this e-mail address" in again.text)


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"{}", "application/json", 400),
        (b"name=a", "application/x-www-form-urlencoded", 400),
        (b"name=%ff&once=" + b"a" * 32, "application/x-www-form-urlencoded", 400),
        (b"&".join(b"a=%d" % n for n in range(1001)), "application/x-www-form-urlencoded", 400),
        (b"name=" + b"a" * 70_000, "application/x-www-form-urlencoded", 413),
    ],
)
def test_what_is_no_form_is_refused(site: Site, content: bytes, kind: str, status: int) -> None:
    answer = site.client.post(f"{COURSE}/register", content=content, headers={"content-type": kind})
    assert status == answer.status_code
    assert [] == site.stage.states()


def test_a_full_course_says_so_and_a_cancelled_seat_goes_to_the_next(site: Site) -> None:
    site.stage.edit("course.md", "capacity = 60", "capacity = 1")
    site.stage.edit("course.md", "waiting_max = 40", "waiting_max = 1")
    site.stage.publish()
    ada = site.me()
    assert "All 1 seats are taken" in site.get(f"{COURSE}/register").text
    bob = site.me(address="bob@example.org", name="Bob")
    assert "You are number 1 on the waiting list" in site.get(bob).text
    full = site.get(f"{COURSE}/register").text
    assert "The waiting list is full, too." in full
    assert 'name="once"' not in full
    late = site.post(f"{COURSE}/register", {**PERSON, "address": "cyd@example.org", "once": "c" * 32})
    assert (409, True) == (late.status_code, "All seats are taken and the waiting list is full." in late.text)
    assert 303 == site.post(f"{ada}/cancel", {}).status_code
    assert "A seat has become free" in site.get(bob).text
    gone = site.get(ada).text
    assert "This registration was cancelled" in gone
    assert "ada@example.org" not in gone
    assert 409 == site.post(f"{ada}/sessions", {"session": "chains"}).status_code


def test_sessions_and_details_are_changed_on_ones_own_page(site: Site) -> None:
    me = site.me()
    assert 303 == site.post(f"{me}/sessions", {"session": ["chains", "order"]}).status_code
    page = site.get(f"{me}?done=sessions").text
    assert "Your sessions are saved" in page
    assert ["chains", "order"] == re.findall(r'value="([a-z-]+)" checked', page)
    calendar = site.get(f"{me}/sessions.ics")
    assert ("text/calendar; charset=utf-8", 2) == (
        calendar.headers["content-type"],
        calendar.text.count("BEGIN:VEVENT"),
    )
    assert 303 == site.post(f"{me}/details", {**PERSON, "name": "Ada B."}).status_code
    wrong = site.post(f"{me}/details", {**PERSON, "name": ""})
    assert (400, True) == (wrong.status_code, "Write your name" in wrong.text)
    assert 'value="Ada B."' in site.get(me).text
    assert 14 == site.get(f"{COURSE}/course.ics").text.count("BEGIN:VEVENT")


def test_a_booking_shows_as_taken_to_others_and_as_ones_own_to_oneself(site: Site) -> None:
    ada, bob = site.me(), site.me(address="bob@example.org")
    day = site.stage.course.head.days[2].date.isoformat()
    order = {"slot": "desk-1|600", "day": day, "length": "60"}
    assert 303 == site.post(f"{ada}/book", order).status_code
    assert 2 == site.get(f"{ada}/resources?day={day}").text.count(">yours<")
    others = site.get(f"{bob}/resources?day={day}").text
    assert (2, 0) == (others.count(">taken<"), others.count(">yours<"))
    assert 'value="desk-1|600"' not in others
    public = site.get(f"{COURSE}/resources?day={day}").text
    assert (2, 0) == (public.count(">taken<"), public.count('<button class="slot"'))
    late = site.post(f"{bob}/book", order)
    assert (409, True) == (late.status_code, "Somebody was quicker: it is taken then." in late.text)
    assert 400 == site.post(f"{bob}/book", {**order, "slot": "desk-1|ten"}).status_code
    assert "Desk 1" in site.get(ada).text
    assert 303 == site.post(f"{ada}/unbook", {"slot": "desk-1|600", "day": day}).status_code
    assert [] == site.stage.office.ask(facts.bookings, course=NAME)


def test_a_page_of_another_site_changes_nothing(site: Site) -> None:
    for headers in ({"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}):
        assert 403 == site.post(f"{COURSE}/register", site.form(), **headers).status_code
        assert 403 == site.post(f"/courses/{NAME}/registration", {"closed": "yes"}, **headers).status_code
    assert [] == site.stage.states()
    assert not site.stage.office.overview(NAME).closed


# --- the organiser's pages


def test_the_organiser_sees_everybody_and_exports_them(site: Site) -> None:
    site.me(name="=HYPERLINK(1)", wishes='a, "b"\nc')
    bob = site.me(address="bob@example.org", name="Bob")
    site.post(f"{bob}/cancel", {})
    page = site.get(f"/courses/{NAME}")
    for said in (
        "1 of 60 seats are taken",
        "=HYPERLINK(1)",
        "ada@example.org",
        "You have a seat",
        "shown now",
        "forgotten",
    ):
        assert said in page.text
    assert "bob@example.org" not in page.text
    assert NAME in site.get("/courses").text
    export = site.get(f"/courses/{NAME}/participants.csv")
    assert "text/csv; charset=utf-8" == export.headers["content-type"]
    import csv

    rows = list(csv.DictReader(export.text.splitlines(keepends=True)))
    assert [("'=HYPERLINK(1)", 'a, "b"\nc', "enrolled")] == [(row["name"], row["needs"], row["state"]) for row in rows]


def test_the_organiser_closes_registration_cancels_and_puts_a_version_back(site: Site) -> None:
    site.me()
    desk = f"/courses/{NAME}"
    assert 303 == site.post(f"{desk}/registration", {"closed": "yes"}).status_code
    assert "Registration is closed." in site.get(f"{COURSE}/register").text
    assert 400 == site.post(f"{desk}/registration", {"closed": "maybe"}).status_code
    assert 303 == site.post(f"{desk}/registration", {"closed": "no"}).status_code
    assert 303 == site.post(f"{desk}/cancel", {"number": "1"}).status_code
    assert ["cancelled"] == site.stage.states()
    assert 404 == site.post(f"{desk}/cancel", {"number": "7"}).status_code
    assert 400 == site.post(f"{desk}/cancel", {"number": "one"}).status_code
    site.stage.edit("pages/venue.md", "level with the street", "up two steps")
    first = site.stage.office.overview(NAME).version.tree
    site.stage.publish()
    assert "up two steps" in site.get(f"{COURSE}/page/venue").text
    assert 303 == site.post(f"{desk}/version", {"tree": first.hex}).status_code
    assert "level with the street" in site.get(f"{COURSE}/page/venue").text
    assert 404 == site.post(f"{desk}/version", {"tree": "ffffffff"}).status_code
