"""A guest: one connection of another process to the owner of the facts, its bytes and what it waits for.

Nothing in here waits: what does not go out at once is kept, and goes out when the other side reads on.
"""

from __future__ import annotations

import contextlib
import select
import socket
from collections.abc import Sequence
from typing import Any, TypeAlias

from boxwork.errors import BoxworkError
from boxwork.settings import MiB
from boxwork.state.remote import wire
from boxwork.state.remote.catalogue import Used

# Calls under way on one connection before nothing more is read from it.  Unit: calls.  Reason: as many as one batch
# takes; who sends more waits in the kernel.
CALLS_MAX = 4096
# Answers that a guest does not read before nothing more is read from it.  Unit: bytes.  Reason: arbitrary.
UNREAD_MAX = MiB

# Transactions that one connection uses.  Unit: transactions.  Reason: arbitrary, far more than a program has.
USED_MAX = 10_000

_IN, _OUT = int(select.EPOLLIN), int(select.EPOLLOUT)

# Epoch, version and digest of the entry in which a call stands.
At: TypeAlias = tuple[int, int, bytes]
NOWHERE: At = (0, 0, b"")
# Who waits for each row of a job: the guest, and its number of the call.
Place: TypeAlias = "tuple[Guest, int]"


class Guest:
    """used       what `use` gave a number on this connection
    under_way  calls and questions that are not answered
    at         the entry in which the calls stand that are in `answered` and `mute`: see `wire.Answers`
    polled     what `epoll` was asked for last
    age        of its transaction in the lane `locking` that was aborted last, so that it grows older and wins
    """

    __slots__ = (
        "_inbox",
        "_out",
        "_sheets",
        "age",
        "answered",
        "at",
        "failed",
        "is_gone",
        "is_through",
        "link",
        "mute",
        "number",
        "polled",
        "under_way",
        "used",
    )

    def __init__(self, link: socket.socket) -> None:
        link.setblocking(False)
        self.link = link
        self.number = link.fileno()
        self.used: dict[int, Used] = {}
        self.under_way = 0
        self.at = NOWHERE
        self.answered: list[tuple[int, int, Any]] = []
        self.mute: list[tuple[int, int]] = []
        self.failed: list[tuple[int, dict[str, Any]]] = []
        self.age = 0
        self.polled = _IN
        self.is_through = False  # it sends no more
        self.is_gone = False
        self._sheets: list[tuple[At, list[tuple[int, int, Any]], list[tuple[int, int]]]] = []
        self._inbox = wire.Inbox()
        self._out = bytearray()

    @property
    def wanted(self) -> int:
        """What `epoll` shall say of it.  0: it is through, or is waited for."""
        reads = not self.is_through and self.under_way < CALLS_MAX
        if not self._out:  # the usual case
            return _IN if reads else 0
        return (_IN if reads and len(self._out) < UNREAD_MAX else 0) | _OUT

    @property
    def is_finished(self) -> bool:
        return self.is_through and not self.under_way and not self._out

    def receive(self) -> Sequence[bytes]:
        """The messages that have come.  Raises `FormatError`, and `Left` if it broke off."""
        try:
            data = self.link.recv(self._inbox.wants)
        except BlockingIOError:
            return ()
        except OSError as reason:
            raise wire.Left(str(reason)) from reason
        if not data:
            self.is_through = True
            return ()
        return self._inbox.take(data)

    def turn_over(self, at: At) -> None:
        """What follows stands in another entry."""
        if self.answered or self.mute:
            self._sheets.append((self.at, self.answered, self.mute))
            self.answered, self.mute = [], []
        self.at = at

    def answer(self) -> None:
        """Send what is ready.  Raises `Left`."""
        if self._sheets:
            sheets, self._sheets = self._sheets, []
            for at, answered, mute in sheets:
                self.under_way -= len(answered) + len(mute)
                self._send_sheet(at, answered, mute, [])
        answered, mute, failed = self.answered, self.mute, self.failed
        if not (mute or failed):  # the usual case
            if answered:
                self.under_way -= len(answered)
                self.answered = []
                self._send_sheet(self.at, answered, (), ())
            return
        self.under_way -= len(answered) + len(mute) + len(failed)
        self.answered, self.mute, self.failed = [], [], []
        self._send_sheet(self.at, answered, mute, failed)

    def _send_sheet(self, at: At, answered: list[Any], mute: Sequence[Any], failed: Sequence[Any]) -> None:
        try:
            raw = wire.answers_out((*at, answered, mute, failed))
        except BoxworkError:  # together they are too much for one message
            self.send(wire.answers_out((*at, (), mute, failed)))
            for one in answered:
                try:
                    self.send(wire.answers_out((*at, (one,), (), ())))
                except BoxworkError:
                    self.send(wire.answers_out((*at, (), (one[:2],), ())))
        else:
            self.send(raw)

    def send(self, raw: bytes) -> None:
        """Send now what goes, and the rest later.  Raises `Left`."""
        if self._out:
            self._out += raw
            return
        try:
            sent = self.link.send(raw)
        except BlockingIOError:
            sent = 0
        except OSError as reason:
            raise wire.Left(str(reason)) from reason
        if sent < len(raw):
            self._out += memoryview(raw)[sent:]

    def go_on(self) -> None:
        """Send of what was kept.  Raises `Left`."""
        try:
            sent = self.link.send(self._out)
        except BlockingIOError:
            return
        except OSError as reason:
            raise wire.Left(str(reason)) from reason
        del self._out[:sent]

    def stop_reading(self) -> None:
        """What has come can still be read; whoever sends more is told that nobody listens."""
        with contextlib.suppress(OSError):
            self.link.shutdown(socket.SHUT_RD)

    def close(self) -> None:
        self.is_gone = True
        self.link.close()
