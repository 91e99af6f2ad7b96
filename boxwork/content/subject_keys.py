"""One key per subject, each in a file of its own, so that forgetting a person is forgetting a file.

`keys/<subject_name>` holds three lines: `boxwork-key 1`, the key's id (16 bytes, hexadecimal) and the key (64 bytes,
hexadecimal, AES-256-SIV).  The name is a digest and does not give the subject away; the key is not wrapped by
another one: the directory's mode (0700) and the disk's encryption protect it.

`keys/ERASED` lists the ids of forgotten keys, one line each: id, subject name, time.  It only grows, and it is
what makes an erasure outlive a restored backup: whoever opens the directory destroys every key that it lists.

Overwriting reaches the old bytes on file systems that write in place (ext4, XFS); on others (btrfs, ZFS) and on
flash memory a copy may survive below the file system, which is why full-disk encryption belongs underneath.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from boxwork.clock import Clock
from boxwork.content.store import storage_error
from boxwork.content.syncing import sync_directory
from boxwork.errors import FormatError
from boxwork.keys import subject_name

ERASED = "ERASED"
ID_BYTES = 16
KEY_BYTES = 64  # AES-256-SIV takes two keys of 256 bits (RFC 5297)

_FILE = re.compile(rb"boxwork-key 1\n([0-9a-f]{32})\n([0-9a-f]{128})\n")
_LINE = re.compile(r"([0-9a-f]{32}) ([0-9a-f]{64}) (-?\d+)")


@dataclass(frozen=True, slots=True)
class SubjectKey:
    """A subject's key.  The id is not secret: it stands in what the key has sealed."""

    id: bytes
    key: bytes

    def __repr__(self) -> str:
        return f"SubjectKey(id={self.id.hex()})"


@dataclass(frozen=True, slots=True)
class Erasure:
    """A key was forgotten: which, whose (as a digest), and when."""

    key_id: bytes
    subject: bytes
    at_ns: int


class SubjectKeys:
    """The keys of one data directory.  Nothing is kept in memory, so a key that is gone is gone at once."""

    def __init__(self, directory: Path, clock: Clock) -> None:
        self.directory = directory
        self._clock = clock

    def find(self, subject: bytes) -> SubjectKey | None:
        """The subject's key (`subject` is the 32-byte digest), None if there is none."""
        path = self.directory / subject.hex()
        try:
            raw = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as reason:
            raise storage_error(path, reason) from reason
        match = _FILE.fullmatch(raw)
        if match is None:
            raise FormatError(f"{path} is no key file, or is damaged: restore it from a backup", path=str(path))
        return SubjectKey(bytes.fromhex(match[1].decode()), bytes.fromhex(match[2].decode()))

    def make(self, subject: bytes) -> SubjectKey:
        """The subject's key; a new one if there is none.  On disk before it is used, and only one wins."""
        known = self.find(subject)
        if known is not None:
            return known
        key = SubjectKey(bytes.fromhex(self._clock.token(ID_BYTES)), bytes.fromhex(self._clock.token(KEY_BYTES)))
        path = self.directory / subject.hex()
        spare = self.directory / f".{subject.hex()}.{key.id.hex()}"
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write(spare, b"boxwork-key 1\n%b\n%b\n" % (key.id.hex().encode(), key.key.hex().encode()), os.O_EXCL)
            try:
                os.link(spare, path)
            except FileExistsError:  # somebody was faster: that key is the one
                return self.make(subject)
            finally:
                os.unlink(spare)
            sync_directory(self.directory)
        except OSError as reason:
            raise storage_error(path, reason) from reason
        return key

    def destroy(self, subject: bytes, key_id: bytes) -> bool:
        """Overwrite and unlink the subject's key if it has this id; was it there.  The disk has it on return."""
        known = self.find(subject)
        if known is None or known.id != key_id:
            return False
        path = self.directory / subject.hex()
        try:
            size = path.stat().st_size
            _write(path, bytes(size))
            path.unlink()
            sync_directory(self.directory)
        except OSError as reason:
            raise storage_error(path, reason) from reason
        return True

    # --- the list of what was forgotten

    def erasures(self) -> Iterator[Erasure]:
        return read_erasures(self.directory / ERASED)

    def note_erasure(self, erasure: Erasure) -> None:
        """Add a line to the list; on disk on return."""
        append_erasures(self.directory / ERASED, [erasure])

    def reapply(self) -> int:
        """Destroy every key that the list names, as after a restore; how many were still there."""
        return sum(self.destroy(erasure.subject, erasure.key_id) for erasure in self.erasures())


def subject_digest(space: str, subject: str) -> bytes:
    return bytes.fromhex(subject_name(space, subject))


def read_erasures(path: Path) -> Iterator[Erasure]:
    """The lines of a list of erasures; none if there is no such file.  A torn last line was never acknowledged."""
    try:
        text = path.read_text("ascii")
    except FileNotFoundError:
        return
    except OSError as reason:
        raise storage_error(path, reason) from reason
    for line in text.splitlines():
        match = _LINE.fullmatch(line)
        if match is not None:
            yield Erasure(bytes.fromhex(match[1]), bytes.fromhex(match[2]), int(match[3]))


def append_erasures(path: Path, erasures: list[Erasure]) -> None:
    """Add what the list does not have yet."""
    known = {erasure.key_id for erasure in read_erasures(path)}
    # The line feed in front closes a line that a crash tore.
    lines = "".join(
        f"\n{erasure.key_id.hex()} {erasure.subject.hex()} {erasure.at_ns}\n"
        for erasure in erasures
        if erasure.key_id not in known
    )
    if lines:
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write(path, lines.encode(), os.O_APPEND)
            sync_directory(path.parent)
        except OSError as reason:
            raise storage_error(path, reason) from reason


def _write(path: Path, data: bytes, flags: int = 0) -> None:
    create = os.O_CREAT if flags else 0
    fd = os.open(path, os.O_WRONLY | create | os.O_CLOEXEC | os.O_NOFOLLOW | flags, 0o600)
    try:
        while data:
            data = data[os.write(fd, data) :]
        os.fsync(fd)
    finally:
        os.close(fd)
