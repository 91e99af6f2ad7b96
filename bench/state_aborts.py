"""How many aborts does a caller see, and how often does a short function run, with 256 clients on hot keys?

Every workload in the lanes `serial` and `snapshot`; beside them optimistic validation, where an abort is an attempt
that the caller must repeat.

    python bench/state_aborts.py [--quick]
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
import time
from typing import Any

from bench._report import report
from bench._state import node, set_up
from boxwork.errors import Refused, TransactionAborted
from boxwork.state.engine import Engine
from boxwork.state.face import AsyncEngine
from boxwork.testing.workloads import Budgets, Likes, Ring, SmallBank, TpccLite, Workload

CLIENTS = 256
SECONDS = 0.7 if "--quick" in sys.argv else 3.0


def run(workload: Workload, lane: Any) -> Engine:
    async def client(work: AsyncEngine, number: int, end: float) -> None:
        calls = workload.calls(random.Random(number))
        while time.perf_counter() < end:
            box, row = next(calls)
            with contextlib.suppress(Refused, TransactionAborted):
                await work.commit(box, *row, lane=lane)

    async def main(engine: Engine) -> None:
        work, end = AsyncEngine(engine), time.perf_counter() + SECONDS
        await asyncio.gather(*(client(work, number, end) for number in range(CLIENTS)))

    with node(slow_threads=64) as engine:
        set_up(engine, workload)
        before = engine.counters[lane].commits, engine.counters[lane].executions
        asyncio.run(main(engine))
        engine.counters[lane].commits -= before[0]
        engine.counters[lane].executions -= before[1]
        return engine


if __name__ == "__main__":
    workloads: list[Workload] = [
        Likes(1000, 1.2),
        Likes(1000, 1.2, reading=True),
        SmallBank(1000, 1.2),
        TpccLite(1, 10, 30, 1000),
        Ring(20),
        Budgets(4),
    ]
    names = ["likes", "likes by reading", "smallbank", "tpcc-lite", "ring", "budgets"]
    for name, workload in zip(names, workloads, strict=True):
        peer = run(workload, "occ").counters["occ"]
        for lane in ("serial", "snapshot"):
            ours = run(workload, lane).counters[lane]
            answered = max(ours.commits + ours.refusals, 1)
            report(
                name=f"state.aborts.{name}.{lane}",
                value=float(ours.aborts),
                unit="aborts",
                peer="OCC",
                peer_value=float(peer.aborts),
                commits=ours.commits,
                runs_per_answer=round(ours.executions / answered, 3),
                peer_commits=peer.commits,
            )
