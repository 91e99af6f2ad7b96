"""A bootable version: the root of an image as a squashfs, with a kernel and an initrd beside it, as one tree.

    kernel          out of a linux-image package
    initrd          the package's modules for a virtio disk, a shell, `guest.INIT`
    root.squashfs   the image; it is never written to
    boot.json       what these are, for who looks

The same root, the same packages and the same tools give the same tree, bit for bit.
"""

from __future__ import annotations

from typing import Any

import msgspec

from boxwork import Ref, Tree
from boxwork.packs.images.exports import squashfs, squashfs_tools
from boxwork.packs.images.initrd import initrd, kernel

KERNEL, INITRD, ROOT, FACTS = "kernel", "initrd", "root.squashfs", "boot.json"


def bootable(work: Any, root: Tree, packages: dict[str, Ref]) -> Tree:
    """The tree that a machine boots.  `packages` has the refs of the .deb files under "kernel" and "busybox"."""
    tools = squashfs_tools()
    parts = {
        KERNEL: work.derive(kernel, package=packages["kernel"]),
        INITRD: work.derive(initrd, package=packages["kernel"], busybox=packages["busybox"]),
        ROOT: work.derive(squashfs, root=root, tools=tools),
    }
    facts = {"root": root.ref, "packages": packages, "parts": parts, "tools": tools}
    parts[FACTS] = work.put(msgspec.json.format(msgspec.json.encode(facts, order="sorted", enc_hook=str)))
    tree: Tree = work.compose(parts)
    return tree


def root_of(version: Tree) -> Ref:
    """The ref of the squashfs, which the machine measures when it boots."""
    return version.find(ROOT).content
