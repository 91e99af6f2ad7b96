"""The command group `boxwork monitor`: what people and scripts ask about checks and incidents.

Exit codes for scripts: `status` 1 while an incident is open, `run` that of the check (0 to 3, as plugins have it).
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cyclopts import App

from boxwork import errors


def commands(context: Any) -> App:
    """The group, for one call of the command line."""
    app = App(name="monitor", help="Checks of services, and one incident for what fails together.")
    _add_looks(app, context)
    _add_orders(app, context)
    return app


def _at(work: Any, server: str) -> Any:
    from boxwork.packs.monitor.counter import counter

    return counter(work, server)


def _read(file: Path) -> Any:
    from boxwork.packs.monitor.book import BadBook, read_book

    try:
        return read_book(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as fault:
        raise errors.BadInput(f"{file} cannot be read: {fault}") from None
    except BadBook as fault:
        mistakes = fault.details["mistakes"]
        raise BadBook("\n".join(f"{file}: {one}" for one in mistakes), mistakes=mistakes) from None


def _add_looks(app: App, context: Any) -> None:
    output = context.output

    @app.command
    def check(file: Path) -> None:
        """Is this book good. Every mistake is told with its line, and nothing is run.

        Parameters
        ----------
        file: the book, as monitor.toml
        """
        book = _read(file)
        counts = {"checks": len(book.checks), "runbooks": len(book.runbooks), "notify": len(book.notify)}
        a_second = sum(1 / one.every_s for one in book.checks.values())
        text = f"{file} is good: {counts['checks']} checks, {a_second:.1f} a second, {counts['runbooks']} runbooks"
        output.answer({**counts, "a_second": round(a_second, 3)}, f"{text}, {counts['notify']} to tell")

    @app.command
    def run(name: str, *, file: Path | None = None) -> int:
        """Run one check once, here and now; nothing is recorded. The exit code is its state: 0 ok … 3 unknown.

        Parameters
        ----------
        name: the check, as the book has it
        file: the book; the default is that of the node
        """
        import boxwork
        from boxwork.packs.monitor.probe import look

        if file is None:
            with context.work() as work:
                file = work.part("monitor").path
        found = _read(file).checks.get(name)
        if found is None:
            raise errors.NotFound(f"there is no check {name!r} in {file}", check=name)
        outcome = asyncio.run(look(found, boxwork.clock.SystemClock()))
        figures = {one.label: f"{one.value:g}{one.unit}" for one in outcome.figures}
        told = {
            "check": name,
            "state": outcome.word,
            "text": outcome.text,
            "ms": round(outcome.took_ns / 1e6, 1),
            "figures": figures,
        }
        lines = [f"{outcome.word}: {outcome.text} ({told['ms']} ms)", *outcome.long.splitlines()]
        lines += [f"  {label} {value}" for label, value in figures.items()]
        output.answer(told, "\n".join(lines))
        return outcome.state

    @app.command
    def status(*, server: str = "") -> int:
        """What is wrong, and how the checks stand. The exit code is 1 while an incident is open.

        Parameters
        ----------
        server: the URL of the server, if it is not on this machine's usual port
        """
        with context.work() as work:
            state = _at(work, server).state()
        output.answer(state, of_state(state))
        return 1 if any(one["state"] == "open" for one in state["incidents"]) else 0

    @app.command
    def show(number: int, *, server: str = "") -> None:
        """One incident: its checks, what its runbook did, its timeline.

        Parameters
        ----------
        number: the incident
        server: the URL of the server, if it is not on this machine's usual port
        """
        with context.work() as work:
            found = _at(work, server).incident(number)
        output.answer(found, of_incident(found))


def _add_orders(app: App, context: Any) -> None:
    output = context.output

    @app.command
    def ack(number: int, *, note: str = "", who: str = "", server: str = "") -> None:
        """Take an incident: its runbook stops, and everybody sees who has it.

        Parameters
        ----------
        number: the incident
        note: for whoever reads the timeline
        who: the default is the user of this machine
        server: the URL of the server, if it is not on this machine's usual port
        """
        with context.work() as work:
            found = _at(work, server).acknowledge(number, who or context.user, note)
        output.answer(found, f"incident {number} is acknowledged by {found['who']}: {found['title']}")

    @app.command
    def resolve(number: int, *, note: str = "", who: str = "", server: str = "") -> None:
        """Say that an incident is over: what still fails in it opens nothing until it was well once.

        Parameters
        ----------
        number: the incident
        note: for whoever reads the timeline
        who: the default is the user of this machine
        server: the URL of the server, if it is not on this machine's usual port
        """
        with context.work() as work:
            found = _at(work, server).resolve(number, who or context.user, note)
        output.answer(found, f"incident {number} is resolved: {found['title']}")

    @app.command
    def silence(
        checks: str, *, minutes: float = 60, why: str, who: str = "", in_minutes: float = 0, server: str = ""
    ) -> None:
        """A maintenance window: what it names, and what needs that, opens no incident meanwhile.

        Parameters
        ----------
        checks: a check, or a pattern with * and ?
        minutes: how long
        why: what is done meanwhile
        who: the default is the user of this machine
        in_minutes: when it begins; the default is now
        server: the URL of the server, if it is not on this machine's usual port
        """
        with context.work() as work:
            found = _at(work, server).silence(checks, minutes, who or context.user, why, in_minutes)
        until = moment(found["until_ns"])
        output.answer(found, f"{checks} is in maintenance until {until} UTC; boxwork monitor unsilence {found['id']}")

    @app.command
    def unsilence(name: str, *, who: str = "", server: str = "") -> None:
        """End a maintenance window now.

        Parameters
        ----------
        name: its id, as `silence` and `status --json` tell it
        who: the default is the user of this machine
        server: the URL of the server, if it is not on this machine's usual port
        """
        with context.work() as work:
            found = _at(work, server).unsilence(name, who or context.user)
        output.answer(found, f"the maintenance of {found['checks']} is over")


def moment(at_ns: int) -> str:
    return datetime.fromtimestamp(at_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S")


def of_state(state: Any) -> str:
    counts = ", ".join(f"{count} {word}" for word, count in state["counts"].items() if count)
    lines = [f"{state['checks']} checks: {counts}" if state["checks"] else "no check is known here"]
    lines += [f"! {one}" for one in state["trouble"]]
    for one in state["incidents"]:
        has = f" ({one['who']} has it)" if one["state"] == "acknowledged" else ""
        lines.append(f"#{one['number']} {one['state']} since {moment(one['opened_ns'])}: {one['title']}{has}")
        lines.append(f"   {one['text']}")
    lines += [] if state["incidents"] else ["no incident is open"]
    lines += [f"maintenance of {one['checks']} until {moment(one['until_ns'])}: {one['why']} ({one['id']})"
              for one in state["silences"]]  # fmt: skip
    return "\n".join(lines)


def of_incident(found: Any) -> str:
    lines = [f"#{found['number']} {found['title']}: {found['state']}"]
    for one in found["members"]:
        because = f" (needs {one['because']})" if one["because"] else ""
        lines.append(f"  {one['state']:<8} {one['check']}{because}: {one['text']}")
    for run in found["runs"]:
        lines.append(f"  runbook {run['runbook']} for {run['check']}: {run['outcome']}; {run['text']}")
    for entry in found["entries"]:
        who = f" by {entry['who']}" if entry["who"] else ""
        check = f" {entry['check']}" if entry["check"] else ""
        text = f": {entry['text']}" if entry["text"] else ""
        lines.append(f"  {moment(entry['at_ns'])}  {entry['what']}{check}{who}{text}")
    return "\n".join(lines)
