"""What becomes of one column: its kind, its values, and whether it stays.  Everything is done on distinct texts."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from boxwork.packs.compare.raw import SHOWN, Raw, merge_spellings, natural, shown
from boxwork.packs.compare.table import ASIDE, CATEGORY, DROPPED, KEPT, NUMBER, TIME, Column

# From so many rows on, a column in which nearly every row has its own value is one of identifiers.
IDENTIFIER_ROWS_MIN = 50
IDENTIFIER_SHARE = 0.99

ISO_TIME = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?)?")
THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?")


def column_of(
    source: Raw, alive: Any, kind: str, missing_share_max: float, number_share_min: float, categories_max: int,
    *, drop: bool, keep: bool, aside: bool,
) -> tuple[Column, Any]:  # fmt: skip
    """What becomes of one column, and its values if it stays."""
    codes = source.codes[alive]
    counts = np.bincount(codes[codes >= 0], minlength=len(source.labels))
    filled = int(counts.sum())
    column = Column(source.name, kind or CATEGORY, KEPT, "", notes=source.notes)
    column.missing = len(codes) - filled
    column.distinct = int((counts > 0).sum())
    if drop:
        return gone(column, "as asked (drop)")
    if not filled:
        return gone(column, "nothing in it")
    numbers = numbers_of(source.labels) if kind in ("", NUMBER) else None
    times = times_of(source.labels, filled, counts) if kind in ("", TIME) else None
    values: Any
    if numbers is not None and (kind == NUMBER or counts[np.isfinite(numbers)].sum() >= number_share_min * filled):
        column.kind, values = NUMBER, spread(numbers, codes)
        bad_values(column, source, counts, ~np.isfinite(numbers), "are no numbers and count as missing")
    elif times is not None and (kind == TIME or counts[np.isfinite(times)].sum() >= number_share_min * filled):
        column.kind, values = TIME, spread(times, codes)
        bad_values(column, source, counts, ~np.isfinite(times), "are no times and count as missing")
    else:
        merge_spellings(source, alive)
        codes = source.codes[alive]
        values, column.labels = compact(source.labels, codes)
        column.distinct = len(column.labels)
    column.missing = int((values < 0).sum() if column.kind == CATEGORY else np.isnan(values).sum())
    if column.kind != CATEGORY:
        column.distinct = int(np.unique(values[~np.isnan(values)]).size)
    if aside:
        column.action, column.why = ASIDE, "for the split alone"
        return column, values
    if keep:
        column.why = "as asked (keep)"
        return column, values
    return judged(column, values, len(codes), missing_share_max, categories_max)


def judged(column: Column, values: Any, rows: int, missing_share_max: float, categories_max: int) -> tuple[Column, Any]:
    """Does the column stay: not if it says nothing, or something else of each row."""
    filled = rows - column.missing
    whole = column.kind == CATEGORY or bool(np.all(values[~np.isnan(values)] % 1 == 0))
    if column.missing > missing_share_max * rows:
        return gone(column, f"{column.missing / rows:.1%} missing, more than {missing_share_max:.0%}")
    if column.distinct == 1 and not column.missing:
        return gone(column, "the same value in every row")
    if column.kind != TIME and whole and filled >= IDENTIFIER_ROWS_MIN and column.distinct >= IDENTIFIER_SHARE * filled:
        column.mark = "identifier"
        return gone(column, "an identifier or free text: nearly every row has its own value")
    if column.kind == CATEGORY and column.distinct > categories_max:
        return gone(column, f"free text: {column.distinct:,} distinct values, more than {categories_max:,}")
    return column, values


def gone(column: Column, why: str) -> tuple[Column, None]:
    column.action, column.why, column.labels = DROPPED, why, []
    return column, None


def numbers_of(labels: list[str]) -> Any:
    """Each label as a number, NaN where it is none: 12, 1e3, 1,234.5, $ 12, 40 %."""
    import pandas as pd

    read = pd.to_numeric(pd.Series(labels, dtype=object), errors="coerce")
    numbers = read.to_numpy(np.float64, na_value=np.nan).copy()
    for at in np.flatnonzero(np.isnan(numbers)):
        text = labels[at].strip("$€£% ")
        if THOUSANDS.fullmatch(text):
            text = text.replace(",", "")
        if text[:1].isdigit() or text[:1] in "+-.":
            try:
                numbers[at] = float(text)
            except ValueError:
                continue
    numbers[~np.isfinite(numbers)] = np.nan
    return numbers


def times_of(labels: list[str], filled: int, counts: Any) -> Any:
    """Each label as seconds since 1970, UTC where it names no zone; None if hardly one looks like a time."""
    import pandas as pd

    looks = np.array([ISO_TIME.fullmatch(label) is not None for label in labels])
    if counts[looks].sum() < 0.5 * filled:
        return None
    text = [label if good else None for label, good in zip(labels, looks, strict=True)]
    stamps = pd.to_datetime(pd.Series(text, dtype=object), errors="coerce", utc=True, format="ISO8601")
    seconds = (stamps - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(seconds=1)
    return seconds.to_numpy(np.float64, na_value=np.nan)


def spread(values: Any, codes: Any) -> Any:
    """From one value a label to one a row; `+ 0.0` makes -0.0 and 0.0 one."""
    return np.where(codes < 0, np.nan, values[codes]) + 0.0


def compact(labels: list[str], codes: Any) -> tuple[Any, list[str]]:
    """Categories in order of their names, and each row's place in them."""
    used = np.unique(codes[codes >= 0])
    order = sorted((int(at) for at in used), key=lambda at: natural(labels[at]))
    place = np.full(len(labels) + 1, -1, np.int32)
    for rank, at in enumerate(order):
        place[at] = rank
    return place[codes], [labels[at] for at in order]


def bad_values(column: Column, source: Raw, counts: Any, bad: Any, said: str) -> None:
    found = np.flatnonzero(bad & (counts > 0))
    if found.size:
        frequent = sorted(found, key=lambda at: (-int(counts[at]), source.labels[at]))[:SHOWN]
        examples = ", ".join(shown(source.labels[at]) for at in frequent)
        column.notes.append(f"{int(counts[found].sum()):,} cells {said}: {examples}")
