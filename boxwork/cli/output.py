"""What the command line prints: for people by rich, for scripts one JSON value on standard output.

Results go to standard output, everything said on the way (progress, hints, errors) to standard error, so that a
pipe carries results only.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from boxwork.errors import BoxworkError


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
        """A bar on a terminal; elsewhere the same calls show nothing."""
        if self.as_json or not self.err.is_terminal:
            yield Bar(None)
            return
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[note]}"),
        )
        with Progress(*columns, console=self.err, transient=True) as progress:
            progress.add_task(what, total=None, note="")
            yield Bar(progress)


class Bar:
    """How far one long command is."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress

    def at(self, done: int, total: int | None = None, *, note: str = "") -> None:
        """`done` of `total` (None: nobody knows) are through."""
        if self._progress is not None:
            self._progress.update(self._progress.task_ids[0], completed=done, total=total, note=note)


def human_bytes(count: float) -> str:
    """A size for people: 1,234 -> 1.2 KiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
