"""Messages between two processes: what is too long, cut off or no message is told apart."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from boxwork.errors import BoundReached, FormatError, StateError, TooLarge
from boxwork.state.remote import wire


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    left, right = socket.socketpair()
    right.settimeout(5)
    with closing(left), closing(right):
        yield left, right


def test_a_message_arrives_as_it_was_sent(ends: tuple[socket.socket, socket.socket]) -> None:
    wire.send(ends[0], {"ask": "commit", "row": [wire.packed((1, {"a": {2}}))]})
    told = wire.receive(ends[1])
    assert "commit" == told["ask"]
    assert (1, {"a": {2}}) == wire.unpacked(told["row"][0])


def test_what_breaks_off_or_is_no_message_is_named(ends: tuple[socket.socket, socket.socket]) -> None:
    ends[0].sendall((wire.MESSAGE_BYTES_MAX + 1).to_bytes(4, "big"))
    with pytest.raises(FormatError, match="was announced"):
        wire.receive(ends[1])
    ends[0].sendall(b"\0\0\0\2\xc1\xc1")
    with pytest.raises(FormatError, match="is no message"):
        wire.receive(ends[1])
    ends[0].sendall(b"\0\0\0\2\x80")
    ends[0].shutdown(socket.SHUT_WR)
    with pytest.raises(wire.Left):
        wire.receive(ends[1])
    ends[1].close()
    with pytest.raises(wire.Left):
        wire.send(ends[0], {})


def test_what_is_too_large_is_not_sent(
    ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "MESSAGE_BYTES_MAX", 100)
    with pytest.raises(TooLarge, match="in content"):
        wire.send(ends[0], {"row": b"x" * 101})


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
