"""The alarm names the column that knows the target, and is silent where nothing does."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from boxwork import Blob
from boxwork.packs.compare.alarms import Alarm, Alarms, alarms
from boxwork.packs.compare.cleaning import clean
from boxwork.packs.compare.sample import raw_table
from boxwork.packs.compare.splitting import split


def raised(raw: bytes, target: str = "cancelled", by: str = "stratified", column: str = "", **rules: Any) -> Alarms:
    cleaned = Blob.of(clean(Blob.of(raw), target, aside=(column,) if column else (), **rules))
    part = split(cleaned, by=by, column=column)
    return msgspec.json.decode(alarms(cleaned, part, by, column), type=Alarms)


def noise(at: int, below: int) -> int:
    """A number that has nothing to do with anything."""
    return int(np.random.default_rng(at).integers(0, below))


def serious(found: Alarms) -> list[Alarm]:
    return [alarm for alarm in found.alarms if alarm.level != "note"]


def text(rows: int, **columns: Any) -> bytes:
    lines = [",".join(columns)] + [",".join(str(of(at)) for of in columns.values()) for at in range(rows)]
    return "\n".join(lines).encode()


def test_a_column_that_is_filled_in_afterwards_is_named_with_what_to_do() -> None:
    found = raised(raw_table(3000, 1))
    (alarm,) = serious(found)
    assert ("leak", "refund") == (alarm.level, alarm.column)
    assert "it looks like a column from after the fact" in alarm.says
    assert 'drop = ["refund"] under [clean]' in alarm.remedy
    assert "refund" == found.columns[0].column
    assert found.columns[0].macro_f1 > 0.95 > 0.7 > found.columns[1].macro_f1


def test_without_such_a_column_there_is_no_alarm() -> None:
    found = raised(raw_table(3000, 1, leak=False))
    assert [] == serious(found)
    assert {"booking", "comment"} == {alarm.column for alarm in found.alarms}  # identifiers that cleaning left out


def test_a_number_that_knows_the_target_is_a_leak_though_it_is_always_filled() -> None:
    raw = text(800, y=lambda at: "ab"[at % 2], n=lambda at: at % 7, score=lambda at: (at % 2) * 50 + at % 40)
    (alarm,) = serious(raised(raw, "y"))
    assert ("leak", "score") == (alarm.level, alarm.column)
    assert "after the fact" not in alarm.says


def test_a_column_that_is_much_better_than_all_others_is_asked_about() -> None:
    raw = text(3000, y=lambda at: "ab"[at % 2], n=lambda at: noise(at, 9), hint=lambda at: (at + (at % 8 == 3)) % 2)
    (alarm,) = serious(raised(raw, "y", duplicates=False, keep=("hint",)))[:1]
    assert ("suspect", "hint") == (alarm.level, alarm.column)


def test_an_identifier_that_was_kept_is_asked_about() -> None:
    chance = np.random.default_rng(1)
    names = chance.permutation(2000)
    raw = text(2000, y=lambda at: "ab"[noise(at, 2)], n=lambda at: at % 9, id=lambda at: names[at])
    assert ["id"] == [alarm.column for alarm in serious(raised(raw, "y", keep=("id",)))]
    assert ["id"] == [alarm.column for alarm in raised(raw, "y", duplicates=False).alarms if alarm.column]


def test_rows_that_stand_in_both_parts_are_counted() -> None:
    chance = np.random.default_rng(2)
    numbers = chance.random(1000)
    raw = text(2000, y=lambda at: "ab"[at % 1000 * 3 % 2], n=lambda at: f"{numbers[at % 1000]:.9f}")
    (alarm,) = [one for one in raised(raw, "y", duplicates=False, keep=("n",)).alarms if not one.column]
    assert "suspect" == alarm.level
    assert "test rows" in alarm.says
    assert 'by = "group"' in alarm.remedy
    assert not [one for one in raised(raw, "y", keep=("n",)).alarms if not one.column]


def test_a_time_after_the_time_of_the_split_is_asked_about() -> None:
    def day(at: int, more: int) -> str:
        return str(np.datetime64("2024-01-01") + (at // 4 + more * (1 + at % 9)))

    raw = text(
        1200,
        y=lambda at: "ab"[noise(at, 2)],
        n=lambda at: at % 9,
        booked=lambda at: day(at, 0),
        paid=lambda at: day(at, 1),
        seen=lambda at: day(at, -1),
    )
    found = serious(raised(raw, "y", "time", "booked"))
    assert ["paid"] == [alarm.column for alarm in found]
    assert "later than booked in 100% of the rows" in found[0].says


@pytest.mark.parametrize("seed", range(3))
def test_the_same_rows_raise_the_same_alarms(seed: int) -> None:
    raw = raw_table(1000, seed)
    assert raised(raw) == raised(raw)
