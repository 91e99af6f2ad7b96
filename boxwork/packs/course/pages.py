"""The pages of a course, each a derivation of exactly what it shows.

`site_of` says what each page shows, as plain values: its text, and the parts of the course that it names.  `page` makes
HTML of that and of the templates.  So an edit of one text changes what one page shows, and that page alone is made
again; the title of a session is shown by the pages that name it, and they are.  Whether a handout is out already is
such a value too: when its time comes, the pages that show it become other pages, by themselves.
"""

from __future__ import annotations

import datetime
import functools
import importlib.resources
from collections.abc import Callable, Iterator
from typing import Any

from boxwork import derivation, errors
from boxwork.packs.course.outline import Course, Handout, Session
from boxwork.packs.course.text import html, links

FOLDER = "boxwork.packs.course.templates"
# What can be followed from every page, beside the author's own pages.
NAVIGATION = (("Start", ""), ("Schedule", "schedule"), ("Materials", "materials"), ("Booking", "resources"))


@derivation(name="course.page")
def page(layout: dict[str, str], name: str, shown: dict[str, Any]) -> str:
    """The template `name` of `layout` (name → text) with `shown` in it."""
    return fill(layout, name, shown)


def fill(layout: dict[str, str], name: str, shown: dict[str, Any]) -> str:
    """The same without being remembered, for pages that show facts of this moment."""
    filled: str = _environment(tuple(sorted(layout.items()))).get_template(f"{name}.html").render(shown)
    return filled


