"""The book of a monitor: its checks, runbooks and who is told, read from one TOML file.

A book is taken whole or not at all: every mistake is told with its line and what to write instead, and whoever watched
by the last good one goes on.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, TypeAlias
from urllib.parse import urlsplit

import msgspec

from boxwork import errors
from boxwork.packs.monitor.outcome import WORDS

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
_NAME = re.compile(NAME)
# Mistakes that are told at once; more are not read.  Unit: mistakes.
MISTAKES_MAX = 20
# One book.  Unit: checks; each is looked at by every page.
CHECKS_MAX = 5_000
DAY_S = 86_400

Word: TypeAlias = Literal["warning", "critical", "unknown"]
Seconds: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=DAY_S)]
Limit: TypeAlias = Annotated[float, msgspec.Meta(ge=0.1, le=3600)]
Command: TypeAlias = Annotated[list[str], msgspec.Meta(min_length=1, max_length=200)]
Status: TypeAlias = Annotated[int, msgspec.Meta(ge=100, le=599)]


class Check(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One thing that is looked at.  Exactly one of `http`, `tcp`, `plugin` and `shell` says how.

    every_s    between two looks; retry_s the same while it fails and that is not certain (0: as every_s)
    attempts   so many bad results one after another are certain (a *hard* state)
    needs      checks without which this one cannot be well: a host, a database
    ticket_on  the hard states that open an incident
    """

    http: str = ""
    status: list[Status] = []
    body: Annotated[str, msgspec.Meta(max_length=10_000)] = ""
    headers: dict[str, str] = {}
    verify: bool = True
    certificate_days: Annotated[float, msgspec.Meta(ge=0, le=3650)] = 0
    slow_ms: Annotated[float, msgspec.Meta(ge=0)] = 0
    tcp: str = ""
    plugin: list[str] = []
    shell: str = ""
    every_s: Annotated[float, msgspec.Meta(ge=0.5, le=DAY_S)] = 60
    retry_s: Seconds = 0
    attempts: Annotated[int, msgspec.Meta(ge=1, le=20)] = 3
    timeout_s: Limit = 10
    needs: list[str] = []
    runbook: str = ""
    ticket_on: list[Word] = msgspec.field(default_factory=lambda: ["critical", "unknown"])
    about: Annotated[str, msgspec.Meta(max_length=1_000)] = ""

    @property
    def what(self) -> str:
        """What is looked at, in words."""
        return self.http or self.tcp or self.shell or " ".join(self.plugin)

    @property
    def kind(self) -> str:
        return "http" if self.http else "tcp" if self.tcp else "plugin"

    @property
    def command(self) -> list[str]:
        return ["/bin/sh", "-c", self.shell] if self.shell else self.plugin

    @property
    def opens(self) -> tuple[int, ...]:
        """The states that open an incident, as numbers."""
        return tuple(WORDS.index(word) for word in self.ticket_on)


