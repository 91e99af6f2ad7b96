"""A stretch: calls that came together and can run one after another, as one job or as few.

Runs of one transaction are handed in as such, if they are long; a mixture as a medley.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, TypeAlias

from boxwork.errors import BoxworkError
from boxwork.state.bulk import RUN_MIN
from boxwork.state.engine import Engine
from boxwork.state.job import Job
from boxwork.state.remote.catalogue import Used
from boxwork.state.remote.guest import Guest, Place
from boxwork.state.values import all_plain

Options: TypeAlias = "tuple[str, str, str] | None"


class Stretch:
    """options: once, who and lane of its only call; None: it takes more calls"""

    __slots__ = ("_ends", "_last", "_options", "_places", "_rows", "_used")

    def __init__(self, used: Used, options: Options) -> None:
        self._options = options
        self._last = used
        self._used: list[Used] = []
        self._rows: list[tuple[Any, ...]] = []
        self._places: list[Place] = []
        self._ends: list[int] = []  # of the runs of one transaction, but for the last one

    def takes(self, used: Used) -> bool:
        return self._options is None and (used is self._last or (used.mixes and self._last.mixes))

    def add(self, used: Used, row: tuple[Any, ...], place: Place) -> None:
        if used is not self._last:
            self._ends.append(len(self._rows))
            self._last = used
        self._used.append(used)
        self._rows.append(row)
        self._places.append(place)

    def jobs(
        self, engine: Engine, rows_max: int, fail: Callable[[Guest, int, BaseException], None]
    ) -> Iterator[tuple[Job, list[Place]]]:
        """Jobs of at most so many rows each, and who waits for each row.  `fail` is told of what is none."""
        runs = len(self._ends) + 1
        if runs > 1 and len(self._rows) < runs * RUN_MIN and all_plain(self._rows):
            yield from self._medleys(engine, rows_max)
            return
        once, who, lane = self._options or ("", "", "")
        for start, end in pairwise((0, *self._ends, len(self._rows))):
            box: Any = self._used[start].box
            for first in range(start, end, rows_max):
                stop = min(first + rows_max, end)
                places = self._places[first:stop]
                try:
                    job = engine.job(box, self._rows[first:stop], lane, many=True, once=once, who=who)
                except BoxworkError as error:
                    for guest, number in places:
                        fail(guest, number, error)
                    continue
                yield job, places

    def _medleys(self, engine: Engine, rows_max: int) -> Iterator[tuple[Job, list[Place]]]:
        for first in range(0, len(self._rows), rows_max):
            part = slice(first, first + rows_max)
            boxes: list[Any] = [used.box for used in self._used[part]]
            calls: list[Any] = [used.call for used in self._used[part]]
            yield engine.medley(boxes, list(zip(calls, self._rows[part], strict=True))), self._places[part]
