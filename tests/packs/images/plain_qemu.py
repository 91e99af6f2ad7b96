"""QEMU as anybody starts it: a file as its disk, a serial port to read."""

from __future__ import annotations

import os
import selectors
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Above the 20 s in which a machine goes back under software emulation: these tests run beside others.  Unit: s.
SAYS_S_MAX = 180.0


class Console:
    """What a machine writes, line by line."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.text = ""

    def until(self, *words: str) -> str:
        """The first line with one of these words; the machine may not go down before."""
        stream = self.process.stdout
        assert stream is not None
        ends, seen = time.monotonic() + SAYS_S_MAX, 0
        with selectors.DefaultSelector() as ready:
            ready.register(stream, selectors.EVENT_READ)
            while True:
                lines = self.text[seen:].split("\n")
                for line in lines[:-1]:
                    seen += len(line) + 1
                    if any(word in line for word in words):
                        self.text = self.text[seen:]
                        return line.strip()
                assert ready.select(max(0.0, ends - time.monotonic())), f"silent since:\n{self.text[-2000:]}"
                piece = os.read(stream.fileno(), 65_536)
                assert piece, f"it went down:\n{self.text[-2000:]}"
                self.text += piece.decode("utf-8", "replace").replace("\r", "")

    def ended(self) -> int:
        """The machine goes down by itself."""
        return self.process.wait(SAYS_S_MAX)


@contextmanager
def machine(drive: Path, *more: str, bus: str = "virtio") -> Iterator[Console]:
    """Start it, and end it with the block."""
    command = ["setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64", "-accel", "tcg", "-m", "512", "-cpu", "max"]
    command += ["-display", "none", "-drive", f"file={drive},format=raw,if={bus}", "-serial", "stdio", *more]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        try:
            yield Console(process)
        finally:
            process.kill()
