"""Where the command line asks: the monitor in this process, or the server that makes the rounds.

Both counters take the same calls and answer with the same plain values.
"""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from boxwork import Elsewhere, errors
from boxwork.packs.monitor.outlook import Outlook

# Everything here is answered from memory, or by one commit.  Unit: seconds.
PATIENCE_S = 20.0


class Counter(Protocol):
    def state(self) -> Any: ...
    def incident(self, number: int) -> Any: ...
    def acknowledge(self, number: int, who: str, note: str) -> Any: ...
    def resolve(self, number: int, who: str, note: str) -> Any: ...
    def silence(self, checks: str, minutes: float, who: str, why: str, in_minutes: float) -> Any: ...
    def unsilence(self, name: str, who: str) -> Any: ...


class Here:
    """The facts in this process: nobody makes rounds just now, and incidents are as they were left."""

    def __init__(self, work: Any) -> None:
        self.monitor = work.part("monitor")
        self.outlook = Outlook(self.monitor)
        self.monitor.recall()

    def state(self) -> Any:
        told = self.outlook.state()
        told["trouble"] = [*told["trouble"], "no server makes the rounds: begin with boxwork up"]
        return told

    def incident(self, number: int) -> Any:
        return self.outlook.incident(number)

    def acknowledge(self, number: int, who: str, note: str) -> Any:
        self.monitor.acknowledge(number, who=who, note=note)
        return self.incident(number)

    def resolve(self, number: int, who: str, note: str) -> Any:
        self.monitor.resolve(number, who=who, note=note)
        return self.incident(number)

    def silence(self, checks: str, minutes: float, who: str, why: str, in_minutes: float) -> Any:
        from boxwork.packs.monitor import orders

        order = {"checks": checks, "minutes": minutes, "who": who, "why": why, "in_minutes": in_minutes}
        given = orders.read(msgspec.json.encode(order), orders.Window)
        return msgspec.to_builtins(
            self.monitor.silence(
                given.checks, minutes=given.minutes, who=given.who, why=given.why, in_minutes=given.in_minutes
            )
        )

    def unsilence(self, name: str, who: str) -> Any:
        return msgspec.to_builtins(self.monitor.unsilence(name, who=who))


class There:
    """The monitor of a server, by its addresses."""

    def __init__(self, work: Any, url: str) -> None:
        self._server = Elsewhere(work, url, PATIENCE_S, OrderRefused)

    def state(self) -> Any:
        return self._server.ask("/monitor/state")

    def incident(self, number: int) -> Any:
        return self._server.ask(f"/monitor/incidents/{number}")

    def acknowledge(self, number: int, who: str, note: str) -> Any:
        return self._server.ask(f"/monitor/incidents/{number}/acknowledge", {"who": who, "note": note})

    def resolve(self, number: int, who: str, note: str) -> Any:
        return self._server.ask(f"/monitor/incidents/{number}/resolve", {"who": who, "note": note})

    def silence(self, checks: str, minutes: float, who: str, why: str, in_minutes: float) -> Any:
        order = {"checks": checks, "minutes": minutes, "who": who, "why": why, "in_minutes": in_minutes}
        return self._server.ask("/monitor/silences", order)

    def unsilence(self, name: str, who: str) -> Any:
        if not name.isalnum():
            raise errors.BadInput(f"{name!r} is no id of a maintenance window: `status --json` lists them")
        return self._server.ask(f"/monitor/silences/{name}/end", {"who": who})


class OrderRefused(errors.BoxworkError):
    """The server said no; the message is its own."""

    code = "monitor.refused"
    status = 409
    retry = "never"


def counter(work: Any, server: str) -> Counter:
    """At the server that is named, else here; if another process owns the facts, at the server of the settings."""
    if server:
        return There(work, server)
    try:
        return Here(work)
    except errors.StateInUse:
        return There(work, "")
