"""What a pack offers: rooms of one kind, by the pattern of their addresses."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from boxwork.errors import BadInput
from boxwork.transactions import Transaction

Fields = Mapping[str, str]
Admit = Callable[[Any, Fields, Mapping[str, Any]], Mapping[str, Any]]
Shows = Callable[[Any, Fields], Sequence[tuple[tuple[Any, ...], Any]]]

# What may stand in an address for a field.
FIELD = r"[A-Za-z0-9._~-]{1,64}"
_PART = re.compile(r"\{([a-z_]+)\}")


def anybody(work: Any, fields: Fields, claims: Mapping[str, Any]) -> Mapping[str, Any]:
    """Whoever the guard lets in; each connection is a person of its own."""
    return {}


@dataclass(frozen=True, slots=True)
class Rooms:
    """Rooms of one kind.

    pattern     the address behind /rooms/, with fields: "board/{board}"
    prefix      whose facts its members see: ("board", "{board}").  Everything below it is told to every member, so
                what only some may know belongs under another prefix
    admit       called with (work, fields, claims): who is this, and may they come in.  The claims are what the first
                message says.  It raises `Forbidden` or `NotFound`; what it answers is given to every call of this
                member as inputs of these names, before what the member says; "person" is who is counted
    calls       the transactions that members may call; inputs that are named like a field are filled with it
    shows       called with (facts, fields) at a join: (key, value) of the facts that a new member begins with;
                default: everything under the prefix
    """

    pattern: str
    prefix: tuple[str | int, ...]
    admit: Admit = anybody
    calls: tuple[Transaction[..., Any], ...] = ()
    shows: Shows | None = None

    def __post_init__(self) -> None:
        fields = set(_PART.findall(self.pattern))
        plain = _PART.sub("", self.pattern)
        if not self.pattern or "{" in plain or "}" in plain or self.pattern.startswith("/"):
            raise BadInput(f"rooms are offered at a pattern such as 'board/{{board}}', not {self.pattern!r}")
        if not self.prefix or _PART.fullmatch(str(self.prefix[0])):
            raise BadInput(f"the rooms {self.pattern}: the prefix begins with a fixed text, not {self.prefix!r}")
        named = {name for part in self.prefix if isinstance(part, str) for name in _PART.findall(part)}
        if named != fields:
            raise BadInput(
                f"the rooms {self.pattern}: the prefix {self.prefix!r} names the fields"
                f" {', '.join(sorted(named)) or 'none'}, the pattern {', '.join(sorted(fields)) or 'none'}"
            )

    def fields(self, path: str) -> Fields | None:
        """The fields of the address of a room of this kind; None if it is none."""
        pieces = _PART.split(self.pattern)
        written = "".join(
            f"(?P<{piece}>{FIELD})" if number % 2 else re.escape(piece) for number, piece in enumerate(pieces)
        )
        found = re.fullmatch(written, path)
        return None if found is None else found.groupdict()

    def prefix_of(self, fields: Fields) -> tuple[str | int, ...]:
        """Whose facts a room shows."""
        return tuple(
            _PART.sub(lambda found: fields[found[1]], part) if isinstance(part, str) else part for part in self.prefix
        )

    @property
    def fixed(self) -> tuple[str | int, ...]:
        """The begin of the prefix that all rooms of this kind share."""
        shared: list[str | int] = []
        for part in self.prefix:
            if isinstance(part, str) and _PART.search(part):
                break
            shared.append(part)
        return tuple(shared)
