"""A monitor over a real node: a book in a file, a clock that a test turns, and results that a test says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import boxwork
from boxwork.packs.monitor import decisions
from boxwork.packs.monitor.incident import Incident
from boxwork.packs.monitor.outcome import WORDS, Outcome
from boxwork.testing.clock import FakeClock

SECOND_NS = 1_000_000_000


class Stage:
    """Rounds without a thread: `say` is what a look found, and the incidents are settled at once."""

    def __init__(self, root: Path, book: str) -> None:
        self.root = root
        self.book = root / "monitor.toml"
        self.book.write_text(book, "utf-8")
        self.clock = FakeClock()
        self.open()

    def open(self) -> None:
        settings = {"monitor.book": str(self.book)}
        self.work = boxwork.open(self.root / "data", settings=settings, clock=self.clock)
        self.monitor: Any = self.work.part("monitor")
        self.rounds = self.monitor.rounds
        self.work.commit(decisions.begin, "e")
        self.rounds.recall()

    def close(self) -> None:
        self.work.close()

    def reopen(self) -> None:
        self.close()
        self.open()

    def say(self, **words: str) -> None:
        """One result a check (`web_1` is web-1), a second after what was before."""
        self.wait(1)
        for name, word in words.items():
            outcome = Outcome(WORDS.index(word), f"it is {word}", self.clock.now_ns())
            called = name.replace("_", "-")
            assert self.monitor.roster.heard(called, outcome) is not None, called
            self.rounds._results.append((called, outcome))
        self.rounds.settle()

    def wait(self, seconds: float) -> None:
        self.clock.advance(int(seconds * SECOND_NS))
        self.rounds.settle()

    def write(self, book: str) -> None:
        self.book.write_text(book, "utf-8")
        if self.rounds._read_book():
            self.rounds._take(self.rounds.book, self.monitor.mirror)

    @property
    def open_ones(self) -> list[Incident]:
        return [one for one in self.monitor.mirror.going() if not one.is_over]

    def incident(self, number: int) -> Incident:
        found: Incident = self.monitor.mirror.incident(number)
        return found

    @property
    def notices(self) -> list[str]:
        """What is to be told, as `opened 1`."""
        return [
            f"{one.what} {one.incident}" for one in sorted(self.monitor.mirror.waiting(), key=lambda one: one.at_ns)
        ]


@pytest.fixture
def make_stage(tmp_path: Path) -> Iterator[Callable[[str], Stage]]:
    made: list[Stage] = []

    def make(book: str) -> Stage:
        made.append(Stage(tmp_path, book))
        return made[-1]

    yield make
    for one in made:
        one.close()
