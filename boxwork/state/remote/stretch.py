"""A stretch: calls that came together and can run one after another, as one job or as few.

Runs of one transaction are handed in as such, if they are long; a mixture as a medley.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from operator import is_not
from typing import Any, TypeAlias

from boxwork.errors import BoxworkError
from boxwork.state.bulk import RUN_MIN
from boxwork.state.engine import Engine
from boxwork.state.job import Job
from boxwork.state.remote.catalogue import Used
from boxwork.state.remote.guest import Guest, Place
from boxwork.state.values import all_plain

Options: TypeAlias = "tuple[str, str, str] | None"


# A call: its transaction, its row, and who waits for it.
Waiting: TypeAlias = "tuple[Used, tuple[Any, ...], Place]"


class Stretch:
    """calls    in their order: all of one transaction, or of some that mix
    options  once, who and lane of its only call
    """

    __slots__ = ("_options", "calls")

    def __init__(self, options: Options) -> None:
        self._options = options
        self.calls: list[Waiting] = []

    def jobs(
        self,
        engine: Engine,
        rows_max: int,
        fail: Callable[[Guest, int, BaseException], None],
        *,
        is_plain: bool = False,
    ) -> Iterator[tuple[Job, list[Place]]]:
        """Jobs of at most so many rows each, and who waits for each row.  `fail` is told of what is none.

        is_plain  it is known that all rows are (`boxwork.state.values.all_plain`)
        """
        used, rows, places = (list(column) for column in zip(*self.calls, strict=True))
        runs = 1 + sum(map(is_not, used, used[1:]))
        if runs > 1 and len(rows) < runs * RUN_MIN and (is_plain or all_plain(rows)):
            for first in range(0, len(rows), rows_max):
                part = slice(first, first + rows_max)
                calls = [(one.call, row) for one, row in zip(used[part], rows[part], strict=True)]
                yield engine.medley([one.box for one in used[part]], calls), places[part]
            return
        once, who, lane = self._options or ("", "", "")
        ends = [at for at, (one, other) in enumerate(pairwise(used), 1) if one is not other]
        for start, end in pairwise((0, *ends, len(rows))):
            box: Any = used[start].box
            for first in range(start, end, rows_max):
                stop = min(first + rows_max, end)
                waiting = places[first:stop]
                try:
                    job = engine.job(box, rows[first:stop], lane, many=True, once=once, who=who)
                except BoxworkError as error:
                    for guest, number in waiting:
                        fail(guest, number, error)
                    continue
                yield job, waiting
