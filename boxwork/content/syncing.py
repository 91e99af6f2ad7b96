"""Bringing names and files to the disk: fsync of a directory, syncfs of a file system."""

from __future__ import annotations

import ctypes
import os


def sync_directory(path: str | os.PathLike[str]) -> None:
    """The names in this directory are on disk when this returns.  Raises `OSError`."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class FileSystem:
    """The file system that holds `path`, opened before the first write: then `sync` tells what went wrong since.

    The kernel tells an error of writing back to descriptors that were open when it happened (Linux 5.8 and later).
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = os.fspath(path)
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def sync(self) -> None:
        """Everything on it is on disk, names too: one call for many files.  Raises `OSError`."""
        if ctypes.CDLL(None, use_errno=True).syncfs(self._fd) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), self._path)

    def __enter__(self) -> FileSystem:
        return self

    def __exit__(self, *exception: object) -> None:
        os.close(self._fd)


def sync_file_system(path: str | os.PathLike[str]) -> None:
    """Everything on the file system that holds `path` is on disk.  Raises `OSError`."""
    with FileSystem(path) as file_system:
        file_system.sync()
