"""What the pages of this moment show: the form, somebody's own page, the grid of what can be booked."""

from __future__ import annotations

import datetime
from typing import Any

from boxwork.packs.course import facts, letters
from boxwork.packs.course.facts import Booking, Letter, Overview, Person
from boxwork.packs.course.office import Office
from boxwork.packs.course.outline import Course, Resource, clock, minutes
from boxwork.packs.course.pages import DAYS, Site, long_date, long_time

DONE = {
    "sessions": "Your sessions are saved; your calendar has them.",
    "details": "Your details are saved.",
    "cancelled": "Your registration is cancelled.",
    "booked": "It is booked; you find it on your page and in your calendar.",
    "given-back": "It is given back.",
}
FIELDS = ("name", "address", "wishes")


class Counter:
    """Over one office; everything here only looks."""

    def __init__(self, office: Office) -> None:
        self.office = office

    def _open(self, name: str, root: str) -> tuple[Overview, Course, Site]:
        overview = self.office.overview(name)
        course = self.office.course(overview.version.tree)
        return overview, course, self.office.site(course, root)

    def form(
        self, name: str, root: str, values: dict[str, str], faults: dict[str, str], said: str, once: str
    ) -> dict[str, Any]:
        overview, _, site = self._open(name, root)
        rules = overview.version.rules
        free = max(rules.capacity - overview.taken, 0) if not overview.queued else 0
        is_over = self.office.work.clock.now_ns() >= rules.closes_ns
        is_open = not (overview.closed or is_over or (not free and overview.queued >= rules.waiting_max))
        seats = f"{free} of {rules.capacity} seats are free" if free else f"All {rules.capacity} seats are taken"
        if is_over:
            explained = "Registration has ended."
        elif overview.closed:
            explained = "Registration is closed."
        elif free:
            explained = "You get a page of your own, where you choose sessions, book rooms, and can cancel."
        elif is_open:
            explained = f"{waiting(overview.queued)} You can join: who cancels makes a place for the first who waits."
        else:
            explained = "The waiting list is full, too."
        return {
            **site.frame("register", "Register"),
            "seats": seats,
            "explained": explained,
            "open": is_open,
            "free": bool(free),
            "once": once or self.office.work.clock.token(16),
            "values": {field: values.get(field, "") for field in FIELDS},
            "faults": list(faults.items()),
            "faults_by": {field: faults.get(field, "") for field in FIELDS},
            "said": said,
        }

    def me(
        self,
        name: str,
        token: str,
        root: str,
        address: str,
        done: str,
        values: dict[str, str] | None,
        faults: dict[str, str],
        said: str,
    ) -> dict[str, Any]:
        person = self.office.who(name, token)
        _, course, site = self._open(name, root)
        frame = site.frame("me", "My registration")
        shown = {
            **frame,
            "state": person.state,
            "done": DONE.get(done, ""),
            "said": said,
            "faults": list(faults.items()),
        }
        if person.state == "cancelled":
            return shown
        details = self.office.people(name).details(person.details)
        given = {"name": "", "address": "", "wishes": ""}
        if details is not None:
            given = {"name": details.name, "address": details.address, "wishes": details.wishes}
        link = f"{address}/course/{name}/me/{token}"
        own = [one for one in self.office.ask(facts.letters, course=name) if one.person == person.number]
        return {
            **shown,
            "me": f"{site.base}me/{token}",
            "standing": self._standing(name, person),
            "letters": [self._letter(one, course, given["name"], link) for one in own],
            "sessions": [
                {
                    "name": one.name,
                    "title": one.head.title,
                    "when": f"{DAYS[course.begins(one).weekday()]} {one.head.start}",
                    "chosen": person.sessions is None or one.name in person.sessions,
                }
                for one in course.sessions
            ],
            "resources": bool(course.head.resources),
            "bookings": self._bookings(name, course, person),
            "values": values or given,
            "faults_by": {field: faults.get(field, "") for field in FIELDS},
        }

    def _standing(self, name: str, person: Person) -> str:
        if person.state == "enrolled":
            return "You have a seat."
        return f"You are number {self.office.ask(facts.place, course=name, number=person.number)} on the waiting list."

    def _letter(self, letter: Letter, course: Course, name: str, link: str) -> dict[str, Any]:
        at = datetime.datetime.fromtimestamp(letter.at_ns / 1e9, course.zone)
        text = letters.text(letter, course.head.title, name, link)
        return {"subject": letters.subject(letter), "at": long_time(at), "text": text}

    def _bookings(self, name: str, course: Course, person: Person) -> list[dict[str, Any]]:
        names = {one.id: one.name for one in course.head.resources}
        booked = self.office.ask(facts.bookings, course=name)
        return [
            {
                "name": names.get(one.resource, one.resource),
                "day": long_date(datetime.date.fromisoformat(one.date)),
                "date": one.date,
                "start": clock(one.start),
                "end": clock(one.end),
                "slot": f"{one.resource}|{one.start}",
            }
            for one in sorted(booked, key=lambda one: (one.date, one.start))
            if one.person == person.number
        ]

    # --- the grid

    def grid(self, name: str, token: str, root: str, day: str, said: str, done: str, length: int) -> dict[str, Any]:
        person = self.office.who(name, token) if token else None
        _, course, site = self._open(name, root)
        dates = [one.date for one in course.head.days]
        today = site.now.date()
        shown = next((one for one in dates if one.isoformat() == day), None)
        shown = shown or next((one for one in dates if one >= today), dates[0])
        taken = [one for one in self.office.ask(facts.bookings, course=name) if one.date == shown.isoformat()]
        may_book = person is not None and person.state == "enrolled"
        resources = course.head.resources
        lengths = sorted(
            {count for one in resources for count in range(one.step_min, one.longest_min + 1, one.step_min)}
        )
        me = f"{site.base}me/{token}" if may_book else ""
        return {
            **site.frame("resources", "Booking"),
            "me": me,
            "waiting": person is not None and not may_book,
            "here": f"{me or site.base.removesuffix('/')}/resources",
            "said": said,
            "done": DONE.get(done, ""),
            "timezone": course.head.timezone,
            "resources": resources,
            "day": {"date": shown.isoformat(), "long": long_date(shown)},
            "days": [{"date": one.isoformat(), "short": f"{DAYS[one.weekday()][:3]} {one.day}"} for one in dates],
            "lengths": lengths,
            "length": length or next((count for count in lengths if count >= 60), max(lengths, default=0)),
            "rows": rows_of(resources, taken, person.number if person is not None else 0),
        }


def waiting(count: int) -> str:
    return "One person waits." if count == 1 else f"{count} people wait."


def rows_of(resources: tuple[Resource, ...], taken: list[Booking], own: int) -> list[dict[str, Any]]:
    """The rows of a day: one for each time at which something begins; a longer slot spans the rows that it covers."""
    begins = sorted(
        {start for one in resources for start in range(minutes(one.opens), minutes(one.closes), one.step_min)}
    )
    rows = []
    for at in begins:
        cells = []
        for one in resources:
            opens, closes = minutes(one.opens), minutes(one.closes)
            if not opens <= at < closes:
                cells.append({"rows": 1, "state": "closed", "said": "closed", "slot": "", "name": one.name})
            elif (at - opens) % one.step_min == 0:
                end = at + one.step_min
                booking = next((b for b in taken if b.resource == one.id and b.start < end and at < b.end), None)
                state = "free" if booking is None else "own" if own and booking.person == own else "taken"
                cells.append(
                    {
                        "rows": sum(at <= other < end for other in begins),
                        "state": state,
                        "said": {"own": "yours"}.get(state, state),
                        "slot": f"{one.id}|{at}",
                        "name": one.name,
                    }
                )
        rows.append({"at": clock(at), "cells": cells})
    return rows
