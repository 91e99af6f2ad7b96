"""Messages between two processes: what is too long, cut off or no message is told apart."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from boxwork.errors import BoundReached, FormatError, Refused, StateError, TooLarge
from boxwork.state.remote import wire
from boxwork.state.values import all_plain, encode_stored, freeze, thaw


def test_a_message_arrives_as_it_was_sent() -> None:
    [body] = wire.Inbox().take(wire.question({"ask": "commit", "row": [wire.packed((1, {"a": {2}}))]}))
    told = wire.as_map(body)
    assert "commit" == told["ask"]
    assert (1, {"a": {2}}) == wire.unpacked(told["row"][0])


def test_calls_and_answers_arrive_as_they_were_sent() -> None:
    rows = [(1, "a", (2, (3, b"x"))), (None, 1.5, True), (1 << 70,), (freeze([1, {2}]),), ()]
    calls: dict[wire.Call, None] = {(number, 7, row, None): None for number, row in enumerate(rows)}
    calls[99, 1, (), ("order 1", "ada", "")] = None
    [body] = wire.Inbox().take(wire.calls_out(calls))
    assert (wire.CALLS, list(calls)) == (body[0], list(wire.CallReader().calls_in(body)))
    [body] = wire.Inbox().take(wire.answers_out((1, 2, b"d", [(5, 0, freeze({1}))], [(6, 1)], [(7, {"code": "x"})])))
    told = wire.answers_in(body)
    assert (wire.ANSWERS, 2, b"d", {1}) == (body[0], told.version, told.digest, thaw(told.answered[0][2]))
    assert ([(6, 1)], [(7, {"code": "x"})]) == (told.mute, told.failed)


_TIME = datetime.datetime(2026, 11, 29, 12, tzinfo=datetime.UTC)
_FAR = datetime.datetime(2600, 1, 1, 12, 0, 0, 1, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    "strange",
    [freeze([1, {2}]), freeze({"a": 1}), 1 << 70, _TIME, _TIME.replace(microsecond=5), _FAR, "x" * 5_000_000],
    ids=lambda value: repr(value)[:30],
)
def test_a_reader_says_that_rows_are_plain_only_where_they_are(strange: Any) -> None:
    reader = wire.CallReader()
    plain = (None, True, -1, 255, 1 << 40, 1.5, "Öl", b"\xff\xd6\xfe", (1, (2, ())))
    [body] = wire.Inbox().take(wire.calls_out({(1, 7, plain, None): None}))
    assert all_plain([row for _, _, row, _ in reader.calls_in(body)])
    assert reader.is_plain
    # A time is no stored value, so only somebody who speaks MessagePack by hand sends one.
    body = b"\x01\xdf\x00\x00\x00\x01" + encode_stored((1, 7, (1, (2, strange)), None)) + b"\xc0"
    assert [(1, 7, (1, (2, strange)), None)] == list(reader.calls_in(body))
    assert not reader.is_plain


def test_messages_come_together_and_in_pieces() -> None:
    bodies = [b"\x80" * size for size in (1, 7, 300, 70_000, 2, 200_000, 1)]
    raw = b"".join(len(body).to_bytes(4, "big") + body for body in bodies)
    for step in (1, 3, 5, 4096, 65_536, len(raw)):
        inbox = wire.Inbox()
        heard = [one for at in range(0, len(raw), step) for one in inbox.take(raw[at : at + step])]
        assert bodies == heard
        assert wire.READ_BYTES == inbox.wants


def test_what_is_no_message_is_named() -> None:
    for size in (wire.MESSAGE_BYTES_MAX + 1, 0):
        with pytest.raises(FormatError, match="was announced"):
            wire.Inbox().take(size.to_bytes(4, "big"))
    for reads in (wire.as_map, wire.CallReader().calls_in, wire.answers_in):
        with pytest.raises(FormatError, match="is no "):
            reads(b"\x01\xc1")
    with pytest.raises(FormatError, match="is no call"):
        wire.CallReader().calls_in(b"\x01\x81\x94\x01\x02\x91\x80\xc0\xc0")  # a map in a row: no stored value is one


def test_what_is_too_large_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "MESSAGE_BYTES_MAX", 100)
    with pytest.raises(TooLarge, match="in content"):
        wire.question({"row": b"x" * 101})


@pytest.mark.parametrize(
    "details", [{}, {"a": 1, "b": None, "c": 1.5, "d": True}, {"a": 1 << 70}, {"a": "x", "b": (1,)}]
)
def test_details_cross_in_one_form(details: dict[str, Any]) -> None:
    told = wire.error_out(Refused("no", **details))
    assert wire.packed(details) == told["details"]
    assert details == wire.error_in(told).details  # type: ignore[attr-defined]


def test_an_error_comes_back_as_its_own_class() -> None:
    back = wire.error_in(wire.error_out(BoundReached("too low", key=("a", 1))))
    assert (BoundReached, "too low", {"key": ("a", 1)}) == (type(back), *_parts(back))
    back = wire.error_in(wire.error_out(StateError("odd", thing=object())))
    assert "object" in _parts(back)[1]["text"]
    assert KeyError("shelf").args == wire.error_in(wire.error_out(KeyError("shelf"))).args
    assert isinstance(wire.error_in(wire.error_out(UnicodeDecodeError("utf-8", b"x", 0, 1, "bad"))), UnicodeDecodeError)
    assert isinstance(wire.error_in({"raised": "Odd", "message": "m"}), StateError)
    assert isinstance(wire.error_in({"raised": "exit", "message": "m"}), StateError)


def _parts(error: BaseException) -> tuple[str, dict[str, object]]:
    assert isinstance(error, StateError)
    return error.message, error.details
