"""The system that a release stands on: a pinned tree of the node's store, and what a fleet has to know of it.

`root = "images/web"` names a pin, which whoever makes systems moves; `root = "sha256:…"` never moves.  It is looked up
when a version is made, and the version keeps it: what a version says does not change when the pin does.

A host's /dev is the host's: device nodes are left out of what it is told.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from boxwork import Blob, Ref, Tree, derivation, errors, ref_of
from boxwork import tree as trees
from boxwork.packs.fleet.release import Kind

log = logging.getLogger("boxwork.fleet")

# Where a Debian system keeps what is installed in it.
STATUS = "var/lib/dpkg/status"
# Packages or paths named in the reason of a version.
NAMED_MAX = 6
DEVICES = ("character", "block")

Row = tuple[str, str, str]


@derivation(name="fleet.packages")
def packages(status: str) -> list[list[str]]:
    """What dpkg's status file says is installed: rows of name, version, architecture."""
    found = []
    for paragraph in re.split(r"\n\n+", status):
        fields = dict(re.findall(r"(?m)^(Package|Version|Architecture|Status): (.*)$", paragraph))
        if fields.get("Status", "").endswith(" installed") and "Package" in fields:
            found.append([fields["Package"], fields.get("Version", ""), fields.get("Architecture", "")])
    return sorted(found)


@derivation(name="fleet.device_folders")
def device_folders(root: Tree) -> list[str]:
    """The directories of a system that hold a device, and those above them; the top is ""."""
    found: set[str] = set()
    for path, entry in root.walk():
        if entry.kind in DEVICES:
            steps = path.split("/")[:-1]
            found.update("/".join(steps[:count]) for count in range(len(steps) + 1))
    return sorted(found)


@derivation(name="fleet.without_devices")
def without_devices(folder: Tree, made: dict[str, Blob]) -> bytes:
    """A directory without its devices, as the bytes of a tree; `made` are the directories below that lost some."""
    return trees.encode(
        msgspec.structs.replace(entry, ref=made[entry.name].ref) if entry.name in made else entry
        for entry in folder.entries.values()
        if entry.kind not in DEVICES
    )


def roots_of(work: Any, kinds: Mapping[str, Kind]) -> dict[str, Ref]:
    """The trees that the kinds of a release stand on now, by the name of the kind.  Raises `NotFound`."""
    return {name: resolve(work, kind.manifest.root) for name, kind in kinds.items() if kind.manifest.root}


def resolve(work: Any, name: str) -> Ref:
    """The tree that a release calls its root."""
    if name.startswith("sha256:"):
        return Ref.parse(name)
    found: Ref | None = next((ref for pin, ref in work.pins(name) if pin == name), None)
    if found is None:
        raise errors.NotFound(
            f"nothing is pinned as {name!r}, the root of the release: build it first (`boxwork images build` pins"
            f" images/NAME), or `boxwork pin REF {name}`",
            root=name,
        )
    return found


class Pins:
    """The pins that releases call their roots, as a fleet follows them."""

    def __init__(self, work: Any) -> None:
        self.work = work
        # What is wrong with them, for the page.
        self.problem = ""

    def now(self, kinds: Mapping[str, Kind], last: dict[str, Ref]) -> dict[str, Ref]:
        """What they say now.  One that is gone is told once, and the version keeps what it stands on: `last`."""
        try:
            found = roots_of(self.work, kinds)
        except errors.NotFound as fault:
            if self.problem != fault.message:
                self.problem = fault.message
                log.warning("the fleet's root: %s", fault.message)
            return last
        self.problem = ""
        return found

    def keep(self, under: Mapping[str, Ref]) -> None:
        """A version outlives the pin that its roots came by.  Raises `BadInput` for one that is not whole."""
        for root in dict.fromkeys(under.values()):
            name = f"fleet.root.{root}"
            if self.work.content.pinned(name) is None:
                check_whole(self.work, root)
                self.work.pin(root, name)


def check_whole(work: Any, root: Ref) -> None:
    """Raises `BadInput` if a part of the system is not in the store: no host could become it."""
    try:
        for path, entry in work.tree(root).walk():
            if entry.ref is not None and not work.has(entry.ref):
                raise errors.BadInput(f"the root {root} lacks {path} ({entry.ref}): build or fetch it again", path=path)
    except errors.BlobMissing as fault:
        raise errors.BadInput(f"the root {root} is not whole here: {fault.message}") from None
    except errors.BlobCorrupt as fault:
        raise errors.BadInput(f"the root {root} is no tree: {fault.message}") from None


