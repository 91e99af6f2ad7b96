"""The split: each way keeps what it promises."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from boxwork import Blob
from boxwork.packs.compare.cleaning import clean
from boxwork.packs.compare.sample import raw_table
from boxwork.packs.compare.splitting import BYS, split
from boxwork.packs.compare.table import CleanTable


@pytest.fixture(scope="module")
def blob() -> Blob:
    return Blob.of(clean(Blob.of(raw_table(1500, 2)), "cancelled", aside=("country",)))


def test_stratified_keeps_the_share_of_every_class(blob: Blob) -> None:
    target, part = CleanTable.of(blob).target, split(blob, test_share=0.2)
    shares = [np.mean(target[part == side]) for side in (0, 1)]
    assert abs(shares[0] - shares[1]) < 0.005
    assert abs(part.mean() - 0.2) < 0.01


def test_a_group_is_never_in_both_parts(blob: Blob) -> None:
    table = CleanTable.of(blob)
    groups = table.values(table.column("country"))
    part = split(blob, by="group", column="country", seed=3)
    assert set() == set(groups[part == 0]) & set(groups[part == 1])
    assert 0 < part.sum() < len(part)


def test_by_time_the_test_is_what_came_last(blob: Blob) -> None:
    table = CleanTable.of(blob)
    at = table.values(table.column("booked_on"))
    part = split(blob, by="time", column="booked_on", test_share=0.3)
    assert np.nanmax(at[part == 0]) <= np.nanmin(at[part == 1])
    assert not np.isnan(at[part == 1]).any()
    assert round(0.3 * len(at)) == part.sum()


@pytest.mark.parametrize("by", BYS)
def test_the_seed_decides_and_nothing_else(blob: Blob, by: Any) -> None:
    column = {"group": "country", "time": "booked_on"}.get(by, "")
    first, again, other = (split(blob, seed=seed, by=by, column=column) for seed in (1, 1, 2))
    assert first.tolist() == again.tolist()
    assert (by == "time") == (first.tolist() == other.tolist())


def test_a_column_without_order_splits_no_time(blob: Blob) -> None:
    with pytest.raises(ValueError, match="channel is no time and no number"):
        split(blob, by="time", column="channel")


def test_a_class_that_is_only_in_the_test_is_told() -> None:
    rows = "".join(f"{at},{at % 3},{'late' if at >= 80 else 'early'}\n" for at in range(100))
    cleaned = Blob.of(clean(Blob.of(("at,n,y\n" + rows).encode()), "y", keep=("at",)))
    with pytest.raises(ValueError, match="no row of late is left to learn from"):
        split(cleaned, by="time", column="at", test_share=0.3)
