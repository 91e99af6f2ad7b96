"""What somebody who comes in is shown, and the list of rooms."""

from __future__ import annotations

from typing import Any

from boxwork.packs.lounge.comments import comment, like
from boxwork.packs.lounge.moderation import open_lounge
from boxwork.packs.lounge.opening import listed
from tests.packs.lounge.conftest import EVE, Come


def test_who_comes_in_later_is_shown_the_newest_hundred(work: Any, key: str, guest: Come) -> None:
    work.commit_many(comment, [("friday", "x", False, "many", f"{number}") for number in range(150)])
    facts = guest(EVE).first["facts"]
    assert list(range(50, 150)) == [key[1] for key, _ in facts if key[0] == "comment"]
    assert ["title", "Friday night"] in [[key[0], value] for key, value in facts]


def test_the_list_has_every_room_with_its_figures(work: Any) -> None:
    for room in ("one", "two"):
        work.commit(open_lounge, room=room, title=f"Room {room}", lock="x")
    work.commit(comment, "one", "x", False, "ada", "hello")
    work.commit(like, room="one", times=7)
    with work.read() as facts:
        rooms = {row["room"]: row for row in listed(facts)}
    assert {"room": "one", "title": "Room one", "comments": 1, "likes": 7} == rooms["one"]
    assert {"room": "two", "title": "Room two", "comments": 0, "likes": 0} == rooms["two"]
