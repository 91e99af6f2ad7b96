"""The fleet as people look at it: hosts by version, one host, one version and its difference, rollouts."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from typing import Any

import msgspec

from boxwork import Ref, errors
from boxwork import tree as trees
from boxwork.packs.fleet import roots
from boxwork.packs.fleet.decisions import Assigned, Rollout, Status, Version
from boxwork.packs.fleet.facade import difference
from boxwork.packs.fleet.overrides import concerning
from boxwork.packs.fleet.plan import order

# Hosts in one answer: a page shows a grid of all of them, each 60 bytes.  Unit: hosts.
HOSTS_MAX = 10_000
# A host that has not spoken for so long is away.  Unit: seconds; two of an agent's longest questions.
AWAY_S = 120.0
# Lines of a file's difference, and bytes of a file that is compared at all: a page is for reading.
LINES_MAX = 400
FILE_BYTES_MAX = 256 * 1024
FILES_MAX = 100
# Where dpkg keeps what it knows of packages.
NOTED = "var/lib/dpkg/"


def _counted(host: str) -> list[tuple[int, str]]:
    """web9 comes before web10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", host) if part]


def condition(assigned: Assigned | None, status: Status | None, now_ns: int) -> str:
    """One word for how a host is: new, left, moving, failed, unwell, drifted, away or well."""
    if assigned is None:
        return "new"
    if assigned.release == 0:
        return "left"
    if status is None:
        return "moving" if assigned.before else "new"
    if status.failed >= assigned.position:
        return "failed"
    if status.report.position < assigned.position:
        return "moving"
    if now_ns - status.at_ns > AWAY_S * 1e9:
        return "away"
    if not status.report.healthy:
        return "unwell"
    return "drifted" if status.report.drift_count or status.report.drift else "well"


