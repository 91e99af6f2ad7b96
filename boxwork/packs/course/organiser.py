"""The organiser's pages, in the house's shell and behind the node's guard: strangers of a public course never get here.

GET  /courses                          all courses
GET  /courses/{name}                   who comes, who waits, what is booked, what would have been mailed, the versions
GET  /courses/{name}/participants.csv
POST /courses/{name}/registration      close or open it
POST /courses/{name}/cancel            somebody's registration
POST /courses/{name}/version           show an earlier version again
"""

from __future__ import annotations

import csv
import datetime
import functools
import io
from typing import Any

import anyio
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from boxwork import errors
from boxwork.packs.course import facts, letters
from boxwork.packs.course.facts import Person
from boxwork.packs.course.office import Office
from boxwork.packs.course.outline import clock
from boxwork.packs.course.pages import fill, templates
from boxwork.packs.course.replies import form_of, looks_of, one_of

COLUMNS = ("number", "state", "place", "name", "address", "needs", "registered")
# A cell that begins so is a formula to a spreadsheet, and somebody else wrote it.
FORMULA = ("=", "+", "-", "@", "\t", "\r")
FIGURES = 9


def rows_of(office: Office, name: str) -> list[dict[str, Any]]:
    """Everybody who has a seat or waits, in the order of registering; `place` is the place in the queue."""
    people, zone = office.people(name), office.course(office.overview(name).version.tree).zone
    everybody: list[Person] = office.ask(facts.people, course=name)
    rows, place = [], 0
    for person in everybody:
        if person.state == "cancelled":
            people.forget(person.subject, "cancelled")  # a crash between the commit and this would have left it
            continue
        place += person.state == "waiting"
        details = people.details(person.details)
        at = datetime.datetime.fromtimestamp(person.at_ns / 1e9, zone)
        rows.append(
            {
                "number": person.number,
                "state": person.state,
                "place": place if person.state == "waiting" else "",
                "name": details.name if details else "",
                "address": details.address if details else "",
                "needs": details.wishes if details else "",
                "registered": f"{at:%Y-%m-%d %H:%M}",
                "token": details.token if details else "",
            }
        )
    return rows


def csv_of(rows: list[dict[str, Any]]) -> str:
    """As spreadsheets read it; what looks like a formula is marked as text."""
    file = io.StringIO()
    writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore", lineterminator="\r\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: safe(value) for key, value in row.items()})
    return file.getvalue()


