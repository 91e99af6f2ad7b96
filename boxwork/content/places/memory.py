"""A place in memory: for tests, and as the near side of a cache."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import BinaryIO

from boxwork.content.store import as_file, missing, no_room, unexpected
from boxwork.keys import Buffer, Ref, RefHasher, ref_of


class MemoryPlace:
    """A dict of bytes.  With `bytes_max` it refuses what does not fit (`StorageFull`); it never forgets by itself.

    One operation on a dict is atomic, and the bytes counted may be off by the puts under way: a bound, not an account.
    """

    def __init__(self, bytes_max: int | None = None) -> None:
        self._blobs: dict[str, bytes] = {}
        self._bytes = 0
        self._bytes_max = bytes_max

    def put(self, data: Buffer, *, durable: bool = True) -> Ref:
        ref = ref_of(data)
        self._keep(ref, bytes(data))
        return ref

    def put_stream(self, chunks: Iterable[Buffer], *, durable: bool = True, expect: Ref | None = None) -> Ref:
        hasher, parts = RefHasher(), []
        for chunk in chunks:
            hasher.update(chunk)
            parts.append(bytes(chunk))
            if self._bytes_max is not None and hasher.size > self._bytes_max:
                raise no_room("memory", hasher.size)
        ref = hasher.ref()
        if expect is not None and ref != expect:
            raise unexpected(ref, expect)
        self._keep(ref, b"".join(parts))
        return ref

    def get(self, ref: Ref) -> bytes:
        data = self._blobs.get(ref)
        if data is None:
            raise missing(ref)
        return data

    def open(self, ref: Ref) -> BinaryIO:
        return as_file(self.get(ref))

    def size(self, ref: Ref) -> int:
        return len(self.get(ref))

    def has(self, ref: Ref) -> bool:
        return Ref.parse(str(ref)) in self._blobs

    def delete(self, ref: Ref) -> bool:
        data = self._blobs.pop(ref, None)
        if data is None:
            return False
        self._bytes -= len(data)
        return True

    def refs(self) -> Iterator[Ref]:
        return (Ref(text) for text in list(self._blobs))

    def close(self) -> None:
        """Nothing is held open; the bytes stay until the place itself is dropped."""

    def _keep(self, ref: Ref, data: bytes) -> None:
        if ref in self._blobs:
            return
        if self._bytes_max is not None and self._bytes + len(data) > self._bytes_max:
            raise no_room("memory", self._bytes + len(data))
        self._blobs[ref] = data
        self._bytes += len(data)
