"""Booking: two bookings never overlap, however many press at the same moment."""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from boxwork.errors import Refused
from boxwork.packs.course import facts
from boxwork.packs.course.counter import rows_of
from boxwork.packs.course.facts import Booking
from boxwork.packs.course.outline import Resource
from tests.packs.course.conftest import NAME


@pytest.fixture
def date(stage: Any) -> str:
    first: str = stage.course.head.days[0].date.isoformat()
    return first


def book(stage: Any, link: str, date: str, start: int, length: int, resource: str = "desk-1") -> Booking:
    booking: Booking = stage.work.commit(
        facts.book, course=NAME, link=link, resource=resource, date=date, start=start, length=length
    )
    return booking


def test_bookings_may_touch_but_not_overlap(stage: Any, date: str) -> None:
    ada, bob = stage.register("ada")[0].link, stage.register("bob")[0].link
    book(stage, ada, date, 600, 60)
    for start, length in ((600, 60), (570, 60), (630, 30), (540, 120), (630, 60), (600, 30)):
        with pytest.raises(Refused, match="somebody was quicker: it is taken then"):
            book(stage, bob, date, start, length)
    book(stage, bob, date, 540, 60)
    book(stage, bob, date, 660, 30)
    book(stage, bob, date, 600, 60, "lab")  # another resource


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"start": 510}, "it cannot be booked at that time"),
        ({"start": 1050, "length": 60}, "it cannot be booked at that time"),
        ({"start": 545}, "it cannot be booked at that time"),
        ({"length": 45}, "it cannot be booked at that time"),
        ({"length": 0}, "it cannot be booked at that time"),
        ({"length": -30}, "it cannot be booked at that time"),
        ({"length": 150}, "it is lent for 120 minutes at most"),
        ({"date": "2001-01-01"}, "'2001-01-01' is no day of this course"),
        ({"resource": "yacht"}, "there is no 'yacht' to book"),
        ({"link": "guessed"}, "this personal link leads to nobody"),
    ],
)
def test_what_cannot_be_booked_is_refused_with_the_reason(
    stage: Any, date: str, change: dict[str, Any], told: str
) -> None:
    given = {"link": stage.register("ada")[0].link, "date": date, "start": 600, "length": 30, **change}
    with pytest.raises(Refused, match=told):
        book(stage, **given)
    assert [] == stage.office.ask(facts.bookings, course=NAME)


def test_a_hundred_racing_bookings_none_double(stage: Any, date: str) -> None:
    links = [stage.register(f"p{number}")[0].link for number in range(10)]
    begin, reasons = threading.Barrier(10), set()

    def press(at: int) -> int:
        begin.wait(20)
        got = 0
        # each begins somewhere else and goes round all half hours, an hour long each time
        for step in range(18):
            try:
                book(stage, links[at], date, 540 + 30 * ((at * 7 + step) % 17), 60)
                got += 1
            except Refused as refusal:
                reasons.add(refusal.details["kind"])
        return got

    with ThreadPoolExecutor(10) as pool:
        got = sum(pool.map(press, range(10)))
    booked = sorted(stage.office.ask(facts.bookings, course=NAME), key=lambda one: one.start)
    assert got == len(booked) > 3
    assert {"taken"} <= reasons <= {"taken", "many"}
    assert all(one.end <= other.start for one, other in itertools.pairwise(booked))


def test_who_waits_cannot_book_and_nobody_has_more_than_ten(empty: Any) -> None:
    empty.seats(1)
    empty.publish()
    ada, bob = empty.register("ada")[0].link, empty.register("bob")[0].link
    days = [day.date.isoformat() for day in empty.course.head.days]
    with pytest.raises(Refused, match="who waits for a seat cannot book yet"):
        book(empty, bob, days[0], 600, 30)
    for day in days:
        book(empty, ada, day, 600, 30)
        book(empty, ada, day, 660, 30)
    with pytest.raises(Refused, match="nobody has more than 10 bookings"):
        book(empty, ada, days[0], 720, 30)


def test_a_booking_is_given_back_by_whom_it_belongs_to_and_by_who_cancels(stage: Any, date: str) -> None:
    (ada, details), (bob, _) = stage.register("ada"), stage.register("bob")
    book(stage, ada.link, date, 600, 60)
    book(stage, ada.link, date, 660, 60)
    where = {"course": NAME, "resource": "desk-1", "date": date, "start": 600}
    assert stage.work.commit(facts.unbook, link=bob.link, **where) is False
    assert stage.work.commit(facts.unbook, link=ada.link, **where) is True
    assert stage.work.commit(facts.unbook, link=ada.link, **where) is False
    book(stage, bob.link, date, 600, 60)
    stage.office.cancel(NAME, details.token)
    assert [bob.number] == [one.person for one in stage.office.ask(facts.bookings, course=NAME)]


def test_sessions_that_are_not_there_cannot_be_chosen(stage: Any) -> None:
    link = stage.register("ada")[0].link
    assert ("chains",) == stage.work.commit(
        facts.choose, course=NAME, link=link, sessions=("chains", "chains")
    ).sessions
    with pytest.raises(Refused, match="there is no session 'golf'"):
        stage.work.commit(facts.choose, course=NAME, link=link, sessions=("golf",))
    every = tuple(one.name for one in stage.course.sessions)
    assert stage.work.commit(facts.choose, course=NAME, link=link, sessions=every).sessions is None


def test_the_rows_of_a_day_fit_together_whatever_the_steps() -> None:
    resources = (
        Resource("a", "A", opens="09:00", closes="12:00", step_min=30, longest_min=60),
        Resource("b", "B", opens="09:00", closes="12:00", step_min=60, longest_min=60),
        Resource("c", "C", opens="10:00", closes="11:30", step_min=45, longest_min=45),
    )
    rows = rows_of(resources, [Booking("b", "d", 600, 660, 7, 0), Booking("a", "d", 570, 600, 8, 0)], own=7)
    assert ["09:00", "09:30", "10:00", "10:30", "10:45", "11:00", "11:30"] == [row["at"] for row in rows]
    # every row has as many cells as columns, those that span from above counted
    covered = [0] * len(rows)
    for at, row in enumerate(rows):
        for cell in row["cells"]:
            for below in range(at, at + cell["rows"]):
                covered[below] += 1
    assert [3] * len(rows) == covered
    states = {cell["slot"]: cell["state"] for row in rows for cell in row["cells"] if cell["slot"]}
    assert ("own", "taken", "free") == (states["b|600"], states["a|570"], states["c|600"])
