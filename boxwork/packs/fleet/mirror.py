"""The fleet's facts in memory, as they are committed: what 5,000 waiting hosts and a page are answered from."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from boxwork import errors
from boxwork.packs.fleet.decisions import Assigned, Rollout, Status, Version, status_of
from boxwork.packs.fleet.keyring import Ring
from boxwork.packs.fleet.overrides import Overrides
from boxwork.packs.fleet.tally import Said, Tally

PREFIX = ("fleet",)
Moved = Callable[[set[str]], None]


class Mirror:
    """Follows the log.  `catch_up` takes what came since; every reader calls it, so nobody reads yesterday's fact."""

    def __init__(self, work: Any) -> None:
        self.work = work
        self.epoch = ""
        self.latest = 0
        self.last_rollout = 0
        self.versions: dict[int, Version] = {}
        self.assigned: dict[str, Assigned] = {}
        self.rollouts: dict[int, Rollout] = {}
        self.cohorts: dict[int, list[str]] = {}
        self._going: set[int] = set()
        self._tallies: dict[int, Tally] = {}
        self.status: dict[str, Status] = {}
        # Replaced with every change and never changed, so whoever has one has a whole one.
        self.overrides: Overrides = {}
        self.keys = Ring()
        self.moved: list[Moved] = []
        # Grows with every change, so that a page knows whether there is anything to tell.
        self.changes = 0
        self._lock = threading.RLock()
        self._watch = work.watch(PREFIX)
        self._read_all()

    def close(self) -> None:
        self._watch.close()

    def wait(self, timeout_s: float) -> None:
        """Until something changes, at most `timeout_s`."""
        self._apply_from(lambda: self._watch.wait(timeout_s))

    def catch_up(self) -> None:
        self._apply_from(self._watch.take)

    def going(self) -> list[Rollout]:
        """The rollouts that are not over, the oldest first."""
        with self._lock:
            return [self.rollouts[number] for number in sorted(self._going)]

    def rollout(self) -> Rollout | None:
        """The newest of those that are not over."""
        return next(reversed(self.going()), None)

    def said_of(self, number: int) -> Said:
        """What the hosts that a rollout moved have said; followed from the first question until it is over."""
        with self._lock:
            tally = self._tallies.get(number)
            if tally is None:
                tally = Tally(number, self.assigned, self.status)
                if number in self._going:
                    self._tallies[number] = tally
            return tally.said()

    def _apply_from(self, take: Callable[[], list[Any]]) -> None:
        try:
            changes = take()
        except errors.Lagged:
            self._read_all()
            return
        if changes:
            with self._lock:
                moved = {host for change in changes if (host := self._apply(change.key, change.value))}
                self.changes += 1
            self._tell(moved)

    def _read_all(self) -> None:
        with self._lock, self.work.read() as facts:
            for held in (self.versions, self.assigned, self.rollouts, self.cohorts, self.status):
                held.clear()
            self._going.clear()
            self._tallies.clear()
            self.overrides, self.keys = {}, Ring()
            for key, value in facts.scan(PREFIX):
                self._apply(key, value)
            self.changes += 1
        self._tell(set(self.assigned))

    def _apply(self, key: Any, value: Any) -> str:
        """One fact; the answer is the host whose assignment it is."""
        match key:
            case (_, "status", str(host)):
                _keep(self.status, host, status_of(value))
                self._tell_tallies(host)
            case (_, "assigned", str(host)):
                _keep(self.assigned, host, value)
                self._tell_tallies(host)
                return host
            case (_, "versions", int(number)):
                _keep(self.versions, number, value)
            case (_, "overrides", str(scope), str(column)):
                overrides = {name: one for name, one in self.overrides.items() if name != (scope, column)}
                self.overrides = overrides if value is None else {**overrides, (scope, column): value}
            case (_, "rollouts", int(number)):
                _keep(self.rollouts, number, value)
                if value is None or value.is_over:
                    self._going.discard(number)
                    self._tallies.pop(number, None)
                else:
                    self._going.add(number)
            case (_, "keys"):
                self.keys = value or Ring()
            case (_, "cohorts", int(number)):
                _keep(self.cohorts, number, value)
            case (_, "epoch" | "latest" | "last_rollout" as name):
                setattr(self, name, value if value is not None else 0)
        return ""

    def _tell_tallies(self, host: str) -> None:
        for tally in self._tallies.values():
            tally.look(host, self.assigned.get(host), self.status.get(host))

    def _tell(self, hosts: set[str]) -> None:
        if hosts:
            for listener in self.moved:
                listener(hosts)


def _keep(held: dict[Any, Any], name: Any, value: Any) -> None:
    if value is None:
        held.pop(name, None)
    else:
        held[name] = value
