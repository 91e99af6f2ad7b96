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


def sync_file_system(path: str | os.PathLike[str]) -> None:
    """Everything on the file system that holds `path` is on disk: one call for many files.  Raises `OSError`."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(fd) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), os.fspath(path))
    finally:
        os.close(fd)
