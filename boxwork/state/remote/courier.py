"""The other side: hands commits to the process that owns the facts, and brings its answers back.

What was not sent, or was refused before it began, may be tried again by whoever calls.  What was sent and not
answered may have happened: that is `CommitUnknown`, and with an idempotency id it is safe to ask again.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from boxwork.errors import CommitUnknown, FormatError, StateError, Timeout
from boxwork.state.receipts import Receipt
from boxwork.state.remote import wire
from boxwork.transactions import Transaction

# Connections that are kept for the next call.  Unit: connections.  Reason: one a thread that commits at once.
KEPT_MAX = 16


class NoOwner(StateError):
    """Nobody listens: there is no owner, or it is only just beginning or ending.  Nothing was handed in."""


class Lost(CommitUnknown):
    """It was handed in, and the owner went away before it answered."""


class Courier:
    """Asks the owner; from any thread, each with a connection of its own."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._kept: list[socket.socket] = []
        self._process = os.getpid()

    def commit(
        self, box: Transaction[..., Any], row: Sequence[Any], fingerprint: str, timeout_s: float, **options: str
    ) -> tuple[Any, Receipt]:
        """Commit one call.  Raises what the transaction raised, `NoOwner`, `Lost`, or `CommitUnknown` at the limit."""
        told = self._ask(
            {
                "ask": "commit", "name": box.name, "place": place_of(box), "fingerprint": fingerprint,
                "row": [wire.packed(one) for one in row], **options,
            },
            timeout_s,
        )  # fmt: skip
        receipt = Receipt.parse(told["receipt"])
        return _answer_in(box, told["answer"], f"as {receipt}"), receipt

    def commit_many(
        self,
        box: Transaction[..., Any],
        rows: Sequence[Sequence[Any]],
        fingerprint: str,
        timeout_s: float,
        **options: str,
    ) -> list[Any]:
        """Commit many calls; in place of an answer stands the exception of one that raised."""
        told = self._ask(
            {
                "ask": "commit_many", "name": box.name, "place": place_of(box), "fingerprint": fingerprint,
                "rows": wire.packed([tuple(row) for row in rows]), **options,
            },
            timeout_s,
        )  # fmt: skip
        return [
            wire.error_in(one["error"]) if "error" in one else _answer_in(box, one["answer"], "with the others")
            for one in told["answers"]
        ]

    def numbers(self, timeout_s: float) -> dict[str, Any]:
        """The owner's process number, its `Engine.numbers`, and its `Engine.recent`."""
        told = self._ask({"ask": "numbers"}, timeout_s)
        return {"owner": int(told["owner"]), **wire.unpacked(told["told"])}

    def _ask(self, question: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        if self._process != os.getpid():  # forked: the connections are the parent's
            self._kept, self._process, self._lock = [], os.getpid(), threading.Lock()
        connection = self._connection(timeout_s)
        try:
            connection.settimeout(timeout_s)
            try:
                wire.send(connection, {"protocol": wire.PROTOCOL, **question})
            except wire.Left as reason:  # half a message is no message: nothing was begun; it may have said why
                told = _last_words(connection)
                if told is None:
                    raise NoOwner(f"the owner of the facts has just gone: {reason}") from reason
            else:
                told = wire.receive(connection)
        except TimeoutError as reason:
            connection.close()
            raise CommitUnknown(
                f"the owner of the facts did not answer within {timeout_s:.3g} s (setting state.forward_s_max): it may"
                " have happened; ask again with the same `once`"
            ) from reason
        except wire.Left as reason:
            connection.close()
            raise Lost(
                "the owner of the facts went away before it answered: it may have happened; ask again with the same"
                " `once`"
            ) from reason
        except BaseException:
            connection.close()
            raise
        if "gone" in told:
            connection.close()
            raise NoOwner("the owner of the facts is just closing")
        with self._lock:
            keep = len(self._kept) < KEPT_MAX
            if keep:
                self._kept.append(connection)
        if not keep:
            connection.close()
        if "error" in told:
            raise wire.error_in(told["error"])
        return told

    def _connection(self, timeout_s: float) -> socket.socket:
        """One that is open: a kept one whose other end has closed is dropped before anything is sent on it."""
        while True:
            with self._lock:
                if not self._kept:
                    break
                kept = self._kept.pop()
            if _is_open(kept):
                return kept
            kept.close()
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(timeout_s)
        try:
            with wire.address_of(self._path) as address:
                connection.connect(address)
        except TimeoutError as reason:
            connection.close()
            raise Timeout(f"the owner of the facts took no connection within {timeout_s:.3g} s") from reason
        except OSError as reason:
            connection.close()
            raise NoOwner(f"nobody listens at {self._path}: {reason.strerror}") from reason
        return connection

    def close(self) -> None:
        with self._lock:
            kept, self._kept = self._kept, []
        for connection in kept:
            connection.close()


def _last_words(connection: socket.socket) -> dict[str, Any] | None:
    try:
        return wire.receive(connection)
    except (OSError, FormatError):
        return None


def _is_open(connection: socket.socket) -> bool:
    """An idle connection on which something can be read has ended, or is out of step."""
    with contextlib.suppress(OSError):
        connection.settimeout(0)
        try:
            connection.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
    return False


def place_of(box: Transaction[..., Any]) -> str:
    """`module:name`, for an owner that has loaded the same module."""
    function = box.function
    return f"{getattr(function, '__module__', '')}:{getattr(function, '__qualname__', '')}"


def _answer_in(box: Transaction[..., Any], raw: bytes | None, where: str) -> Any:
    if raw is None:
        raise StateError(
            f"{box.name} was committed {where}, but its answer is of a type that cannot come from another process:"
            " answer with a value that could be a fact",
            transaction=box.name,
        )
    return wire.unpacked(raw)
