"""The order that saves the most: interval positions.

All transactions of a batch ran on one snapshot.  The only constraint between two of them is: who read a key comes
before everybody else who writes it.  Writers do not mind each other (the order decides), merges neither.  So one
number per transaction is enough, found in one pass over their accesses:

    wmin[k]  the least position of a placed writer of k
    rmax[k]  the greatest position of a placed reader of k
    a transaction goes after everyone who read what it writes (lo) and before everyone who wrote what it read (hi)
    lo < hi: it is placed between them;  otherwise it is lost, and runs again

Invariant: for every key, rmax < wmin, except where reader and writer are one transaction.  So what each placed
transaction read is what it would read in a serial run in the order of positions.

Who only reads stands at the very front, who only writes at the very end: neither is ever lost.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from boxwork.state.order import Key

Rule: TypeAlias = Literal["interval", "arrival", "aria"]


class Accesses(Protocol):
    """What an attempt read and will write; a scanned prefix counts as read."""

    @property
    def reads(self) -> Iterable[Key]: ...
    @property
    def scans(self) -> Iterable[Key]: ...
    def touched(self) -> list[Key]: ...


@dataclass(frozen=True, slots=True)
class Lost:
    """Why attempt `index` found no place: `key` is also read or written by `rival`."""

    index: int
    key: Key
    rival: int


@dataclass(frozen=True, slots=True)
class Placed:
    """kept: indexes in their order; lost: in order of arrival."""

    kept: list[int]
    lost: list[Lost]


def place(attempts: Sequence[Accesses], rule: Rule = "interval") -> Placed:
    """The order of a batch.  `attempts` come by priority: who is earlier is lost less often."""
    return RULES[rule](attempts)


def place_by_interval(attempts: Sequence[Accesses]) -> Placed:
    wmin: dict[object, float] = {}
    rmax: dict[object, float] = {}
    writer: dict[object, int] = {}
    reader: dict[object, int] = {}
    placed: list[tuple[float, int]] = []
    lost: list[Lost] = []
    reads_of, writes_of = _accesses(attempts)
    for index in range(len(attempts)):
        reads, writes = reads_of(index), writes_of(index)
        lo, hi = 0.0, math.inf
        lo_key = hi_key = None
        for key in reads:
            at = wmin.get(key)
            if at is not None and at < hi:
                hi, hi_key = at, key
        if not writes:
            position = 0.0
        elif not reads:
            position = math.inf
        else:
            for key in writes:
                at = rmax.get(key)
                if at is not None and at > lo:
                    lo, lo_key = at, key
            position = lo + 1.0 if hi == math.inf else (lo + hi) / 2
            if not lo < position < hi:  # also when two floats have none between them
                # Named is the writer of what it read if there is one: that is what changed under it.
                if hi_key is not None:
                    lost.append(Lost(index, _shown(hi_key), writer[hi_key]))
                else:
                    lost.append(Lost(index, _shown(lo_key), reader[lo_key]))
                continue
        placed.append((position, index))
        if position > 0.0:
            for key in reads:
                at = rmax.get(key)
                if at is None or position > at:
                    rmax[key], reader[key] = position, index
        if position < math.inf:
            for key in writes:
                at = wmin.get(key)
                if at is None or position < at:
                    wmin[key], writer[key] = position, index
    placed.sort()
    return Placed([index for _, index in placed], lost)


def place_by_arrival(attempts: Sequence[Accesses]) -> Placed:
    """No reordering: lost is who read what an earlier one wrote.  For comparison."""
    written: dict[object, int] = {}
    kept: list[int] = []
    lost: list[Lost] = []
    reads_of, writes_of = _accesses(attempts)
    for index in range(len(attempts)):
        stale = next((key for key in reads_of(index) if key in written), None)
        if stale is not None:
            lost.append(Lost(index, _shown(stale), written[stale]))
            continue
        kept.append(index)
        for key in writes_of(index):
            written.setdefault(key, index)
    return Placed(kept, lost)


def place_by_aria(attempts: Sequence[Accesses]) -> Placed:
    """The rule of Aria (Lu, Yu, Cao, Madden, VLDB 2020, section 5), with its reordering.  For comparison.

    Reservations are made by all, also by those that are lost; lost is who writes what an earlier one wrote, or
    who both read what an earlier one wrote and writes what an earlier one read.
    """
    first_write: dict[object, int] = {}
    first_read: dict[object, int] = {}
    reads_of, writes_of = _accesses(attempts)
    for index in range(len(attempts)):
        for key in reads_of(index):
            first_read.setdefault(key, index)
        for key in writes_of(index):
            first_write.setdefault(key, index)
    kept: list[int] = []
    lost: list[Lost] = []
    for index in range(len(attempts)):
        reads, writes = reads_of(index), writes_of(index)
        waw = next((key for key in writes if first_write[key] < index), None)
        raw = next((key for key in reads if first_write.get(key, index) < index), None)
        war = next((key for key in writes if first_read.get(key, index) < index), None)
        if waw is not None or (raw is not None and war is not None):
            key = waw if waw is not None else raw
            lost.append(Lost(index, _shown(key), first_write[key]))
        else:
            kept.append(index)
    return Placed(_topological(kept, reads_of, writes_of), lost)


def _topological(
    kept: list[int], reads_of: Callable[[int], Iterable[object]], writes_of: Callable[[int], Iterable[object]]
) -> list[int]:
    """Aria's survivors in an order in which readers come before writers."""
    readers: dict[object, list[int]] = {}
    for index in kept:
        for key in reads_of(index):
            readers.setdefault(key, []).append(index)
    before: dict[int, set[int]] = {
        index: {r for key in writes_of(index) for r in readers.get(key, ()) if r != index} for index in kept
    }
    done: dict[int, None] = {}
    while len(done) < len(kept):
        free = [index for index in kept if index not in done and not before[index] - done.keys()]
        if not free:
            raise ValueError("Aria's rule kept a cycle")
        done.update(dict.fromkeys(free))
    return list(done)


RULES: dict[Rule, Callable[[Sequence[Accesses]], Placed]] = {
    "interval": place_by_interval,
    "arrival": place_by_arrival,
    "aria": place_by_aria,
}


@dataclass(frozen=True, slots=True)
class Range:
    """A scanned prefix, as something that can be read and written like a key."""

    prefix: Key


def _shown(key: object) -> Key:
    return key.prefix if isinstance(key, Range) else key  # type: ignore[return-value]


def _accesses(
    attempts: Sequence[Accesses],
) -> tuple[Callable[[int], Iterable[object]], Callable[[int], Iterable[object]]]:
    """Reads and writes of each attempt.  Where anybody scans, writing a key writes the scanned prefixes of it too."""
    scanned = {prefix for attempt in attempts for prefix in attempt.scans}
    if not scanned:
        return (lambda index: attempts[index].reads), (lambda index: attempts[index].touched())
    lengths = sorted({len(prefix) for prefix in scanned})

    def reads_of(index: int) -> Iterable[object]:
        attempt = attempts[index]
        return [*attempt.reads, *map(Range, attempt.scans)] if attempt.scans else attempt.reads

    def writes_of(index: int) -> Iterable[object]:
        keys = attempts[index].touched()
        ranges = {key[:size] for key in keys for size in lengths} & scanned
        return [*keys, *map(Range, sorted(ranges, key=repr))]

    return reads_of, writes_of
