"""Moving a host from one version to another, and back when it is not healthy there.

    noted → (drained → packages) → switched → told (resume or reload) → healthy? → settled
                                                                      no ↓
                                       switched back → packages, told → settled as failed

Each step can be done twice, and the attempt is on disk before the first: an agent that is started again after it was
killed anywhere finishes what it finds, from the beginning.  A change that was not survived `tries_max` times is
undone instead.  `current` is a symbolic link that is replaced by one rename: whoever looks sees one version or the
other.  A host is drained only when what differs asks for it; a drain that was not needed is counted as time saved.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from boxwork import Ref, Tree, __version__, clock, errors, tree
from boxwork.packs.fleet import agent_hooks
from boxwork.packs.fleet.agent_hooks import Outcome
from boxwork.packs.fleet.agent_memory import Attempt, Ledger, Memory, Version
from boxwork.packs.fleet.agent_secrets import Secrets
from boxwork.packs.fleet.agent_stage import VERSIONS
from boxwork.packs.fleet.protocol import Desired, Effect, Hook, Report, State, read_document

CURRENT = "current"
# Weakest first.
EFFECTS: tuple[Effect, ...] = ("none", "reload", "drain")


def effect_between(content: Any, before: Version | None, after: Version) -> Effect:
    """The strongest effect that any difference asks for: packages that differ drain, of files their rules decide."""
    if before is None:
        return "drain"
    old, new = read_document(before.signed), read_document(after.signed)
    if old.package_set != new.package_set:
        return "drain"
    if old.tree == new.tree:
        return "none"
    strongest = 0
    for change in tree.diff(Tree(Ref.parse(old.tree), content), Tree(Ref.parse(new.tree), content)):
        # What is no longer there had its meaning in the version that had it.
        rules = old if change.after is None else new
        strongest = max(strongest, EFFECTS.index(rules.effect_of(change.path)))
    return EFFECTS[strongest]


class Changer:
    """Carries out the attempt that stands in the memory.  The caller holds the ledger's lock."""

    def __init__(
        self, ledger: Ledger, secrets: Secrets, now: clock.Clock, tries_max: int, at: Callable[[str], None]
    ) -> None:
        self._ledger = ledger
        self._root = ledger.root
        self._secrets = secrets
        self._clock = now
        self._tries_max = tries_max
        self._at = at

    def begin(self, memory: Memory, attempt: Attempt) -> Report:
        """Note the attempt, carry it out, settle it; the answer is the report that was put into the queue."""
        memory.attempt = attempt
        self._ledger.write(memory)
        self._at("noted")
        return self._try(memory, attempt)

    def recover(self, memory: Memory) -> Report | None:
        """Finish or undo what a killed agent began; None if nothing was open."""
        attempt = memory.attempt
        if attempt is None:
            return None
        if attempt.tries >= self._tries_max:
            return self._undo(memory, attempt, f"the agent or the host did not survive it {attempt.tries} times", 0)
        attempt.tries += 1
        self._ledger.write(memory)
        self._at("noted again")
        return self._try(memory, attempt)

    # --- forward

    def _try(self, memory: Memory, attempt: Attempt) -> Report:
        """What the disk refuses is undone.  If it refuses that too, the attempt stays open, and is taken up again."""
        try:
            return self._carry_out(memory, attempt)
        except errors.BoxworkError as reason:
            return self._undo(memory, attempt, reason.message, 0)

    def _carry_out(self, memory: Memory, attempt: Attempt) -> Report:
        version = memory.version(attempt.to)
        desired = read_document(version.signed)
        drained_ns = clock.monotonic_ns() if attempt.effect == "drain" and attempt.before else 0
        if reason := self._before(memory, attempt, version, desired):
            return self._undo(memory, attempt, reason, drained_ns)
        start = clock.monotonic_ns()
        self.point_at(version.name)
        switch_ms = _ms_since(start)
        self._at("switched")
        told = self._tell(attempt, version, desired)
        self._at("told")
        if not told.ok:
            return self._undo(memory, attempt, told.reason, drained_ns)
        health = self._health(version, desired, attempt.effect)
        if not health.ok:
            return self._undo(memory, attempt, health.reason, drained_ns)
        self._at("healthy")
        downtime_ms = _ms_since(drained_ns) if drained_ns else 0.0
        saved_ms = self._count(memory, attempt, downtime_ms)
        version.good, version.applied_ns = True, self._clock.now_ns()
        memory.running, memory.attempt = version.name, None
        if attempt.before != version.name:
            memory.accepted, memory.drift = "", []
            memory.edit_from_ns = memory.edit_until_ns = 0
        report = self._report(memory, "applied", attempt, reason=attempt.note)
        report = _with(
            report, switch_ms=switch_ms, health_ms=health.took_ms, downtime_ms=downtime_ms, saved_ms=saved_ms
        )
        memory.tell(report)
        self._ledger.write(memory)
        self._at("settled")
        return report

    def _before(self, memory: Memory, attempt: Attempt, version: Version, desired: Desired) -> str:
        """Drain, and bring the packages; empty, or why the change must not go on."""
        if attempt.effect != "drain":
            return ""
        if attempt.before:
            running = memory.version(attempt.before)
            hooks = read_document(running.signed).hooks
            outcome = self._run(hooks.drain, running, attempt.effect)
            # A drain that is not done at its deadline is over: one that never ends must not hold a host for ever.
            if not outcome.ok and not outcome.timed_out:
                return f"the host could not be drained: {outcome.reason}"
        self._at("drained")
        outcome = self._run(desired.hooks.packages, version, attempt.effect)
        self._at("packages")
        return "" if outcome.ok else f"the packages did not come: {outcome.reason}"

    def _tell(self, attempt: Attempt, version: Version, desired: Desired) -> Outcome:
        """What runs learns of its new version."""
        if attempt.effect == "drain":
            hook = desired.hooks.resume or desired.hooks.reload
        else:
            hook = desired.hooks.reload if attempt.effect == "reload" else None
        return self._run(hook, version, attempt.effect)

    def _count(self, memory: Memory, attempt: Attempt, downtime_ms: float) -> float:
        """Downtime and what was saved of it: a change that needed no drain saves the last one that did."""
        if attempt.effect == "drain":
            if attempt.before:
                memory.drain_ms = downtime_ms
                memory.drains += 1
                memory.downtime_total_ms += downtime_ms
            return 0.0
        memory.drains_avoided += 1
        memory.saved_total_ms += memory.drain_ms
        return memory.drain_ms

    # --- back

    def _undo(self, memory: Memory, attempt: Attempt, reason: str, drained_ns: int) -> Report:
        """Return to the version before; without one, to none."""
        start = clock.monotonic_ns()
        failed = read_document(memory.version(attempt.to).signed)
        redacted = self._secrets.redact(reason, failed.secrets)
        outcome = Outcome(True)
        if attempt.before:
            version = memory.version(attempt.before)
            desired = read_document(version.signed)
            self.point_at(version.name)
            self._at("switched back")
            if attempt.effect == "drain" and failed.package_set != desired.package_set:
                self._run(desired.hooks.packages, version, attempt.effect)
            self._tell(attempt, version, desired)
            self._at("told back")
            outcome = self._health(version, desired, attempt.effect)
        else:
            with contextlib.suppress(OSError):  # a directory stands there: it is not ours
                (self._root / CURRENT).unlink()
            self._at("switched back")
        downtime_ms = _ms_since(drained_ns) if drained_ns else 0.0
        memory.downtime_total_ms += downtime_ms
        memory.running, memory.attempt = attempt.before, None
        if attempt.by == "server":
            memory.refused = redacted
        if attempt.to != attempt.before and not memory.version(attempt.to).good:
            del memory.versions[attempt.to]
        went = "went back to the version before" if attempt.before else "there is no version before, so none runs"
        report = self._report(memory, "failed", attempt, reason=f"{redacted}; {went}", wanted=failed)
        report = _with(
            report, healthy=outcome.ok and bool(attempt.before), switch_ms=_ms_since(start), downtime_ms=downtime_ms
        )
        memory.tell(report)
        self._ledger.write(memory)
        self._at("settled back")
        return report

    # --- one step

    def point_at(self, name: str) -> None:
        """Let `current` name this version, in one step."""
        tree.switch(self._root / CURRENT, f"{VERSIONS}/{name}", durable=True)

    def _health(self, version: Version, desired: Desired, effect: Effect) -> Outcome:
        directory = self._root / VERSIONS / version.name
        return agent_hooks.wait_healthy(desired.hooks.health, directory, self.environment(version, desired, effect))

    def _run(self, hook: Hook | None, version: Version, effect: Effect) -> Outcome:
        if hook is None:
            return Outcome(True)
        directory = self._root / VERSIONS / version.name
        return agent_hooks.run(hook, directory, self.environment(version, read_document(version.signed), effect))

    def reload(self, version: Version) -> Outcome:
        """Tell what runs that a file of its version was put right."""
        return self._run(read_document(version.signed).hooks.reload, version, "reload")

    def environment(self, version: Version, desired: Desired, effect: Effect) -> Mapping[str, str]:
        """What a hook is told."""
        return {
            "BOXWORK_FLEET_HOST": desired.host,
            "BOXWORK_FLEET_RELEASE": str(desired.release),
            "BOXWORK_FLEET_POSITION": str(desired.position),
            "BOXWORK_FLEET_VERSION": str(self._root / VERSIONS / version.name),
            "BOXWORK_FLEET_ROOT": str(self._root),
            "BOXWORK_FLEET_PACKAGES": "\n".join(desired.packages),
            "BOXWORK_FLEET_EFFECT": effect,
        }

    def _report(
        self, memory: Memory, state: State, attempt: Attempt, *, reason: str, wanted: Desired | None = None
    ) -> Report:
        report = report_of(memory, state, self._clock, reason=reason)
        report = _with(report, effect=attempt.effect, stage_ms=attempt.stage_ms)
        if wanted is not None:
            digest = memory.judged if attempt.by == "server" else ""
            report = _with(report, wanted=digest, wanted_position=wanted.position, code="fleet.unhealthy")
        return report


