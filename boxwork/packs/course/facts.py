"""What is decided about a course: versions, who has a seat, who waits, what is booked.  Facts and their transactions.

("courses", NAME) is there for every course; all other keys begin with ("course", NAME):

    "published"                     Version: what is shown now
    "versions", n                   every Version there was
    "latest"                        the number of the newest
    "epoch"                         what makes the names of its calendar events different from all others
    "events", session               Event: how often its time or place has changed
    "closed"                        True while the organiser keeps registration closed
    "taken" "queued" "last"         seats taken, people waiting, the last person's number
    "people", n                     Person
    "links", digest                 the number of the person with this personal link
    "addresses", ref                the number of the person with this e-mail address
    "queue", n                      those who wait, in order of their numbers
    "booked", resource, date, start Booking; `start` in minutes after midnight, local time of the course
    "letters", n                    Letter: what would have been mailed
    "mailed"                        the number of the last letter

Names, addresses and wishes of people are never facts: they lie in the course's private space, and a fact has their ref.

Invariants: taken = people enrolled; taken <= capacity unless a later version made the course smaller; nobody waits
while a seat is free; two bookings of one resource and date never overlap.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from boxwork import Ref, transaction

State = Literal["enrolled", "waiting", "cancelled"]
# One person's bookings that are still there.  Unit: bookings.  Reason: five days with two a day.
BOOKINGS_MAX = 10


class Hours(msgspec.Struct, frozen=True):
    """When a resource can be booked: minutes after midnight, and lengths in minutes."""

    opens: int
    closes: int
    step: int
    longest: int


class Rules(msgspec.Struct, frozen=True):
    """What a version of the course says that decisions depend on.  `closes_ns`: registration ends."""

    capacity: int
    waiting_max: int
    closes_ns: int
    dates: tuple[str, ...]
    sessions: tuple[str, ...]
    resources: dict[str, Hours]


class Version(msgspec.Struct, frozen=True):
    """One published state of the course.  Its name is the ref of its tree."""

    number: int
    tree: Ref
    title: str
    by: str
    why: str
    at_ns: int
    rules: Rules


class Slot(msgspec.Struct, frozen=True):
    """A session as a calendar shows it; `start` and `end` are local times `2027-03-01T09:00`."""

    title: str
    start: str
    end: str
    room: str


class Event(msgspec.Struct, frozen=True):
    """A session in people's calendars.  `sequence` grows whenever the slot changes; it stays when the session goes."""

    slot: Slot
    sequence: int
    at_ns: int
    cancelled: bool = False


class Person(msgspec.Struct, frozen=True):
    """A participant.  `sessions` None: all of them.  `subject` names the key of what is private about the person."""

    number: int
    subject: str
    link: str
    address: str
    details: str
    state: State
    at_ns: int
    sessions: tuple[str, ...] | None = None


class Booking(msgspec.Struct, frozen=True):
    resource: str
    date: str
    start: int
    end: int
    person: int
    at_ns: int


class Letter(msgspec.Struct, frozen=True):
    """What would have been mailed: its kind, and to whom."""

    number: int
    person: int
    kind: str
    at_ns: int


def _at(course: str, *rest: str | int) -> tuple[str | int, ...]:
    return ("course", course, *rest)


# --- publishing


@transaction(name="course.publish")
def publish(
    tx: Any, course: str, tree: Ref, title: str, rules: Rules, slots: dict[str, Slot], epoch: str, by: str, why: str
) -> Version:
    """Show this tree from now on; refused if it is shown already.  More seats are given to those who wait."""
    shown = tx.get(_at(course, "published"))
    if shown is not None:
        tx.require(shown.tree != tree, f"nothing differs from version {shown.number}, which is shown", kind="same")
    number = tx.get(_at(course, "latest"), 0) + 1
    version = Version(number, tree, title, by, why, tx.now(), rules)
    tx.put(("courses", course), True)
    tx.put_new(_at(course, "epoch"), epoch)
    tx.put(_at(course, "latest"), number)
    tx.put(_at(course, "versions", number), version)
    tx.put(_at(course, "published"), version)
    _follow(tx, course, slots)
    _move_up(tx, course, rules.capacity)
    return version


def _follow(tx: Any, course: str, slots: dict[str, Slot]) -> None:
    """The calendar's events after a version: a change counts one up, a session that is gone is cancelled."""
    known = {key[3]: event for key, event in tx.scan(_at(course, "events"))}
    for session, slot in slots.items():
        old = known.get(session)
        if old is None or old.cancelled or old.slot != slot:
            sequence = 0 if old is None else old.sequence + 1
            tx.put(_at(course, "events", session), Event(slot, sequence, tx.now()))
    for session, old in known.items():
        if session not in slots and not old.cancelled:
            tx.put(_at(course, "events", session), Event(old.slot, old.sequence + 1, tx.now(), cancelled=True))


