"""What an incident is, and what is kept beside it.

("monitor", "epoch")             the name of this line of decisions; part of every notice's id
("monitor", "last")              the number of the newest incident
("monitor", "incidents", n)      Incident
("monitor", "active", n)         True while it is not over
("monitor", "status", check)     Status, whenever it changed
("monitor", "of", check)         the newest incident that the check was in
("monitor", "closed", check)     the episode of it that a person closed
("monitor", "silences", id)      Silence
("monitor", "notices", id)       Notice that is still to be delivered
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Literal

import msgspec

State = Literal["open", "acknowledged", "resolved", "merged"]
Kind = Literal["failure", "storm", "flapping"]

# Entries of one incident's timeline; the oldest but the first make room.  Unit: entries, about 150 bytes each.
ENTRIES_MAX = 300
# Runs of runbooks that one incident remembers.  Unit: runs; its runbook's `tries` are far fewer.
RUNS_MAX = 50
# Incidents that are kept; the oldest that is over makes room.  Unit: incidents.
INCIDENTS_MAX = 5_000


class Member(msgspec.Struct, frozen=True):
    """A check that is in an incident.  `well_ns` is 0 while it is bad; `above` is everything that it needs."""

    joined_ns: int
    state: int
    episode: int
    text: str = ""
    well_ns: int = 0
    because: str = ""
    above: tuple[str, ...] = ()


class Entry(msgspec.Struct, frozen=True):
    """One line of the timeline."""

    at_ns: int
    what: str
    text: str = ""
    who: str = ""
    check: str = ""


class Run(msgspec.Struct, frozen=True):
    """One run of a runbook.  `outcome`: running, helped, did not help, failed, interrupted."""

    check: str
    runbook: str
    began_ns: int
    outcome: str = "running"
    ended_ns: int = 0
    code: int = 0
    output: str = ""
    text: str = ""


class Incident(msgspec.Struct, frozen=True):
    """`key` is what failed first, or what the others need.  `told` is the last word that went out: opened, resolved."""

    number: int
    key: str
    opened_ns: int
    kind: Kind = "failure"
    state: State = "open"
    members: dict[str, Member] = {}
    entries: tuple[Entry, ...] = ()
    runs: tuple[Run, ...] = ()
    begun_ns: int = 0
    resolved_ns: int = 0
    who: str = ""
    note: str = ""
    told: str = ""
    reopened: int = 0
    into: int = 0

    @property
    def is_over(self) -> bool:
        return self.state in ("resolved", "merged")

    @property
    def bad(self) -> list[str]:
        """The members that are not well."""
        return [name for name, member in self.members.items() if not member.well_ns]

    @property
    def title(self) -> str:
        others = len(self.members) - 1
        if self.kind == "storm":
            return f"Storm: {len(self.members)} checks failed together, {self.key} first"
        if self.kind == "flapping" and not others:
            return f"{self.key} is flapping"
        beside = f" and {others} that need it" if others and self._all_need_key else f" and {others} more"
        return f"{self.key} failed" + (beside if others else "")

    def tries_of(self, check: str) -> int:
        """How often the runbook of a member has run since it last helped."""
        done = 0
        for run in self.runs:
            if run.check == check:
                done = 0 if run.outcome == "helped" else done + 1
        return done

    @property
    def _all_need_key(self) -> bool:
        return all(self.key in member.above for name, member in self.members.items() if name != self.key)

    def tell(self, at_ns: int, what: str, text: str = "", who: str = "", check: str = "") -> Incident:
        """With one more line in its timeline."""
        entries = (*self.entries, Entry(at_ns, what, text, who, check))
        if len(entries) > ENTRIES_MAX:
            entries = (entries[0], *entries[-ENTRIES_MAX + 1 :])
        return msgspec.structs.replace(self, entries=entries)


class Silence(msgspec.Struct, frozen=True):
    """A maintenance window: what it names opens no incident meanwhile, nor does what needs that."""

    id: str
    checks: str
    from_ns: int
    until_ns: int
    who: str
    why: str

    def covers(self, name: str, above: Iterable[str], now_ns: int) -> bool:
        """`checks` is a name, or a pattern with * and ?."""
        if not self.from_ns <= now_ns < self.until_ns:
            return False
        return any(fnmatchcase(one, self.checks) for one in (name, *above))


class Notice(msgspec.Struct, frozen=True):
    """What one target has still to be told."""

    id: str
    incident: int
    what: str
    target: str
    at_ns: int
