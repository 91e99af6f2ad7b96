"""How much of a batch does the interval rule keep, beside the optimum (exhaustive search) and Aria's rule?"""

from __future__ import annotations

import itertools
import random
import sys
import time
from typing import Any

from bench._report import report
from bench._state import calls_of
from boxwork.state.positions import Rule, place
from boxwork.state.snapshot import Facts
from boxwork.state.tx import SerialTx, SnapshotTx
from boxwork.testing.workloads import Likes, SmallBank, TpccLite, Workload, zipf
from boxwork.transactions import transaction

QUICK = "--quick" in sys.argv
SMALL = 11  # for the optimum: 2 to the power of it are looked at
LARGE = 1024


@transaction
def ycsb(tx: Any, reads: tuple[int, ...], writes: tuple[int, ...]) -> None:
    for key in reads:
        tx.get(("row", key))
    for key in writes:
        tx.put(("row", key), 1)


class Ycsb:
    """YCSB-A: four keys of 100,000, half of them written, blind or after reading them."""

    def __init__(self, name: str, keys: int = 100_000, theta: float = 0.99, *, blind: bool) -> None:
        self.name, self._draw, self._blind = name, zipf(keys, theta), blind
        self.boxes = {"ycsb": ycsb}

    def setup(self) -> list[Any]:
        return []

    def calls(self, chance: Any) -> Any:
        while True:
            keys = tuple(self._draw(chance) for _ in range(4))
            yield ycsb, ((keys[:2], keys[2:]) if self._blind else (keys, keys[2:]))

    def check(self, facts: Any, committed: int) -> list[str]:
        return []


def attempts_of(workload: Workload, count: int, seed: int) -> list[SnapshotTx]:
    facts = Facts()
    writes: dict[Any, Any] = {}
    serial = SerialTx(facts, facts.data, writes, 0, b"")
    for box, row in workload.setup():
        box.function(serial, *row)
        writes.update(serial.own)
        serial.own.clear()
    facts.apply(1, writes, b"")
    made = []
    for number, (box, row) in enumerate(calls_of(workload, count, seed)):
        tx = SnapshotTx(facts, 1, 0, b"seed", number)
        try:
            box.function(tx, *row)
        except Exception:
            continue
        made.append(tx)
    return made


def optimum(attempts: list[SnapshotTx]) -> int:
    """The size of the largest subset with a serial order."""
    count = len(attempts)
    writes = [set(tx.touched()) for tx in attempts]
    # before[a]: bit b is set if a reads what b writes, so a must come before b
    before = [
        sum(1 << b for b in range(count) if b != a and not writes[b].isdisjoint(attempts[a].reads))
        for a in range(count)
    ]
    for size in range(count, 0, -1):
        for chosen in itertools.combinations(range(count), size):
            left = sum(1 << node for node in chosen)
            while left:
                free = [node for node in chosen if left >> node & 1 and not before[node] & left]
                if not free:
                    break
                for node in free:
                    left &= ~(1 << node)
            if not left:
                return size
    return 0


def main() -> None:
    workloads: list[Workload] = [
        Likes(),
        Ycsb("ycsb-4 rmw", blind=False),
        Ycsb("ycsb-4 blind", blind=True),
        SmallBank(),
        SmallBank(adding=True),
        TpccLite(1, 10, 300, 2000),
        TpccLite(1, 10, 300, 2000, adding=True),
    ]
    names = ["likes", "ycsb-4 rmw", "ycsb-4 blind", "smallbank", "smallbank adds", "tpcc-lite w1", "tpcc-lite w1 adds"]
    rules: tuple[Rule, ...] = ("interval", "aria", "arrival")
    for name, workload in zip(names, workloads, strict=True):
        small = [attempts_of(workload, SMALL, seed) for seed in range(3 if QUICK else 12)]
        best = sum(map(optimum, small))
        kept = {rule: sum(len(place(batch, rule).kept) for batch in small) for rule in rules}
        report(
            name=f"state.order.{name}.of_optimum",
            value=kept["interval"] / best,
            unit="share",
            peer="Aria",
            peer_value=kept["aria"] / best,
            batch=SMALL,
        )
        batch = attempts_of(workload, LARGE, 1)
        shares, costs = {}, {}
        for rule in rules:
            started = time.perf_counter()
            shares[rule] = len(place(batch, rule).kept) / len(batch)
            costs[rule] = (time.perf_counter() - started) / len(batch) * 1e6
        report(
            name=f"state.order.{name}.kept",
            value=shares["interval"],
            unit="share",
            peer="Aria",
            peer_value=shares["aria"],
            without_reordering=round(shares["arrival"], 3),
            batch=LARGE,
        )
        report(
            name=f"state.order.{name}.cost", value=costs["interval"], unit="us", peer="Aria", peer_value=costs["aria"]
        )


if __name__ == "__main__":
    random.seed(1)
    main()
