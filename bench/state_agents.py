"""Which protocol fits agents that think between reading and writing?

64 agents, 20 ms of thinking, 1,000 keys with zipf 0.99, four keys each: 40 % only read, 30 % add to counters, 20 %
read and write one of them, 10 % two.  Wasted is the thinking that led to nothing.  An intent thinks on a snapshot and
then commits a short function on the newest facts; the others think inside their transaction.

    python bench/state_agents.py [--quick]
"""

from __future__ import annotations

import asyncio
import random
import sys
import threading
import time
from typing import Any

from bench._report import quantile, report
from bench._state import node
from boxwork.errors import TransactionAborted
from boxwork.state.engine import Engine
from boxwork.state.face import AsyncEngine
from boxwork.testing.workloads import zipf
from boxwork.transactions import transaction

QUICK = "--quick" in sys.argv
AGENTS = 64
THINK_S = 0.02
SECONDS = 2.0 if QUICK else 6.0
ROUNDS = 1 if QUICK else 3
DRAW = zipf(1000, 0.99)
# The pause after an abort is doubled so many times.  Source: of 2, 4, 6 the one with most commits.
PAUSES_MAX = 6


def act(tx: Any, keys: tuple[int, ...], kind: str) -> None:
    if kind == "add":
        for key in keys:
            tx.add(("n", key), 1)
    elif kind != "read":
        for key in keys[: 1 if kind == "one" else 2]:
            tx.put(("n", key), tx.get(("n", key), 0) + 1)


@transaction
def apply(tx: Any, keys: tuple[int, ...], kind: str) -> None:
    act(tx, keys, kind)


@transaction(lane="snapshot")
async def think_and_act(tx: Any, keys: tuple[int, ...], kind: str) -> None:
    if kind != "add":
        for key in keys:
            tx.get(("n", key))
    await asyncio.sleep(THINK_S)
    act(tx, keys, kind)


class Tally:
    def __init__(self) -> None:
        self.latencies: list[float] = []
        self.aborts = 0
        self.thoughts = 0

    def numbers(self) -> dict[str, float]:
        commits = max(len(self.latencies), 1)
        return {
            "commits_s": commits / SECONDS,
            "aborts_per_commit": self.aborts / commits,
            "wasted": 1 - commits / max(self.thoughts, 1),
            "p99_ms": quantile(self.latencies or [0.0], 0.99) * 1e3,
        }


def draw(chance: random.Random) -> tuple[tuple[int, ...], str]:
    roll = chance.random()
    kind = "read" if roll < 0.4 else "add" if roll < 0.7 else "one" if roll < 0.9 else "two"
    return tuple({DRAW(chance): None for _ in range(4)}), kind


def with_threads(engine: Engine, lane: Any, *, growing: bool = False) -> Tally:
    """Sessions by hand, one thread an agent; an abort begins the whole thought again, after a pause."""
    tally, end = Tally(), time.perf_counter() + SECONDS

    def agent(number: int) -> None:
        chance = random.Random(number)
        while time.perf_counter() < end:
            keys, kind = draw(chance)
            started, age, losses = time.perf_counter(), 0, 0
            while time.perf_counter() < end:
                with engine.session(lane, who=f"agent {number}", age=age) as session:
                    try:
                        if kind != "add":
                            for key in keys:
                                session.tx.get(("n", key))
                        tally.thoughts += 1
                        time.sleep(THINK_S)
                        act(session.tx, keys, kind)
                        if session.tx.writes:
                            session.commit()
                    except TransactionAborted:
                        tally.aborts += 1
                        age = session.age
                        aborted = True
                    else:
                        aborted = False
                if aborted:
                    # Who comes back at once only meets the same holder: a pause is what 2PL needs to be at its best.
                    # Without waiting it must grow, or everybody is aborted for ever.
                    time.sleep(chance.random() * THINK_S * 2 ** (min(losses, PAUSES_MAX) if growing else 0))
                    losses += 1
                    continue
                tally.latencies.append(time.perf_counter() - started)
                break

    threads = [threading.Thread(target=agent, args=(number,)) for number in range(AGENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return tally


def with_tasks(engine: Engine, intents: bool) -> Tally:
    tally = Tally()

    async def agent(work: AsyncEngine, number: int, end: float) -> None:
        chance = random.Random(number)
        while time.perf_counter() < end:
            keys, kind = draw(chance)
            started = time.perf_counter()
            if not intents:
                await work.commit(think_and_act, keys, kind)
            else:
                tally.thoughts += 1
                async with work.begin(who=f"agent {number}") as view:
                    if kind != "add":
                        for key in keys:
                            view.get(("n", key))
                    await asyncio.sleep(THINK_S)
                    if kind != "read":
                        await view.commit(apply, keys, kind)
            tally.latencies.append(time.perf_counter() - started)

    async def main() -> None:
        work = AsyncEngine(engine)
        end = time.perf_counter() + SECONDS
        await asyncio.gather(*(agent(work, number, end) for number in range(AGENTS)))

    asyncio.run(main())
    if not intents:
        tally.thoughts = engine.counters["snapshot"].executions
    return tally


def run(protocol: str) -> dict[str, float]:
    policy = "no-wait" if protocol == "2PL no-wait" else "wait-die"
    with node(lock_policy=policy, check_purity=False) as engine:
        if protocol == "intents":
            return with_tasks(engine, intents=True).numbers()
        if protocol in ("interval", "Aria rule"):
            engine.machine.rule = "interval" if protocol == "interval" else "aria"
            return with_tasks(engine, intents=False).numbers()
        return with_threads(engine, "occ" if protocol == "OCC" else "locking", growing="no-wait" in protocol).numbers()


if __name__ == "__main__":
    protocols = ["intents", "interval", "Aria rule", "OCC", "2PL wait-die", "2PL no-wait"]
    rounds = [{protocol: run(protocol) for protocol in protocols} for _ in range(ROUNDS)]

    def median(protocol: str, name: str) -> float:
        return quantile([row[protocol][name] for row in rounds], 0.5)

    for protocol in protocols:
        report(
            name="state.agents.intents",
            value=median("intents", "commits_s"),
            unit="commits/s",
            peer=protocol,
            peer_value=median(protocol, "commits_s"),
            p99_ms=round(median(protocol, "p99_ms"), 1),
            wasted_think=round(median(protocol, "wasted"), 3),
            aborts_per_commit=round(median(protocol, "aborts_per_commit"), 2),
        )
