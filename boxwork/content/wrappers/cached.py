"""A near store in front of a far one: reads fill the near one, writes go to both, the far one is the truth.

The near store may fail, be full, or hold damaged bytes (put `Verified` around it to notice): that costs a trip to
the far one, never the answer.  What near holds and far has lost is still served.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from boxwork.content.store import Store
from boxwork.errors import BlobCorrupt, BlobMissing, StorageError
from boxwork.keys import CHUNK_BYTES, Buffer, Ref
from boxwork.settings import MiB

# Blobs up to this size are copied to the near store when they are opened.  Unit: bytes.
# Reason: opening reads a part, often; copying a film for its first second helps nobody.
FILL_BYTES_MAX = 64 * MiB

NEAR_FAILS = (BlobMissing, BlobCorrupt, StorageError)


class Cached:
    """`near` in front of `far`; closing closes both."""

    def __init__(self, near: Store, far: Store, *, fill_bytes_max: int = FILL_BYTES_MAX) -> None:
        self.near = near
        self.far = far
        self._fill_bytes_max = fill_bytes_max

    def put(self, data: Buffer, *, durable: bool = True) -> Ref:
        ref = self.far.put(data, durable=durable)
        self._fill(data)
        return ref

    def put_stream(self, chunks: Iterable[Buffer], *, durable: bool = True, expect: Ref | None = None) -> Ref:
        """The near store is filled by the first read: a stream passes once."""
        return self.far.put_stream(chunks, durable=durable, expect=expect)

    def get(self, ref: Ref) -> bytes:
        try:
            return self.near.get(ref)
        except NEAR_FAILS as failure:
            self._drop_damaged(ref, failure)
        data = self.far.get(ref)
        self._fill(data)
        return data

    def open(self, ref: Ref) -> BinaryIO:
        try:
            return self.near.open(ref)
        except NEAR_FAILS as failure:
            self._drop_damaged(ref, failure)
        if self.far.size(ref) > self._fill_bytes_max:
            return self.far.open(ref)
        try:
            with self.far.open(ref) as file:
                self.near.put_stream(iter(lambda: file.read(CHUNK_BYTES), b""), durable=False, expect=ref)
            return self.near.open(ref)
        except NEAR_FAILS:
            return self.far.open(ref)

    def size(self, ref: Ref) -> int:
        try:
            return self.near.size(ref)
        except NEAR_FAILS:
            return self.far.size(ref)

    def has(self, ref: Ref) -> bool:
        try:
            if self.near.has(ref):
                return True
        except StorageError:
            pass
        return self.far.has(ref)

    def delete(self, ref: Ref) -> bool:
        """Far first: if that fails the blob is still whole, and the caller knows."""
        far = self.far.delete(ref)
        return self.near.delete(ref) or far

    def refs(self) -> Iterator[Ref]:
        """What is far, then what is only near."""
        return itertools.chain(self.far.refs(), (ref for ref in self.near.refs() if not self.far.has(ref)))

    def close(self) -> None:
        self.near.close()
        self.far.close()

    def _fill(self, data: Buffer) -> None:
        with contextlib.suppress(StorageError):  # full or broken: the next read goes far again
            self.near.put(data, durable=False)

    def _drop_damaged(self, ref: Ref, failure: Exception) -> None:
        if isinstance(failure, BlobCorrupt):
            with contextlib.suppress(StorageError):
                self.near.delete(ref)
