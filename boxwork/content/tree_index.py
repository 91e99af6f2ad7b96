"""The stat index: which files need not be read again.

A file is taken as unchanged when size, mtime, ctime, inode and device are what they were when it was last read.
That is sound only if a later write must have moved one of them, so git's racy-clean rule applies: a file that
was written in the clock tick in which it was read may be written again in that tick and look the same.  Such a
file is not remembered, and is read once more the next time.

Rows live in the cache database: losing them costs one reading of every file, never a wrong answer.  There is one
row per directory and spelling, keyed by device and inode, so a directory that was moved stays known.  Their
number is bounded by the directories ever committed; they go when the cache is dropped.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from boxwork.clock import SECOND_NS
from boxwork.database import Database, Edit

TABLE = "tree_index"
TABLES = (TABLE,)

# How old a change must be before the file is trusted not to change again unseen.  The kernel stamps files with the
# time of its last tick: at most 10 ms (CONFIG_HZ=100), doubled for luck.  Unit: ns.
TICK_NS = 20_000_000
# FAT keeps times to 2 s, some network file systems to 1 s: a stamp of whole seconds may be one of those.  Unit: ns.
COARSE_NS = 2 * SECOND_NS

ROW_VERSION = 1
# Rows written per transaction: the write lock is held for about 5 ms.  Unit: rows.
ROWS_PER_WRITE = 2_000


class Facts(NamedTuple):
    """What the file system says about a file without opening it, as far as it tells two contents apart."""

    size: int
    mtime_ns: int
    ctime_ns: int
    ino: int
    dev: int


def facts_of(status: os.stat_result) -> Facts:
    return Facts(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev)


def is_racy(mtime_ns: int, ctime_ns: int, read_at_ns: int) -> bool:
    """Might this file, read at `read_at_ns`, be written again without a change of its stamps?

    A stamp in the future is racy for as long as it is in the future.
    """
    latest = mtime_ns if mtime_ns > ctime_ns else ctime_ns
    window = TICK_NS if latest % SECOND_NS else COARSE_NS
    return latest + window > read_at_ns


# st_mode, size, mtime, ctime, inode, device, uid, gid; of directories and links only mode and owner, the rest is 0.
Status = tuple[int, int, int, int, int, int, int, int]
RACY_CTIME_NS = -1  # stands for the ctime of a racy file: no file has it, so the file is read again


class Row(msgspec.Struct, array_like=True, gc=False):
    """What is remembered of one directory, in the order of the names' bytes.

    `names` is joined by NUL; `statuses` and `contents` run beside it.  A content is the digest of a file or of a
    subtree, or the target of a link.  `tree` is the digest of the directory's own tree.
    """

    version: int
    tree: bytes
    names: bytes
    statuses: list[Status]
    contents: list[bytes]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Row).decode


class TreeIndex:
    """The rows of the stat index.  Without a database it remembers nothing.

    `variant` is a number for the options that change how a tree is spelled: each has its own rows.
    """

    def __init__(self, database: Database | None) -> None:
        self._database = database
        self._get = None if database is None else database.getter(TABLE)

    @staticmethod
    def key(dev: int, ino: int, variant: int) -> bytes:
        return b"%016x%016x%02x" % (dev & (1 << 64) - 1, ino, variant)

    def row(self, key: bytes) -> Row | None:
        raw = None if self._get is None else self._get(key)
        if raw is None:
            return None
        try:
            row = _decode(raw)
        except msgspec.DecodeError:  # another version wrote it: as good as no row
            return None
        return row if row.version == ROW_VERSION else None

    def store(self, rows: Sequence[tuple[bytes, Row]]) -> None:
        """Remember these rows."""
        if self._database is None:
            return
        for start in range(0, len(rows), ROWS_PER_WRITE):
            part = [(key, _encode(row)) for key, row in rows[start : start + ROWS_PER_WRITE]]
            self._database.update(functools.partial(_write, part))

    def clear(self) -> None:
        """Forget everything: the next commit reads every file."""
        if self._database is not None:
            self._database.update(lambda edit: edit.clear(TABLE))


def _write(part: list[tuple[bytes, bytes]], edit: Edit) -> None:
    for key, value in part:
        edit.put(TABLE, key, value)
