"""A store that hashes everything it reads: a flipped bit is never served.

The name of a blob says whether its bytes are right only once the last one has been seen, so nothing is handed out
before all of it was hashed.  `get` hashes what it returns.  `open` reads up to `memory_bytes_max` into memory and
longer blobs into an unlinked file, and serves from that copy: the bytes served are the bytes that were hashed, even
if the place below changes under our hands, and a far place is read once.
"""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from boxwork.content.store import Store, as_file, corrupt, storage_error
from boxwork.keys import CHUNK_BYTES, Buffer, Ref, RefHasher, ref_of
from boxwork.settings import MiB

# Opened blobs up to this size are verified in memory.  Unit: bytes.  Reason: some hundred open at once fit in 1 GiB.
MEMORY_BYTES_MAX = 8 * MiB


class Verified:
    """`inner`, but what it reads is checked; wrong bytes raise `BlobCorrupt` before the first one is seen.

    `spool` is the directory of the copies of long blobs (default: the system's).  Closing closes `inner`.
    """

    def __init__(
        self, inner: Store, *, name: str = "store", spool: Path | None = None, memory_bytes_max: int = MEMORY_BYTES_MAX
    ) -> None:
        self.inner = inner
        self._name = name
        self._spool = spool
        self._memory_bytes_max = memory_bytes_max

    def put(self, data: Buffer, *, durable: bool = True) -> Ref:
        return self.inner.put(data, durable=durable)

    def put_stream(self, chunks: Iterable[Buffer], *, durable: bool = True, expect: Ref | None = None) -> Ref:
        return self.inner.put_stream(chunks, durable=durable, expect=expect)

    def get(self, ref: Ref) -> bytes:
        data = self.inner.get(ref)
        self._check(ref, ref_of(data), len(data))
        return data

    def open(self, ref: Ref) -> BinaryIO:
        with self.inner.open(ref) as source:
            head = source.read(self._memory_bytes_max + 1)
            if len(head) <= self._memory_bytes_max:
                self._check(ref, ref_of(head), len(head))
                return as_file(head)
            return self._copy(ref, head, source)

    def _copy(self, ref: Ref, head: bytes, source: BinaryIO) -> BinaryIO:
        hasher = RefHasher()
        try:
            with tempfile.TemporaryFile(dir=self._spool, prefix="put-verify-") as copy:
                for chunk in itertools.chain([head], iter(lambda: source.read(CHUNK_BYTES), b"")):
                    hasher.update(chunk)
                    copy.write(chunk)
                self._check(ref, hasher.ref(), hasher.size)
                copy.seek(0)
                return os.fdopen(os.dup(copy.fileno()), "rb")
        except OSError as reason:
            raise storage_error(self._spool or tempfile.gettempdir(), reason) from reason

    def size(self, ref: Ref) -> int:
        return self.inner.size(ref)

    def has(self, ref: Ref) -> bool:
        return self.inner.has(ref)

    def delete(self, ref: Ref) -> bool:
        return self.inner.delete(ref)

    def refs(self) -> Iterator[Ref]:
        return self.inner.refs()

    def close(self) -> None:
        self.inner.close()

    def _check(self, ref: Ref, found: Ref, size: int) -> None:
        if found != ref:
            raise corrupt(ref, self._name, f"its {size} bytes are {found}")
