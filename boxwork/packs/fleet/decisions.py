"""What was decided about the fleet: versions, who gets which, rollouts.  Facts and the transactions that change them.

    ("fleet", "epoch")             the name of this line of decisions; another server has another one
    ("fleet", "latest")            the number of the newest version
    ("fleet", "versions", n)       Version: templates and table, author, reason
    ("fleet", "assigned", host)    Assigned: which release the host shall be, and how often that changed
    ("fleet", "rollouts", n)       Rollout
    ("fleet", "last_rollout")      the number of the newest rollout
    ("fleet", "cohorts", n)        the names of the hosts that rollout n moves, until it is over
    ("fleet", "status", host)      Status, as JSON: what the host last said of itself

A release number is the first version in which a host had its present content, so a version that changes one row
changes one host's assignment.  Everything that moves is one transaction: a server killed at any moment finds on its
return the step it was at, and takes the next one from there.

What hosts say is the one thing that comes by thousands a second.  It is a fact and an input in JSON: a text is kept,
logged and told to watchers as it is, and many reports run as one (docs/decisions/0037).
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from boxwork import Ref, transaction
from boxwork.packs.fleet.plan import Plan
from boxwork.packs.fleet.protocol import Report, read_report

State = Literal["running", "paused", "done", "reverted", "aborted"]
GOING = ("running", "paused")
# What is kept of a host's reports: enough for its page.  Unit: events.
EVENTS_KEPT = 20
# Hosts that a refusal names.  Unit: hosts.
HOSTS_TOLD = 5


class Version(msgspec.Struct, frozen=True):
    """One published state of the whole fleet.  `follow` means: roll it out by itself (it came from the source).

    `roots` are the trees that its kinds stood on when it was published, by the name of the kind.
    """

    number: int
    template: Ref
    table: Ref
    author: str
    reason: str
    at_ns: int
    source: str = ""
    follow: bool = False
    roots: dict[str, Ref] = {}


class Assigned(msgspec.Struct, frozen=True):
    """What one host shall be.

    `position` grows with every change, also with one back; `before` is the release it had before this change.
    """

    release: int
    position: int
    rollback: bool = False
    rollout: int = 0
    before: int = 0


class Event(msgspec.Struct, frozen=True):
    """One thing that happened to a rollout."""

    at_ns: int
    what: str
    who: str
    why: str


class Rollout(msgspec.Struct, frozen=True):
    """The move of the fleet to one version.

    The cohort is the hosts whose content differs, of those that `only` names; they go in the order of a hash of rollout
    and host.  Two rollouts may go on beside each other if no host is in both.
    """

    number: int
    to: int
    who: str
    why: str
    at_ns: int
    plan: Plan
    state: State
    cohort: int
    step: int = 0
    moved: int = 0
    step_at_ns: int = 0
    events: tuple[Event, ...] = ()
    only: str = ""

    @property
    def is_over(self) -> bool:
        return self.state not in GOING


class News(msgspec.Struct, frozen=True):
    """One report that said something new, as far as it is remembered."""

    at_ns: int
    release: int
    position: int
    state: str
    reason: str


class Status(msgspec.Struct, frozen=True):
    """What a host last said of itself, at the server's time: a host's own clock may be wrong.

    `failed` is the highest position that it was given and did not keep, with the reason; the reports that follow a
    failure speak of the version that runs, and must not make it forgotten.
    """

    at_ns: int
    report: Report
    failed: int = 0
    failure: str = ""
    events: tuple[News, ...] = ()


_status = msgspec.json.Decoder(Status)


@transaction(name="fleet.begin")
def begin(tx: Any, epoch: str) -> str:
    """The epoch of this fleet, `epoch` if it has none yet."""
    tx.put_new(("fleet", "epoch"), epoch)
    found: str = tx.get(("fleet", "epoch"))
    return found


@transaction(name="fleet.publish")
def publish(
    tx: Any,
    template: Ref,
    table: Ref,
    author: str,
    reason: str,
    source: str,
    follow: bool,
    after: int | None,
    roots: dict[str, Ref],
) -> Version:
    """A new version; refused if it equals the newest, or if `after` is given and is not the newest any more."""
    latest = tx.get(("fleet", "latest"), 0)
    tx.require(after is None or after == latest, f"version {latest} was published meanwhile: look at it first")
    if latest:
        last = tx.get(("fleet", "versions", latest))
        same = (last.template, last.table, last.roots) == (template, table, roots)
        tx.require(not same, f"nothing differs from version {latest}")
    version = Version(latest + 1, template, table, author, reason, tx.now(), source, follow, roots)
    tx.put(("fleet", "latest"), version.number)
    tx.put(("fleet", "versions", version.number), version)
    return version


@transaction(name="fleet.start")
def start(tx: Any, to: int, hosts: list[str], plan: Plan, by: str, why: str, only: str) -> Rollout:
    """A rollout to a version; refused while another one moves any of these hosts."""
    for (_, _, other), rollout in tx.scan(("fleet", "rollouts")):
        if not rollout.is_over:
            cohort = tx.get(("fleet", "cohorts", other))
            both = sorted(set(hosts) & set(cohort)) if cohort is not None else hosts
            tx.require(not both, _overlap(other, both, len(hosts)), rollout=other, hosts=both[:HOSTS_TOLD])
    tx.require(tx.get(("fleet", "versions", to)) is not None, f"there is no version {to}")
    number = tx.get(("fleet", "last_rollout"), 0) + 1
    told = f"version {to} to {len(hosts)} hosts{f' ({only})' if only else ''}: {why}"
    events = (Event(tx.now(), "start", by, told),)
    rollout = Rollout(number, to, by, why, tx.now(), plan, "running", len(hosts), events=events, only=only)
    tx.put(("fleet", "last_rollout"), number)
    tx.put(("fleet", "cohorts", number), hosts)
    tx.put(("fleet", "rollouts", number), rollout)
    return rollout


def _overlap(other: int, both: list[str], count: int) -> str:
    named = ", ".join(both[:HOSTS_TOLD]) + (" …" if len(both) > HOSTS_TOLD else "")
    return (
        f"rollout {other} is not over and has {len(both)} of these {count} hosts ({named}): wait for it, abort it, or"
        " take others (--only)"
    )


@transaction(name="fleet.advance")
def advance(tx: Any, number: int, step: int, hosts: list[tuple[str, int]], why: str) -> Rollout:
    """The next hosts get their release.  Refused if somebody else took this step, or stopped the rollout.

    A release of 0 means that the host is no longer in the fleet: it keeps what it has and is not asked any more.
    """
    rollout: Rollout = tx.get(("fleet", "rollouts", number))
    tx.require(rollout.state == "running", f"rollout {number} is {rollout.state}")
    tx.require(rollout.step == step, f"rollout {number} is at step {rollout.step}, not {step}")
    for host, release in hosts:
        key = ("fleet", "assigned", host)
        old = tx.get(key) or Assigned(0, 0)
        back = bool(release) and release < old.release
        tx.put(key, Assigned(release, old.position + 1, back, number, old.release))
    moved = rollout.moved + len(hosts)
    rollout = msgspec.structs.replace(
        rollout,
        step=step + 1,
        moved=moved,
        step_at_ns=tx.now(),
        events=(*rollout.events, Event(tx.now(), "step", "boxwork", f"{moved} of {rollout.cohort} hosts: {why}")),
    )
    tx.put(("fleet", "rollouts", number), rollout)
    return rollout


@transaction(name="fleet.steer")
def steer(tx: Any, number: int, state: State, by: str, why: str) -> Rollout:
    """Pause, resume, or finish a rollout; what was moved stays where it is."""
    rollout = tx.get(("fleet", "rollouts", number))
    tx.require(rollout is not None, f"there is no rollout {number}")
    tx.require(rollout.state in ("running", "paused"), f"rollout {number} is {rollout.state}: it is over")
    tx.require(rollout.state != state, f"rollout {number} is {state} already")
    word = {"running": "resume", "paused": "pause", "done": "done"}.get(state, state)
    return _ended(tx, rollout, state, Event(tx.now(), word, by, why))


@transaction(name="fleet.revert")
def revert(tx: Any, number: int, state: State, by: str, why: str) -> Rollout:
    """Every host that this rollout moved goes back to the release it had; in one step, whatever the plan was.

    A host that was in no release before has none again: it keeps what it has until a version fits it.
    """
    rollout = tx.get(("fleet", "rollouts", number))
    tx.require(rollout is not None, f"there is no rollout {number}")
    tx.require(rollout.state in ("running", "paused"), f"rollout {number} is {rollout.state}: it is over")
    count = 0
    for key, assigned in tx.scan(("fleet", "assigned")):
        if assigned.rollout == number:
            back = assigned.before < assigned.release
            tx.put(key, Assigned(assigned.before, assigned.position + 1, back, number, assigned.release))
            count += 1
    return _ended(tx, rollout, state, Event(tx.now(), state, by, f"{count} hosts go back: {why}"))


def _ended(tx: Any, rollout: Rollout, state: State, event: Event) -> Rollout:
    # After a pause the step bakes anew: what it baked before says nothing of the time in between.
    at_ns = tx.now() if state == "running" else rollout.step_at_ns
    rollout = msgspec.structs.replace(rollout, state=state, events=(*rollout.events, event), step_at_ns=at_ns)
    tx.put(("fleet", "rollouts", rollout.number), rollout)
    if rollout.is_over:
        tx.delete(("fleet", "cohorts", rollout.number))
    return rollout


@transaction(name="fleet.heard")
def heard(tx: Any, said: str) -> bool:
    """The newest word of a host, a report in JSON; True if it is news."""
    report = read_report(said)
    key = ("fleet", "status", report.host)
    old = status_of(tx.get(key))
    new = _after(old, report, tx.now())
    tx.put(key, spell(new))
    return _is_news(old, report)


@transaction(name="fleet.report")
def report(tx: Any, said: Report) -> bool:
    """The same, as logs of earlier versions have it: kept so that they can be verified."""
    key = ("fleet", "status", said.host)
    old = status_of(tx.get(key))
    tx.put(key, _after(old, said, tx.now()))
    return _is_news(old, said)


def _is_news(old: Status | None, said: Report) -> bool:
    known = old.report if old is not None else None
    return known is None or (known.position, known.state, known.reason) != (said.position, said.state, said.reason)


def _after(old: Status | None, said: Report, now_ns: int) -> Status:
    failed, failure, events = (old.failed, old.failure, old.events) if old is not None else (0, "", ())
    if said.state in ("failed", "refused"):
        failed = said.wanted_position
        failure = said.reason or said.code or said.state
    if said.state != "alive" and _is_news(old, said):
        entry = News(now_ns, said.release, said.position, said.state, said.reason)
        events = (*events, entry)[-EVENTS_KEPT:]
    return Status(now_ns, said, failed, failure, events)


def spell(value: Status | Report) -> str:
    """A status as a fact, a report as an input."""
    return msgspec.json.encode(value).decode()


def status_of(fact: str | Status | None) -> Status | None:
    """What `spell` spelled, or what an earlier version put."""
    return _status.decode(fact) if isinstance(fact, str) else fact


TRANSACTIONS = (begin, publish, start, advance, steer, revert, heard, report)
