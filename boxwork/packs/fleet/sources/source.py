"""A source: where the rows of the table come from.  The text of a setting names it; agents never learn which it is."""

from __future__ import annotations

from typing import Any, Protocol
from urllib.parse import urlsplit

import msgspec

from boxwork import errors
from boxwork.packs.fleet.table import Raw

# What is read of any source at most, unless `fleet.source_bytes_max` says otherwise.
EXAMPLES = (
    "folder:/etc/fleet/hosts, tree:hosts, csv:https://sheets.example/pub?output=csv, csv:/etc/fleet/hosts.csv,"
    " sqlite:/var/lib/fleet.db?table=hosts, postgresql://reader@db/fleet?table=hosts"
)


class Limits(msgspec.Struct, frozen=True):
    """What reading may cost."""

    bytes_max: int
    timeout_s: float


class Reading(msgspec.Struct, frozen=True):
    """What was read: the bytes as they were seen, and the rows in them.  `unchanged` means: as at the last look."""

    data: bytes = b""
    rows: tuple[Raw, ...] = ()
    unchanged: bool = False


class SourceFailed(errors.BoxworkError):
    """The source did not answer, or not with a table; the last good one is served on."""

    code = "fleet.source"
    status = 502
    retry = "later"


class Source(Protocol):
    """One store of rows."""

    def read(self) -> Reading:
        """All rows, or `unchanged`.  Raises `SourceFailed`; it never waits longer than its limits."""
        ...


def open_source(text: str, limits: Limits, work: Any = None) -> Source:
    """The source that a setting names; `work` is the node for what lies in its own store."""
    scheme, _, rest = text.partition(":")
    if scheme == "folder" and rest:
        from boxwork.packs.fleet.sources.folder import Folder

        return Folder(rest, limits)
    if scheme == "tree" and rest and work is not None:
        from boxwork.packs.fleet.sources.stored_tree import StoredTree

        return StoredTree(rest, limits, work)
    if scheme == "csv" and rest:
        from boxwork.packs.fleet.sources.sheet import Sheet, SheetFile

        return Sheet(rest, limits) if urlsplit(rest).scheme in ("http", "https") else SheetFile(rest, limits)
    if scheme in ("sqlite", "postgresql") and rest:
        from boxwork.packs.fleet.sources.sql import Postgres, Sqlite

        return Sqlite(rest, limits) if scheme == "sqlite" else Postgres(text, limits)
    raise errors.BadInput(f"fleet.source = {text!r} names no source; for example: {EXAMPLES}", setting="fleet.source")


def shown(text: str) -> str:
    """The name of a source for pages and logs: without a password, were there one, and without a query's tokens."""
    parts = urlsplit(text)
    if "@" in parts.netloc:
        user, _, host = parts.netloc.rpartition("@")
        return parts._replace(netloc=f"{user.split(':')[0]}@{host}").geturl()
    return text
