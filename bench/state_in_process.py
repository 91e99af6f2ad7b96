"""How many durable commits a second does one process make, beside LMDB and SQLite?

Durable means fdatasync before the answer, on all sides.  LMDB and SQLite run the same Python functions on their own
tables, a batch of calls in one transaction, as somebody would write it who has them together.  What the functions cost
on this machine by themselves, on a dict, stands beside it.  All sides run on one core, the same, with the collector of
cycles as `boxwork up` sets it; what we do where it is as Python has it stands in the row, too.

    python bench/state_in_process.py [--quick]
"""

from __future__ import annotations

import contextlib
import gc
import os
import sqlite3
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import lmdb
import msgspec

from bench._report import report
from bench._state import by_box, calls_of, directory, node, set_up, stopwatch
from boxwork.errors import Refused
from boxwork.serve.server import COLLECT_AFTER
from boxwork.state.order import encode_key
from boxwork.testing.workloads import Likes, SmallBank, TpccLite, Workload

QUICK = "--quick" in sys.argv
ROUNDS = 3 if QUICK else 5
BATCH = 4096
OF_PYTHON = gc.get_threshold()


class PeerTx:
    """The part of `tx` that the workloads use, on a table of bytes."""

    def __init__(self, get: Any, put: Any) -> None:
        self._get, self._put = get, put
        self._own: dict[Any, Any] = {}
        self._uid = 0

    def get(self, key: Any, default: Any = None) -> Any:
        if key in self._own:
            return self._own[key]
        raw = self._get(encode_key(key))
        return default if raw is None else msgspec.msgpack.decode(raw)

    def put(self, key: Any, value: Any) -> None:
        self._own[key] = value

    def add(self, key: Any, delta: int, **bounds: Any) -> None:
        self.put(key, self.get(key, 0) + delta)

    def refuse(self, reason: str, **details: Any) -> NoReturn:
        raise Refused(reason)

    def uid(self) -> str:
        self._uid += 1
        return f"{self._uid:032x}"

    def finish(self) -> None:
        for key, value in self._own.items():
            self._put(encode_key(key), msgspec.msgpack.encode(value))
        self._own.clear()

    def run(self, box: Any, row: Any) -> None:
        try:
            box.function(self, *row)
        except Refused:
            self._own.clear()
        else:
            self.finish()


class DictPeer:
    """The same functions on a dict: not durable, not isolated, the bare cost of running them on this machine."""

    def __init__(self, path: Path) -> None:
        self._facts: dict[Any, Any] = {}
        self._tx = FactsTx(self._facts)

    def run(self, calls: list[Any]) -> None:
        for box, row in calls:
            self._tx.run(box, row)

    def close(self) -> None:
        self._facts.clear()


class FactsTx(PeerTx):
    def __init__(self, facts: dict[Any, Any]) -> None:
        super().__init__(None, None)
        self._facts = facts
        self._own = {}

    def get(self, key: Any, default: Any = None) -> Any:
        own = self._own
        return own[key] if key in own else self._facts.get(key, default)

    def finish(self) -> None:
        self._facts.update(self._own)
        self._own.clear()


class LmdbPeer:
    def __init__(self, path: Path) -> None:
        self._environment = lmdb.open(str(path / "lmdb"), map_size=1 << 33)

    def run(self, calls: list[Any]) -> None:
        with self._environment.begin(write=True) as transaction:
            tx = PeerTx(transaction.get, transaction.put)
            for box, row in calls:
                tx.run(box, row)

    def close(self) -> None:
        self._environment.close()


class SqlitePeer:
    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path / "peer.sqlite", isolation_level=None)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        self._connection.execute("CREATE TABLE facts (key BLOB PRIMARY KEY, value BLOB) WITHOUT ROWID")

    def run(self, calls: list[Any]) -> None:
        execute = self._connection.execute

        def get(key: bytes) -> bytes | None:
            row = execute("SELECT value FROM facts WHERE key = ?", (key,)).fetchone()
            return None if row is None else row[0]

        execute("BEGIN IMMEDIATE")
        tx = PeerTx(get, lambda key, value: execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (key, value)))
        for box, row in calls:
            tx.run(box, row)
        execute("COMMIT")

    def close(self) -> None:
        self._connection.close()


def rate(workload: Workload, calls: list[Any]) -> float:
    with node(batch_rows=BATCH) as engine:
        set_up(engine, workload)
        together = by_box(calls)
        with stopwatch() as took:
            futures = [engine.submit_many(box, rows) for box, rows in together]
            for future in futures:
                future.result()
    return len(calls) / took[0]


@contextlib.contextmanager
def collector_of_python() -> Iterator[None]:
    gc.set_threshold(*OF_PYTHON)
    try:
        yield
    finally:
        gc.set_threshold(COLLECT_AFTER, *OF_PYTHON[1:])


def measure(workload: Workload, count: int) -> None:
    ours: list[float] = []
    by_default: list[float] = []
    peers: dict[str, list[float]] = {"LMDB": [], "SQLite FULL": [], "a dict, not durable": []}
    for number in range(ROUNDS):
        calls = calls_of(workload, count, seed=number)
        some = calls[: count // 4]  # the peers are slower, and their rate does not depend on the count
        ours.append(rate(workload, calls))
        with collector_of_python():
            by_default.append(rate(workload, calls))
        for name, kind in (("LMDB", LmdbPeer), ("SQLite FULL", SqlitePeer), ("a dict, not durable", DictPeer)):
            with directory() as path:
                peer = kind(path)
                peer.run(workload.setup())
                with stopwatch() as took:
                    for at in range(0, len(some), BATCH):
                        peer.run(some[at : at + BATCH])
                peers[name].append(len(some) / took[0])
                peer.close()
    for name, rates in peers.items():
        ratios = [mine / theirs for mine, theirs in zip(ours, rates, strict=True)]
        report(
            name=f"state.{workload.name}.many",
            value=statistics.median(ours),
            unit="commits/s",
            peer=name,
            peer_value=statistics.median(rates),
            batch=BATCH,
            collect_after=COLLECT_AFTER,
            value_by_default=round(statistics.median(by_default)),
            ratio_of_rounds=round(statistics.median(ratios), 2),
        )


def measure_single(workload: Workload, count: int) -> None:
    """One awaited commit after another: the price of a sync."""
    ours, peer_rates = [], []
    for number in range(ROUNDS):
        calls = calls_of(workload, count, seed=number)
        with node() as engine:
            set_up(engine, workload)
            with stopwatch() as took:
                for box, row in calls:
                    with contextlib.suppress(Refused):
                        engine.commit(box, *row)
            ours.append(count / took[0])
        with directory() as path:
            peer = SqlitePeer(path)
            peer.run(workload.setup())
            with stopwatch() as took:
                for call in calls:
                    peer.run([call])
            peer_rates.append(count / took[0])
            peer.close()
    report(
        name=f"state.{workload.name}.single",
        value=statistics.median(ours),
        unit="commits/s",
        peer="SQLite FULL",
        peer_value=statistics.median(peer_rates),
    )


if __name__ == "__main__":
    scale = 8 if QUICK else 1
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # threads that are started later stay on it too
    gc.set_threshold(COLLECT_AFTER, *OF_PYTHON[1:])
    measure(Likes(), 400_000 // scale)
    measure(SmallBank(), 200_000 // scale)
    measure(TpccLite(), 40_000 // scale)
    measure_single(SmallBank(), 600)
