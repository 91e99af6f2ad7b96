"""Who has a data directory open, and whether its cache can be believed.

The cache class is written without syncing: `kill -9` loses nothing, because the kernel keeps the pages, but a power
cut may leave anything.  So a small file says in which boot of the machine the cache was last open, and whether it
was closed in order and synced.  Another boot and not in order: the cache is dropped, whole.

Every process that has the directory open holds a shared lock on `run/open.lock`; who gets it alone is the first in
(looks at the marker, clears leftovers) or the last out (syncs, writes the marker).
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from boxwork.content.store import make_private, storage_error
from boxwork.content.syncing import sync_file_system
from boxwork.errors import StorageError

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
DROPPED_PREFIX = "dropped-"
# Somebody else closing just while we open is rare; this often in a row it is something else.  Unit: tries.
ENTER_TRIES = 100


def boot_id() -> str:
    """The name of this boot of the machine; empty where the kernel does not tell."""
    try:
        return BOOT_ID.read_text("ascii").strip()
    except OSError:
        return ""


class Session:
    """One process's hold on a data directory."""

    def __init__(self, root: Path, droppable: Sequence[Path], leftovers: str, *, boot: str | None = None) -> None:
        """`droppable` are the directories of the cache; files in `tmp` that begin with `leftovers` are cleared."""
        self._root = root
        self._marker = root / "run" / "cache.state"
        self._wrote = root / "run" / "cache.wrote"
        self._boot = boot_id() if boot is None else boot
        self._wrote_here = False
        self.dropped = False
        lock = root / "run" / "open.lock"
        for name in ("run", "tmp"):
            make_private(root / name)
        try:
            self._lock = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as reason:
            raise storage_error(lock, reason) from reason
        try:
            self._enter(droppable, leftovers)
        except OSError as reason:
            os.close(self._lock)
            raise storage_error(lock, reason) from reason

    def wrote_file(self) -> None:
        """A cache file was written and not synced: the last one out has to sync the file system."""
        if not self._wrote_here:
            self._wrote.touch(mode=0o600)
            self._wrote_here = True

    def close(self, sync: Callable[[], None]) -> None:
        """Let go; the last one out calls `sync` (the environment of the cache) and leaves the marker in order."""
        if self._lock < 0:
            return
        lock, self._lock = self._lock, -1
        try:
            if _try_lock(lock):
                sync()
                if self._wrote.exists():
                    sync_file_system(self._root)
                    self._wrote.unlink()
                self._write_marker("closed")
        except (OSError, StorageError):
            # The marker still says "open": after a reboot the cache is dropped, which is safe.
            pass
        finally:
            os.close(lock)

    def close_in_child(self) -> None:
        """In a forked child: drop the inherited descriptor; the parent's lock stays the parent's."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _enter(self, droppable: Sequence[Path], leftovers: str) -> None:
        """Hold the shared lock while the marker says "open".

        Between the two locks somebody else may be the last one out and close behind us, so look again: with the
        shared lock held nobody can write the marker.
        """
        for _ in range(ENTER_TRIES):
            if _try_lock(self._lock):
                self._first_in(droppable, leftovers)
            fcntl.flock(self._lock, fcntl.LOCK_SH)
            if self._read_marker() == (self._boot or "-", "open"):
                return
            fcntl.flock(self._lock, fcntl.LOCK_UN)
        raise BlockingIOError(errno.EAGAIN, f"others open and close it all the time: tried {ENTER_TRIES} times")

    def _first_in(self, droppable: Sequence[Path], leftovers: str) -> None:
        boot, state = self._read_marker()
        if state == "open" and (boot != self._boot or not self._boot):
            self.dropped = True
            for number, directory in enumerate(droppable):
                if directory.exists():
                    os.replace(directory, self._root / "tmp" / f"{DROPPED_PREFIX}{os.getpid()}-{number}")
        self._write_marker("open")
        with os.scandir(self._root / "tmp") as entries:
            for entry in entries:
                if entry.name.startswith(leftovers):
                    os.unlink(entry.path)
                elif entry.name.startswith(DROPPED_PREFIX):
                    shutil.rmtree(entry.path, ignore_errors=True)

    def _read_marker(self) -> tuple[str, str]:
        try:
            boot, _, state = self._marker.read_text("ascii").strip().rpartition(" ")
        except (OSError, ValueError):
            return "", "none"
        return boot, state

    def _write_marker(self, state: str) -> None:
        """The marker goes to the disk before the first unsynced byte, and after the last synced one."""
        spare = self._marker.with_suffix(".new")
        with open(os.open(spare, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as file:
            file.write(f"{self._boot or '-'} {state}\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(spare, self._marker)


def _try_lock(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
