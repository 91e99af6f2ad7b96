"""How long does a comparison of models take on a raw table of 300,000 rows: from nothing, and after one change?

    python bench/compare.py [--rows 300000]

Six models of two frameworks and the dummy, on the made-up table without its leak.  Beside us, in the same process and
one after another, the same functions as plain Python: what a script does that remembers nothing.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import msgspec

import boxwork
from bench._report import once_ns, report
from boxwork import Blob
from boxwork.packs.compare import cleaning, models, scoring, splitting
from boxwork.packs.compare.plan import DEFAULTS, Plan
from boxwork.packs.compare.sample import raw_table

S = 1e9


def plan(**changed: Any) -> Plan:
    kinds = [{"kind": kind, "name": kind, "params": changed.get(kind, {})} for kind in DEFAULTS]
    return msgspec.convert({"target": "cancelled", "clean": {"drop": ["refund"]}, "model": kinds}, Plan)


def plain(table: Path) -> None:
    """Clean, split, train, score: nothing is remembered, nothing runs beside."""
    cleaned = Blob.of(cleaning.clean(Blob.of(table.read_bytes()), "cancelled", drop=("refund",)))
    part = splitting.split(cleaned)
    for kind in (*DEFAULTS, "dummy"):
        scoring.score(cleaned, part, models.KINDS[kind].box(cleaned, part))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=300_000)
    rows = parser.parse_known_args()[0].rows
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "bookings.csv"
        table.write_bytes(raw_table(rows))
        found: dict[str, Any] = {}

        with boxwork.open(Path(folder) / "data") as work:
            comparer = work.part("compare")

            def run(name: str, **changed: Any) -> float:
                return once_ns(lambda: found.update({name: comparer.run(table, plan(**changed))})) / S

            nothing, again = run("nothing"), run("again")
            changed = run("changed", xgboost={"max_depth": 4})
        script = once_ns(lambda: plain(table)) / S
    more = {"rows": rows, "models": len(DEFAULTS) + 1}
    for name, value in (("nothing", nothing), ("again", again), ("changed", changed)):
        report(
            name=f"compare.{name}", value=value, unit="s", peer="plain script", peer_value=script,
            ran=len(found[name]["computed"]), known=len(found[name]["remembered"]), **more,
        )  # fmt: skip


if __name__ == "__main__":
    main()
