"""Who comes in: a browser is a person by a secret that it drew, and keeps order by the key of the room.

Neither is ever told to others: what the facts have is their hash.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from boxwork import errors, ref_of

# Of a person, in the facts.  Unit: characters of hexadecimal.  Reason: 64 bits; nobody finds another one's by trying.
PERSON_LENGTH = 16
_SECRET = re.compile(r"[0-9a-f]{32}")


def person_of(secret: object) -> str:
    """The public name of whoever has the secret.  Raises `BadInput` for what is no secret."""
    if not isinstance(secret, str) or not _SECRET.fullmatch(secret):
        raise errors.BadInput("a person is 32 random hexadecimal digits that a page drew, and keeps to itself")
    return ref_of(f"lounge person {secret}".encode()).removeprefix("sha256:")[:PERSON_LENGTH]


def lock_of(room: str, key: str) -> str:
    """What the facts have of the key of a room."""
    return ref_of(f"lounge key {room} {key}".encode()).removeprefix("sha256:")


def admit(work: Any, fields: Mapping[str, str], claims: Mapping[str, Any]) -> Mapping[str, Any]:
    """Everybody may come into a room that is open; who shows its key keeps order."""
    room, person = fields["room"], person_of(claims.get("secret"))
    with work.node.engine.read() as facts:
        lock = facts.get(("lounge.lock", room))
    if lock is None:
        raise errors.NotFound(f"there is no room {room!r}: open it on the page /lounge", room=room)
    key = claims.get("key") or ""
    is_keeper = isinstance(key, str) and lock_of(room, key) == lock
    if key and not is_keeper:
        raise errors.Forbidden(f"this is not the key of the room {room}")
    return {"person": person, "keeper": is_keeper}


def admit_to_inbox(work: Any, fields: Mapping[str, str], claims: Mapping[str, Any]) -> Mapping[str, Any]:
    """Everybody to his own notifications only."""
    if person_of(claims.get("secret")) != fields["person"]:
        raise errors.Forbidden("these are the notifications of somebody else")
    return {"person": fields["person"]}
