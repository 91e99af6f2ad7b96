"""A disk in memory that keeps its promises and nothing more.

What was synced stays.  Of what was written and not synced, a crash keeps some sectors and not others.  It can be
full for a while, and it can crash in the middle of a sync.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from boxwork.errors import BlobMissing, CommitUnknown, StorageFull
from boxwork.keys import Buffer, Ref, ref_of

# What this disk writes whole.  Unit: bytes.  Reason: smaller than any real one, so that small entries are torn too.
SECTOR = 64


class Crashed(BaseException):
    """The machine went off.  Not an `Exception`: nothing may handle it."""


class SimulatedDisk:
    """Outlives the nodes that use it; `boxwork.state.logs.files.Files`."""

    def __init__(self, chance: random.Random) -> None:
        self._random = chance
        self._synced: dict[str, bytes] = {}
        self._written: dict[str, bytes] = {}  # as a reader sees it
        self.is_full = False
        self.on_write: Callable[[], None] = lambda: None  # may raise Crashed
        self.on_sync: Callable[[], None] = lambda: None  # may raise Crashed, or CommitUnknown

    def names(self) -> list[str]:
        return sorted(self._written)

    def read(self, name: str) -> bytes:
        try:
            return self._written[name]
        except KeyError:
            raise FileNotFoundError(name) from None

    def append(self, name: str, at: int, parts: Sequence[bytes], room: int = 0) -> None:
        if self.is_full:
            raise StorageFull("the simulated disk is full")
        if name not in self._written:
            self._synced[name] = self._written[name] = b""
        before, data = self._written[name], b"".join(parts)
        end = at + len(data)
        behind = before[end:] if end <= len(before) else bytes(room)
        self._written[name] = before[:at] + data + behind
        self.on_write()

    def sync(self, name: str) -> None:
        self.on_sync()
        self._synced[name] = self._written[name]

    def cut(self, name: str, size: int) -> None:
        self._written[name] = self._synced[name] = self._written[name][:size]

    def delete(self, name: str) -> None:
        self._written.pop(name, None)
        self._synced.pop(name, None)

    def replace(self, name: str, data: bytes) -> None:
        self._written[name] = self._synced[name] = data

    def close(self) -> None:
        pass

    def crash(self) -> None:
        """Power off: un-synced sectors are drawn, one by one."""
        for name, written in list(self._written.items()):
            synced = self._synced[name]
            if written == synced:
                continue
            kept = bytearray(synced)
            size = len(written) if self._random.random() < 0.5 else self._random.randint(len(synced), len(written))
            kept.extend(bytes(size - len(synced)))
            differs = (at for at, (old, new) in enumerate(zip(synced, written, strict=False)) if old != new)
            at = next(differs, len(synced))
            chance = self._random.choice((0.0, 0.5, 0.9, 1.0))
            while at < size:
                end = min((at // SECTOR + 1) * SECTOR, size)  # up to its end what was written before is the same
                if self._random.random() < chance:
                    kept[at:end] = written[at:end]
                at = end
            self._written[name] = self._synced[name] = bytes(kept)

    def flip(self, name: str, at: int, bit: int) -> None:
        """Turn one bit that was durable."""
        data = bytearray(self._written[name])
        data[at] ^= 1 << bit
        self._written[name] = self._synced[name] = bytes(data)

    def in_doubt(self) -> None:
        raise CommitUnknown("the simulated disk failed to sync")


class SimulatedStore:
    """Blobs that survive; as much of `Store` as checkpoints need."""

    def __init__(self) -> None:
        self._blobs: dict[Ref, bytes] = {}

    def put(self, data: Buffer, *, durable: bool = True) -> Ref:
        ref = ref_of(data)
        self._blobs[ref] = bytes(data)
        return ref

    def put_stream(self, chunks: Iterable[Buffer], *, durable: bool = True, expect: Ref | None = None) -> Ref:
        return self.put(b"".join(bytes(chunk) for chunk in chunks))

    def get(self, ref: Ref) -> bytes:
        try:
            return self._blobs[ref]
        except KeyError:
            raise BlobMissing(f"{ref} is not here", ref=str(ref)) from None

    def has(self, ref: Ref) -> bool:
        return ref in self._blobs

    def size(self, ref: Ref) -> int:
        return len(self.get(ref))

    def delete(self, ref: Ref) -> bool:
        return self._blobs.pop(ref, None) is not None

    def refs(self) -> Iterator[Ref]:
        return iter(list(self._blobs))

    def open(self, ref: Ref) -> Any:
        import io

        return io.BytesIO(self.get(ref))

    def close(self) -> None:
        pass
