"""One LMDB environment: opened once in a process, safe from many threads and many processes.

Reads take a snapshot and never wait.  Writes are serialised by LMDB across all processes; in a durable
environment the writers that wait for each other share one transaction and one fsync (group commit).

A map is virtual address space, not disk: it is opened so large that it never has to grow, because growing it
needs a moment without any open transaction, which a busy process does not have (docs/decisions/0002).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import itertools
import os
import resource
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import lmdb

from boxwork.errors import InvariantBroken, StorageError, StorageFull, StorageReadOnly
from boxwork.settings import GiB, MiB, Setting

T = TypeVar("T")

SETTINGS = (
    Setting(
        "database.map_bytes",
        1024 * GiB,
        "bytes",
        "address space for one LMDB environment; it takes no disk until it is used, lower it only under ulimit -v",
    ),
)

# LMDB's table of readers is shared by all processes of a directory: 126 by default, and a server with threads is more.
READERS_MAX = 1024
# Read transactions kept for reuse per process: renewing one costs 0.2 us, a new one 1.5 us.  Unit: transactions.
SPARE_READERS = 128
# Rows that a walk copies out of one snapshot: some 0.3 ms of work.  Unit: rows.
WALK_ROWS = 500
# After a write came out short, a disk that has no room for this is full.  Unit: bytes.
PROBE_BYTES = 1 * MiB
# Below this map size an environment is of no use, so shrinking to fit under `ulimit -v` stops here.
MAP_BYTES_MIN = 64 * MiB


class Database:
    """A set of named tables from bytes to bytes.

    `durable`: a committed write is on disk (fdatasync) before the call returns.  Otherwise it is in the page
    cache: it survives `kill -9`, not a power cut.
    """

    def __init__(self, path: Path, tables: Sequence[str], *, durable: bool, map_bytes: int = 1024 * GiB) -> None:
        self.path = path
        self.durable = durable
        self._environment = _open(path, len(tables), durable, map_bytes)
        self._tables: dict[str, Any] = {}
        try:
            for name in tables:
                self._tables[name] = self._environment.open_db(name.encode())
            # A process that was killed leaves its reader slot, and with it a snapshot that keeps pages from reuse.
            self._environment.reader_check()
        except lmdb.Error as reason:
            self._environment.close()
            raise _storage_error(path, reason) from reason
        self._begin: Callable[..., Any] = self._environment.begin
        self._queue: list[_Ticket] = []
        self._queue_lock = threading.Lock()
        self._led = False
        self._owner = os.getpid()
        self._closed = False

    # --- reading

    def getter(self, table: str) -> Callable[[bytes], bytes | None]:
        """The fastest way to read one key of one table; made once, called often, from any thread."""
        begin, handle = self._begin, self._tables[table]

        def get(key: bytes) -> bytes | None:
            try:
                # The transaction ends when this expression does: CPython drops the only reference to it.
                return begin(handle).get(key)  # type: ignore[no-any-return]
            except lmdb.Error as reason:
                raise _storage_error(self.path, reason) from reason

        return get

    def get(self, table: str, key: bytes) -> bytes | None:
        try:
            return self._begin(self._tables[table]).get(key)  # type: ignore[no-any-return]
        except lmdb.Error as reason:
            raise _storage_error(self.path, reason) from reason

    @contextlib.contextmanager
    def view(self) -> Iterator[View]:
        """One snapshot for several reads.  Keep it short: pages it can see cannot be reused meanwhile."""
        try:
            with self._begin() as transaction:
                yield View(transaction, self._tables)
        except lmdb.Error as reason:
            raise _storage_error(self.path, reason) from reason

    def walk(
        self, table: str, prefix: bytes = b"", *, after: bytes = b"", rows: int = WALK_ROWS
    ) -> Iterator[tuple[bytes, bytes]]:
        """All rows with this prefix and a key > `after`, in key order, as a series of short snapshots.

        For walks that take long: no page is pinned between two of the snapshots.  What is written meanwhile is
        seen or not.
        """
        while True:
            with self.view() as view:
                found = list(itertools.islice(view.scan(table, prefix, start=after + b"\0" if after else None), rows))
            yield from found
            if len(found) < rows:
                return
            after = found[-1][0]

    def count(self, table: str) -> int:
        with self._begin() as transaction:
            return int(transaction.stat(self._tables[table])["entries"])

    def bytes_used(self) -> int:
        """Bytes of disk that the environment's pages take."""
        info, stat = self._environment.info(), self._environment.stat()
        return (int(info["last_pgno"]) + 1) * int(stat["psize"])

    # --- writing

    def update(self, operation: Callable[[Edit], T]) -> T:
        """Run `operation` in a write transaction and return what it returned, once it is committed.

        It may run twice (when another operation of the same group failed), so it must only act through its
        argument.  If it raises, nothing of it is written.
        """
        if not self.durable:
            return self._commit_one(operation)
        ticket = _Ticket(operation)
        with self._queue_lock:
            self._queue.append(ticket)
            leads, self._led = not self._led, True
        if not leads:
            try:
                ticket.turn.acquire()
            except BaseException:
                self._leave(ticket)
                raise
        if not ticket.done:
            self._lead()
        if ticket.error is not None:
            raise ticket.error
        return ticket.result  # type: ignore[no-any-return]

    def _lead(self) -> None:
        """Commit everybody who waits, oneself among them, and hand the lead on to one who came meanwhile.

        The lead goes on before the others are woken: its sync runs while they do.
        """
        with self._queue_lock:
            group, self._queue = self._queue, []
        try:
            self._commit_group(group)
        finally:
            with self._queue_lock:
                self._hand_on()
            for ticket in group:
                if not ticket.done:
                    ticket.error = StorageError(f"{self.path}: the commit was interrupted; look whether it happened")
                    ticket.done = True
                ticket.turn.release()

    def _hand_on(self) -> None:
        if self._queue:
            self._queue[0].turn.release()
        else:
            self._led = False

    def _leave(self, ticket: _Ticket) -> None:
        """Its owner was interrupted while waiting: it is not committed, unless its group is on its way already."""
        with self._queue_lock:
            if ticket in self._queue:
                self._queue.remove(ticket)
                if ticket.turn.acquire(blocking=False):
                    self._hand_on()

    def _commit_one(self, operation: Callable[[Edit], T]) -> T:
        try:
            with self._begin(write=True) as transaction:
                return operation(Edit(transaction, self._tables))
        except lmdb.Error as reason:
            raise _storage_error(self.path, reason) from reason

    def _commit_group(self, group: list[_Ticket]) -> None:
        if len(group) > 1:
            try:
                with self._begin(write=True) as transaction:
                    edit = Edit(transaction, self._tables)
                    results = [ticket.operation(edit) for ticket in group]
            except Exception:  # one of them failed: nobody else shall suffer, so each gets its own transaction
                pass
            else:
                for ticket, result in zip(group, results, strict=True):
                    ticket.result, ticket.done = result, True
                return
        for ticket in group:
            try:
                ticket.result = self._commit_one(ticket.operation)
            except Exception as error:
                ticket.error = error
            ticket.done = True

    def sync(self) -> None:
        """Bring everything to disk now, also in an environment that is not durable."""
        try:
            self._environment.sync(True)
        except lmdb.Error as reason:
            raise _storage_error(self.path, reason) from reason

    def copy(self, target: Path) -> None:
        """A consistent, compacted copy of the environment in the directory `target`, while others write."""
        target.mkdir(mode=0o700, parents=True)
        try:
            self._environment.copy(os.fspath(target), compact=True)
        except lmdb.Error as reason:
            raise _storage_error(target, reason) from reason

    def close(self) -> None:
        """Close it; twice is once.  Nobody may be reading or writing any more.

        In a forked child nothing is touched, the locks and the map belong to the parent: not even the memory is
        freed, because freeing a spare read transaction would give up the parent's place in the table of readers.
        """
        if self._closed:
            return
        self._closed = True
        if os.getpid() == self._owner:
            self._environment.close()
        else:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._environment))
        self._begin = self._refuse

    def _refuse(self, *_: object, **__: object) -> Any:
        raise StorageError(f"{self.path} is closed in this process: open it again", path=str(self.path))


