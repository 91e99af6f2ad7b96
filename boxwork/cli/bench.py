"""`boxwork bench`: how fast is this machine, measured beside the plain way on the same disk."""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from cyclopts import App

from boxwork.app.work import Work, open
from boxwork.box import derivation
from boxwork.cli.program import Context
from boxwork.clock import monotonic_ns
from boxwork.keys import ref_of
from boxwork.settings import KiB, MiB

# Rounds of each measurement, ours and the plain way in turn: the median of seven is steady to about a tenth.
ROUNDS = 7

Measure = Callable[[int], int]


@derivation
def trivial(number: int) -> int:
    """The least a box can do, so that what is measured is everything around it."""
    return number + 1


def register(app: App, context: Context) -> None:
    """Add the command of this file."""
    output = context.output

    @app.command
    def bench() -> None:
        """Measure this machine on the disk of the data directory: keep, read, derive, remember.

        Each row is the median of seven rounds, with the plain way of doing the same in between. Nothing is left behind.
        """
        near = context.directory.parent if context.directory.parent.is_dir() else Path()
        rows = []
        with (
            tempfile.TemporaryDirectory(prefix="boxwork-bench-", dir=near) as scratch,
            open(Path(scratch) / "data") as work,
            output.progress("measuring") as bar,
        ):
            for done, row in enumerate(_rows(work, Path(scratch)), start=1):
                bar.at(done, note=row["what"])
                rows.append(row)
        output.table(["what", "boxwork", "plain", "the_plain_way"], rows)


def _rows(work: Work, scratch: Path) -> Iterator[dict[str, str]]:
    small, large = (bytes.fromhex(work.clock.token(size)) for size in (4 * KiB, 16 * MiB))
    ref, path = work.put(small), scratch / "plain"
    path.write_bytes(small)
    work.call(trivial, number=-1)

    def fresh(number: int) -> bytes:
        return number.to_bytes(8, "big") + small[8:]

    def together(number: int) -> None:
        work.content.put_many([fresh(number * 1000 + i) for i in range(100)])

    def one_by_one(number: int) -> None:
        for i in range(20):
            _write(scratch / f"m{i}", fresh(i))

    yield _row("hash 16 MiB", _each(lambda n: ref_of(large), 1), _each(lambda n: large.count(0), 1), "count a byte")
    yield _row(
        "put 4 KiB, on disk",
        _each(lambda n: work.put(fresh(n)), 20),
        _each(lambda n: _write(scratch / f"p{n}", fresh(n)), 20),
        "write, fsync, rename a file",
    )
    yield _row(
        "put 100 x 4 KiB together, each",
        _each(together, 3, per=100),
        _each(one_by_one, 1, per=20),
        "the same, file by file",
    )
    yield _row(
        "get 4 KiB", _each(lambda n: work.get(ref), 2000), _each(lambda n: path.read_bytes(), 2000), "read a file"
    )
    yield _row(
        "derive, computed", _each(lambda n: work.call(trivial, number=n), 500), _each(trivial, 500), "call the function"
    )
    yield _row(
        "derive, remembered",
        _each(lambda n: work.call(trivial, number=-1), 2000),
        _each(lambda n: trivial(-1), 2000),
        "call the function",
    )


def _each(act: Callable[[int], object], count: int, *, per: int = 1) -> Measure:
    """Nanoseconds of one `act`, which gets a number that never comes again."""

    def measure(turn: int) -> int:
        begin = monotonic_ns()
        for number in range(turn * count, (turn + 1) * count):
            act(number)
        return (monotonic_ns() - begin) // (count * per)

    return measure


def _row(what: str, ours: Measure, plain: Measure, plain_way: str) -> dict[str, str]:
    pairs = [(ours(turn), plain(turn)) for turn in range(ROUNDS)]
    first, second = (statistics.median(column) for column in zip(*pairs, strict=True))
    return {"what": what, "boxwork": _time(first), "plain": _time(second), "the_plain_way": plain_way}


def _write(path: Path, data: bytes) -> None:
    spare = path.with_suffix(".tmp")
    with spare.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    spare.replace(path)


def _time(ns: float) -> str:
    for unit, size in (("s", 1e9), ("ms", 1e6), ("us", 1e3)):
        if ns >= size:
            return f"{ns / size:.2f} {unit}"
    return f"{ns:.0f} ns"
