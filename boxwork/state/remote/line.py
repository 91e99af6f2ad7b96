"""A line: one connection to the process that owns the facts, with many calls under way.

For one thread, which says itself when to send and when to listen; so a loop over many lines, or a batch of calls that
go out together, costs no threads and no futures:

    numbers = [line.call(like, (post,)) for post in posts]
    line.flush()
    while line.under_way:
        for reply in line.receive():
            reply.number, reply.answer, reply.error
"""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from boxwork.errors import BadInput, BoxworkError, CommitUnknown, FormatError, StateError, Timeout
from boxwork.state.batch import stored_rows
from boxwork.state.receipts import Receipt
from boxwork.state.remote import wire
from boxwork.state.values import Packed, as_stored, thaw
from boxwork.transactions import Transaction

# `struct timeval`, as SO_RCVTIMEO takes it: the kernel keeps the limit, where Python would ask it twice a call.
_TIMEVAL = struct.Struct("@ll")


Fingerprint = Callable[[Transaction[..., Any]], str]


class NoOwner(StateError):
    """Nobody listens: there is no owner, or it is only just beginning or ending.  Nothing was handed in."""


class Lost(CommitUnknown):
    """It was handed in, and the owner went away before it answered."""


class Reply(msgspec.Struct, gc=False):
    """What became of one call or question: `error`, or `answer` and where it stands; `told` of a question."""

    number: int
    answer: Any = None
    error: BaseException | None = None
    at: tuple[int, int, bytes] = (0, 0, b"")
    index: int = -1
    told: dict[str, Any] | None = None

    @property
    def receipt(self) -> Receipt:
        epoch, version, digest = self.at
        return Receipt(epoch, version, self.index, digest)


class Bundle:
    """Messages that go out together, and the numbers of what is in them."""

    __slots__ = ("_ends", "numbers", "parts", "refused", "sent")

    def __init__(self, parts: list[bytes], numbers: list[int]) -> None:
        self.parts = parts
        self.numbers = numbers[:]
        self._ends = [(sum(map(len, parts)), numbers)]  # so many bytes, and these have arrived
        self.refused: list[Reply] = []  # too large, and not in here
        self.sent: list[int] = []  # what may have arrived, once it was sent or broke off

    def add(self, raw: bytes, numbers: list[int]) -> None:
        self.parts.append(raw)
        self.numbers += numbers
        self._ends.append((self._ends[-1][0] + len(raw), numbers))

    def broke_off(self, size: int) -> None:
        """So many bytes were taken: of several questions any may have been whole, calls only if all of them were."""
        first, *calls = self._ends
        self.sent = [*(first[1] if size else ()), *(number for end, some in calls if end <= size for number in some)]


