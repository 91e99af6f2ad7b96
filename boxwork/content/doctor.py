"""Reads every byte, says what is wrong, and repairs what a second place still has.

Damaged bytes are never deleted: they move to `quarantine/`, for whoever wants to look.  Then the blob is fetched
from the other class, from the added places and from `others`, checked, and put again; if nobody has it the blob is
missing from then on, which is honest: a reader gets `BlobMissing`, not wrong bytes.

A run remembers how far it came (`run/doctor.json`) and the next one goes on from there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from boxwork.clock import SECOND_NS
from boxwork.content.content import Content
from boxwork.content.places.disk import TMP_PREFIX, DiskPlace, Row
from boxwork.content.store import Store, storage_error
from boxwork.content.sweep import orphans
from boxwork.database import Edit
from boxwork.errors import BlobCorrupt, BlobMissing, StorageError
from boxwork.keys import CHUNK_BYTES, Ref, ref_of, ref_of_digest, ref_of_file

# A file in `tmp` older than this belongs to a put that was killed.  Unit: nanoseconds.  Reason: no upload takes a day.
LEFTOVER_NS = 24 * 3600 * SECOND_NS
# How far it came is written down after so many bytes or blobs.  Reason: a second of work is worth keeping.
SAVE_BYTES = 1 << 30
SAVE_BLOBS = 20_000

Trouble = Literal["corrupt", "missing", "unreadable", "orphan", "leftover"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, and what was done: "repaired", "quarantined", "forgotten", "kept", "removed"."""

    trouble: Trouble
    place: str
    what: str
    action: str
    detail: str


@dataclass(slots=True)
class Progress:
    """How far a check is: blobs and bytes read in this run."""

    place: str
    blobs: int = 0
    bytes: int = 0


