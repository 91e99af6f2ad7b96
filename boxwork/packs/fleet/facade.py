"""The facade: one face for whatever store the rows lie in, with the last good table behind it.

A look reads the source, checks every row against the release that is current, and only then records what was seen as
an observation.  What does not pass is told, and what was good stays.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import Any

import msgspec

from boxwork import errors
from boxwork.packs.fleet.overrides import Overrides, overlaid
from boxwork.packs.fleet.release import Kind
from boxwork.packs.fleet.sources.source import Limits, Source, open_source, shown
from boxwork.packs.fleet.table import Raw, Table, check

log = logging.getLogger("boxwork.fleet")

OBSERVED = "fleet.source"


class Health(msgspec.Struct, frozen=True):
    """How the source is: when it last answered well (0: not since this server began), and what is wrong now."""

    source: str
    checked_at_ns: int = 0
    good_at_ns: int = 0
    problem: str = ""
    rows: int = 0


class Facade:
    """Over one source.  Safe from several threads; looks happen one after another."""

    def __init__(self, work: Any, text: str) -> None:
        settings = work.settings
        self.work = work
        self.text = text
        self.name = shown(text)
        limits = Limits(settings.integer("fleet.source_bytes_max"), settings.number("fleet.source_timeout_s"))
        self.source: Source | None = open_source(text, limits, work) if text else None
        self.health = Health(self.name)
        self._raw: tuple[Raw, ...] | None = None
        self._lock = threading.Lock()
        # Rows that passed the check with these kinds, so that an unchanged source is not checked again.
        self._checked: tuple[Mapping[str, Kind], Overrides, Table] | None = None

    def rows(self) -> tuple[Raw, ...]:
        """What the source has now, unchecked.  Raises `SourceFailed`."""
        if self.source is None:
            raise errors.BadInput("no source is set: set fleet.source, for example --set fleet.source=csv:hosts.csv")
        reading = self.source.read()
        if not reading.unchanged:
            self._raw, self._checked, self._data = reading.rows, None, reading.data
        return self._raw or ()

    def table(self, kinds: Mapping[str, Kind], overrides: Overrides) -> Table:
        """The checked table of a look now.  Raises `SourceFailed` or `BadTable`; `health` says so, too."""
        with self._lock:
            now = self.work.clock.now_ns()
            try:
                raw = self.rows()
                known = self._checked
                if known is None or known[0] is not kinds or known[1] is not overrides:
                    table = check(overlaid(raw, overrides), kinds)
                    if known is None or known[0] is not kinds:
                        self.work.observe(OBSERVED, self._data, source=self.name)
                    self._checked = known = (kinds, overrides, table)
                table = known[2]
            except errors.BoxworkError as fault:
                if self.health.problem != fault.message:
                    log.warning("the fleet's source: %s", fault.message)
                self.health = msgspec.structs.replace(self.health, checked_at_ns=now, problem=fault.message)
                raise
            if self.health.problem:
                log.info("the fleet's source is good again", extra={"source": self.name})
            self.health = Health(self.name, now, now, "", len(table.rows))
            return table

    def tried(self, kinds: Mapping[str, Kind], overrides: Overrides) -> list[Raw]:
        """The source's rows, if they are good with these overrides.  Raises `BadTable`; nothing is kept or told."""
        with self._lock:
            rows = self.rows()
            check(overlaid(rows, overrides), kinds)
            return list(rows)

    def source_row(self, host: str) -> Mapping[str, Any] | None:
        """What the source said of a host when it was last read; None: it was not, or has no such row."""
        return next((row.values for row in self._raw or () if str(row.values.get("host") or "").strip() == host), None)

    def last_seen_ns(self) -> int:
        """When the newest good reading was recorded, also by an earlier run of the server; 0: never."""
        if not self.text:
            return 0
        seen = self.work.latest(OBSERVED, self.name)
        return seen.at_ns if seen is not None else 0


def difference(old: Table | None, new: Table, most: int = 3) -> str:
    """What changed between two tables, for the reason of a version: the first few hosts with their columns."""
    if old is None:
        return f"{len(new.rows)} hosts"
    told: list[str] = []
    changed = 0
    for host in sorted(old.rows.keys() | new.rows.keys()):
        before, after = old.rows.get(host), new.rows.get(host)
        if before == after:
            continue
        changed += 1
        if len(told) >= most:
            continue
        if before is None or after is None:
            told.append(f"{host} {'is new' if before is None else 'is gone'}")
        else:
            names = [name for name in after.keys() | before.keys() if before.get(name) != after.get(name)]
            pairs = (f"{name} {before.get(name)} → {after.get(name)}" for name in sorted(names))
            told.append(f"{host}: {', '.join(pairs)}")
    more = f" and {changed - len(told)} more hosts" if changed > len(told) else ""
    return ("; ".join(told) + more) or "no row differs"
