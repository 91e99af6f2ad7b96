"""What kind of directory this is: the file `FORMAT` holds `boxwork <n>` and a line feed.

A directory without it is taken only when it is empty (or holds nothing but the configuration); a newer one is
refused; an older one is backed up beside itself and then migrated, one step at a time.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from boxwork.clock import Clock
from boxwork.content.backup import backup
from boxwork.content.store import storage_error
from boxwork.content.syncing import sync_directory
from boxwork.errors import Busy, FormatError

FORMAT_FILE = "FORMAT"
VERSION = 1

# What may lie in a directory that is about to become a data directory: it is written before the first start.
ALLOWED_BEFORE = {"boxwork.toml", "lost+found", ".FORMAT.new"}

# n → what turns a directory of format n into one of format n + 1.  It runs alone, after a backup, and may be run
# again after a crash, so it must not mind finding its work half done.
Migration = Callable[[Path], None]
MIGRATIONS: Mapping[int, Migration] = {}

_FORMAT = re.compile(r"boxwork (\d{1,9})\n?")


def prepare(
    root: Path, clock: Clock, *, version: int = VERSION, migrations: Mapping[int, Migration] = MIGRATIONS
) -> int:
    """Make `root` a data directory of this version, or find that it is one; the answer is the format it had before.

    Raises `FormatError` for a directory that is something else, or newer; then nothing was touched.
    """
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = read_version(root)
        if found is None:
            foreign = sorted(name for name in os.listdir(root) if name not in ALLOWED_BEFORE)
            # Another process may have begun the same directory since we looked for its version.
            if foreign and not _is_unfinished(root, foreign) and read_version(root) is None:
                raise FormatError(
                    f"{root} is not empty and no data directory of Boxwork (it holds {', '.join(foreign[:3])}"
                    f"{'…' if len(foreign) > 3 else ''}): choose an empty or a new directory",
                    path=str(root),
                )
            os.chmod(root, 0o700)
            with _alone(root):
                _write_version(root, version)
            return version
        if found > version:
            raise FormatError(
                f"{root} has format {found}; this version of Boxwork knows up to {version}: upgrade Boxwork, or"
                " restore a backup made before the upgrade",
                path=str(root),
                format=found,
            )
        if stat.S_IMODE(root.stat().st_mode) & 0o077:
            os.chmod(root, 0o700)
        if found < version:
            _migrate(root, clock, found, version, migrations)
    except OSError as reason:
        raise storage_error(root, reason) from reason
    return found


def read_version(root: Path) -> int | None:
    """The format of a data directory; None if it has no `FORMAT` file."""
    try:
        text = (root / FORMAT_FILE).read_bytes()[:100].decode("ascii", "replace")
    except FileNotFoundError:
        return None
    match = _FORMAT.fullmatch(text)
    if match is None:
        raise FormatError(
            f"{root / FORMAT_FILE} holds {text[:40]!r} where `boxwork <number>` is expected: this is no data directory"
            " of Boxwork, or it is damaged; choose another, or restore a backup",
            path=str(root),
        )
    return int(match[1])


def _is_unfinished(root: Path, names: list[str]) -> bool:
    """Was the first start interrupted between making `run` and writing `FORMAT`."""
    return names == ["run"] and os.listdir(root / "run") in ([], ["format.lock"])


def _migrate(root: Path, clock: Clock, found: int, version: int, migrations: Mapping[int, Migration]) -> None:
    missing = [step for step in range(found, version) if step not in migrations]
    if missing:
        raise FormatError(
            f"{root} has format {found}, and there is no way from {missing[0]} to {missing[0] + 1} in this version:"
            " open it once with an older Boxwork that knows it",
            path=str(root),
            format=found,
        )
    with _alone(root), _nobody_else(root):
        found = read_version(root) or found
        if found >= version:
            return
        copy = root.parent / f"{root.name}.before-format-{version}"
        if not copy.exists():  # after an interrupted migration the backup of the first attempt is the good one
            backup(root, copy, clock=clock)
        for step in range(found, version):
            migrations[step](root)
            _write_version(root, step + 1)


@contextlib.contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Two first starts at once: the second waits for the first."""
    (root / "run").mkdir(mode=0o700, exist_ok=True)
    lock = os.open(root / "run" / "format.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


@contextlib.contextmanager
def _nobody_else(root: Path) -> Iterator[None]:
    """No process has the directory open (each holds a shared lock, see places/session.py)."""
    lock = os.open(root / "run" / "open.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(
                f"{root} must be migrated, but a process of an older version has it open: stop it first", path=str(root)
            ) from None
        yield
    finally:
        os.close(lock)


def _write_version(root: Path, version: int) -> None:
    spare = root / f".{FORMAT_FILE}.new"
    fd = os.open(spare, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, b"boxwork %d\n" % version)
        os.fsync(fd)
    finally:
        os.close(fd)
    os.replace(spare, root / FORMAT_FILE)
    sync_directory(root)
