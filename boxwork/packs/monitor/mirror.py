"""The monitor's facts in memory, as they are committed: what pages and the rounds are answered from."""

from __future__ import annotations

import threading
from typing import Any

from boxwork import errors
from boxwork.packs.monitor.incident import Incident, Notice, Silence
from boxwork.packs.monitor.verdict import Status

PREFIX = ("monitor",)


class Mirror:
    """Follows the log.  `catch_up` takes what came since; every reader calls it first."""

    def __init__(self, work: Any) -> None:
        self.work = work
        self.epoch = ""
        self.last = 0
        self.incidents: dict[int, Incident] = {}
        self.active: set[int] = set()
        self.status: dict[str, Status] = {}
        self.closed: dict[str, int] = {}
        self.newest_of: dict[str, int] = {}
        self.silences: dict[str, Silence] = {}
        self.notices: dict[str, Notice] = {}
        # Grows with every change, so that a page knows whether there is anything to tell.
        self.changes = 0
        self._lock = threading.RLock()
        self._watch = work.watch(PREFIX)
        self._read_all()

    def close(self) -> None:
        self._watch.close()

    def catch_up(self) -> None:
        try:
            changes = self._watch.take()
        except errors.Lagged:
            self._read_all()
            return
        if changes:
            with self._lock:
                for change in changes:
                    self._apply(change.key, change.value)
                self.changes += 1

    def going(self) -> list[Incident]:
        """The incidents that are not over, and those whose end is still to be told; the oldest first."""
        with self._lock:
            return [self.incidents[number] for number in sorted(self.active) if number in self.incidents]

    def newest(self, count: int) -> list[Incident]:
        """The newest incidents, the newest first."""
        with self._lock:
            return [self.incidents[number] for number in sorted(self.incidents, reverse=True)[:count]]

    def windows(self, now_ns: int) -> list[Silence]:
        """The maintenance windows that are not over, the next first."""
        with self._lock:
            found = [one for one in self.silences.values() if one.until_ns > now_ns]
        return sorted(found, key=lambda one: one.from_ns)

    def waiting(self) -> list[Notice]:
        with self._lock:
            return list(self.notices.values())

    def incident(self, number: int) -> Incident:
        """Raises `NotFound`."""
        found = self.incidents.get(number)
        if found is None:
            known = f"the newest is {self.last}" if self.last else "there was none yet"
            raise errors.NotFound(f"there is no incident {number}: {known}", incident=number)
        return found

    def _read_all(self) -> None:
        with self._lock, self.work.read() as facts:
            for held in (self.incidents, self.status, self.closed, self.newest_of, self.silences, self.notices):
                held.clear()
            self.active.clear()
            for key, value in facts.scan(PREFIX):
                self._apply(key, value)
            self.changes += 1

    def _apply(self, key: Any, value: Any) -> None:
        match key:
            case (_, "status", str(name)):
                _keep(self.status, name, value)
            case (_, "incidents", int(number)):
                _keep(self.incidents, number, value)
            case (_, "active", int(number)):
                if value is None:
                    self.active.discard(number)
                else:
                    self.active.add(number)
            case (_, "of", str(name)):
                _keep(self.newest_of, name, value)
            case (_, "closed", str(name)):
                _keep(self.closed, name, value)
            case (_, "silences", str(name)):
                _keep(self.silences, name, value)
            case (_, "notices", str(name)):
                _keep(self.notices, name, value)
            case (_, "epoch"):
                self.epoch = value or ""
            case (_, "last"):
                self.last = value or 0


def _keep(held: dict[Any, Any], name: Any, value: Any) -> None:
    if value is None:
        held.pop(name, None)
    else:
        held[name] = value
