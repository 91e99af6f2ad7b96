"""The conductor: the one thread that looks at the source, takes the steps of a rollout, and stops a bad one.

It keeps nothing that it could lose: every tick starts from the facts, so a server that was killed goes on where it was.
"""

from __future__ import annotations

import logging
import threading
from typing import Any

from boxwork import errors
from boxwork.packs.fleet.decisions import Rollout
from boxwork.packs.fleet.plan import SECOND_NS, Advance, Finish, Latency, Move, Pause, Revert, Seen, decide, plan_of

log = logging.getLogger("boxwork.fleet")

# How often it looks when nothing happens; a report or a decision wakes it at once.  Unit: seconds.
TICK_S = 0.25
# News is gathered for so long before the next look: reports come by thousands, and every look wakes this thread among
# those that answer.  It is also how long an order waits for its first step.  Unit: seconds.
GATHER_S = 0.03
# After a fault of its own (the disk is full): not again at once.  Unit: seconds.
PAUSE_S = 2.0
WHO = "boxwork"


class Conductor:
    """Over one fleet.  `tick` is one look, without threads or waiting; `start` has a thread do it."""

    def __init__(self, fleet: Any) -> None:
        self.fleet = fleet
        self.work = fleet.work
        self.poll_s = self.work.settings.number("fleet.source_poll_s")
        self.waiting_for: dict[int, str] = {}
        # Why what changed at the source or the root has made no version; empty if it has.
        self.stuck = ""
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        if self._threads:
            return
        jobs = [("boxwork-fleet", self._run)]
        if self.fleet.facade.source is not None:
            jobs.append(
                ("boxwork-fleet-source", self._follow)
            )  # it may wait for a slow store, and the rollout must not
        self._threads = [threading.Thread(target=job, name=name, daemon=True) for name, job in jobs]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            # The source's thread may be in the middle of a slow look; it is a daemon and writes nothing after it.
            thread.join(5.0)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.tick()
                self.fleet.mirror.wait(TICK_S)
                self._stop.wait(GATHER_S)
            except errors.Refused as answer:  # somebody steered in the same moment; look again
                log.debug("%s", answer.message)
            except errors.BoxworkError as fault:
                if not self._stop.is_set():
                    log.warning("the fleet's conductor: %s", fault.message)
                    self._stop.wait(PAUSE_S)

    def _follow(self) -> None:
        while not self._stop.is_set():
            try:
                version = self.fleet.follow_source()
                if version is not None:
                    log.info("%s made version %d: %s", version.author, version.number, version.reason)
                self.stuck = ""
            except errors.Refused as answer:  # somebody published in the same moment; look again
                log.debug("%s", answer.message)
            except errors.BoxworkError as fault:
                # What is wrong with the source the facade has told once; both are shown on the page.
                if fault.message not in (self.stuck, self.fleet.facade.health.problem):
                    log.warning("there is no new version: %s", fault.message)
                self.stuck = fault.message
            self._stop.wait(self.poll_s)

    def tick(self) -> Move | None:
        """One look at the rollouts that are not over, and the move that each asks for; the last of them."""
        going = self.fleet.mirror.going()
        self.waiting_for = {}
        if not going:
            self._start_waiting_version()
        made = None
        for rollout in going:
            if rollout.state == "running":
                made = self._move(rollout)
        return made

    def _move(self, rollout: Rollout) -> Move:
        fleet = self.fleet
        now = self.work.clock.now_ns()
        baked_s = max(0.0, (now - rollout.step_at_ns) / SECOND_NS)
        move = decide(rollout.plan, rollout.cohort, rollout.moved, baked_s, self._seen(rollout, now))
        match move:
            case Advance(why):
                fleet.take_step(rollout, why)
            case Finish(why):
                fleet.steer(rollout.number, "done", who=WHO, why=why)
            case Revert(why):
                log.warning("rollout %d is reverted: %s", rollout.number, why)
                fleet.steer(rollout.number, "reverted", who=WHO, why=why)
            case Pause(why):
                fleet.steer(rollout.number, "paused", who=WHO, why=why)
            case _:
                self.waiting_for[rollout.number] = move.until
        return move

    def _start_waiting_version(self) -> None:
        """What the source changed is rolled out by itself, if `fleet.on_source_change` says so."""
        mirror = self.fleet.mirror
        latest = mirror.versions.get(mirror.latest)
        if latest is None or not latest.follow:
            return
        if any(rollout.to == latest.number for rollout in mirror.rollouts.values()):
            return  # it was tried already: what was taken back does not come again by itself
        if not self.fleet.cohort(latest.number):
            return
        self.fleet.start(latest.number, self.default_plan(), who=latest.author, why=latest.reason)

    def default_plan(self) -> Any:
        settings = self.work.settings
        values: dict[str, object] = {
            "kind": settings.text("fleet.plan"),
            "first": settings.number("fleet.first_share"),
            "growth": settings.number("fleet.growth"),
            "bake_s": settings.number("fleet.bake_s"),
            "failures_max": settings.integer("fleet.failures_max"),
            "ack_s": settings.number("fleet.ack_s"),
        }
        series = settings.text("fleet.latency_series")
        if series:
            values["latency"] = {"series": series, "p99_ms": settings.number("fleet.latency_p99_ms")}
        return plan_of(values)

    def _seen(self, rollout: Rollout, now: int) -> Seen:
        said = self.fleet.mirror.said_of(rollout.number)
        is_late = now - rollout.step_at_ns > rollout.plan.ack_s * SECOND_NS
        gate = rollout.plan.latency
        p99_ms = self._p99_ms(gate, rollout, now) if gate is not None and said.moved else None
        return Seen(said.moved, said.well, said.unwell, said.silent if is_late else 0, p99_ms)

    def _p99_ms(self, gate: Latency, rollout: Rollout, now: int) -> float | None:
        """The p99 of the gate's series since the step, at most over its window; None: too few samples."""
        since = max(rollout.step_at_ns, now - int(gate.window_s * SECOND_NS))
        if since >= now:
            return None
        histogram, _ = self.work.pulse.query(gate.series, since, now)
        if histogram.count < gate.samples_min:
            return None
        return float(histogram.quantile(0.99)) / 1e6
