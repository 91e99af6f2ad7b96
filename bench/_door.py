"""A node as a server that is measured: its door, spoken to by a client that costs little.

The peers' clients are written in C (pgbench) or send bytes that were made beforehand (Valkey's, here).  So does this
one: every call is encoded before the clock starts, and of an answer only is looked at whether it is one.  What a
program pays for `work.line()` on top of that is measured beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from boxwork.errors import Refused
from boxwork.state.batch import stored_rows
from boxwork.state.remote import wire
from boxwork.state.remote.line import place_of
from boxwork.state.values import encode_stored
from boxwork.testing.workloads import Call
from boxwork.transactions import Transaction

# What a call may be answered with: it was refused.  Anything else is a mistake of the bench.
_REFUSED = Refused.code
_NONE = b"\xc0"


class DoorLine:
    """One connection with calls under way, that are encoded already."""

    def __init__(
        self, root: Path, boxes: Sequence[Transaction[..., Any]], fingerprint: Callable[[Transaction[..., Any]], str]
    ) -> None:
        self._link = wire.connect(root / wire.SOCKET, 30.0)
        self._link.setblocking(True)
        self._inbox = wire.Inbox()
        self._numbers = {box.name: number for number, box in enumerate(boxes, 1)}
        for box in boxes:
            naming = {"name": box.name, "place": place_of(box), "fingerprint": fingerprint(box)}
            question = {"protocol": wire.PROTOCOL, "ask": "use", "as": self._numbers[box.name], **naming}
            self._link.sendall(wire.question(question))

    def encoded(self, calls: Sequence[Call]) -> list[bytes]:
        """Each as it stands in a message: a key of a map, and no value."""
        rows = [stored_rows([row])[0][0] for _, row in calls]
        return [
            encode_stored((number, self._numbers[box.name], row, None)) + _NONE
            for number, ((box, _), row) in enumerate(zip(calls, rows, strict=True), 1)
        ]

    def fileno(self) -> int:
        return self._link.fileno()

    def send(self, calls: list[bytes]) -> None:
        """One message."""
        body = b"\x01\xdf" + len(calls).to_bytes(4, "big") + b"".join(calls)
        self._link.sendall(wire.framed(body))

    def receive(self) -> int:
        """How many answers have come; 0 if none is whole yet."""
        count = 0
        for body in self._inbox.take(self._link.recv(self._inbox.wants)):
            if body[0] != wire.ANSWERS:
                told = wire.as_map(body)
                if told.get("hello") != wire.PROTOCOL:
                    raise RuntimeError(f"the node said {told!r}")
                continue
            answers = wire.answers_in(body)
            for _, failure in answers.failed:
                if failure.get("code") != _REFUSED:
                    raise wire.error_in(failure)
            count += len(answers.answered) + len(answers.mute) + len(answers.failed)
        return count
