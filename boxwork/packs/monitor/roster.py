"""All checks as they stand now, in memory: the newest result, the status, the last results of each.

Results are observations, and what changes in a status is a fact; after a restart both are read back from there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from boxwork.packs.monitor.book import Book, Check
from boxwork.packs.monitor.incident import Incident
from boxwork.packs.monitor.outcome import OK, Outcome
from boxwork.packs.monitor.triage import Rules, Seen, is_due
from boxwork.packs.monitor.verdict import WINDOW, Status, step

SECOND_NS = 1_000_000_000
KIND = "monitor.result"
# Results that a page draws beside each check.  Unit: results.
RECENT = 40

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Outcome).decode


class Entry:
    """One check of the book and what is known of it."""

    def __init__(self, name: str, check: Check, above: tuple[str, ...], status: Status) -> None:
        self.name = name
        self.check = check
        self.above = above
        self.status = status
        self.last: Outcome | None = None
        # (state, milliseconds) of the last results, the oldest first
        self.recent: deque[tuple[int, float]] = deque(maxlen=RECENT)
        self.window: deque[int] = deque(maxlen=WINDOW)
        self.revision = 0
        # label of a figure → its series in pulse
        self.series: dict[str, str] = {}

    def heard(self, outcome: Outcome) -> None:
        """One more result."""
        self.window.append(outcome.state)
        text = outcome.text
        self.status = step(self.status, self.window, outcome.state, text, outcome.at_ns, self.check.attempts)
        self.show(outcome)

    def show(self, outcome: Outcome) -> None:
        self.last = outcome
        self.recent.append((outcome.state, round(outcome.took_ns / 1e6, 2)))

    @property
    def is_bad(self) -> bool:
        return self.status.hard in self.check.opens

    @property
    def retry_ns(self) -> int:
        """How soon it is asked again; 0: at its next place."""
        return int(self.check.retry_s * SECOND_NS) if self.status.is_soft and self.status.state != OK else 0

    @property
    def seen(self) -> Seen:
        return Seen(self.status, self.is_bad, self.above)


class Roster:
    """The checks by name.  `revision` grows with every result, and each entry has that of its last one."""

    def __init__(self, work: Any) -> None:
        self.work = work
        self.entries: dict[str, Entry] = {}
        self.revision = 0

    def take(self, book: Book, statuses: Mapping[str, Status]) -> None:
        """These are the checks now; a new one is as the facts and observations have it."""
        old = self.entries
        made = {}
        for name, check in book.checks.items():
            above = tuple(book.above(name))
            entry = old.get(name)
            if entry is None:
                entry = Entry(name, check, above, statuses.get(name, Status()))
                self._recall(entry)
            else:
                entry.check, entry.above = check, above
            self.revision += 1
            entry.revision = self.revision
            made[name] = entry
        self.entries = made

    def _recall(self, entry: Entry) -> None:
        for outcome in reversed(self.history(entry.name, RECENT)):
            entry.window.append(outcome.state)
            entry.show(outcome)

    def history(self, name: str, count: int) -> list[Outcome]:
        """The newest results, the newest first."""
        rows = self.work.history(KIND, name, limit=count, newest_first=True)
        return [_decode(self.work.get(row.ref)) for row in rows]

    def heard(self, name: str, outcome: Outcome) -> Entry | None:
        entry = self.entries.get(name)
        if entry is not None:
            entry.heard(outcome)
            self.revision += 1
            entry.revision = self.revision
        return entry

    def keep(self, name: str, outcome: Outcome) -> None:
        """The result is on disk when this returns."""
        self.work.observe(KIND, _encode(outcome), source=name, at=outcome.at_ns)

    def news(self, mirror: Any, rules: Rules, now_ns: int) -> dict[str, Seen] | None:
        """What a look at the incidents needs; None if nothing would come of it."""
        going: list[Incident] = mirror.going()
        homes = {name: one for one in going if not one.is_over for name in one.members}
        windows = mirror.windows(now_ns)

        def is_silent(entry: Entry) -> bool:
            return any(one.covers(entry.name, entry.above, now_ns) for one in windows)

        changed = {n: e.seen for n, e in list(self.entries.items()) if mirror.status.get(n) != e.status and e.last}
        gone = {n: Seen(s, False, gone=True) for n, s in list(mirror.status.items()) if n not in self.entries}
        lonely = {
            n: e.seen
            for n, e in list(self.entries.items())
            if e.is_bad and e.last and n not in homes and mirror.closed.get(n) != e.status.episode and not is_silent(e)
        }
        moved = any(
            (entry is None or not entry.is_bad or is_silent(entry)) == (not home.members[name].well_ns)
            for name, home in homes.items()
            for entry in (self.entries.get(name),)
        )
        due = any(is_due(one, rules, self._flaps(one), now_ns) for one in going)
        if not (changed or gone or lonely or moved or due):
            return None
        members = {name: self._seen(name) for name in homes}
        return {**members, **changed, **lonely, **gone}

    def _seen(self, name: str) -> Seen:
        entry = self.entries.get(name)
        return entry.seen if entry is not None else Seen(Status(), False, gone=True)

    def _flaps(self, incident: Incident) -> bool:
        return any(self.entries[name].status.flapping for name in incident.members if name in self.entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(list(self.entries.values()))
