"""An SQL table as a source: SQLite or PostgreSQL, read only, in one snapshot."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import msgspec

from boxwork import errors
from boxwork.packs.fleet.sources.source import Limits, Reading, SourceFailed, shown
from boxwork.packs.fleet.table import ROWS_MAX, Raw

# A table's name goes into the question: nothing but a name is let in, so it needs no quoting rules.
TABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)?")
# How long SQLite waits for a writer is part of the timeout; PostgreSQL counts in milliseconds.
MILLISECONDS = 1000


def _table_of(query: str, text: str) -> str:
    name = parse_qs(query).get("table", ["hosts"])[-1]
    if not TABLE.fullmatch(name):
        raise errors.BadInput(f"fleet.source {shown(text)!r}: {name!r} is no name of a table", setting="fleet.source")
    return name


def _reading(columns: Sequence[str], rows: Iterable[Sequence[Any]], limits: Limits) -> Reading:
    found: list[Raw] = []
    size = 0
    for row in rows:
        values = {name: _plain(value) for name, value in zip(columns, row, strict=True) if value is not None}
        size += sum(len(str(value)) for value in values.values())
        if size > limits.bytes_max or len(found) >= ROWS_MAX:
            raise SourceFailed(
                f"the table has more than {ROWS_MAX:,} rows or {limits.bytes_max:,} bytes (setting"
                " fleet.source_bytes_max)"
            )
        found.append(Raw(f"the row of {values.get('host', 'nobody')}", values))
    if "host" not in columns:
        raise SourceFailed(f"the table has no column 'host'; it has {', '.join(columns)}")
    data = msgspec.json.encode([row.values for row in found], order="deterministic", enc_hook=str)
    return Reading(data, tuple(found))


def _plain(value: Any) -> Any:
    """NUMERIC comes as Decimal, which is a number here; every other type stays for the check of its column."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return value


class Sqlite:
    """A table of an SQLite file.  It is opened for reading only, so that no writer is ever in our way or we in its."""

    def __init__(self, rest: str, limits: Limits) -> None:
        path, _, query = rest.partition("?")
        self.path = Path(path.removeprefix("//")).expanduser()
        self.table = _table_of(query, f"sqlite:{rest}")
        self.limits = limits

    def read(self) -> Reading:
        address = f"file:{quote(str(self.path))}?mode=ro"
        try:
            with sqlite3.connect(address, uri=True, timeout=self.limits.timeout_s) as database:
                cursor = database.execute(f"SELECT * FROM {self.table} ORDER BY host")
                return _reading([column[0] for column in cursor.description], cursor, self.limits)
        except sqlite3.Error as fault:
            raise SourceFailed(f"the table {self.table} in {self.path} cannot be read: {fault}") from None
        finally:
            if "database" in locals():
                database.close()


class Postgres:
    """A table of a PostgreSQL server.  The password comes from its own places (`PGPASSFILE`, `PGPASSWORD`)."""

    def __init__(self, text: str, limits: Limits) -> None:
        parts = urlsplit(text)
        self.table = _table_of(parts.query, text)
        rest = "&".join(pair for pair in parts.query.split("&") if pair and not pair.startswith("table="))
        self.address = parts._replace(query=rest).geturl()
        self.limits = limits

    def read(self) -> Reading:
        try:
            import psycopg
        except ModuleNotFoundError:
            raise SourceFailed("psycopg is not installed: pip install 'boxwork[fleet]'") from None
        deadline_ms = int(self.limits.timeout_s * MILLISECONDS)
        try:
            with (
                psycopg.connect(
                    self.address,
                    connect_timeout=max(1, int(self.limits.timeout_s)),
                    options=f"-c statement_timeout={deadline_ms} -c default_transaction_read_only=on",
                    application_name="boxwork-fleet",
                ) as server,
                # A named cursor: the server sends rows as they are asked for, so the limit holds before they are here.
                server.cursor("boxwork_fleet") as cursor,
            ):
                cursor.execute(f"SELECT * FROM {self.table} ORDER BY host")
                first = cursor.fetchmany(1)
                columns = [column.name for column in cursor.description or ()]
                return _reading(columns, _all(first, cursor), self.limits)
        except psycopg.Error as fault:
            told = str(fault).strip().splitlines()[0] if str(fault).strip() else type(fault).__name__
            raise SourceFailed(f"the table {self.table} of {shown(self.address)} cannot be read: {told}") from None


def _all(first: list[Any], cursor: Iterable[Any]) -> Iterable[Any]:
    yield from first
    yield from cursor
