"""A drive: everything that a machine boots, as one file, which needs nothing of whoever starts it.

    qemu-system-x86_64 -drive file=disk.img,format=raw

    BIOS or UEFI → GRUB → the slot on trial, while it has tries left, or the good one → kernel, initrd → root → healthy?

It holds two slots, the block in which the tries are counted, and a data partition that outlives every version
(`partitions`).  The parts are outputs of boxes, so the same version makes the same file, bit for bit, on any machine
with the same tools; the file has holes where nothing is.  `install` puts a version into the slot that is not in use.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from boxwork import Ref, Tree, derivation, errors
from boxwork.packs.images import guest, loader, partitions
from boxwork.packs.images.archive import PIECE_BYTES, pieces, tar
from boxwork.packs.images.disk import INITRD, KERNEL, ROOT
from boxwork.packs.images.partitions import MIB, Layout

SLOTS = ("a", "b")
# panic=-1: a kernel that fails starts again at once, and GRUB counts.  A processor stuck in the kernel for twice
# watchdog_thresh (s) has failed, too; not after the usual 20 s, which an emulated one on a busy host may be away for.
# no_timer_check: see `machine`.
COMMAND_LINE = "console=tty0 console=ttyS0 panic=-1 softlockup_panic=1 watchdog_thresh=60 quiet no_timer_check"
# From the watchdog's start to the health check's: kernel modules, hashing and mounting the root.  Unit: s.
BEFORE_HEALTH_S = 10
# What watchdogs can count to: iTCO 613, others more.  Unit: s.
WATCHDOG_S_MAX = 600
# A slot has room for a version twice as large, in steps of this, so that the next ones fit.  Unit: MiB.
ROOT_STEP_MIB = 64
# Without a wish: what logs and a small database need.  Unit: MiB.
DATA_MIB = 256


@derivation(name="image_boot_partition", worker="thread")
def boot_partition(version: Tree, line: str) -> Tree:
    """What GRUB finds in the boot partition of a slot: kernel, initrd, and the line that starts them."""
    from boxwork import TreeEntry, tree

    store: Any = version.store
    text = line.encode()
    names = [msgspec.structs.replace(version.find(name), mode=0o644) for name in (INITRD, KERNEL)]
    names.append(TreeEntry("boot.cfg", "file", 0o644, len(text), store.put(text, durable=False)))
    return Tree(store.put(tree.encode(names), durable=False), store)


def parts_of_slot(work: Any, version: Tree) -> dict[str, Ref]:
    """What lies in the partitions of a slot that holds this version."""
    root = version.find(ROOT)
    words = {
        guest.ROOT: root.content,
        guest.BYTES: root.size,
        guest.MEASURE: int(work.settings.flag("images.machine_measure")),
        guest.HEALTH_S: int(work.settings.number("images.health_s_max")),
        guest.WATCHDOG_S: _watchdog_s(work.settings),
    }
    line = loader.line(COMMAND_LINE, words)
    folder = work.tree(work.derive(boot_partition, version=version, line=line))
    return {"boot": work.derive(tar, root=folder), "root": root.content}


def _watchdog_s(settings: Any) -> int:
    """Seconds until a machine that hangs starts again: longer than a health check may say "not yet"."""
    wanted, health_s = int(settings.number("images.watchdog_s")), settings.number("images.health_s_max")
    if wanted and not health_s + BEFORE_HEALTH_S <= wanted <= WATCHDOG_S_MAX:
        raise errors.BadInput(
            f"images.watchdog_s={wanted}: at least images.health_s_max and {BEFORE_HEALTH_S} more, which is"
            f" {health_s + BEFORE_HEALTH_S:g}, or it would end a machine that is about to say how it is; at most"
            f" {WATCHDOG_S_MAX}; 0 is no watchdog"
        )
    return wanted


def write(work: Any, version: Tree, target: Path, *, root_mib: int = 0, data_mib: int = DATA_MIB) -> Layout:
    """Write a drive with this version in slot a, good.  Nothing of a file that was there is left."""
    tools = partitions.versions_of_tools()
    parts = parts_of_slot(work, version)
    size = version.find(ROOT).size
    layout = Layout(root_mib or -(-2 * size // (ROOT_STEP_MIB * MIB)) * ROOT_STEP_MIB, data_mib)
    places = layout.partitions
    code = work.get(
        work.derive(
            loader.grub, configuration=loader.configuration(), modules=loader.MODULES,
            at=places["loader"].at // loader.SECTOR_BYTES, tools=tools["grub-mkimage"],
        )
    )  # fmt: skip
    uefi = work.get(
        work.derive(
            loader.uefi, configuration=loader.configuration(loader.UEFI_FIRST), modules=loader.UEFI_MODULES,
            total=places["esp"].bytes, tools=tools["grub-mkimage"],
        )
    )  # fmt: skip
    table = work.get(work.derive(partitions.table, script=layout.script, total=layout.bytes, tools=tools["sfdisk"]))
    empty = work.get(
        work.derive(partitions.data, mib=data_mib, identity=partitions.data_identity(), tools=tools["mke2fs"])
    )
    first = work.compose({loader.BLOCK_NAME: work.put(loader.block({"good": "a"}), durable=False)})
    head = partitions.HEAD_SECTORS * loader.SECTOR_BYTES
    spare = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with spare.open("wb") as file:
            file.truncate(layout.bytes)
            _put(file, 0, table[:head])
            _put(file, layout.bytes - (len(table) - head), table[head:])
            _put(file, 0, code[: loader.CODE_BYTES])
            _put(file, places["loader"].at, code[loader.SECTOR_BYTES :])
            _put(file, places["esp"].at, uefi)
            _put(file, places["state"].at, work.get(work.derive(tar, root=first)))
            for at, piece in partitions.pieces_of(empty):
                _put(file, places["data"].at + at, piece)
            _fill(work, file, layout, "a", parts)
            file.flush()
            os.fsync(file.fileno())
        os.replace(spare, target)
    except OSError as reason:
        raise errors.BadInput(f"{target} cannot be written: {reason.strerror}", path=str(target)) from reason
    finally:
        spare.unlink(missing_ok=True)
    return layout


def install(work: Any, version: Tree, target: Path, *, tries: int = 2) -> str:
    """Put a version on trial in the slot that is not in use; the machine must be off.  Which slot it is.

    First of all nothing is on trial: a crash in the middle must not start half a version.
    """
    if not 1 <= tries <= loader.TRIES_MAX:
        raise errors.BadInput(f"{tries} tries: choose 1 to {loader.TRIES_MAX}")
    parts = parts_of_slot(work, version)
    with _opened(target, "r+b") as (file, layout):
        at = layout.partitions["state"].at + loader.BLOCK_AT
        state = _state(file, layout)
        slot = next(slot for slot in SLOTS if slot != state["good"])
        for changes in ({"trial": "", "tries": ""}, {"trial": slot, "tries": str(tries)}):
            _put(file, at, loader.block({**state, **changes}))
            file.flush()
            os.fsync(file.fileno())
            if not changes["trial"]:
                _fill(work, file, layout, slot, parts)
    return slot


def state(target: Path) -> dict[str, str]:
    """Which slot of a drive is good, which is on trial with how many tries left, and what was refused last."""
    with _opened(target, "rb") as (file, layout):
        return _state(file, layout)


def root_in(work: Any, target: Path, slot: str, size: int) -> Ref:
    """The ref of the first `size` bytes of a slot's root: is it, byte for byte, what was put there."""
    with _opened(target, "rb") as (file, layout):
        file.seek(layout.partitions[f"root-{slot}"].at)
        found: Ref = work.put(_beginning(file, size), durable=False)
    return found