class Doctor:
    """Checks one `Content`.  `others` are further stores that may still have good bytes (a backup, a bucket).

    With `repair=False` it only looks.
    """

    def __init__(
        self,
        content: Content,
        *,
        others: Sequence[Store] = (),
        repair: bool = True,
        progress: Callable[[Progress], None] | None = None,
    ) -> None:
        self._content = content
        self._others = (*content.places[2:], *others)
        self._repair = repair
        self._progress = progress
        self._state = content.root / "run" / "doctor.json"
        self._quarantine = content.root / "quarantine"

    def run(self, *, resume: bool = True) -> Iterator[Finding]:
        """Yield what is wrong, as it is found."""
        first, after = self._resume() if resume else (0, b"")
        places = (self._content.durable, self._content.cache)
        for number in range(first, len(places)):
            yield from self._rows(places[number], number, after)
            after = b""
        for place in places:
            yield from self._orphans(place)
        yield from self._leftovers()
        self._state.unlink(missing_ok=True)

    # --- every row

    def _rows(self, place: DiskPlace, number: int, after: bytes) -> Iterator[Finding]:
        progress, saved_bytes = Progress(place.name), 0
        for row in place.rows(after):
            trouble = self._examine(place, row)
            if trouble is not None:
                yield self._treat(place, row, *trouble)
            progress.blobs += 1
            progress.bytes += row.size
            if progress.blobs % SAVE_BLOBS == 0 or progress.bytes - saved_bytes >= SAVE_BYTES:
                saved_bytes = progress.bytes
                self._save(number, row.digest)
                self._tell(progress)
        self._tell(progress)

    def _examine(self, place: DiskPlace, row: Row) -> tuple[Trouble, str] | None:
        try:
            if row.inline:
                data = place.inline_bytes(row.digest)
                if data is None:
                    raise BlobMissing("its row says it is inline")
                found, size = ref_of(data), len(data)
            else:
                with place.open(row.ref) as file:
                    found = ref_of_file(file)
                    size = file.tell()
        except BlobMissing:
            # Deleted since the row was read is no trouble.
            return None if place.row(row.digest) is None else ("missing", "its row is here, its bytes are not")
        except BlobCorrupt as reason:
            return "corrupt", reason.message
        except (StorageError, OSError) as reason:
            return "unreadable", str(reason)
        if found != row.ref or size != row.size:
            return "corrupt", f"{size} bytes that are {found}, where {row.size} bytes were put"
        return None

    def _treat(self, place: DiskPlace, row: Row, trouble: Trouble, detail: str) -> Finding:
        what = str(row.ref)
        if not self._repair or trouble == "unreadable":
            # Bytes that cannot be read may be good: an owner or a mode is for the user to mend.
            return Finding(trouble, place.name, what, "kept", detail)
        source = self._second(place, row.ref)
        kept = self._isolate(place, row, trouble)
        if source is None:
            return Finding(
                trouble, place.name, what, "quarantined" if kept else "forgotten", f"{detail}; no other place has it"
            )
        with source.open(row.ref) as file:
            place.put_stream(iter(lambda: file.read(CHUNK_BYTES), b""), expect=row.ref)
        return Finding(trouble, place.name, what, "repaired", detail)

    def _second(self, place: DiskPlace, ref: Ref) -> Store | None:
        """A store that has the right bytes, every one of them read."""
        for store in (self._content.durable, self._content.cache, *self._others):
            if store is place:
                continue
            try:
                with store.open(ref) as file:
                    if ref_of_file(file) == ref:
                        return store
            except (BlobMissing, BlobCorrupt, StorageError, OSError):
                continue
        return None

    def _isolate(self, place: DiskPlace, row: Row, trouble: Trouble) -> bool:
        """Take the damaged bytes out of the place, into the quarantine; False if there were none."""
        target = self._quarantine_path(place, row.digest)

        def operation(edit: Edit) -> bool:
            kept = trouble == "corrupt"
            if kept and row.inline:
                target.write_bytes(place.inline_bytes(row.digest) or b"")
            elif kept:
                try:
                    os.replace(place.path(row.digest), target)
                except FileNotFoundError:
                    kept = False
            place.remove(edit, row.digest)
            return kept

        try:
            return place.database.update(operation)
        except OSError as reason:
            raise storage_error(target, reason) from reason

    def _quarantine_path(self, place: DiskPlace, digest: bytes) -> Path:
        try:
            self._quarantine.mkdir(mode=0o700, exist_ok=True)
        except OSError as reason:
            raise storage_error(self._quarantine, reason) from reason
        return self._quarantine / f"{place.name}-{digest.hex()}-{self._content.clock.token(4)}"

    # --- what has no row

    def _orphans(self, place: DiskPlace) -> Iterator[Finding]:
        """Files without a row, of puts killed before their commit: whole ones are left to gc, others quarantined."""
        for digest in orphans(place):
            path, ref = place.path(digest), ref_of_digest(digest)
            try:
                if self._content.clock.now_ns() - os.stat(path).st_mtime_ns < LEFTOVER_NS:
                    continue  # a put may be about to commit
                with open(path, "rb") as file:
                    whole = ref_of_file(file) == ref
            except FileNotFoundError:
                continue
            except OSError as reason:
                yield Finding("orphan", place.name, path, "kept", f"cannot be read: {reason.strerror}")
                continue
            if not self._repair or whole:
                yield Finding("orphan", place.name, path, "kept", "a file without a row; gc removes it after its grace")
                continue
            target = self._quarantine_path(place, digest)
            try:
                os.replace(path, target)
            except OSError as reason:
                raise storage_error(target, reason) from reason
            yield Finding("orphan", place.name, path, "quarantined", "a file without a row, with wrong bytes")

    def _leftovers(self) -> Iterator[Finding]:
        tmp = self._content.root / "tmp"
        for entry in sorted(os.scandir(tmp), key=lambda entry: entry.name):
            try:
                old = self._content.clock.now_ns() - entry.stat().st_mtime_ns >= LEFTOVER_NS
                if not old or not entry.name.startswith(TMP_PREFIX):
                    continue
                if self._repair:
                    os.unlink(entry.path)
            except FileNotFoundError:
                continue
            except OSError as reason:
                raise storage_error(entry.path, reason) from reason
            action = "removed" if self._repair else "kept"
            yield Finding("leftover", "tmp", entry.path, action, "of a put that was killed")

    # --- going on later

    def _resume(self) -> tuple[int, bytes]:
        try:
            state = json.loads(self._state.read_text("ascii"))
            return int(state["place"]), bytes.fromhex(state["after"])
        except (OSError, ValueError, KeyError, TypeError):
            return 0, b""

    def _save(self, number: int, after: bytes) -> None:
        spare = self._state.with_suffix(".new")
        try:
            spare.write_text(json.dumps({"place": number, "after": after.hex()}), "ascii")
            os.replace(spare, self._state)
        except OSError as reason:
            raise storage_error(self._state, reason) from reason

    def _tell(self, progress: Progress) -> None:
        if self._progress is not None:
            self._progress(progress)
