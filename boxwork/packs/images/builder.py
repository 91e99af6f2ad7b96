"""Builds images: resolves a recipe, runs the steps that are not remembered, releases a version.

    recipe → plan (dependency set) → is it the latest version's?  then nothing happens
                                   → steps, each once per distinct input → tree, durable and pinned → released

Whoever builds the same step at the same time, in any thread or process of the node, shares its flight.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boxwork import Ref, Tree, clock, errors
from boxwork.packs.images import difference
from boxwork.packs.images import recipe as recipes
from boxwork.packs.images.archive import pieces
from boxwork.packs.images.peers import Peers
from boxwork.packs.images.plan import Plan, Planner, Step
from boxwork.packs.images.progress import Build
from boxwork.packs.images.signing import Signer
from boxwork.packs.images.versions import Catalog, image_prune, image_release, image_rollback, image_source

# Blobs that are made durable in one transaction.  Unit: blobs, bytes.
BATCH_BLOBS = 512
BATCH_BYTES = 8 * 1024 * 1024
# A blob above this is copied by itself.  Unit: bytes.
LARGE_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Built:
    """What a build came to: `new` is False where the dependency set was that of the latest version."""

    name: str
    number: int
    new: bool
    tree: Ref
    set: Ref
    id: str
    steps: tuple[tuple[str, str, str], ...] = ()


class StepBroken(errors.DerivationFailed):
    """A step of an image failed; `details` names it, and the message ends with its log."""

    code = "images.step"


class Builder:
    """Builds for one node.  Safe from many threads."""

    def __init__(self, work: Any) -> None:
        self.work = work
        self.catalog = Catalog(work)
        self.planner = Planner(work)
        self.signer = Signer(Path(work.content.root))
        self.peers = Peers(work)

    def build(
        self,
        recipe: recipes.Recipe,
        *,
        reason: str = "",
        who: str = "",
        age_s_max: float | None = None,
        on_start: Any = None,
    ) -> Built:
        """Build an image if anything it depends on is not what it was in its latest version.

        Raises `BadInput` for what is wrong with the recipe, `Busy` when the archive cannot be reached, `StepBroken`.
        """
        if age_s_max is None:
            age_s_max = self.work.settings.number("images.index_age_s")
        build = Build(self.work, recipe.name, reason, who)
        if on_start is not None:
            on_start(build.id)
        try:
            plan = self.planner.plan(recipe, age_s_max=age_s_max)
            latest = self.catalog.latest(recipe.name)
            if latest is not None and latest["set"] == str(plan.ref):
                self._point(recipe.name)
                build.end("unchanged", number=latest["number"])
                return Built(recipe.name, latest["number"], False, Ref.parse(latest["tree"]), plan.ref, build.id)
            built = self._release(plan, build, latest, reason, who)
            build.end("done", number=built.number)
            return built
        except BaseException as fault:
            build.end("failed", str(getattr(fault, "message", fault)) or type(fault).__name__)
            raise

    def build_named(self, name: str, **more: Any) -> Built:
        """Build an image by its name, from where its recipe lay last; or by the path of its recipe."""
        path = Path(name)
        if path.suffix == ".toml" or "/" in name:
            recipe = recipes.read(path)
            self.work.commit(image_source, name=recipe.name, path=str(path.resolve()))
        else:
            source = self.catalog.sources().get(name)
            if source is None:
                known = ", ".join(sorted(self.catalog.sources())) or "none yet"
                raise errors.NotFound(
                    f"no recipe of {name!r} is known; known: {known}. Give the path of one: {name}.toml"
                )
            recipe = recipes.read(Path(source))
        return self.build(recipe, **more)

    def check(self, who: str = "") -> list[tuple[str, Built | errors.BoxworkError]]:
        """Look at what every image depends on, and build those where something changed."""
        found: list[tuple[str, Built | errors.BoxworkError]] = []
        for name, path in sorted(self.catalog.sources().items()):
            try:
                found.append((name, self.build(recipes.read(Path(path)), reason="check", who=who, age_s_max=0.0)))
            except errors.BoxworkError as fault:
                found.append((name, fault))
        return found

    def rollback(self, name: str, number: int = 0, *, who: str = "", reason: str = "") -> tuple[int, int]:
        """Let an earlier version count (0: the one before), after its signature was verified: (before, now)."""
        if not number:
            current = self.catalog.version(name)["number"]
            number = max((one["number"] for one in self.catalog.versions(name) if one["number"] < current), default=0)
            if not number:
                raise errors.BadInput(f"{name} has no version before {current}")
        self.signer.verify(self.catalog.version(name, number))
        before: int = self.work.commit(image_rollback, name=name, number=number, by=who, reason=reason)
        self._point(name)
        return before, number

    def _point(self, name: str) -> None:
        """Let the pin `images/NAME` stand for the version that counts: by it others follow an image.

        What was decided comes first, so a builder that is killed in between is made good by the next one.
        """
        while True:
            tree = Ref.parse(self.catalog.version(name)["tree"])
            if self.work.content.pinned(f"images/{name}") == tree:
                return
            self.work.pin(tree, f"images/{name}")  # and look again: somebody may have decided meanwhile

    def prune(self, name: str, keep: int, *, who: str = "") -> list[int]:
        """Forget old versions, and unpin what only they held: a later `gc` takes it.  The numbers that went."""
        gone: list[int] = self.work.commit(image_prune, name=name, keep=keep, by=who)
        held = self.catalog.versions(name)
        wanted = {f"images/{name}/{part}/{Ref.parse(one[part]).hex[:16]}" for one in held for part in ("set", "tree")}
        for pin, _ in list(self.work.pins(f"images/{name}/")):
            if pin not in wanted:
                self.work.unpin(pin)
        return gone

    def roots(self, plan: Plan, build: Build | None = None) -> list[Tree]:
        """The root after each step: remembered, or built now."""
        roots = self._remembered(plan)
        for at, step in enumerate(plan.steps):
            started = clock.monotonic_ns()
            state = "remembered"
            if at >= len(roots):
                if build is not None:
                    build.step(at, "running")
                inputs = _inputs(step, roots)
                state = "fetched" if self._fetched(step, inputs) else "built"
                if state == "built":
                    plan.indices.fetch(step.packages, self.work.content)
                roots.append(self.work.tree(self._run(step, at, inputs, build)))
            if build is not None:
                build.step(at, state, clock.monotonic_ns() - started)
        return roots

    def _remembered(self, plan: Plan) -> list[Tree]:
        """The roots of the first steps, as far as they are remembered and the last of them is whole.

        The cache may have let go of a part of a root whose name it still knows: such a step is forgotten, and runs.
        """
        roots: list[Tree] = []
        for step in plan.steps:
            ref = self.work.peek(step.box, **_inputs(step, roots))
            if ref is None:
                break
            roots.append(self.work.tree(ref))
        while roots and not is_whole(self.work, roots[-1]):
            roots.pop()
            step = plan.steps[len(roots)]
            deriver = self.work.node.deriver
            deriver.forget(deriver.key(step.box, _inputs(step, roots)))
        return roots

    def _fetched(self, step: Step, inputs: dict[str, Any]) -> bool:
        """Ask the peers for what a step makes; from then on it is remembered here as if it had run."""
        if not self.peers.addresses:
            return False
        deriver = self.work.node.deriver
        found = self.peers.find(deriver.key(step.box, inputs))
        return found is not None and deriver.adopt(step.box, self.work.tree(found), inputs)

    def _run(self, step: Step, at: int, inputs: dict[str, Any], build: Build | None) -> Ref:
        try:
            ref: Ref = self.work.derive(step.box, **inputs)
            return ref
        except errors.DerivationFailed as fault:
            if build is not None:
                build.step(at, "failed")
            said = str(fault.__cause__ or fault.message)
            raise StepBroken(
                f"step {at + 1} ({step.kind}: {step.title}) failed: {said}", step=str(step.id), kind=step.kind
            ) from fault

    def _release(self, plan: Plan, build: Build, latest: dict[str, Any] | None, reason: str, who: str) -> Built:
        build.plan([{"kind": step.kind, "title": step.title, "id": str(step.id)} for step in plan.steps])
        roots = self.roots(plan, build)
        root = roots[-1]
        self.work.put(plan.set, pin=f"images/{plan.name}/set/{plan.ref.hex[:16]}")
        files, size = keep(self.work, root, f"images/{plan.name}/tree/{root.ref.hex[:16]}")
        if latest is not None and reason in ("", "check"):
            reason = difference.reason(self.work.get(latest["set"]), plan.set)
        version = {
            "name": plan.name,
            "set": str(plan.ref),
            "tree": str(root.ref),
            "steps": [
                {"kind": step.kind, "title": step.title, "id": str(step.id), "tree": str(one.ref)}
                for step, one in zip(plan.steps, roots, strict=True)
            ],
            "packages": len(plan.packages),
            "files": files,
            "bytes": size,
            "reason": reason or "first build",
        }
        version.update(self.signer.sign(plan.name, plan.ref, root.ref))
        number = self.work.commit(image_release, name=plan.name, version=version, by=who)
        self._point(plan.name)
        states = tuple((step["kind"], step["title"], step["state"]) for step in build.record["steps"])
        return Built(plan.name, number, True, root.ref, plan.ref, build.id, states)


def _inputs(step: Step, roots: list[Tree]) -> dict[str, Any]:
    """The inputs of the step that comes after these roots."""
    return {"root": roots[-1], **step.inputs} if roots else dict(step.inputs)


def is_whole(work: Any, root: Tree) -> bool:
    """Is everything that a root names still here.  Costs about 6 us a file."""
    try:
        return all(entry.ref is None or work.has(entry.ref) for _, entry in root.walk())
    except errors.BlobMissing:
        return False


def keep(work: Any, root: Tree, pin: str) -> tuple[int, int]:
    """Make everything in a root durable, and pin it: (files, bytes in them).

    The steps put what they make into the cache, from where it could be had again; a version must outlive that.
    """
    content = work.content
    sizes: dict[Ref, int] = {}
    trees: list[Ref] = [root.ref]
    files = size = 0
    for _, entry in root.walk():
        if entry.kind == "file":
            sizes[entry.content] = entry.size
            files, size = files + 1, size + entry.size
        elif entry.kind == "directory":
            trees.append(entry.content)
    absent = set(content.durable.touch(ref.digest for ref in sizes))
    _promote(content, [(ref, sizes[ref]) for ref in sizes if ref.digest in absent])
    # Leaves first, so that no tree is durable before what it holds.
    missing = set(content.durable.touch(ref.digest for ref in trees))
    _promote(content, [(ref, 0) for ref in dict.fromkeys(reversed(trees)) if ref.digest in missing])
    content.pin(root.ref, pin)
    return files, size


def _promote(content: Any, blobs: list[tuple[Ref, int]]) -> None:
    batch: list[bytes] = []
    held = 0
    for ref, size in blobs:
        if size > LARGE_BYTES:
            with content.open(ref) as file:
                content.put_stream(pieces(file), expect=ref)
            continue
        batch.append(content.get(ref))
        held += size
        if len(batch) >= BATCH_BLOBS or held >= BATCH_BYTES:
            content.put_many(batch)
            batch, held = [], 0
    if batch:
        content.put_many(batch)
    for ref, _ in blobs:
        content.cache.delete(ref)