class Outlook:
    """Over one fleet; everything is answered from memory but the differences."""

    def __init__(self, fleet: Any) -> None:
        self.fleet = fleet
        self.work = fleet.work

    def state(self) -> dict[str, Any]:
        """What the page shows, and what goes to it live."""
        mirror = self.fleet.mirror
        now = self.work.clock.now_ns()
        names = self._names()
        by_release: dict[int, int] = {}
        conditions: dict[str, int] = {}
        saved_ms = 0.0
        for host in names:
            assigned, status = mirror.assigned.get(host), mirror.status.get(host)
            runs = status.report.release if status is not None else 0
            by_release[runs] = by_release.get(runs, 0) + 1
            word = condition(assigned, status, now)
            conditions[word] = conditions.get(word, 0) + 1
            saved_ms += status.report.saved_total_ms if status is not None else 0.0
        going = mirror.going()
        rollout = going[-1] if going else mirror.rollouts.get(mirror.last_rollout)
        health, conductor = self.fleet.facade.health, self.fleet.conductor
        good_at = health.good_at_ns or self.fleet.facade.last_seen_ns()
        return {
            "changes": mirror.changes,
            "now_ms": now // 1_000_000,
            "hosts": len(names),
            "latest": mirror.latest,
            "present": self.fleet.present(),
            "releases": [{"release": r, "hosts": n} for r, n in sorted(by_release.items(), reverse=True)],
            "conditions": conditions,
            "saved_ms": saved_ms,
            "rollout": self.rollout_row(rollout) if rollout is not None else None,
            "beside": [self.rollout_row(other) for other in going[:-1]],
            "source": {
                "name": health.source,
                "problem": health.problem
                or (conductor.stuck if conductor is not None else "")
                or self.fleet.pins.problem,
                "age_s": (now - good_at) / 1e9 if good_at else None,
                "rows": health.rows,
            },
        }

    def _names(self) -> list[str]:
        mirror = self.fleet.mirror
        rows: Any = {}
        if mirror.latest:
            rows = self.fleet.table(self.fleet.version(mirror.latest)).rows
        return sorted(rows.keys() | {host for host, one in mirror.assigned.items() if one.release}, key=_counted)

    def hosts(self, words: str = "", only: str = "") -> dict[str, Any]:
        """Rows of the grid: name, what it shall be, what it is, how it is."""
        mirror = self.fleet.mirror
        now = self.work.clock.now_ns()
        rows = []
        for host in self._names():
            if words and words not in host:
                continue
            assigned, status = mirror.assigned.get(host), mirror.status.get(host)
            word = condition(assigned, status, now)
            if only and word != only:
                continue
            report = status.report if status is not None else None
            rows.append([
                host,
                assigned.release if assigned is not None else 0,
                report.release if report is not None else 0,
                word,
                (report.drift_count or len(report.drift)) if report is not None else 0,
                int((now - status.at_ns) / 1e9) if status is not None else None,
            ])  # fmt: skip
        return {"total": len(rows), "rows": rows[:HOSTS_MAX]}

    def host(self, host: str) -> dict[str, Any]:
        """Everything about one host.  Raises `NotFound`."""
        mirror = self.fleet.mirror
        assigned, status = mirror.assigned.get(host), mirror.status.get(host)
        row: Any = None
        if mirror.latest:
            row = self.fleet.table(self.fleet.version(mirror.latest)).rows.get(host)
        if assigned is None and status is None and row is None:
            raise errors.NotFound(f"no version has a host {host[:80]!r}", host=host[:80])
        content = self.fleet.content(host, assigned.release) if assigned is not None else None
        files: list[dict[str, Any]] = []
        if content is not None:
            files = [
                {"path": path, "ref": entry.ref, "bytes": entry.size, "mode": f"{entry.mode:04o}"}
                for path, entry in self._own_files(content)
            ]
        return {
            "host": host,
            "condition": condition(assigned, status, self.work.clock.now_ns()),
            "assigned": assigned,
            "content": content,
            "files": files,
            "status": status,
            "row": row,
            "overrides": self._overrides(host, row or {}),
        }

    def _own_files(self, content: Any) -> Iterator[tuple[str, Any]]:
        """The files of a host: all of them, or of a whole system those that the release laid over it."""
        tree = self.work.tree(content.tree)
        if content.root is None:
            yield from ((path, entry) for path, entry in tree.walk() if entry.kind == "file")
            return
        for change in trees.diff(self.work.tree(content.root.tree), tree):
            if change.after is not None and change.after.kind == "file":
                yield change.path, change.after

    def _overrides(self, host: str, row: dict[str, Any]) -> list[dict[str, Any]]:
        """What was set over the host's row; what counts stands last."""
        source = self.fleet.facade.source_row(host) or {"host": host, **row}
        found = concerning(source, self.fleet.mirror.overrides)
        return [{"scope": scope, "column": column, **msgspec.to_builtins(one)} for scope, column, one in found]

    def rollout_row(self, rollout: Rollout) -> dict[str, Any]:
        mirror = self.fleet.mirror
        now = self.work.clock.now_ns()
        words: dict[str, int] = {}
        for host, assigned in mirror.assigned.items():
            if assigned.rollout == rollout.number:
                word = condition(assigned, mirror.status.get(host), now)
                words[word] = words.get(word, 0) + 1
        conductor = self.fleet.conductor
        return {
            **msgspec.to_builtins(rollout),
            "steps": list(rollout.plan.steps(rollout.cohort)) if rollout.cohort else [],
            "conditions": words,
            "waiting_for": conductor.waiting_for.get(rollout.number, "") if conductor is not None else "",
            "is_over": rollout.is_over,
        }

    def rollout(self, number: int) -> dict[str, Any]:
        """One rollout with its hosts, in the order in which they go."""
        mirror = self.fleet.mirror
        rollout = mirror.rollouts.get(number)
        if rollout is None:
            raise errors.NotFound(f"there is no rollout {number}", rollout=number)
        now = self.work.clock.now_ns()
        moved = [host for host, assigned in mirror.assigned.items() if assigned.rollout == number]
        hosts = [
            [host, condition(mirror.assigned[host], mirror.status.get(host), now)] for host in order(number, moved)
        ]
        return {**self.rollout_row(rollout), "hosts": hosts[:HOSTS_MAX]}

    def version(self, number: int) -> dict[str, Any]:
        version = self.fleet.version(number)
        mirror = self.fleet.mirror
        return {
            **msgspec.to_builtins(version, enc_hook=str),
            "hosts": len(self.fleet.table(version).rows),
            "assigned": sum(assigned.release == number for assigned in mirror.assigned.values()),
            "systems": self._systems(version),
            "files": [
                {"path": path, "ref": entry.ref, "bytes": entry.size}
                for path, entry in self.work.tree(version.template).walk()
                if entry.kind == "file"
            ],
        }

    def _systems(self, version: Version) -> list[dict[str, Any]]:
        """What the kinds of a version stand on: the pin, what it stood for then, how many packages are in it."""
        kinds = self.fleet.kinds(version.template)
        return [
            {
                "kind": name,
                "root": kinds[name].manifest.root,
                "tree": str(ref),
                "packages": len(roots.packages_of(self.work, ref)),
            }
            for name, ref in version.roots.items()
        ]

    def difference(self, old: int, new: int) -> dict[str, Any]:
        """What differs between two versions: rows, packages, and the files of roots and templates line by line."""
        before, after = self.fleet.version(old), self.fleet.version(new)
        packages: list[roots.Row] = []
        files: list[dict[str, Any]] = []
        kinds = before.roots.keys() & after.roots.keys()
        moved = sorted(
            {(before.roots[name], after.roots[name]) for name in kinds if before.roots[name] != after.roots[name]}
        )
        for was, now in moved:
            packages += roots.packages_between(roots.packages_of(self.work, was), roots.packages_of(self.work, now))
            files += self._changes(was, now, "/")
        return {
            "old": old,
            "new": new,
            "files": self._changes(before.template, after.template, ""),
            "rows": difference(self.fleet.table(before), self.fleet.table(after), most=50),
            "packages": sorted(set(packages)),
            "root_files": files,
        }

    def _changes(self, old: Ref, new: Ref, prefix: str) -> list[dict[str, Any]]:
        """Path by path, as far as a page is read.  What dpkg notes for itself is told as packages."""
        changes: list[dict[str, Any]] = []
        for change in trees.diff(self.work.tree(old), self.work.tree(new)):
            if prefix and change.path.startswith(NOTED):
                continue
            if len(changes) >= FILES_MAX:
                break
            lines = self._lines(change.before, change.after)
            changes.append({"path": prefix + change.path, "kind": change.kind, "lines": lines})
        return changes

    def _lines(self, old: Any, new: Any) -> list[str]:
        """The lines that differ, as `diff -u` shows them."""
        texts = []
        for entry in (old, new):
            if entry is None or entry.kind != "file":
                texts.append("")
            elif entry.size > FILE_BYTES_MAX:
                return [f"(more than {FILE_BYTES_MAX // 1024} KiB, not compared line by line)"]
            else:
                texts.append(self._text(entry.content))
        if any("\0" in text for text in texts):
            return []
        old_lines, new_lines = (text.splitlines() for text in texts)
        lines = list(difflib.unified_diff(old_lines, new_lines, "before", "after", lineterm="", n=2))
        return lines[2 : LINES_MAX + 2]

    def _text(self, ref: Ref) -> str:
        data: bytes = self.work.get(ref)
        return data.decode("utf-8", "replace")
