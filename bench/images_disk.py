"""A bad image on a disk that boots by itself: how long from power-on until the version before it runs again?

Each round puts a version whose health check says no into the free slot and starts a plain QEMU (software emulation):
GRUB starts it, it says that it is sick, and the version before starts; its slot is then compared byte for byte.  There
is no peer: what others offer goes back when a system does not boot, not when it is not healthy.  Reach: 20 s, 20 of 20.

    python bench/images_disk.py [--rounds 20] [--bus virtio]     needs qemu-system-x86, grub-pc-bin,
                                                                 grub-efi-amd64-bin, and apt
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

from _report import report

import boxwork
from boxwork.clock import monotonic_ns
from boxwork.packs.images import drive
from boxwork.packs.images.boot_commands import make_bootable

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.packs.images.plain_qemu import machine
from tests.packs.images.roots import SICK, make_root, take_boot_packages


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--bus", default="virtio", choices=("virtio", "ide"))
    parser.add_argument("--record", action="store_true")
    told = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, boxwork.open(Path(folder, "data")) as work:
        take_boot_packages(work)
        good = make_bootable(work, make_root(work, Path(folder, "good")))
        root, path = good.find("root.squashfs"), Path(folder, "disk.img")
        drive.write(work, good, path)
        first = powered(path, told.bus)
        took, back = [], 0
        for number in range(told.rounds):
            bad = make_bootable(work, make_root(work, Path(folder, f"bad{number}"), SICK, version=str(number)))
            drive.install(work, bad, path)
            took.append(powered(path, told.bus))
            refused = drive.state(path)["refused"] == bad.find("root.squashfs").content
            back += refused and drive.root_in(work, path, "a", root.size) == root.content
            print(f"round {number + 1}: {took[-1]:.1f} s, {drive.state(path)}", file=sys.stderr)
    report(name=f"disk ({told.bus}): good image, power-on to healthy", value=first, unit="s")
    report(name=f"disk ({told.bus}): bad image, power-on to the one before, healthy", value=statistics.median(took),
           unit="s", worst=round(max(took), 1), back=back, of=told.rounds)  # fmt: skip


def powered(path: Path, bus: str) -> float:
    """Seconds from power-on until a version says that it is healthy."""
    begin = monotonic_ns()
    with machine(path, bus=bus) as console:
        console.until("healthy ")
    return (monotonic_ns() - begin) / 1e9


if __name__ == "__main__":
    main()
