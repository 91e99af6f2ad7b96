"""The command group `boxwork fleet`: what people decide about a fleet, and how they look at it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cyclopts import App

from boxwork import errors
from boxwork.packs.fleet import wording
from boxwork.packs.fleet.key_commands import add_keys
from boxwork.packs.fleet.rollout_commands import rollout_commands


def commands(context: Any) -> App:
    """The group, for one call of the command line."""
    from boxwork.packs.fleet.agent_commands import agent_app

    app = App(name="fleet", help="Configuration pulled by servers: a host is a pointer to a version.")
    _add_looks(app, context)
    _add_versions(app, context)
    _add_overrides(app, context)
    add_keys(app, context, at)
    app.command(rollout_commands(context, at))
    app.command(agent_app(context), name="agent")
    return app


def at(work: Any, server: str) -> Any:
    """Where an order is handed in."""
    from boxwork.packs.fleet.counter import counter

    return counter(work, server)


def _add_looks(app: App, context: Any) -> None:
    output = context.output

    @app.command
    def status(*, server: str = "") -> None:
        """Hosts by version, the source, and the rollout."""
        with context.work() as work:
            found = at(work, server).state()
        output.answer(found, wording.of_state(found))

    @app.command
    def hosts(words: str = "", *, only: str = "", server: str = "") -> None:
        """List the hosts: what each shall be, what it is, how it is.

        Parameters
        ----------
        words: a part of the name
        only: well, moving, failed, unwell, drifted, away, new or left
        server: the URL of the server, if it is not on this machine's usual port
        """
        with context.work() as work:
            found = at(work, server).hosts(words, only)
        columns = ["host", "shall_be", "is", "condition", "drift", "seen_s_ago"]
        output.table(columns, (dict(zip(columns, row, strict=True)) for row in found["rows"]), "no host")

    @app.command
    def show(host: str, *, server: str = "") -> None:
        """One host: its version, its files, its last reports."""
        with context.work() as work:
            found = at(work, server).host(host)
        output.answer(found, wording.of_host(found))

    @app.command
    def diff(old: int, new: int, *, server: str = "") -> None:
        """What differs between two versions: rows, and templates line by line."""
        with context.work() as work:
            found = at(work, server).difference(old, new)
        output.answer(found, wording.of_difference(found))

    @app.command
    def history(*, server: str = "") -> None:
        """Who decided what, when and why, newest first."""
        with context.work() as work:
            found = at(work, server).history()
        rows = ({**row, "at": wording.moment(row["at_ns"])} for row in found)
        output.table(["at", "what", "who", "why"], rows, "nothing was decided yet")


def _add_versions(app: App, context: Any) -> None:
    output = context.output

    @app.command
    def publish(folder: Path, *, reason: str, author: str = "", roll_out: bool = False, server: str = "") -> None:
        """Publish a release folder with the rows that the source has now. Everything is checked first.

        Parameters
        ----------
        folder: templates with a release.toml at the top
        reason: why; it stands in the history
        author: who; the default is the user of this machine
        roll_out: begin to roll it out, by the plan of the settings
        server: the URL of the server, if it is not on this machine's usual port
        """
        if not folder.is_dir():
            raise errors.BadInput(f"{folder} is no folder: give the folder that holds release.toml")
        with context.work() as work:
            counter = at(work, server)
            version = counter.publish(folder, author or context.user, reason)
            output.answer(version, f"version {version['number']} is published: {reason}")
            if roll_out:
                started = counter.start(version["number"], author or context.user, reason, {})
                output.say(f"rollout {started['number']} to {started['cohort']} hosts has begun")

    @app.command
    def rollback(version: int, *, why: str, who: str = "", at_once: bool = True, server: str = "") -> None:
        """Back to an earlier version, all hosts at once (with --no-at-once by the plan of the settings).

        Parameters
        ----------
        version: the number of the version
        why: the reason; it stands in the history
        who: the default is the user of this machine
        at_once: all hosts in one step
        server: the URL of the server, if it is not on this machine's usual port
        """
        plan: dict[str, object] = {"kind": "once", "bake_s": 0} if at_once else {}
        with context.work() as work:
            found = at(work, server).start(version, who or context.user, why, plan)
        output.answer(found, f"rollout {found['number']} takes {found['cohort']} hosts to version {version}")

    @app.command
    def check(*, server: str = "") -> None:
        """Look at source and roots now; what differs becomes a version, mistakes are told with row and column."""
        with context.work() as work:
            found = at(work, server).check()
        version = found["version"]
        text = f"version {version['number']}: {version['reason']}" if version else "nothing differs"
        output.answer(found, f"{found['source']['rows']} rows are good; {text}")


def _add_overrides(app: App, context: Any) -> None:
    output = context.output

    @app.command(name="set")
    def set_over(scope: str, *pairs: str, reason: str, author: str = "", server: str = "") -> None:
        """Set values of a host, or of all that have a label, over those of the source. It makes a version.

        Parameters
        ----------
        scope: a host, as web1, or a label, as site=berlin
        pairs: column=value, as workers=9
        reason: why; it stands in the history and on the host's page
        author: who; the default is the user of this machine
        server: the URL of the server, if it is not on this machine's usual port
        """
        from boxwork.packs.fleet.overrides import read_values

        values = read_values(pairs)
        with context.work() as work:
            found = at(work, server).override(scope, values, author or context.user, reason)
        output.answer(found, f"version {found['number']} has it: {found['reason']}")

    @app.command
    def unset(scope: str, *columns: str, reason: str, author: str = "", server: str = "") -> None:
        """Take overrides back: what the source says again.

        Parameters
        ----------
        scope: the host or the label, as it was set
        columns: which; all of that host or label if none is named
        reason: why; it stands in the history
        author: who; the default is the user of this machine
        server: the URL of the server, if it is not on this machine's usual port
        """
        with context.work() as work:
            found = at(work, server).unset(scope, list(columns), author or context.user, reason)
        output.answer(found, f"version {found['number']} has it: {found['reason']}")
