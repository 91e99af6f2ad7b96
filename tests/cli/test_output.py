"""A long command says how far it is, how fast it goes and how long it will take."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from boxwork.cli.output import Bar, Output, pace
from boxwork.clock import SECOND_NS


@pytest.mark.parametrize(
    ("done", "seconds", "left", "text"),
    [
        (850, 10, None, "85/s"),
        (850, 10, 85_000, "85/s, 17 min left"),
        (12_000, 10, 6_000, "1,200/s, 5 s left"),
        (5, 10, 36_000, "0.5/s, 20.0 h left"),
        (0, 10, 100, "0.0/s"),
        (10, 10, -3, "1.0/s"),
    ],
)
def test_a_pace_is_a_rate_and_what_is_left(done: int, seconds: int, left: int | None, text: str) -> None:
    assert text == pace(done, seconds * SECOND_NS, left)


def test_where_nobody_sees_a_bar_a_line_is_said_every_half_minute() -> None:
    said: list[str] = []
    clock = [0]
    bar = Bar(None, said.append, lambda: clock[0])
    for second in range(1, 101):
        clock[0] = second * SECOND_NS
        bar.at(second * 100, None if second < 40 else 20_000, note="3 failed")
    assert [
        "3,000, 100/s, 3 failed",
        "6,000 of 20,000, 100/s, 2 min left, 3 failed",
        "9,000 of 20,000, 100/s, 2 min left, 3 failed",
    ] == said


def test_the_pace_is_that_of_the_last_seconds() -> None:
    said: list[str] = []
    clock = [0]
    bar = Bar(None, said.append, lambda: clock[0])
    done = 0
    for second in range(1, 211):
        clock[0] = second * SECOND_NS
        done += 1000 if second <= 120 else 10
        bar.at(done)
    assert said[0].endswith("1,000/s")
    assert said[4].endswith(" 10/s"), said


def test_a_script_hears_nothing_and_a_terminal_sees_pace_and_end() -> None:
    output = Output(as_json=True)
    output.err = Console(file=io.StringIO())
    with output.progress("taking in") as bar:
        bar.at(1)
    assert "" == output.err.file.getvalue()  # type: ignore[attr-defined]
    output = Output()
    output.err = Console(file=io.StringIO(), force_terminal=True, width=160)
    with output.progress("taking in photos") as bar:
        bar._marks[0] = (bar._marks[0][0] - 10 * SECOND_NS, 0)
        bar.at(850, 85_850, note="2 computed")
    shown = output.err.file.getvalue()  # type: ignore[attr-defined]
    for part in ("taking in photos", "850/85850", "85/s, 17 min left", "2 computed"):
        assert part in shown
