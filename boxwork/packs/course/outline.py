"""A course as its author writes it: a folder of Markdown with TOML heads, read and checked as a whole.

    course.md         the head says everything about the course, the text is the start page
    sessions/*.md     one session each; the name of the file is the name of the session
    pages/*.md        any other page: the venue, the code of conduct
    materials/*       what is handed out, each from a time on

Every mistake is told with its file, all of them at once.  Nothing here reads a disk: files come in as bytes.
"""

from __future__ import annotations

import datetime
import re
import tomllib
import zoneinfo
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import msgspec

from boxwork import errors

T = TypeVar("T")

HEAD = re.compile(r"\A\+\+\+[ \t]*\r?\n(.*?)^\+\+\+[ \t]*\r?$\n?(.*)\Z", re.DOTALL | re.MULTILINE)
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
CLOCK = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")
FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
# The days of a course.  Unit: days.  Reason: the schedule is one page, and a name of a day is its number.
DAYS_MAX = 31
# One text of a course.  Unit: bytes.  Reason: a long book chapter is 100 KiB; more was put there by mistake.
TEXT_BYTES_MAX = 1024 * 1024
# Mistakes that are told at once.  Unit: mistakes.
TOLD_MAX = 40
WHEN_IN_SESSION = ("now", "start", "end")


