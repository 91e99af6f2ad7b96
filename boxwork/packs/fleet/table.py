"""The table of hosts: one row each, checked and in one spelling, whatever store it came from.

Equal rows are equal bytes, so a table has one ref: moving it from a spreadsheet to a database changes nothing, and
nobody is told of nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from boxwork import Ref, errors, ref_of
from boxwork.packs.fleet.protocol import HOST_NAME
from boxwork.packs.fleet.release import SECRET, Column, Kind, Value, value_type

_HOST_NAME = re.compile(HOST_NAME)
# Mistakes told at once: a column that was renamed makes one for each row.
MISTAKES_SHOWN = 20
# Rows of one table.  Unit: hosts; a row is about 200 bytes in memory, an order of magnitude above the 5,000 measured.
ROWS_MAX = 100_000


class Raw(msgspec.Struct, frozen=True):
    """A row as its store has it; `where` is how its owner finds it (`line 7`, `hosts/web1.toml`)."""

    where: str
    values: dict[str, Any]


class Mistake(msgspec.Struct, frozen=True):
    """One value that cannot be."""

    where: str
    host: str
    column: str
    message: str

    def __str__(self) -> str:
        who = f" ({self.host})" if self.host else ""
        return f"{self.where}{who}, column {self.column}: {self.message}"


class BadTable(errors.BadInput):
    """The rows do not fit the release; nothing of them is served."""

    code = "fleet.table"
    status = 422


class Table(msgspec.Struct, frozen=True):
    """Checked rows by host.  `kind` of a host is in its row where the release has several."""

    rows: dict[str, dict[str, Value]]

    def to_bytes(self) -> bytes:
        return msgspec.json.encode(self, order="deterministic")

    @classmethod
    def from_bytes(cls, data: bytes) -> Table:
        return msgspec.json.decode(data, type=cls)

    @property
    def ref(self) -> Ref:
        return ref_of(self.to_bytes())


def check(raw: Sequence[Raw], kinds: Mapping[str, Kind]) -> Table:
    """The table of these rows.  Raises `BadTable` with every mistake's row and column."""
    if len(raw) > ROWS_MAX:
        raise BadTable(f"there are {len(raw):,} rows; a fleet has at most {ROWS_MAX:,} hosts")
    rows: dict[str, dict[str, Value]] = {}
    seen: dict[str, str] = {}
    mistakes: list[Mistake] = []
    for row in raw:
        host = str(row.values.get("host") or "").strip()
        if not _HOST_NAME.fullmatch(host):
            message = f"{host!r} is no host name: lower-case letters, digits, '.', '-', '_'" if host else "is empty"
            mistakes.append(Mistake(row.where, "", "host", message))
            continue
        if host in seen:
            mistakes.append(Mistake(row.where, host, "host", f"stands twice, also in {seen[host]}"))
            continue
        seen[host] = row.where
        rows[host] = _row(row, host, kinds, mistakes)
    if mistakes:
        raise BadTable(_told(mistakes), mistakes=[msgspec.to_builtins(mistake) for mistake in mistakes])
    return Table(rows)


def _told(mistakes: Sequence[Mistake]) -> str:
    shown = "; ".join(map(str, mistakes[:MISTAKES_SHOWN]))
    more = f"; and {len(mistakes) - MISTAKES_SHOWN} more" if len(mistakes) > MISTAKES_SHOWN else ""
    count = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
    return f"{count} in the table, nothing of it is served: {shown}{more}"


def _row(raw: Raw, host: str, kinds: Mapping[str, Kind], mistakes: list[Mistake]) -> dict[str, Value]:
    values: dict[str, Value] = {}
    kind = kinds.get("")
    if kind is None:
        name = str(raw.values.get("kind") or "").strip()
        kind = kinds.get(name)
        if kind is None:
            known = ", ".join(sorted(kinds))
            mistakes.append(Mistake(raw.where, host, "kind", f"{name!r} is none of {known}"))
            return values
        values["kind"] = name
    columns = kind.manifest.columns
    for name, column in columns.items():
        given = raw.values.get(name)
        if isinstance(given, str):
            given = given.strip()
        if given is None or given == "":
            if column.default is not None:
                values[name] = msgspec.convert(column.default, value_type(column), strict=False)
            elif column.required:
                mistakes.append(Mistake(raw.where, host, name, f"is empty: {_wanted(column)}"))
            continue
        try:
            values[name] = _converted(given, column)
        except (msgspec.ValidationError, ValueError):
            told = f"{SECRET}…" if column.type == "secret" and not str(given).startswith(SECRET) else repr(given)[:80]
            mistakes.append(Mistake(raw.where, host, name, f"{told} is not allowed: {_wanted(column)}"))
    for name in raw.values:
        if name not in columns and name not in ("host", "kind") and raw.values[name] not in (None, ""):
            mistakes.append(Mistake(raw.where, host, str(name), "the release has no such column"))
    return values


def _converted(given: Any, column: Column) -> Value:
    """A store's own types and a spreadsheet's texts come to the same value."""
    if column.type in ("text", "choice", "secret") and not isinstance(given, str):
        given = str(given)
    if column.type == "flag" and isinstance(given, str):
        low = given.lower()
        given = {"yes": True, "no": False, "on": True, "off": False}.get(low, low)
    if column.type == "integer" and isinstance(given, float) and given.is_integer():
        given = int(given)
    value: Value = msgspec.convert(given, value_type(column), strict=False)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(given)
    return value


def _wanted(column: Column) -> str:
    """What may stand there, for people."""
    match column.type:
        case "choice":
            return f"one of {', '.join(column.choices)}, please"
        case "flag":
            return "yes or no, please"
        case "secret":
            return "a reference secret:NAME, please, never the secret itself"
        case "integer" | "number":
            what = "a whole number" if column.type == "integer" else "a number"
            low, high = column.min, column.max
            if low is not None and high is not None:
                return f"{what} from {low:g} to {high:g}, please"
            if low is not None or high is not None:
                return f"{what} of at {'least' if low is not None else 'most'} {low if low is not None else high:g}"
            return f"{what}, please"
        case _:
            rule = f" that matches {column.pattern}" if column.pattern else ""
            return f"a text of at most {column.length_max} characters{rule}, please"
