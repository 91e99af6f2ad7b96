"""The log: ordered, durable batches.  The engine knows nothing else of disks and networks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from boxwork.state.batch import Record


class Log(Protocol):
    """An append-only record of entries, each chained to the one before by its digest.

    One owner appends; anybody may read meanwhile.  The order of calls is: `recover` once, to its end; then `append`
    as often as wanted.
    """

    def recover(self, after: int, digest: bytes) -> Iterator[Record]:
        """The entries after version `after`, whose digest is `digest`; then the log is ready to append.

        An unfinished tail (what was written and never acknowledged) is cut.  Raises `LogCorrupt` with version, file
        and offset if something is damaged that was durable.
        """
        ...

    def append(self, records: Sequence[Record]) -> None:
        """Make entries durable, all or none; when this returns they are committed by the log's rule.

        Raises `StorageFull` or `StorageReadOnly`: none of them stands, it may be tried again.  Raises
        `CommitUnknown`: nobody can say; the log takes no more, open it again.
        """
        ...

    def read(self, after: int = 0) -> Iterator[Record]:
        """Committed entries after version `after`, as they lie there; their digests are not checked."""
        ...

    def trim(self, upto: int) -> None:
        """Entries up to this version may be forgotten: a checkpoint holds their effect."""
        ...

    def first(self) -> int:
        """The version of the oldest entry that is kept; 0 if there is none."""
        ...

    def close(self) -> None:
        """Release what is held; twice is once."""
        ...
