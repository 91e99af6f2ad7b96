"""Files as the log needs them: append, sync, cut.  The simulator has another body of this interface."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from boxwork.errors import CommitUnknown, StateInUse, StorageError, StorageFull, StorageReadOnly

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}


class Files(Protocol):
    """A flat directory of files, owned by one process."""

    def names(self) -> list[str]: ...
    def read(self, name: str) -> bytes:
        """All of it.  Raises `FileNotFoundError`."""
        ...

    def append(self, name: str, at: int, parts: Sequence[bytes], room: int = 0) -> None:
        """Write at `at`, where the entries of the file end, making it if need be.

        room: where the file must grow for it, it grows by so many zeros more, if there is space for them.
        On `StorageFull` the entries of the file are as before.
        """
        ...

    def sync(self, name: str) -> None:
        """Everything written to it so far survives a power cut.  Raises `CommitUnknown`: then nobody knows."""
        ...

    def cut(self, name: str, size: int) -> None:
        """Drop everything after `size` bytes, durably."""
        ...

    def delete(self, name: str) -> None: ...
    def replace(self, name: str, data: bytes) -> None:
        """Put `data` in place of the file, durably and at once: a reader sees all of the old or all of the new."""
        ...

    def close(self) -> None: ...


class RealFiles:
    """Files in a directory, held by a lock so that one process owns the facts.

    With `own=False` they are only read, also while another process owns them.
    """

    def __init__(self, directory: Path, *, own: bool = True) -> None:
        self.directory = directory
        self._descriptors: dict[str, int] = {}
        self._sizes: dict[str, int] = {}  # of the files that are open
        self._ends: dict[str, int] = {}  # where their entries end, if something was appended
        self._owner = os.getpid()
        self._lock = -1
        if own:
            self._take(directory)

    def _take(self, directory: Path) -> None:
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(directory / "owner", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as reason:
            raise _error(reason, directory) from reason
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as reason:
            owner = os.pread(self._lock, 32, 0).decode(errors="replace").strip()
            os.close(self._lock)
            raise StateInUse(
                f"process {owner or '(unknown)'} owns the facts in {directory}: commit through it, or stop it",
                directory=str(directory),
                owner=owner,
            ) from reason
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, str(os.getpid()).encode(), 0)

    def names(self) -> list[str]:
        return sorted(path.name for path in self.directory.iterdir() if path.name != "owner")

    def read(self, name: str) -> bytes:
        return (self.directory / name).read_bytes()

    def _open(self, name: str) -> int:
        descriptor = self._descriptors.get(name)
        if descriptor is None:
            path = self.directory / name
            is_new = not path.exists()
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._descriptors[name] = descriptor
            self._sizes[name] = os.fstat(descriptor).st_size
            if is_new:
                self._sync_directory()
        return descriptor

    def append(self, name: str, at: int, parts: Sequence[bytes], room: int = 0) -> None:
        try:
            descriptor = self._open(name)
        except OSError as reason:
            raise _error(reason, self.directory / name) from reason
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        end = at + len(data)
        if end <= self._sizes[name]:
            room = 0
        while True:
            try:
                _write(descriptor, at, data + bytes(room) if room else data)
            except OSError as reason:
                try:
                    os.ftruncate(descriptor, at)
                except OSError as second:
                    raise CommitUnknown(
                        f"{self.directory / name} could be neither written nor cut back: {second}",
                        path=str(self.directory / name),
                    ) from reason
                self._sizes[name] = at
                if not room:
                    raise _error(reason, self.directory / name) from reason
                room = 0
            else:
                self._ends[name], self._sizes[name] = end, max(self._sizes[name], end + room)
                return

    def sync(self, name: str) -> None:
        try:
            os.fdatasync(self._open(name))
        except OSError as reason:
            # After a failed sync the kernel may have dropped the pages: trying again would answer "done" for nothing
            # (the fsync trouble of PostgreSQL, 2018).
            raise CommitUnknown(
                f"{self.directory / name} could not be synced: {reason.strerror}; open the node again",
                path=str(self.directory / name),
            ) from reason

    def cut(self, name: str, size: int) -> None:
        descriptor = self._open(name)
        os.ftruncate(descriptor, size)
        os.fsync(descriptor)
        self._sizes[name] = self._ends[name] = size

    def delete(self, name: str) -> None:
        descriptor = self._descriptors.pop(name, None)
        self._ends.pop(name, None)
        if descriptor is not None:
            os.close(descriptor)
        (self.directory / name).unlink(missing_ok=True)
        self._sync_directory()

    def replace(self, name: str, data: bytes) -> None:
        fresh = self.directory / (name + ".new")
        try:
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                os.write(descriptor, data)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.replace(fresh, self.directory / name)
            self._sync_directory()
        except OSError as reason:
            raise _error(reason, self.directory / name) from reason

    def _sync_directory(self) -> None:
        descriptor = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def close(self) -> None:
        for name, descriptor in self._descriptors.items():
            end = self._ends.get(name, self._sizes[name])
            if end < self._sizes[name] and os.getpid() == self._owner:  # room that nobody needs any more
                with contextlib.suppress(OSError):
                    os.ftruncate(descriptor, end)
            os.close(descriptor)
        self._descriptors.clear()
        if self._lock >= 0:
            if os.getpid() == self._owner:  # a forked child shares the lock: letting go would open it for others
                fcntl.flock(self._lock, fcntl.LOCK_UN)
            os.close(self._lock)
            self._lock = -1


def _write(descriptor: int, at: int, data: bytes) -> None:
    written = os.pwrite(descriptor, data, at)
    if written < len(data):
        with memoryview(data) as view:
            while written < len(data):
                written += os.pwrite(descriptor, view[written:], at + written)


def _error(reason: OSError, path: Path) -> StorageError:
    if reason.errno in _FULL:
        return StorageFull(
            f"no space left for {path}: free some; reading goes on, and so do commits once there is space",
            path=str(path),
        )
    if reason.errno in _READ_ONLY:
        return StorageReadOnly(f"{path} cannot be written: {reason.strerror}", path=str(path))
    return StorageError(f"{path}: {reason.strerror}", path=str(path))
