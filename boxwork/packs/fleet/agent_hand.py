"""What a person does to one host by hand, on that host, without the network and without the agent running.

Every one of these takes the same lock as the agent, changes the same memory, and leaves a report for the server in
the same queue: what was done here is seen there once they speak again.
"""

from __future__ import annotations

import contextlib
import getpass
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from boxwork import clock, errors, open_content
from boxwork.packs.fleet.agent_change import Changer, effect_between, pointed_at, report_of
from boxwork.packs.fleet.agent_drift import Look, is_editing
from boxwork.packs.fleet.agent_memory import Attempt, Ledger, Memory, Version
from boxwork.packs.fleet.agent_secrets import Secrets
from boxwork.packs.fleet.agent_settings import AgentSettings
from boxwork.packs.fleet.protocol import Drift, Report

# An edit session that was forgotten ends.  Unit: minutes.
EDIT_MINUTES_MAX = 24 * 60.0


class Hand:
    """The host whose root this is; `content` is its store, where this process has it open already."""

    def __init__(self, root: Path, now: clock.Clock | None = None, content: Any = None) -> None:
        if not (root / "memory.json").exists():
            raise errors.NotFound(f"{root} is no agent's root: give --root DIR, as the agent was started with")
        self.root = root
        self.ledger = Ledger(root)
        self._opened = content
        self._clock = now or clock.SystemClock()
        self._secrets = Secrets(root / "secrets")

    def status(self) -> dict[str, Any]:
        """What runs, since when, what differs, what waits."""
        memory = self.ledger.read()
        version = memory.versions.get(memory.running)
        return {
            "host": memory.host,
            "release": version.release if version else None,
            "position": version.position if version else None,
            "since_ns": version.applied_ns if version else 0,
            "current": pointed_at(self.root),
            "judged_position": memory.position,
            "epoch": memory.epoch,
            "refused": memory.refused,
            "changing_to": memory.attempt.to if memory.attempt else "",
            "drift": len(memory.drift),
            "editing": is_editing(memory, self._clock.now_ns()),
            "reports_waiting": len(memory.reports),
            "drains": memory.drains,
            "drains_avoided": memory.drains_avoided,
            "downtime_ms": memory.downtime_total_ms,
            "saved_ms": memory.saved_total_ms,
        }

    def versions(self) -> list[Version]:
        """What lies ready, newest first."""
        return sorted(self.ledger.read().versions.values(), key=lambda one: one.position, reverse=True)

    def rollback(self, release: int) -> Report:
        """Run an earlier release that lies ready; it holds until the server decides the next one."""
        with self.ledger.alone() as memory, self._content() as content:
            if memory.attempt is not None:
                raise errors.Busy(
                    "a change was begun and is not settled: start the agent, it finishes or undoes it first"
                )
            version = memory.find(release)
            before = memory.versions.get(memory.running)
            if before is not None and before.name == version.name:
                raise errors.BadInput(f"release {release} runs already")
            self._check_lies_ready(content, memory, version)
            attempt = Attempt(
                to=version.name,
                before=memory.running,
                effect=effect_between(content, before, version),
                by="hand",
                note=f"rolled back on the host by {_user()}",
            )
            changer = Changer(
                self.ledger, self._secrets, self._clock, AgentSettings().integer("fleet.tries_max"), _pass
            )
            return changer.begin(memory, attempt)

    def drift(self) -> list[Drift]:
        """A look now; nothing is undone and nothing noted."""
        with self.ledger.alone() as memory, self._content() as content:
            return Look(self.root, content, self._secrets, memory, self._clock).found

    def accept(self) -> list[Drift]:
        """What differs now is right on this host, until the next version comes."""
        with self.ledger.alone() as memory, self._content() as content:
            look = Look(self.root, content, self._secrets, memory, self._clock, whole=True)
            if look.tree is None:
                raise errors.BadInput("the whole version is gone, which nobody can accept: start the agent")
            memory.accepted = str(look.tree.ref)
            memory.edit_from_ns = memory.edit_until_ns = 0
            again = Look(self.root, content, self._secrets, memory, self._clock)
            memory.drift = again.found
            who = f"accepted on the host by {_user()}"
            memory.tell(report_of(memory, "drifted", self._clock, reason=who))
            self.ledger.write(memory)
            return again.found

    def edit(self, minutes: float) -> None:
        """Open a local edit session (0 ends it): what differs meanwhile is meant, and is left alone."""
        if not 0 <= minutes <= EDIT_MINUTES_MAX:
            raise errors.BadInput(f"an edit session of {minutes:g} minutes: give 0 to {EDIT_MINUTES_MAX:g}")
        with self.ledger.alone() as memory:
            now = self._clock.now_ns()
            memory.edit_from_ns = now if minutes else 0
            memory.edit_until_ns = now + int(minutes * 60 * clock.SECOND_NS) if minutes else 0
            self.ledger.write(memory)

    def adopt(self, epoch: str) -> None:
        """Follow a server with other facts from now on; what runs stays until it says something else."""
        with self.ledger.alone() as memory:
            memory.epoch, memory.position, memory.judged, memory.refused = epoch, 0, "", ""
            self.ledger.write(memory)

    def _check_lies_ready(self, content: Any, memory: Memory, version: Version) -> None:
        import msgspec

        trial = msgspec.structs.replace(memory, running=version.name, accepted="", drift=[])
        look = Look(self.root, content, self._secrets, trial, self._clock)
        if wrong := [drift.path for drift in look.found if drift.path != "current"]:
            raise errors.BlobCorrupt(
                f"release {version.release} is not what it was, {', '.join(wrong[:3])} differ: nothing was changed;"
                " the agent restores it when the server says that release again"
            )

    @contextlib.contextmanager
    def _content(self) -> Iterator[Any]:
        if self._opened is not None:
            yield self._opened
            return
        content = open_content(self.root / "store", clock=self._clock)
        try:
            yield content
        finally:
            content.close()


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "somebody without a name"


def _pass(step: str) -> None:
    """Nobody watches the steps of a command."""