def report_of(memory: Memory, state: State, now: clock.Clock, *, code: str = "", reason: str = "") -> Report:
    """A report with all that the memory knows of the version that runs."""
    version = memory.versions.get(memory.running)
    return Report(
        host=memory.host,
        epoch=memory.epoch,
        position=version.position if version else 0,
        release=version.release if version else 0,
        tree=version.tree if version else "",
        digest=version.signed.digest if version else "",
        state=state,
        healthy=version is not None,
        code=code,
        reason=reason,
        drift=tuple(memory.drift),
        drift_count=len(memory.drift),
        saved_total_ms=memory.saved_total_ms,
        drains=memory.drains,
        drains_avoided=memory.drains_avoided,
        at_ns=now.now_ns(),
        agent=__version__,
    )


def pointed_at(root: Path) -> str:
    """The version that `current` names; empty if it names none of ours."""
    try:
        goal = os.readlink(root / CURRENT)
    except OSError:
        return ""
    folder, _, name = goal.rpartition("/")
    return name if folder == VERSIONS else ""


def _with(report: Report, **fields: Any) -> Report:
    return msgspec.structs.replace(report, **fields)


def _ms_since(start_ns: int) -> float:
    return (clock.monotonic_ns() - start_ns) / clock.MILLISECOND_NS
