"""What a member says is read strictly, and at a pace."""

from __future__ import annotations

import pytest

from boxwork.clock import SECOND_NS
from boxwork.errors import BadInput, Busy
from boxwork.live.inbox import Call, Inbox


def inbox(per_s: float = 10, burst: int = 5, under_way_max: int = 100) -> Inbox:
    return Inbox(per_s, burst, under_way_max, 0)


def test_a_call_is_read() -> None:
    assert Call("like", "a.1", {"times": 3}) == inbox().read('{"call": "like", "id": "a.1", "inputs": {"times": 3}}')


@pytest.mark.parametrize(
    "text",
    ["", "no", "[]", "{}", '{"call": "like"}', '{"call": 1, "id": "a"}', '{"call": "like", "id": ""}', "[" * 5000,
     '{"call": "like", "id": "a b"}', '{"call": "like", "id": "' + "a" * 65 + '"}', '{"call": "x", "id": "a", "b": 1}'],
)  # fmt: skip
def test_what_is_no_call_is_refused_with_what_is_one(text: str) -> None:
    with pytest.raises(BadInput, match="id of a call|a message is"):
        inbox().read(text)


def test_a_burst_is_let_in_and_then_the_rate_holds() -> None:
    calls = inbox()
    for _ in range(5):
        calls.begin(0)
    with pytest.raises(Busy, match=r"live\.commands_per_s"):
        calls.begin(0)
    calls.begin(SECOND_NS // 10)
    with pytest.raises(Busy):
        calls.begin(SECOND_NS // 10)


def test_a_long_pause_saves_no_more_than_one_burst() -> None:
    calls = inbox()
    for _ in range(5):
        calls.begin(1000 * SECOND_NS)
    with pytest.raises(Busy):
        calls.begin(1000 * SECOND_NS)


def test_calls_that_are_not_answered_are_limited() -> None:
    calls = inbox(under_way_max=2)
    calls.begin(0)
    calls.begin(0)
    with pytest.raises(Busy, match=r"live\.under_way_max"):
        calls.begin(0)
    calls.end()
    calls.begin(0)
