"""Those who are told: watchers of a prefix, and holders of old snapshots.

Changes are handed out after they are durable and before their committer is told, so nobody hears of a commit
before its watchers could have.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from boxwork.errors import Lagged
from boxwork.state.order import Key
from boxwork.state.values import DELETED, thaw

# Changes waiting for one watcher.  Unit: changes.  Reason: about 10 MB; whoever is further behind reads anew faster.
WAITING_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Change:
    """A fact changed at `version`.  `by` is the transaction, and who called it if he said so."""

    version: int
    key: Key
    value: Any
    deleted: bool
    by: str


@dataclass(frozen=True, slots=True)
class Conflict:
    """What you read at an older version has changed: `key`, now at `version`, by `by`."""

    version: int
    key: Key
    by: str


class Watch:
    """The changes under a prefix, in order.  Iterate over it, or give `heard` a callback; close it.

    Too far behind, it raises `Lagged` once and goes on with what is new.
    """

    def __init__(self, prefix: Key, waiting_max: int, close: Callable[[Watch], None]) -> None:
        self.prefix = prefix
        self.heard: Callable[[], None] | None = None  # called, from the log's thread, when something came
        self._waiting: deque[Change] = deque()
        self._waiting_max = waiting_max
        self._missed = 0
        self._closed = False
        self._changed = threading.Condition()
        self._close = close

    def offer(self, changes: list[Change]) -> None:
        with self._changed:
            self._waiting.extend(changes)
            over = len(self._waiting) - self._waiting_max
            if over > 0:
                self._missed += len(self._waiting)
                self._waiting.clear()
            self._changed.notify_all()
        if self.heard is not None:
            self.heard()

    def take(self) -> list[Change]:
        """What came since the last time, without waiting."""
        with self._changed:
            self._check()
            changes = list(self._waiting)
            self._waiting.clear()
            return changes

    def wait(self, timeout_s: float | None = None) -> list[Change]:
        """At least one change, or nothing after `timeout_s` or when it is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._missed or self._closed, timeout_s)
        return self.take()

    def _check(self) -> None:
        if self._missed:
            missed, self._missed = self._missed, 0
            raise Lagged(
                f"this watch of {self.prefix!r} was too slow and missed {missed} changes: read the facts again",
                missed=missed,
            )

    def __iter__(self) -> Iterator[Change]:
        while not self._closed or self._waiting:
            yield from self.wait()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._close(self)
        if self.heard is not None:
            self.heard()

    @property
    def closed(self) -> bool:
        return self._closed

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Audience:
    """Everybody who is to be told, and the telling."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watches: list[Watch] = []
        self._holders: dict[int, tuple[Callable[[], Any], Callable[[list[Conflict]], None]]] = {}

    def __bool__(self) -> bool:
        return bool(self._watches or self._holders)

    @property
    def watches(self) -> int:
        return len(self._watches)

    def watch(self, prefix: Key, waiting_max: int = WAITING_MAX) -> Watch:
        watch = Watch(prefix, waiting_max, self._leave)
        with self._lock:
            self._watches = [*self._watches, watch]
        return watch

    def _leave(self, watch: Watch) -> None:
        with self._lock:
            self._watches = [other for other in self._watches if other is not watch]

    def close(self) -> None:
        """Nothing more will come: whoever waits for a change waits no longer."""
        for watch in self._watches:
            watch.close()

    def hold(self, holder: object, reads: Callable[[], Any], tell: Callable[[list[Conflict]], None]) -> None:
        """Tell `holder` when a key of `reads()` changes."""
        with self._lock:
            self._holders = {**self._holders, id(holder): (reads, tell)}

    def let_go(self, holder: object) -> None:
        with self._lock:
            self._holders = {number: row for number, row in self._holders.items() if number != id(holder)}

    def publish(self, version: int, writes: Mapping[Key, Any], authors: Mapping[Key, str]) -> None:
        for reads, tell in self._holders.values():
            conflicts = [Conflict(version, key, authors.get(key, "somebody")) for key in reads() & writes.keys()]
            if conflicts:
                tell(conflicts)
        for watch in self._watches:
            size = len(watch.prefix)
            changes = [
                Change(version, key, None if value is DELETED else thaw(value), value is DELETED, authors.get(key, ""))
                for key, value in writes.items()
                if key[:size] == watch.prefix
            ]
            if changes:
                watch.offer(changes)
