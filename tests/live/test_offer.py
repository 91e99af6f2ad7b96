"""A pattern of addresses, and the prefix behind it."""

from __future__ import annotations

from typing import Any

import pytest

from boxwork.errors import BadInput
from boxwork.live.offer import Rooms


def test_a_pattern_finds_its_rooms_and_their_facts() -> None:
    rooms = Rooms("shop/{shop}/board-{board}", ("board", "{shop}", 7, "{board}"))
    fields = rooms.fields("shop/north/board-3")
    assert {"shop": "north", "board": "3"} == fields
    assert fields is not None
    assert ("board", "north", 7, "3") == rooms.prefix_of(fields)
    assert ("board",) == rooms.fixed


@pytest.mark.parametrize("path", ["", "shop", "shop/", "shop/a/b", "xshop/a", "shop/a b", "shop/é", "shop/" + "a" * 65])
def test_other_addresses_are_no_room(path: str) -> None:
    assert Rooms("shop/{shop}", ("shop", "{shop}")).fields(path) is None


@pytest.mark.parametrize(
    ("pattern", "prefix"),
    [("", ("a",)), ("/a", ("a",)), ("a/{b", ("a",)), ("a/{b}", ("a",)), ("a/{b}", ("{b}",)), ("a", ()),
     ("a", ("a", "{b}"))],
)  # fmt: skip
def test_a_pattern_that_cannot_be_is_refused(pattern: str, prefix: tuple[Any, ...]) -> None:
    with pytest.raises(BadInput):
        Rooms(pattern, prefix)
