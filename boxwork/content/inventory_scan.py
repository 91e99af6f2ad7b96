"""One scan of a source: what is new or changed is read and remembered, what is gone is forgotten, and all is told."""

from __future__ import annotations

import contextlib
import functools
import os
from collections import deque
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Literal, NamedTuple

from boxwork.content.inventory_rows import (
    HIDDEN,
    ITEMS,
    Row,
    decode,
    item_id,
    item_key,
    put_row,
    remove_rows,
    unreadable_row,
)
from boxwork.content.inventory_walk import wanted
from boxwork.content.sources.source import Listed, Source
from boxwork.database import Database, Edit
from boxwork.keys import Ref, ref_of_digest

# Files waiting to be hashed: enough to keep the threads busy, little to throw away when the caller leaves.
WINDOW = 64
# Items written in one durable transaction, and told together.
BATCH = 64
# Of what may be read ahead, the part that waits to be written; the other is being read.  Unit: 1 part of so many.
BATCH_PART = 2
State = Literal["new", "known", "changed", "gone", "unreadable"]
Progress = Callable[[int, int], None]
Change = tuple[State, Row]


class Seen(NamedTuple):
    """What a scan says of one file.  `path` is relative to the folder; `ref` is None if it could not be read."""

    path: str
    ref: Ref | None
    state: State
    reason: str = ""
    id: str = ""


class Scan:
    """A scan under way.  Left early, it has forgotten nothing."""

    def __init__(
        self,
        database: Database,
        source: Source,
        folder: bytes,
        suffixes: tuple[bytes, ...],
        follow: bool,
        within: tuple[bytes, ...],
    ) -> None:
        self._database = database
        self._source = source
        self._folder = folder
        self._suffixes = suffixes
        self._follow = follow
        self._within = within
        self._item = database.getter(ITEMS)
        self._hidden = dict(database.walk(HIDDEN, folder))
        self._seen: set[bytes] = set()
        self._closed: list[bytes] = []  # directories that could not be listed: what lies there is not gone
        self._batch: list[Change] = []
        # being read, and how large each is thought to be
        self._running: deque[tuple[Future[Change], int]] = deque()
        self._running_bytes = 0
        self._batch_bytes = 0
        self._bytes = 0
        self._read = 0

    def run(self, progress: Progress | None) -> Iterator[Seen]:
        files = 0
        with contextlib.ExitStack() as stack:
            pool = ThreadPoolExecutor(self._source.readers, "boxwork-inventory")
            stack.callback(pool.shutdown, wait=True, cancel_futures=True)
            for listed in self._source.listing(self._suffixes, self._follow, self._known, self._within):
                if listed.facts is None and listed.problem.startswith("directory: "):
                    self._closed.append(listed.path + b"/" if listed.path else b"")
                    yield Seen(os.fsdecode(listed.path), None, "unreadable", listed.problem)
                    continue
                files += 1
                if (same := self._take(listed, pool)) is not None:
                    yield same
                yield from self._settle(WINDOW)
                if progress is not None and files % BATCH == 0:
                    progress(files, self._bytes)
            yield from self._settle(0)
            yield from self._write()
            yield from forget(
                self._database, self._folder, self._seen, self._closed, self._suffixes, within=self._within
            )
            self._unhide()
            if progress is not None:
                progress(files, self._bytes)

    def _known(self, prefix: bytes) -> list[Row]:
        with self._database.view() as view:
            return [decode(raw) for _, raw in view.scan(ITEMS, item_key(self._folder, prefix))]

    def _take(self, listed: Listed, pool: ThreadPoolExecutor) -> Seen | None:
        """What is told of an item that is as it was; others are read, in a thread."""
        key = item_key(self._folder, listed.path)
        self._seen.add(key)
        if key in self._hidden:
            return None
        raw = self._item(key)
        known = decode(raw) if raw is not None else None
        if listed.facts is None:
            self._batch.append(("unreadable", unreadable_row(listed.path, listed.problem)))
        elif known is not None and known.digest and known.is_still(listed.facts):
            return Seen(os.fsdecode(listed.path), ref_of_digest(known.digest), "known", "", item_id(key).hex())
        else:
            size = listed.facts.size
            if size < 0:  # it is told when it is read: as those before it
                size = self._bytes // max(1, self._read)
            self._running.append((pool.submit(read, self._source, listed.path, known, listed.held), size))
            self._running_bytes += size
        return None

    def _settle(self, limit: int) -> Iterator[Seen]:
        """Wait until no more than `limit` files are being read, and no more bytes than the source wants."""
        bytes_max = self._source.ahead_bytes_max // BATCH_PART
        while len(self._running) > limit or (bytes_max and len(self._running) > 1 and self._running_bytes > bytes_max):
            running, size = self._running.popleft()
            self._running_bytes -= size
            change = running.result()
            self._read += 1
            self._bytes += change[1].size
            self._batch_bytes += change[1].size
            self._batch.append(change)
            if len(self._batch) >= BATCH or (bytes_max and self._batch_bytes > bytes_max):
                yield from self._write()
        if len(self._batch) >= BATCH:
            yield from self._write()

    def _write(self) -> Iterator[Seen]:
        yield from write(self._database, self._folder, self._batch)
        self._batch_bytes = 0

    def _unhide(self) -> None:
        """What was taken out by hand and is gone is not hidden when it comes again."""
        gone = [key for key, path in self._hidden.items() if key not in self._seen and wanted(path, self._suffixes)]
        if gone and not self._within:
            self._database.update(lambda edit: [edit.delete(HIDDEN, key) for key in gone])


def read(source: Source, path: bytes, known: Row | None, held: Any = None) -> Change:
    """Read one file whole, in a thread, and say what has become of it."""
    row = source.digest(path, held)
    if not row.digest:
        return "unreadable", row
    if known is None or not known.digest:
        return "new", row
    return ("known" if known.digest == row.digest else "changed"), row


def write(database: Database, folder: bytes, batch: list[Change]) -> Iterator[Seen]:
    """Remember a batch, then tell it: who hears of a ref can read it."""
    rows, batch[:] = batch[:], []
    if not rows:
        return

    def put(edit: Edit) -> None:
        for _, row in rows:
            put_row(edit, item_key(folder, row.path), row)

    database.update(put)
    for state, row in rows:
        ref = ref_of_digest(row.digest) if row.digest else None
        yield Seen(os.fsdecode(row.path), ref, state, row.reason, item_id(item_key(folder, row.path)).hex())


def forget(
    database: Database,
    folder: bytes,
    seen: Collection[bytes] = (),
    closed: Collection[bytes] = (),
    suffixes: tuple[bytes, ...] = (),
    *,
    within: Collection[bytes] = (),
) -> Iterator[Seen]:
    """Forget the items of a source that were not seen, and tell them; not what lies below `closed`."""
    gone: list[tuple[bytes, Row]] = []
    for prefix in within or (b"",):
        for key, raw in database.walk(ITEMS, item_key(folder, prefix)):
            if key not in seen:
                row = decode(raw)
                if wanted(row.path, suffixes) and not row.path.startswith(tuple(closed)):
                    gone.append((key, row))
    for start in range(0, len(gone), BATCH):
        part = gone[start : start + BATCH]
        database.update(functools.partial(remove_rows, [key for key, _ in part]))
        for key, row in part:
            ref = ref_of_digest(row.digest) if row.digest else None
            yield Seen(os.fsdecode(row.path), ref, "gone", "", item_id(key).hex())
