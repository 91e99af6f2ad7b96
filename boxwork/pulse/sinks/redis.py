"""Intervals in Redis or Valkey: the history that many processes and hosts share.

    pulse:series                                    HASH  `series@writer` → JSON {unit, widths}
    pulse:{series@writer}:runs                      HASH  epoch → `first hour, last hour` in nanoseconds
    pulse:{series@writer}:<width ms>:<chunk>:<epoch>  HASH  slot in the chunk → an interval

One blob for a series and interval, in a hash for each chunk of time: writing the same again changes nothing, so a
batch whose answer was lost is sent again; a whole chunk expires at once; a query asks for exactly its slots.  Every
run of a writer has keys of its own, so two of them never meet.

Outage: rows wait in the spool.  A server that comes back with another `run_id` may have lost what it had
acknowledged (no persistence, `everysec`, failover to a replica that lagged), so the last `replay_seconds` of
acknowledged rows are sent once more.
"""

from __future__ import annotations

import json
import os
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

from boxwork.clock import MILLISECOND_NS, SECOND_NS, Clock, SystemClock
from boxwork.errors import BadInput, StorageError
from boxwork.pulse.interval import DAY_NS, HOUR_NS, MINUTE_NS
from boxwork.pulse.series_name import SeriesName
from boxwork.pulse.sinks.sink import Request, Row, SeriesInfo
from boxwork.pulse.sinks.spool import HistorySpool
from boxwork.settings import MiB

# Up to a width: the length of a chunk and how long it is kept, both in nanoseconds.  600 slots of 450 bytes make a
# hash of 270 KB, small enough to expire and to migrate without a pause.  0: for ever.
CHUNKS = (
    (SECOND_NS, 10 * MINUTE_NS, DAY_NS),
    (10 * SECOND_NS, HOUR_NS, 7 * DAY_NS),
    (MINUTE_NS, DAY_NS, 90 * DAY_NS),
    (HOUR_NS, 30 * DAY_NS, 0),
)
# What is sent again to a server that restarted: longer than `appendfsync everysec` and a failover.  Unit: seconds.
REPLAY_SECONDS = 30.0
# … and never more than this.  Unit: bytes.
REPLAY_BYTES_MAX = 32 * MiB
# A server that does not answer within this is away.  Unit: seconds.
TIMEOUT_SECONDS = 2.0
# Names and runs are asked again after this: how late a new series of another host shows.  Unit: nanoseconds.
FRESH_NS = SECOND_NS // 2
# Reading more than this share of a chunk takes the whole hash in one answer instead of naming fields.
WHOLE_CHUNK = 0.5


class RedisSink(HistorySpool):
    """The history at a URL; `writer` names this process or host, the host's name by default."""

    def __init__(
        self,
        url: str,
        *,
        writer: str = "",
        prefix: str = "pulse",
        clock: Clock | None = None,
        replay_seconds: float = REPLAY_SECONDS,
    ) -> None:
        super().__init__(RedisStore(url, writer or os.uname().nodename, prefix, clock or SystemClock(), replay_seconds))


