"""Where the command line hands in its orders: at the fleet itself, or at the server that owns its facts.

Both counters take the same calls and answer with the same plain values.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, urlencode

import msgspec

from boxwork import Elsewhere, errors
from boxwork.packs.fleet import protocol
from boxwork.packs.fleet.admission import token_of
from boxwork.packs.fleet.conductor import Conductor
from boxwork.packs.fleet.outlook import Outlook
from boxwork.packs.fleet.overrides import set_over, unset_over
from boxwork.packs.fleet.plan import plan_of

# A publication fills in every template for every host before it answers.  Unit: seconds.
PATIENCE_S = 120.0


class Counter(Protocol):
    def state(self) -> Any: ...
    def hosts(self, words: str, only: str) -> Any: ...
    def host(self, host: str) -> Any: ...
    def version(self, number: int) -> Any: ...
    def difference(self, old: int, new: int) -> Any: ...
    def history(self) -> Any: ...
    def check(self) -> Any: ...
    def publish(self, folder: Path, author: str, reason: str) -> Any: ...
    def override(self, scope: str, values: dict[str, str], who: str, why: str) -> Any: ...
    def unset(self, scope: str, columns: list[str], who: str, why: str) -> Any: ...
    def keys(self) -> Any: ...
    def new_key(self, who: str, why: str) -> Any: ...
    def retire_key(self, key: str, who: str, why: str, anyway: bool, grace_s: float | None) -> Any: ...
    def start(self, version: int, who: str, why: str, plan: dict[str, object], only: str = "") -> Any: ...
    def steer(self, number: int, action: str, who: str, why: str) -> Any: ...


class Here:
    """The fleet in this process."""

    def __init__(self, work: Any) -> None:
        self.work = work
        self.fleet = work.part("fleet")
        self.outlook = Outlook(self.fleet)

    def state(self) -> Any:
        return _plain(self.outlook.state())

    def hosts(self, words: str, only: str) -> Any:
        return _plain(self.outlook.hosts(words, only))

    def host(self, host: str) -> Any:
        return _plain(self.outlook.host(host))

    def version(self, number: int) -> Any:
        return _plain(self.outlook.version(number))

    def difference(self, old: int, new: int) -> Any:
        return _plain(self.outlook.difference(old, new))

    def history(self) -> Any:
        return list(self.fleet.history())

    def check(self) -> Any:
        return _plain({"version": self.fleet.follow_source(), "source": self.fleet.facade.health})

    def publish(self, folder: Path, author: str, reason: str) -> Any:
        return _plain(self.fleet.publish(folder, author=author, reason=reason))

    def override(self, scope: str, values: dict[str, str], who: str, why: str) -> Any:
        return _plain(set_over(self.fleet, scope, values, who=who, why=why))

    def unset(self, scope: str, columns: list[str], who: str, why: str) -> Any:
        return _plain(unset_over(self.fleet, scope, columns, who=who, why=why))

    def keys(self) -> Any:
        return _plain(self.fleet.keyring.about())

    def new_key(self, who: str, why: str) -> Any:
        return {"key": self.fleet.keyring.new(who=who, why=why)}

    def retire_key(self, key: str, who: str, why: str, anyway: bool, grace_s: float | None) -> Any:
        return {"key": self.fleet.keyring.retire(key, who=who, why=why, anyway=anyway, grace_s=grace_s)}

    def start(self, version: int, who: str, why: str, plan: dict[str, object], only: str = "") -> Any:
        default = msgspec.to_builtins(Conductor(self.fleet).default_plan())
        return _plain(self.fleet.start(version, plan_of({**default, **plan}), who=who, why=why, only=only))

    def steer(self, number: int, action: str, who: str, why: str) -> Any:
        state = {"pause": "paused", "resume": "running", "abort": "aborted"}[action]
        return _plain(self.fleet.steer(number, state, who=who, why=why))


class There:
    """The fleet of a server, by its addresses.  Folders are put into the data directory, which both share."""

    def __init__(self, work: Any, url: str) -> None:
        self.work = work
        self._server = Elsewhere(work, url, PATIENCE_S, OrderRefused)

    def state(self) -> Any:
        return self._server.ask("/fleet/state")

    def hosts(self, words: str, only: str) -> Any:
        return self._server.ask(f"/fleet/hosts.json?{urlencode({'q': words, 'only': only})}")

    def host(self, host: str) -> Any:
        return self._server.ask(f"/fleet/about/{quote(host, safe='')}")

    def version(self, number: int) -> Any:
        return self._server.ask(f"/fleet/versions/{number}")

    def difference(self, old: int, new: int) -> Any:
        return self._server.ask(f"/fleet/versions/{new}?against={old}")

    def history(self) -> Any:
        return self._server.ask("/fleet/history")

    def check(self) -> Any:
        return self._server.ask("/fleet/source", {})

    def publish(self, folder: Path, author: str, reason: str) -> Any:
        template = self.work.put_tree(folder).ref
        return self._server.ask("/fleet/versions", {"template": template, "author": author, "reason": reason})

    def override(self, scope: str, values: dict[str, str], who: str, why: str) -> Any:
        return self._server.ask("/fleet/overrides", {"scope": scope, "values": values, "who": who, "why": why})

    def unset(self, scope: str, columns: list[str], who: str, why: str) -> Any:
        return self._server.ask("/fleet/overrides/unset", {"scope": scope, "columns": columns, "who": who, "why": why})

    def keys(self) -> Any:
        return self._server.ask("/fleet/keys")

    def new_key(self, who: str, why: str) -> Any:
        return self._server.ask("/fleet/keys", {"who": who, "why": why})

    def retire_key(self, key: str, who: str, why: str, anyway: bool, grace_s: float | None) -> Any:
        order = {"key": key, "who": who, "why": why, "anyway": anyway}
        return self._server.ask("/fleet/keys/retire", order if grace_s is None else {**order, "grace_s": grace_s})

    def start(self, version: int, who: str, why: str, plan: dict[str, object], only: str = "") -> Any:
        return self._server.ask(
            "/fleet/rollouts", {"version": version, "who": who, "why": why, "plan": plan, "only": only}
        )

    def steer(self, number: int, action: str, who: str, why: str) -> Any:
        return self._server.ask(f"/fleet/rollouts/{number}/{action}", {"who": who, "why": why})


class OrderRefused(errors.BoxworkError):
    """The server said no; the message is its own."""

    code = "fleet.refused"
    status = 409
    retry = "never"


def counter(work: Any, server: str) -> Counter:
    """At the server that is named, else here; if another process owns the facts, at the server of the settings."""
    if server:
        return There(work, server)
    try:
        here = Here(work)
        here.fleet.mirror  # noqa: B018 - the first look opens the facts, if nobody else has them
        return here
    except errors.StateInUse:
        return There(work, "")


def token(work: Any, host: str, keys: list[Any]) -> str:
    """The token of a host, by the newest of the keys that are in use; the private half lies in this data directory."""
    msgspec.convert(host, protocol.Host)
    newest = [row["key"] for row in keys if row["state"] == "in use"][-1]
    return token_of(work.part("fleet").keyring.private(newest), host)


def _plain(value: Any) -> Any:
    return msgspec.to_builtins(value, enc_hook=str)
