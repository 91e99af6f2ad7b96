"""What does a remembered call cost, and a new one, and one with 1 MiB of bytes, beside joblib.Memory and diskcache?

All three decorate the same function in the same run, in turns; medians of single calls.  "Size" is how many outputs
are remembered already: a hit among ten times as many should cost the same.  What we do and the peers do not: the key
follows helpers, constants and files; one flight per key, also between processes; a record that explains the output.

    python bench/memo.py [--rounds 15] [--small 2000]
"""

from __future__ import annotations

import argparse
import gc
import itertools
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diskcache
import joblib
from _report import report, slope

from boxwork import database
from boxwork.box import derivation
from boxwork.clock import SystemClock
from boxwork.content import content as content_module
from boxwork.content.content import Content
from boxwork.derive import deriver as deriver_module
from boxwork.derive import fingerprint
from boxwork.derive.deriver import Deriver
from boxwork.derive.fingerprint import Fingerprinter
from boxwork.pulse import Pulse
from boxwork.settings import MiB, merge

Calls = dict[str, Callable[[Any], object]]


def add(number: int, more: int = 2) -> int:
    return number + more


def length(data: bytes) -> int:
    return len(data)


def open_deriver(root: Path) -> Deriver:
    settings = merge([*database.SETTINGS, *content_module.SETTINGS, *deriver_module.SETTINGS], environment={})
    clock, pulse = SystemClock(), Pulse()
    content = Content(
        root,
        settings,
        clock,
        pulse,
        durable_tables=deriver_module.DURABLE_TABLES,
        cache_tables=(*deriver_module.CACHE_TABLES, fingerprint.TABLE),
    )
    return Deriver(content, Fingerprinter(persist=content.cache_db), clock, pulse, settings)


def one_by_one(calls: Calls, arguments: Callable[[], Any], *, rounds: int, each: int) -> dict[str, float]:
    """Median microseconds of a single call; in each round everybody has `each` calls in turn."""
    times: dict[str, list[int]] = {name: [] for name in calls}
    order = list(calls.items())
    for turn in range(rounds + 1):
        order.append(order.pop(0))
        for name, call in order:
            given = [arguments() for _ in range(each)]
            gc.collect()
            for argument in given:
                started = time.perf_counter_ns()
                call(argument)
                duration = time.perf_counter_ns() - started
                if turn:  # the first round fills caches
                    times[name].append(duration)
    return {name: statistics.median(rows) / 1000 for name, rows in times.items()}


def tell(name: str, medians: dict[str, float], **more: Any) -> None:
    ours = medians["boxwork"]
    for peer in ("diskcache", "joblib"):
        report(name=name, value=ours, unit="us", peer=peer, peer_value=medians[peer], **more)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--small", type=int, default=2000, help="outputs remembered at the smaller size")
    options, _ = parser.parse_known_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        deriver = open_deriver(root / "boxwork")
        memory = joblib.Memory(root / "joblib", verbose=0)
        cache = diskcache.Cache(root / "diskcache")
        add_box, length_box = derivation(add), derivation(length)
        kept, kept_length = cache.memoize()(add), cache.memoize()(length)
        jobs, jobs_length = memory.cache(add), memory.cache(length)
        number = itertools.count(1)
        calls: Calls = {
            "boxwork": lambda n: deriver.call(add_box, {"number": n}),
            "diskcache": lambda n: kept(n),
            "joblib": lambda n: jobs(n),
        }
        hit: dict[int, float] = {}
        cold: dict[int, float] = {}
        for size in (options.small, options.small * 10):
            while next(number) < size:  # joblib makes a folder for each: it is filled less, to its advantage
                n = next(number)
                calls["boxwork"](n)
                calls["diskcache"](n)
                if n % 10 == 0:
                    calls["joblib"](n)
            for call in calls.values():
                call(0)
            medians = one_by_one(calls, lambda: 0, rounds=options.rounds, each=200)
            tell("memo.hit", medians, size=size)
            hit[size] = medians["boxwork"]
            medians = one_by_one(calls, lambda: next(number), rounds=options.rounds, each=100)
            tell("memo.cold", medians, size=size)
            cold[size] = medians["boxwork"]
        for name, found in (("hit", hit), ("cold", cold)):
            report(name=f"memo.{name}.slope", value=slope(*found.values()), unit="exponent")
        data = bytes(MiB)
        big: Calls = {
            "boxwork": lambda given: deriver.call(length_box, {"data": given}),
            "diskcache": lambda given: kept_length(given),
            "joblib": lambda given: jobs_length(given),
        }
        for argument, size in ((data[: MiB // 10], "0.1 MiB"), (data, "1 MiB")):
            for call in big.values():
                call(argument)
            tell(
                "memo.hit.bytes",
                one_by_one(big, lambda argument=argument: argument, rounds=options.rounds, each=10),
                size=size,
            )
        deriver.close()
        deriver.content.close()
        cache.close()


if __name__ == "__main__":
    main()
