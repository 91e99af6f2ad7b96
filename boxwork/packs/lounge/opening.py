"""The rooms there are, and what somebody who comes in is shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Comments that one who comes in is shown.  Unit: comments.  Reason: some screens full; 20 KB.
HISTORY = 100
# Rooms on the list.  Unit: rooms.
LISTED_MAX = 100


def shown(facts: Any, fields: Mapping[str, str]) -> list[tuple[tuple[Any, ...], Any]]:
    """The newest comments, and everything that is no comment."""
    prefix = ("lounge", fields["room"])
    newest = facts.scan((*prefix, "comment"), limit=HISTORY, reverse=True)
    single = [((*prefix, name), facts.get((*prefix, name))) for name in ("title", "likes", "slow", "next")]
    muted = facts.scan((*prefix, "muted"))
    return [*((key, value) for key, value in single if value is not None), *muted, *reversed(newest)]


def listed(facts: Any) -> list[dict[str, Any]]:
    """The rooms, the newest first."""
    rooms = facts.scan(("lounge.opened",), limit=10 * LISTED_MAX)
    newest = sorted(rooms, key=lambda fact: fact[1], reverse=True)[:LISTED_MAX]
    return [
        {
            "room": key[1],
            "title": facts.get(("lounge", key[1], "title"), key[1]),
            "comments": facts.get(("lounge", key[1], "next"), 0),
            "likes": facts.get(("lounge", key[1], "likes"), 0),
        }
        for key, _ in newest
    ]