class Handout(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a session hands out.  `release`: now, start, end (of the session), or a local time `2027-03-01 09:00`."""

    file: str
    title: str = ""
    release: str = "start"


class SessionHead(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The head of `sessions/NAME.md`.  `day` counts from 1, times are local ones of the course."""

    title: str
    day: int
    start: str
    end: str
    room: str = ""
    speakers: tuple[str, ...] = ()
    materials: tuple[Handout, ...] = ()


class PageHead(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The head of `pages/NAME.md`; pages stand in the navigation by `order`, then by title."""

    title: str
    order: int = 100


class Day(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    date: datetime.date
    title: str = ""


class Speaker(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: str
    name: str
    about: str = ""


class Resource(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What can be booked on the days of the course: a room, a desk, a machine."""

    id: str
    name: str
    about: str = ""
    opens: str = "09:00"
    closes: str = "18:00"
    step_min: int = 30
    longest_min: int = 120


class CourseHead(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The head of `course.md`."""

    name: str
    title: str
    days: tuple[Day, ...]
    summary: str = ""
    timezone: str = "UTC"
    place: str = ""
    contact: str = ""
    capacity: int = 60
    waiting_max: int = 200
    registration_closes: str = ""
    speakers: tuple[Speaker, ...] = ()
    resources: tuple[Resource, ...] = ()


class Material(msgspec.Struct, frozen=True):
    """A handed-out file as it is stored: the ref lies in a private space, the size is that of the file."""

    ref: str
    bytes: int


class Session(msgspec.Struct, frozen=True):
    name: str
    head: SessionHead
    text: str


class Page(msgspec.Struct, frozen=True):
    name: str
    head: PageHead
    text: str


class Course(msgspec.Struct, frozen=True):
    """A course without a mistake.  Sessions are in order of time, pages in order of the navigation."""

    head: CourseHead
    text: str
    sessions: tuple[Session, ...]
    pages: tuple[Page, ...]
    materials: dict[str, Material]

    @property
    def zone(self) -> zoneinfo.ZoneInfo:
        return zoneinfo.ZoneInfo(self.head.timezone)

    def moment(self, day: int, clock: str) -> datetime.datetime:
        """That time of that day, with the zone."""
        hour, minute = (int(part) for part in clock.split(":"))
        return datetime.datetime.combine(self.head.days[day - 1].date, datetime.time(hour, minute), self.zone)

    def begins(self, session: Session) -> datetime.datetime:
        return self.moment(session.head.day, session.head.start)

    def ends(self, session: Session) -> datetime.datetime:
        return self.moment(session.head.day, session.head.end)

    def release_of(self, session: Session, handout: Handout) -> datetime.datetime | None:
        """From when on it is handed out; None is always."""
        if handout.release == "now":
            return None
        if handout.release == "start":
            return self.begins(session)
        if handout.release == "end":
            return self.ends(session)
        return local_time(handout.release, self.zone)

    def closes(self) -> datetime.datetime:
        """When registration ends; without a word about it, when the last day is over."""
        if self.head.registration_closes:
            return local_time(self.head.registration_closes, self.zone)
        return datetime.datetime.combine(self.head.days[-1].date, datetime.time(23, 59), self.zone)

    def speaker(self, id: str) -> Speaker:
        return next(one for one in self.head.speakers if one.id == id)


def local_time(text: str, zone: zoneinfo.ZoneInfo) -> datetime.datetime:
    """`2027-03-01 09:00` in that zone.  Raises `ValueError`."""
    return datetime.datetime.strptime(text, "%Y-%m-%d %H:%M").replace(tzinfo=zone)


def minutes(clock: str) -> int:
    """`09:30` as minutes after midnight."""
    hour, minute = clock.split(":")
    return 60 * int(hour) + int(minute)


def clock(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"


def read_course(texts: Mapping[str, bytes], materials: Mapping[str, Material]) -> Course:
    """The course in these files: path → bytes.  Raises `BadInput` that names every mistake."""
    reading = Reading()
    course = reading.course(texts, materials)
    if reading.mistakes:
        count = len(reading.mistakes)
        more = f"\nand {count - TOLD_MAX} more" if count > TOLD_MAX else ""
        raise errors.BadInput(
            f"the course has {count} mistake{'s' if count > 1 else ''}:\n"
            + "\n".join(reading.mistakes[:TOLD_MAX])
            + more,
            mistakes=reading.mistakes[:TOLD_MAX],
        )
    assert course is not None  # without a mistake there is one
    return course


class Reading:
    """One reading of a folder; it goes on after a mistake, so that all are told."""

    def __init__(self) -> None:
        self.mistakes: list[str] = []

    def slip(self, file: str, said: str) -> None:
        self.mistakes.append(f"{file}: {said}")

    def course(self, texts: Mapping[str, bytes], materials: Mapping[str, Material]) -> Course | None:
        if "course.md" not in texts:
            self.slip("course.md", "it is not there; a course begins with it (`boxwork course sample` writes one)")
            return None
        read = self._read("course.md", texts["course.md"], CourseHead)
        sessions = list(self._all(texts, "sessions/", SessionHead, Session))
        pages = list(self._all(texts, "pages/", PageHead, Page))
        for file in materials:
            if not FILE.fullmatch(file):
                self.slip(f"materials/{file}", "call it by letters, digits, dots, dashes and underscores, at most 100")
        if read is None:
            return None
        head, text = read
        before = len(self.mistakes)
        self._check_head(head)
        if len(self.mistakes) > before:
            return None  # what follows would be about these mistakes
        for session in sessions:
            self._check_session(session, head, materials)
        sessions.sort(key=lambda one: (one.head.day, one.head.start, one.name))
        pages.sort(key=lambda one: (one.head.order, one.head.title, one.name))
        return Course(head, text, tuple(sessions), tuple(pages), dict(sorted(materials.items())))

    def _all(
        self, texts: Mapping[str, bytes], folder: str, kind: type[Any], make: Callable[[str, Any, str], T]
    ) -> Iterator[T]:
        for path in sorted(texts):
            if not path.startswith(folder):
                continue
            name = path.removeprefix(folder).removesuffix(".md")
            if not NAME.fullmatch(name):
                self.slip(path, "call it by small letters, digits and dashes, at most 64")
            read = self._read(path, texts[path], kind)
            if read is not None:
                yield make(name, *read)

    def _read(self, path: str, data: bytes, kind: type[T]) -> tuple[T, str] | None:
        if len(data) > TEXT_BYTES_MAX:
            self.slip(path, f"it has {len(data):,} bytes; a text has at most {TEXT_BYTES_MAX:,}")
            return None
        try:
            whole = data.decode("utf-8")
        except UnicodeDecodeError as fault:
            self.slip(path, f"it is not UTF-8 (byte {fault.start})")
            return None
        parts = HEAD.fullmatch(whole.removeprefix("\ufeff"))
        if parts is None:
            self.slip(path, 'it has no head: begin with a line `+++`, then `title = "…"`, then a line `+++`')
            return None
        try:
            # a line more in front, so that the numbers in messages are those of the file
            return msgspec.convert(tomllib.loads("\n" + parts[1]), kind), parts[2].strip() + "\n"
        except tomllib.TOMLDecodeError as fault:
            self.slip(path, f"the head is not TOML: {fault}")
        except msgspec.ValidationError as fault:
            self.slip(path, f"{fault}".replace("Object", "The head").replace("`$.", "`"))
        return None

    def _check_head(self, head: CourseHead) -> None:

        def slip(said: str) -> None:
            self.slip("course.md", said)

        if not NAME.fullmatch(head.name):
            slip(f"name = {head.name!r}: small letters, digits and dashes, at most 64; it is part of every address")
        if not head.title.strip():
            slip("title: a course has one")
        zone = None
        try:
            zone = zoneinfo.ZoneInfo(head.timezone)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            slip(f"timezone = {head.timezone!r}: there is no such zone; write it as Europe/Berlin")
        if not 0 < len(head.days) <= DAYS_MAX:
            slip(f"days: 1 to {DAYS_MAX} of them, not {len(head.days)}")
        if [day.date for day in head.days] != sorted({day.date for day in head.days}):
            slip("days: each date once, in order")
        for name, value, low, high in (
            ("capacity", head.capacity, 1, 100_000),
            ("waiting_max", head.waiting_max, 0, 100_000),
        ):
            if not low <= value <= high:
                slip(f"{name} = {value}: from {low} to {high:,}, please")
        if head.registration_closes and zone is not None:
            self._time("course.md", "registration_closes", head.registration_closes, zone)
        self._check_ids("speakers", [one.id for one in head.speakers])
        self._check_ids("resources", [one.id for one in head.resources])
        for resource in head.resources:
            self._check_resource(resource)

    def _check_ids(self, what: str, ids: list[str]) -> None:
        for id in ids:
            if not NAME.fullmatch(id):
                self.slip("course.md", f"{what}: id = {id!r}: small letters, digits and dashes, at most 64")
            if ids.count(id) > 1:
                self.slip("course.md", f"{what}: two of them have the id {id!r}")

    def _check_resource(self, resource: Resource) -> None:

        def slip(said: str) -> None:
            self.slip("course.md", f"resource {resource.id}: {said}")

        if not all(CLOCK.fullmatch(text) for text in (resource.opens, resource.closes)):
            slip(f"opens = {resource.opens!r}, closes = {resource.closes!r}: times are written 09:00")
            return
        open_min = minutes(resource.closes) - minutes(resource.opens)
        if not 5 <= resource.step_min <= 1440:
            slip(f"step_min = {resource.step_min}: 5 to 1440 minutes")
        elif open_min <= 0 or open_min % resource.step_min:
            slip(
                f"from {resource.opens} to {resource.closes} is no whole number of steps of {resource.step_min} minutes"
            )
        elif resource.longest_min < resource.step_min or resource.longest_min % resource.step_min:
            slip(f"longest_min = {resource.longest_min}: a multiple of step_min ({resource.step_min})")

    def _check_session(self, session: Session, head: CourseHead, materials: Mapping[str, Material]) -> None:
        file = f"sessions/{session.name}.md"
        one = session.head
        if not 1 <= one.day <= len(head.days):
            self.slip(file, f"day = {one.day}: the course has the days 1 to {len(head.days)}")
        if not all(CLOCK.fullmatch(text) for text in (one.start, one.end)):
            self.slip(file, f"start = {one.start!r}, end = {one.end!r}: times are written 09:00")
        elif minutes(one.start) >= minutes(one.end):
            self.slip(file, f"it ends at {one.end}, and begins at {one.start}")
        for id in one.speakers:
            if id not in {speaker.id for speaker in head.speakers}:
                known = ", ".join(speaker.id for speaker in head.speakers) or "none"
                self.slip(file, f"the speaker {id!r} is not in course.md; there are: {known}")
        for handout in one.materials:
            if handout.file not in materials:
                self.slip(file, f"materials/{handout.file} is not there")
            if handout.release not in WHEN_IN_SESSION:
                self._time(file, f"release of {handout.file}", handout.release, zoneinfo.ZoneInfo(head.timezone))

    def _time(self, file: str, what: str, text: str, zone: zoneinfo.ZoneInfo) -> None:
        try:
            local_time(text, zone)
        except ValueError:
            words = f", or one of {', '.join(WHEN_IN_SESSION)}" if what.startswith("release") else ""
            self.slip(file, f"{what} = {text!r}: write it as 2027-03-01 09:00{words}")
