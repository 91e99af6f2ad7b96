"""Deletes what nothing refers to any more, while readers and writers go on.

Mark: every root that a provider names (pins are built in), and what the followers find inside.  Sweep: a blob goes if
it was not marked, and was last put or touched before `cutoff = min(now - grace, start - MARGIN_NS)`.

Why nothing reachable is lost, although nobody is stopped:
  * A blob that was reachable when the mark began was marked.
  * A blob that becomes reachable later was put, touched or pinned first, and all three bring its `touched_ns` to
    within TOUCH_NS of that moment: so it is younger than `cutoff`, which lies more than TOUCH_NS before the start.
  * Row and file go inside a write transaction that looks at `touched_ns` again.  A put either came before it, and is
    seen, or comes after it, and finds the blob missing and writes it.
What breaks this: a caller that keeps a ref for longer than MARGIN_NS before naming it as a root (pin first), and a
wall clock set forward by more than the grace.

The write lock is let go between small batches.  A reader never waits: LMDB readers have their snapshot, and a file
that was opened stays readable.  In a busy process run it in a process of its own: it takes a core.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from boxwork.clock import SECOND_NS, monotonic_ns
from boxwork.content.content import Content
from boxwork.content.places.disk import TOUCH_NS, DiskPlace, Row
from boxwork.content.store import storage_error
from boxwork.database import Edit
from boxwork.errors import Busy
from boxwork.keys import Ref

# However short the grace: what was touched within this time before the start stays.  Unit: nanoseconds.
# Reason: it must be longer than TOUCH_NS; the rest is the time a writer has between a put and naming its root.
MARGIN_NS = 2 * TOUCH_NS
# Blobs deleted in one write transaction, at most.  Unit: blobs.  Reason: a durable one ends with a sync.  Source:
# bench/gc.py, a million blobs on a busy disk, one and two runs: 128 took 106 s and gave puts a p99 of 57 ms, 512 took
# 18 s and 36 s and gave 36 ms and 67 ms.
BATCH = 512
# How long one of them may delete before it commits.  Unit: nanoseconds.  Reason: so long a put waits for the lock, and
# for the sync on top; files take 15 us each, inline blobs 3 us.
HOLD_NS = 2_000_000
# After each of them.  Unit: seconds.  Reason: the lock is not fair; who waits for it gets it now.
REST_S = 0.0005
# Between two calls of `progress`.  Unit: blobs.
PROGRESS_BLOBS = 10_000

Progress = Callable[[str, int], None]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a sweep thinks of one blob, and why."""

    ref: Ref
    size: int
    place: str
    goes: bool
    reason: str


@dataclass(slots=True)
class Report:
    """What a sweep did: blobs and bytes.  `orphans` are files that had no row."""

    marked: int = 0
    seen: int = 0
    deleted: int = 0
    deleted_bytes: int = 0
    young: int = 0
    orphans: int = 0


