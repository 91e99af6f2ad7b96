"""The office of a node's courses: publishing, taking people in, booking, and what is asked about them.

It is the pack's part of a node.  Decisions are transactions (`facts`), pages are derivations (`pages`), what is private
lies in spaces (`people`); here they meet.
"""

from __future__ import annotations

import datetime
import json
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from boxwork import Ref, Transaction, errors, ref_of
from boxwork.packs.course import facts
from boxwork.packs.course.agenda import Entry, agenda
from boxwork.packs.course.facts import Hours, Overview, Person, Rules, Slot, Version
from boxwork.packs.course.outline import NAME, Course, Material, clock, minutes, read_course
from boxwork.packs.course.pages import Site, check_links, layout_of, page, shown_html
from boxwork.packs.course.people import MATERIALS, PRINCIPAL, BadField, Details, People, read_details
from boxwork.packs.course.text import links

T = TypeVar("T")

LISTING = "materials.json"
# Courses that are kept in memory as they were read.  Unit: versions; reading one from the store takes milliseconds.
READ_MAX = 16
# Files of one course.  Unit: files.  Reason: 31 days of 12 sessions with two handouts each are 1,100.
FILES_MAX = 2000


class Built(msgspec.Struct, frozen=True):
    """One page after a publication: what it is, and whether it had to be made."""

    path: str
    ref: str
    is_new: bool