def safe(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def post_of(office: Office, name: str, address: str) -> list[dict[str, Any]]:
    """What would have been mailed, the newest first.  Who cancelled is forgotten, so nobody can be written to."""
    course = office.course(office.overview(name).version.tree)
    people = {one.number: one for one in office.ask(facts.people, course=name)}
    rows = []
    everything = office.ask(facts.letters, course=name)
    for letter in reversed(everything):
        details = office.people(name).details(people[letter.person].details)
        link = f"{address}/course/{name}/me/{details.token}" if details else ""
        at = datetime.datetime.fromtimestamp(letter.at_ns / 1e9, course.zone)
        rows.append(
            {
                "at": f"{at:%Y-%m-%d %H:%M}",
                "person": letter.person,
                "to": details.address if details else "forgotten",
                "subject": letters.subject(letter),
                "text": letters.text(letter, course.head.title, details.name, link) if details else "",
            }
        )
    return rows


class Organiser:
    """The endpoints, over one website."""

    def __init__(self, site: Any) -> None:
        self.site = site
        self.office: Office = site.office

    async def courses(self, request: Request) -> Response:
        """`GET /courses`: all courses of this node."""
        rows = await anyio.to_thread.run_sync(self._courses)
        return self._page(request, "Courses", "courses", {"courses": rows})

    def _courses(self) -> list[dict[str, Any]]:
        found = ((name, self.office.overview(name)) for name in self.office.names())
        return [
            {
                "name": name,
                "title": one.version.title,
                "taken": one.taken,
                "capacity": one.version.rules.capacity,
                "queued": one.queued,
            }
            for name, one in found
        ]

    async def course(self, request: Request) -> Response:
        """`GET /courses/{name}`: everything about one course."""
        shown = await anyio.to_thread.run_sync(self._course, name_of(request), self.site.address(request))
        return self._page(request, shown["title"], "organiser", shown)

    def _course(self, name: str, address: str) -> dict[str, Any]:
        office, overview = self.office, self.office.overview(name)
        course = office.course(overview.version.tree)
        rows = rows_of(office, name)
        names = {row["number"]: row["name"] for row in rows}
        versions = [
            {
                "number": one.number,
                "tree": one.tree.hex,
                "by": one.by,
                "why": one.why,
                "is_shown": one.number == overview.version.number,
                "at": f"{datetime.datetime.fromtimestamp(one.at_ns / 1e9, course.zone):%Y-%m-%d %H:%M}",
            }
            for one in office.ask(facts.versions, course=name)
        ]
        booked = office.ask(facts.bookings, course=name)
        bookings = [
            {
                "resource": one.resource,
                "date": one.date,
                "start": clock(one.start),
                "end": clock(one.end),
                "name": names.get(one.person, ""),
            }
            for one in sorted(booked, key=lambda one: (one.date, one.start, one.resource))
        ]
        return {
            "name": name,
            "title": course.head.title,
            "closed": overview.closed,
            "taken": overview.taken,
            "queued": overview.queued,
            "capacity": overview.version.rules.capacity,
            "people": rows,
            "versions": versions,
            "bookings": bookings,
            "letters": post_of(office, name, address),
            "timezone": course.head.timezone,
        }

    def _page(self, request: Request, title: str, template: str, shown: dict[str, Any]) -> Response:
        looks_of(request)  # makes the style sheet known to the shell
        shell = request.app.state.shell
        main = fill(
            {f"{template}.html": templates()[f"{template}.html"]},
            template,
            {**shown, "root": request.scope.get("root_path", "")},
        )
        reply: Response = shell.page(request, title, main, styles=[shell.address("course", "course.css")])
        reply.headers["cache-control"] = "no-store"
        return reply

    async def participants(self, request: Request) -> Response:
        """`GET /courses/{name}/participants.csv`"""
        name = name_of(request)
        rows = await anyio.to_thread.run_sync(rows_of, self.office, name)
        headers = {
            "cache-control": "no-store",
            "content-disposition": f'attachment; filename="{name}-participants.csv"',
        }
        return Response(csv_of(rows), 200, headers, media_type="text/csv; charset=utf-8")

    async def registration(self, request: Request) -> Response:
        """`POST /courses/{name}/registration`, a form with `closed`: yes or no."""
        closed = one_of(await form_of(request), "closed")
        if closed not in ("yes", "no"):
            raise errors.BadInput(f"closed={closed[:20]!r}: yes or no, please")
        await self._commit(request, facts.close, closed=closed == "yes")
        return self._back(request)

    async def cancel(self, request: Request) -> Response:
        """`POST /courses/{name}/cancel`, a form with the `number` of a person."""
        number = one_of(await form_of(request), "number")
        if not (number.isascii() and number.isdigit() and len(number) <= FIGURES):
            raise errors.BadInput(f"number={number[:20]!r}: the number of a person, please")
        await anyio.to_thread.run_sync(self.office.cancel_number, name_of(request), int(number))
        return self._back(request)

    async def version(self, request: Request) -> Response:
        """`POST /courses/{name}/version`, a form with the `tree` of an earlier version: it is shown again."""
        tree = one_of(await form_of(request), "tree")
        restore = functools.partial(self.office.restore, by="the organiser's page", why="put back")
        await anyio.to_thread.run_sync(restore, name_of(request), tree)
        return self._back(request)

    async def _commit(self, request: Request, box: Any, **inputs: Any) -> None:
        name = name_of(request)
        await anyio.to_thread.run_sync(self.office.overview, name)
        await anyio.to_thread.run_sync(functools.partial(self.office.work.commit, box, course=name, **inputs))

    def _back(self, request: Request) -> Response:
        return RedirectResponse(f"{request.scope.get('root_path', '')}/courses/{name_of(request)}", 303)


def name_of(request: Request) -> str:
    name: str = request.path_params["name"]
    return name


def routes(site: Any) -> list[BaseRoute]:
    desk = Organiser(site)
    one = "/courses/{name}"
    return [
        Route("/courses", desk.courses, methods=["GET"], include_in_schema=False),
        Route(one, desk.course, methods=["GET"], include_in_schema=False),
        Route(f"{one}/participants.csv", desk.participants, methods=["GET"]),
        Route(f"{one}/registration", desk.registration, methods=["POST"]),
        Route(f"{one}/cancel", desk.cancel, methods=["POST"]),
        Route(f"{one}/version", desk.version, methods=["POST"]),
    ]
