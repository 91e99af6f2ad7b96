"""Nodes of `state` for its tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from boxwork.clock import SystemClock
from boxwork.settings import merge
from boxwork.state.engine import SETTINGS, Engine
from boxwork.state.logs.disk import DiskLog
from boxwork.state.logs.files import RealFiles
from boxwork.state.logs.memory import MemoryLog
from boxwork.testing.simulation.disk import SimulatedStore

OpenEngine = Callable[..., Engine]


@pytest.fixture
def open_engine(tmp_path: Path) -> Iterator[OpenEngine]:
    """`open_engine(directory, **settings)`; without a directory its log is in memory.  Closed at the end."""
    opened: list[Engine] = []
    store = SimulatedStore()

    def open_one(directory: str | None = None, **flags: Any) -> Engine:
        settings = merge(SETTINGS, environment={}, flags={f"state.{name}": value for name, value in flags.items()})
        if directory is None:
            engine = Engine(MemoryLog(), SystemClock(), settings)
        else:
            files = RealFiles(tmp_path / directory)
            engine = Engine(DiskLog(files), SystemClock(), settings, store=store, files=files)  # type: ignore[arg-type]
        opened.append(engine)
        return engine

    yield open_one
    for engine in opened:
        engine.close()
