"""How soon somebody is told that a picture is broken: the first few at once, then so many a second.

A broken picture is tried anew for whoever asks, because errors are no results; each try costs the server as much as
dozens of answers that are ready.  Who asks for hundreds of them, by mistake or on purpose, waits for their reasons a
little, instead of having everybody else wait for their pictures.
"""

from __future__ import annotations

# Told at once after a pause.  Unit: answers.  Reason: a folder of photos has a few broken ones, not dozens.
AT_ONCE = 10
# Nobody is kept waiting for longer.  Unit: s.  Reason: a cell of the gallery that stays grey for a second is no harm.
WAIT_S_MAX = 1.0


class Pace:
    """`per_s` answers a second, 0 for no limit."""

    def __init__(self, per_s: float, at_once: int = AT_ONCE) -> None:
        self._step_ns = round(1e9 / per_s) if per_s > 0 else 0
        self._at_once = at_once
        self._next_ns = 0  # the turn of the next one, were all told evenly

    def wait_s(self, now_ns: int) -> float:
        """Take a turn: so long until it.  Seconds, at most `WAIT_S_MAX`."""
        ahead_ns = self._at_once * self._step_ns
        most_ns = now_ns + ahead_ns + round(WAIT_S_MAX * 1e9)
        self._next_ns = min(max(self._next_ns, now_ns) + self._step_ns, most_ns)
        return max(self._next_ns - ahead_ns - now_ns, 0) / 1e9
