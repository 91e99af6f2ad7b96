"""A made-up table, a node, and one comparison that many tests read: from nothing it takes some seconds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import boxwork
from boxwork.packs.compare.plan import Plan
from boxwork.packs.compare.sample import raw_table

pytest.importorskip("sklearn")
pytest.importorskip("xgboost")

# Enough for every mark to show, and few enough to be trained in moments.
ROWS = 2000
QUICK = [{"kind": "tree"}, {"kind": "logistic"}, {"kind": "xgboost", "params": {"n_estimators": 20}}]


def plan_of(**more: Any) -> Plan:
    """A plan of three quick models, from two frameworks."""
    return msgspec.convert({"target": "cancelled", "model": QUICK, "resamples": 100, **more}, Plan)


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("table") / "bookings.csv"
    path.write_bytes(raw_table(ROWS, 1))
    return path


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    # Each worker imports scikit-learn, which takes longer than what is trained here.
    with boxwork.open(tmp_path_factory.mktemp("node") / "data", settings={"derive.processes": 1}) as node:
        yield node


@pytest.fixture(scope="session")
def compared(work: Any, table: Path) -> dict[str, Any]:
    """The first run, from nothing."""
    run: dict[str, Any] = work.part("compare").run(table, plan_of(), who="ada")
    return run