class View:
    """A consistent look at the tables."""

    __slots__ = ("_tables", "_transaction")

    def __init__(self, transaction: Any, tables: dict[str, Any]) -> None:
        self._transaction = transaction
        self._tables = tables

    def get(self, table: str, key: bytes) -> bytes | None:
        return self._transaction.get(key, db=self._tables[table])  # type: ignore[no-any-return]

    def scan(
        self, table: str, prefix: bytes = b"", *, start: bytes | None = None, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Rows whose key begins with `prefix`, in key order.

        With `start` the rows begin at the first key >= `start` (in reverse: the last key <= `start`).
        """
        cursor = self._transaction.cursor(db=self._tables[table])
        if reverse:
            yield from _scan_reverse(cursor, prefix, start)
            return
        first = max(prefix, start or b"")
        if first and not cursor.set_range(first):
            return
        for key, value in cursor.iternext():
            if not key.startswith(prefix):
                return
            yield key, value


class Edit(View):
    """A write transaction."""

    __slots__ = ()

    def put(self, table: str, key: bytes, value: bytes, *, overwrite: bool = True) -> bool:
        """Write a row; with `overwrite=False` an existing row stays and the answer is False."""
        return bool(self._transaction.put(key, value, overwrite=overwrite, db=self._tables[table]))

    def delete(self, table: str, key: bytes) -> bool:
        return bool(self._transaction.delete(key, db=self._tables[table]))

    def clear(self, table: str) -> None:
        self._transaction.drop(self._tables[table], delete=False)


class _Ticket:
    """One operation waiting for its group's commit.  `turn` opens when it is done, or when its owner has to lead."""

    __slots__ = ("done", "error", "operation", "result", "turn")

    def __init__(self, operation: Callable[[Edit], Any]) -> None:
        self.operation = operation
        self.result: Any = None
        self.error: BaseException | None = None
        self.done = False
        self.turn = threading.Lock()
        self.turn.acquire()


def _scan_reverse(cursor: Any, prefix: bytes, start: bytes | None) -> Iterator[tuple[bytes, bytes]]:
    last = start if start is not None else _successor(prefix)
    found = cursor.set_range(last) if last else False
    if not found:
        found = cursor.last()
    elif cursor.key() != start:
        found = cursor.prev()
    if not found:
        return
    for key, value in cursor.iterprev():
        if not key.startswith(prefix):
            return
        yield key, value


def _successor(prefix: bytes) -> bytes:
    """The least key greater than every key with this prefix; empty if there is none."""
    trimmed = prefix.rstrip(b"\xff")
    return trimmed[:-1] + bytes([trimmed[-1] + 1]) if trimmed else b""


def _open(path: Path, tables: int, durable: bool, map_bytes: int) -> Any:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as reason:
        raise StorageReadOnly(
            f"{path} cannot be made: {reason.strerror}; choose a directory you may write to", path=str(path)
        ) from reason
    while True:
        try:
            return lmdb.open(
                os.fspath(path),
                map_size=map_bytes,
                max_dbs=tables + 8,
                max_readers=READERS_MAX,
                max_spare_txns=SPARE_READERS,
                sync=durable,
                metasync=durable,
                mode=0o600,
            )
        except (MemoryError, lmdb.Error) as error:
            if isinstance(error, lmdb.Error) and "annot allocate memory" not in str(error):
                raise _storage_error(path, error) from error
            map_bytes //= 4  # under `ulimit -v` a smaller map may fit
            if map_bytes < MAP_BYTES_MIN:
                raise StorageError(
                    f"{path} needs {MAP_BYTES_MIN} bytes of address space: raise ulimit -v", path=str(path)
                ) from error


def _storage_error(path: Path, reason: lmdb.Error) -> StorageError:
    text = str(reason)
    if isinstance(reason, (lmdb.MapFullError, lmdb.MapResizedError)):
        return StorageFull(f"{path} is full: raise the setting database.map_bytes and start again", path=str(path))
    if "No space left" in text or "quota" in text or "File too large" in text or _short_write(path, text):
        return StorageFull(f"no space left on the disk of {path}: free some, or run `boxwork gc`", path=str(path))
    if isinstance(reason, lmdb.ReadonlyError) or "Read-only" in text or "Permission denied" in text:
        return StorageReadOnly(f"{path} cannot be written: {text}", path=str(path))
    if isinstance(reason, lmdb.BadTxnError):
        raise InvariantBroken(f"{path}: {text}")
    return StorageError(f"{path}: {text}", path=str(path))


def _short_write(path: Path, text: str) -> bool:
    """Was it the end of the space?  LMDB calls a write that came out short an input/output error, as a dying disk."""
    if "Input/output error" not in text:
        return False
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    probe = path / "probe"
    try:
        if limit != resource.RLIM_INFINITY and (path / "data.mdb").stat().st_size + PROBE_BYTES > limit:
            return True
        probe.write_bytes(bytes(PROBE_BYTES))
    except OSError as reason:
        return reason.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    finally:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)
    return False


def _let_child_open() -> None:
    """In a forked child: allow opening again what the parent has open.

    py-lmdb refuses to open a file twice in one process, because closing either would drop the process's fcntl locks
    on it.  The child inherited that list but no locks, and never closes what it inherited (`Database.close`), so
    opening anew is safe here.  The list is keyed by file; the child's keys get its process number.  Where a later
    py-lmdb keeps its list elsewhere, the child gets its clear refusal instead.
    """
    try:
        from lmdb import _envid
    except ImportError:
        return
    keys_of, child = _envid.env_keys, os.getpid()
    _envid.env_keys = lambda path, subdir: tuple((*key, child) for key in keys_of(path, subdir))  # type: ignore[no-untyped-call]


os.register_at_fork(after_in_child=_let_child_open)