class Office:
    """Everything about the courses of one node.  Safe from many threads."""

    def __init__(self, work: Any) -> None:
        self.work = work
        self.material_bytes_max = work.settings.integer("course.material_bytes_max")
        self._read: OrderedDict[str, Course] = OrderedDict()
        self._people: dict[str, People] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        """Nothing is held open."""

    # --- looking

    def ask(self, box: Transaction[..., T], **inputs: Any) -> T:
        """What a looking transaction answers, by whichever process owns the facts."""
        try:
            with self.work.read() as now:
                return box(now, **inputs)
        except errors.StateInUse:
            answer: T = self.work.commit(box, **inputs)
            return answer

    def names(self) -> list[str]:
        return self.ask(facts.courses)

    def overview(self, name: str) -> Overview:
        """Raises `NotFound` for a course that nobody published."""
        found = self.ask(facts.overview, course=name) if NAME.fullmatch(name) else None
        if found is None:
            raise errors.NotFound(f"there is no course {name[:64]!r}")
        return found

    def course(self, tree: Ref) -> Course:
        """The course of a version, as its author wrote it."""
        with self._lock:
            known = self._read.get(tree)
            if known is not None:
                self._read.move_to_end(tree)
                return known
        files = {path: self.work.get(entry.ref) for path, entry in self.work.tree(tree).walk() if entry.kind == "file"}
        materials = msgspec.json.decode(files.pop(LISTING), type=dict[str, Material])
        course = read_course(files, materials)
        with self._lock:
            self._read[tree] = course
            while len(self._read) > READ_MAX:
                self._read.popitem(last=False)
        return course

    def people(self, name: str) -> People:
        with self._lock:
            return self._people.setdefault(name, People(self.work, name))

    # --- publishing

    def publish(self, folder: Path, *, by: str, why: str) -> dict[str, Any]:
        """Check a folder, keep it as a version, build its pages, show it."""
        texts, files = gather(folder, self.material_bytes_max)
        course = checked(texts, files, lambda source: self.work.call(links, source=source))
        people = self.people(course.head.name)
        materials: dict[str, Material] = {}
        for name, path in files.items():
            with path.open("rb") as file:
                chunks = iter(lambda: file.read(1024 * 1024), b"")
                ref = people.space.put_stream(chunks, principal=PRINCIPAL, subject=MATERIALS)
            materials[name] = Material(str(ref), people.space.size(ref, principal=PRINCIPAL))
        with tempfile.TemporaryDirectory(prefix="course") as scratch:
            root = Path(scratch)
            listing = json.dumps(msgspec.to_builtins(materials), indent=1, sort_keys=True).encode()
            for place, data in {**texts, LISTING: listing}.items():
                (root / place).parent.mkdir(exist_ok=True)
                (root / place).write_bytes(data)
            tree = self.work.put_tree(root, modes="executable")
        return self._show(Ref.parse(tree.ref), by=by, why=why)

    def restore(self, name: str, version: str, *, by: str, why: str) -> dict[str, Any]:
        """Show an earlier version again, by its name, the beginning of it, or its number."""
        known: list[Version] = self.ask(facts.versions, course=name)
        wanted = version.removeprefix("sha256:")
        found = {one.tree for one in known if str(one.number) == version}
        if not found and len(wanted) >= 4:
            found = {one.tree for one in known if one.tree.hex.startswith(wanted)}
        if len(found) != 1:
            what = "several versions" if found else "no version"
            raise errors.NotFound(
                f"{what} of {name!r} called {version[:80]!r}; `boxwork course versions {name}` lists them"
            )
        return self._show(found.pop(), by=by, why=why)

    def _show(self, tree: Ref, *, by: str, why: str) -> dict[str, Any]:
        course = self.course(tree)
        name = course.head.name
        built = list(self.build(course))
        self.work.pin(tree, f"course/{name}/{tree.hex}")
        version: Version = self.work.commit(
            facts.publish,
            course=name,
            tree=tree,
            title=course.head.title,
            rules=rules_of(course),
            slots=slots_of(course),
            epoch=self.work.clock.token(8),
            by=by,
            why=why,
        )
        rebuilt = [one.path for one in built if one.is_new]
        return {"course": name, "version": version.number, "tree": str(tree), "pages": len(built), "rebuilt": rebuilt}

    def build(self, course: Course, root: str = "") -> Iterator[Built]:
        """Every page, made now if it is not remembered."""
        site = self.site(course, root)
        for path, _, _ in site.paths():
            ref, is_new = self.page(site, path)
            yield Built(path, str(ref), is_new)

    def site(self, course: Course, root: str = "") -> Site:
        return Site(course, f"{root}/course/{course.head.name}/", self.work.clock.now_ns())

    def page(self, site: Site, path: str) -> tuple[Ref, bool]:
        """The ref of a page as it is now, and whether it had to be made.  Raises `NotFound`."""
        found = site.find(path)
        if found is None:
            raise errors.NotFound(f"this course has no page {path[:80]!r}")
        template, shown = found
        inputs = {"layout": layout_of(template), "name": template, "shown": shown_html(self.work, shown(), site.base)}
        ref = self.work.peek(page, **inputs)
        if ref is not None:
            return ref, False
        return self.work.derive(page, **inputs), True

    # --- taking part

    def register(self, name: str, *, who: str, address: str, wishes: str, once: str) -> tuple[Person, Details]:
        """Take somebody in.  With the same `once` it is the same registration, however often it is sent."""
        overview = self.overview(name)
        people = self.people(name)
        details = read_details(who, address, wishes, self.work.clock.token(16))
        subject = f"person {self.work.clock.token(12)}"
        ref = people.keep(details, subject)
        try:
            person: Person = self.work.commit(
                facts.register,
                course=name,
                subject=subject,
                link=link_of(details.token),
                address=people.address_ref(details.address),
                details=ref,
                once=f"course.register {name} {overview.epoch} {once}",
            )
        except errors.Refused as refusal:
            people.forget(subject, "was not taken in")
            if refusal.details.get("kind") == "address":
                raise BadField("address", refusal.message) from None
            raise
        if person.subject == subject:
            return person, details
        # The form was sent before, and that one counts.
        people.forget(subject, "was taken in by an earlier press of the same button")
        kept = people.details(person.details)
        if kept is None or kept.address.casefold() != details.address.casefold():
            raise errors.BadInput(
                "this form was sent already: open the registration page again to register somebody else"
            )
        return person, kept

    def who(self, name: str, token: str) -> Person:
        """The person with this personal link.  Raises `NotFound`."""
        self.overview(name)
        person = self.ask(facts.whose, course=name, link=link_of(token))
        if person is None:
            raise errors.NotFound("this personal link leads to nobody: look whether all of it is in the address")
        return person

    def cancel(self, name: str, token: str) -> Person:
        return self._cancelled(name, link_of(token))

    def cancel_number(self, name: str, number: int) -> Person:
        """What the organiser may do for somebody."""
        person = next((one for one in self.ask(facts.people, course=name) if one.number == number), None)
        if person is None:
            raise errors.NotFound(f"nobody has the number {number}")
        return self._cancelled(name, person.link)

    def _cancelled(self, name: str, link: str) -> Person:
        person: Person = self.work.commit(facts.cancel, course=name, link=link)
        self.people(name).forget(person.subject, "cancelled")
        return person

    def amend(self, name: str, token: str, *, who: str, address: str, wishes: str) -> None:
        people = self.people(name)
        person = self.who(name, token)
        ref = people.keep(read_details(who, address, wishes, token), person.subject)
        try:
            before: Person = self.work.commit(
                facts.amend, course=name, link=person.link, address=people.address_ref(address.strip()), details=ref
            )
        except errors.Refused as refusal:
            if ref != person.details:
                people.drop(ref)
            if refusal.details.get("kind") == "address":
                raise BadField("address", refusal.message) from None
            raise
        if before.details != ref:
            people.drop(before.details)

    # --- calendars

    def calendar(self, name: str, address: str, person: Person | None = None) -> bytes:
        """The .ics of the course, or of the sessions and bookings of one person."""
        overview = self.overview(name)
        course = self.course(overview.version.tree)
        tail = f"{name}.{overview.epoch}@boxwork"
        entries = [
            Entry(
                f"{session}.{tail}",
                event.slot.title,
                event.slot.start,
                event.slot.end,
                event.at_ns,
                event.slot.room,
                "" if event.cancelled else f"{address}/course/{name}/session/{session}",
                event.sequence,
                event.cancelled,
            )
            for session, event in overview.events.items()
            if person is None or person.sessions is None or session in person.sessions
        ]
        if person is not None:
            names = {one.id: one.name for one in course.head.resources}
            entries += [
                Entry(
                    f"{one.resource}.{one.date}.{one.start}.{one.person}.{tail}",
                    names.get(one.resource, one.resource),
                    f"{one.date}T{clock(one.start)}",
                    f"{one.date}T{clock(one.end)}",
                    one.at_ns,
                    names.get(one.resource, one.resource),
                )
                for one in self.ask(facts.bookings, course=name)
                if one.person == person.number
            ]
        title = course.head.title if person is None else f"{course.head.title}: my sessions"
        entries.sort(key=lambda one: (one.start, one.uid))
        return bytes(
            self.work.call(
                agenda, name=title, timezone=course.head.timezone, entries=[msgspec.to_builtins(one) for one in entries]
            )
        )


