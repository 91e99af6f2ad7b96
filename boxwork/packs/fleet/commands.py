"""The command group `boxwork fleet`: what people decide about a fleet, and how they look at it."""

from __future__ import annotations

import datetime
import getpass
from pathlib import Path
from typing import Any

from cyclopts import App

from boxwork import errors


def commands(context: Any) -> App:
    """The group, for one call of the command line."""
    app = App(name="fleet", help="Configuration pulled by servers: a host is a pointer to a version.")
    output = context.output

    def at(work: Any, server: str) -> Any:
        from boxwork.packs.fleet.counter import counter

        return counter(work, server)

    @app.command
    def status(*, server: str = "") -> None:
        """Hosts by version, the source, and the rollout."""
        with context.work() as work:
            found = at(work, server).state()
        output.answer(found, _state_text(found))

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
        output.answer(found, _host_text(found))

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
            version = counter.publish(folder, author or _user(), reason)
            output.answer(version, f"version {version['number']} is published: {reason}")
            if roll_out:
                started = counter.start(version["number"], author or _user(), reason, {})
                output.say(f"rollout {started['number']} to {started['cohort']} hosts has begun")

    @app.command
    def diff(old: int, new: int, *, server: str = "") -> None:
        """What differs between two versions: rows, and templates line by line."""
        with context.work() as work:
            found = at(work, server).difference(old, new)
        output.answer(found, _difference_text(found))

    @app.command
    def history(*, server: str = "") -> None:
        """Who decided what, when and why, newest first."""
        with context.work() as work:
            found = at(work, server).history()
        rows = ({**row, "at": _time(row["at_ns"])} for row in found)
        output.table(["at", "what", "who", "why"], rows, "nothing was decided yet")

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
            found = at(work, server).start(version, who or _user(), why, plan)
        output.answer(found, f"rollout {found['number']} takes {found['cohort']} hosts to version {version}")

    @app.command
    def check(*, server: str = "") -> None:
        """Look at the source now; rows that differ become a version, mistakes are told with row and column."""
        with context.work() as work:
            found = at(work, server).check()
        version = found["version"]
        text = f"version {version['number']}: {version['reason']}" if version else "nothing differs"
        output.answer(found, f"{found['source']['rows']} rows are good; {text}")

    @app.command
    def token(host: str) -> None:
        """The token that a host of another machine shows; it opens the addresses of this host only."""
        from boxwork.packs.fleet.counter import token as make

        with context.work() as work:
            found = make(work, host)
        output.answer({"host": host, "token": found}, found)

    @app.command
    def key() -> None:
        """The public key, which agents are given: they take no document that was not signed with its other half."""
        from boxwork.packs.fleet.protocol import public_key

        with context.work() as work:
            found = public_key(work.part("fleet").private_key).hex()
        output.answer({"public_key": found}, found)

    app.command(_rollout_commands(context, at))
    _mount_agent(app, context)
    return app


