"""Handles: inputs that are larger than a value.  A `Blob` reads bytes when asked, a `File` lies on this machine.

A handle is a name with a way to read; its canonical form is the digest of what it names.
"""

from __future__ import annotations

import io
import os
import threading
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

from boxwork.clock import SECOND_NS, Clock, SystemClock
from boxwork.errors import BadInput, InputChanged
from boxwork.keys import Ref, ref_of, ref_of_file


class Readable(Protocol):
    """The part of a store that a blob reads from."""

    def get(self, ref: Ref) -> bytes: ...
    def open(self, ref: Ref) -> BinaryIO: ...
    def size(self, ref: Ref) -> int: ...


class Blob:
    """Bytes that are read when the box asks for them.  A parameter annotated `Blob` receives one."""

    __slots__ = ("_data", "_store", "ref")

    def __init__(self, ref: Ref, store: Readable | None = None, data: bytes | None = None) -> None:
        if store is None and data is None:
            raise BadInput(f"Blob({ref}): give the store it is read from, or use Blob.of(bytes)")
        self.ref = ref
        self._store = store
        self._data = data

    @classmethod
    def of(cls, data: bytes) -> Blob:
        """A blob over bytes in memory."""
        return cls(ref_of(data), data=data)

    @property
    def data(self) -> bytes | None:
        """The bytes, if this blob holds them itself."""
        return self._data

    @property
    def size(self) -> int:
        if self._data is not None:
            return len(self._data)
        assert self._store is not None  # one of the two is always there, see __init__
        return self._store.size(self.ref)

    def read(self) -> bytes:
        """All bytes.  Raises `BlobMissing`, `BlobCorrupt`."""
        if self._data is not None:
            return self._data
        assert self._store is not None
        return self._store.get(self.ref)

    def open(self) -> BinaryIO:
        """A seekable, readable file over the bytes; the caller closes it."""
        if self._data is not None:
            return io.BytesIO(self._data)
        assert self._store is not None
        return self._store.open(self.ref)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Blob) and other.ref == self.ref

    def __hash__(self) -> int:
        return hash(self.ref)

    def __repr__(self) -> str:
        return f"Blob({self.ref})"


class Later:
    """In place of the bytes of an input, on the way to a worker: it reads them itself."""

    __slots__ = ("ref",)

    def __init__(self, ref: Ref) -> None:
        self.ref = ref


class File:
    """A file on this machine as an input: its content and its name are part of the key, its directory is not.

    The name counts because decoders look at suffixes; the directory does not, so that a moved folder is still
    known.  What a box reads beside the file it was given must be given to it as well.
    """

    __slots__ = ("path",)

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def ref(self) -> Ref:
        """The name of the content as it is now; hashed again only when the file looks different."""
        return DIGESTS.ref(self.path)

    def read_bytes(self) -> bytes:
        return self.path.read_bytes()

    def open(self) -> BinaryIO:
        """The file, readable; the caller closes it."""
        return self.path.open("rb")

    def __repr__(self) -> str:
        return f"File({str(self.path)!r})"


class Stat(NamedTuple):
    """What the file system says about a file; any change of content changes it, once its clock has moved on."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    device: int

    @classmethod
    def of(cls, found: os.stat_result) -> Stat:
        return cls(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev)


# A file written again within one tick of its file system's clock looks unchanged, so a digest is only trusted when
# the file was this old at the time it was hashed.  Git's "racy clean" rule; the coarsest clock in use is FAT's, 2 s.
SETTLED_NS = 2 * SECOND_NS
# Digests remembered.  Unit: files; an entry takes some 400 bytes.  The oldest half goes when it is full.
DIGESTS_MAX = 100_000
# How often a file may change under the reader before we give up.  Unit: attempts; arbitrary.
READ_ATTEMPTS = 3


class FileDigests:
    """Names of files' contents, remembered by what `stat` says.  Safe from many threads."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: dict[str, tuple[Stat, Ref, bool]] = {}
        self._lock = threading.Lock()

    def ref(self, path: Path) -> Ref:
        """The name of the content.  Raises `BadInput` for no readable file, `InputChanged` if it will not stay."""
        name = os.fspath(path)
        try:
            stat = Stat.of(os.stat(name))
            known = self._known.get(name)
            if known is not None and known[0] == stat and known[2]:
                return known[1]
            return self._hash(name)
        except OSError as reason:
            raise BadInput(
                f"File({name!r}) cannot be read: {reason.strerror}; give the path of a readable file", path=name
            ) from reason

    def _hash(self, name: str) -> Ref:
        for _ in range(READ_ATTEMPTS):
            with open(name, "rb") as file:
                before = Stat.of(os.fstat(file.fileno()))
                ref = ref_of_file(file)
                now = self._clock.now_ns()
                if Stat.of(os.fstat(file.fileno())) == before:
                    settled = now - max(before.mtime_ns, before.ctime_ns) >= SETTLED_NS
                    self._remember(name, (before, ref, settled))
                    return ref
        raise InputChanged(
            f"{name} was written to while it was read, {READ_ATTEMPTS} times in a row: try again when it is complete",
            path=name,
        )

    def _remember(self, name: str, entry: tuple[Stat, Ref, bool]) -> None:
        with self._lock:
            if len(self._known) >= DIGESTS_MAX:
                for old in list(self._known)[: DIGESTS_MAX // 2]:
                    del self._known[old]
            self._known[name] = entry


DIGESTS = FileDigests(SystemClock())
