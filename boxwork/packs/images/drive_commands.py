"""`boxwork images disk | slots`: an image as a file that boots by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from boxwork import errors


def register(app: App, context: Any) -> None:
    """Add the commands to the group; `context` is the command line's."""
    output = context.output

    @app.command
    def disk(
        image: str,
        target: Annotated[Path, Parameter(name=["target", "--output", "-o"])],
        *,
        trial: Annotated[bool, Parameter(negative="")] = False,
        tries: int = 2,
        slot_mib: int = 0,
        data_mib: int = 256,
        kernel: str = "linux-image-cloud-amd64",
    ) -> None:
        """Write an image as one file that boots by itself: `qemu-system-x86_64 -drive file=disk.img,format=raw`.

        Parameters
        ----------
        image: NAME, NAME:NUMBER, or the ref of a root tree
        target: the file; what is there already is replaced, unless --trial
        trial: put the version on trial in the slot of TARGET that is not in use; its machine must be off
        tries: boots that a trial has before the good slot starts again
        slot_mib: room for a root, in MiB; without it twice what this one takes
        data_mib: size of the data partition, in MiB
        kernel: the package with the kernel
        """
        from boxwork.packs.images import drive
        from boxwork.packs.images.boot_commands import make_bootable, root_of_image

        with context.work(must_exist=True) as work:
            version = make_bootable(work, root_of_image(work, image), kernel)
            if trial:
                slot = drive.install(work, version, target, tries=tries)
            else:
                if target.exists() and not target.is_file():
                    raise errors.BadInput(f"{target} is no file: a drive is written to a file, and then to a device")
                slot = "a"
                drive.write(work, version, target, root_mib=slot_mib, data_mib=data_mib)
        about = {"path": str(target), "slot": slot, "version": version.ref, "trial": trial}
        output.answer(about, f"{target}: {version.ref} in slot {slot}" + (", on trial" if trial else ""))

    @app.command
    def slots(target: Path) -> None:
        """Show which slot of a disk is good, which is on trial, and what was refused last; its machine must be off."""
        from boxwork.packs.images import drive

        state = drive.state(target)
        lines = [f"good    slot {state['good']}"]
        if state["trial"]:
            lines.append(f"trial   slot {state['trial']}, {state['tries']} tries left")
        if state["refused"]:
            lines.append(f"refused {state['refused']}")
        output.answer(state, "\n".join(lines))
