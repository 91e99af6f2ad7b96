"""The second pass of a commit: reads files in batches on two threads, and puts them.

A file that changes while it is read is read again, and given up with a clear error if it never holds still.
"""

from __future__ import annotations

import os
import stat
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import BinaryIO, Protocol

from boxwork.clock import Clock
from boxwork.content.tree_index import RACY_CTIME_NS, Row, Status, facts_of, is_racy
from boxwork.errors import BadInput, Busy
from boxwork.keys import CHUNK_BYTES, Buffer, Ref

Progress = Callable[[int, int, int], None]

# A batch is what one thread reads and puts in one group commit.  More files share one fsync better, but hold more
# memory and descriptors.  Source: measured with bench/tree.py, 128 to 1024 files differ by less than 5 %.
BATCH_FILES_MAX = 512
BATCH_BYTES_MAX = 8 * 1024 * 1024
BATCH_FOLDERS_MAX = 64  # each keeps a descriptor open; the usual limit of a process is 1024
# Batches that wait or run: memory stays below this many times BATCH_BYTES_MAX.
BATCHES_MAX = 4
# Reading, hashing and writing leave the interpreter lock to others, so a second thread helps; a third does not.
READERS = 2
# A file above this is streamed instead of read whole.  Unit: bytes.
STREAM_BYTES_MIN = 4 * 1024 * 1024
# How often a file may change under the reader before the commit gives up.
ATTEMPTS_MAX = 3
# Stands for the size of a file that went away between the walk and the reading.
VANISHED_SIZE = -1


class Keeper(Protocol):
    """What `commit` needs of content."""

    def put_many(self, items: list[Buffer], /, *, durable: bool = True) -> list[Ref]: ...

    def put_stream(self, chunks: Iterator[Buffer], /, *, durable: bool = True) -> Ref: ...

    def touch(self, refs: Iterable[Ref], /) -> list[Ref]: ...

    def get(self, ref: Ref) -> bytes: ...


