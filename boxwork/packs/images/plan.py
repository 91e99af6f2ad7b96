"""From a recipe to its dependency set, and from that to the steps that build it.

The **dependency set** is everything that can change the image, each thing by its hash: every package with its exact
version, every file, every script, the users and services, the time stamp and the versions of the tools.  Its ref is
the key of an image: equal sets are the same image, on any node.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from boxwork import Derivation, Ref, Tree, TreeEntry, errors, ref_of, tree
from boxwork.packs.images import steps
from boxwork.packs.images.indices import Indices, Package, tools
from boxwork.packs.images.overlay import replace_files
from boxwork.packs.images.recipe import FileRule, Recipe, lineage

# A resolution is remembered as an observation of the archive: which indices gave which packages.
RESOLUTION = "images.resolution"
SET_FORMAT = "boxwork-image-set 1"


@dataclass(frozen=True, slots=True)
class Step:
    """One box on the way: its inputs but the root, and what people and the dependency set are told of it.

    `id` names the step with all before it; steps of one id are one.  `packages` are fetched before it runs.
    """

    kind: str
    title: str
    box: Derivation[..., Any]
    inputs: dict[str, Any]
    about: dict[str, Any]
    id: Ref
    packages: tuple[Package, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """A recipe resolved: its steps, and the dependency set as bytes."""

    name: str
    steps: tuple[Step, ...]
    set: bytes
    packages: tuple[Package, ...]
    indices: Indices

    @property
    def ref(self) -> Ref:
        return ref_of(self.set)


class Planner:
    """Resolves recipes for one node.  Safe from many threads."""

    def __init__(self, work: Any) -> None:
        self.work = work
        self.store = work.content
        self.folder = Path(work.content.root) / "run" / "images" / "apt"

    def plan(self, recipe: Recipe, *, age_s_max: float) -> Plan:
        """The plan of a recipe, by indices that are at most so old.  No package is fetched."""
        line = lineage(recipe)
        first = line[0]
        indices = Indices(self.folder, first.base)
        if first.base.variant != "none" or any(one.packages or one.base.packages for one in line):
            indices.refresh(age_s_max, self.work.clock.now_ns() / 1e9)
        draft = _Draft(recipe.epoch_s, tools())
        begin = (*indices.begin(first.base.variant), *first.base.packages)
        below = self._resolved(indices, begin, [])
        draft.base(first, indices, below, self._pool(below))
        for one in line:
            more = self._resolved(indices, one.packages, below)
            if more:
                draft.packages(one, more, self._pool(more))
                below = below + more
            draft.rest(one, self._overlay(one))
        about = {"format": SET_FORMAT, "steps": [step.about for step in draft.steps]}
        return Plan(recipe.name, tuple(draft.steps), json.dumps(about, sort_keys=True).encode(), tuple(below), indices)

    def _resolved(self, indices: Indices, wanted: tuple[str, ...], below: list[Package]) -> list[Package]:
        """As `Indices.resolve`, remembered by what was asked and what the indices say."""
        if not wanted:
            return []
        under = ref_of("".join(package.exact for package in below).encode())
        question = ref_of(f"{indices.folder.name}\0{indices.identity()}\0{' '.join(wanted)}\0{under}".encode())
        known = self.work.latest(RESOLUTION, str(question))
        if known is not None and self.store.has(known.ref):
            return msgspec.json.decode(self.work.get(known.ref), type=list[Package])
        found = indices.resolve(wanted, below)
        self.work.observe(RESOLUTION, msgspec.json.encode(found), source=str(question))
        return found

    def _pool(self, packages: list[Package]) -> Tree:
        """The files of these packages and a list of them, as a tree that apt can read."""
        listed = "".join(
            f"{package.control}\nFilename: ./{package.file}\nSHA256: {package.sha256}\n\n" for package in packages
        ).encode()
        entries = [TreeEntry(package.file, "file", 0o644, package.bytes, package.ref) for package in packages]
        entries.append(TreeEntry("Packages", "file", 0o644, len(listed), self.store.put(listed, durable=False)))
        return Tree(self.store.put(tree.encode(entries), durable=False), self.store)

    def _overlay(self, recipe: Recipe) -> Tree | None:
        if not recipe.files:
            return None
        changes: dict[str, TreeEntry | None] = {
            path: self._entry(recipe, path, rule) for path, rule in sorted(recipe.files.items())
        }
        return replace_files(self.store, Tree(self.store.put(tree.encode([]), durable=False), self.store), changes)

    def _entry(self, recipe: Recipe, path: str, rule: FileRule) -> TreeEntry:
        mode = int(rule.mode, 8) if rule.mode else 0
        if rule.link:
            return TreeEntry("", "symlink", target=rule.link)
        if rule.text is not None:
            data = rule.text.encode()
            return TreeEntry("", "file", mode or 0o644, len(data), self.store.put(data, durable=False))
        source = Path(recipe.folder) / rule.source
        _refuse_set_id(source, bool(rule.mode))
        if source.is_dir():
            return TreeEntry("", "directory", mode or 0o755, 0, _folder(self.work, source).ref)
        try:
            ref = self.work.put(source, durable=False)
            status = source.stat()
            kept = tree.attributes_of(source)
            return TreeEntry("", "file", mode or status.st_mode & 0o777, status.st_size, ref, attributes=kept)
        except (errors.BadInput, OSError) as reason:
            raise errors.BadInput(f"the recipe {recipe.name!r}, {path}: {reason}", path=path) from reason


def _folder(work: Any, source: Path) -> Tree:
    """A folder of a recipe as it lies there: with attributes, devices, and files that share an inode."""
    folder: Tree = work.put_tree(source, whole=True, durable=False)
    return folder


def _refuse_set_id(source: Path, said: bool) -> None:
    """A file that runs as somebody else is never taken in by the way: its mode has to be said, in a rule of its own."""
    if source.is_file() and said:
        return
    found = [source, *(Path(above) / name for above, _, names in os.walk(source) for name in names)]
    for path in found:
        if path.is_file() and not path.is_symlink() and path.stat().st_mode & 0o6000:
            raise errors.BadInput(
                f"{path} is set-uid or set-gid: give it a rule of its own with `mode`, or take the bit away",
                path=str(path),
            )


class _Draft:
    """Steps as they are added; each one's id hangs on that of the step before."""

    def __init__(self, epoch_s: int, tools: str) -> None:
        self.epoch_s = epoch_s
        self.tools = tools
        self.steps: list[Step] = []

    def add(
        self,
        kind: str,
        title: str,
        box: Derivation[..., Any],
        inputs: dict[str, Any],
        about: dict[str, Any],
        packages: list[Package] | None = None,
    ) -> None:
        about = {"kind": kind, "title": title, **about}
        before = self.steps[-1].id if self.steps else ""
        # The title is for people: two steps that do the same are the same.
        named = {name: value for name, value in about.items() if name != "title"}
        step = ref_of(json.dumps([before, named], sort_keys=True).encode())
        if "step" in inputs:
            inputs = {**inputs, "step": str(step)}
        self.steps.append(Step(kind, title, box, inputs, about, step, tuple(packages or ())))

    def base(self, recipe: Recipe, indices: Indices, packages: list[Package], pool: Tree) -> None:
        variant = recipe.base.variant
        inputs = {
            "pool": pool, "packages": tuple(package.exact for package in packages), "variant": variant,
            "suite": indices.suite, "epoch_s": self.epoch_s, "tools": self.tools, "step": "",
        }  # fmt: skip
        about = {
            "variant": variant,
            "suite": indices.suite,
            "architecture": indices.architecture,
            **self._listed(packages),
        }
        title = f"{indices.suite} {variant}, {len(packages)} packages" if packages else "an empty root"
        self.add("base", title, steps.base, inputs, about, packages)

    def packages(self, recipe: Recipe, packages: list[Package], pool: Tree) -> None:
        exact = tuple(package.exact for package in packages)
        inputs = {"pool": pool, "packages": exact, "epoch_s": self.epoch_s, "tools": self.tools, "step": ""}
        self.add("packages", " ".join(recipe.packages), steps.packages, inputs, self._listed(packages), packages)

    def rest(self, recipe: Recipe, overlay: Tree | None) -> None:
        if recipe.users:
            rows = tuple(
                (user.name, user.uid, user.home, user.shell, user.groups, user.comment) for user in recipe.users
            )
            title = " ".join(user.name for user in recipe.users)
            named: dict[str, Any] = {"users": rows, "epoch_s": self.epoch_s}
            self.add("users", title, steps.users, named, named)
        if overlay is not None:
            owners = tuple((path.strip("/"), rule.owner) for path, rule in sorted(recipe.files.items()))
            held = {path: str(entry.ref or entry.target) for path, entry in overlay.walk() if entry.kind != "directory"}
            title = f"{len(held)} files" if len(held) != 1 else next(iter(held))
            about: dict[str, Any] = {"files": held, "tree": str(overlay.ref), "owners": owners}
            self.add("files", title, steps.files, {"overlay": overlay, "owners": owners}, about)
        for text in recipe.scripts:
            inputs: dict[str, Any] = {"text": text, "epoch_s": self.epoch_s, "tools": self.tools, "step": ""}
            title = next((line.strip() for line in text.splitlines() if line.strip()), "an empty script")[:80]
            about = {"script": text, "epoch_s": self.epoch_s, "tools": self.tools}
            self.add("script", title, steps.script, inputs, about)
        chosen = recipe.services
        if chosen.enable or chosen.disable or chosen.mask:
            units: dict[str, Any] = {"enable": chosen.enable, "disable": chosen.disable, "mask": chosen.mask}
            title = " ".join((*chosen.enable, *chosen.disable, *chosen.mask))
            self.add("services", title, steps.services, units, units)

    def _listed(self, packages: list[Package]) -> dict[str, Any]:
        rows = [[package.name, package.version, package.architecture, str(package.ref)] for package in packages]
        return {"packages": rows, "epoch_s": self.epoch_s, "tools": self.tools}
