"""A log in memory: for tests, and for facts that need not outlive the process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from boxwork.errors import InvariantBroken
from boxwork.state.batch import Record


class MemoryLog:
    def __init__(self) -> None:
        self.records: list[Record] = []

    def recover(self, after: int, digest: bytes) -> Iterator[Record]:
        yield from self.read(after)

    def append(self, records: Sequence[Record]) -> None:
        for record in records:
            if self.records and record.previous != self.records[-1].digest:
                raise InvariantBroken(f"entry {record.version} does not follow entry {self.records[-1].version}")
            self.records.append(record)

    def read(self, after: int = 0) -> Iterator[Record]:
        yield from [record for record in self.records if record.version > after]

    def trim(self, upto: int) -> None:
        self.records = [record for record in self.records if record.version > upto]

    def first(self) -> int:
        return self.records[0].version if self.records else 0

    def close(self) -> None:
        pass
