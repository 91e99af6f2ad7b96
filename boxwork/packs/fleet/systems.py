"""Which blobs of a whole system a host may have, and how they are sent: thousands of them, which most hosts share."""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from boxwork import Ref, errors
from boxwork.packs.fleet import protocol
from boxwork.packs.fleet.bundle import Content
from boxwork.packs.fleet.roots import beside

# Names of all blobs of a root, in memory: of the present one and the one before, for a few kinds.
# Unit: roots; 9,000 names are 2 MiB.
ROOTS_KEPT = 8
# What was laid over a root, in memory: of each host the present and the next.  Unit: trees, of some dozens of names.
OWN_KEPT = 10_000


class Systems:
    """The systems that hosts are told to be.  Safe from several threads."""

    def __init__(self, work: Any) -> None:
        self.work = work
        self._lock = threading.Lock()
        self._roots: OrderedDict[str, frozenset[Ref]] = OrderedDict()
        self._own: OrderedDict[Ref, frozenset[Ref]] = OrderedDict()

    def holds(self, content: Content, ref: Ref) -> bool:
        """Is this blob in the system that a content is: in its root, or in what was laid over that."""
        root = content.root.tree if content.root is not None else ""
        system = self._roots.get(root)
        if system is None:
            system = frozenset(entry.ref for _, entry in self.work.tree(root).walk() if entry.ref is not None)
            self._remember(self._roots, root, system, ROOTS_KEPT)
        if ref in system:
            return True
        own = self._own.get(content.tree)
        if own is None:
            own = frozenset(one for one, _ in beside(self.work.tree(content.tree), self.work.tree(root)))
            self._remember(self._own, content.tree, own, OWN_KEPT)
        return ref in own

    def _remember(self, held: OrderedDict[Any, Any], name: Any, value: Any, most: int) -> None:
        with self._lock:
            held[name] = value
            while len(held) > most:
                held.popitem(last=False)

    def pack(self, content: Content, has: str) -> msgspec.Raw:
        """The small blobs that are not in the tree `has`.  A host that has nothing asks for lots."""
        lacking: dict[Ref, int] = {}
        if has:
            with contextlib.suppress(errors.BlobMissing):  # from another server
                lacking = dict(beside(self.work.tree(content.tree), self.work.tree(has)))
        return pack(lacking, self.work.content.get)


def pack(lacking: Mapping[Ref, int], get: Callable[[Ref], bytes]) -> msgspec.Raw:
    """The small ones of these blobs, as many as travel together.  A list of names has size 0 until it is read."""
    blobs: list[bytes] = []
    total = 0
    for ref in sorted(lacking):
        if lacking[ref] > protocol.PACK_BLOB_BYTES_MAX:
            continue
        data = get(ref)
        if len(data) <= protocol.PACK_BLOB_BYTES_MAX and total + len(data) <= protocol.PACK_BYTES_MAX:
            blobs.append(data)
            total += len(data)
    return msgspec.Raw(msgspec.msgpack.encode(blobs))


def lot(fleet: Any, host: str, refs: list[Ref]) -> bytes:
    """Those of these blobs that this host may have, as many as one answer takes; it names them by their hashes."""
    blobs: list[bytes] = []
    total = 0
    for ref in refs:
        with contextlib.suppress(errors.NotFound):
            data = fleet.blob(host, ref)
            total += len(data)
            if blobs and total > protocol.LOT_BYTES_MAX:
                break
            blobs.append(data)
    return msgspec.msgpack.encode(blobs)
