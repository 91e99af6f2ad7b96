"""The bytes that came over the network last: what is digested now is most likely decoded next."""

from __future__ import annotations

import threading
from collections import OrderedDict

from boxwork.settings import MiB

# Of one node; a thumbnail of a photo is made from bytes that were fetched once.  Unit: bytes.
RECENT_BYTES_MAX = 64 * MiB
# What a scan may have read and not told yet: what is told is prepared next, from bytes that should still be here.  The
# rest is for what is being prepared.  Unit: bytes.
AHEAD_BYTES_MAX = 40 * MiB
# A larger one would push out all others.  Unit: bytes.
ONE_BYTES_MAX = 16 * MiB


class Recent:
    """A few blobs by digest, the least recently used of which goes first.  Safe from many threads."""

    def __init__(self, bytes_max: int = RECENT_BYTES_MAX, one_bytes_max: int = ONE_BYTES_MAX) -> None:
        self.bytes_max = bytes_max
        self.one_bytes_max = min(one_bytes_max, bytes_max)
        self.bytes = 0
        self._kept: OrderedDict[bytes, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, digest: bytes, data: bytes) -> None:
        """Remember bytes whose digest was computed from them just now."""
        if len(data) > self.one_bytes_max:
            return
        with self._lock:
            if digest in self._kept:
                self._kept.move_to_end(digest)
                return
            self._kept[digest] = data
            self.bytes += len(data)
            while self.bytes > self.bytes_max:
                _, gone = self._kept.popitem(last=False)
                self.bytes -= len(gone)

    def find(self, digest: bytes) -> bytes | None:
        with self._lock:
            data = self._kept.get(digest)
            if data is not None:
                self._kept.move_to_end(digest)
            return data