class RedisStore:
    """The layout, spoken by the spool's thread (writing) and any other (reading)."""

    def __init__(self, url: str, writer: str, prefix: str, clock: Clock, replay_seconds: float) -> None:
        if "@" in writer:
            raise BadInput(f"a writer's name has no '@': {writer!r}")
        self.writer = writer
        self.prefix = prefix
        self.clock = clock
        self.replayed = 0
        self._client = connect(url)
        self._replay_ns = round(replay_seconds * SECOND_NS)
        self._acknowledged: deque[tuple[int, Row]] = deque()
        self._acknowledged_bytes = 0
        self._run_id = b""
        self._registered: dict[SeriesName, SeriesInfo] = {}
        self._runs_written: dict[tuple[SeriesName, int], tuple[int, int]] = {}
        self._expiring: dict[str, int] = {}
        self._lock = threading.Lock()
        self._known: dict[SeriesName, tuple[SeriesInfo, tuple[str, ...]]] = {}
        self._known_at = -(2**62)
        self._parsed: dict[tuple[bytes, bytes], tuple[SeriesInfo, str]] = {}
        self._runs: dict[str, tuple[int, list[tuple[int, int, int]]]] = {}

    # --- writing

    def write(self, rows: Sequence[Row]) -> None:
        found = self._client.info("server")
        run_id = str(found.get("run_id") or found.get("server_id")).encode()
        if self._run_id and run_id != self._run_id:
            again = [row for _, row in self._acknowledged]
            self._forget_what_was_written()
            self._send(again)
            self.replayed += len(again)
        self._run_id = run_id
        self._send(rows)
        self._remember(rows)

    def _send(self, rows: Sequence[Row]) -> None:
        if not rows:
            return
        pipe = self._client.pipeline(transaction=False)
        registered: dict[SeriesName, SeriesInfo] = {}
        runs: dict[tuple[SeriesName, int], tuple[int, int]] = {}
        slots: dict[str, dict[bytes, bytes]] = {}
        expiring: dict[str, int] = {}
        for row in rows:
            interval, info = row.interval, row.series
            if self._registered.get(info.name) != info:
                registered[info.name] = info
            run = (info.name, interval.epoch)
            low = interval.start_ns - interval.start_ns % HOUR_NS
            high = interval.end_ns + -interval.end_ns % HOUR_NS
            known = runs.get(run) or self._runs_written.get(run)
            if known is None or low < known[0] or high > known[1]:
                runs[run] = (min(low, known[0]), max(high, known[1])) if known else (low, high)
            length, kept = chunking(interval.width_ns)
            chunk = interval.start_ns // length
            key = self._chunk_key(info.name, self.writer, interval.width_ns, chunk, interval.epoch)
            slot = b"%d" % (interval.start_ns % length // interval.width_ns)
            slots.setdefault(key, {})[slot] = row.blob
            if kept and key not in self._expiring:
                expiring[key] = (kept + length) // SECOND_NS
        for name, info in registered.items():
            described = json.dumps({"unit": info.unit, "widths": info.widths})
            pipe.hset(f"{self.prefix}:series", f"{name}@{self.writer}", described)
        for (name, epoch), (low, high) in runs.items():
            pipe.hset(f"{self.prefix}:{{{name}@{self.writer}}}:runs", str(epoch), f"{low} {high}")
        for key, fields in slots.items():
            pipe.hset(key, mapping=fields)
        for key, seconds in expiring.items():
            pipe.expire(key, seconds)
        pipe.execute()
        # Only now is it known that the server has it.
        self._registered |= registered
        self._runs_written |= runs
        self._expiring |= expiring
        if len(self._expiring) > 4 * (len(self._registered) + 1) * len(CHUNKS):  # chunks that are over
            self._expiring = dict(list(self._expiring.items())[len(self._expiring) // 2 :])

    def _remember(self, rows: Sequence[Row]) -> None:
        now = self.clock.monotonic_ns()
        for row in rows:
            self._acknowledged.append((now, row))
            self._acknowledged_bytes += len(row.blob)
        while self._acknowledged and (
            self._acknowledged[0][0] < now - self._replay_ns or self._acknowledged_bytes > REPLAY_BYTES_MAX
        ):
            self._acknowledged_bytes -= len(self._acknowledged.popleft()[1].blob)

    def _forget_what_was_written(self) -> None:
        self._registered, self._runs_written, self._expiring = {}, {}, {}

    def tidy(self) -> None:
        """Nothing: the server expires chunks by itself."""

    # --- reading

    def catalog(self) -> list[SeriesInfo]:
        return [info for info, _ in self._series().values()]

    def _series(self) -> dict[SeriesName, tuple[SeriesInfo, tuple[str, ...]]]:
        """Every series with its writers."""
        now = self.clock.monotonic_ns()
        with self._lock:
            if now - self._known_at < FRESH_NS:
                return self._known
        known: dict[SeriesName, tuple[SeriesInfo, tuple[str, ...]]] = {}
        for field, value in self._client.hgetall(f"{self.prefix}:series").items():
            info, writer = self._parsed.get((field, value)) or self._parse(field, value)
            other, writers = known.get(info.name, (info, ()))
            if other.widths != info.widths:
                info = SeriesInfo(info.name, info.unit, tuple(sorted({*info.widths, *other.widths})))
            known[info.name] = (info, (*writers, writer))
        with self._lock:
            self._known, self._known_at = known, now
        return known

    def _parse(self, field: bytes, value: bytes) -> tuple[SeriesInfo, str]:
        text, _, writer = field.decode().rpartition("@")
        found = json.loads(value)
        parsed = SeriesInfo(SeriesName.parse(text), found["unit"], tuple(found["widths"])), writer
        self._parsed[field, value] = parsed
        return parsed

    def read(self, requests: Sequence[Request]) -> list[list[bytes]]:
        known = self._series()
        asked = [(request, known[request.series][1]) for request in requests if request.series in known]
        runs = self._all_runs({f"{request.series}@{writer}" for request, writers in asked for writer in writers})
        pipe = self._client.pipeline(transaction=False)
        places: list[tuple[int, range | None]] = []
        for place, request in enumerate(requests):
            width, length = request.width_ns, chunking(request.width_ns)[0]
            for writer in known[request.series][1] if request.series in known else ():
                for epoch, low, high in runs.get(f"{request.series}@{writer}", ()):
                    first, end = max(low, request.start_ns), min(high, request.end_ns)
                    first -= first % width
                    for chunk in range(first // length, -(-end // length)) if first < end else ():
                        begin, stop = max(first, chunk * length), min(end, (chunk + 1) * length)
                        slots = range(begin % length // width, -(-(stop - chunk * length) // width))
                        key = self._chunk_key(request.series, writer, width, chunk, epoch)
                        if len(slots) > WHOLE_CHUNK * (length // width) and len(slots) > 32:
                            pipe.hgetall(key)
                            places.append((place, slots))
                        else:
                            pipe.hmget(key, [b"%d" % slot for slot in slots])
                            places.append((place, None))
        answers: list[list[bytes]] = [[] for _ in requests]
        if places:
            for (place, wanted), found in zip(places, pipe.execute(), strict=True):
                if wanted is None:
                    answers[place] += [blob for blob in found if blob is not None]
                else:
                    answers[place] += [blob for slot, blob in found.items() if int(slot) in wanted]
        return answers

    def _all_runs(self, owners: Iterable[str]) -> dict[str, list[tuple[int, int, int]]]:
        now = self.clock.monotonic_ns()
        runs: dict[str, list[tuple[int, int, int]]] = {}
        missing = []
        for owner in owners:
            cached = self._runs.get(owner)
            if cached is not None and now - cached[0] < FRESH_NS:
                runs[owner] = cached[1]
            else:
                missing.append(owner)
        if missing:
            pipe = self._client.pipeline(transaction=False)
            for owner in missing:
                pipe.hgetall(f"{self.prefix}:{{{owner}}}:runs")
            for owner, found in zip(missing, pipe.execute(), strict=True):
                parsed = [(int(epoch), *map(int, span.split())) for epoch, span in found.items()]
                runs[owner] = [(epoch, low, high) for epoch, low, high in parsed]
                self._runs[owner] = (now, runs[owner])
        return runs

    def _chunk_key(self, name: SeriesName, writer: str, width_ns: int, chunk: int, epoch: int) -> str:
        return f"{self.prefix}:{{{name}@{writer}}}:{width_ns // MILLISECOND_NS}:{chunk}:{epoch}"

    def close(self) -> None:
        self._client.close()


def chunking(width_ns: int) -> tuple[int, int]:
    """The length of a chunk of this width, and how long it is kept (0: for ever)."""
    for upto, length, kept in CHUNKS:
        if width_ns <= upto:
            return length, kept
    raise BadInput(f"an interval of {width_ns / SECOND_NS:g} s is longer than an hour")


def connect(url: str) -> Any:
    """A client that fails fast and leaves retrying to the spool; Valkey speaks the same protocol."""
    try:
        import redis
    except ImportError:
        raise StorageError(f"{url} needs a client: pip install 'boxwork[redis]'", url=url) from None
    scheme, separator, rest = url.partition("://")
    spoken = {"valkey": "redis", "valkeys": "rediss"}.get(scheme, scheme)
    # Without retries of its own: a library that waits would hold the spool and hide an outage.
    retry = redis.retry.Retry(redis.backoff.NoBackoff(), 0)
    return redis.Redis.from_url(
        spoken + separator + rest, socket_timeout=TIMEOUT_SECONDS, socket_connect_timeout=TIMEOUT_SECONDS, retry=retry
    )
