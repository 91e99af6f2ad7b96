"""Run benches, one after another, each in a process of its own.

python -m bench                     all of them
python -m bench memo tree           these
python -m bench --list              what each of them asks
python -m bench --record memo       keep the lines in bench/history.jsonl
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from bench._report import RECORD_VARIABLE

FOLDER = Path(__file__).resolve().parent
# The slowest fills a million blobs first.  Unit: seconds.
BENCH_SECONDS_MAX = 3600


def benches() -> dict[str, str]:
    """Name -> the question that the file begins with."""
    found = {}
    for path in sorted(FOLDER.glob("[!_]*.py")):
        text = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
        found[path.stem] = " ".join(text.split("\n\n")[0].split()).partition("?")[0] + "?" * ("?" in text)
    return found


def lines(name: str, *, record: bool) -> Iterator[str]:
    """What a bench prints, as it prints it.  Raises `CalledProcessError` when it fails."""
    command = [sys.executable, str(FOLDER / f"{name}.py")]
    environment = {**os.environ, "PYTHONPATH": str(FOLDER.parent), **({RECORD_VARIABLE: "1"} if record else {})}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        yield from process.stdout
        if process.wait(BENCH_SECONDS_MAX):
            raise subprocess.CalledProcessError(process.returncode, command)


def for_people(text: str) -> str:
    """A result as one row of a table; anything else as it is."""
    try:
        row = json.loads(text)
        beside = f"{row['peer']} {row['peer_value']:g} {row['unit']}" if row["peer_value"] is not None else ""
        times = f"{row['ratio']:g}x" if row["ratio"] is not None else ""
        return f"  {row['name']:<44} {row['value']:>12g} {row['unit']:<6} {times:>8}  {beside}"
    except (ValueError, KeyError, TypeError):
        return text.rstrip("\n")


def main() -> int:
    there = benches()
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure Boxwork beside its peers.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(there))
    parser.add_argument("--list", action="store_true", help="what each bench asks")
    parser.add_argument("--record", action="store_true", help="keep the lines in bench/history.jsonl")
    parser.add_argument("--json", action="store_true", help="lines as they are, also on a terminal")
    options = parser.parse_args()
    if unknown := [name for name in options.names if name not in there]:
        parser.error(f"there is no bench {', '.join(unknown)}; there are: {', '.join(there)}")
    if options.list:
        for name, question in there.items():
            sys.stdout.write(f"{name:<16} {question}\n")
        return 0
    failed = []
    for name in options.names or there:
        sys.stderr.write(f"{name}: {there[name]}\n")
        try:
            for line in lines(name, record=options.record):
                plain = options.json or not sys.stdout.isatty()
                sys.stdout.write(line if plain else for_people(line) + "\n")
                sys.stdout.flush()
        except subprocess.CalledProcessError as reason:
            sys.stderr.write(f"{name} failed with {reason.returncode}\n")
            failed.append(name)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
