"""Keeps the table of remembered outputs under `derive.rows_max`: what took least to compute and is oldest goes first.

A row costs some 300 bytes whether its output is large or small, so its price is duration / age.  A sample of the
rows tells which price separates the share that has to go; a second walk deletes what lies below it.  Failures whose
time is over go in any case.  Durable outputs are never looked at.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from boxwork.clock import SECOND_NS, Clock
from boxwork.database import Database, Edit
from boxwork.derive.explain import read_record
from boxwork.derive.indexes import PRODUCERS
from boxwork.derive.outputs import FAILURE, OUTPUTS, Row, read_row

# Rows that are looked at to find the price below which rows go.  Unit: rows; 10,000 place it within 1 %.
SAMPLE_ROWS = 10_000
# Rows deleted in one transaction.  Unit: rows; it holds up other writers for less than a millisecond.
GROUP_ROWS = 100
# Trimming goes on to this share of the limit, so that it does not begin again with the next output.
LOW_WATER = 0.9


class Trim:
    """Deletes rows of the outputs in one environment, down to `rows_max`."""

    def __init__(self, database: Database, clock: Clock, rows_max: int) -> None:
        self._database = database
        self._clock = clock
        self._rows_max = rows_max

    def run(self) -> int:
        """How many rows went."""
        count = self._database.count(OUTPUTS)
        if count <= self._rows_max:
            return 0
        now = self._clock.now_ns()
        chance = random.Random(count)
        share = SAMPLE_ROWS / count
        sample = sorted(
            price for _, row in self._rows() if chance.random() < share for price in [self._price(row, now)]
        )
        excess = count - int(self._rows_max * LOW_WATER)
        if not sample:
            return 0
        bar = sample[max(round(len(sample) * excess / count) - 1, 0)]
        gone, group = 0, list[tuple[bytes, bytes]]()
        for key, row in self._rows():
            if self._price(row, now) <= bar:
                group.append((key, row.digest))
            if len(group) == GROUP_ROWS:
                gone += self._delete(group)
                group = []
        return gone + self._delete(group)

    def _rows(self) -> Iterator[tuple[bytes, Row]]:
        for key, raw in self._database.walk(OUTPUTS):
            row = read_row(raw)
            if row is not None:
                yield key, row

    @staticmethod
    def _price(row: Row, now_ns: int) -> float:
        if row.kind == FAILURE:
            return -1.0 if int.from_bytes(row.digest, "big") < now_ns else float("inf")
        record = read_record(b"", row.digest, row.record)
        return 0.0 if record is None else record.duration_ns / max(now_ns - record.time_ns, SECOND_NS)

    def _delete(self, group: list[tuple[bytes, bytes]]) -> int:
        def operation(edit: Edit) -> int:
            for key, digest in group:
                edit.delete(OUTPUTS, key)
                if edit.get(PRODUCERS, digest) == key:
                    edit.delete(PRODUCERS, digest)
            return len(group)

        return self._database.update(operation) if group else 0
