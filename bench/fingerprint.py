"""What does the fingerprint of a box cost: the first call, in a large module, and every call after that?

First calls run in fresh interpreters, because everything is remembered within one.  The index of a process is what
an earlier process left in its database.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench._report import report

# Fresh interpreters for each figure.  Unit: runs; the median counts.
ROUNDS = 7

FIRST = """
import json, sys, time
sys.path.insert(0, sys.argv[1])
from boxwork.database import Database
from boxwork.derive.fingerprint import TABLE, Fingerprinter
from pathlib import Path
import m
with_index = sys.argv[2] != "-"
database = Database(Path(sys.argv[2]), [TABLE], durable=False) if with_index else None
seen = Fingerprinter(persist=database)
Fingerprinter().of(m.warm)   # imports that any box pays once in a process
start = time.perf_counter()
found = seen.of(m.box)
first = time.perf_counter() - start
start = time.perf_counter()
for _ in range(20_000):
    seen.of(m.box)
again = (time.perf_counter() - start) / 20_000
if database:
    database.close()
print(json.dumps([first * 1e3, again * 1e6, len(found.parts)]))
"""

HEAD = "from boxwork.box import derivation\n@derivation\ndef warm(x):\n    return x\n"

PLAIN = HEAD + "@derivation\ndef box(x):\n    return x * 2\n"

FIVE = (
    HEAD
    + """
import re
SIZE, NAME, WORD = 300, "x", re.compile("a+")
def scale(x):
    return x * 2
def crop(x):
    return x + 1
@derivation
def box(x):
    return scale(crop(x)) * SIZE, NAME, WORD
"""
)

TABLES = (
    HEAD
    + """
ONE = {"a": 1, "b": [1, 2, 3]}
TWO = [1.0, 2.0, 3.0]
@derivation
def box(x):
    return ONE["a"], TWO
"""
)

NUMPY = (
    HEAD
    + """
import numpy as np
import logging
log = logging.getLogger("a")
SIZE = 3
def scale(x):
    return np.asarray(x) * SIZE
@derivation
def box(x):
    log.info("run")
    return np.mean(scale(x))
"""
)


def large(lines: int) -> str:
    """A module of this many lines; the box calls ten of its functions."""
    out = [HEAD]
    for number in range(lines // 10):
        out.append(
            f"def f{number}(x, k={number}):\n    '''Doc {number}.'''\n    total = k\n    for y in range(x):\n"
            f"        if y % 2:\n            total += y * {number}\n        else:\n            total -= y\n"
            f"    return total\n\n"
        )
    calls = " + ".join(f"f{number * (lines // 100)}(x)" for number in range(10))
    return "".join(out) + f"@derivation\ndef box(x):\n    return {calls}\n"


def first(text: str, index: str, directory: Path) -> list[float]:
    (directory / "m.py").write_text(text)
    done = subprocess.run(
        [sys.executable, "-c", FIRST, str(directory), index],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).resolve().parents[1],
    )
    found: list[float] = json.loads(done.stdout)
    return found


def measured(text: str, *, index: bool) -> list[float]:
    """Medians: first call in ms, later calls in us, number of parts."""
    rows: list[Any] = []
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        kept = str(directory / "index") if index else "-"
        if index:
            first(text, kept, directory)
        rows = [first(text, kept, directory) for _ in range(ROUNDS)]
    return [statistics.median(column) for column in zip(*rows, strict=True)]


def main() -> None:
    for name, text in (("no global", PLAIN), ("5 globals", FIVE), ("2 tables", TABLES), ("numpy and a logger", NUMPY)):
        fresh, again, _ = measured(text, index=False)
        kept, _, _ = measured(text, index=True)
        report(name=f"fingerprint.first, {name}", value=fresh, unit="ms", peer="with the index", peer_value=kept)
        report(name=f"fingerprint.again, {name}", value=again, unit="us")
    for lines in (300, 3_000):
        fresh, again, _ = measured(large(lines), index=False)
        kept, _, _ = measured(large(lines), index=True)
        report(name=f"fingerprint.first, {lines} lines", value=fresh, unit="ms", peer="with the index", peer_value=kept)
        report(name=f"fingerprint.again, {lines} lines, 10 helpers", value=again, unit="us")


if __name__ == "__main__":
    main()
