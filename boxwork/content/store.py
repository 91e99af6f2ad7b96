"""What it means to hold bytes: the protocol of every place and every wrapper.

A *place* holds bytes (memory, a disk, a bucket, files where they lie); a *wrapper* is a store made of stores.
All of them pass one exported contract, `boxwork.testing.store_contract`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import BinaryIO, Protocol

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
