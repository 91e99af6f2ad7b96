"""One machine under QEMU: started from a slot, watched until it says how it is, ended.

No firmware menu, no network, no disk that could be written to: kernel and initrd are handed over, the image is a
read-only disk, the console goes to a file, and the verdict comes as one line over a second serial port.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boxwork import Ref, errors
from boxwork.packs.images import disk, guest

PROGRAM = "qemu-system-x86_64"
# A machine must not outlive whoever started it, even if that one was killed.  In util-linux since 2.33.
LEASH = ("setpriv", "--pdeathsig", "KILL")
# A verdict is one line; more than this is a machine that talks nonsense.  Unit: bytes.
VERDICT_BYTES_MAX = 4096
# A machine that is told to end has nothing to save.  Unit: seconds.
END_S_MAX = 5.0
# panic=-1: a kernel that fails goes down at once instead of standing still.  no_timer_check: under emulation on a busy
# host the check of the timer's wiring finds faults that are none.
COMMAND_LINE = "console=ttyS0 panic=-1 quiet no_timer_check"
SECOND_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a machine said of itself, or that it went down or stayed silent; after how many milliseconds."""

    verdict: str
    reason: str
    duration_ms: int


class Machine:
    """A running machine.  Use it with `with`: it is ended when the block is."""

    def __init__(self, work: Any, folder: Path, root: Ref, console: Path) -> None:
        for program, package in ((PROGRAM, "qemu-system-x86"), (LEASH[0], "util-linux")):
            if shutil.which(program) is None:
                raise errors.BadInput(f"there is no {program} here: install the package {package}")
        settings = work.settings
        self._clock = work.clock
        self.boot_s_max = settings.number("images.boot_s_max")
        self._began_ns = self._clock.monotonic_ns()
        words = {
            guest.ROOT: root,
            guest.MEASURE: int(settings.flag("images.machine_measure")),
            guest.HEALTH_S: int(settings.number("images.health_s_max")),
        }
        line = " ".join([COMMAND_LINE, *(f"{word}={value}" for word, value in words.items())])
        self._process = subprocess.Popen(
            [
                *LEASH, PROGRAM, "-machine", "pc", "-accel", settings.text("images.machine_accelerator"), "-cpu", "max",
                "-m", str(settings.integer("images.machine_memory_mib")), "-smp", "1", "-nodefaults", "-no-user-config",
                "-display", "none", "-no-reboot", "-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny",
                "-kernel", os.fspath(folder / disk.KERNEL), "-initrd", os.fspath(folder / disk.INITRD), "-append", line,
                "-drive", f"file={_escaped(folder / disk.ROOT)},if=none,id=root,format=raw,readonly=on",
                "-device", "virtio-blk-pci,drive=root",
                "-serial", f"file:{console}", "-serial", "stdio",
            ],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *exception: object) -> None:
        self.end()

    def outcome(self) -> Outcome:
        """Wait for the verdict, for the machine to go down, or for `images.boot_s_max`."""
        line = self._line()
        if line is None:
            return self._told("silent", f"no verdict within {self.boot_s_max:g} s (setting images.boot_s_max)")
        verdict, _, reason = line.strip().partition(" ")
        if verdict in (guest.HEALTHY, guest.SICK):
            return self._told(verdict, reason)
        return self._told("down", self._last_words() or f"it went down before it was healthy {line[:100]!r}")

    def wait(self) -> int:
        """Until the machine ends by itself, or somebody interrupts."""
        return self._process.wait()

    def end(self) -> None:
        """Pull the plug."""
        process = self._process
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(END_S_MAX)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(END_S_MAX)
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()

    def _told(self, verdict: str, reason: str) -> Outcome:
        return Outcome(verdict, reason, (self._clock.monotonic_ns() - self._began_ns) // 1_000_000)

    def _line(self) -> str | None:
        """The first line of the second serial port; what came of one when the machine went down; None for silence."""
        stream = self._process.stdout
        assert stream is not None
        found = bytearray()
        with selectors.DefaultSelector() as ready:
            ready.register(stream, selectors.EVENT_READ)
            ends_ns = self._began_ns + int(self.boot_s_max * SECOND_NS)
            while (left_ns := ends_ns - self._clock.monotonic_ns()) > 0:
                if not ready.select(left_ns / SECOND_NS):
                    break
                piece = os.read(stream.fileno(), VERDICT_BYTES_MAX)
                found += piece
                if not piece or b"\n" in found or len(found) > VERDICT_BYTES_MAX:
                    return found.partition(b"\n")[0].decode("utf-8", "replace")
        return None

    def _last_words(self) -> str:
        """Why QEMU did not start, if that is what happened."""
        stream = self._process.stderr
        assert stream is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(END_S_MAX)
        if not self._process.returncode:
            return ""
        return stream.read(VERDICT_BYTES_MAX).decode("utf-8", "replace").strip()


def _escaped(path: Path) -> str:
    """In QEMU's lists of options a comma is doubled."""
    return os.fspath(path).replace(",", ",,")
