"""`boxwork images boot | boots | back`: machines that run an image, and go back by themselves when it is bad."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import App, Parameter

from boxwork import Tree, errors
from boxwork.packs.images.debs import deb, kernel_package
from boxwork.packs.images.disk import bootable
from boxwork.packs.images.gate import Passage, passing
from boxwork.packs.images.slots import Slots


def make_bootable(work: Any, root: Tree, kernel: str = "linux-image-cloud-amd64") -> Tree:
    """The tree that a machine boots, with the kernel and the shell that apt has now."""
    packages = {"kernel": deb(work, kernel_package(kernel)), "busybox": deb(work, "busybox-static")}
    return bootable(work, root, packages)


def register(app: App, context: Any) -> None:
    """Add the commands to the group; `context` is the command line's."""
    output = context.output

    @app.command
    def boot(
        machine: str,
        image: str = "",
        *,
        kernel: str = "linux-image-cloud-amd64",
        again: Annotated[bool, Parameter(negative="")] = False,
        stay: Annotated[bool, Parameter(negative="")] = False,
    ) -> int:
        """Boot a machine; with an image, that version is on trial, and the one before comes back if it is not healthy.

        Parameters
        ----------
        machine: which one; it is made when it is first named
        image: a version to try: NAME, NAME:NUMBER, or the ref of a root tree
        kernel: the package with the kernel
        again: try a version that was refused before
        stay: keep it running until it ends, or until Ctrl-C
        """
        with context.work() as work:
            version = make_bootable(work, root_of_image(work, image), kernel) if image else None
            with passing(work, machine, version, again=again, tell=_silent) as (passage, running):
                output.answer(as_json(passage), as_text(passage))
                if stay:
                    running.wait()
        return 3 if passage.refused else 0

    @app.command
    def boots(machine: str) -> None:
        """The slots of a machine and its last boots."""
        with context.work() as work:
            state = Slots(work, machine).state()
        lines = [
            f"slot {slot}: {ref}" + (" good" if slot == state.good else " on trial" if slot == state.trial else "")
            for slot, ref in sorted(state.versions.items())
        ]
        lines += [f"{each.number:>6} {each.slot} {each.verdict:<8} {each.duration_ms:>6} ms  {each.reason}"
                  for each in state.history]  # fmt: skip
        said = {"versions": state.versions, "good": state.good, "trial": state.trial, "refused": state.refused}
        output.answer(said, "\n".join(lines) or "it has no version yet")

    @app.command
    def back(machine: str) -> None:
        """Put the version that was good before on trial; `boot` starts it."""
        with context.work() as work, Slots(work, machine).locked() as slots:
            version = slots.back()
        output.answer({"machine": machine, "trial": version}, f"{version} is on trial: `boxwork images boot {machine}`")


def root_of_image(work: Any, image: str) -> Tree:
    """The root tree that is meant, its signature verified if it is a version of an image."""
    if image.startswith("sha256:"):
        tree: Tree = work.tree(image)
        return tree
    from boxwork.packs.images.workshop import Workshop

    workshop = Workshop(work)
    name, _, number = image.partition(":")
    if number and not number.isdigit():
        raise errors.BadInput(f"{image!r}: write NAME, NAME:NUMBER, or the ref of a root tree")
    version = workshop.catalog.version(name, int(number or 0))
    workshop.signer.verify(version)
    root: Tree = work.tree(version["tree"])
    return root


def as_json(passage: Passage) -> dict[str, Any]:
    return {
        "machine": passage.machine,
        "version": passage.version,
        "slot": passage.slot,
        "refused": passage.refused,
        "mended": passage.mended,
        "boots": [
            {"slot": each.slot, "version": each.version, "verdict": each.verdict, "reason": each.reason,
             "ms": each.duration_ms, "log": each.log}
            for each in passage.boots
        ],
    }  # fmt: skip


def as_text(passage: Passage) -> str:
    lines = [
        f"slot {each.slot} {each.version[:19]}… {each.verdict} after {each.duration_ms / 1000:.1f} s ({each.reason})"
        for each in passage.boots
    ]
    if passage.refused:
        lines.append(f"the version you wanted was refused: {passage.refused}")
    lines.append(f"{passage.machine} runs {passage.version} in slot {passage.slot}")
    return "\n".join(lines)


def _silent(text: str) -> None:
    """What happens on the way is in the answer."""
