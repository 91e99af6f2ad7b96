"""One JSON line for each measured thing, and the few ways in which we measure.

A bench is run as a script, `python bench/memo.py`, or by `python -m bench memo`, and says

    report(name="memo.hit", value=4.1, unit="us", peer="joblib", peer_value=88.0)

Absolute times of one machine mean little, so a peer runs beside us, in turns, in the same run, and the medians count.
"""

from __future__ import annotations

import functools
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
HISTORY = FOLDER / "history.jsonl"
# Set by `python -m bench --record`; a single bench can also be called with the flag.
RECORD_VARIABLE = "BOXWORK_BENCH_RECORD"

DURATIONS = {"ns", "us", "ms", "s"}


def report(
    *, name: str, value: float, unit: str, peer: str = "", peer_value: float | None = None, **more: Any
) -> dict[str, Any]:
    """Print one result, and keep it when recording.

    `unit` is `ns`, `us`, `ms` or `s` (less is better), something `/s` (more is better), or a thing that is counted.
    `ratio` is how many times better than the peer we are, for durations and rates; below 1 the peer is.  Other keys
    of the line come from `more`.
    """
    line: dict[str, Any] = {
        "name": name,
        "value": rounded(value),
        "unit": unit,
        "peer": peer,
        "peer_value": None if peer_value is None or not peer else rounded(peer_value),
        "ratio": ratio(value, unit, peer_value if peer else None),
        **more,
        "machine": machine(),
        "commit": commit(),
    }
    text = json.dumps(line, ensure_ascii=False)
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
    if os.environ.get(RECORD_VARIABLE) or "--record" in sys.argv:
        day = time.strftime("%Y-%m-%d", time.gmtime())
        with HISTORY.open("a", encoding="utf-8") as history:
            history.write(json.dumps({"day": day, **line}, ensure_ascii=False) + "\n")
    return line


def ratio(value: float, unit: str, peer_value: float | None) -> float | None:
    """How many times better than the peer; None where better has no meaning, or one of the two is nothing."""
    if not peer_value or not value:
        return None
    if unit in DURATIONS:
        return rounded(peer_value / value)
    if unit.endswith("/s"):
        return rounded(value / peer_value)
    return None


def rounded(value: float) -> float:
    """Four significant digits: more of them are noise."""
    if isinstance(value, int) or not value:
        return value
    return float(f"{value:.4g}")


# --- measuring


def once_ns(function: Callable[[], Any], calls: int = 1) -> float:
    """Nanoseconds of one call, over `calls` of them in a row."""
    begin = time.perf_counter_ns()
    for _ in range(calls):
        function()
    return (time.perf_counter_ns() - begin) / calls


def interleaved(contestants: Mapping[str, Callable[[], Any]], *, rounds: int = 7, calls: int = 1) -> dict[str, float]:
    """Median nanoseconds of a call for each contestant.

    In each round everybody has a turn, so that a neighbour's noise falls on all alike; the first round, in which
    caches fill, is not counted.
    """
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(rounds + 1):
        for name, function in contestants.items():
            duration_ns = once_ns(function, calls)
            if turn:
                times[name].append(duration_ns)
    return {name: statistics.median(rows) for name, rows in times.items()}


def slope(small: float, large: float, times: float = 10.0) -> float:
    """The exponent of growth between two sizes: 1 is linear, 0 is constant."""
    import math

    return math.log(large / small) / math.log(times)


def quantile(values: list[float], part: float) -> float:
    """The value below which `part` of them lie, taken from the values themselves."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


# --- where and what


@functools.cache
def machine() -> str:
    """Processor, cores, memory, system and Python; nothing that names the host.

    Whether it is the system's own Python is said because a distribution builds it optimised (profile-guided), which
    `pyenv install` by itself does not: transactions take 1.06 to 1.17 times as long there (docs/state.md).
    """
    model = platform.machine()
    memory_gib = 0
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                model = " ".join(line.split(":", 1)[1].split())
                break
        memory_gib = round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3)
    except (OSError, ValueError):
        pass  # a machine that does not say: the rest still tells two apart
    cores = len(os.sched_getaffinity(0))
    return f"{cores}x {model}, {memory_gib} GiB, {platform.system()} {platform.release().split('-')[0]}, " + (
        f"Python {platform.python_version()}{' of the system' if sys.base_prefix == '/usr' else ''}"
    )


@functools.cache
def commit() -> str:
    """The short commit, with a + when the working tree differs from it."""
    try:
        head = _git("rev-parse", "--short=10", "HEAD")
        return head + ("+" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=FOLDER, capture_output=True, text=True, check=True).stdout.strip()
