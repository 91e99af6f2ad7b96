"""Keeps the cache class under its quota: what was cheapest to compute per byte, and longest unused, goes first.

A cached blob is worth what it would cost to have it again.  Its price is cost / (bytes x age): nanoseconds of
recomputation for each byte kept, falling with the time nobody asked for it.  The lowest price goes (after
GreedyDual-Size, Cao and Irani, USENIX Symposium on Internet Technologies and Systems 1997).

Nothing is lost by an eviction but time: the durable class and what is pinned in it are never looked at.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from boxwork.content.content import Content
from boxwork.content.places.disk import Row
from boxwork.database import Edit
from boxwork.keys import Ref

# Blobs considered for eviction in one pass over the rows.  Unit: blobs.  Reason: bounds memory to some 3 MB; when more
# have to go there is another pass.
PASS_BLOBS = 10_000
# Blobs deleted in one write transaction.  Unit: blobs.  Reason: 64 files take 1 ms; so long a put may wait.
BATCH = 64
# Evicting goes on to this share of the quota, so that it does not have to begin again with the next put.
LOW_WATER = 0.9
# A blob counts as at least this old, so that the price of a new one is finite.  Unit: nanoseconds.
AGE_NS_MIN = 1_000_000_000
# What an unknown blob is taken to have cost, and what opening any costs on top.  Unit: nanoseconds.
COST_NS_UNKNOWN = 1_000_000

Cost = Callable[[Ref], int | None]


@dataclass(frozen=True, slots=True)
class Evicted:
    """One blob that went."""

    ref: Ref
    size: int


class Eviction:
    """Evicts from the cache class of a `Content` down to its quota.

    `cost(ref)` answers how long it took to compute, in nanoseconds, or None; without it only size and age count.
    `bytes_max` defaults to the setting `content.cache_bytes_max`.
    """

    def __init__(self, content: Content, cost: Cost | None = None, *, bytes_max: int | None = None) -> None:
        self._content = content
        self._place = content.cache
        self._cost = cost or _unknown
        self._bytes_max = content.settings.integer("content.cache_bytes_max") if bytes_max is None else bytes_max

    def bytes_used(self) -> int:
        """The bytes of all blobs of the cache class.  It reads every row: 0.5 s for a million."""
        return sum(row.size for row in self._place.rows())

    def run(self) -> Iterator[Evicted]:
        """Evict until the quota is kept, yielding what went; stop iterating to stop after this batch."""
        used = self.bytes_used()
        if used <= self._bytes_max:
            return
        excess = used - int(self._bytes_max * LOW_WATER)
        while excess > 0:
            cheapest = self._cheapest(excess)
            if not cheapest:
                return
            for at in range(0, len(cheapest), BATCH):
                for row in self._delete(cheapest[at : at + BATCH]):
                    excess -= row.size
                    yield Evicted(row.ref, row.size)
                if excess <= 0:
                    return

    def _cheapest(self, excess: int) -> list[Row]:
        """The lowest prices first: enough to free `excess`, but at most PASS_BLOBS."""
        now = self._content.clock.now_ns()
        priced = ((self._price(row, now), row.digest, row) for row in self._place.rows())
        chosen, freed = [], 0
        for _, _, row in heapq.nsmallest(PASS_BLOBS, priced):
            if freed >= excess:
                break
            chosen.append(row)
            freed += row.size
        return chosen

    def _price(self, row: Row, now_ns: int) -> float:
        cost = self._cost(row.ref)
        cost_ns = COST_NS_UNKNOWN if cost is None else COST_NS_UNKNOWN + cost
        return cost_ns / (max(row.size, 1) * max(now_ns - row.touched_ns, AGE_NS_MIN))

    def _delete(self, batch: list[Row]) -> list[Row]:
        """Delete those that nobody has touched since they were priced."""

        def operation(edit: Edit) -> list[Row]:
            gone = []
            for row in batch:
                if self._place.row(row.digest, edit) == row and self._place.remove(edit, row.digest):
                    gone.append(row)
            return gone

        return self._place.database.update(operation)


def _unknown(ref: Ref) -> None:
    return None
