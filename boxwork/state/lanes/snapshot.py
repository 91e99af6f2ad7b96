"""The snapshot lane: functions run on one version beside each other and are put in the order that saves the most.

Who finds no place in that order runs again, serially, in the same batch; so the caller sees no abort, and a
function that runs here runs at most twice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from boxwork.clock import Clock
from boxwork.errors import BoxworkError
from boxwork.state.job import Job
from boxwork.state.order import Key
from boxwork.state.positions import Rule, place
from boxwork.state.snapshot import Base
from boxwork.state.tx import SnapshotTx
from boxwork.state.values import ABSENT, DELETED, freeze
from boxwork.state.writes import merged

# Where the places of attempts begin: an attempt draws its chance before its index in the entry is known, and must
# not draw what a serial transaction of the same batch draws.
FIRST_PLACE = 1 << 32


class Overlay:
    """The facts under the changes of batches in flight: what is executed, durable or not."""

    __slots__ = ("_base", "_changes")

    def __init__(self, base: Base, changes: dict[Key, Any]) -> None:
        self._base = base
        self._changes = changes

    def stored(self, key: Key) -> Any:
        value = self._changes.get(key, ABSENT)
        if value is ABSENT:
            return self._base.stored(key)
        return ABSENT if value is DELETED else value

    def keys_between(self, prefix: Key, low: bytes, high: bytes) -> list[tuple[bytes, Key]]:
        from boxwork.state.order import encode_key

        rows = self._base.keys_between(prefix, low, high)
        size = len(prefix)
        mine = {(encode_key(key), key) for key in self._changes if key[:size] == prefix}
        return sorted(set(rows) | {row for row in mine if low <= row[0] < high}) if mine else rows


class Attempt:
    """One run of a transaction on the batch's version."""

    __slots__ = ("elsewhere", "index", "job", "place", "ran_ns", "rival", "rival_key", "tx")

    def __init__(self, job: Job, index: int, tx: SnapshotTx, ran_ns: int, elsewhere: bool) -> None:
        self.job = job
        self.index = index
        self.tx = tx
        self.ran_ns = ran_ns
        self.elsewhere = elsewhere
        self.rival: Attempt | None = None
        self.rival_key: Key = ()


class SnapshotRun:
    """The attempts of one batch."""

    def __init__(
        self, base: Base, in_flight: dict[Key, Any], version: int, now_ns: int, seed: bytes, clock: Clock
    ) -> None:
        self._base = Overlay(base, in_flight) if in_flight else base
        self._version = version
        self._now_ns = now_ns
        self._seed = seed
        self._clock = clock
        self.attempts: list[Attempt] = []

    def execute(self, job: Job, index: int) -> None:
        """Run one row here.  If it raises, that is its answer: on the batch's version it would raise."""
        tx = SnapshotTx(self._base, self._version, self._now_ns, self._seed, FIRST_PLACE + len(self.attempts))
        started = self._clock.monotonic_ns()
        try:
            answer = job.call(tx, *job.arguments(index))
            if job.once:
                freeze(answer)
        except BaseException as error:
            job.errors[index] = error
            job.answers.append(error)
            return
        job.answers.append(answer)
        self.attempts.append(Attempt(job, index, tx, self._clock.monotonic_ns() - started, elsewhere=False))

    def enter(self, job: Job) -> None:
        """Take in an attempt that ran elsewhere and whose reads still stand."""
        assert job.tx is not None
        self.attempts.append(Attempt(job, 0, job.tx, 0, elsewhere=True))

    def place(
        self, rule: Rule, stored: Callable[[Key], Any], take: Callable[[dict[Key, Any], str], None]
    ) -> tuple[list[Attempt], list[Attempt]]:
        """Put the attempts in order and apply them: (kept in order, lost by priority)."""
        placed = place([attempt.tx for attempt in self.attempts], rule)
        lost: list[tuple[int, Attempt]] = []
        for row in placed.lost:
            attempt = self.attempts[row.index]
            attempt.rival, attempt.rival_key = self.attempts[row.rival], row.key
            lost.append((row.index, attempt))
        kept = []
        for index in placed.kept:
            attempt = self.attempts[index]
            try:
                changes = changes_of(attempt.tx, stored)
            except BoxworkError:  # a guard fails at this place, or a merge meets a value it cannot change
                guards = attempt.tx.guards
                attempt.rival_key = guards[0].key if guards else next(iter(attempt.tx.merges))
                lost.append((index, attempt))
                continue
            take(changes, attempt.job.label)
            kept.append(attempt)
        return kept, [attempt for _, attempt in sorted(lost, key=lambda pair: pair[0])]


def changes_of(tx: SnapshotTx, stored: Callable[[Key], Any]) -> dict[Key, Any]:
    """What an attempt changes at its place, where `stored` answers with the values.  Raises if a guard fails."""
    for guard in tx.guards:
        guard.check(stored(guard.key))
    changes: dict[Key, Any] = {}
    for key, value in tx.puts.items():
        if value is DELETED:
            below = stored(key)
            if below is ABSENT or below is DELETED:
                continue  # as SerialTx.delete: nothing was there, so nothing is done
        changes[key] = value
    for key, merge in tx.merges.items():
        changes[key] = merged(key, stored(key), *merge)
    return changes
