"""What the hosts that a rollout moved have said: kept up with every word, not counted anew at every look."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from boxwork.packs.fleet.decisions import Assigned, Status


class Said(NamedTuple):
    """How many hosts a rollout moved, and how many of them are well, unwell (host, what it said), silent."""

    moved: int
    well: int
    unwell: tuple[tuple[str, str], ...]
    silent: int


class Tally:
    """Of one rollout; each host that it moved is in exactly one of these.

    well     runs what it was given and is healthy, or has left the fleet and is not asked
    unwell   could not keep it, or is not healthy with it; with what it said
    silent   has not said either yet
    """

    def __init__(self, number: int, assigned: Mapping[str, Assigned], status: Mapping[str, Status]) -> None:
        self.number = number
        self.well: set[str] = set()
        self.silent: set[str] = set()
        self.unwell: dict[str, str] = {}
        for host, one in assigned.items():
            self.look(host, one, status.get(host))

    def said(self) -> Said:
        well, silent, unwell = len(self.well), len(self.silent), tuple(self.unwell.items())
        return Said(well + silent + len(unwell), well, unwell, silent)

    def look(self, host: str, assigned: Assigned | None, status: Status | None) -> None:
        """Its assignment or its word is another one now."""
        self.well.discard(host)
        self.silent.discard(host)
        self.unwell.pop(host, None)
        if assigned is None or assigned.rollout != self.number:
            return
        if assigned.release == 0:
            self.well.add(host)
        elif status is None:
            self.silent.add(host)
        elif status.failed >= assigned.position:
            self.unwell[host] = status.failure
        elif status.report.position < assigned.position:
            self.silent.add(host)
        elif status.report.healthy:
            self.well.add(host)
        else:
            self.unwell[host] = status.report.reason or "its health probe fails"
