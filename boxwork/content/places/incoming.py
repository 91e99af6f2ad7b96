"""A blob on its way into a disk place: bytes in hand, or a file in `tmp`; whole at once, or in pieces."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from boxwork.content.store import storage_error, unexpected
from boxwork.database import Edit
from boxwork.keys import Buffer, Ref, RefHasher

Also: TypeAlias = Callable[[Edit, list[bytes]], None]


@dataclass(frozen=True, slots=True)
class Incoming:
    """Its bytes if it goes inline, else the path of the file that has them."""

    digest: bytes
    size: int
    data: bytes = b""
    path: str = ""


class TemporaryFile:
    """A file that is made with the first write, and is gone when the block ends, whatever happens."""

    __slots__ = ("_durable", "_fd", "_name", "_path", "opened")

    def __init__(self, name: Callable[[], str], durable: bool) -> None:
        self._name = name
        self._durable = durable
        self._fd = -1
        self._path = ""
        self.opened = False

    def __enter__(self) -> TemporaryFile:
        return self

    def __exit__(self, *exception: object) -> None:
        self.remove()

    def write(self, data: Buffer) -> None:
        try:
            if not self.opened:
                self._path = self._name()
                self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400)
                self.opened = True
            view = memoryview(data).cast("B")
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError as reason:
            raise storage_error(self._path, reason) from reason

    def finish(self, digest: bytes, size: int) -> Incoming:
        """Close it, on the disk if it is to be durable; it stays until `remove`."""
        fd, self._fd = self._fd, -1
        try:
            try:
                if self._durable:
                    os.fdatasync(fd)
            finally:
                os.close(fd)
        except OSError as reason:
            raise storage_error(self._path, reason) from reason
        return Incoming(digest, size, path=self._path)

    def remove(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if self.opened:
            self.opened = False
            try:
                os.unlink(self._path)
            except OSError:  # a leftover that the doctor finds is better than hiding the first error
                return


# Takes in what has come under this name: asks for it only if it is not here already.
Keep: TypeAlias = "Callable[[Ref, Callable[[], Incoming], Also | None], None]"


class Writer:
    """A blob that comes in pieces, at the pace of whoever sends it: hashed as it comes, in memory while it is small.

    For one thread at a time.  Whoever made it closes it; until `commit` nothing of it is visible.
    """

    __slots__ = ("_file", "_hasher", "_head", "_inline_bytes_max", "_keep")

    def __init__(self, file: TemporaryFile, inline_bytes_max: int, keep: Keep) -> None:
        self._file = file
        self._inline_bytes_max = inline_bytes_max
        self._keep = keep
        self._hasher = RefHasher()
        self._head = bytearray()

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def size(self) -> int:
        """Bytes that have come."""
        return self._hasher.size

    def write(self, chunk: Buffer) -> None:
        view = memoryview(chunk).cast("B")  # its length is bytes, whatever its items are
        self._hasher.update(view)
        if self._file.opened:
            self._file.write(view)
            return
        self._head += view
        if self._hasher.size > self._inline_bytes_max:
            self._file.write(self._head)
            self._head = bytearray()

    def commit(self, expect: Ref | None = None, also: Also | None = None) -> Ref:
        """Keep what has come.  With `expect`, bytes of another name are refused with `BlobCorrupt`."""
        ref = self._hasher.ref()
        if expect is not None and ref != expect:
            raise unexpected(ref, expect)
        self._keep(ref, self._incoming, also)
        return ref

    def _incoming(self) -> Incoming:
        digest = self._hasher.ref().digest
        if self._file.opened:
            return self._file.finish(digest, self.size)
        return Incoming(digest, self.size, data=bytes(self._head))

    def close(self) -> None:
        self._file.remove()
