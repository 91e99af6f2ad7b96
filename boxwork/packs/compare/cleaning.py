"""Cleaning: a raw table of text in, a typed table and a report out.  Nothing is done that the report does not say.

The order: cells are trimmed, empty rows and rows without a target go, then exact duplicates, then classes too small
to be split; then each column gets its kind, and goes if it can say nothing.  Everything but the rows that go is done
on the distinct values of a column, not on its cells.
"""

from __future__ import annotations

import io
import re
import warnings
from typing import Any

import numpy as np

from boxwork import Blob, derivation
from boxwork.packs.compare.columns import column_of
from boxwork.packs.compare.raw import SHOWN, Raw, merge_spellings, natural, shown
from boxwork.packs.compare.table import (
    ASIDE,
    CATEGORY,
    DROPPED,
    KEPT,
    KINDS,
    TARGET,
    About,
    Column,
    Report,
    Step,
    packed,
)  # fmt: skip

# Limits of one run.  Unit: s, bytes.  300,000 rows of 14 columns take 3 s and 0.6 GiB.
CLEAN_S_MAX = 1800.0
CLEAN_BYTES_MAX = 8 * 1024**3

# What people write where there is nothing; compared without regard to case.
MISSING = ("", "na", "n/a", "#n/a", "nan", "null", "none", "nil", "-", "--", "?", ".", "missing")
SEPARATORS = ",;\t|"
# How pandas says that a row has too many fields; the header is line 1.
SKIPPED = re.compile(r"Skipping line (\d+)")
COLUMNS_MAX = 2000
# A target with more classes than this is a quantity: what to do is regression, which this does not compare.
CLASSES_MAX = 100


@derivation(name="compare_clean", worker="process", timeout_s=CLEAN_S_MAX, memory_bytes_max=CLEAN_BYTES_MAX)
def clean(
    table: Blob,
    target: str,
    separator: str = "",
    drop: tuple[str, ...] = (),
    keep: tuple[str, ...] = (),
    aside: tuple[str, ...] = (),
    types: tuple[tuple[str, str], ...] = (),
    missing: tuple[str, ...] = MISSING,
    missing_share_max: float = 0.98,
    number_share_min: float = 0.9,
    categories_max: int = 1000,
    class_rows_min: int = 20,
    duplicates: bool = True,
) -> bytes:
    """A cleaned table (see table.py) out of a CSV, plain or gzip.

    `drop` columns go, `keep` columns stay whatever they look like, `aside` columns are kept for the split alone;
    `types` says of columns that they are number, time or category; `separator` "" is found in the header.
    """
    frame, numbers, ragged = read_csv(table.read(), separator)
    names = [str(name) for name in frame.columns]
    check_names(names, (target, *drop, *keep, *aside, *(name for name, _ in types)))
    for name, kind in types:
        if kind not in KINDS:
            raise ValueError(f"the type of {name} is number, time or category, not {kind!r}")
    marks = frozenset(mark.casefold() for mark in missing)
    raw = [Raw(str(name), frame[name], marks) for name in frame.columns]
    del frame
    goal = raw[names.index(target)]
    rows_in = len(numbers) + ragged
    steps = [Step("had more fields than the header", ragged)]
    alive = keep_rows(raw, goal, steps, duplicates)
    merge_spellings(goal, alive)
    alive = drop_small_classes(goal, alive, class_rows_min, steps)
    classes, classed = classes_of(goal, alive)
    chosen = dict(types)
    columns: list[Column] = []
    members: dict[str, Any] = {}
    seen: dict[bytes, str] = {}
    for source in raw:
        if source is goal:
            notes = source.notes
            columns.append(
                Column(target, CATEGORY, TARGET, f"{len(classes)} classes", len(classes), 0, notes, "", classes)
            )
            continue
        column, values = column_of(
            source, alive, chosen.get(source.name, ""), missing_share_max, number_share_min, categories_max,
            drop=source.name in drop, keep=source.name in keep, aside=source.name in aside,
        )  # fmt: skip
        if values is not None:
            twin = seen.setdefault(values.tobytes(), source.name)
            if column.action == KEPT and twin != source.name and source.name not in keep:
                column.action, column.why, values = DROPPED, f"the same values as {twin}", None
        if values is not None:
            column.member = f"c{len(members)}"
            members[column.member] = values
        columns.append(column)
    if not any(column.action == KEPT for column in columns):
        raise ValueError(f"no column is left to learn {target} from; the table has {', '.join(names[:20])}")
    kept = sum(column.action in (KEPT, ASIDE, TARGET) for column in columns)
    report = Report(rows_in, len(alive), [step for step in steps if step.rows], len(names), kept)
    return packed(About(target, classes, columns, report), numbers[alive], classed, members)


