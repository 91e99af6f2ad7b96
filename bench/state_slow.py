"""What do ordering and merges bring to the snapshot lane when functions are slow?

64 callers, functions of 0.5 to 20 ms, 1,000 keys with zipf 0.99; beside it our own two-phase locking, optimistic
validation and Aria's rule.  Mixed: 40 % read four keys, 30 % count up four, 30 % read four and write one.  Hot: all
read and write one of ten keys.

    python bench/state_slow.py [--quick]
"""

from __future__ import annotations

import random
import sys
import threading
import time
from typing import Any

from bench._report import quantile, report
from bench._state import node
from boxwork.errors import TransactionAborted
from boxwork.testing.workloads import zipf
from boxwork.transactions import transaction

QUICK = "--quick" in sys.argv
CALLERS = 64
SECONDS = 1.5 if QUICK else 4.0
ROUNDS = 1 if QUICK else 3


def body(tx: Any, keys: tuple[int, ...], kind: str, ms: float, merging: bool) -> None:
    if kind == "add" and merging:
        time.sleep(ms / 1e3)
        for key in keys:
            tx.add(("n", key), 1)
        return
    seen = [tx.get(("n", key), 0) for key in keys]
    time.sleep(ms / 1e3)
    if kind == "add":
        for key, value in zip(keys, seen, strict=True):
            tx.put(("n", key), value + 1)
    elif kind == "write":
        tx.put(("n", keys[0]), seen[0] + 1)


@transaction(slow=True, lane="snapshot")
def snapshot(tx: Any, keys: tuple[int, ...], kind: str, ms: float, merging: bool) -> None:
    body(tx, keys, kind, ms, merging)


@transaction(lane="locking")
def locking(tx: Any, keys: tuple[int, ...], kind: str, ms: float, merging: bool) -> None:
    body(tx, keys, kind, ms, merging)


@transaction(lane="occ")
def occ(tx: Any, keys: tuple[int, ...], kind: str, ms: float, merging: bool) -> None:
    body(tx, keys, kind, ms, merging)


MIXED, HOT = zipf(1000, 0.99), zipf(10, 0.5)
CONTESTANTS: dict[str, tuple[Any, str, bool]] = {
    "ordering + merges": (snapshot, "interval", True),
    "ordering": (snapshot, "interval", False),
    "merges": (snapshot, "arrival", True),
    "neither": (snapshot, "arrival", False),
    "Aria rule": (snapshot, "aria", False),
    "2PL": (locking, "interval", False),
    "2PL + merges": (locking, "interval", True),
    "OCC": (occ, "interval", False),
}


def run(contestant: str, hot: bool) -> dict[str, float]:
    box, rule, merging = CONTESTANTS[contestant]
    latencies: list[float] = []
    aborts = 0
    with node(check_purity=False) as engine:
        engine.machine.rule = rule  # type: ignore[assignment]
        end = time.perf_counter() + SECONDS

        def caller(number: int) -> None:
            nonlocal aborts
            chance = random.Random(number)
            while time.perf_counter() < end:
                roll = chance.random()
                kind = "write" if hot else "read" if roll < 0.4 else "add" if roll < 0.7 else "write"
                keys = (HOT(chance),) if hot else tuple({MIXED(chance): None for _ in range(4)})
                row = (keys, kind, chance.uniform(0.5, 20), merging)
                started = time.perf_counter()
                while time.perf_counter() < end:
                    try:
                        engine.commit(box, *row)
                    except TransactionAborted:
                        aborts += 1
                        time.sleep(chance.uniform(0.5, 20) / 1e3)  # else it only meets the same holder again
                        continue
                    latencies.append(time.perf_counter() - started)
                    break

        threads = [threading.Thread(target=caller, args=(number,)) for number in range(CALLERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        executions = max(engine.counters[box.rules.lane].executions, 1)
    commits = max(len(latencies), 1)
    return {
        "commits_s": commits / SECONDS,
        "aborts": aborts / commits,
        "runs": executions / commits,
        "p99_ms": quantile(latencies or [0.0], 0.99) * 1e3,
    }


if __name__ == "__main__":
    for load in ("mixed", "hot"):
        rounds = [{name: run(name, load == "hot") for name in CONTESTANTS} for _ in range(ROUNDS)]

        def median(name: str, what: str) -> float:
            return quantile([row[name][what] for row in rounds], 0.5)  # noqa: B023

        for name in CONTESTANTS:
            report(
                name=f"state.slow.{load}",
                value=median("ordering + merges", "commits_s"),
                unit="commits/s",
                peer=name,
                peer_value=median(name, "commits_s"),
                p99_ms=round(median(name, "p99_ms"), 1),
                runs_per_commit=round(median(name, "runs"), 2),
                aborts_per_commit=round(median(name, "aborts"), 2),
            )