@transaction(name="course.close")
def close(tx: Any, course: str, closed: bool) -> bool:
    """Close registration, or open it again."""
    _version(tx, course)
    tx.put(_at(course, "closed"), closed)
    return closed


# --- taking part


@transaction(name="course.register")
def register(tx: Any, course: str, subject: str, link: str, address: str, details: str) -> Person:
    """A seat if one is free, else a place in the queue.  Refused when closed, full, or known by this address."""
    rules = _version(tx, course).rules
    tx.require(not tx.get(_at(course, "closed"), False), "registration is closed", kind="closed")
    tx.require(tx.now() < rules.closes_ns, "registration has ended", kind="ended")
    tx.require(
        tx.get(_at(course, "addresses", address)) is None,
        "somebody has registered with this e-mail address: use the personal link from then, or ask the organiser",
        kind="address",
    )
    taken, queued = tx.get(_at(course, "taken"), 0), tx.get(_at(course, "queued"), 0)
    seated = taken < rules.capacity and not queued
    tx.require(seated or queued < rules.waiting_max, "all seats are taken and the waiting list is full", kind="full")
    number = tx.get(_at(course, "last"), 0) + 1
    person = Person(number, subject, link, address, details, "enrolled" if seated else "waiting", tx.now())
    tx.put(_at(course, "last"), number)
    tx.put(_at(course, "people", number), person)
    tx.put(_at(course, "links", link), number)
    tx.put(_at(course, "addresses", address), number)
    if seated:
        tx.put(_at(course, "taken"), taken + 1)
    else:
        tx.put(_at(course, "queued"), queued + 1)
        tx.put(_at(course, "queue", number), True)
    _tell(tx, course, number, person.state)
    return person


@transaction(name="course.cancel")
def cancel(tx: Any, course: str, link: str) -> Person:
    """Give the seat or the place back, with all bookings; the first who waits moves up.  Twice is once."""
    person = _person(tx, course, link)
    if person.state == "cancelled":
        return person
    _keep(tx, course, msgspec.structs.replace(person, state="cancelled", details=""))
    tx.delete(_at(course, "addresses", person.address))
    for key, booking in tx.scan(_at(course, "booked")):
        if booking.person == person.number:
            tx.delete(key)
    if person.state == "enrolled":
        tx.put(_at(course, "taken"), tx.get(_at(course, "taken"), 0) - 1)
    else:
        tx.put(_at(course, "queued"), tx.get(_at(course, "queued"), 0) - 1)
        tx.delete(_at(course, "queue", person.number))
    _move_up(tx, course, _version(tx, course).rules.capacity)
    return person


def _move_up(tx: Any, course: str, capacity: int) -> None:
    """Free seats go to those who wait, first come first."""
    taken, queued = tx.get(_at(course, "taken"), 0), tx.get(_at(course, "queued"), 0)
    free = min(capacity - taken, queued)
    if free <= 0:
        return
    for key, _ in tx.scan(_at(course, "queue"), limit=free):
        number = key[3]
        tx.delete(key)
        _keep(tx, course, msgspec.structs.replace(tx.get(_at(course, "people", number)), state="enrolled"))
        _tell(tx, course, number, "moved up")
    tx.put(_at(course, "taken"), taken + free)
    tx.put(_at(course, "queued"), queued - free)


@transaction(name="course.amend")
def amend(tx: Any, course: str, link: str, address: str, details: str) -> Person:
    """Other details of a person, and another address if nobody else has it.  The answer is the person before."""
    person = _active(tx, course, link)
    if address != person.address:
        tx.require(
            tx.get(_at(course, "addresses", address)) is None,
            "somebody has registered with this e-mail address",
            kind="address",
        )
        tx.delete(_at(course, "addresses", person.address))
        tx.put(_at(course, "addresses", address), person.number)
    _keep(tx, course, msgspec.structs.replace(person, address=address, details=details))
    return person


@transaction(name="course.choose")
def choose(tx: Any, course: str, link: str, sessions: tuple[str, ...]) -> Person:
    """The sessions that a person goes to, for the calendar of their own."""
    person = _active(tx, course, link)
    known = _version(tx, course).rules.sessions
    for session in sessions:
        tx.require(session in known, f"there is no session {session!r}")
    chosen = None if set(sessions) == set(known) else tuple(sorted(set(sessions)))
    person = msgspec.structs.replace(person, sessions=chosen)
    _keep(tx, course, person)
    return person


# --- booking