def read_csv(data: bytes, separator: str) -> tuple[Any, Any, int]:
    """The table as text, the number of each row in it, and how many are left out: they do not fit the header."""
    import gzip

    import pandas as pd

    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError) as fault:
            raise ValueError(f"the table begins as gzip and cannot be unpacked: {fault}") from None
    head = data[: 64 * 1024].decode("utf-8-sig", "replace").partition("\n")[0]
    if not head.strip():
        raise ValueError("the table is empty: its first line has no names of columns")
    if "\0" in head:
        raise ValueError("the table is no text: give a CSV file, plain or gzip")
    separator = separator or max(SEPARATORS, key=head.count)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            frame = pd.read_csv(
                io.BytesIO(data), sep=separator, dtype=str, na_filter=False, encoding="utf-8-sig",
                encoding_errors="replace", on_bad_lines="warn", skip_blank_lines=False, index_col=False,
            )  # fmt: skip
        except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError) as fault:
            raise ValueError(f"the table cannot be read as CSV: {fault}") from None
    skipped = [int(line) - 1 for warning in told for line in SKIPPED.findall(str(warning.message))]
    frame.columns = [str(name).strip() for name in frame.columns]
    if not 2 <= len(frame.columns) <= COLUMNS_MAX:
        raise ValueError(f"the table has {len(frame.columns)} columns; there must be 2 to {COLUMNS_MAX:,}")
    if not frame.columns.is_unique:
        twice = sorted(set(frame.columns[frame.columns.duplicated()]))
        raise ValueError(f"two columns have the same name: {', '.join(twice)}")
    return frame, np.setdiff1d(np.arange(1, len(frame) + len(skipped) + 1), skipped), len(skipped)


def check_names(names: list[str], asked: tuple[str, ...]) -> None:
    for name in asked:
        if name not in names:
            raise ValueError(f"there is no column {name!r}; the table has {', '.join(names[:40])}")


def keep_rows(raw: list[Raw], goal: Raw, steps: list[Step], duplicates: bool) -> Any:
    """The places of the rows that stay."""
    import pandas as pd

    table = np.column_stack([source.codes for source in raw])
    empty = (table < 0).all(axis=1)
    steps.append(Step("were empty", int(empty.sum())))
    aimless = ~empty & (goal.codes < 0)
    steps.append(Step(f"had no {goal.name}", int(aimless.sum())))
    alive = np.flatnonzero(~empty & ~aimless)
    if duplicates:
        again = pd.DataFrame(table[alive]).duplicated().to_numpy()
        steps.append(Step("repeated an earlier row, cell by cell", int(again.sum())))
        alive = alive[~again]
    return alive


def drop_small_classes(goal: Raw, alive: Any, rows_min: int, steps: list[Step]) -> Any:
    if rows_min < 2:
        raise ValueError(f"class_rows_min is 2 or more, not {rows_min}: one row is in training or in test, not in both")
    counts = np.bincount(goal.codes[alive], minlength=len(goal.labels))
    small = (counts > 0) & (counts < rows_min)
    gone = small[goal.codes[alive]]
    if gone.any():
        named = ", ".join(shown(goal.labels[at]) for at in np.flatnonzero(small)[:SHOWN])
        steps.append(Step(f"were of a class with fewer than {rows_min} rows ({named})", int(gone.sum())))
    return alive[~gone]


def classes_of(goal: Raw, alive: Any) -> tuple[list[str], Any]:
    """The names of the classes in order, and the class of each row."""
    used = np.unique(goal.codes[alive])
    names = [goal.labels[at] for at in used]
    if len(names) > CLASSES_MAX:
        raise ValueError(
            f"{goal.name} has {len(names):,} distinct values: that is a quantity, and F1 and accuracy compare classes."
            f" Put it into at most {CLASSES_MAX} bins first"
        )
    if len(names) < 2:
        raise ValueError(f"{goal.name} has {len(names)} classes left in {len(alive):,} rows: there is nothing to learn")
    order = sorted(range(len(names)), key=lambda at: natural(names[at]))
    place = np.zeros(len(goal.labels), np.int32)
    for rank, at in enumerate(order):
        place[used[at]] = rank
    return [names[at] for at in order], place[goal.codes[alive]]
