"""Who is in a room: people are counted, not connections, and one who was cut off counts a little longer."""

from __future__ import annotations


class Presence:
    """`ttl_ns`: a person without a connection counts for so long."""

    def __init__(self, ttl_ns: int) -> None:
        self.ttl_ns = ttl_ns
        self._connected: dict[str, int] = {}
        self._left: dict[str, int] = {}  # in the order of leaving -> when they left

    def arrive(self, person: str) -> None:
        self._connected[person] = self._connected.get(person, 0) + 1
        self._left.pop(person, None)

    def leave(self, person: str, now_ns: int) -> None:
        left = self._connected.get(person, 0) - 1
        if left > 0:
            self._connected[person] = left
        elif self._connected.pop(person, None) is not None:
            self._left[person] = now_ns

    def count(self, now_ns: int) -> int:
        """The people in the room."""
        while self._left:
            person = next(iter(self._left))
            if now_ns - self._left[person] < self.ttl_ns:
                break
            del self._left[person]
        return len(self._connected) + len(self._left)

    @property
    def connected(self) -> bool:
        """Is anybody connected?"""
        return bool(self._connected)

    def next_ns(self) -> int | None:
        """When the count may fall by itself; None: it will not."""
        return next(iter(self._left.values())) + self.ttl_ns if self._left else None
