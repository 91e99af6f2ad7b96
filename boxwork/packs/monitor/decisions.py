"""The transactions of a monitor: one look at everything, and what people and runbooks do to an incident."""

from __future__ import annotations

from typing import Any

import msgspec

from boxwork import transaction
from boxwork.packs.monitor.incident import RUNS_MAX, Incident, Run, Silence
from boxwork.packs.monitor.triage import Desk, Rules, Seen

# Windows that are over are forgotten so long after.  Unit: ns.
SILENCE_KEPT_NS = 86_400_000_000_000


@transaction(name="monitor.begin")
def begin(tx: Any, epoch: str) -> str:
    """The name of this line of decisions, `epoch` if it has none yet.  Runs that a kill cut short are marked."""
    tx.put_new(("monitor", "epoch"), epoch)
    for key, _ in tx.scan(("monitor", "active")):
        before = incident = tx.get(("monitor", "incidents", key[-1]))
        for place, run in enumerate(incident.runs):
            if run.outcome == "running":
                cut = msgspec.structs.replace(
                    run, outcome="interrupted", ended_ns=tx.now(), text="the monitor was stopped while it ran"
                )
                incident = msgspec.structs.replace(
                    incident, runs=(*incident.runs[:place], cut, *incident.runs[place + 1 :])
                ).tell(tx.now(), "runbook interrupted", cut.text, check=run.check)
        if incident is not before:
            tx.put(("monitor", "incidents", key[-1]), incident)
    found: str = tx.get(("monitor", "epoch"))
    return found


@transaction(name="monitor.look")
def look(tx: Any, seen: dict[str, Seen], rules: Rules) -> None:
    """What changed since the last look; `seen` also has every check that is bad or in an open incident."""
    Desk(tx, seen, rules).work()


def _incident(tx: Any, number: int) -> Incident:
    found: Any = tx.get(("monitor", "incidents", number))
    tx.require(found is not None, f"there is no incident {number}: the newest is {tx.get(('monitor', 'last')) or 0}")
    incident: Incident = found
    return incident


def _active(tx: Any, number: int) -> Incident:
    incident = _incident(tx, number)
    tx.require(incident.state != "merged", f"incident {number} is part of incident {incident.into}: use that number")
    tx.require(not incident.is_over, f"incident {number} is {incident.state} already")
    return incident


@transaction(name="monitor.acknowledge")
def acknowledge(tx: Any, number: int, by: str, note: str) -> Incident:
    """Somebody has it.  Again by the same person changes the note."""
    incident = _active(tx, number)
    taken = incident.state == "acknowledged" and incident.who != by
    tx.require(not taken, f"incident {number} is acknowledged by {incident.who} already")
    incident = msgspec.structs.replace(incident, state="acknowledged", who=by, note=note)
    incident = incident.tell(tx.now(), "acknowledged", note, by)
    tx.put(("monitor", "incidents", number), incident)
    return incident


@transaction(name="monitor.resolve")
def resolve(tx: Any, number: int, by: str, note: str) -> Incident:
    """A person says that it is over: what is bad in it opens nothing until it was well once."""
    incident = _active(tx, number)
    for name, member in incident.members.items():
        if not member.well_ns:
            tx.put(("monitor", "closed", name), member.episode)
    incident = msgspec.structs.replace(incident, state="resolved", resolved_ns=tx.now(), who=by, note=note)
    incident = incident.tell(tx.now(), "resolved", note, by)
    tx.put(("monitor", "incidents", number), incident)
    if incident.told != "opened":  # else it is looked at until its end has been told
        tx.delete(("monitor", "active", number))
    return incident


@transaction(name="monitor.silence")
def silence(tx: Any, checks: str, from_ns: int, until_ns: int, by: str, why: str) -> Silence:
    """A maintenance window for a check, or for all that a pattern names."""
    tx.require(until_ns > max(from_ns, tx.now()), "a maintenance window ends after it begins, and in the future")
    for key, old in tx.scan(("monitor", "silences")):
        if old.until_ns + SILENCE_KEPT_NS < tx.now():
            tx.delete(key)
    made = Silence(str(tx.uid())[:12], checks, from_ns, until_ns, by, why)
    tx.put(("monitor", "silences", made.id), made)
    return made


@transaction(name="monitor.unsilence")
def unsilence(tx: Any, id: str, by: str) -> Silence:
    """End a maintenance window now."""
    found: Any = tx.get(("monitor", "silences", id))
    tx.require(found is not None and found.until_ns > tx.now(), f"there is no maintenance window {id}, or it is over")
    ended: Silence = msgspec.structs.replace(found, until_ns=tx.now(), why=f"{found.why} (ended by {by})")
    tx.put(("monitor", "silences", id), ended)
    return ended


@transaction(name="monitor.run_began")
def run_began(tx: Any, number: int, check: str, runbook: str, tries: int) -> int:
    """A runbook begins; the answer is which try it is.  Refused above `tries`, or if a person has it."""
    incident = _active(tx, number)
    tx.require(incident.state == "open", f"incident {number} is {incident.state}")
    done = incident.tries_of(check)
    tx.require(done < tries, f"runbook {runbook} has run {done} times for incident {number} and did not help")
    tx.require(len(incident.runs) < RUNS_MAX, f"incident {number} had {RUNS_MAX} runs")
    incident = msgspec.structs.replace(incident, runs=(*incident.runs, Run(check, runbook, tx.now())))
    incident = incident.tell(tx.now(), "runbook", f"{runbook} begins, try {done + 1} of {tries}", check=check)
    tx.put(("monitor", "incidents", number), incident)
    return done + 1


@transaction(name="monitor.run_ended")
def run_ended(tx: Any, number: int, check: str, outcome: str, code: int, output: str, text: str, is_last: bool) -> None:
    """How it went.  The incident may have been merged into another meanwhile, and the run with it."""
    incident = _incident(tx, number)
    while incident.state == "merged":
        incident = _incident(tx, incident.into)
    runs = tuple(
        msgspec.structs.replace(run, outcome=outcome, ended_ns=tx.now(), code=code, output=output, text=text)
        if run.check == check and run.outcome == "running"
        else run
        for run in incident.runs
    )
    incident = msgspec.structs.replace(incident, runs=runs).tell(tx.now(), f"runbook {outcome}", text, check=check)
    if is_last and outcome != "helped":
        incident = incident.tell(tx.now(), "runbook given up", "it does not help; somebody has to look", check=check)
    tx.put(("monitor", "incidents", incident.number), incident)


@transaction(name="monitor.told")
def told(tx: Any, id: str, text: str, delivered: bool) -> None:
    """A notice has arrived, or was given up."""
    notice = tx.get(("monitor", "notices", id))
    if notice is None:  # told by another run of this process already
        return
    tx.delete(("monitor", "notices", id))
    incident = tx.get(("monitor", "incidents", notice.incident))
    if incident is not None:
        what = "told" if delivered else "not told"
        tx.put(
            ("monitor", "incidents", notice.incident),
            incident.tell(tx.now(), what, f"{notice.target}: {notice.what}{text}"),
        )


TRANSACTIONS = (begin, look, acknowledge, resolve, silence, unsilence, run_began, run_ended, told)
