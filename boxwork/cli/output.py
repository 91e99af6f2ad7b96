"""What the command line prints: for people by rich, for scripts one JSON value on standard output.

Results go to standard output, everything said on the way (progress, hints, errors) to standard error, so that a
pipe carries results only.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from boxwork.clock import SECOND_NS, monotonic_ns
from boxwork.errors import BoxworkError

# The pace of a long command is that of the last twenty seconds, from marks half a second apart: what is known already
# goes fast, and what comes then should show soon.  Unit: ns.
MARK_NS, PACE_NS = SECOND_NS // 2, 20 * SECOND_NS
# Where nobody sees a bar, a log does not fill with one.  Unit: ns.
SAY_NS = 30 * SECOND_NS


class Output:
    """`as_json` turns every answer into JSON; without it answers are text and tables."""

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json
        self.out = Console(file=sys.stdout, highlight=False, soft_wrap=True)
        self.err = Console(file=sys.stderr, highlight=False, soft_wrap=True)

    def answer(self, value: Any, text: str | None = None) -> None:
        """The result of a command: `value` for scripts, `text` (default: the value itself) for people."""
        if self.as_json:
            sys.stdout.write(json.dumps(value, default=str, ensure_ascii=False) + "\n")
        else:
            self.out.print(escape(str(value) if text is None else text))

    def flush(self) -> None:
        """What was answered so far reaches a pipe now."""
        sys.stdout.flush()

    def table(self, columns: Sequence[str], rows: Iterable[Mapping[str, Any]], empty: str = "nothing") -> None:
        """Rows by column; one JSON object a line for scripts, so that a long table can be read as it comes."""
        if self.as_json:
            for row in rows:
                sys.stdout.write(json.dumps(dict(row), default=str, ensure_ascii=False) + "\n")
            return
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in columns:
            table.add_column(column.replace("_", " "), overflow="fold")
        for row in rows:
            table.add_row(*(escape(str(row.get(column, ""))) for column in columns))
        if table.row_count:
            self.out.print(table)
        else:
            self.say(empty)

    def say(self, text: str) -> None:
        """A remark on the way; scripts do not see it."""
        if not self.as_json:
            self.err.print(escape(text))

    def fail(self, error: BoxworkError) -> None:
        if self.as_json:
            sys.stdout.write(json.dumps(error.as_json(), default=str, ensure_ascii=False) + "\n")
        else:
            self.err.print(f"[bold red]error[/] {escape(error.message)} [dim]({error.code})[/]")

    @contextlib.contextmanager
    def progress(self, what: str) -> Iterator[Bar]:
        """A bar on a terminal with how fast it goes and how long it will; elsewhere a line every half minute."""
        if self.as_json or not self.err.is_terminal:
            yield Bar(None, lambda text: self.say(f"{what}: {text}"))
            return
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[pace]}"),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[note]}"),
        )
        with Progress(*columns, console=self.err, transient=True) as progress:
            progress.add_task(what, total=None, note="", pace="")
            yield Bar(progress, self.say)


class Bar:
    """How far one long command is.  Without a terminal, `say` hears of it now and then."""

    def __init__(
        self, progress: Progress | None, say: Callable[[str], None], now_ns: Callable[[], int] = monotonic_ns
    ) -> None:
        self._progress = progress
        self._say = say
        self._now_ns = now_ns
        # (when, how many were done), the oldest within the window first
        self._marks: deque[tuple[int, int]] = deque([(now_ns(), 0)])
        self._said_ns = now_ns()
        self._pace = ""

    def at(self, done: int, total: int | None = None, *, note: str = "") -> None:
        """`done` of `total` (None: nobody knows) are through."""
        now_ns = self._now_ns()
        if now_ns - self._marks[-1][0] >= MARK_NS:
            self._marks.append((now_ns, done))
            while len(self._marks) > 2 and now_ns - self._marks[1][0] >= PACE_NS:
                self._marks.popleft()
            self._pace = pace(done - self._marks[0][1], now_ns - self._marks[0][0], None if not total else total - done)
        if self._progress is not None:
            self._progress.update(self._progress.task_ids[0], completed=done, total=total, note=note, pace=self._pace)
        elif now_ns - self._said_ns >= SAY_NS:
            self._said_ns = now_ns
            of = f"{done:,}" if total is None else f"{done:,} of {total:,}"
            self._say(", ".join(filter(None, (of, self._pace, note))))


def pace(done: int, spent_ns: int, left: int | None) -> str:
    """How fast it goes and how long the rest will take: "85/s, 17 min left"."""
    rate = done * SECOND_NS / max(1, spent_ns)
    text = f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.1f}/s"
    if left is None or left < 0 or not done:
        return text
    seconds = left / rate
    if seconds < 60:
        return f"{text}, {seconds:.0f} s left"
    return f"{text}, {seconds / 60:.0f} min left" if seconds < 7200 else f"{text}, {seconds / 3600:.1f} h left"


def human_bytes(count: float) -> str:
    """A size for people: 1,234 -> 1.2 KiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
