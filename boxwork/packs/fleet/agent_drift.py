"""Drift: what on a host is not as its version has it, told apart by whether somebody meant it.

One look compares every name with the stat index and reads only what moved; equal subtrees are one comparison.  What
differs is
    accidental   nobody said anything: it is shown, and undone where `fleet.drift_action` is "revert"
    editing      somebody has opened a local edit session (`boxwork fleet agent edit`): left alone until it ends
    accepted     somebody has said that it is right (`… accept`): shown, left alone until the next version comes
Also looked at: that `current` names the version that runs, and that files with a secret hold what the host has now.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from boxwork import Ref, Tree, clock, errors, tree
from boxwork.packs.fleet.agent_change import CURRENT, pointed_at
from boxwork.packs.fleet.agent_memory import Memory, Version
from boxwork.packs.fleet.agent_secrets import Secrets
from boxwork.packs.fleet.agent_stage import VERSIONS, actual, differences
from boxwork.packs.fleet.protocol import Drift, DriftKind, Intent, read_document

# A look in which the version's whole directory is gone has one path, this one.
EVERYTHING = "."


class Look:
    """One look at the version that runs: `found` is what differs, `tree` what lies there (None: nothing does).

    With `whole`, every blob of `tree` is in the store afterwards.
    """

    def __init__(
        self, root: Path, content: Any, secrets: Secrets, memory: Memory, now: clock.Clock, *, whole: bool = False
    ) -> None:
        self._whole = whole
        self.found: list[Drift] = []
        self.tree: Tree | None = None
        self._root = root
        self._content = content
        self._secrets = secrets
        self._memory = memory
        self._now_ns = now.now_ns()
        self._known = {(drift.path, drift.kind): drift.found_ns for drift in memory.drift}
        if memory.running:
            self._look(memory.version(memory.running))

    @property
    def accidental(self) -> list[Drift]:
        return [drift for drift in self.found if drift.intent == "accidental"]

    def _look(self, version: Version) -> None:
        directory = self._root / VERSIONS / version.name
        intent: Intent = "editing" if is_editing(self._memory, self._now_ns) else "accidental"
        if pointed_at(self._root) != version.name:
            self._add(CURRENT, "changed", intent)
        if not directory.is_dir() or directory.is_symlink():
            self._add(EVERYTHING, "removed", intent)
            return
        own = Tree(Ref.parse(version.tree), self._content)
        right = Tree(Ref.parse(self._memory.accepted), self._content) if self._memory.accepted else own
        system = read_document(version.signed).is_system
        for change in self._compare(directory, right, version.secret_files, system):
            self._add(change.path, _kind(change), intent)
        if right is not own:
            listed = {drift.path for drift in self.found}
            for change in differences(own, right, version.secret_files, system=system):
                if change.path not in listed:
                    self._add(change.path, _kind(change), "accepted")
        self._look_at_secrets(directory, own, version, intent)

    def _compare(self, directory: Path, right: Tree, apart: Sequence[str], system: bool) -> list[tree.Change]:
        """What differs; looked at quickly, unless whoever asked keeps the tree, or a part of it is gone."""
        if not self._whole:
            try:
                self.tree = actual(self._content, directory, apart, system=system, whole=False)
                return differences(right, self.tree, apart, system=system)
            except errors.BlobMissing:
                pass  # swept since it was last seen: put again below
        self.tree = actual(self._content, directory, apart, system=system)
        return differences(right, self.tree, apart, system=system)

    def _look_at_secrets(self, directory: Path, own: Tree, version: Version, intent: Intent) -> None:
        names = read_document(version.signed).secrets
        for path in version.secret_files:
            try:
                status = os.lstat(directory / path)
                if not stat.S_ISREG(status.st_mode):
                    self._add(path, "changed", intent)
                elif status.st_mode & 0o077:
                    self._add(path, "mode", intent)
                elif (directory / path).read_bytes() != self._secrets.fill(own.read(path), names):
                    self._add(path, "changed", intent)
            except FileNotFoundError:
                self._add(path, "removed", intent)
            except errors.NotFound:
                continue  # the secret went away on this host: what is there is all there is

    def _add(self, path: str, kind: DriftKind, intent: Intent) -> None:
        shown = path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        self.found.append(Drift(shown, kind, intent, self._known.get((shown, kind), self._now_ns)))


def is_editing(memory: Memory, now_ns: int) -> bool:
    """Is a local edit session open.  One that would begin in the future is over: the clock was set back."""
    return memory.edit_from_ns <= now_ns < memory.edit_until_ns


def same(before: Sequence[Drift], after: Sequence[Drift]) -> bool:
    """Would a report of `after` say anything new."""
    return {(d.path, d.kind, d.intent) for d in before} == {(d.path, d.kind, d.intent) for d in after}


def _kind(change: tree.Change) -> DriftKind:
    was, now = change.before, change.after
    if was is None:
        return "added"
    if now is None:
        return "removed"
    alike = (was.kind, was.ref, was.target) == (now.kind, now.ref, now.target)
    return "mode" if alike or was.kind == now.kind == "directory" else "changed"
