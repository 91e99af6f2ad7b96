"""What the benches of `state` share: a node in a temporary directory, workloads as rows, quantiles."""

from __future__ import annotations

import contextlib
import gc
import os
import random
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from boxwork.clock import SystemClock
from boxwork.settings import merge
from boxwork.state.engine import SETTINGS, Engine
from boxwork.testing.workloads import Call, Workload


@contextlib.contextmanager
def directory() -> Iterator[Path]:
    """On a real disk: many a /tmp is memory, where a sync costs nothing.  BOXWORK_BENCH_DIR says where."""
    path = Path(tempfile.mkdtemp(prefix="state-", dir=os.environ.get("BOXWORK_BENCH_DIR", Path.cwd())))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def node(**flags: Any) -> Iterator[Engine]:
    with directory() as path:
        settings = merge(SETTINGS, environment={}, flags={f"state.{name}": value for name, value in flags.items()})
        with Engine.open(path, settings, SystemClock()) as engine:
            yield engine


def calls_of(workload: Workload, count: int, seed: int = 1) -> list[Call]:
    stream = workload.calls(random.Random(seed))
    return [next(stream) for _ in range(count)]


def by_box(calls: list[Call]) -> list[tuple[Any, list[tuple[Any, ...]]]]:
    """Calls as rows of one box each, as somebody hands them in who has many."""
    groups: dict[Any, list[tuple[Any, ...]]] = {}
    for box, row in calls:
        groups.setdefault(box, []).append(row)
    return list(groups.items())


def set_up(engine: Engine, workload: Workload) -> None:
    for box, rows in by_box(workload.setup()):
        engine.commit_many(box, rows)


@contextlib.contextmanager
def stopwatch() -> Iterator[list[float]]:
    """Seconds that the block took, in a list of one; garbage of others is out of the way."""
    gc.collect()
    took: list[float] = []
    started = time.perf_counter()
    yield took
    took.append(time.perf_counter() - started)
