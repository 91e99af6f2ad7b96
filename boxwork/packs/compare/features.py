"""From a cleaned table and a split to what estimators take.  What is fitted is fitted on the training part alone."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from boxwork import Blob
from boxwork.packs.compare.table import CATEGORY, CleanTable

# Categories of one column that become a column each; rarer ones share one.
ONE_HOT_MAX = 40


class Parts(NamedTuple):
    """Features as float32, missing as NaN, categories as numbers; `category` says which columns those are."""

    train: Any
    train_target: Any
    test: Any
    category: Any


def parts_of(cleaned: Blob, part: Any) -> Parts:
    table = CleanTable.of(cleaned)
    columns = table.features
    whole = np.empty((len(part), len(columns)), np.float32)
    for at, column in enumerate(columns):
        values = table.values(column)
        # Seconds since 1970 do not fit float32: days do, to the minute.
        whole[:, at] = values / 86_400 if column.kind == "time" else values
        if column.kind == CATEGORY:
            whole[values < 0, at] = np.nan
    category = np.array([column.kind == CATEGORY for column in columns])
    train, test = part == 0, part == 1
    return Parts(whole[train], table.target[train], whole[test], category)


def scaled(category: Any, *, dense: bool = False) -> Any:
    """A transformer for estimators that add up: numbers filled in and scaled, a column for each category."""
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    numbers = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
    words = make_pipeline(
        SimpleImputer(strategy="constant", fill_value=-1.0),
        OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=ONE_HOT_MAX, sparse_output=not dense),
    )
    return ColumnTransformer(
        [("numbers", numbers, np.flatnonzero(~category)), ("words", words, np.flatnonzero(category))],
        sparse_threshold=0.0 if dense else 0.3,
    )