class Folder:
    """One directory on its way to become a tree.  `fd` stays open while files of it wait to be read."""

    __slots__ = ("children", "contents", "fd", "key", "names", "path", "pending", "row", "same", "statuses", "tree")

    def __init__(self, fd: int, path: str, key: bytes, row: Row | None) -> None:
        self.fd = fd
        self.path = path
        self.key = key
        self.row = row
        self.same = row is not None
        self.names: list[str] = []
        self.statuses: list[Status] = []
        self.contents: list[bytes] = []
        self.children: list[tuple[int, Folder]] = []
        self.pending = 1
        self.tree = b""

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class Reader:
    """The second pass, running beside the first: reads files in batches and puts them."""

    def __init__(self, content: Keeper, durable: bool, clock: Clock, follow: bool, progress: Progress | None) -> None:
        self._content = content
        self._durable = durable
        self._clock = clock
        self._flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW)
        self._progress = progress
        self._batch: list[tuple[Folder, int]] = []
        self._batch_bytes = 0
        self._batch_folders: set[int] = set()
        self._running: deque[Future[None]] = deque()
        self._pool: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()
        self.seen = 0
        self._files = 0
        self._bytes = 0

    def add(self, folder: Folder, position: int) -> None:
        with self._lock:
            folder.pending += 1
        self._batch.append((folder, position))
        self._batch_bytes += folder.statuses[position][1]
        self._batch_folders.add(id(folder))
        if (
            len(self._batch) >= BATCH_FILES_MAX
            or self._batch_bytes >= BATCH_BYTES_MAX
            or len(self._batch_folders) >= BATCH_FOLDERS_MAX
        ):
            self._send()

    def release(self, folder: Folder) -> None:
        """One who needed the folder's descriptor is done with it."""
        with self._lock:
            folder.pending -= 1
            if folder.pending:
                return
        folder.close()

    def finish(self) -> None:
        if self._batch:
            self._send()
        while self._running:
            self._running.popleft().result()
        self._tell()

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def _send(self) -> None:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(READERS, "boxwork-tree")
        batch, self._batch, self._batch_bytes, self._batch_folders = self._batch, [], 0, set()
        while len(self._running) >= BATCHES_MAX:
            self._running.popleft().result()
        self._running.append(self._pool.submit(self._ingest, batch))
        self._tell()

    def _tell(self) -> None:
        if self._progress is not None:
            self._progress(self.seen, self._files, self._bytes)

    def _ingest(self, batch: list[tuple[Folder, int]]) -> None:
        whole: list[Buffer] = []
        places: list[tuple[Folder, int, os.stat_result, int]] = []
        for folder, position in batch:
            name, size = folder.names[position], folder.statuses[position][1]
            read_at_ns = self._clock.now_ns()
            if size >= STREAM_BYTES_MIN:
                self._stream(folder, position, name)
                continue
            data, status = self._read(folder, name)
            if data is not None and status is not None:
                whole.append(data)
                places.append((folder, position, status, read_at_ns))
            else:
                _vanish(folder, position)
        refs = self._content.put_many(whole, durable=self._durable)
        for ref, taken, (folder, position, status, read_at_ns) in zip(refs, whole, places, strict=True):
            self._keep(folder, position, ref, status, read_at_ns)
            self._bytes += len(taken)
        self._files += len(whole)
        for folder, _ in batch:
            self.release(folder)

    def _read(self, folder: Folder, name: str) -> tuple[bytes | None, os.stat_result | None]:
        for _ in range(ATTEMPTS_MAX):
            try:
                fd = os.open(name, self._flags, dir_fd=folder.fd)
            except FileNotFoundError:
                return None, None
            except OSError as reason:
                raise unreadable(f"{folder.path}/{name}", reason) from reason
            try:
                before = os.fstat(fd)
                # One byte more than there should be: a short answer is the end of the file.
                data = os.read(fd, before.st_size + 1) if stat.S_ISREG(before.st_mode) else b""
                after = os.fstat(fd)
            except OSError as reason:
                raise unreadable(f"{folder.path}/{name}", reason) from reason
            finally:
                os.close(fd)
            if len(data) == after.st_size and facts_of(before) == facts_of(after) and stat.S_ISREG(after.st_mode):
                return data, after
        raise restless(f"{folder.path}/{name}")

    def _stream(self, folder: Folder, position: int, name: str) -> None:
        for _ in range(ATTEMPTS_MAX):
            read_at_ns = self._clock.now_ns()
            try:
                fd = os.open(name, self._flags, dir_fd=folder.fd)
            except FileNotFoundError:
                _vanish(folder, position)
                return
            except OSError as reason:
                raise unreadable(f"{folder.path}/{name}", reason) from reason
            with open(fd, "rb", buffering=0) as file:
                before = os.fstat(fd)
                ref = self._content.put_stream(_chunks(file, f"{folder.path}/{name}"), durable=self._durable)
                after, size = os.fstat(fd), file.tell()
            if size == after.st_size and facts_of(before) == facts_of(after) and stat.S_ISREG(after.st_mode):
                self._keep(folder, position, ref, after, read_at_ns)
                self._files += 1
                self._bytes += size
                return
        raise restless(f"{folder.path}/{name}")

    def _keep(self, folder: Folder, position: int, ref: Ref, status: os.stat_result, read_at_ns: int) -> None:
        folder.contents[position] = ref.digest
        folder.statuses[position] = (
            status.st_mode,
            status.st_size,
            status.st_mtime_ns,
            RACY_CTIME_NS if is_racy(status.st_mtime_ns, status.st_ctime_ns, read_at_ns) else status.st_ctime_ns,
            status.st_ino,
            status.st_dev,
            status.st_uid,
            status.st_gid,
        )


def _vanish(folder: Folder, position: int) -> None:
    """The file went away between the walk and the reading: it is not part of the tree."""
    mode, _, *rest = folder.statuses[position]
    folder.statuses[position] = (mode, VANISHED_SIZE, *rest)  # type: ignore[assignment]


def _chunks(file: BinaryIO, path: str) -> Iterator[Buffer]:
    try:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
    except OSError as reason:
        raise unreadable(path, reason) from reason


def unreadable(path: str, reason: OSError) -> BadInput:
    return BadInput(
        f"{path!r} cannot be read: {reason.strerror or reason}; make it readable, or leave it out with ignore=[…]",
        path=path,
    )


def restless(path: str) -> Busy:
    return Busy(
        f"{path!r} changed each of the {ATTEMPTS_MAX} times it was read: stop what writes it, or commit a snapshot",
        path=path,
    )
