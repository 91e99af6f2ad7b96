"""A column as it comes in: its distinct texts, and which one each row has.  All that is cheap because of that."""

from __future__ import annotations

from typing import Any

import numpy as np

# Of bad values this many are shown, and of a value this many characters.
SHOWN, SHOWN_CHARACTERS = 3, 24


class Raw:
    """A column as text: each row is a place in `labels`, or -1 where there is nothing."""

    def __init__(self, name: str, series: Any, marks: frozenset[str]) -> None:
        import pandas as pd

        codes, uniques = pd.factorize(series)
        labels = [str(value).strip() for value in uniques]
        places = np.array([-1 if label.casefold() in marks else at for at, label in enumerate(labels)] or [-1])
        # What is equal after trimming is one value.
        first: dict[str, int] = {}
        same = np.array([first.setdefault(label, at) for at, label in enumerate(labels)] or [0])
        self.name = name
        self.labels = labels
        self.codes = np.where(codes < 0, -1, np.where(places[codes] < 0, -1, same[codes])).astype(np.int64)
        self.notes: list[str] = []


def merge_spellings(source: Raw, alive: Any) -> None:
    """Values that differ in case alone become the most frequent one of them."""
    counts = np.bincount(source.codes[alive][source.codes[alive] >= 0], minlength=len(source.labels))
    groups: dict[str, list[int]] = {}
    for at in np.flatnonzero(counts):
        groups.setdefault(source.labels[at].casefold(), []).append(int(at))
    to = np.arange(len(source.labels))
    merged = []
    for group in groups.values():
        if len(group) > 1:
            best = max(group, key=lambda at: (int(counts[at]), source.labels[at]))
            to[group] = best
            merged.append(
                f"{', '.join(shown(source.labels[at]) for at in group if at != best)} → {source.labels[best]}"
            )
    if merged:
        source.codes = np.where(source.codes < 0, -1, to[source.codes])
        more = f" and {len(merged) - SHOWN} more" if len(merged) > SHOWN else ""
        source.notes.append(f"spellings merged: {'; '.join(merged[:SHOWN])}{more}")


def shown(text: str) -> str:
    return repr(text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…")


def natural(text: str) -> tuple[int, float, str]:
    """Numbers in their order, before words in theirs."""
    try:
        return (0, float(text), text)
    except ValueError:
        return (1, 0.0, text)