class Sweep:
    """One sweep of both classes of a `Content`.

    `grace_ns` defaults to the setting `content.gc_grace_s`.  `margin_ns` may only be lowered by who knows that
    nobody else has the directory open.  `progress(step, blobs)` is called now and then with "mark" or "sweep".
    """

    def __init__(
        self,
        content: Content,
        *,
        grace_ns: int | None = None,
        margin_ns: int = MARGIN_NS,
        progress: Progress | None = None,
    ) -> None:
        if grace_ns is None:
            grace_ns = content.settings.integer("content.gc_grace_s") * SECOND_NS
        self._content = content
        self._grace_ns = grace_ns
        self._margin_ns = margin_ns
        self._progress = progress or _silent
        self._places = (content.durable, content.cache)

    def plan(self) -> Iterator[Verdict]:
        """A dry run: for every blob whether it would go, and why."""
        start = self._content.clock.now_ns()
        cutoff = self._cutoff(start)
        marked = self._mark()
        for place in self._places:
            for row in place.rows():
                reason = marked.get(row.digest)
                goes = reason is None and row.touched_ns < cutoff
                age = _span(max(0, start - row.touched_ns))
                if reason is None:
                    reason = (
                        f"nothing refers to it, last put or touched {age} ago"
                        if goes
                        else f"nothing refers to it, but it was put or touched {age} ago: it stays for"
                        f" {_span(max(self._grace_ns, self._margin_ns))}"
                    )
                yield Verdict(row.ref, row.size, place.name, goes, reason)

    def run(self) -> Report:
        """Delete what may go.  Raises `Busy` if another sweep of this directory runs."""
        with self._only_one():
            cutoff = self._cutoff(self._content.clock.now_ns())
            marked = self._mark()
            report = Report(marked=len(marked))
            for place in self._places:
                self._sweep_rows(place, marked, cutoff, report)
                self._sweep_orphans(place, cutoff, report)
            self._progress("sweep", report.seen)
            return report

    # --- mark

    def _mark(self) -> dict[bytes, str]:
        """Digest of everything reachable, with the reason of the first root that reached it.

        It takes some 150 bytes of memory for each.
        """
        marked: dict[bytes, str] = {}
        follow, todo = self._content.followers, deque[tuple[str, Ref]]()
        for provider in self._content.root_providers:
            for reason, ref in provider():
                todo.append((reason, ref))
                while todo:
                    reason, ref = todo.popleft()
                    digest = ref.digest
                    if digest in marked:
                        continue
                    marked[digest] = reason
                    if len(marked) % PROGRESS_BLOBS == 0:
                        self._progress("mark", len(marked))
                    for inside in follow:
                        todo.extend((reason, child) for child in inside(ref))
        self._progress("mark", len(marked))
        return marked

    # --- sweep

    def _cutoff(self, start_ns: int) -> int:
        return min(start_ns - self._grace_ns, start_ns - self._margin_ns)

    def _sweep_rows(self, place: DiskPlace, marked: dict[bytes, str], cutoff: int, report: Report) -> None:
        batch: list[Row] = []
        for row in place.rows():
            report.seen += 1
            if report.seen % PROGRESS_BLOBS == 0:
                self._progress("sweep", report.seen)
            if row.digest in marked:
                continue
            if row.touched_ns >= cutoff:
                report.young += 1
                continue
            batch.append(row)
            while len(batch) >= BATCH:
                batch = self._delete(place, batch, cutoff, report)
        while batch:
            batch = self._delete(place, batch, cutoff, report)

    def _delete(self, place: DiskPlace, batch: list[Row], cutoff: int, report: Report) -> list[Row]:
        """Delete from the front of the batch for HOLD_NS; the answer is what is left of it."""

        def operation(edit: Edit) -> tuple[int, list[int]]:
            sizes, end = [], monotonic_ns() + HOLD_NS
            for done, row in enumerate(batch, 1):
                now = place.row(row.digest, edit)
                if now is not None and now.touched_ns < cutoff and place.remove(edit, row.digest):
                    sizes.append(now.size)
                if monotonic_ns() > end:
                    return done, sizes
            return len(batch), sizes

        done, sizes = place.database.update(operation)
        time.sleep(REST_S)
        report.deleted += len(sizes)
        report.deleted_bytes += sum(sizes)
        return batch[done:]

    def _sweep_orphans(self, place: DiskPlace, cutoff: int, report: Report) -> None:
        """Files without a row: their put was killed between the link and the commit."""
        for digest in orphans(place):

            def operation(edit: Edit, digest: bytes = digest) -> bool:
                try:
                    changed_ns = os.stat(place.path(digest)).st_mtime_ns
                except FileNotFoundError:
                    return False
                if changed_ns >= cutoff or place.row(digest, edit) is not None:
                    return False
                return place.unlink(digest)

            report.orphans += place.database.update(operation)

    @contextmanager
    def _only_one(self) -> Iterator[None]:
        path = self._content.root / "run" / "sweep.lock"
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as reason:
            raise storage_error(path, reason) from reason
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Busy(f"another sweep of {self._content.root} is running: wait for it") from None
            yield
        finally:
            os.close(lock)


def orphans(place: DiskPlace) -> Iterator[bytes]:
    """Digests of the files of a place that have no row just now."""
    try:
        shards = sorted(entry.path for entry in os.scandir(place.files) if entry.is_dir())
    except OSError as reason:
        raise storage_error(place.files, reason) from reason
    for shard in shards:
        try:
            names = os.listdir(shard)
        except OSError as reason:
            raise storage_error(shard, reason) from reason
        for name in names:
            try:
                digest = bytes.fromhex(name)
            except ValueError:
                continue
            if len(digest) == 32 and place.row(digest) is None:
                yield digest


def _span(duration_ns: int) -> str:
    seconds = duration_ns // SECOND_NS
    for unit, length in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{seconds} seconds"


def _silent(step: str, blobs: int) -> None:
    pass
