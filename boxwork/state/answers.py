"""Answers by idempotency id: a retry after a lost answer finds what its first try did.

They are part of the state: recorded in entries, kept in checkpoints, forgotten by the time in entries, so that
every node forgets the same ones at the same point.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from boxwork.clock import SECOND_NS
from boxwork.state.batch import Answer

# How long an answer is kept.  Unit: ns.  Reason: a client that retries does so within minutes; a day covers one that
# was switched off overnight.
KEEP_NS = 24 * 3600 * SECOND_NS
# How many are kept at most.  Unit: answers.  Reason: about 300 bytes each, so 300 MB at the very most.
KEEP_MAX = 1_000_000


@dataclass(frozen=True, slots=True)
class Kept:
    stored: Any
    index: int
    version: int
    epoch: int
    digest: bytes
    at_ns: int


class Answers:
    def __init__(self, keep_ns: int = KEEP_NS, keep_max: int = KEEP_MAX) -> None:
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._keep_ns = keep_ns
        self._keep_max = keep_max

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, once: str) -> Kept | None:
        return self._kept.get(once)

    def keep(self, answers: Iterable[Answer], version: int, epoch: int, digest: bytes, now_ns: int) -> None:
        for answer in answers:
            self._kept[answer.once] = Kept(answer.stored, answer.index, version, epoch, digest, now_ns)
        while self._kept:
            oldest = next(iter(self._kept.values()))
            if len(self._kept) <= self._keep_max and oldest.at_ns > now_ns - self._keep_ns:
                return
            self._kept.popitem(last=False)

    def rows(self) -> Iterator[tuple[str, Kept]]:
        yield from list(self._kept.items())

    def load(self, rows: Iterable[tuple[str, Kept]]) -> None:
        self._kept = OrderedDict(rows)
