"""Who has lost too often reserves its keys: nobody else writes them until it has committed.

A request covers everything the transaction read *and* wrote (reserving only its reads lets two of them wait for
each other for ever), is granted all or nothing and in order of arrival: so whoever waits holds nothing, and there
is no deadlock.  A request for no keys in particular asks for all of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from boxwork.state.order import Key


class Reservations:
    def __init__(self) -> None:
        self._by_key: dict[Key, int] = {}
        self._granted: dict[int, frozenset[Key]] = {}
        self._waiting: deque[tuple[int, frozenset[Key]]] = deque()
        self._everything = 0  # the reservation that holds all keys, or 0
        self._next = 1

    def __bool__(self) -> bool:
        return bool(self._granted)

    def __len__(self) -> int:
        return len(self._granted) + len(self._waiting)

    def ask(self, keys: frozenset[Key]) -> int:
        """Queue a request; its number."""
        number = self._next
        self._next += 1
        self._waiting.append((number, keys))
        return number

    def grant(self) -> list[int]:
        """Grant what can be granted now, strictly in order."""
        granted = []
        while self._waiting:
            number, keys = self._waiting[0]
            if self._everything or (not keys and self._granted) or not self._by_key.keys().isdisjoint(keys):
                break
            self._waiting.popleft()
            self._granted[number] = keys
            self._by_key.update(dict.fromkeys(keys, number))
            if not keys:
                self._everything = number
            granted.append(number)
        return granted

    def release(self, number: int) -> None:
        """Give it back, granted or not; twice is once."""
        keys = self._granted.pop(number, None)
        if keys is None:
            self._waiting = deque(row for row in self._waiting if row[0] != number)
            return
        for key in keys:
            del self._by_key[key]
        if self._everything == number:
            self._everything = 0

    def forbids(self, keys: Iterable[Key], holder: int = 0) -> Key | None:
        """A key of `keys` that somebody other than `holder` has reserved."""
        if self._everything and self._everything != holder:
            return next(iter(keys), None)
        for key in keys:
            if self._by_key.get(key, holder) != holder:
                return key
        return None
