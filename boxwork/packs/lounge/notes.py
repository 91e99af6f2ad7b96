"""Notifications of a person: who mentioned him, where.

("lounge.notes", person, "note", n)   (room, number of the comment, name, text, at_ms)
("lounge.notes", person, "next")      the number of the next one
("lounge.notes", person, "read")      those before it were read
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from boxwork import transaction


@transaction(name="lounge_read_notes")
def read_notes(tx: Any, person: str, before: int) -> None:
    """The person has read what came before the number `before`."""
    known = int(tx.get(("lounge.notes", person, "next"), 0))
    tx.require(0 <= before <= known, f"there are {known} notifications")
    tx.max(("lounge.notes", person, "read"), before)


def shown_notes(facts: Any, fields: Mapping[str, str]) -> list[tuple[tuple[Any, ...], Any]]:
    """What a page begins with: all that are kept."""
    return list(facts.scan(("lounge.notes", fields["person"])))