def _rollout_commands(context: Any, at: Any) -> App:
    group = App(name="rollout", help="Moves the fleet to a version: start, status, pause, resume, abort.")
    output = context.output

    @group.command
    def start(
        version: int,
        *,
        why: str = "",
        who: str = "",
        kind: str = "",
        first: float | None = None,
        growth: float | None = None,
        bake_s: float | None = None,
        failures_max: int | None = None,
        series: str = "",
        p99_ms: float | None = None,
        server: str = "",
    ) -> None:
        """Move the fleet to a version, step by step. What is not given is as in the settings.

        Parameters
        ----------
        version: the number of the version
        why: the default is the reason of the version
        who: the default is the user of this machine
        kind: exponential, linear or once
        first: share of the cohort in the first step
        growth: exponential: the factor from step to step; linear: the share of each step
        bake_s: seconds for which every host of a step is well before the next step
        failures_max: hosts that may fail before all go back
        series: a pulse pattern whose p99 is a gate, as http{route=/cart}
        p99_ms: the gate: above it, all go back
        server: the URL of the server, if it is not on this machine's usual port
        """
        given = {"kind": kind or None, "first": first, "growth": growth, "bake_s": bake_s, "failures_max": failures_max}
        plan: dict[str, object] = {name: value for name, value in given.items() if value is not None}
        if series:
            if p99_ms is None:
                raise errors.BadInput(f"--series {series} is a gate: say above which --p99-ms all go back")
            plan["latency"] = {"series": series, "p99_ms": p99_ms}
        with context.work() as work:
            found = at(work, server).start(version, who or _user(), why, plan)
        output.answer(found, f"rollout {found['number']} to {found['cohort']} hosts has begun")

    @group.command
    def status(*, server: str = "") -> None:
        """The rollout that runs, or the last one."""
        with context.work() as work:
            found = at(work, server).state()["rollout"]
        output.answer(found, _rollout_text(found) if found else "there was no rollout yet")

    def steering(action: str, about: str) -> None:
        def steer(*, why: str, who: str = "", number: int = 0, server: str = "") -> None:
            with context.work() as work:
                counter = at(work, server)
                if not number:
                    running = counter.state()["rollout"]
                    if running is None or running["is_over"]:
                        raise errors.BadInput(f"no rollout is running, so there is none to {action}")
                    number = running["number"]
                found = counter.steer(number, action, who or _user(), why)
            output.answer(found, f"rollout {number} is {found['state']}")

        steer.__doc__ = about
        group.command(steer, name=action)

    steering("pause", "Stop taking steps; what was moved stays.")
    steering("resume", "Go on with a rollout that was paused; the step bakes anew.")
    steering("abort", "Take back every host that the rollout has moved.")
    return group


def _mount_agent(app: App, context: Any) -> None:
    from boxwork.packs.fleet.agent_commands import agent_app

    app.command(agent_app(context), name="agent")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        return "somebody"


def _time(at_ns: int) -> str:
    return datetime.datetime.fromtimestamp(at_ns / 1e9, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S")


def _state_text(state: Any) -> str:
    source = state["source"]
    age = "never read" if source["age_s"] is None else f"good {source['age_s']:.0f} s ago"
    lines = [
        f"{state['hosts']} hosts, version {state['present']} (newest {state['latest']})",
        f"source  {source['name'] or 'none set'}, {age}" + (f"; {source['problem']}" if source["problem"] else ""),
        "hosts   " + ", ".join(f"{count} {word}" for word, count in sorted(state["conditions"].items())),
    ]
    if state["rollout"]:
        lines.append(_rollout_text(state["rollout"]))
    return "\n".join(lines)


def _rollout_text(rollout: Any) -> str:
    lines = [
        f"rollout {rollout['number']} to version {rollout['to']}: {rollout['state']},"
        f" {rollout['moved']} of {rollout['cohort']} hosts, by {rollout['who']}: {rollout['why']}"
    ]
    if rollout["waiting_for"]:
        lines.append(f"  waits for {rollout['waiting_for']}")
    lines += [
        f"  {_time(event['at_ns'])}  {event['what']} by {event['who']}: {event['why']}" for event in rollout["events"]
    ]
    return "\n".join(lines)


def _host_text(found: Any) -> str:
    assigned, status = found["assigned"], found["status"]
    lines = [f"{found['host']}: {found['condition']}"]
    if assigned:
        back = ", a way back" if assigned["rollback"] else ""
        lines.append(f"  shall be release {assigned['release']} (position {assigned['position']}{back})")
    if status:
        report = status["report"]
        lines.append(f"  is release {report['release']} (position {report['position']}), said {_time(status['at_ns'])}")
        if status["failure"]:
            lines.append(f"  failed position {status['failed']}: {status['failure']}")
        lines += [f"  drift: {drift['path']} {drift['kind']}" for drift in report.get("drift", ())]
    lines += [f"  {file['mode']} {file['bytes']:>8} {file['path']}" for file in found["files"]]
    return "\n".join(lines)


def _difference_text(found: Any) -> str:
    lines = [f"rows: {found['rows']}"]
    for file in found["files"]:
        lines += [f"{file['kind']} {file['path']}", *(f"  {line}" for line in file["lines"])]
    return "\n".join(lines)