@contextmanager
def _opened(target: Path, how: Any) -> Iterator[tuple[Any, Layout]]:
    try:
        with target.open(how) as file:
            yield file, partitions.layout_of(file.read(partitions.HEAD_SECTORS * loader.SECTOR_BYTES))
    except OSError as reason:
        raise errors.BadInput(f"the drive {target}: {reason.strerror}", path=str(target)) from reason


def _beginning(file: Any, left: int) -> Iterator[bytes]:
    while left > 0 and (piece := file.read(min(left, PIECE_BYTES))):
        left -= len(piece)
        yield piece


def _state(file: Any, layout: Layout) -> dict[str, str]:
    file.seek(layout.partitions["state"].at + loader.BLOCK_AT)
    return loader.state_of(file.read(loader.BLOCK_BYTES))


def _put(file: Any, at: int, data: bytes) -> None:
    file.seek(at)
    file.write(data)


def _fill(work: Any, file: Any, layout: Layout, slot: str, parts: dict[str, Ref]) -> None:
    """Write the partitions of a slot, each if it has room."""
    for name, ref in parts.items():
        place = layout.partitions[f"{name}-{slot}"]
        with work.open(ref) as source:
            file.seek(place.at)
            left = place.bytes
            for piece in pieces(source):
                left -= len(piece)
                if left < 0:
                    raise errors.TooLarge(
                        f"partition {place.name} has {place.bytes // MIB} MiB, and the version needs more:"
                        " make the drive anew with --slot-mib"
                    )
                file.write(piece)
