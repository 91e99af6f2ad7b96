"""The other side: hands commits to the process that owns the facts, and brings its answers back.

All threads of a process share one connection (`Line`).  What they ask while one of them is sending goes out with its
next message, and who listens hears for all: there is no thread of its own, and who is alone wakes nobody.

What was not sent, or was refused before it began, may be tried again by whoever calls.  What was sent and not
answered may have happened: that is `CommitUnknown`, and with an idempotency id it is safe to ask again.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from boxwork.clock import SECOND_NS, monotonic_ns
from boxwork.errors import BoxworkError, CommitUnknown, FormatError
from boxwork.state.receipts import Receipt
from boxwork.state.remote import wire
from boxwork.state.remote.line import Fingerprint, Line, Lost, NoOwner, Reply, mute, place_of
from boxwork.transactions import Transaction

__all__ = ["Courier", "Lost", "NoOwner", "place_of"]


class _Waiting:
    """A caller: woken with its reply, or without one to listen for the others."""

    __slots__ = ("_is_woken", "_latch", "is_sent", "number", "reply", "waits")

    def __init__(self) -> None:
        self._latch = threading.Lock()
        self._latch.acquire()
        self._is_woken = False
        self.number = 0
        self.is_sent = False
        self.waits = False  # it has nothing to send any more
        self.reply: Reply | None = None

    def wake(self) -> None:
        if not self._is_woken:
            self._is_woken = True
            self._latch.release()

    def sleep(self, left_s: float) -> bool:
        """False: nobody has woken it in time."""
        if not self._latch.acquire(timeout=max(left_s, 0)):
            return False
        self._is_woken = False
        return True


class _Shared:
    """One connection, and who waits at it.

    Whoever waits and finds nobody listening listens.  Who sends may find the other side busy for a while, so another
    one listens meanwhile.
    """

    def __init__(self, line: Line) -> None:
        self.line = line
        self.lock = threading.Lock()  # over everything here, but not while somebody waits for the other side
        self.waiting: dict[int, _Waiting] = {}
        self.is_listened_to = False
        self.is_sent_on = False  # somebody is sending, and sends what is added meanwhile, too
        self.ended: BaseException | None = None

    # --- sending

    def send(self) -> None:
        """Send what was put, unless somebody is at it."""
        while True:
            with self.lock:
                if self.is_sent_on or self.ended is not None or not self.line.has_something_to_say:
                    return
                self.is_sent_on = True
                bundle = self.line.bundle()
                for reply in bundle.refused:
                    self._deliver(reply)
                self._mark(bundle.numbers, is_sent=True)  # before it is: nobody shall think that it was not
            try:
                self.line.send(bundle)
            except wire.Left:  # who listens hears why
                with self.lock:
                    self._mark(bundle.numbers, is_sent=False)
                    self._mark(bundle.sent, is_sent=True)
            finally:
                with self.lock:
                    self.is_sent_on = False
                    if self.ended is not None:
                        self._end(self.ended)

    def _mark(self, numbers: list[int], *, is_sent: bool) -> None:
        for number in numbers:
            if (one := self.waiting.get(number)) is not None:
                one.is_sent = is_sent

    # --- hearing

    def reply(self, me: _Waiting, end_ns: int, timeout_s: float) -> Reply:
        """Wait for the reply to `me`, listening for all if nobody else does.  Raises `CommitUnknown` at the limit."""
        try:
            while True:
                with self.lock:
                    me.waits = True
                    if me.reply is not None:
                        return me.reply
                    listens = not self.is_listened_to
                    self.is_listened_to = True
                left_s = (end_ns - monotonic_ns()) / SECOND_NS
                if not (self._listen(left_s) if listens else me.sleep(left_s)) and monotonic_ns() >= end_ns:
                    raise CommitUnknown(
                        f"the owner of the facts did not answer within {round(timeout_s, 1):g} s (setting"
                        " state.forward_s_max): it may have happened; ask again with the same `once`"
                    )
        finally:
            with self.lock:
                self.waiting.pop(me.number, None)
                if not self.is_listened_to:  # then somebody else shall
                    another = next((one for one in self.waiting.values() if one.waits), None)
                    if another is not None:
                        another.wake()

    def _listen(self, left_s: float) -> bool:
        """Hear once, for all; False: nothing came."""
        replies: list[Reply] = []
        ended: BaseException | None = None
        try:
            self.line.set_limit(left_s)
            replies = self.line.receive()
        except TimeoutError:
            pass
        except BaseException as reason:
            ended = reason
            if not isinstance(reason, Exception):  # in the middle of something: what comes next is out of step
                raise
        finally:
            with self.lock:
                self.is_listened_to = False
                for reply in replies:
                    self._deliver(reply)
                if ended is not None:
                    self.ended = ended
                    self.line.is_broken = True
                    if not self.is_sent_on:
                        self._end(ended)
        return bool(replies) or ended is not None

    def _deliver(self, reply: Reply) -> None:
        one = self.waiting.pop(reply.number, None)
        if one is not None:  # else it has stopped waiting
            one.reply = reply
            one.wake()

    def _end(self, reason: BaseException) -> None:
        """Nothing more is heard: what was not sent, or to nobody, was not begun; of the rest nobody knows."""
        for number, one in list(self.waiting.items()):
            error: BaseException
            if isinstance(reason, BoxworkError) and not isinstance(reason, FormatError):
                error = type(reason)(reason.message, **reason.details)  # we are not taken in
            elif one.is_sent and self.line.is_welcome:
                error = Lost(
                    "the owner of the facts went away before it answered: it may have happened; ask again with the"
                    " same `once`"
                )
            else:
                error = NoOwner(f"the owner of the facts has just gone: {reason}")
            self._deliver(Reply(number, error=error))


class Courier:
    """Asks the owner; from any thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._shared: _Shared | None = None
        self._process = os.getpid()

    def commit(
        self, box: Transaction[..., Any], row: Sequence[Any], fingerprint: str, timeout_s: float, **options: str
    ) -> tuple[Any, Receipt]:
        """Commit one call.  Raises what the transaction raised, `NoOwner`, `Lost`, or `CommitUnknown` at the limit."""
        reply = self._ask(lambda line: line.call(box, row, fingerprint, **options), timeout_s)
        return reply.answer, reply.receipt

    def commit_many(
        self,
        box: Transaction[..., Any],
        rows: Sequence[Sequence[Any]],
        fingerprint: str,
        timeout_s: float,
        **options: str,
    ) -> list[Any]:
        """Commit many calls; in place of an answer stands the exception of one that raised."""
        question = {
            "ask": "commit_many", "name": box.name, "place": place_of(box), "fingerprint": fingerprint,
            "rows": wire.packed([tuple(row) for row in rows]), **options,
        }  # fmt: skip
        told = self._ask(lambda line: line.ask(question), timeout_s).told or {}
        return [
            wire.error_in(one["error"]) if "error" in one else _answer_in(box, one["answer"]) for one in told["answers"]
        ]

    def numbers(self, timeout_s: float) -> dict[str, Any]:
        """The owner's process number, its `Engine.numbers`, and its `Engine.recent`."""
        told = self._ask(lambda line: line.ask({"ask": "numbers"}), timeout_s).told or {}
        return {"owner": int(told["owner"]), **wire.unpacked(told["told"])}

    def line(self, timeout_s: float, fingerprint: Fingerprint | None = None) -> Line:
        """A connection of the caller's own.  Raises `NoOwner`, `Timeout`."""
        return Line(self._path, timeout_s, fingerprint)

    def close(self) -> None:
        with self._lock:
            shared, self._shared = self._shared, None
        if shared is not None:
            shared.line.close()

    # --- asking

    def _ask(self, put: Callable[[Line], int], timeout_s: float) -> Reply:
        end_ns = monotonic_ns() + int(timeout_s * SECOND_NS)
        me = _Waiting()
        shared = self._begin(put, me, timeout_s)
        shared.send()
        reply = shared.reply(me, end_ns, timeout_s)
        if reply.error is not None:
            raise reply.error
        return reply

    def _begin(self, put: Callable[[Line], int], me: _Waiting, timeout_s: float) -> _Shared:
        """Put a question on the shared line; one that is broken, or was closed while it was idle, is replaced."""
        with self._lock:
            if self._process != os.getpid():  # forked: the connection is the parent's
                self._shared, self._process = None, os.getpid()
            shared = self._shared
            if shared is not None:
                with shared.lock:
                    is_open = not (shared.line.is_broken or shared.ended)
                    if is_open and not shared.waiting and not shared.is_listened_to:
                        is_open = shared.line.is_silent
                        if not is_open:
                            shared.line.close()
                if not is_open:
                    shared = None
            if shared is None:
                shared = self._shared = _Shared(Line(self._path, timeout_s))
            with shared.lock:
                me.number = put(shared.line)
                shared.waiting[me.number] = me
        return shared


def _answer_in(box: Transaction[..., Any], raw: bytes | None) -> Any:
    if raw is None:
        raise mute(box.name, "with the others")
    return wire.unpacked(raw)
