"""What an agent knows across its own death: one small file, replaced whole, and a lock around every change of it.

`memory.json` is written beside itself, synced, and takes its name with a rename; so it is always the old one or the
new one.  Whoever changes a host (the agent, `rollback`, `accept`) holds `change.lock` while doing so and reads the
file again first: a command may come at any time, and neither needs the other to run.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import msgspec

from boxwork import clock, errors
from boxwork.packs.fleet.protocol import Drift, Effect, Report, Signed

FORMAT = 1
# Reports that wait for a server.  Unit: reports; of more, the oldest go.  A host that is offline changes by hand only.
REPORTS_MAX = 200
# How long a command waits for a change that is running (a drain may take minutes).  Unit: s.
LOCK_WAIT_S = 10.0
# How often it looks meanwhile.  Unit: s.
LOCK_LOOK_S = 0.02


class Version(msgspec.Struct, kw_only=True):
    """A version that lies ready on this host, in `versions/<name>`."""

    name: str
    position: int
    release: int
    tree: str
    signed: Signed
    # Files that hold a secret, so that they differ from their blobs.
    secret_files: list[str] = []
    applied_ns: int = 0
    good: bool = False


class Attempt(msgspec.Struct, kw_only=True):
    """A change that has begun and is not settled: what a restarted agent finishes, or undoes."""

    to: str
    before: str
    effect: Effect
    by: Literal["server", "hand"]
    note: str = ""
    tries: int = 1
    stage_ms: float = 0.0


class Memory(msgspec.Struct, kw_only=True):
    """All of it.

    position  the highest that was ever judged here: only a higher one is taken
    judged    the document of that position, whatever came of it; `refused` says why it is not the one that runs
    keys      the public keys that are believed, as a document has said; `anchor` is the one that a person had given
    accepted  the tree that somebody has said is right on this host, although its version differs; "" is none
    """

    format: int = FORMAT
    host: str = ""
    epoch: str = ""
    position: int = 0
    judged: str = ""
    refused: str = ""
    running: str = ""
    versions: dict[str, Version] = {}
    attempt: Attempt | None = None
    anchor: str = ""
    keys: list[str] = []
    accepted: str = ""
    edit_from_ns: int = 0
    edit_until_ns: int = 0
    drift: list[Drift] = []
    reports: list[Report] = []
    drain_ms: float = 0.0
    downtime_total_ms: float = 0.0
    saved_total_ms: float = 0.0
    drains: int = 0
    drains_avoided: int = 0

    def version(self, name: str) -> Version:
        found = self.versions.get(name)
        if found is None:
            raise errors.NotFound(f"there is no version {name!r} on this host; there are: {', '.join(self.versions)}")
        return found

    def believed(self, anchor: bytes) -> tuple[bytes, ...]:
        """The keys of documents: what was learnt since a person gave this one, or this one alone."""
        if self.anchor != anchor.hex() or not self.keys:
            return (anchor,)
        return tuple(bytes.fromhex(key) for key in self.keys)

    def find(self, release: int) -> Version:
        """The newest version with this release."""
        for version in sorted(self.versions.values(), key=lambda one: one.position, reverse=True):
            if version.release == release:
                return version
        known = sorted({version.release for version in self.versions.values()})
        raise errors.NotFound(f"release {release} does not lie ready on this host; there are: {known}", release=release)

    def tell(self, report: Report) -> None:
        """Put a report into the queue to the server."""
        self.reports.append(report)
        del self.reports[:-REPORTS_MAX]


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Memory).decode


class Ledger:
    """The memory of the host whose root this is."""

    def __init__(self, root: Path, at: Callable[[str], None] = lambda step: None) -> None:
        self.root = root
        self._at = at
        self._path = root / "memory.json"
        self._fd: int | None = None

    def read(self) -> Memory:
        """As it is now, without a lock: one file, so it is whole."""
        try:
            raw = self._path.read_bytes()
        except FileNotFoundError:
            return Memory()
        except OSError as reason:
            raise errors.StorageError(f"{self._path} cannot be read: {reason}", path=str(self._path)) from reason
        try:
            memory = _decode(raw)
        except msgspec.DecodeError as reason:
            raise errors.FormatError(
                f"{self._path} is damaged ({reason}): move it away and start the agent; it fetches its version anew",
                path=str(self._path),
            ) from None
        if memory.format != FORMAT:
            raise errors.FormatError(f"{self._path} has the format {memory.format}, this agent reads {FORMAT}")
        return memory

    def write(self, memory: Memory) -> None:
        """Replace it; it is on disk when this returns.  Only under `alone`."""
        spare = self._path.with_suffix(".new")
        try:
            fd = os.open(spare, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                view = memoryview(_encode(memory))
                while view:
                    view = view[os.write(fd, view) :]
                os.fdatasync(fd)
            finally:
                os.close(fd)
            self._at("memory written beside")
            os.replace(spare, self._path)
            sync_directory(self.root)
        except OSError as reason:
            raise storage_error(self._path, reason) from reason

    @contextlib.contextmanager
    def alone(self, wait_s: float = LOCK_WAIT_S) -> Iterator[Memory]:
        """Nobody else changes this host meanwhile; inside, `write` what the yielded memory has become.

        Nested calls share the lock but not the memory.  Raises `Busy` when somebody else keeps it too long.
        """
        if self._fd is not None:
            yield self.read()
            return
        self._fd = self._lock("change.lock", wait_s)
        try:
            yield self.read()
        finally:
            os.close(self._fd)
            self._fd = None

    def _lock(self, name: str, wait_s: float) -> int:
        self.root.mkdir(mode=0o755, parents=True, exist_ok=True)
        fd = os.open(self.root / name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        end = clock.monotonic_ns() + int(wait_s * clock.SECOND_NS)
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return fd
            except BlockingIOError:
                if clock.monotonic_ns() > end:
                    os.close(fd)
                    raise errors.Busy(
                        f"somebody else has held {self.root / name} for {wait_s:g} s: a change of this host is"
                        " running, see `boxwork fleet agent status`",
                        path=str(self.root / name),
                    ) from None
                time.sleep(LOCK_LOOK_S)

    def claim(self) -> int:
        """Be the one agent of this root until the answered descriptor is closed.  Raises `Busy`."""
        return self._lock("agent.lock", 0.0)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def storage_error(path: Path, reason: OSError) -> errors.StorageError:
    """What the disk said, as an error of ours."""
    import errno

    full = reason.errno in (errno.ENOSPC, errno.EDQUOT)
    kind = errors.StorageFull if full else errors.StorageError
    remedy = ": make room, the agent tries again by itself" if full else ""
    return kind(f"{path}: {os.strerror(reason.errno or 0)}{remedy}", path=str(path))
