"""The table of outputs stays under its limit; what was dear to compute stays longest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from boxwork.box import derivation
from boxwork.derive.outputs import OUTPUTS, Row, read_row
from boxwork.derive.trim import Trim
from boxwork.errors import DerivationFailed
from boxwork.testing.clock import FakeClock
from tests.derive.node import node


@derivation
def cheap(n: int) -> int:
    return n


@derivation
def dear(n: int) -> int:
    return sum(range(20_000))


@derivation
def broken(n: int) -> int:
    raise ValueError(n)


def every_row(work: Any) -> list[tuple[bytes, Row]]:
    rows = ((key, read_row(raw)) for key, raw in work.content.cache_db.walk(OUTPUTS))
    return [(key, row) for key, row in rows if row is not None]


def test_what_was_cheap_goes_first_and_dead_failures_in_any_case(tmp_path: Path) -> None:
    clock = FakeClock()
    with node(tmp_path / "data", clock=clock, derive__rows_max=100) as work:
        for n in range(20):
            work.call(dear, {"n": n})
            with pytest.raises(DerivationFailed):
                work.call(broken, {"n": n})
        for n in range(80):
            work.call(cheap, {"n": n})
        clock.advance(3_000_000_000)
        # 30 have to go, and with the last of them those that took equally long: how many depends on the machine.
        prices = sorted(Trim._price(row, clock.now_ns()) for _, row in every_row(work))
        gone = work.trim()
        assert sum(price <= prices[29] for price in prices) == gone
        assert 30 <= gone
        assert 120 - gone == work.content.cache_db.count(OUTPUTS)
        names = [work.explainer.record(key) for key, _ in work.rows()]
        assert 20 == sum(record is not None and record.name == "dear" for record in names)
        assert 120 - gone == len(names)
        assert 0 == work.trim()


def test_under_the_limit_nothing_goes(tmp_path: Path) -> None:
    with node(tmp_path / "data") as work:
        work.call(cheap, {"n": 1})
        assert 0 == work.trim()