class Line:
    """under_way   calls and questions that are not answered, those that wait for `flush` included
    is_welcome  the owner has taken this connection in; if it ends before, nothing of it was begun
    """

    def __init__(self, path: Path, timeout_s: float, fingerprint: Fingerprint | None = None) -> None:
        """Raises `NoOwner`, or `Timeout` if no connection is taken in time."""
        self._fingerprint = fingerprint
        try:
            self._link = wire.connect(path, timeout_s)
        except TimeoutError as reason:
            raise Timeout(f"the owner of the facts took no connection within {timeout_s:.3g} s") from reason
        except OSError as reason:
            raise NoOwner(f"nobody listens at {path}: {reason.strerror}") from reason
        self._link.setblocking(True)
        self._limit_s = -1.0
        self.set_limit(timeout_s)
        self._inbox = wire.Inbox()
        self._ahead: list[Reply] = []  # came while something was being sent
        self._calls: dict[wire.Call, None] = {}
        self._questions: list[tuple[int, bytes]] = []  # with their numbers; 0: no answer comes
        self._used: dict[int, tuple[Transaction[..., Any], str, int]] = {}  # id of box -> it, its print, its number
        self._numbers = 0
        self._uses = 0
        self.under_way = 0
        self.is_broken = False
        self.is_welcome = False

    def fileno(self) -> int:
        return self._link.fileno()

    def set_limit(self, limit_s: float) -> None:
        """`receive` waits at most so long, if not less: who is told of the end of a limit looks at the clock."""
        if limit_s < self._limit_s or limit_s > 2 * self._limit_s:
            self._limit_s = limit_s
            whole = max(int(limit_s * 1e6), 1)
            self._link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _TIMEVAL.pack(*divmod(whole, 1_000_000)))

    # --- asking

    def call(
        self,
        box: Transaction[..., Any],
        row: Sequence[Any],
        fingerprint: str = "",
        *,
        once: str = "",
        who: str = "",
        lane: str = "",
    ) -> int:
        """Put a call with those that go out at the next `flush`; its number.  Raises `UnsupportedType`.

        `row`: its inputs in the order of the parameters.  `fingerprint`: of its code, if the line cannot find it.
        """
        if not fingerprint:
            if self._fingerprint is None:
                raise BadInput(f"nobody has told this line how to find the fingerprint of {box.name!r}: give it")
            fingerprint = self._fingerprint(box)
        rows, _ = stored_rows([tuple(row)])
        used = self._used.get(id(box))
        if used is None or (used[1] is not fingerprint and used[1] != fingerprint):
            used = self._use(box, fingerprint)
        number = self._numbers = self._numbers + 1
        self._calls[number, used[2], rows[0], (once, who, lane) if once or who or lane else None] = None
        self.under_way += 1
        return number

    def _use(self, box: Transaction[..., Any], fingerprint: str) -> tuple[Transaction[..., Any], str, int]:
        self._uses += 1
        naming = {"name": box.name, "place": place_of(box), "fingerprint": fingerprint}
        use = wire.question({"protocol": wire.PROTOCOL, "ask": "use", "as": self._uses, **naming})
        self._questions.append((0, use))
        used = self._used[id(box)] = (box, fingerprint, self._uses)
        return used

    def ask(self, question: dict[str, Any]) -> int:
        """Ask something else, with the next `flush`; its number.  Raises `TooLarge`."""
        number = self._numbers + 1
        raw = wire.question({"protocol": wire.PROTOCOL, "number": number, **question})
        self._numbers = number
        self._questions.append((number, raw))
        self.under_way += 1
        return number

    @property
    def has_something_to_say(self) -> bool:
        return bool(self._calls or self._questions)

    def bundle(self) -> Bundle:
        """What waits, to be sent.  Calls come last: of a bundle that breaks off, none of them was handed in."""
        calls, self._calls = self._calls, {}
        questions, self._questions = self._questions, []
        bundle = Bundle([raw for _, raw in questions], [number for number, _ in questions if number])
        if calls:
            numbers = [number for number, *_ in calls]
            try:
                bundle.add(wire.calls_out(calls), numbers)
            except BoxworkError:  # together they are too much for one message
                for call in calls:
                    try:
                        bundle.add(wire.calls_out({call: None}), [call[0]])
                    except BoxworkError as error:
                        bundle.refused.append(Reply(call[0], error=error))
        return bundle

    def flush(self) -> None:
        """Send what waits.  Raises `Left` if the owner is gone: see `receive`."""
        if self.has_something_to_say:
            bundle = self.bundle()
            self._ahead += bundle.refused
            self.under_way -= len(bundle.refused)
            self.send(bundle, pumps=True)

    def send(self, bundle: Bundle, *, pumps: bool = False) -> None:
        """Raises `Left`; `bundle.sent` is then what may have arrived.

        pumps: while the other side takes nothing, what it says is read; else each could wait for the other
        """
        raw = bundle.parts[0] if len(bundle.parts) == 1 else b"".join(bundle.parts)
        try:
            at = self._link.send(raw, socket.MSG_DONTWAIT)
        except BlockingIOError:
            at = 0
        except OSError as reason:
            self.is_broken = True
            raise wire.Left(str(reason)) from reason
        with memoryview(raw) as view:
            while at < len(raw):
                try:
                    self._until_room(pumps)
                    at += self._link.send(view[at:], socket.MSG_DONTWAIT)
                except BlockingIOError:
                    pass
                except OSError as reason:
                    self.is_broken = True
                    bundle.broke_off(at)
                    raise wire.Left(str(reason)) from reason

    def _until_room(self, pumps: bool) -> None:
        waiting = select.poll()
        waiting.register(self._link, select.POLLOUT | (select.POLLIN if pumps else 0))
        found = waiting.poll(max(int(self._limit_s * 1000), 1))
        if not found:
            raise wire.Left(f"the owner of the facts took nothing in for {self._limit_s:.3g} s")
        if pumps and found[0][1] & select.POLLIN:
            self._ahead += self._read()

    # --- hearing

    def receive(self) -> list[Reply]:
        """What has been answered, at least one if something is under way; waits for it up to the limit.

        Raises `TimeoutError`, and `Left` if the owner has gone: of what is under way nobody can say what became of it
        (if it `is_welcome`).
        """
        ready, self._ahead = self._ahead, []
        if not ready:
            ready = self._read()
            while not ready and self.under_way:
                ready = self._read()
        return ready

    def _read(self) -> list[Reply]:
        try:
            data = self._link.recv(self._inbox.wants)
        except BlockingIOError:
            raise TimeoutError(f"no answer within {self._limit_s:.3g} s") from None
        except OSError as reason:
            self.is_broken = True
            raise wire.Left(str(reason)) from reason
        if not data:
            self.is_broken = True
            raise wire.Left("the connection ended")
        replies: list[Reply] = []
        try:
            for body in self._inbox.take(data):
                if body[0] == wire.ANSWERS:
                    _of_answers(wire.answers_in(body), replies)
                elif "hello" in (told := wire.as_map(body)):
                    self.is_welcome = True
                else:
                    replies += _of_map(told)
        except FormatError:
            self.is_broken = True
            raise
        self.under_way -= len(replies)
        return replies

    @property
    def is_silent(self) -> bool:
        """An idle connection on which something can be read has ended, or is out of step.

        It may also be an answer that nobody waited for any longer, on a line that is shared.
        """
        try:
            self._link.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return not self.is_broken
        except OSError:
            pass
        return False

    def close(self) -> None:
        """Of what is under way nobody hears any more; it is committed all the same."""
        self._link.close()

    def __enter__(self) -> Line:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _of_answers(told: wire.Answers, replies: list[Reply]) -> None:
    at = (told.epoch, told.version, told.digest)
    for number, index, answer in told.answered:
        if answer.__class__ is list:
            answer = as_stored(answer)
        if answer.__class__ is Packed:
            try:
                answer = thaw(answer)
            except Exception as error:  # of a class that is not here
                replies.append(Reply(number, None, error, at, index))
                continue
        replies.append(Reply(number, answer, None, at, index))
    for number, index in told.mute:
        reply = Reply(number, None, None, at, index)
        reply.error = mute("it", f"as {reply.receipt}")
        replies.append(reply)
    replies += [Reply(number, None, wire.error_in(failure)) for number, failure in told.failed]


def _of_map(told: dict[str, Any]) -> list[Reply]:
    if "gone" in told:
        return [Reply(number, None, NoOwner("the owner of the facts is just closing")) for number in told["gone"]]
    if "number" not in told:  # of nothing in particular: it does not take us in
        raise wire.error_in(told["error"])
    if "error" in told:
        return [Reply(told["number"], None, wire.error_in(told["error"]))]
    return [Reply(told["number"], told=told)]


def mute(what: str, where: str) -> StateError:
    return StateError(
        f"{what} was committed {where}, but its answer is of a type that cannot come from another process: answer with"
        " a value that could be a fact"
    )


def place_of(box: Transaction[..., Any]) -> str:
    """`module:name`, for an owner that has loaded the same module."""
    function = box.function
    return f"{getattr(function, '__module__', '')}:{getattr(function, '__qualname__', '')}"
