"""Intervals in an LMDB environment of their own: the history of a node, under `data/pulse`.

    series  u32 id → JSON {name, unit, widths}
    rows    u32 id · u32 width ms · u64 start ns · u32 epoch → an interval
    tiles   the same key, of the first slot of a chunk → 3,600 slots sealed (`tile.py`)

All numbers are big endian, so that rows stand in order of time.  Nothing is synced: a power cut may take the last
seconds, `kill -9` nothing.  Sealing and expiry run in the spool's thread, some chunks at a time.
"""

from __future__ import annotations

import json
import struct
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from boxwork.clock import MILLISECOND_NS, SECOND_NS, Clock, SystemClock, monotonic_ns
from boxwork.database import Database, Edit, View
from boxwork.pulse.interval import DAY_NS, HOUR_NS, MINUTE_NS, Interval
from boxwork.pulse.series_name import SeriesName
from boxwork.pulse.sinks import tile
from boxwork.pulse.sinks.sink import Request, Row, SeriesInfo
from boxwork.pulse.sinks.spool import HistorySpool

TABLES = ("series", "rows", "tiles")
KEY = struct.Struct(">IIQI")
PREFIX = struct.Struct(">II")
ID = struct.Struct(">I")

# How long intervals up to a width are kept: a day to look at a second, a week for ten, a quarter for minutes, and
# hours for ten years (0.04 MB a series and day).  Unit: nanoseconds.
KEPT_NS = ((SECOND_NS, DAY_NS), (10 * SECOND_NS, 7 * DAY_NS), (MINUTE_NS, 90 * DAY_NS), (HOUR_NS, 3650 * DAY_NS))
# A chunk is sealed this long after its end, when late rows have come.  Unit: nanoseconds.
SEAL_AFTER_NS = 10 * MINUTE_NS
# Time for sealing in one go: a tenth of the time between two, or 30 busy chunks.  Unit: nanoseconds.
SEAL_NS_MAX = 3 * SECOND_NS
# What is too old is looked for this often, not each time.  Unit: nanoseconds.
EXPIRE_EVERY_NS = 10 * MINUTE_NS
# Keys deleted in one transaction.  Unit: keys.
EXPIRE_MAX = 20_000


class EmbeddedSink(HistorySpool):
    """The history in a directory; `write` never waits, `close` flushes."""

    def __init__(self, path: Path | str, *, clock: Clock | None = None) -> None:
        super().__init__(EmbeddedStore(Path(path), clock or SystemClock()))


