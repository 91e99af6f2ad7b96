"""Rooms with live comments, likes and notifications, and somebody who keeps order."""

from __future__ import annotations

from typing import Any

from boxwork import Pack, Page, Rooms
from boxwork.packs.lounge.comments import comment, like
from boxwork.packs.lounge.described import DESCRIBED
from boxwork.packs.lounge.keys import admit, admit_to_inbox
from boxwork.packs.lounge.moderation import filter_words, mute, open_lounge, remove, slow_down, unmute
from boxwork.packs.lounge.notes import read_notes, shown_notes
from boxwork.packs.lounge.opening import shown


def _routes(work: Any) -> list[Any]:
    from boxwork.packs.lounge.routes import routes

    return routes(work)


PACK = Pack(
    "lounge",
    "Rooms with live comments, likes and notifications, and somebody who keeps order.",
    # None is offered by itself: who calls, and whether he keeps order, is what the door of the room found out.
    inner=(comment, like, open_lounge, mute, unmute, remove, slow_down, filter_words, read_notes),
    rooms=(
        Rooms(
            "lounge/{room}",
            ("lounge", "{room}"),
            admit=admit,
            calls=(comment, like, mute, unmute, remove, slow_down, filter_words),
            shows=shown,
        ),
        Rooms(
            "lounge-notes/{person}",
            ("lounge.notes", "{person}"),
            admit=admit_to_inbox,
            calls=(read_notes,),
            shows=shown_notes,
        ),
    ),
    routes=_routes,
    described=DESCRIBED,
    pages=(Page("Lounge", "/lounge"),),
)