@transaction(name="course.book")
def book(tx: Any, course: str, link: str, resource: str, date: str, start: int, length: int) -> Booking:
    """A resource for a person, `length` minutes from `start` on.  Refused if any of them is taken."""
    person = _active(tx, course, link)
    tx.require(person.state == "enrolled", "who waits for a seat cannot book yet", kind="waiting")
    rules = _version(tx, course).rules
    hours = rules.resources.get(resource)
    tx.require(hours is not None, f"there is no {resource!r} to book")
    assert hours is not None  # `require` has left otherwise
    tx.require(date in rules.dates, f"{date!r} is no day of this course")
    end = start + length
    fits = hours.opens <= start and end <= hours.closes and (start - hours.opens) % hours.step == 0
    tx.require(fits and length > 0 and length % hours.step == 0, "it cannot be booked at that time", kind="hours")
    tx.require(length <= hours.longest, f"it is lent for {hours.longest} minutes at most", kind="long")
    own = [one for _, one in tx.scan(_at(course, "booked")) if one.person == person.number]
    tx.require(len(own) < BOOKINGS_MAX, f"nobody has more than {BOOKINGS_MAX} bookings: give one back", kind="many")
    for _, other in tx.scan(_at(course, "booked", resource, date)):
        tx.require(end <= other.start or other.end <= start, "somebody was quicker: it is taken then", kind="taken")
    booking = Booking(resource, date, start, end, person.number, tx.now())
    tx.put(_at(course, "booked", resource, date, start), booking)
    return booking


@transaction(name="course.unbook")
def unbook(tx: Any, course: str, link: str, resource: str, date: str, start: int) -> bool:
    """Give a booking back; False if it is not this person's, or gone."""
    person = _person(tx, course, link)
    key = _at(course, "booked", resource, date, start)
    booking = tx.get(key)
    if booking is None or booking.person != person.number:
        return False
    tx.delete(key)
    return True


# --- looking: also as transactions, for a process that does not own the facts


class Overview(msgspec.Struct, frozen=True):
    """What is known of a course, without its people."""

    version: Version
    epoch: str
    closed: bool
    taken: int
    queued: int
    events: dict[str, Event]


@transaction(name="course.overview")
def overview(tx: Any, course: str) -> Overview | None:
    version = tx.get(_at(course, "published"))
    if version is None:
        return None
    events = {key[3]: event for key, event in tx.scan(_at(course, "events"))}
    return Overview(
        version,
        tx.get(_at(course, "epoch")),
        tx.get(_at(course, "closed"), False),
        tx.get(_at(course, "taken"), 0),
        tx.get(_at(course, "queued"), 0),
        events,
    )


@transaction(name="course.courses")
def courses(tx: Any) -> list[str]:
    """The names of all courses."""
    return [key[1] for key, _ in tx.scan(("courses",))]


@transaction(name="course.versions")
def versions(tx: Any, course: str) -> list[Version]:
    """All versions there were, the newest first."""
    return [version for _, version in tx.scan(_at(course, "versions"), reverse=True)]


@transaction(name="course.whose")
def whose(tx: Any, course: str, link: str) -> Person | None:
    """The person with this link."""
    number = tx.get(_at(course, "links", link))
    return None if number is None else tx.get(_at(course, "people", number))


@transaction(name="course.place")
def place(tx: Any, course: str, number: int) -> int:
    """How many wait up to this person, the person included."""
    return len(tx.scan(_at(course, "queue"), end=_at(course, "queue", number + 1)))


@transaction(name="course.people")
def people(tx: Any, course: str) -> list[Person]:
    """Everybody who ever registered, in the order in which they did."""
    return [person for _, person in tx.scan(_at(course, "people"))]


@transaction(name="course.bookings")
def bookings(tx: Any, course: str) -> list[Booking]:
    return [booking for _, booking in tx.scan(_at(course, "booked"))]


@transaction(name="course.letters")
def letters(tx: Any, course: str) -> list[Letter]:
    """What would have been mailed, in order."""
    return [letter for _, letter in tx.scan(_at(course, "letters"))]


# --- inside


def _version(tx: Any, course: str) -> Version:
    version: Version | None = tx.get(_at(course, "published"))
    tx.require(version is not None, f"there is no course {course!r}")
    assert version is not None  # `require` has left otherwise
    return version


def _person(tx: Any, course: str, link: str) -> Person:
    number = tx.get(_at(course, "links", link))
    tx.require(number is not None, "this personal link leads to nobody", kind="link")
    found: Person = tx.get(_at(course, "people", number))
    return found


def _active(tx: Any, course: str, link: str) -> Person:
    person = _person(tx, course, link)
    tx.require(person.state != "cancelled", "this registration was cancelled", kind="cancelled")
    return person


def _keep(tx: Any, course: str, person: Person) -> None:
    tx.put(_at(course, "people", person.number), person)
    if person.state == "cancelled":
        _tell(tx, course, person.number, "cancelled")


def _tell(tx: Any, course: str, person: int, kind: str) -> None:
    number = tx.get(_at(course, "mailed"), 0) + 1
    tx.put(_at(course, "mailed"), number)
    tx.put(_at(course, "letters", number), Letter(number, person, kind, tx.now()))


TRANSACTIONS = (
    publish,
    close,
    register,
    cancel,
    amend,
    choose,
    book,
    unbook,
    overview,
    courses,
    versions,
    whose,
    place,
    people,
    bookings,
    letters,
)
