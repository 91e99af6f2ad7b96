"""Runbooks: a command for a check that is certainly critical, within limits, and then the check again.

That it begins is a fact before it begins, so a monitor that is killed meanwhile does not run it twice: it finds a run
that nobody finished, says so, and counts it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from boxwork import errors
from boxwork.packs.monitor import decisions, process
from boxwork.packs.monitor.book import Runbook
from boxwork.packs.monitor.incident import Incident
from boxwork.packs.monitor.outcome import CRITICAL, OK, WORDS

log = logging.getLogger("boxwork.monitor")

KIND = "monitor.runbook"
HOUR_NS = 3_600_000_000_000
# Beyond the check's own limit: it may have to wait for a place, and for a look that began before.  Unit: seconds.
PATIENCE_S = 30.0


class Runbooks:
    """Over one `Rounds`.  `begin` starts what is due; nothing is run twice at once for one check."""

    def __init__(self, rounds: Any) -> None:
        self.rounds = rounds
        self.running: set[str] = set()
        # Why a runbook that would be due does not run, by check.
        self.held: dict[str, str] = {}

    def begin(self) -> None:
        held: dict[str, str] = {}
        for incident in self.rounds.monitor.mirror.going():
            if incident.state == "open":
                for name in incident.bad:
                    self._consider(incident, name, held)
        self.held = held

    def _consider(self, incident: Incident, name: str, held: dict[str, str]) -> None:
        rounds = self.rounds
        entry = rounds.roster.entries.get(name)
        runbook: Runbook | None = rounds.book.runbooks.get(entry.check.runbook) if entry is not None else None
        if entry is None or runbook is None or name in self.running or entry.status.hard != CRITICAL:
            return
        if entry.status.state == OK:  # well again just now; the next look at the incident says so
            return
        down = next((up for up in entry.above if up in incident.bad), "")
        if down:
            held[name] = f"it needs {down}, which is in this incident, too"
        elif incident.tries_of(name) >= runbook.tries:
            held[name] = f"it has run {runbook.tries} times and did not help"
        elif self._in_the_last_hour(entry.check.runbook) >= runbook.times_an_hour:
            held[name] = f"it has run {runbook.times_an_hour} times within an hour"
        else:
            self.running.add(name)
            rounds.keep_going(self._run(incident.number, name, entry.check.runbook, runbook))

    def _in_the_last_hour(self, runbook: str) -> int:
        since = self.rounds.clock.now_ns() - HOUR_NS
        incidents = list(self.rounds.monitor.mirror.incidents.values())
        return sum(
            run.runbook == runbook and run.began_ns >= since
            for incident in incidents
            if incident.state != "merged"  # its runs went with it
            for run in incident.runs
        )

    async def _run(self, number: int, name: str, called: str, runbook: Runbook) -> None:
        try:
            await self._run_once(number, name, called, runbook)
        except errors.Refused as answer:  # a person has it since just now
            log.info("runbook %s for %s: %s", called, name, answer.message)
        except errors.BoxworkError as fault:
            log.warning("runbook %s for %s: %s", called, name, fault.message)
        finally:
            self.running.discard(name)

    async def _run_once(self, number: int, name: str, called: str, runbook: Runbook) -> None:
        rounds, work = self.rounds, self.rounds.work
        entry = rounds.roster.entries[name]
        done = await asyncio.to_thread(work.commit, decisions.run_began, number, name, called, runbook.tries)
        rounds.monitor.mirror.catch_up()
        environment = {
            "BOXWORK_CHECK": name,
            "BOXWORK_STATE": WORDS[entry.status.hard],
            "BOXWORK_OUTPUT": entry.status.text,
            "BOXWORK_INCIDENT": str(number),
        }
        ended = await process.run(runbook.command, runbook.timeout_s, environment=environment)
        seen = await asyncio.to_thread(work.observe, KIND, ended.output, source=name, who=called)
        await asyncio.sleep(runbook.wait_s)
        outcome = await rounds.ask(name, 2 * entry.check.timeout_s + PATIENCE_S)
        result, text = _judge(ended, runbook, outcome.word if outcome is not None else "", called)
        await asyncio.to_thread(
            work.commit,
            decisions.run_ended,
            number,
            name,
            result,
            ended.code,
            str(seen.ref),
            text,
            done >= runbook.tries,
        )
        rounds.monitor.mirror.catch_up()


def _judge(ended: process.Ended, runbook: Runbook, word: str, called: str) -> tuple[str, str]:
    """The outcome of a run, and what there is to say of it."""
    if ended.fault:
        how = ended.fault
    elif ended.timed_out:
        how = f"{called} did not end within {runbook.timeout_s:g} s and was stopped"
    else:
        how = f"{called} ended with {ended.code}"
    if word == "ok":
        return "helped", f"{how}; the check is well"
    result = "failed" if ended.code or ended.fault or ended.timed_out else "did not help"
    return result, f"{how}; the check is {word or 'not answered'}"
