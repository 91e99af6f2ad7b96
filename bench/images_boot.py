"""A bad image: how long from power-on until the version before it runs again, and is it byte for byte what it was?

Each round gives a machine a version whose health check says no: it is booted under QEMU's software emulation, refused,
and the version before is booted and says that it is healthy.  There is no peer: what others offer goes back when a
system does not boot, not when it is not healthy.  Reach: 20 s, 20 of 20.

    python bench/images_boot.py [--rounds 20]      needs qemu-system-x86, squashfs-tools-ng, and apt
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
from boxwork.packs.images.boot_commands import make_bootable
from boxwork.packs.images.gate import passing
from boxwork.packs.images.slots import Slots

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.packs.images.roots import SICK, make_root


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--record", action="store_true")
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder, boxwork.open(Path(folder, "data")) as work:
        good = make_bootable(work, make_root(work, Path(folder, "good")))
        with passing(work, "machine", good, tell=_silent) as (passage, _):
            first_ms = passage.boots[-1].duration_ms
        slots = Slots(work, "machine")
        took, back = [], 0
        for number in range(rounds):
            bad = make_bootable(work, make_root(work, Path(folder, f"bad{number}"), SICK, version=str(number)))
            begin = monotonic_ns()
            with passing(work, "machine", bad, tell=_silent) as (passage, _):
                took.append((monotonic_ns() - begin) / 1e9)
            refused = [boot.verdict for boot in passage.boots] == ["sick", "healthy"]
            back += refused and passage.version == good.ref and slots.is_intact(passage.slot)
            print(f"round {number + 1}: {took[-1]:.1f} s, {[boot.verdict for boot in passage.boots]}", file=sys.stderr)
    report(name="good image, power-on to healthy", value=first_ms / 1000, unit="s")
    report(name="bad image, power-on to the one before, healthy", value=statistics.median(took), unit="s",
           worst=round(max(took), 1), back=back, of=rounds)  # fmt: skip


def _silent(text: str) -> None:
    pass


if __name__ == "__main__":
    main()
