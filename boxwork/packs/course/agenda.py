"""The calendar of a course or of one person as an .ics file (RFC 5545), a derivation of the events in it.

A session keeps its UID for ever; its SEQUENCE grows whenever its title, time or room change, so that a calendar that
has it already takes the change; one that was taken out stays as CANCELLED.

Times are written in UTC: they are moments, which every reader shows in the zone of its person, and nobody needs the
rules of a zone.  (The VTIMEZONE that the library can write begins summer an hour late, and vobject took winter time
for all of summer from it.)
"""

from __future__ import annotations

import datetime
from typing import Any

import msgspec

from boxwork import derivation

PRODUCT = "-//Boxwork//Course//EN"
# How often a calendar that subscribed looks again.
REFRESH = datetime.timedelta(hours=1)


class Entry(msgspec.Struct, frozen=True):
    """One event: local times `2027-03-01T09:00`; `at_ns` is when it last changed."""

    uid: str
    title: str
    start: str
    end: str
    at_ns: int
    place: str = ""
    url: str = ""
    sequence: int = 0
    cancelled: bool = False


@derivation(name="course.agenda")
def agenda(name: str, timezone: str, entries: list[dict[str, Any]]) -> bytes:
    """The calendar `name` with these entries, in the zone `timezone`."""
    import zoneinfo

    from icalendar import Calendar, Event

    zone = zoneinfo.ZoneInfo(timezone)
    calendar = Calendar()
    calendar.add("version", "2.0")
    calendar.add("prodid", PRODUCT)
    calendar.add("method", "PUBLISH")
    calendar.add("name", name)
    calendar.add("x-wr-calname", name)
    calendar.add("x-wr-timezone", timezone)
    calendar.add("refresh-interval", REFRESH, parameters={"VALUE": "DURATION"})
    for entry in (msgspec.convert(one, Entry) for one in entries):
        event = Event()
        changed = datetime.datetime.fromtimestamp(entry.at_ns // 10**9, datetime.UTC)
        event.add("uid", entry.uid)
        event.add("sequence", entry.sequence)
        event.add("dtstamp", changed)
        event.add("last-modified", changed)
        event.add("summary", entry.title)
        for side, local in (("dtstart", entry.start), ("dtend", entry.end)):
            moment = datetime.datetime.fromisoformat(local).replace(tzinfo=zone)
            event.add(side, moment.astimezone(datetime.UTC))
        if entry.place:
            event.add("location", entry.place)
        if entry.url:
            event.add("url", entry.url)
        event.add("status", "CANCELLED" if entry.cancelled else "CONFIRMED")
        calendar.add_component(event)
    made: bytes = calendar.to_ical()
    return made
