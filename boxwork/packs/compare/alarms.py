"""The leakage alarm: columns that know the target, and rows that are in both parts.  It warns; it removes nothing.

A model that looks like a triumph is mostly one that was told the answer: by a column that is filled in after the
fact, by an identifier that follows the order of the classes, by rows that stand in training and in test.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import numpy as np

from boxwork import Blob, derivation
from boxwork.packs.compare.table import CATEGORY, KEPT, TIME, CleanTable, Column

ALARM_S_MAX = 900.0
ALARM_BYTES_MAX = 8 * 1024**3
# A column is tried on at most so many rows of each part: more change the third digit.
ROWS_TRIED = 20_000
# Macro F1 of a model of one column alone.
PERFECT = 0.95
GOOD = 0.8
# … and so far above the second best column, it is asked about.
AHEAD = 0.15
# A leaf of that model has at least so many rows, so that it cannot learn rows by heart.
LEAF_ROWS = 10
IDENTIFIER_SHARE = 0.99
# From this share of the test rows on, being in training as well is told as an alarm; below, as a note.
SAME_SHARE = 0.01
LATER_SHARE = 0.95

Level = Literal["leak", "suspect", "note"]
LEVELS = ("leak", "suspect", "note")


class Alarm(msgspec.Struct):
    """`column` is empty where rows are meant.  leak: hardly a doubt; suspect: look at it; note: nothing to do."""

    level: Level
    column: str
    says: str
    remedy: str


class Told(msgspec.Struct):
    """How well each column alone knows the target: macro F1 of a small tree on the test part."""

    column: str
    macro_f1: float
    filled_macro_f1: float


class Alarms(msgspec.Struct):
    alarms: list[Alarm]
    columns: list[Told]
    rows_tried: int


@derivation(
    name="compare_alarms", worker="process", timeout_s=ALARM_S_MAX, memory_bytes_max=ALARM_BYTES_MAX, durable=True
)
def alarms(cleaned: Blob, part: np.ndarray, by: str = "", column: str = "", seed: int = 0) -> bytes:
    """An `Alarms` as JSON.  `by` and `column` say how the table was split."""
    table = CleanTable.of(cleaned)
    chance = np.random.default_rng(seed)
    train, test = (_some(np.flatnonzero(part == side), chance) for side in (0, 1))
    told = [_told(table, one, train, test) for one in table.features]
    told.sort(key=lambda one: (-one.macro_f1, one.column))
    found = [
        *_columns_that_know(table, told),
        *_identifiers(table),
        *_same_rows(table, part),
        *(_later_than(table, column) if by == "time" else ()),
    ]
    found.sort(key=lambda alarm: LEVELS.index(alarm.level))
    return msgspec.json.encode(Alarms(found, told, len(test)))


def _some(rows: Any, chance: Any) -> Any:
    return rows if len(rows) <= ROWS_TRIED else np.sort(chance.choice(rows, ROWS_TRIED, replace=False))


def _told(table: CleanTable, column: Column, train: Any, test: Any) -> Told:
    values = table.values(column).astype(np.float64)
    if column.kind == CATEGORY:
        values[values < 0] = np.nan
    filled = (~np.isnan(values)).astype(np.float64)
    whole = _alone(values, table.target, train, test)
    # Whether a cell is filled at all is what a column that is filled in afterwards tells.
    return Told(column.name, whole, _alone(filled, table.target, train, test) if column.missing else 0.0)


def _alone(values: Any, target: Any, train: Any, test: Any) -> float:
    """Macro F1 on the test rows of a tree that sees this column alone."""
    from sklearn.metrics import f1_score
    from sklearn.tree import DecisionTreeClassifier

    tree = DecisionTreeClassifier(min_samples_leaf=LEAF_ROWS, random_state=0)
    tree.fit(values[train].reshape(-1, 1), target[train])
    said = tree.predict(values[test].reshape(-1, 1))
    return float(f1_score(target[test], said, average="macro", zero_division=0.0))


def _columns_that_know(table: CleanTable, told: list[Told]) -> list[Alarm]:
    found = []
    for at, one in enumerate(told):
        second = told[at + 1].macro_f1 if at + 1 < len(told) else 0.0
        remedy = f'If it is not known when the prediction is made, leave it out: drop = ["{one.column}"] under [clean]'
        if one.macro_f1 >= PERFECT:
            says = f"The column {one.column} alone predicts {table.about.target} with a macro F1 of {one.macro_f1:.3f}"
            if one.filled_macro_f1 >= min(PERFECT, one.macro_f1 - 0.02):
                says += "; that it is filled in at all says it: it looks like a column from after the fact"
            found.append(Alarm("leak", one.column, says, remedy))
        elif one.macro_f1 >= GOOD and one.macro_f1 - second >= AHEAD:
            says = (
                f"The column {one.column} alone predicts {table.about.target} with a macro F1 of {one.macro_f1:.3f},"
                f" the next best column {second:.3f}"
            )
            found.append(Alarm("suspect", one.column, says, remedy))
    return found


def _identifiers(table: CleanTable) -> list[Alarm]:
    found = []
    rows = len(table.target)
    for column in table.about.columns:
        if column.mark == "identifier":
            says = f"The column {column.name} has a value of its own in nearly every row; cleaning has left it out"
            found.append(Alarm("note", column.name, says, f'To use it all the same: keep = ["{column.name}"]'))
        elif column.action == KEPT and column.kind != TIME and column.distinct >= IDENTIFIER_SHARE * rows:
            values = table.values(column)
            if column.kind == CATEGORY or bool(np.all(values[~np.isnan(values)] % 1 == 0)):
                says = f"The column {column.name} has a value of its own in nearly every row, and was kept as asked"
                remedy = "An identifier says nothing about rows to come: leave it out"
                found.append(Alarm("suspect", column.name, says, remedy))
    return found


def _same_rows(table: CleanTable, part: Any) -> list[Alarm]:
    """Test rows that stand in the training part, too, in all that a model sees."""
    import pandas as pd

    frame = pd.DataFrame({column.name: table.values(column) for column in table.features})
    prints = pd.util.hash_pandas_object(frame, index=False).to_numpy()
    inside = np.isin(prints[part == 1], prints[part == 0])
    count, rows = int(inside.sum()), len(inside)
    if not count:
        return []
    says = f"{count:,} of {rows:,} test rows ({count / rows:.1%}) equal a training row in every feature"
    remedy = 'If they are the same thing twice, name what it is: by = "group" with its column under [split]'
    return [Alarm("suspect" if count >= SAME_SHARE * rows else "note", "", says, remedy)]


def _later_than(table: CleanTable, column: str) -> list[Alarm]:
    """Times that lie behind the time by which the table was split: they are known too late."""
    now = table.values(table.column(column))
    found = []
    for other in table.features:
        if other.kind != TIME or other.name == column:
            continue
        both = ~np.isnan(now) & ~np.isnan(table.values(other))
        later = table.values(other)[both] > now[both]
        if both.any() and later.mean() >= LATER_SHARE:
            says = f"The column {other.name} is later than {column} in {later.mean():.0%} of the rows"
            remedy = f'What happens later is not known yet: drop = ["{other.name}"] under [clean]'
            found.append(Alarm("suspect", other.name, says, remedy))
    return found
