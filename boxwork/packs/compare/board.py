"""The leaderboard: every model's figures side by side, with what cleaning did and what the alarm says.

It is a derivation over scores, so it holds no time and no name of a machine: the same inputs make the same bytes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from boxwork import Blob, derivation
from boxwork.packs.compare.alarms import Alarms
from boxwork.packs.compare.scoring import Score, Versus
from boxwork.packs.compare.table import CleanTable, Column, Report

# Categories of a column that are told in a board.
LABELS_SHOWN = 50


class Row(msgspec.Struct):
    """`rank` 1 is the best; a row that failed has none, and no score.  `tie`: with the best."""

    rank: int
    name: str
    kind: str
    framework: str
    params: dict[str, Any]
    score: Score | None
    versus: Versus | None
    beats_dummy: bool
    failed: str = ""


class Board(msgspec.Struct):
    target: str
    classes: list[str]
    report: Report
    columns: list[Column]
    rows_train: int
    rows_test: int
    alarms: Alarms
    rows: list[Row]
    best_by_accuracy: str
    warnings: list[str]


class Entry(NamedTuple):
    """A model as it goes into the board: `score` and `versus` are None for one that failed or is not compared."""

    name: str
    kind: str
    framework: str
    params: tuple[tuple[str, Any], ...]
    score: Blob | None
    versus: Blob | None
    failed: str


@derivation(name="compare_board", durable=True)
def board(cleaned: Blob, part_sizes: tuple[int, int], alarms: bytes, entries: tuple[Entry, ...]) -> bytes:
    """A `Board` as JSON, the best first by macro F1."""
    table = CleanTable.of(cleaned)
    about = table.about
    for column in about.columns:
        column.labels = column.labels[:LABELS_SHOWN]
    rows = [
        Row(
            0, entry.name, entry.kind, entry.framework, dict(entry.params),
            None if entry.score is None else msgspec.json.decode(entry.score.read(), type=Score),
            None if entry.versus is None else msgspec.json.decode(entry.versus.read(), type=Versus),
            False, entry.failed,
        )
        for entry in entries
    ]  # fmt: skip
    rows.sort(key=lambda row: (row.score is None, -row.score.macro_f1 if row.score else 0.0, row.name))
    told = msgspec.json.decode(alarms, type=Alarms)
    scored = [row for row in rows if row.score is not None]
    floor = next((row.score.macro_f1_interval[1] for row in scored if row.kind == "dummy" and row.score), 0.0)
    for place, row in enumerate(scored, 1):
        assert row.score is not None  # what `scored` says
        row.rank = place
        row.beats_dummy = row.kind != "dummy" and row.score.macro_f1_interval[0] > floor
    by_accuracy = max(scored, key=lambda row: row.score.accuracy if row.score else 0.0)
    return msgspec.json.encode(
        Board(
            about.target, about.classes, about.report, about.columns, *part_sizes, told, rows, by_accuracy.name,
            _warnings(scored, told, by_accuracy),
        )
    )  # fmt: skip


def _warnings(rows: list[Row], told: Alarms, by_accuracy: Row) -> list[str]:
    """What a reader of the table must know before the figures."""
    said = [f"{alarm.says}. {alarm.remedy}." for alarm in told.alarms if alarm.level != "note"]
    best = rows[0]
    ties = [row.name for row in rows[1:] if row.versus is not None and row.versus.tie]
    if ties:
        said.append(f"A tie: {best.name} is not ahead of {', '.join(ties)} by more than chance.")
    if by_accuracy is not best and by_accuracy.name not in ties:
        said.append(f"By accuracy {by_accuracy.name} would be first, by macro F1 {best.name} is.")
    weak = [row.name for row in rows if row.kind != "dummy" and not row.beats_dummy]
    if weak:
        said.append(f"No better than always guessing the same class: {', '.join(weak)}.")
    return said
