"""What is private about the people of a course: it lies in the course's encrypted space, with a key for each person.

Facts, the log of commits and pages for strangers know refs of it and no more.  Who cancels is forgotten: the key goes,
and with it every copy of the name, the address and the wishes.
"""

from __future__ import annotations

import contextlib
import re
from typing import Any

import msgspec

from boxwork import Ref, errors

# On whose behalf this pack reads and writes the spaces of courses.
PRINCIPAL = "course"
# The subject with whose key addresses are sealed.
ADDRESSES = "addresses"
MATERIALS = "materials"
# Unit: characters.  Source: RFC 5321 4.5.3.1.3 for an address; the others are what a form can show.
ADDRESS_MAX, NAME_MAX, WISHES_MAX = 254, 100, 1000
_ADDRESS = re.compile(r"[^\s@<>\"(),:;\\\[\]]+@[^\s@<>\"(),:;\\\[\]]+\.[^\s@<>\"(),:;\\\[\]]+")


class Details(msgspec.Struct, frozen=True):
    """What somebody said of themselves, and the token of their personal link."""

    name: str
    address: str
    wishes: str
    token: str


class BadField(errors.BadInput):
    """One field of a form is not right; `field` says which, the message why."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message, field=field)
        self.field = field


def read_details(name: str, address: str, wishes: str, token: str) -> Details:
    """What was typed, without what does not belong there.  Raises `BadField`."""
    name, address, wishes = " ".join(name.split()), address.strip(), wishes.strip()
    if not name:
        raise BadField("name", "write your name, as it shall stand on the list")
    if len(name) > NAME_MAX:
        raise BadField("name", f"the name has {len(name)} characters; {NAME_MAX} at most, please")
    if len(address) > ADDRESS_MAX or not _ADDRESS.fullmatch(address):
        raise BadField("address", "write a whole e-mail address, such as somebody@example.org")
    if len(wishes) > WISHES_MAX:
        raise BadField("wishes", f"that has {len(wishes):,} characters; {WISHES_MAX:,} at most, please")
    return Details(name, address, wishes, token)


class People:
    """The private side of one course."""

    def __init__(self, work: Any, course: str) -> None:
        self.work = work
        self.course = course
        self.name = f"course.{course}"
        self._space: Any = None

    @property
    def space(self) -> Any:
        if self._space is None:
            try:
                self._space = self.work.spaces.space(self.name)
            except errors.NotFound:
                with contextlib.suppress(errors.BadInput):  # another process was quicker
                    self.work.spaces.create(self.name, owner=PRINCIPAL)
                self._space = self.work.spaces.space(self.name)
        return self._space

    def keep(self, details: Details, subject: str) -> str:
        """Its ref; readable until `forget(subject)`."""
        return str(self.space.put(msgspec.json.encode(details), principal=PRINCIPAL, subject=subject))

    def address_ref(self, address: str) -> str:
        """What stands for an e-mail address among the facts.  Capitals make no other address.

        Sealing is deterministic, so one address has one ref, which tells nobody the address; the blob is not kept.
        """
        ref = self.space.put(address.casefold().encode(), principal=PRINCIPAL, subject=ADDRESSES)
        self.space.delete(ref, principal=PRINCIPAL)
        return str(ref)

    def details(self, ref: str) -> Details | None:
        """What was said; None once it is forgotten."""
        if not ref:
            return None
        try:
            data = self.space.get(Ref.parse(ref), principal=PRINCIPAL)
        except errors.NotFound:
            return None
        return msgspec.json.decode(data, type=Details)

    def drop(self, ref: str) -> None:
        """One blob that nothing refers to any more."""
        if ref:
            self.space.delete(Ref.parse(ref), principal=PRINCIPAL)

    def forget(self, subject: str, reason: str) -> None:
        """Everything that was said under this subject; twice is once."""
        self.space.erase(subject, by=PRINCIPAL, reason=reason)
