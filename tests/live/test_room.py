"""A room is the log under a prefix: frames in order, a tail with a limit, and more of it from the log."""

from __future__ import annotations

import json

from boxwork.live.room import Room


def told(room: Room, after: int) -> list[int]:
    return [one.offset for one in room.since(after, 1 << 30)]


def room_with(*offsets: int, frames_max: int = 100, bytes_max: int = 1 << 20) -> Room:
    room = Room("1.ab", 10, frames_max, bytes_max)
    for offset in offsets:
        room.commit(offset, [[["n"], offset]])
    return room


def test_a_frame_names_its_entry_and_the_frame_before() -> None:
    room = room_with(12, 17)
    assert [
        {"kind": "frame", "epoch": "1.ab", "offset": 12, "after": 10, "changes": [[["n"], 12]]},
        {"kind": "frame", "epoch": "1.ab", "offset": 17, "after": 12, "changes": [[["n"], 17]]},
    ] == [json.loads(one.text) for one in room.since(10, 1 << 20)]


def test_an_entry_that_is_in_the_room_already_is_no_second_frame() -> None:
    room = room_with(12)
    assert room.commit(12, [[["n"], 0]]) is None
    assert room.commit(9, [[["n"], 0]]) is None
    assert [12] == told(room, 10)


def test_who_is_between_two_frames_gets_the_later_one() -> None:
    assert [17] == told(room_with(12, 17), 15)
    assert [] == told(room_with(12, 17), 17)


def test_the_tail_has_limits_and_says_how_far_it_reaches() -> None:
    room = room_with(*range(11, 31), frames_max=5)
    assert 5 == len(room)
    assert 25 == room.start
    assert room.covers(25)
    assert not room.covers(24)
    small = room_with(*range(11, 31), bytes_max=300)
    assert small.bytes <= 300
    assert 30 == small.offset
    assert not small.covers(10)


def test_a_frame_that_is_too_big_for_the_tail_leaves_it_empty_and_honest() -> None:
    room = room_with(12, bytes_max=200)
    room.commit(13, [[["n"], "x" * 500]])
    assert 0 == len(room)
    assert 0 == room.bytes
    assert not room.covers(12)
    assert room.covers(13)


def test_an_answer_has_a_limit_of_bytes_and_at_least_one_frame() -> None:
    room = room_with(11, 12, 13)
    assert [11] == [one.offset for one in room.since(10, 1)]
    assert [11, 12] == [one.offset for one in room.since(10, 2 * len(room.since(10, 1)[0].text))]


def test_the_log_brings_the_tail_back() -> None:
    room = room_with(12, 17)
    assert room.prepend(3, [(2, [[["n"], 2]]), (4, [[["n"], 4]]), (10, [[["n"], 10]]), (12, [[["n"], 12]])])
    assert [4, 10, 12, 17] == told(room, 3)
    chain = [(one.after, one.offset) for one in room.since(3, 1 << 20)]
    assert [(3, 4), (4, 10), (10, 12), (12, 17)] == chain


def test_more_than_the_tail_may_hold_is_not_taken_back() -> None:
    room = room_with(12, 17, frames_max=3)
    assert not room.prepend(3, [(4, []), (5, [])])
    assert [12, 17] == told(room, 10)
    assert not room.covers(3)


def test_what_was_missed_begins_the_tail_anew() -> None:
    room = room_with(12)
    room.lose(20)
    assert not room.covers(12)
    assert room.commit(15, []) is None
    assert room.commit(21, []) is not None
    assert [21] == told(room, 20)
