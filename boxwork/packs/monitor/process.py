"""One command as a process of its own: a time limit, a limit of output, and an end that reaches all it started.

It leads a process group, is given no standard input (or what it shall read), and no shell stands in between.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# Output that is kept; what comes after it is read and dropped, so that the command does not block.  Unit: bytes.
OUTPUT_BYTES_MAX = 64 * 1024
# A command has ended, and something that it left behind holds its output open: so long it is waited for.  Unit: s.
LEFT_BEHIND_S = 0.3
# From asking a group to end until it is made to.  Unit: s.
GRACE_S = 0.5


@dataclass(frozen=True, slots=True)
class Ended:
    """How it ended: `code` as the shell has it, below 0 a signal; `timed_out` if the limit ended it."""

    code: int
    output: bytes
    timed_out: bool = False
    fault: str = ""


async def run(
    command: Sequence[str], limit_s: float, *, environment: Mapping[str, str] | None = None, given: bytes = b""
) -> Ended:
    """Run it to its end.  Standard error is part of the output."""
    # Pipes of our own: those of asyncio would have it wait for whoever holds them, after the command has ended.
    ours, its = os.pipe()
    its_input = _held(given)
    reading = await _reader(ours)
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=its_input,
            stdout=its,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, "LC_ALL": "C.UTF-8", **(environment or {})},
            start_new_session=True,
        )
    except (OSError, ValueError) as fault:
        reading.close()
        reason = fault.strerror if isinstance(fault, OSError) else str(fault)
        return Ended(127, b"", fault=f"{command[0]} cannot be run: {reason}")
    finally:
        os.close(its)
        os.close(its_input)
    timed_out = False
    try:
        try:
            async with asyncio.timeout(limit_s):
                await process.wait()
        except TimeoutError:
            timed_out = True
        finally:
            if process.returncode is None:  # the limit, or whoever waited has gone
                await _end_group(process)
        try:
            async with asyncio.timeout(LEFT_BEHIND_S):
                await reading.done.wait()
        except TimeoutError:
            # Something that it left behind holds its output open.
            _signal_group(process.pid, signal.SIGKILL)
    finally:
        reading.close()
    return Ended(process.returncode if process.returncode is not None else -9, bytes(reading.kept), timed_out)


class _Reading(asyncio.Protocol):
    """What comes out of a pipe, up to the limit."""

    def __init__(self) -> None:
        self.kept = bytearray()
        self.done = asyncio.Event()
        self.transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.kept += data[: OUTPUT_BYTES_MAX - len(self.kept)]

    def connection_lost(self, fault: Exception | None) -> None:
        self.done.set()

    def close(self) -> None:
        if self.transport is not None:
            self.transport.close()


async def _reader(pipe: int) -> _Reading:
    _, reading = await asyncio.get_running_loop().connect_read_pipe(_Reading, os.fdopen(pipe, "rb", 0))
    return reading


def _held(given: bytes) -> int:
    """An open file in memory with these bytes: the command may read them or not, nothing waits for it."""
    held = os.memfd_create("boxwork-given", os.MFD_CLOEXEC)
    os.write(held, given)
    os.lseek(held, 0, os.SEEK_SET)
    return held


async def _end_group(process: asyncio.subprocess.Process) -> None:
    """Ask, then make: its leader is not yet waited for, so the number is still the group's."""
    _signal_group(process.pid, signal.SIGTERM)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(GRACE_S):
            await process.wait()
    _signal_group(process.pid, signal.SIGKILL)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(GRACE_S):
            await process.wait()


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
