"""Where the command line asks: the monitor in this process, or the server that makes the rounds.

Both counters take the same calls and answer with the same plain values.
"""

from __future__ import annotations

import json
import ssl
from typing import Any, Protocol
from urllib.error import HTTPError, URLError
from urllib.request import HTTPSHandler, ProxyHandler, Request, build_opener

import msgspec

from boxwork import errors
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
        self.url = url.rstrip("/")
        # It is this machine, or one that was named: no proxy of the environment stands in between.
        self._opener = build_opener(ProxyHandler({}), HTTPSHandler(context=_believing(work)))

    def state(self) -> Any:
        return self._ask("/monitor/state")

    def incident(self, number: int) -> Any:
        return self._ask(f"/monitor/incidents/{number}")

    def acknowledge(self, number: int, who: str, note: str) -> Any:
        return self._ask(f"/monitor/incidents/{number}/acknowledge", {"who": who, "note": note})

    def resolve(self, number: int, who: str, note: str) -> Any:
        return self._ask(f"/monitor/incidents/{number}/resolve", {"who": who, "note": note})

    def silence(self, checks: str, minutes: float, who: str, why: str, in_minutes: float) -> Any:
        order = {"checks": checks, "minutes": minutes, "who": who, "why": why, "in_minutes": in_minutes}
        return self._ask("/monitor/silences", order)

    def unsilence(self, name: str, who: str) -> Any:
        if not name.isalnum():
            raise errors.BadInput(f"{name!r} is no id of a maintenance window: `status --json` lists them")
        return self._ask(f"/monitor/silences/{name}/end", {"who": who})

    def _ask(self, path: str, order: Any = None) -> Any:
        data = None if order is None else msgspec.json.encode(order)
        request = Request(self.url + path, data, {"content-type": "application/json"})
        try:
            with self._opener.open(request, timeout=PATIENCE_S) as reply:
                return json.load(reply)
        except HTTPError as fault:
            raise _as_error(fault) from None
        except (URLError, OSError) as fault:
            reason = getattr(fault, "reason", fault)
            raise errors.Busy(
                f"another process owns the facts, and there is no server at {self.url} ({reason}): give --server URL"
            ) from None


def _believing(work: Any) -> ssl.SSLContext:
    """This node's own certificate, by whatever name it is called here, or one of the system's authorities."""
    context = ssl.create_default_context()
    certificate = work.settings.text("serve.certificate")
    if certificate:
        context = ssl.create_default_context(cafile=certificate)
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.check_hostname = False
    return context


class OrderRefused(errors.BoxworkError):
    """The server said no; the message is its own."""

    code = "monitor.refused"
    status = 409
    retry = "never"


def _as_error(fault: HTTPError) -> errors.BoxworkError:
    try:
        told = json.loads(fault.read(64 * 1024))
        return OrderRefused(str(told["message"]), **dict(told.get("details") or {}))
    except (ValueError, KeyError, TypeError):
        return OrderRefused(f"the server answered {fault.code} {fault.reason}")


def counter(work: Any, server: str) -> Counter:
    """At the server that is named, else here; if another process owns the facts, at the server of the settings."""
    if server:
        return There(work, server)
    try:
        return Here(work)
    except errors.StateInUse:
        settings = work.settings
        scheme = "https" if settings.text("serve.certificate") else "http"
        return There(work, f"{scheme}://{settings.text('serve.host')}:{settings.integer('serve.port')}")
