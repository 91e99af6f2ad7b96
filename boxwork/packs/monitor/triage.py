"""Which failures are one incident, and when it is over.  Pure but for `tx`: the facts, and the time.

A check that is certainly bad, in no maintenance window and in no incident, goes where it belongs, in this order:

1. it needs something that is in an incident: it joins that one;
2. it is what all bad members of an incident need: that incident becomes its own (a service is often asked before
   its host is);
3. its last incident was over only `reopen_s` ago: that one opens again, so that flapping is one ticket;
4. a storm goes on, or with this one `storm_checks` have begun to fail within `storm_s`: they become one storm;
5. else it has an incident of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from boxwork.packs.monitor.incident import INCIDENTS_MAX, Incident, Member, Notice, Silence
from boxwork.packs.monitor.outcome import WORDS
from boxwork.packs.monitor.verdict import Status

SECOND_NS = 1_000_000_000
replace = msgspec.structs.replace


class Rules(msgspec.Struct, frozen=True):
    """What the book says about tickets, in nanoseconds, and who is told."""

    storm_checks: int
    storm_ns: int
    gather_ns: int
    calm_ns: int
    reopen_ns: int
    targets: tuple[str, ...] = ()


class Seen(msgspec.Struct, frozen=True):
    """A check at this look: how it stands, whether that opens a ticket, and what it needs.

    `gone` means that it is no longer in the book.
    """

    status: Status
    is_bad: bool
    above: tuple[str, ...] = ()
    gone: bool = False


def is_due(incident: Incident, rules: Rules, flapping: bool, now_ns: int) -> bool:
    """Has time alone made a look at this incident necessary."""
    if wants_word(incident, rules, now_ns):
        return True
    return _calm(incident, rules, flapping, now_ns)


def wants_word(incident: Incident, rules: Rules, now_ns: int) -> str:
    """What is to be told of this incident now; empty: nothing."""
    if incident.state == "merged":
        return ""
    if incident.state == "resolved":
        return "resolved" if incident.told == "opened" else ""
    if incident.told == "opened" or now_ns - incident.begun_ns < rules.gather_ns:
        return ""
    if incident.told == "resolved":
        return "" if incident.kind == "flapping" else "reopened"
    return "opened"


def _calm(incident: Incident, rules: Rules, flapping: bool, now_ns: int) -> bool:
    if incident.is_over or flapping or incident.bad:
        return False
    last = max((member.well_ns for member in incident.members.values()), default=0)
    return now_ns - last >= rules.calm_ns


class Desk:
    """One look.  `work` does it all and puts what differs."""

    def __init__(self, tx: Any, seen: Mapping[str, Seen], rules: Rules) -> None:
        self.tx = tx
        self.now = tx.now()
        self.seen = seen
        self.rules = rules
        numbers = [key[-1] for key, _ in tx.scan(("monitor", "active"))]
        self.before: dict[int, Incident] = {n: tx.get(("monitor", "incidents", n)) for n in numbers}
        self.incidents = dict(self.before)
        self.silences: list[Silence] = [silence for _, silence in tx.scan(("monitor", "silences"))]

    def work(self) -> None:
        for name, one in self.seen.items():
            key = ("monitor", "status", name)
            if one.gone:
                self.tx.delete(key)
            elif self.tx.get(key) != one.status:
                self.tx.put(key, one.status)
        for number in sorted(self.incidents):
            self._look_at(number)
        homes = {name: n for n, one in self.incidents.items() if not one.is_over for name in one.members}
        # What others need comes first: then these find it there.
        for name, one in sorted(self.seen.items(), key=lambda pair: len(pair[1].above)):
            if one.is_bad and not one.gone and name not in homes and not self._is_excused(name, one):
                self._place(name, one)
        for number in sorted(self.incidents):
            self._end(number)
            self._announce(number)
        for number, incident in self.incidents.items():
            if incident is not self.before.get(number):
                self._put(incident)

    # --- the members of what is open

    def _look_at(self, number: int) -> None:
        if self.incidents[number].is_over:  # a person closed it, and that has still to be told
            return
        for name, member in self.incidents[number].members.items():
            one = self.seen.get(name)
            if one is not None:
                self._member(number, name, member, one)

    def _member(self, number: int, name: str, member: Member, one: Seen) -> None:
        incident, status, now = self.incidents[number], one.status, self.now
        silenced = self._is_silenced(name, one)
        bad = one.is_bad and not one.gone and not silenced
        if bad and member.well_ns:
            member = replace(member, well_ns=0, state=status.hard, episode=status.episode, text=status.text)
            incident = incident.tell(now, "failed again", status.text, check=name)
        elif bad and member.state != status.hard:
            member = replace(member, state=status.hard, text=status.text)
            incident = incident.tell(now, WORDS[status.hard], status.text, check=name)
        elif not bad and not member.well_ns:
            member = replace(member, well_ns=now)
            why = "it is no longer in the book" if one.gone else "in a maintenance window" if silenced else status.text
            incident = incident.tell(now, "well", why, check=name)
        if status.flapping and not one.gone and incident.kind == "failure":
            incident = replace(incident, kind="flapping").tell(
                now, "flapping", "it changes too often; this ticket stays until it is calm", check=name
            )
        if member is not incident.members[name]:
            incident = replace(incident, members={**incident.members, name: member})
        self.incidents[number] = incident

    def _is_silenced(self, name: str, one: Seen) -> bool:
        return any(silence.covers(name, one.above, self.now) for silence in self.silences)

    def _is_excused(self, name: str, one: Seen) -> bool:
        closed = self.tx.get(("monitor", "closed", name)) == one.status.episode
        return closed or self._is_silenced(name, one)

    # --- a check that is in none

    def _place(self, name: str, one: Seen) -> None:
        above = next((n for n, incident in self._open() if set(one.above) & set(incident.bad)), 0)
        if above:
            because = next(up for up in one.above if up in self.incidents[above].members)
            self._join(above, name, one, because=because)
            return
        below = [n for n, i in self._open() if i.bad and all(name in i.members[bad].above for bad in i.bad)]
        if below:
            self._join(below[0], name, one)
            text = f"{name} is what the others need"
            cause = replace(self.incidents[below[0]], key=name, kind="failure")  # it may have looked like a storm
            self.incidents[below[0]] = cause.tell(self.now, "cause", text)
            self._merge(below[0], below[1:], text)
            return
        last = self.tx.get(("monitor", "of", name))
        old: Incident | None = self.tx.get(("monitor", "incidents", last)) if last else None
        if old is not None and old.state == "resolved" and self.now - old.resolved_ns <= self.rules.reopen_ns:
            self._reopen(old, name, one)
            return
        storm = self._storm()
        if storm:
            self._join(storm, name, one)
        else:
            self._open_for(name, one)

    def _open(self) -> list[tuple[int, Incident]]:
        return sorted((n, one) for n, one in self.incidents.items() if not one.is_over)

    def _storm(self) -> int:
        """The storm that goes on, or that there is with one more check; 0: none."""
        since = self.now - self.rules.storm_ns
        fresh = {
            n: [m for m in one.members.values() if m.joined_ns >= since and not m.because] for n, one in self._open()
        }
        going = next((n for n, one in self._open() if one.kind == "storm" and fresh[n]), 0)
        if going:
            return going
        numbers = [n for n, members in fresh.items() if members]
        if sum(map(len, fresh.values())) + 1 < self.rules.storm_checks:
            return 0
        self.incidents[numbers[0]] = replace(self.incidents[numbers[0]], kind="storm").tell(
            self.now, "storm", f"{self.rules.storm_checks} checks began to fail within a short time"
        )
        self._merge(numbers[0], numbers[1:], "it is part of a storm")
        return numbers[0]

    def _join(self, number: int, name: str, one: Seen, because: str = "") -> None:
        member = Member(self.now, one.status.hard, one.status.episode, one.status.text, 0, because, one.above)
        incident = self.incidents[number]
        text = f"{one.status.text} (it needs {because})" if because else one.status.text
        self.incidents[number] = replace(incident, members={**incident.members, name: member}).tell(
            self.now, WORDS[one.status.hard], text, check=name
        )
        self.tx.put(("monitor", "of", name), number)
        if one.status.flapping:
            self._member(number, name, member, one)

    def _merge(self, into: int, others: list[int], why: str) -> None:
        for number in others:
            gone, kept = self.incidents[number], self.incidents[into]
            self.incidents[into] = replace(
                kept, members={**kept.members, **gone.members}, told=kept.told or gone.told,
                runs=(*kept.runs, *gone.runs), state=kept.state if kept.state != "open" else gone.state,
                who=kept.who or gone.who, note=kept.note or gone.note,
            ).tell(self.now, "merged", f"incident {number}, {gone.title}: {why}")  # fmt: skip
            self.incidents[number] = replace(gone, state="merged", into=into, resolved_ns=self.now).tell(
                self.now, "merged", f"into incident {into}: {why}"
            )
            for name in gone.members:
                self.tx.put(("monitor", "of", name), into)

    def _reopen(self, old: Incident, name: str, one: Seen) -> None:
        self.incidents[old.number] = replace(
            old, state="open", begun_ns=self.now, resolved_ns=0, reopened=old.reopened + 1, who="", note=""
        ).tell(self.now, "reopened", "it failed again soon after", check=name)
        self._join(old.number, name, one, old.members[name].because if name in old.members else "")

    def _open_for(self, name: str, one: Seen) -> None:
        number = (self.tx.get(("monitor", "last")) or 0) + 1
        self.tx.put(("monitor", "last"), number)
        self.incidents[number] = Incident(number, name, self.now, begun_ns=self.now).tell(self.now, "opened")
        self._join(number, name, one)
        oldest: Incident | None = self.tx.get(("monitor", "incidents", number - INCIDENTS_MAX))
        if oldest is not None and oldest.is_over:
            self.tx.delete(("monitor", "incidents", oldest.number))

    # --- the end, and the word

    def _end(self, number: int) -> None:
        incident = self.incidents[number]
        flapping = any(
            one.status.flapping and not one.gone
            for name in incident.members
            if (one := self.seen.get(name)) is not None
        )
        if _calm(incident, self.rules, flapping, self.now):
            self.incidents[number] = replace(incident, state="resolved", resolved_ns=self.now).tell(
                self.now, "resolved", "everything in it is well"
            )

    def _announce(self, number: int) -> None:
        incident = self.incidents[number]
        what = wants_word(incident, self.rules, self.now)
        if not what:
            return
        self.incidents[number] = replace(incident, told="resolved" if what == "resolved" else "opened")
        epoch = self.tx.get(("monitor", "epoch"))
        for target in self.rules.targets:
            # The same incident may open again: each word it is told about has a name of its own.
            name = f"{epoch}-{number}-{incident.reopened}-{what}-{target}"
            self.tx.put(("monitor", "notices", name), Notice(name, number, what, target, self.now))

    def _put(self, incident: Incident) -> None:
        self.tx.put(("monitor", "incidents", incident.number), incident)
        active = ("monitor", "active", incident.number)
        if not incident.is_over:
            self.tx.put(active, True)
        elif self.tx.get(active):
            self.tx.delete(active)
