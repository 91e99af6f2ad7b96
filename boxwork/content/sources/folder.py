"""A folder of this machine as a source: files are told apart by what the file system says of them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from boxwork.clock import Clock
from boxwork.content.inventory_rows import Row, unreadable_row
from boxwork.content.inventory_walk import glance, walk
from boxwork.content.sources.source import Known, Listed, Look, counted, left
from boxwork.content.tree_index import facts_of, is_racy
from boxwork.errors import BadInput
from boxwork.keys import Ref, ref_of_file


class Folder:
    """The files below one directory.  `address` is its real path."""

    # Two threads hash (it leaves the interpreter lock to others) while another walks; a disk is not faster with more.
    readers = 2
    ahead_bytes_max = 0  # the system keeps what was read last, and keeps much
    looks_are_cheap = True

    def __init__(self, address: str, clock: Clock) -> None:
        self.address = address
        self.root = os.fsencode(address)
        self._clock = clock

    def check(self) -> None:
        try:
            os.scandir(self.root).close()
        except OSError as reason:
            raise BadInput(
                f"{self.address} cannot be listed: {reason.strerror}; check the path and its permissions",
                path=self.address,
            ) from reason

    def listing(
        self, suffixes: tuple[bytes, ...], follow: bool, known: Known, within: Sequence[bytes]
    ) -> Iterator[Listed]:
        for path, status, problem in walk(self.root, suffixes, follow):
            if not within or path.startswith(tuple(within)):
                yield Listed(path, None if status is None else facts_of(status), problem)

    def count(self, suffixes: tuple[bytes, ...], follow: bool) -> Iterator[int]:
        return counted(walk(self.root, suffixes, follow))

    def digest(self, path: bytes, held: object = None) -> Row:
        """A file that changes meanwhile is racy: the next look reads it again."""
        read_at_ns = self._clock.now_ns()
        try:
            with open(os.open(self.root + b"/" + path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
                before = os.fstat(file.fileno())
                if not stat.S_ISREG(before.st_mode):
                    return unreadable_row(path, "no regular file any more")
                digest = ref_of_file(file).digest
                after = os.fstat(file.fileno())
        except OSError as reason:
            return unreadable_row(path, reason.strerror or str(reason))
        facts = facts_of(after)
        if facts != facts_of(before):
            return unreadable_row(path, "it changed while it was read; the next scan tries again")
        return Row(path, digest, *facts, is_racy(facts.mtime_ns, facts.ctime_ns, read_at_ns), "")

    def open(self, row: Row, ref: Ref) -> tuple[BinaryIO, Row]:
        """The file itself.  Who writes to it in place meanwhile is seen by the reader."""
        path = self.root + b"/" + row.path
        try:
            file = os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb")
        except OSError as reason:
            raise left(ref, os.fsdecode(path), reason.strerror or str(reason)) from None
        try:
            fresh = self._verified(file, row, ref)
        except OSError as reason:
            file.close()
            raise left(ref, os.fsdecode(path), reason.strerror or str(reason)) from None
        if fresh is None:
            file.close()
            raise left(ref, os.fsdecode(path), "the file has other bytes now")
        return file, fresh

    def _verified(self, file: BinaryIO, row: Row, ref: Ref) -> Row | None:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            return None
        if row.is_still(facts_of(status)):
            return row
        if status.st_size != row.size:
            return None
        read_at_ns = self._clock.now_ns()
        if ref_of_file(file) != ref:
            return None
        file.seek(0)
        facts = facts_of(status)
        if facts_of(os.fstat(file.fileno())) != facts:
            return row
        return Row(row.path, row.digest, *facts, is_racy(facts.mtime_ns, facts.ctime_ns, read_at_ns), "")

    def close(self) -> None:
        """Nothing is held open."""

    def look(self, mark: object, suffixes: tuple[bytes, ...], follow: bool) -> Look:
        """The mark is None while a file is so young that it may change unseen: then only reading it tells."""
        found = glance(self.root, suffixes, follow, self._clock.now_ns())
        return Look(found, () if found is not None and found == mark else None)
