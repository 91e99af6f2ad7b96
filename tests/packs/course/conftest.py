"""A course over a real node: the sample in a folder, and a clock that a test turns."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import boxwork
from boxwork.packs.course.facts import Person
from boxwork.packs.course.people import Details
from boxwork.packs.course.sampling import write_sample
from boxwork.testing.clock import FakeClock

NAME = "hashing-week"


class Stage:
    """A published course, and everything around it that a test moves."""

    def __init__(self, root: Path, **settings: object) -> None:
        self.root = root
        self.folder = root / "course"
        self.clock = FakeClock()
        write_sample(self.folder, self.clock.now_ns())
        self.settings = settings
        self.open()

    def open(self) -> None:
        self.work: Any = boxwork.open(self.root / "data", settings=self.settings, clock=self.clock)
        self.office = self.work.part("course")

    def close(self) -> None:
        self.work.close()

    def edit(self, path: str, old: str, new: str) -> None:
        """Replace a text that is there in a file of the course."""
        file = self.folder / path
        text = file.read_text("utf-8")
        assert old in text
        file.write_text(text.replace(old, new), "utf-8")

    def publish(self, why: str = "a reason") -> dict[str, Any]:
        told: dict[str, Any] = self.office.publish(self.folder, by="ada", why=why)
        return told

    def seats(self, count: int, waiting: int = 40) -> None:
        """Before publishing: as many seats."""
        self.edit("course.md", "capacity = 60", f"capacity = {count}")
        self.edit("course.md", "waiting_max = 40", f"waiting_max = {waiting}")

    def register(self, name: str, once: str = "", **details: str) -> tuple[Person, Details]:
        given = {"address": f"{name}@example.org", "wishes": "", **details}
        found: tuple[Person, Details] = self.office.register(NAME, who=name, once=once or f"form of {name}", **given)
        return found

    def states(self) -> list[str]:
        """Of everybody, in the order in which they registered."""
        from boxwork.packs.course import facts

        return [one.state for one in self.office.ask(facts.people, course=NAME)]

    @property
    def course(self) -> Any:
        return self.office.course(self.office.overview(NAME).version.tree)

    def until(self, moment: datetime.datetime) -> None:
        """The clock stands at that moment."""
        self.clock.step(int(moment.timestamp()) * 10**9 - self.clock.now_ns())


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Stage]:
    """The sample in a folder, not published yet."""
    made = Stage(tmp_path)
    yield made
    made.close()


@pytest.fixture
def stage(empty: Stage) -> Stage:
    empty.publish("the first")
    return empty