def link_of(token: str) -> str:
    """What stands for a personal link among the facts."""
    return str(ref_of(token.encode()))


def rules_of(course: Course) -> Rules:
    head = course.head
    closes = course.closes()
    return Rules(
        head.capacity,
        head.waiting_max,
        int(closes.timestamp()) * 10**9,
        tuple(day.date.isoformat() for day in head.days),
        tuple(one.name for one in course.sessions),
        {
            one.id: Hours(minutes(one.opens), minutes(one.closes), one.step_min, one.longest_min)
            for one in head.resources
        },
    )


def slots_of(course: Course) -> dict[str, Slot]:
    def local(moment: datetime.datetime) -> str:
        return f"{moment:%Y-%m-%dT%H:%M}"

    return {
        one.name: Slot(one.head.title, local(course.begins(one)), local(course.ends(one)), one.head.room)
        for one in course.sessions
    }


def gather(folder: Path, material_bytes_max: int) -> tuple[dict[str, bytes], dict[str, Path]]:
    """The texts of a course folder, and where its materials lie.  What else is in it is left alone."""
    if not folder.is_dir():
        raise errors.BadInput(
            f"{folder} is no folder: give the folder with course.md (`boxwork course sample` writes one)"
        )
    texts = sorted([*folder.glob("course.md"), *folder.glob("sessions/*.md"), *folder.glob("pages/*.md")])
    handouts = sorted(path for path in folder.glob("materials/*") if path.is_file() and path.name[0] != ".")
    if len(texts) + len(handouts) > FILES_MAX:
        raise errors.BadInput(f"{folder} has {len(texts) + len(handouts):,} files; a course has at most {FILES_MAX:,}")
    for path in handouts:
        size = path.stat().st_size
        if size > material_bytes_max:
            raise errors.TooLarge(
                f"{path} has {size:,} bytes; a handout has at most {material_bytes_max:,} (setting"
                " course.material_bytes_max)"
            )
    try:
        read = {path.relative_to(folder).as_posix(): path.read_bytes() for path in texts}
    except OSError as reason:
        raise errors.BadInput(f"{reason.filename} cannot be read: {reason.strerror}") from reason
    return read, {path.name: path for path in handouts}


def checked(texts: Mapping[str, bytes], files: Mapping[str, Path], find: Callable[[str], list[str]] = links) -> Course:
    """The course in a folder, before anything of it is stored.  Raises `BadInput` with every mistake."""
    course = read_course(texts, {name: Material("", path.stat().st_size) for name, path in files.items()})
    check_links(course, find)
    return course


__all__ = ["Built", "Office", "checked", "gather", "link_of"]
