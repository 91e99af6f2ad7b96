"""The pictures in the order in which they are shown, by position: what a virtual list asks for.

The inventory answers by cursor; a person drags the scroll bar to the middle of 100,000.  So the list is held here
as one immutable tuple, read again when the inventory says it has changed.
"""

from __future__ import annotations

import base64
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

# Items asked of the inventory at a time while reading it.  Unit: items.
PAGE_ITEMS = 1000
# Searches whose result is kept: a person types a word letter by letter.  Unit: searches.
SEARCHES_MAX = 16
# While a folder is taken in, the inventory changes many times a second.  It is read again for at most a fifth of the
# time.  Unit: times the duration of one reading.
REREAD_TIMES = 4
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".tif", ".tiff", ".bmp", ".heic", ".heif", ".avif")


@dataclass(frozen=True, slots=True)
class Shot:
    """One picture of the inventory: the ref of its bytes, its path as people know it, and that path for searching."""

    ref: str
    path: str
    folded: str

    @property
    def name(self) -> str:
        return self.path.rsplit("/", 1)[-1]


class Album:
    """All shots, and those a search finds.  Safe from many threads."""

    def __init__(self, work: Any) -> None:
        self.work = work
        self.shots: tuple[Shot, ...] = ()
        self.faults: tuple[tuple[str, str], ...] = ()  # (path, reason) of the files that cannot be shown
        self.faulty: frozenset[str] = frozenset()  # refs of those of them that can be read
        self.version = 0
        self._read_version = -1
        self._again_ns = 0
        self._found: OrderedDict[str, tuple[Shot, ...]] = OrderedDict()
        self._lock = threading.Lock()

    def refresh(self) -> None:
        """Read the inventory again if it has changed, unless that was done just now."""
        with self._lock:
            version = self.work.inventory.version()
            began = self.work.clock.monotonic_ns()
            if version == self._read_version or began < self._again_ns:
                return
            faults: list[tuple[str, str, str]] = []
            shots = tuple(self._read(faults))
            self.faults = tuple((path, reason) for path, reason, _ in faults)
            self.faulty = frozenset(ref for _, _, ref in faults if ref)
            ended = self.work.clock.monotonic_ns()
            self._read_version = version
            self._again_ns = ended + REREAD_TIMES * (ended - began)
            if shots != self.shots or self.version == 0:
                self.shots = shots
                self.version += 1
                self._found.clear()

    def _read(self, faults: list[tuple[str, str, str]]) -> Iterator[Shot]:
        cursor = ""
        while True:
            page = self.work.inventory.items(after=cursor, limit=PAGE_ITEMS)
            for item in page.items:
                if item.reason:
                    faults.append((item.name, item.reason, item.ref or ""))
                if item.ref is not None and item.path.lower().endswith(SUFFIXES):
                    yield Shot(item.ref, item.name, item.name.casefold())
            if not page.next:
                return
            cursor = page.next

    def find(self, words: str) -> tuple[Shot, ...]:
        """The shots in whose path every word occurs."""
        wanted = words.casefold().split()
        if not wanted:
            return self.shots
        key = " ".join(wanted)
        with self._lock:
            found = self._found.get(key)
            if found is None:
                # each letter typed narrows the search before it
                pool = next((self._found[k] for k in reversed(self._found) if key.startswith(k)), self.shots)
                found = tuple(shot for shot in pool if all(word in shot.folded for word in wanted))
                self._found[key] = found
                if len(self._found) > SEARCHES_MAX:
                    self._found.popitem(last=False)
            return found


def packed(colours: bytes) -> str:
    return base64.b64encode(colours).decode("ascii")
