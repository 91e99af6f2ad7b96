"""How a cleaned table lies in a blob: one `.npz` file, so numpy alone reads it, and one column costs one column.

    about    JSON in UTF-8, as bytes: columns, classes, report (see `About`)
    rows     int64: the row of the raw table, the first one behind the header is 1
    target   int32: the class, as its place in `about.classes`
    c0 c1 …  float64 (numbers, times in seconds since 1970; NaN is missing) or int32 (categories; -1 is missing)

Nothing in it is pickled.
"""

from __future__ import annotations

import io
from typing import Any, BinaryIO

import msgspec
import numpy as np

# What a column is used for: a feature, kept beside for the split, or not kept.
KEPT, ASIDE, DROPPED, TARGET = "kept", "aside", "dropped", "target"
NUMBER, TIME, CATEGORY = "number", "time", "category"
KINDS = (NUMBER, TIME, CATEGORY)


class Column(msgspec.Struct, forbid_unknown_fields=True):
    """What is known of a column and what was done with it.  `member` names its array, empty if it is not kept."""

    name: str
    kind: str
    action: str
    why: str
    distinct: int = 0
    missing: int = 0
    notes: list[str] = []
    member: str = ""
    labels: list[str] = []
    # why it was dropped, for the alarms: "identifier" or ""
    mark: str = ""


class Step(msgspec.Struct):
    """Rows that went, and why."""

    what: str
    rows: int


class Report(msgspec.Struct):
    """Rows in, rows out, and what happened between."""

    rows_in: int
    rows_out: int
    steps: list[Step]
    columns_in: int
    columns_out: int


class About(msgspec.Struct):
    target: str
    classes: list[str]
    columns: list[Column]
    report: Report


class CleanTable:
    """A cleaned table, read column by column."""

    # It is given a file in memory, whose bytes are an input of the box.
    __boxwork_ignores__ = ("numpy.load",)

    def __init__(self, file: BinaryIO) -> None:
        self._arrays: Any = np.load(file, allow_pickle=False)
        self.about = msgspec.json.decode(self._arrays["about"].tobytes(), type=About)

    @classmethod
    def of(cls, blob: Any) -> CleanTable:
        """Out of a `Blob` or bytes."""
        return cls(io.BytesIO(blob if isinstance(blob, bytes) else blob.read()))

    @property
    def features(self) -> list[Column]:
        return [column for column in self.about.columns if column.action == KEPT]

    @property
    def target(self) -> Any:
        return self._arrays["target"]

    @property
    def rows(self) -> Any:
        return self._arrays["rows"]

    def column(self, name: str) -> Column:
        return next(column for column in self.about.columns if column.name == name)

    def values(self, column: Column) -> Any:
        return self._arrays[column.member]


def packed(about: About, rows: Any, target: Any, members: dict[str, Any]) -> bytes:
    """The bytes of a cleaned table; the same table makes the same bytes."""
    file = io.BytesIO()
    text = np.frombuffer(msgspec.json.encode(about), np.uint8)
    np.savez(file, about=text, rows=rows.astype(np.int64), target=target.astype(np.int32), **members)
    return file.getvalue()
