"""How long does it take to replay a log against its receipts: the chain, every input, every answer?"""

from __future__ import annotations

import random
import sys

from bench._report import report
from bench._state import by_box, calls_of, node, set_up, stopwatch
from boxwork.state.verify import verify
from boxwork.testing.workloads import Likes, SmallBank, Workload

COUNT = 100_000 if "--quick" in sys.argv else 1_000_000


def measure(workload: Workload) -> None:
    with node() as engine:
        set_up(engine, workload)
        calls = calls_of(workload, COUNT)
        receipts = []
        for box, rows in by_box(calls):
            engine.commit_many(box, rows)
        box, row = calls[random.Random(1).randrange(COUNT)]
        receipts.append(engine.commit(box, *row, receipt=True)[1])
        with stopwatch() as took:
            outcome = verify(engine._log.read(), receipts=receipts, boxes=workload.boxes)
        if not outcome.is_sound or outcome.replayed != outcome.commits:
            raise SystemExit(f"{workload.name}: {outcome.differences[:1]} {outcome.false_receipts[:1]}")
        report(
            name=f"state.verify.{workload.name}",
            value=took[0],
            unit="s",
            commits=outcome.commits,
            entries=outcome.entries,
        )


if __name__ == "__main__":
    measure(Likes())
    measure(SmallBank())
