"""Operating system images, each the output of a box whose input is its dependency set."""

from __future__ import annotations

from typing import Any

from boxwork import Pack, Page, Setting
from boxwork.packs.images import boot_settings, peers, steps
from boxwork.packs.images.archive import tar
from boxwork.packs.images.described import DESCRIBED
from boxwork.packs.images.drive import boot_partition
from boxwork.packs.images.exports import squashfs
from boxwork.packs.images.initrd import initrd, kernel
from boxwork.packs.images.loader import grub
from boxwork.packs.images.oci import gzipped, layer
from boxwork.packs.images.partitions import data, table
from boxwork.packs.images.versions import TRANSACTIONS


def _open(work: Any) -> Any:
    from boxwork.packs.images.workshop import Workshop

    return Workshop(work)


def _routes(work: Any) -> list[Any]:
    from boxwork.packs.images.routes import routes

    return routes(work)


def _commands(context: Any) -> Any:
    from boxwork.packs.images.commands import commands

    return commands(context)


PACK = Pack(
    "images",
    "Operating system images, each the output of a box whose input is its dependency set.",
    boxes=(
        tar, squashfs, layer, gzipped,
        kernel, initrd,
        grub, table, data, boot_partition,
    ),
    # The steps run what they are told as root, so only a recipe that somebody built here reaches them.
    inner=(
        steps.base, steps.packages, steps.users, steps.files, steps.script, steps.services,
        *TRANSACTIONS,
    ),
    routes=_routes,
    described=DESCRIBED,
    settings=(
        Setting("images.index_age_s", 3600.0, "s", "age of package indices that a build still uses"),
        Setting("images.check_s", 0.0, "s", "how often a served node looks for changed dependencies; 0 is never"),
        Setting("images.builds_max", 4, "builds", "that run at the same time on a served node; others are refused"),
        *boot_settings.LIMITS,
        *peers.LIMITS,
    ),
    pages=(Page("Images", "/images"),),
    commands=_commands,
    opener=_open,
)  # fmt: skip