class Runbook(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is run when a check is certainly critical.

    wait_s  after it, before the check is asked again; tries  for one incident; then a person has to look
    """

    command: Command
    timeout_s: Limit = 60
    wait_s: Seconds = 1
    tries: Annotated[int, msgspec.Meta(ge=1, le=20)] = 2
    times_an_hour: Annotated[int, msgspec.Meta(ge=1, le=60)] = 4
    about: Annotated[str, msgspec.Meta(max_length=1_000)] = ""


class Target(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who is told of an incident: a web hook, or a command that reads the same JSON from its standard input."""

    url: str = ""
    secret_file: str = ""
    command: list[str] = []
    timeout_s: Limit = 10
    give_up_s: Annotated[float, msgspec.Meta(ge=1, le=7 * DAY_S)] = 3600


class Tickets(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When failures are one incident, and when it is over.

    storm_checks  so many checks that begin to fail within storm_s are one incident
    gather_s      an incident is this old before anybody is told, so that a storm is told once
    calm_s        an incident is over when everything in it has been well for so long
    reopen_s      what fails again this soon after opens the same incident again
    """

    storm_checks: Annotated[int, msgspec.Meta(ge=2, le=1000)] = 5
    storm_s: Annotated[float, msgspec.Meta(ge=1, le=3600)] = 60
    gather_s: Annotated[float, msgspec.Meta(ge=0, le=3600)] = 15
    calm_s: Annotated[float, msgspec.Meta(ge=0, le=3600)] = 20
    reopen_s: Annotated[float, msgspec.Meta(ge=0, le=DAY_S)] = 300


class Book(msgspec.Struct, frozen=True):
    checks: dict[str, Check] = {}
    runbooks: dict[str, Runbook] = {}
    notify: dict[str, Target] = {}
    tickets: Tickets = Tickets()

    def above(self, name: str) -> list[str]:
        """Everything that a check needs, near ones first."""
        found: list[str] = []
        waiting = list(self.checks[name].needs) if name in self.checks else []
        while waiting:
            other = waiting.pop(0)
            if other not in found and other in self.checks:
                found.append(other)
                waiting += self.checks[other].needs
        return found


class BadBook(errors.BadInput):
    code = "monitor.book"


# What `[defaults]` may say for all checks.
DEFAULTS = ("every_s", "retry_s", "attempts", "timeout_s", "ticket_on", "needs", "runbook", "verify", "slow_ms")
TABLES = ("defaults", "checks", "runbooks", "notify", "tickets")


def read_book(text: str) -> Book:
    """The book in this text.  Raises `BadBook`, whose details have every mistake with its line."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as fault:
        raise _refused([_of_toml(str(fault))]) from None
    reader = _Reader(text, tables)
    book = reader.read()
    if reader.mistakes:
        raise _refused(reader.mistakes)
    return book


def _refused(mistakes: list[str]) -> BadBook:
    return BadBook("; ".join(mistakes), mistakes=mistakes)


def _of_toml(said: str) -> str:
    found = re.search(r"^(.*) \(at line (\d+), column (\d+)\)$", said)
    return f"line {found[2]}: {found[1]} (column {found[3]}): it is no TOML" if found else f"it is no TOML: {said}"


class _Reader:
    """Goes through all tables and gathers what is wrong."""

    def __init__(self, text: str, tables: dict[str, Any]) -> None:
        self.lines = text.splitlines()
        self.tables = tables
        self.mistakes: list[str] = []

    def read(self) -> Book:
        for name in self.tables:
            if name not in TABLES:
                self.wrong((name,), "", f"there is no table [{name}]: there are {', '.join(TABLES)}")
        defaults = self._defaults()
        checks = {name: check for name, given in self._rows("checks") if (check := self._check(name, given, defaults))}
        runbooks = {name: how for name, given in self._rows("runbooks") if (how := self._runbook(name, given))}
        targets = {name: one for name, given in self._rows("notify") if (one := self._target(name, given))}
        tickets = self._convert(("tickets",), self.tables.get("tickets", {}), Tickets) or Tickets()
        book = Book(checks, runbooks, targets, tickets)
        if len(checks) > CHECKS_MAX:
            self.mistakes.append(f"there are {len(checks)} checks, and {CHECKS_MAX} at most: split the book")
        self._names(book)
        return book

    def wrong(self, table: tuple[str, ...], key: str, said: str) -> None:
        if len(self.mistakes) < MISTAKES_MAX:
            line = self.line_of(table, key)
            where = f"line {line}: " if line else ""
            self.mistakes.append(where + said)

    def line_of(self, table: tuple[str, ...], key: str) -> int:
        """Where a key of a table stands, else where the table begins; 0 if that cannot be told."""
        head, inside = 0, False
        for number, line in enumerate(self.lines, 1):
            stripped = line.strip()
            if stripped.startswith("["):
                inside = _parts(stripped.strip("[] \t").split("]")[0]) == list(table)
                head = number if inside and not head else head
            elif inside and key and re.match(rf'^"?{re.escape(key)}"?\s*[=.]', stripped):
                return number
            elif not head and _dotted(stripped, table):
                head = number
        return head

    def _rows(self, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
        rows = self.tables.get(name, {})
        if not isinstance(rows, dict):
            self.wrong((name,), "", f"{name} is a table of tables: write [{name}.NAME]")
            return
        for row, given in rows.items():
            if not _NAME.match(row):
                self.wrong((name, row), "", f"{row!r} is no name: letters, digits and ._- of at most 64 characters")
            elif not isinstance(given, dict):
                self.wrong((name,), row, f"{name}.{row} is a table: write [{name}.{row}]")
            else:
                yield row, given

    def _defaults(self) -> dict[str, Any]:
        given = self.tables.get("defaults", {})
        if not isinstance(given, dict):
            self.wrong(("defaults",), "", "defaults is a table: write [defaults]")
            return {}
        for key in given:
            if key not in DEFAULTS:
                self.wrong(("defaults",), key, f"defaults has no {key!r}: it has {', '.join(DEFAULTS)}")
        known = {key: value for key, value in given.items() if key in DEFAULTS}
        return known if self._convert(("defaults",), known, Check) is not None else {}

    def _check(self, name: str, given: dict[str, Any], defaults: Mapping[str, Any]) -> Check | None:
        table = ("checks", name)
        merged = {**defaults, **given}
        if name in merged.get("needs", ()) and "needs" not in given:  # what everything needs does not need itself
            merged["needs"] = [other for other in merged["needs"] if other != name]
        if isinstance(merged.get("status"), int):
            merged["status"] = [merged["status"]]
        check: Check | None = self._convert(table, merged, Check)
        if check is None:
            return None
        ways = [key for key in ("http", "tcp", "plugin", "shell") if getattr(check, key)]
        if len(ways) != 1:
            said = " and ".join(ways) or "nothing"
            self.wrong(table, ways[1] if ways else "", f"check {name} has {said}: one of http, tcp, plugin and shell")
        elif check.http and (urlsplit(check.http).scheme not in ("http", "https") or not urlsplit(check.http).hostname):
            self.wrong(table, "http", f"check {name}: {check.http!r} is no address: write http://host:port/path")
        elif check.tcp and not _host_port(check.tcp):
            self.wrong(table, "tcp", f"check {name}: {check.tcp!r} is no address: write host:port")
        return check

    def _runbook(self, name: str, given: dict[str, Any]) -> Runbook | None:
        found: Runbook | None = self._convert(("runbooks", name), given, Runbook)
        return found

    def _target(self, name: str, given: dict[str, Any]) -> Target | None:
        target: Target | None = self._convert(("notify", name), given, Target)
        if target is not None and bool(target.url) == bool(target.command):
            self.wrong(("notify", name), "", f"notify {name}: give one of url and command")
        elif target is not None and target.url and urlsplit(target.url).scheme not in ("http", "https"):
            self.wrong(("notify", name), "url", f"notify {name}: {target.url!r} is no address: write https://host/path")
        elif target is not None and target.secret_file and not target.url:
            self.wrong(("notify", name), "secret_file", f"notify {name}: a secret signs what goes to a url")
        return target

    def _convert(self, table: tuple[str, ...], given: Any, kind: Any) -> Any:
        try:
            return msgspec.convert(given, kind)
        except msgspec.ValidationError as fault:
            said = str(fault)
            strange = re.search(r"unknown field `([^`]+)`", said)
            if strange:
                known = ", ".join(field.name for field in msgspec.structs.fields(kind))
                self.wrong(table, strange[1], f"{'.'.join(table)} has no {strange[1]!r}: it has {known}")
                return None
            at = re.search(r" - at `\$\.?([^`\[.]*)", said)
            key = at[1] if at else ""
            value = given.get(key) if isinstance(given, dict) else given
            shown = f"{key} = {value!r}: " if key else ""
            self.wrong(table, key, f"{'.'.join(table)}: {shown}{said.split(' - at ')[0]}")
            return None

    def _names(self, book: Book) -> None:
        """Names in a book that mean something else in it."""
        for name, check in book.checks.items():
            table = ("checks", name)
            if check.runbook and check.runbook not in self.tables.get("runbooks", {}):
                known = ", ".join(self.tables.get("runbooks", {})) or "none"
                self.wrong(table, "runbook", f"check {name}: there is no runbook {check.runbook!r}: there are {known}")
            for other in check.needs:
                if other not in self.tables.get("checks", {}):
                    self.wrong(table, "needs", f"check {name} needs {other!r}, which is no check of this book")
            if name in book.above(name):
                self.wrong(table, "needs", f"check {name} needs itself, through {', '.join(check.needs)}")


def _parts(dotted: str) -> list[str]:
    return [part.strip().strip("\"'") for part in re.findall(r'"[^"]*"|\'[^\']*\'|[^.]+', dotted)]


def _dotted(line: str, table: tuple[str, ...]) -> bool:
    """Is the table written as `checks.web = {…}` or, inside [checks], as `web = {…}`."""
    left = _parts(line.split("=", 1)[0].strip()) if "=" in line else []
    return bool(left) and (left[: len(table)] == list(table) or left == [table[-1]])


def _host_port(address: str) -> tuple[str, int] | None:
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    return (host, int(port)) if host and port.isdigit() and 0 < int(port) < 65536 else None


def host_port(address: str) -> tuple[str, int]:
    """The two halves of `host:port`."""
    found = _host_port(address)
    if found is None:
        raise errors.BadInput(f"{address!r} is no address: write host:port")
    return found