# Compiling the templates takes some milliseconds, filling one in a tenth of one.
# Unit: layouts; one, and another during an upgrade.
@functools.lru_cache(maxsize=2)
def _environment(layout: tuple[tuple[str, str], ...]) -> Any:
    from jinja2 import DictLoader, Environment, StrictUndefined

    return Environment(
        loader=DictLoader(dict(layout)),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@functools.lru_cache(maxsize=1)
def templates() -> dict[str, str]:
    """All templates of this pack: name of the file → text."""
    folder = importlib.resources.files(FOLDER)
    return {entry.name: entry.read_text("utf-8") for entry in folder.iterdir() if entry.name.endswith(".html")}


def layout_of(name: str) -> dict[str, str]:
    """The templates that the page `name` is made of: its own, and the frame."""
    return {part: templates()[part] for part in ("frame.html", "parts.html", f"{name}.html")}


# --- what is shown


class Site:
    """What every page of one course shows, at one time, under one address: `base`, with a slash at the end."""

    def __init__(self, course: Course, base: str, now_ns: int) -> None:
        self.course = course
        self.base = base
        self.now = datetime.datetime.fromtimestamp(now_ns / 1e9, course.zone)
        self._found = {path: (template, shown) for path, template, shown in self.paths()}

    def frame(self, here: str, title: str) -> dict[str, Any]:
        """What stands on every page: the course's name, the navigation, where we are in it."""
        course = self.course
        entries = [entry for entry in NAVIGATION if entry[1] != "resources" or course.head.resources]
        pages = [(one.head.title, f"page/{one.name}") for one in course.pages]
        return {
            "title": title,
            "site": {
                "title": course.head.title,
                "base": self.base,
                "here": here,
                "contact": course.head.contact,
                "nav": [[label, self.base + path, path == here] for label, path in (*entries, *pages)],
            },
        }

    def paths(self) -> Iterator[tuple[str, str, Callable[[], dict[str, Any]]]]:
        """(path, template, what it shows) of every page that is no fact of the moment."""
        yield "", "start", self.start
        yield "schedule", "schedule", self.schedule
        yield "materials", "handouts", self.handouts
        for at, session in enumerate(self.course.sessions):
            yield f"session/{session.name}", "session", functools.partial(self.session, at)
        for one in self.course.pages:
            yield f"page/{one.name}", "text", functools.partial(self.text, one)

    def find(self, path: str) -> tuple[str, Callable[[], dict[str, Any]]] | None:
        return self._found.get(path)

    # --- one page each; `text` is Markdown here, see `shown_html`

    def start(self) -> dict[str, Any]:
        course, head = self.course, self.course.head
        return {
            **self.frame("", head.title),
            "summary": head.summary,
            "place": head.place,
            "when": span(course),
            "days": [
                {
                    "number": number,
                    "title": day.title,
                    "date": long_date(day.date),
                    "iso": day.date.isoformat(),
                    "sessions": [row["title"] for row in self._rows(number)],
                }
                for number, day in enumerate(head.days, 1)
            ],
            "source": course.text,
        }

    def schedule(self) -> dict[str, Any]:
        head = self.course.head
        return {
            **self.frame("schedule", "Schedule"),
            "timezone": head.timezone,
            "days": [
                {"number": number, "title": day.title, "date": long_date(day.date), "rows": self._rows(number)}
                for number, day in enumerate(head.days, 1)
            ],
        }

    def handouts(self) -> dict[str, Any]:
        groups = [
            {"title": session.head.title, "href": self._href(session), "handouts": self._handouts(session)}
            for session in self.course.sessions
            if session.head.materials
        ]
        return {**self.frame("materials", "Materials"), "groups": groups, "timezone": self.course.head.timezone}

    def session(self, at: int) -> dict[str, Any]:
        course, session = self.course, self.course.sessions[at]
        head = session.head
        beside = (
            course.sessions[at - 1] if at else None,
            course.sessions[at + 1] if at + 1 < len(course.sessions) else None,
        )
        return {
            **self.frame("schedule", head.title),
            **self._row(session),
            "date": long_date(course.begins(session).date()),
            "timezone": course.head.timezone,
            "speakers": [{"name": one.name, "about": one.about} for one in map(course.speaker, head.speakers)],
            "handouts": self._handouts(session),
            "beside": [
                (word, other.head.title, self._href(other))
                for word, other in zip(("Before", "After"), beside, strict=True)
                if other is not None
            ],
            "source": session.text,
        }

    def text(self, one: Any) -> dict[str, Any]:
        return {**self.frame(f"page/{one.name}", one.head.title), "source": one.text}

    # --- their parts

    def _href(self, session: Session) -> str:
        return f"{self.base}session/{session.name}"

    def _row(self, session: Session) -> dict[str, Any]:
        head, begins, ends = session.head, self.course.begins(session), self.course.ends(session)
        return {
            "title": head.title,
            "href": self._href(session),
            "room": head.room,
            "start": head.start,
            "end": head.end,
            "start_iso": begins.isoformat(),
            "end_iso": ends.isoformat(),
            "names": ", ".join(self.course.speaker(id).name for id in head.speakers),
        }

    def _rows(self, day: int) -> list[dict[str, Any]]:
        return [self._row(session) for session in self.course.sessions if session.head.day == day]

    def _handouts(self, session: Session) -> list[dict[str, Any]]:
        return [self._handout(session, one) for one in session.head.materials]

    def _handout(self, session: Session, handout: Handout) -> dict[str, Any]:
        release = self.course.release_of(session, handout)
        size = self.course.materials[handout.file].bytes
        return {
            "title": handout.title or handout.file,
            "file": handout.file,
            "size": size_of(size),
            "href": f"{self.base}materials/{handout.file}",
            "is_out": release is None or release <= self.now,
            "from": "" if release is None else long_time(release),
            "from_iso": release.isoformat() if release else "",
        }


def check_links(course: Course, find: Callable[[str], list[str]] = links) -> None:
    """Raises `BadInput` for links of authors to pages that this course does not have; `find` finds those in a text."""
    site = Site(course, "/", 0)
    known = {path for path, _, _ in site.paths()} | {f"materials/{file}" for file in course.materials}
    known |= {"resources", "register", "course.ics"}
    places = [("course.md", course.text)]
    places += [(f"sessions/{one.name}.md", one.text) for one in course.sessions]
    places += [(f"pages/{one.name}.md", one.text) for one in course.pages]
    slips = [
        f"{file}: it links to {target!r}, which this course does not have"
        for file, source in places
        for target in find(source)
        if target not in known
    ]
    if slips:
        raise errors.BadInput("the course has links that lead nowhere:\n" + "\n".join(slips), mistakes=slips)


def shown_html(work: Any, shown: dict[str, Any], base: str) -> dict[str, Any]:
    """What a page shows, with its Markdown made HTML by a box of its own: what two pages show is made once."""
    source = shown.pop("source", None)
    return shown if source is None else {**shown, "text": work.call(html, source=source, base=base)}


# --- dates in words.  Written out, because `strftime` speaks the language of the machine.

MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def long_date(date: datetime.date) -> str:
    return f"{DAYS[date.weekday()]}, {date.day} {MONTHS[date.month - 1]} {date.year}"


def long_time(moment: datetime.datetime) -> str:
    return f"{long_date(moment.date())}, {moment:%H:%M}"


def span(course: Course) -> str:
    first, last = course.head.days[0].date, course.head.days[-1].date
    return long_date(first) if first == last else f"{long_date(first)} – {long_date(last)}"


def size_of(count: int) -> str:
    if count < 1024:
        return f"{count} bytes"
    size = float(count)
    for unit in ("KiB", "MiB", "GiB"):
        size /= 1024
        if size < 1024 or unit == "GiB":
            break
    return f"{size:.1f} {unit}"
