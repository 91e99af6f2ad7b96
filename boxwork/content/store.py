"""What it means to hold bytes: the protocol of every place and every wrapper.

A *place* holds bytes (memory, a disk, a bucket, files where they lie); a *wrapper* is a store made of stores.
All of them pass one exported contract, `boxwork.testing.stores.StoreContract`.
"""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

from boxwork.errors import BlobCorrupt, BlobMissing, StorageError, StorageFull, StorageReadOnly
from boxwork.keys import Buffer, Ref


class Store(Protocol):
    """Bytes that never change, named by their hash.  Safe from many threads.

    The caller owns what it opens and closes it; `close()` on the store is for whoever made the store.  Nothing
    here is an error that need not be: putting what is there already is not, deleting what is not there is not.
    """

    def put(self, data: Buffer, *, durable: bool = True) -> Ref:
        """Keep `data`; when this returns it is readable by everyone, and, if `durable`, on disk.

        Raises `StorageFull`, `StorageReadOnly`, `StorageError`; then nothing is visible under the name.
        """
        ...

    def put_stream(self, chunks: Iterable[Buffer], *, durable: bool = True, expect: Ref | None = None) -> Ref:
        """Keep what the chunks add up to, in bounded memory.

        With `expect`, bytes of another name are refused with `BlobCorrupt` and nothing is kept.  An exception of
        the iterable passes through and nothing is kept.
        """
        ...

    def get(self, ref: Ref) -> bytes:
        """All bytes.  Raises `BlobMissing`, or `BlobCorrupt` where this store verifies."""
        ...

    def open(self, ref: Ref) -> BinaryIO:
        """A seekable, readable, binary file over the bytes.  Raises `BlobMissing`.

        It stays readable after the blob was deleted.
        """
        ...

    def size(self, ref: Ref) -> int:
        """How many bytes.  Raises `BlobMissing`."""
        ...

    def has(self, ref: Ref) -> bool:
        """Is it here.  May be a moment old by the time the caller looks at it."""
        ...

    def delete(self, ref: Ref) -> bool:
        """Forget the bytes; False if they were not here."""
        ...

    def refs(self) -> Iterator[Ref]:
        """Every name, in no promised order; what comes or goes meanwhile may be in it or not."""
        ...

    def close(self) -> None:
        """Release what the store holds open; twice is once."""
        ...


def as_file(data: bytes) -> BinaryIO:
    """Bytes in memory as a file that, like every file a store opens, cannot be written to."""
    return io.BufferedReader(io.BytesIO(data))


def make_private(directory: Path) -> None:
    """Make a directory, and those above it that are missing, for this user alone."""
    try:
        for parent in (*reversed(directory.parents), directory):
            if not parent.exists():
                parent.mkdir(mode=0o700, exist_ok=True)
        os.listdir(directory)
    except OSError as reason:
        raise storage_error(directory, reason) from reason


# --- the errors every store words alike -----------------------------------------------------------------------

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
NOT_WRITABLE = {errno.EROFS, errno.EACCES, errno.EPERM}


def missing(ref: str) -> BlobMissing:
    """No such blob; a text that is no ref at all raises `BadRef` here."""
    ref = Ref.parse(str(ref))
    return BlobMissing(f"{ref} is not here: put it, or add the place that holds it", ref=str(ref))


def corrupt(ref: str, place: str, what: str) -> BlobCorrupt:
    return BlobCorrupt(
        f"{place} holds other bytes under {ref}: {what}; run `boxwork doctor` to repair it from a second place",
        ref=str(ref),
        place=place,
    )


def unexpected(found: Ref, expect: Ref) -> BlobCorrupt:
    return BlobCorrupt(f"the stream is {found}, not {expect}: send it again", ref=str(expect), found=str(found))


def no_room(place: str, size: int) -> StorageFull:
    return StorageFull(f"{place} has no room for {size} bytes: free some, or run `boxwork gc`", place=place, size=size)


def storage_error(path: str | os.PathLike[str], reason: OSError) -> StorageError:
    """What the operating system said, as an error of ours: full, not writable, or something else."""
    where = os.fspath(path)
    said = reason.strerror or str(reason)
    if reason.errno in FULL:
        return StorageFull(f"no space for {where} ({said}): free some, or run `boxwork gc`", path=where)
    if reason.errno in NOT_WRITABLE:
        return StorageReadOnly(f"{where} may not be written ({said}): check its owner and mode", path=where)
    return StorageError(f"{where}: {said}", path=where)


def unreadable(path: str | os.PathLike[str], reason: OSError) -> StorageError:
    where = os.fspath(path)
    said = reason.strerror or str(reason)
    return StorageError(f"{where} cannot be read ({said}): check owner and mode, or run `boxwork doctor`", path=where)