class Under:
    """One system as it lies under a release: `tree` without devices, and its packages."""

    def __init__(self, work: Any, root: Ref) -> None:
        self.ref = root
        whole: Tree = work.tree(root)
        self.tree: Tree = work.tree(self._bare(work, whole, frozenset(work.call(device_folders, root=whole)), ""))
        self.packages = packages_of(work, root)
        # Equal sets have equal names, however they came about.
        self.set = ref_of(msgspec.json.encode(self.packages))

    def _bare(self, work: Any, folder: Tree, holders: frozenset[str], path: str) -> Ref:
        if path not in holders:
            return folder.ref
        made = {
            entry.name: self._bare(work, folder.subtree(entry), holders, below)
            for entry in folder.entries.values()
            if entry.kind == "directory" and (below := f"{path}/{entry.name}".lstrip("/")) in holders
        }
        bare: Ref = work.derive(without_devices, folder=folder, made=made)
        return bare


def packages_of(work: Any, root: Ref) -> list[Row]:
    """What is installed in a system; nothing is known of one without dpkg."""
    try:
        entry = work.tree(root).find(STATUS)
    except errors.NotFound:
        return []
    if entry.kind != "file":
        return []
    return [(name, version, architecture) for name, version, architecture in work.call(packages, status=entry.content)]


# --- comparing


def packages_between(old: list[Row], new: list[Row]) -> list[Row]:
    """(package, version before, version after) of what differs; an empty version is none."""
    before, after = _named(old), _named(new)
    return [
        (name, before.get(name, ""), after.get(name, ""))
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]


def _named(rows: list[Row]) -> dict[str, str]:
    """By name; of a package for several architectures, by name and architecture."""
    counts = Counter(name for name, _, _ in rows)
    return {name if counts[name] == 1 else f"{name}:{arch}": version for name, version, arch in rows}


def reason(work: Any, kinds: Mapping[str, Kind], old: Mapping[str, Ref], new: Mapping[str, Ref]) -> str:
    """Why there is a new version, in one line: what differs in the systems under it."""
    told = []
    for name in sorted(old.keys() | new.keys()):
        before, after = old.get(name), new.get(name)
        if before != after:
            kind = kinds.get(name)
            told.append(f"{kind.manifest.root if kind is not None else name}: {_between(work, before, after)}")
    return "; ".join(dict.fromkeys(told))


def _between(work: Any, before: Ref | None, after: Ref | None) -> str:
    if before is None or after is None:
        return "a release that stands on a root now" if before is None else "no root any more"
    rows = packages_between(packages_of(work, before), packages_of(work, after))
    if rows:
        return _listed([said(row) for row in rows])
    paths = [change.path for change in trees.diff(work.tree(before), work.tree(after))]
    return f"changed: {_listed(['/' + path for path in paths])}"


def said(row: Row) -> str:
    """One package that differs, in words."""
    name, before, after = row
    return f"{name} {before} → {after}" if before and after else f"{'+' if after else '−'}{name} {after or before}"


def _listed(words: list[str]) -> str:
    more = f" and {len(words) - NAMED_MAX} more" if len(words) > NAMED_MAX else ""
    return ", ".join(words[:NAMED_MAX]) + more


def beside(tree: Tree, other: Tree) -> Iterator[tuple[Ref, int]]:
    """The blobs of a tree that the other does not have in the same place, with the sizes of files.

    Equal directories are never looked into, so the cost is that of the difference.
    """
    if tree.ref == other.ref:
        return
    yield tree.ref, 0
    for entry in tree.entries.values():
        was = other.entries.get(entry.name)
        if entry.ref is None or (was is not None and was.ref == entry.ref):
            continue
        if entry.kind == "directory" and was is not None and was.kind == "directory":
            yield from beside(tree.subtree(entry), other.subtree(was))
        elif entry.kind == "directory":
            yield entry.ref, 0
            yield from ((one.ref, one.size) for _, one in tree.subtree(entry).walk() if one.ref is not None)
        else:
            yield entry.ref, entry.size


BOXES = (packages, device_folders, without_devices)
