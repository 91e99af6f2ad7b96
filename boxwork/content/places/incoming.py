"""A blob on its way into a disk place: bytes in hand, or a file in `tmp`."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from boxwork.content.store import storage_error
from boxwork.keys import Buffer


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
