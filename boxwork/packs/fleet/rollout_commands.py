"""`boxwork fleet rollout`: moving hosts to a version, and steering that."""

from __future__ import annotations

from typing import Any

from cyclopts import App

from boxwork import errors
from boxwork.packs.fleet import wording


def rollout_commands(context: Any, at: Any) -> App:
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
        only: str = "",
        server: str = "",
    ) -> None:
        """Move the fleet or a part of it to a version, step by step. What is not given is as in the settings.

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
        only: a host, or a label as site=berlin: the others stay, and may be in another rollout
        server: the URL of the server, if it is not on this machine's usual port
        """
        given = {"kind": kind or None, "first": first, "growth": growth, "bake_s": bake_s, "failures_max": failures_max}
        plan: dict[str, object] = {name: value for name, value in given.items() if value is not None}
        if series:
            if p99_ms is None:
                raise errors.BadInput(f"--series {series} is a gate: say above which --p99-ms all go back")
            plan["latency"] = {"series": series, "p99_ms": p99_ms}
        with context.work() as work:
            found = at(work, server).start(version, who or context.user, why, plan, only)
        output.answer(found, f"rollout {found['number']} to {found['cohort']} hosts has begun")

    _add_steering(group, context, at)
    return group


def _add_steering(group: App, context: Any, at: Any) -> None:
    output = context.output

    @group.command
    def status(*, server: str = "") -> None:
        """The rollout that runs, or the last one."""
        with context.work() as work:
            state = at(work, server).state()
        found = state["rollout"]
        text = "\n".join(wording.of_rollout(one) for one in (*state["beside"], found)) if found else ""
        output.answer(found, text or "there was no rollout yet")

    def steering(action: str, about: str) -> None:
        def steer(*, why: str, who: str = "", number: int = 0, server: str = "") -> None:
            with context.work() as work:
                counter = at(work, server)
                if not number:
                    running = counter.state()["rollout"]
                    if running is None or running["is_over"]:
                        raise errors.BadInput(f"no rollout is running, so there is none to {action}")
                    number = running["number"]
                found = counter.steer(number, action, who or context.user, why)
            output.answer(found, f"rollout {number} is {found['state']}")

        steer.__doc__ = about
        group.command(steer, name=action)

    steering("pause", "Stop taking steps; what was moved stays.")
    steering("resume", "Go on with a rollout that was paused; the step bakes anew.")
    steering("abort", "Take back every host that the rollout has moved.")