class EmbeddedStore:
    """The tables, written by the spool's thread and read from any."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self.clock = clock
        self.database = Database(path, TABLES, durable=False)
        self._ids: dict[SeriesName, int] = {}
        self._infos: dict[int, SeriesInfo] = {}
        self._lock = threading.Lock()
        self._expired_ns = -(2**62)
        self._sealable_ns: dict[tuple[int, int], int] = {}
        with self.database.view() as view:
            self._learn(view)

    # --- series

    def _learn(self, view: View) -> None:
        """Take in the series that this process has not seen; another process may have made them."""
        with self._lock:
            for key, value in view.scan("series"):
                (number,) = ID.unpack(key)
                found = json.loads(value)
                info = SeriesInfo(SeriesName.parse(found["name"]), found["unit"], tuple(found["widths"]))
                self._ids[info.name], self._infos[number] = number, info

    def _registered(self, edit: Edit, infos: Iterable[SeriesInfo]) -> dict[SeriesName, int]:
        """The numbers of these series, after making those that do not exist in the transaction."""
        numbers: dict[SeriesName, int] = {}
        unknown: dict[SeriesName, SeriesInfo] = {}
        for info in infos:
            number = self._ids.get(info.name)
            if number is not None and set(info.widths) <= set(self._infos[number].widths):
                numbers[info.name] = number
            else:
                unknown[info.name] = info
        if unknown:
            self._learn(edit)
            free = max(self._infos, default=0) + 1
            for name, info in unknown.items():
                known = self._infos.get(self._ids.get(name, 0))
                if known is None:
                    numbers[name], free = free, free + 1
                else:
                    numbers[name] = self._ids[name]
                widths = sorted({*info.widths, *(known.widths if known is not None else ())})
                described = {"name": str(name), "unit": info.unit, "widths": widths}
                edit.put("series", ID.pack(numbers[name]), json.dumps(described, separators=(",", ":")).encode())
        return numbers

    def catalog(self) -> list[SeriesInfo]:
        with self.database.view() as view:
            self._learn(view)
        with self._lock:
            return list(self._infos.values())

    # --- rows

    def write(self, rows: Sequence[Row]) -> None:
        infos = {row.series.name: row.series for row in rows}

        def put(edit: Edit) -> None:
            numbers = self._registered(edit, infos.values())
            for row in rows:
                one = row.interval
                edit.put("rows", _key(numbers[row.series.name], one.width_ns, one.start_ns, one.epoch), row.blob)

        self.database.update(put)
        if any(name not in self._ids for name in infos):
            with self.database.view() as view:
                self._learn(view)

    def read(self, requests: Sequence[Request]) -> list[list[bytes]]:
        if any(request.series not in self._ids for request in requests):
            with self.database.view() as view:
                self._learn(view)
        with self.database.view() as view:
            return [self._read_one(view, request) for request in requests]

    def _read_one(self, view: View, request: Request) -> list[bytes]:
        number = self._ids.get(request.series)
        if number is None:
            return []
        width, low, high = request.width_ns, request.start_ns, request.end_ns
        prefix = PREFIX.pack(number, width // MILLISECOND_NS)
        slots: dict[tuple[int, int], bytes] = {}
        for start, _, packed in _scan(view, "tiles", prefix, low - low % (tile.SLOTS * width), high):
            if start < high:
                for interval in tile.unpack(packed, low, high):
                    slots[interval.start_ns, interval.epoch] = interval.to_bytes()
        for start, epoch, blob in _scan(view, "rows", prefix, low, high):
            slots[start, epoch] = blob
        return list(slots.values())

    # --- sealing and expiry

    def tidy(self) -> None:
        now = self.clock.now_ns()
        if abs(now - self._expired_ns) > EXPIRE_EVERY_NS:
            self._expired_ns = now
            self.expire(now)
        self.seal(now)

    def seal(self, now_ns: int) -> int:
        """Pack chunks that are over into tiles, as many as the time allows; answers with how many."""
        sealed = 0
        deadline = monotonic_ns() + SEAL_NS_MAX
        for number, info in list(self._infos.items()):
            for width in info.widths:
                while now_ns >= self._sealable_ns.get((number, width), 0) and monotonic_ns() < deadline:
                    if not self._seal_oldest(number, width, now_ns):
                        break
                    sealed += 1
        return sealed

    def _seal_oldest(self, number: int, width: int, now_ns: int) -> bool:
        chunk = tile.SLOTS * width
        if width >= HOUR_NS:
            return False
        prefix = PREFIX.pack(number, width // MILLISECOND_NS)
        with self.database.view() as view:
            oldest = next(view.scan("rows", prefix), None)
            if oldest is None:
                self._sealable_ns[number, width] = now_ns + SEAL_AFTER_NS
                return False
            first = KEY.unpack(oldest[0])[2]
            start = first - first % chunk
            if start + chunk + SEAL_AFTER_NS > now_ns:
                # Not before then; but a late row may come for an earlier chunk, so look again in a while.
                self._sealable_ns[number, width] = min(start + chunk, now_ns) + SEAL_AFTER_NS
                return False
            rows = [(epoch, blob) for _, epoch, blob in _scan(view, "rows", prefix, start, start + chunk)]
        by_epoch: dict[int, list[Interval]] = {}
        for epoch, blob in rows:
            by_epoch.setdefault(epoch, []).append(Interval.from_bytes(blob))
        self._replace(number, width, start, by_epoch)
        return True

    def _replace(self, number: int, width: int, start: int, by_epoch: dict[int, list[Interval]]) -> None:
        getter = self.database.getter("tiles")
        packed: dict[bytes, bytes] = {}
        for epoch, intervals in by_epoch.items():
            key = _key(number, width, start, epoch)
            earlier = getter(key)
            slots = {interval.start_ns: interval for interval in (tile.unpack(earlier) if earlier else ())}
            slots |= {interval.start_ns: interval for interval in intervals}
            if slots:
                packed[key] = tile.pack([slots[slot] for slot in sorted(slots)])

        def put(edit: Edit) -> None:
            for key, value in packed.items():
                edit.put("tiles", key, value)
            prefix = PREFIX.pack(number, width // MILLISECOND_NS)
            high = start + tile.SLOTS * width
            for key in [key for key, _ in _scan_keys(edit, "rows", prefix, start, high)]:
                edit.delete("rows", key)

        self.database.update(put)

    def expire(self, now_ns: int) -> int:
        """Delete what is older than its width is kept; answers with how many keys."""

        def delete(edit: Edit) -> int:
            deleted = 0
            for number, info in self._infos.items():
                for width in info.widths:
                    horizon = now_ns - kept_ns(width)
                    prefix = PREFIX.pack(number, width // MILLISECOND_NS)
                    for table, slot in (("rows", width), ("tiles", tile.SLOTS * width)):
                        old: list[bytes] = []
                        for key, _ in edit.scan(table, prefix):
                            if KEY.unpack(key)[2] + slot > horizon or deleted + len(old) >= EXPIRE_MAX:
                                break
                            old.append(key)
                        for key in old:
                            edit.delete(table, key)
                        deleted += len(old)
            return deleted

        return self.database.update(delete)

    def close(self) -> None:
        self.database.close()


def kept_ns(width_ns: int) -> int:
    """How long intervals of this width are kept."""
    for upto, kept in KEPT_NS:
        if width_ns <= upto:
            return kept
    return KEPT_NS[-1][1]


def _key(number: int, width_ns: int, start_ns: int, epoch: int) -> bytes:
    return KEY.pack(number, width_ns // MILLISECOND_NS, start_ns, epoch)


def _scan_keys(view: View, table: str, prefix: bytes, low: int, high: int) -> Iterator[tuple[bytes, Any]]:
    for key, value in view.scan(table, prefix, start=prefix + struct.pack(">Q", max(0, low))):
        if KEY.unpack(key)[2] >= high:
            return
        yield key, value


def _scan(view: View, table: str, prefix: bytes, low: int, high: int) -> Iterator[tuple[int, int, bytes]]:
    """Start, epoch and value of the rows in [low, high)."""
    for key, value in _scan_keys(view, table, prefix, low, high):
        _, _, start, epoch = KEY.unpack(key)
        yield start, epoch, value
