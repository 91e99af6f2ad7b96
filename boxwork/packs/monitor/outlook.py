"""The monitor as plain values: what the API answers, the pages show, and the command line prints."""

from __future__ import annotations

import contextlib
from typing import Any

import msgspec

from boxwork import errors
from boxwork.packs.monitor.incident import Incident, Silence
from boxwork.packs.monitor.outcome import WORDS, Outcome
from boxwork.packs.monitor.roster import Entry

# Incidents of a list, and results of a check's page.
INCIDENTS_SHOWN = 50
RESULTS_SHOWN = 200
# Of the output of a runbook, what a page shows; the blob has all that was kept.  Unit: bytes.
OUTPUT_SHOWN = 16 * 1024
# Incidents that a check's page looks for it in.  Unit: incidents.
LOOKED_THROUGH = 1_000


class Outlook:
    """Over one monitor."""

    def __init__(self, monitor: Any) -> None:
        self.monitor = monitor

    @property
    def has_facts(self) -> bool:
        """Is anything known: before the first book no facts are opened, so that another process may."""
        return self.monitor.rounds.running or self.monitor.work.node.own_engine is not None

    def state(self) -> dict[str, Any]:
        """Counts, the open incidents, the newest others, maintenance windows, and what is wrong with the book."""
        rounds, now = self.monitor.rounds, self.monitor.work.clock.now_ns()
        counts = dict.fromkeys((*WORDS, "pending"), 0)
        for entry in self.monitor.roster:
            counts[_word(entry)] += 1
        told: dict[str, Any] = {
            "now_ns": now,
            "book": str(self.monitor.path.name),
            "running": rounds.running,
            "trouble": rounds.trouble,
            "counts": counts,
            "checks": sum(counts.values()),
            "incidents": [],
            "over": [],
            "silences": [],
        }
        if self.has_facts:
            mirror = self.monitor.mirror
            newest = mirror.newest(INCIDENTS_SHOWN * 4)
            going = [one for one in mirror.going() if not one.is_over]
            told["incidents"] = [self.brief(one) for one in sorted(going, key=_urgency)]
            over = [one for one in newest if one.state == "resolved"]
            told["over"] = [self.brief(one) for one in over[:INCIDENTS_SHOWN]]
            told["silences"] = [_window(one, now) for one in mirror.windows(now)]
        return told

    def rows(self, since: int = 0, *, recent: bool = True) -> list[dict[str, Any]]:
        """The checks that have a result newer than this revision; what is wrong first."""
        entries = [entry for entry in self.monitor.roster if entry.revision > since]
        homes, silent = self._homes(), self._silent()
        return [self._row(entry, homes, silent, recent) for entry in sorted(entries, key=_rank)]

    def _homes(self) -> dict[str, int]:
        if not self.has_facts:
            return {}
        going = [one for one in self.monitor.mirror.going() if not one.is_over]
        return {name: one.number for one in going for name in one.bad}

    def _silent(self) -> list[Silence]:
        now = self.monitor.work.clock.now_ns()
        if not self.has_facts:
            return []
        return [one for one in self.monitor.mirror.windows(now) if one.from_ns <= now]

    def _row(self, entry: Entry, homes: dict[str, int], silent: list[Silence], recent: bool) -> dict[str, Any]:
        status, last = entry.status, entry.last
        now = self.monitor.work.clock.now_ns()
        row: dict[str, Any] = {
            "name": entry.name,
            "state": _word(entry),
            "soft": status.is_soft,
            "attempt": status.attempt,
            "attempts": entry.check.attempts,
            "flapping": status.flapping,
            "since_ns": status.hard_since_ns,
            "text": last.text if last is not None else "",
            "at_ns": last.at_ns if last is not None else 0,
            "ms": round(last.took_ns / 1e6, 1) if last is not None else None,
            "incident": homes.get(entry.name, 0),
            "silent": any(one.covers(entry.name, entry.above, now) for one in silent),
        }
        if recent:
            row["recent"] = list(entry.recent)
        return row

    def check(self, name: str) -> dict[str, Any]:
        """One check with its history.  Raises `NotFound`."""
        entry = self.entry(name)
        history = self.monitor.roster.history(name, RESULTS_SHOWN)
        incidents = []
        if self.has_facts:
            newest = self.monitor.mirror.newest(LOOKED_THROUGH)
            incidents = [self.brief(one) for one in newest if name in one.members and one.state != "merged"]
        last = entry.last
        return {
            **self._row(entry, self._homes(), self._silent(), True),
            "check": {**msgspec.to_builtins(entry.check), "headers": sorted(entry.check.headers)},
            "kind": entry.check.kind,
            "what": entry.check.what,
            "above": list(entry.above),
            "needed_by": sorted(one.name for one in self.monitor.roster if name in one.check.needs),
            "long": last.long if last is not None else "",
            "figures": [
                {**msgspec.to_builtins(one), "series": entry.series.get(one.label, "")}
                for one in (last.figures if last is not None else ())
            ],
            "history": [_result(one) for one in history],
            "incidents": incidents[:INCIDENTS_SHOWN],
        }

    def entry(self, name: str) -> Entry:
        found = self.monitor.roster.entries.get(name)
        if found is None:
            raise errors.NotFound(f"there is no check {name!r} in the book {self.monitor.path.name}", check=name)
        return found  # type: ignore[no-any-return]

    def brief(self, incident: Incident) -> dict[str, Any]:
        return {
            "number": incident.number,
            "title": incident.title,
            "kind": incident.kind,
            "state": incident.state,
            "opened_ns": incident.opened_ns,
            "resolved_ns": incident.resolved_ns,
            "who": incident.who,
            "note": incident.note,
            "checks": len(incident.members),
            "bad": len(incident.bad) if not incident.is_over else 0,
            "reopened": incident.reopened,
            "worst": WORDS[max((m.state for m in incident.members.values()), default=0, key=_severity)],
            "text": next((m.text for n, m in incident.members.items() if n == incident.key), ""),
        }

    def incident(self, number: int) -> dict[str, Any]:
        """One incident with everything that happened.  Raises `NotFound`."""
        if not self.has_facts:
            raise errors.NotFound(f"there is no incident {number}: there was none yet", incident=number)
        found: Incident = self.monitor.mirror.incident(number)
        held = self.monitor.rounds.runbooks.held
        members = [
            {
                "check": name,
                "state": WORDS[member.state] if not member.well_ns else "ok",
                "was": WORDS[member.state],
                "text": member.text,
                "joined_ns": member.joined_ns,
                "well_ns": member.well_ns,
                "because": member.because,
                "known": name in self.monitor.roster.entries,
                "held": held.get(name, ""),
            }
            for name, member in found.members.items()
        ]
        members.sort(key=lambda one: (bool(one["well_ns"]), bool(one["because"]), one["joined_ns"]))
        return {
            **self.brief(found),
            "key": found.key,
            "into": found.into,
            "told": found.told,
            "members": members,
            "entries": [msgspec.to_builtins(entry) for entry in reversed(found.entries)],
            "runs": [{**msgspec.to_builtins(run), "shown": self._output(run.output)} for run in reversed(found.runs)],
        }

    def _output(self, ref: str) -> str:
        if not ref:
            return ""
        with contextlib.suppress(errors.NotFound):  # its retention is over
            data: bytes = self.monitor.work.get(ref)
            return data[:OUTPUT_SHOWN].decode("utf-8", "replace")
        return "(no longer kept)"


def _word(entry: Entry) -> str:
    return WORDS[entry.status.state] if entry.last is not None else "pending"


def _severity(state: int) -> int:
    """As a person has it: critical is worse than unknown, unknown than a warning."""
    return (0, 1, 3, 2)[state]


def _rank(entry: Entry) -> tuple[int, int, str]:
    return -_severity(entry.status.state), -_severity(entry.status.hard), entry.name


def _urgency(incident: Incident) -> tuple[int, int]:
    return (0 if incident.state == "open" else 1), -incident.number


def _window(silence: Silence, now_ns: int) -> dict[str, Any]:
    return {**msgspec.to_builtins(silence), "is_on": silence.from_ns <= now_ns}


def _result(outcome: Outcome) -> dict[str, Any]:
    return {"at_ns": outcome.at_ns, "state": outcome.word, "text": outcome.text, "ms": round(outcome.took_ns / 1e6, 1)}
