"""Making a directory beside its place and swapping it in with one rename.

The staged directory is locked while it is filled, so that what a killed process left can be told from what another
process is filling, and is removed by the next one with the same target.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import itertools
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from boxwork.errors import Busy

# linux/fs.h, fcntl.h
_RENAME_NOREPLACE = 1
_RENAME_EXCHANGE = 2
_AT_FDCWD = -100
_COUNTER = itertools.count()


# Others who sweep or remove at the same moment may make us begin again.  Unit: attempts; two is the most seen.
ATTEMPTS_MAX = 20


@contextlib.contextmanager
def staged(target: Path, verb: str) -> Iterator[Path]:
    """An empty hidden directory beside the target, locked while it is filled, and gone at the end."""
    prefix = f".{target.name[:200]}.{verb}-"
    _sweep(target.parent, prefix)
    staging, lock = _make_locked(target.parent, prefix)
    try:
        yield staging
    finally:
        # After an exchange this is the directory that was replaced.
        remove(staging)
        os.close(lock)


def _make_locked(parent: Path, prefix: str) -> tuple[Path, int]:
    """A new directory and its lock.  Until it is locked it looks like a leftover, so a sweep may take it away."""
    for _ in range(ATTEMPTS_MAX):
        staging = parent / f"{prefix}{os.getpid()}-{next(_COUNTER)}"
        staging.mkdir(mode=0o700)
        try:
            lock = os.open(staging, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.stat(staging), os.fstat(lock)):
                return staging, lock
        except (BlockingIOError, FileNotFoundError):
            pass
        os.close(lock)
    raise Busy(f"{parent} is swept as fast as directories are made in it: try again", path=str(parent))


def _sweep(parent: Path, prefix: str) -> None:
    """Remove what a killed checkout of the same target left: the kernel let go of its lock."""
    for name in os.listdir(parent):
        if not name.startswith(prefix):
            continue
        try:
            lock = os.open(parent / name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            remove(parent / name)
        finally:
            os.close(lock)


def remove(path: Path) -> None:
    """Remove a directory with all in it, also while somebody else removes it too."""
    for _ in range(ATTEMPTS_MAX):
        try:
            _remove(path)
        except FileNotFoundError:
            if os.path.lexists(path):
                continue
        return


def _remove(path: Path) -> None:
    try:
        shutil.rmtree(path)
    except PermissionError:
        # The tree may hold directories without write permission, which only root can empty as they are.
        for _, below, _, fd in os.fwalk(path):
            for name in below:
                if stat.S_ISDIR(os.lstat(name, dir_fd=fd).st_mode):
                    os.chmod(name, 0o700, dir_fd=fd)
        shutil.rmtree(path)


def take_place(staging: Path, target: Path, replace: bool) -> None:
    if _rename(staging, target, _RENAME_NOREPLACE):
        return
    if not replace:
        os.rename(staging, target)  # succeeds on an empty directory only
        return
    if _rename(staging, target, _RENAME_EXCHANGE):
        return
    # No exchange on this file system: two renames, between which there is no target for some microseconds.
    old = staging.with_name(staging.name + "-old")
    try:
        os.rename(target, old)
    except FileNotFoundError:
        os.rename(staging, target)
        return
    try:
        os.rename(staging, target)
    except OSError:
        os.rename(old, target)
        raise
    remove(old)


def _rename(source: Path, target: Path, flags: int) -> bool:
    """renameat2(2); False where it is not known, or the target is there (or not there) against the flags."""
    function = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if function is None:
        return False
    if function(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), flags) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.EEXIST, errno.ENOENT, errno.EINVAL, errno.ENOSYS):
        return False
    raise OSError(code, os.strerror(code), os.fspath(target))
