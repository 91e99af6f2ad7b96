"""What a member says: calls of transactions, each with an idempotency id, at a pace.

    {"call": "comment", "id": "7f3a…", "inputs": {"text": "hello"}}

The same id again is the same call: it changes nothing and answers as the first did.  This file knows no sockets and no
clocks.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from boxwork.clock import SECOND_NS
from boxwork.errors import BadInput, Busy

_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")


class Call(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One call of a transaction."""

    call: str
    id: str
    inputs: dict[str, Any] = {}


_decode = msgspec.json.Decoder(Call).decode


class Inbox:
    """Of one member.

    per_s, burst    calls a second in the long run, and at once
    under_way_max   calls that are not answered yet
    """

    def __init__(self, per_s: float, burst: int, under_way_max: int, now_ns: int) -> None:
        self.per_s = per_s
        self.burst = burst
        self.under_way_max = under_way_max
        self.under_way = 0
        self._left = float(burst)
        self._at_ns = now_ns

    def read(self, text: str | bytes) -> Call:
        """Raises `BadInput` for what is no call."""
        try:
            call = _decode(text)
        except (msgspec.DecodeError, msgspec.ValidationError, RecursionError) as fault:
            raise BadInput(
                f'a message is {{"call": transaction, "id": text of your own, "inputs": {{…}}}}: {fault}'
            ) from None
        if not _ID.fullmatch(call.id):
            raise BadInput(f"the id of a call has 1 to 64 letters, digits or . _ : -, not {call.id[:80]!r}")
        return call

    def begin(self, now_ns: int) -> None:
        """One more call.  Raises `Busy` for what is too fast or too much at once; the same call may work later."""
        self._left = min(self.burst, self._left + (now_ns - self._at_ns) * self.per_s / SECOND_NS)
        self._at_ns = now_ns
        if self._left < 1:
            raise Busy(f"more than {self.per_s:g} calls a second (setting live.commands_per_s): wait a moment")
        if self.under_way >= self.under_way_max:
            raise Busy(f"{self.under_way} calls are not answered yet (setting live.under_way_max): wait for them")
        self._left -= 1
        self.under_way += 1

    def end(self) -> None:
        """A call that `begin` let in is answered."""
        self.under_way -= 1
