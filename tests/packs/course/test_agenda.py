"""The .ics files, read back by a parser that had no part in writing them."""

from __future__ import annotations

import datetime
import warnings
from typing import Any

import pytest

from boxwork.packs.course import facts
from boxwork.packs.course.agenda import Entry, agenda
from tests.packs.course.conftest import NAME

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import vobject

ADDRESS = "https://course.example.org"


def read(data: bytes) -> tuple[Any, dict[str, Any]]:
    """The calendar, and its events by the first part of their UID."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        calendar = vobject.readOne(data.decode())
        return calendar, {event.uid.value.split(".")[0]: event for event in calendar.contents.get("vevent", [])}


def test_every_session_is_in_the_calendar_at_its_moment(stage: Any) -> None:
    calendar, events = read(stage.office.calendar(NAME, ADDRESS))
    told = calendar.contents["x-wr-timezone"][0].value
    assert ("2.0", "Europe/Berlin", 14) == (calendar.version.value, told, len(events))
    for session in stage.course.sessions:
        event = events[session.name]
        assert session.head.title == event.summary.value
        assert stage.course.begins(session).timestamp() == event.dtstart.value.timestamp()
        assert stage.course.ends(session).timestamp() == event.dtend.value.timestamp()
        assert f"{ADDRESS}/course/{NAME}/session/{session.name}" == event.url.value
        assert (session.head.room, "CONFIRMED", "0") == (
            event.location.value, event.status.value, event.sequence.value,
        )  # fmt: skip


def test_lines_are_as_the_standard_wants_them(stage: Any) -> None:
    stage.edit("sessions/chains.md", "Chains of digests", "Chains; of, digests: " + "ä" * 60)
    stage.publish()
    data = stage.office.calendar(NAME, ADDRESS)
    lines = data.split(b"\r\n")
    assert b"" == lines[-1]
    assert all(len(line) <= 75 and b"\n" not in line for line in lines)
    _, events = read(data)
    assert "Chains; of, digests: " + "ä" * 60 == events["chains"].summary.value


def test_a_change_keeps_the_uid_and_counts_the_sequence_up_for_that_session_alone(stage: Any) -> None:
    _, before = read(stage.office.calendar(NAME, ADDRESS))
    stage.clock.advance(60 * 10**9)
    stage.edit("sessions/chains.md", '"Hall"', '"Lab"')
    stage.edit("sessions/order.md", "A hundred people", "Two hundred people")  # of no interest to a calendar
    stage.publish()
    _, after = read(stage.office.calendar(NAME, ADDRESS))
    assert {name: event.uid.value for name, event in before.items()} == {
        name: event.uid.value for name, event in after.items()
    }
    assert {"chains": "1"} == {name: e.sequence.value for name, e in after.items() if e.sequence.value != "0"}
    assert after["chains"].dtstamp.value - before["chains"].dtstamp.value == datetime.timedelta(minutes=1)
    assert after["order"].dtstamp.value == before["order"].dtstamp.value
    stage.office.restore(NAME, "1", by="ada", why="back")  # is a change again, so calendars take it
    assert ("2", "Hall") == (
        (back := read(stage.office.calendar(NAME, ADDRESS))[1]["chains"]).sequence.value, back.location.value,
    )  # fmt: skip


def test_a_session_that_is_taken_out_is_cancelled_in_calendars_that_have_it(stage: Any) -> None:
    (stage.folder / "sessions" / "chains.md").unlink()
    stage.publish()
    _, events = read(stage.office.calendar(NAME, ADDRESS))
    assert ("CANCELLED", "1") == (events["chains"].status.value, events["chains"].sequence.value)
    assert not hasattr(events["chains"], "url")


def test_a_participants_calendar_has_their_sessions_and_bookings(stage: Any) -> None:
    person, details = stage.register("ada")
    date = stage.course.head.days[3].date
    stage.work.commit(facts.choose, course=NAME, link=person.link, sessions=("chains", "order"))
    stage.work.commit(
        facts.book, course=NAME, link=person.link, resource="quiet-room", date=date.isoformat(), start=780, length=60
    )
    _, events = read(stage.office.calendar(NAME, ADDRESS, stage.office.who(NAME, details.token)))
    assert {"chains", "order", "quiet-room"} == set(events)
    room = events["quiet-room"]
    assert "Quiet room" == room.summary.value
    assert stage.course.moment(4, "13:00").timestamp() == room.dtstart.value.timestamp()
    assert stage.course.moment(4, "14:00").timestamp() == room.dtend.value.timestamp()


@pytest.mark.parametrize(
    ("date", "hour"), [("2027-03-27", 8), ("2027-03-28", 7), ("2027-07-01", 7), ("2027-10-30", 7), ("2027-10-31", 8)]
)
def test_the_moment_is_right_on_both_sides_of_summer_time(date: str, hour: int) -> None:
    entry = {"uid": "a", "title": "A", "start": f"{date}T09:30", "end": f"{date}T10:30", "at_ns": 0}
    _, events = read(agenda("x", "Europe/Berlin", [entry]))
    moment = datetime.datetime.combine(datetime.date.fromisoformat(date), datetime.time(hour, 30), datetime.UTC)
    assert moment == events["a"].dtstart.value


def test_a_calendar_without_events_is_a_calendar() -> None:
    calendar, events = read(agenda("empty", "UTC", []))
    assert ("empty", {}) == (calendar.contents["x-wr-calname"][0].value, events)
    assert Entry("a", "b", "c", "d", 1).sequence == 0
