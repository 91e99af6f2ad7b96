"""Running the commands of a host: in a group of their own, without a shell, ended at their deadline.

A hook runs in the directory of the version it is about, with these in its environment: BOXWORK_FLEET_HOST, _RELEASE,
_POSITION, _VERSION (that directory), _ROOT, _PACKAGES (one a line), _EFFECT.  It never sees the agent's secrets.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from boxwork import clock
from boxwork.packs.fleet.agent_secrets import PREFIX
from boxwork.packs.fleet.protocol import Hook

# The end of what a hook printed goes into the report.  Unit: bytes.
OUTPUT_BYTES_MAX = 600
# After SIGTERM a hook has this long to end by itself.  Unit: s.
TERM_S = 1.0
# Between two questions about a host's health.  Unit: s.
HEALTH_PAUSE_S = 0.2
# A host that is not healthy yet may hang in its answer: one question has at most this long.  Unit: s.
HEALTH_ASK_S = 10.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a hook ended: `ok`, and why not, in words."""

    ok: bool
    reason: str = ""
    timed_out: bool = False
    took_ms: float = 0.0


def run(hook: Hook, directory: Path, environment: Mapping[str, str], deadline_s: float | None = None) -> Outcome:
    """Run it to its end or its deadline.  Never raises: a command that cannot be started is one that failed."""
    limit = hook.deadline_s if deadline_s is None else min(deadline_s, hook.deadline_s)
    start = clock.monotonic_ns()
    with tempfile.TemporaryFile() as output:
        try:
            process = subprocess.Popen(
                hook.command,
                cwd=directory,
                env=_environment(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as reason:
            return Outcome(False, f"{hook.command[0]}: {reason.strerror}")
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            _end(process)
            took = (clock.monotonic_ns() - start) / clock.MILLISECOND_NS
            return Outcome(False, f"{_spell(hook)} did not end within {limit:g} s{_tail(output)}", True, took)
        except BaseException:
            _end(process)
            raise
        took = (clock.monotonic_ns() - start) / clock.MILLISECOND_NS
        if code == 0:
            return Outcome(True, "", False, took)
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"answered {code}"
        return Outcome(False, f"{_spell(hook)} {how}{_tail(output)}", False, took)


def wait_healthy(hook: Hook | None, directory: Path, environment: Mapping[str, str]) -> Outcome:
    """Ask until the answer is 0 or the deadline has passed; the last answer is the reason.

    The last question is cut off by the deadline, so what an earlier one answered says more.
    """
    if hook is None:
        return Outcome(True)
    start = clock.monotonic_ns()
    end = start + int(hook.deadline_s * clock.SECOND_NS)
    said = ""
    while True:
        left_s = (end - clock.monotonic_ns()) / clock.SECOND_NS
        outcome = run(hook, directory, environment, max(0.05, min(left_s, HEALTH_ASK_S)))
        took = (clock.monotonic_ns() - start) / clock.MILLISECOND_NS
        if outcome.ok:
            return Outcome(True, "", False, took)
        if not outcome.timed_out or not said:
            said = outcome.reason
        if clock.monotonic_ns() + int(HEALTH_PAUSE_S * clock.SECOND_NS) >= end:
            return Outcome(False, f"not healthy within {hook.deadline_s:g} s: {said}", True, took)
        time.sleep(HEALTH_PAUSE_S)


def _environment(extra: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)} | dict(extra)


def _end(process: subprocess.Popen[bytes]) -> None:
    """The whole group: a hook's children are its own."""
    for signum, patience in ((signal.SIGTERM, TERM_S), (signal.SIGKILL, None)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signum)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)
    # The leader may have ended politely and left children behind.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _spell(hook: Hook) -> str:
    return " ".join(hook.command)[:120]


def _tail(output: object) -> str:
    file: tempfile.SpooledTemporaryFile[bytes] = output  # type: ignore[assignment]
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - OUTPUT_BYTES_MAX))
    text = file.read(OUTPUT_BYTES_MAX).decode("utf-8", "replace").strip()
    return f": {text}" if text else ""
