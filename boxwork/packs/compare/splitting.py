"""The split: which rows are learned from, and which test what was learned.  One byte a row: 0 train, 1 test."""

from __future__ import annotations

from typing import Literal

import numpy as np

from boxwork import Blob, derivation
from boxwork.packs.compare.table import CATEGORY, CleanTable

By = Literal["stratified", "random", "group", "time"]
BYS = ("stratified", "random", "group", "time")
SPLIT_S_MAX = 600.0
SPLIT_BYTES_MAX = 4 * 1024**3


@derivation(name="compare_split", worker="process", timeout_s=SPLIT_S_MAX, memory_bytes_max=SPLIT_BYTES_MAX)
def split(
    cleaned: Blob, test_share: float = 0.25, seed: int = 0, by: By = "stratified", column: str = ""
) -> np.ndarray:
    """The part of each row.

    stratified  each class has the same share in both parts
    random      by chance alone
    group       rows with the same value of `column` stay together; a missing value is a group of its own
    time        the rows that are latest by `column` are the test; those without a time are learned from
    """
    from sklearn import model_selection

    table = CleanTable.of(cleaned)
    target = table.target
    rows = np.arange(len(target))
    if by in ("group", "time"):
        found = table.column(column)
        values = table.values(found)
    if by == "time":
        if found.kind == CATEGORY:
            raise ValueError(f"{column} is no time and no number: it has no order to split by")
        order = np.argsort(np.nan_to_num(values, nan=-np.inf), kind="stable")
        test = order[len(rows) - round(test_share * len(rows)) :]
    elif by == "group":
        groups = np.where(np.isnan(values), -1.0, values) if found.kind != CATEGORY else values
        if len(np.unique(groups)) < 2:
            raise ValueError(f"all rows have the same {column}: a split by group needs two or more")
        chance = model_selection.GroupShuffleSplit(n_splits=1, test_size=test_share, random_state=seed)
        _, test = next(chance.split(rows, target, groups))
    elif by == "stratified":
        _, test = model_selection.train_test_split(rows, test_size=test_share, random_state=seed, stratify=target)
    else:
        _, test = model_selection.train_test_split(rows, test_size=test_share, random_state=seed)
    part = np.zeros(len(rows), np.int8)
    part[test] = 1
    unlearned = set(range(len(table.about.classes))) - set(np.unique(target[part == 0]).tolist())
    if unlearned or not part.any():
        names = ", ".join(table.about.classes[at] for at in sorted(unlearned))
        raise ValueError(
            f"no row of {names} is left to learn from" if unlearned else f"a test of {test_share} has no rows"
        )
    return part
