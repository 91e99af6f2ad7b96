"""The facts in memory, and views of them at a version.

The live dict holds the facts at the newest durable version.  While a snapshot is open, every change keeps the
value it replaced, so that the snapshot goes on seeing its own version; with no snapshot open nothing is kept.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Protocol

from boxwork.errors import BadInput, InvariantBroken
from boxwork.keys import LOG_ROOT
from boxwork.state.order import Key, SortedKeys, bounds, check_key, encode_key
from boxwork.state.values import ABSENT, DELETED, Packed, unpack


class Base(Protocol):
    """What a transaction runs on: stored values by key, and the keys of a range in order."""

    def stored(self, key: Key) -> Any:
        """The stored value, or ABSENT."""
        ...

    def keys_between(self, prefix: Key, low: bytes, high: bytes) -> list[tuple[bytes, Key]]:
        """(form, key) of the facts under `prefix` with low <= form < high, in order.

        Some keys may have no fact any more: `stored` says so.
        """
        ...


class Facts:
    """All facts of a node.  Applied by one thread, read by many.

    Invariants: a value is in `_history` before it is replaced in `data`, so whoever reads `data` first and
    `_history` second sees a value of his own version or finds it kept.
    """

    def __init__(self) -> None:
        self.data: dict[Key, Any] = {}
        self.version = 0
        self.digest = LOG_ROOT  # of the entry that made this version
        self._lock = threading.RLock()
        self._history: dict[Key, list[tuple[int, Any]]] = {}  # key -> (version that replaced it, value before), …
        self._changes: deque[tuple[int, tuple[Key, ...]]] = deque()
        self._open: dict[int, int] = {}  # version -> how many snapshots are open on it
        self._tables: dict[Any, SortedKeys] = {}  # first part of a key -> its keys in order, once scanned

    def __len__(self) -> int:
        return len(self.data)

    def stored(self, key: Key) -> Any:
        return self.data.get(key, ABSENT)

    def apply(self, version: int, writes: Mapping[Key, Any], digest: bytes) -> None:
        """Make a write set visible as `version`."""
        with self._lock:
            if version != self.version + 1:
                raise InvariantBroken(f"version {version} was to be applied on {self.version}")
            data = self.data
            if self._open:
                history = self._history
                for key in writes:
                    history.setdefault(key, []).append((version, data.get(key, ABSENT)))
                self._changes.append((version, tuple(writes)))
            if self._tables:
                self._index(writes)
            # Deletions are few: one C loop writes everything, a second one takes out what is marked.
            if DELETED.__class__ in set(map(type, writes.values())):
                gone = [key for key, value in writes.items() if value is DELETED]
                for key, value in writes.items():
                    if value is not DELETED:
                        data[key] = value
                for key in gone:
                    data.pop(key, None)
            else:
                data.update(writes)
            self.version, self.digest = version, digest

    def _index(self, writes: Mapping[Key, Any]) -> None:
        for key, value in writes.items():
            table = self._tables.get(key[0])
            if table is None:
                continue
            if value is DELETED:
                table.discard(key)
            elif key not in self.data:
                table.add(key)

    def load(self, version: int, digest: bytes, rows: Iterable[tuple[Key, Any]]) -> None:
        """Start from a checkpoint."""
        with self._lock:
            self.data = dict(rows)
            self.version, self.digest = version, digest
            self._tables.clear()

    def track(self) -> None:
        """Make the dict of all facts known to the collector of cycles, for who freezes it before anybody else reads.

        Python's collector does not know a dict of nothing but numbers and texts until something else is put into it:
        then it would come back from among what is frozen, as young as a new one.
        """
        mark: tuple[str, list[Any]] = ("", [])
        self.data[mark[:1]] = mark
        del self.data[mark[:1]]

    def keys_between(self, prefix: Key, low: bytes, high: bytes) -> list[tuple[bytes, Key]]:
        with self._lock:
            if not prefix:
                rows = [(encode_key(key), key) for key in self.data]
                return sorted(row for row in rows if low <= row[0] < high)
            table = self._tables.get(prefix[0])
            if table is None:
                first = prefix[0]
                table = SortedKeys(key for key in self.data if key[0] == first and type(key[0]) is type(first))
                self._tables[first] = table
            return list(table.between(low, high))

    # --- versions

    @property
    def open_snapshots(self) -> int:
        return len(self._open)

    def snapshot(self) -> Snapshot:
        """A view of the facts as they are now; close it."""
        with self._lock:
            version = self.version
            self._open[version] = self._open.get(version, 0) + 1
            return Snapshot(self, version, self.digest)

    def release(self, version: int) -> None:
        with self._lock:
            left = self._open[version] - 1
            if left:
                self._open[version] = left
                return
            del self._open[version]
            self._trim()

    def _trim(self) -> None:
        if not self._open:
            self._history = {}  # a new dict: a reader that is just leaving keeps the old one
            self._changes.clear()
            return
        oldest = min(self._open)
        while self._changes and self._changes[0][0] <= oldest:
            version, keys = self._changes.popleft()
            for key in keys:
                chain = self._history[key]
                rest = [row for row in chain if row[0] > version]
                if rest:
                    self._history[key] = rest
                else:
                    del self._history[key]

    def stored_at(self, version: int, key: Key) -> Any:
        value = self.data.get(key, ABSENT)
        chain = self._history.get(key)
        if chain is not None:
            for replaced_by, before in chain:
                if replaced_by > version:
                    return before
        return value

    def changed_since(self, version: int, key: Key) -> int:
        """The newest version after `version` that changed `key`, or 0.  Only for versions with an open snapshot."""
        chain = self._history.get(key)
        if chain is not None and chain[-1][0] > version:
            return chain[-1][0]
        return 0

    def remembers(self, version: int) -> bool:
        """Is it still known what changed after `version`?

        Ask after `changed_since` said "nothing": what is known now was known then, for it is only ever forgotten.
        """
        with self._lock:
            return version >= self.version or any(held <= version for held in self._open)

    def prefix_changed_since(self, version: int, prefix: Key) -> tuple[int, Key] | None:
        """The newest change after `version` under `prefix`, as (version, key)."""
        size = len(prefix)
        with self._lock:
            for changed, keys in reversed(self._changes):
                if changed <= version:
                    return None
                for key in keys:
                    if key[:size] == prefix:
                        return changed, key
        return None

    def keys_between_at(self, version: int, prefix: Key, low: bytes, high: bytes) -> list[tuple[bytes, Key]]:
        with self._lock:
            rows = self.keys_between(prefix, low, high)
            size = len(prefix)
            gone = [(encode_key(key), key) for key in self._history if key[:size] == prefix and key not in self.data]
        if gone:
            rows = sorted(set(rows) | {row for row in gone if low <= row[0] < high})
        return rows

    def all_keys(self) -> list[Key]:
        with self._lock:
            return [*self.data, *(key for key in self._history if key not in self.data)]

    def numbers(self) -> dict[str, int]:
        return {
            "facts": len(self.data),
            "version": self.version,
            "snapshots_open": sum(self._open.values()),
            "values_kept": len(self._history),
        }


class Snapshot:
    """An immutable view at one version.  Reading it never waits and never makes anybody wait."""

    def __init__(self, facts: Facts, version: int, digest: bytes) -> None:
        self._facts = facts
        self.version = version
        self.digest = digest
        self._closed = False

    def stored(self, key: Key) -> Any:
        return self._facts.stored_at(self.version, key)

    def keys_between(self, prefix: Key, low: bytes, high: bytes) -> list[tuple[bytes, Key]]:
        return self._facts.keys_between_at(self.version, prefix, low, high)

    def get(self, key: Key, default: Any = None) -> Any:
        """The value under `key`, or `default`."""
        self._check()
        value = self.stored(key)
        if value is ABSENT:
            check_key(key)
            return default
        return unpack(value.payload) if value.__class__ is Packed else value

    def scan(
        self,
        prefix: Key = (),
        *,
        start: Key | None = None,
        end: Key | None = None,
        limit: int | None = None,
        reverse: bool = False,
    ) -> list[tuple[Key, Any]]:
        """The facts whose keys begin with `prefix`, in key order, from `start` to before `end`."""
        self._check()
        return scan(self, prefix, start, end, limit, reverse)

    def _check(self) -> None:
        if self._closed:
            raise BadInput(f"the snapshot of version {self.version} is closed: open one with read()")

    def close(self) -> None:
        """Let go of the version; twice is once."""
        if not self._closed:
            self._closed = True
            self._facts.release(self.version)

    def __enter__(self) -> Snapshot:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def scan(
    base: Base,
    prefix: Key,
    start: Key | None,
    end: Key | None,
    limit: int | None,
    reverse: bool,
    own: Mapping[Key, Any] | None = None,
    read: Callable[[Key], Any] | None = None,
) -> list[tuple[Key, Any]]:
    """A scan of `base` overlaid with `own` changes; `read` answers the stored value of a key."""
    if prefix.__class__ is not tuple:
        raise BadInput(f"scan({prefix!r}): a prefix is a tuple, for example ({prefix!r},)")
    if limit is not None and limit < 0:
        raise BadInput(f"scan(limit={limit}): a limit is 0 or more")
    low, high = bounds(prefix, start, end)
    rows = base.keys_between(prefix, low, high)
    if own:
        size = len(prefix)
        mine = {(encode_key(key), key) for key in own if key[:size] == prefix}
        rows = sorted(set(rows) | {row for row in mine if low <= row[0] < high})
    found: list[tuple[Key, Any]] = []
    stored = read or base.stored
    for _, key in reversed(rows) if reverse else rows:
        if limit is not None and len(found) >= limit:
            break
        value = stored(key)
        if value is ABSENT or value is DELETED:
            continue
        found.append((key, unpack(value.payload) if value.__class__ is Packed else value))
    return found
