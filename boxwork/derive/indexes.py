"""The two small tables that lead people to explain records, written a moment behind the outputs.

`derive.producers` leads from an output's digest to the key it came from; `derive.recent` is a ring of the last
`RECENT_ROWS` keys of a box.  An output's row holds its explain record and is there at once; these tables only help to
find it, so they are written in groups: two more trees in each transaction would double the time of a cold call
(measured: 4 us a tree).  A killed process leaves its last quarter of a second unlisted, nothing unexplained.
"""

from __future__ import annotations

import threading

from boxwork.database import Database, Edit

PRODUCERS = "derive.producers"
RECENT = "derive.recent"

# Keys remembered per box for "the nearest earlier call".  Unit: rows; reading all of them takes 0.3 ms.
RECENT_ROWS = 64
# How long a row may wait.  Unit: seconds; nobody asks why faster than this.
DELAY_S = 0.25
# Rows of one transaction: it holds up other writers for some 0.1 ms.  Unit: rows.
GROUP_ROWS = 50
# Rows that may wait; who adds more writes them out himself.  Unit: rows; some 6 MB.
WAITING_MAX = 50_000


class Index:
    """The index tables of one environment."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: list[tuple[bytes, bytes, str, int]] = []
        self._writing = threading.Lock()
        self._starting = threading.Lock()  # another one, so that who stores never waits for who writes
        self._timer: threading.Timer | None = None

    def note(self, digest: bytes, key: bytes, box: str, time_ns: int) -> None:
        """An output was stored."""
        self._waiting.append((digest, key, box, time_ns))
        if self._timer is None:
            self._start()
        elif len(self._waiting) > WAITING_MAX:
            self.flush()

    def _start(self) -> None:
        with self._starting:
            if self._timer is None:
                self._timer = threading.Timer(DELAY_S, self._late)
                self._timer.daemon = True
                self._timer.start()

    def _late(self) -> None:
        self._timer = None  # from here on the next note starts another one
        self.flush()

    def flush(self) -> None:
        """Write what waits."""
        with self._writing:
            waiting, self._waiting = self._waiting, []
            if not waiting:
                return
            producers = sorted((digest, key) for digest, key, _, _ in waiting)
            for start in range(0, len(producers), GROUP_ROWS):
                group = producers[start : start + GROUP_ROWS]
                self._database.update(lambda edit, group=group: _put_all(edit, PRODUCERS, group))  # type: ignore[misc]
            rings: dict[str, list[bytes]] = {}
            for _, key, box, time_ns in waiting:
                rings.setdefault(box, []).append(ring_row(time_ns, key))
            self._database.update(lambda edit: _put_recent(edit, rings))

    def close(self) -> None:
        timer = self._timer
        if timer is not None:
            timer.cancel()
        self.flush()


def ring_key(box: str, place: int) -> bytes:
    return ring_prefix(box) + bytes([place])


def ring_prefix(box: str) -> bytes:
    """What the rows of a box's last runs begin with, one byte follows: LMDB's keys hold 511 bytes."""
    return box.encode("utf-8", "replace")[:400] + b"\0"


def ring_row(time_ns: int, key: bytes) -> bytes:
    return time_ns.to_bytes(8, "big") + key


def _put_all(edit: Edit, table: str, rows: list[tuple[bytes, bytes]]) -> None:
    for key, value in rows:
        edit.put(table, key, value)


def _put_recent(edit: Edit, rings: dict[str, list[bytes]]) -> None:
    """Add rows to the rings: free places first, then those of the oldest, whichever process wrote them."""
    for box, rows in rings.items():
        prefix = ring_prefix(box)
        held = {key[-1]: row[:8] for key, row in edit.scan(RECENT, prefix)}
        places = sorted(range(RECENT_ROWS), key=lambda place: held.get(place, b""))
        for place, row in zip(places, rows[-RECENT_ROWS:], strict=False):
            edit.put(RECENT, ring_key(box, place), row)
