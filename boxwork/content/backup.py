"""A copy of a data directory from which it can be brought back, made while the node runs.

What is in it: the durable database (a consistent snapshot), every durable blob file, the keys, the configuration,
and whatever else the layers above keep in files.  What is not: the cache (it can be computed again), measurements,
leftovers and locks.

Blob files are linked or copied, then the database, then the blob files that came meanwhile: so every blob that the
snapshot knows was there in the first pass or came before the second.  `MANIFEST` names every file with size and
digest and is written last; the copy takes its name when it is complete, so half a backup never looks like one.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boxwork.clock import Clock, SystemClock
from boxwork.content.content import Content
from boxwork.content.staging import staged
from boxwork.content.store import storage_error
from boxwork.content.subject_keys import ERASED, Erasure, SubjectKeys, append_erasures, read_erasures
from boxwork.content.syncing import sync_directory, sync_file_system
from boxwork.database import Database
from boxwork.errors import BadInput, BlobCorrupt, FormatError
from boxwork.keys import CHUNK_BYTES, RefHasher, ref_of_file

MANIFEST = "MANIFEST"
VERSION = 1

BLOBS = Path("blobs", "durable")
KEYS = "keys"
DURABLE = "durable"
# Not copied: what can be made again, and what belongs to running processes.
LEFT_OUT = {"cache", "blobs", "pulse", "tmp", "run", DURABLE, MANIFEST}

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Summary:
    """What a backup or a restore did.  `linked` files share their bytes with the original."""

    path: Path
    files: int
    bytes: int
    linked: int
    erasures: int = 0


@dataclass(frozen=True, slots=True)
class _Line:
    path: str
    size: int
    digest: str


def backup(
    source: Content | Path,
    target: str | os.PathLike[str],
    *,
    link: bool = True,
    clock: Clock | None = None,
    progress: Progress | None = None,
) -> Summary:
    """Copy a data directory to `target`, which must not exist yet.

    source     the open `Content` of this process, or the path of a directory that this process has not open
    link       share blob files by hard links where target and source are on one file system: quick and small, and
               safe from mistakes, but not from the disk; a copy for another day belongs on another disk
    progress   called now and then with (files, bytes)

    Raises `BadInput` if the target is there, `StorageError`; then nothing is left of the copy.
    """
    root = source.root if isinstance(source, Content) else Path(source)
    goal = Path(os.path.abspath(target))
    if os.path.lexists(goal):
        raise BadInput(f"{goal} is there already: choose a name that is not", path=str(goal))
    if Path(os.path.realpath(root)) in (real := Path(os.path.realpath(goal))).parents:
        raise BadInput(f"{real} lies in the directory that is copied: choose another place", path=str(goal))
    if not root.is_dir():
        raise BadInput(f"{root} is no directory: nothing to copy", path=str(root))
    try:
        goal.parent.mkdir(parents=True, exist_ok=True)
        with staged(goal, "backup") as staging:
            copy = _Copy(root, staging, link, progress)
            copy.blobs()
            with _durable(source) as database:
                if database is not None:
                    database.copy(staging / DURABLE)
            copy.blobs()
            for name in sorted(set(os.listdir(root)) - LEFT_OUT):
                copy.tree(Path(name))
            copy.note(Path(DURABLE))
            created = (clock or SystemClock()).now_ns()
            _write_manifest(staging / MANIFEST, created, copy.lines)
            sync_file_system(staging)
            os.rename(staging, goal)
            sync_directory(goal.parent)
    except OSError as reason:
        raise storage_error(reason.filename or goal, reason) from reason
    return Summary(goal, len(copy.lines), copy.bytes, copy.linked)


def verify(path: str | os.PathLike[str], *, progress: Progress | None = None) -> list[str]:
    """Read every byte of a backup; what is wrong with it, one line each, nothing if all is well."""
    root = Path(path)
    problems: list[str] = []
    forgotten = {erasure.subject.hex() for erasure in read_erasures(root / KEYS / ERASED)}
    size = 0
    for number, line in enumerate(read_manifest(root), 1):
        if line.path == f"{KEYS}/{ERASED}":
            continue  # it grows when something is erased after the backup
        try:
            with open(root / line.path, "rb") as file:
                found = os.fstat(file.fileno()).st_size
                if found != line.size:
                    problems.append(f"{line.path}: {found} bytes, the manifest says {line.size}")
                elif ref_of_file(file).hex != line.digest:
                    problems.append(f"{line.path}: its bytes are not those of the backup")
        except FileNotFoundError:
            if line.path.removeprefix(f"{KEYS}/") not in forgotten:
                problems.append(f"{line.path}: missing")
        except OSError as reason:
            problems.append(f"{line.path}: {reason.strerror}")
        size += line.size
        if progress is not None and number % 256 == 0:
            progress(number, size)
    return problems


def restore(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    erasures: Iterable[str | os.PathLike[str]] = (),
    progress: Progress | None = None,
) -> Summary:
    """Make `target`, which must not exist or be empty, from the backup `source`, after reading every byte of it.

    What was erased since the backup stays erased: the lists of erasures of the backup itself, of the backups beside
    it, and of every path in `erasures` (data directories, backups, or lists) are applied before the directory
    takes its name.  Give the damaged original here if it can still be read.
    """
    root, goal = Path(os.path.abspath(source)), Path(os.path.abspath(target))
    if os.path.lexists(goal) and (not goal.is_dir() or os.listdir(goal)):
        raise BadInput(
            f"{goal} is there already: choose an empty or a new directory, nothing is overwritten", path=str(goal)
        )
    problems = verify(root, progress=progress)
    if problems:
        raise BlobCorrupt(
            f"{root} is damaged in {len(problems)} places, first {problems[0]}: use another backup",
            problems=problems[:100],
        )
    files = size = 0
    try:
        goal.parent.mkdir(parents=True, exist_ok=True)
        with staged(goal, "restore") as staging:
            for line in read_manifest(root):
                if not (root / line.path).exists():
                    continue  # a forgotten key: `verify` has said whether it may be missing
                to = staging / line.path
                _make(to.parent)
                shutil.copyfile(root / line.path, to)
                os.chmod(to, 0o400 if line.path.startswith("blobs/") else 0o600)
                files, size = files + 1, size + line.size
                if progress is not None and files % 256 == 0:
                    progress(files, size)
            known = list(_erasures([root, *_beside(root), *map(Path, erasures)]))
            if known:
                append_erasures(staging / KEYS / ERASED, known)
            destroyed = SubjectKeys(staging / KEYS, SystemClock()).reapply()
            sync_file_system(staging)
            os.rename(staging, goal)
            sync_directory(goal.parent)
    except OSError as reason:
        raise storage_error(reason.filename or goal, reason) from reason
    return Summary(goal, files, size, 0, destroyed)


def scrub(path: str | os.PathLike[str], *, erasures: Iterable[str | os.PathLike[str]]) -> int:
    """Carry erasures into a backup: destroy the keys in it that the given lists name; how many there were."""
    keys = Path(path) / KEYS
    append_erasures(keys / ERASED, list(_erasures(map(Path, erasures))))
    return SubjectKeys(keys, SystemClock()).reapply()


class _Copy:
    """The files of one backup on their way."""

    def __init__(self, root: Path, staging: Path, link: bool, progress: Progress | None) -> None:
        self.root = root
        self.staging = staging
        self.lines: dict[str, _Line] = {}
        self.bytes = 0
        self.linked = 0
        self._link = link
        self._progress = progress

    def blobs(self) -> None:
        """Every durable blob file that is not copied yet.  Its name is its digest, so it is not read for that."""
        with contextlib.suppress(FileNotFoundError):
            for shard in sorted(os.listdir(self.root / BLOBS)):
                _make(self.staging / BLOBS / shard)
                for name in sorted(os.listdir(self.root / BLOBS / shard)):
                    path = BLOBS / shard / name
                    if str(path) not in self.lines:
                        with contextlib.suppress(FileNotFoundError):  # swept meanwhile: nothing refers to it
                            self._blob(path, name)

    def _blob(self, path: Path, name: str) -> None:
        source, to = self.root / path, self.staging / path
        size = source.stat().st_size
        if self._link:
            try:
                os.link(source, to, follow_symlinks=False)
                self.linked += 1
                self._add(path, size, name)
                return
            except OSError as reason:
                if reason.errno == errno.EXDEV:
                    self._link = False
                elif reason.errno not in (errno.EMLINK, errno.EPERM, errno.EOPNOTSUPP):
                    raise
        self._copy_file(path, 0o400)

    def tree(self, path: Path) -> None:
        """A file or a directory of another layer.  An LMDB environment in it is copied as a snapshot."""
        found = (self.root / path).lstat()
        if stat.S_ISDIR(found.st_mode):
            if (self.root / path / "data.mdb").exists():
                with contextlib.closing(Database(self.root / path, (), durable=True)) as database:
                    database.copy(self.staging / path)
                self.note(path)
                return
            _make(self.staging / path)
            for name in sorted(os.listdir(self.root / path)):
                if not (path == Path(KEYS) and name.startswith(".")):  # a key on its way to its name
                    self.tree(path / name)
        elif stat.S_ISREG(found.st_mode):
            with contextlib.suppress(FileNotFoundError):
                self._copy_file(path, 0o600)

    def note(self, path: Path) -> None:
        """Enter what stands in the copy already."""
        if (self.staging / path).is_dir():
            for name in sorted(os.listdir(self.staging / path)):
                if name != "lock.mdb":
                    with open(self.staging / path / name, "rb") as file:
                        os.fchmod(file.fileno(), 0o600)
                        self._add(path / name, os.fstat(file.fileno()).st_size, ref_of_file(file).hex)

    def _copy_file(self, path: Path, mode: int) -> None:
        """The digest is that of what was written: a file that grows meanwhile gives a prefix of itself."""
        hasher = RefHasher()
        with open(self.root / path, "rb") as source:
            fd = os.open(self.staging / path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with open(fd, "wb") as to:
                left = os.fstat(source.fileno()).st_size
                while left and (chunk := source.read(min(left, CHUNK_BYTES))):
                    hasher.update(chunk)
                    to.write(chunk)
                    left -= len(chunk)
                os.fchmod(fd, mode)
        self._add(path, hasher.size, hasher.ref().hex)

    def _add(self, path: Path, size: int, digest: str) -> None:
        self.lines[str(path)] = _Line(str(path), size, digest)
        self.bytes += size
        if self._progress is not None and len(self.lines) % 256 == 0:
            self._progress(len(self.lines), self.bytes)


def _write_manifest(path: Path, created_ns: int, lines: dict[str, _Line]) -> None:
    """JSON lines: a head, one line a file, a tail with the digest of all lines before it."""
    hasher = RefHasher()
    with open(path, "xb") as file:

        def write(row: dict[str, Any]) -> None:
            raw = json.dumps(row, separators=(",", ":")).encode() + b"\n"
            hasher.update(raw)
            file.write(raw)

        write({"boxwork-backup": VERSION, "created_ns": created_ns})
        for line in lines.values():
            write({"path": line.path, "size": line.size, "sha256": line.digest})
        write({"files": len(lines), "manifest": hasher.ref()})
        os.fchmod(file.fileno(), 0o600)


def read_manifest(root: Path) -> Iterator[_Line]:
    """The files that a backup should have.  Raises `FormatError` if it is none, or its manifest is damaged."""
    path = root / MANIFEST
    try:
        rows = path.read_bytes().splitlines(keepends=True)
        head, *body, tail = rows
        hasher = RefHasher()
        for raw in (head, *body):
            hasher.update(raw)
        version, end = json.loads(head)["boxwork-backup"], json.loads(tail)
        if version > VERSION:
            raise FormatError(
                f"{root} is a backup of version {version}, this Boxwork reads up to {VERSION}: upgrade", path=str(root)
            )
        if end["manifest"] != hasher.ref() or end["files"] != len(body):
            raise ValueError
        lines = [_Line(row["path"], row["size"], row["sha256"]) for row in map(json.loads, body)]
        if any(line.path.startswith("/") or ".." in line.path.split("/") or len(line.digest) != 64 for line in lines):
            raise ValueError
    except FileNotFoundError:
        raise FormatError(
            f"{root} is no backup of Boxwork, or an unfinished one: it has no {MANIFEST}", path=str(root)
        ) from None
    except OSError as reason:
        raise storage_error(path, reason) from reason
    except (ValueError, KeyError, TypeError):
        raise FormatError(f"{path} is damaged: use another backup", path=str(root)) from None
    return iter(lines)


@contextlib.contextmanager
def _durable(source: Content | Path) -> Iterator[Database | None]:
    if isinstance(source, Content):
        yield source.durable_db
    elif (source / DURABLE / "data.mdb").exists():
        with contextlib.closing(Database(source / DURABLE, (), durable=True)) as database:
            yield database
    else:
        yield None


def _make(path: Path) -> None:
    """A directory and those above it, for nobody else (`mkdir(parents=True)` gives the mode to the last one only)."""
    if not path.exists():
        _make(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)


def _erasures(paths: Iterable[Path]) -> Iterator[Erasure]:
    for path in paths:
        yield from read_erasures(path / KEYS / ERASED if path.is_dir() else path)


def _beside(root: Path) -> list[Path]:
    with contextlib.suppress(OSError):
        return [path for path in root.parent.iterdir() if path != root and (path / KEYS / ERASED).is_file()]
    return []
