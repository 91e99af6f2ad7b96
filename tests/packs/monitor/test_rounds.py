"""The rounds with real time: what hangs, an edited book, a second process, a disk that is full."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import boxwork
from boxwork import errors
from boxwork.packs.monitor.book import Check
from boxwork.packs.monitor.outcome import Outcome
from boxwork.packs.monitor.rounds import Rounds
from boxwork.testing.served import served
from tests.packs.monitor.services import service, until


def book(checks: int, more: str = "") -> str:
    rows = "".join(f'[checks.c-{n}]\ntcp = "127.0.0.1:1"\n' for n in range(checks))
    return f"[defaults]\nevery_s = 0.5\nattempts = 1\n{rows}{more}"


class Place:
    def __init__(self, root: Path) -> None:
        self.root, self.path = root, root / "monitor.toml"
        self.data = root / "data"

    def write(self, text: str) -> None:
        half = self.root / "half"
        half.write_text(text, "utf-8")
        half.replace(self.path)

    def open(self) -> Any:
        settings = {"monitor.book": str(self.path), "monitor.book_poll_s": 0.05, "monitor.at_once": 16}
        self.work = boxwork.open(self.data, settings=settings)
        self.monitor = self.work.part("monitor")
        self.rounds: Rounds = self.monitor.rounds
        return self.work


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    made.open()
    with made.work:
        yield made


async def well(check: Check, clock: Any) -> Outcome:
    return Outcome(0, "fine", clock.now_ns())


def test_checks_that_hang_do_not_hold_up_others(place: Place) -> None:
    hanging = threading.Event()
    counts: Counter[str] = Counter()

    async def look(check: Check, clock: Any) -> Outcome:
        counts[check.about] += 1
        if check.about == "hangs":
            hanging.set()
            await asyncio.sleep(30)
        return await well(check, clock)

    more = "".join(f'[checks.h-{n}]\ntcp = "127.0.0.1:1"\nabout = "hangs"\n' for n in range(15))
    place.write(book(20, more))
    place.rounds.look = look
    place.monitor.start()
    until(hanging.is_set)
    until(lambda: counts[""] >= 100)
    assert counts["hangs"] <= 15
    assert place.work.pulse.series("monitor.late").p99_ms < 400


def test_a_look_that_raises_is_unknown_and_the_others_go_on(place: Place) -> None:
    async def look(check: Check, clock: Any) -> Outcome:
        if check.about:
            raise RuntimeError("a bug")
        return await well(check, clock)

    place.write(book(2, '[checks.bad]\ntcp = "127.0.0.1:1"\nabout = "x"\n'))
    place.rounds.look = look
    place.monitor.start()
    until(lambda: place.monitor.roster.entries and all(entry.last for entry in place.monitor.roster))
    entry = place.monitor.roster.entries["bad"]
    assert (3, True) == (entry.status.state, "a bug" in entry.last.text)
    until(lambda: place.monitor.mirror.incidents)


def test_a_bad_edit_is_refused_and_the_last_good_book_stays(place: Place) -> None:
    place.rounds.look = well
    place.monitor.start()
    until(lambda: place.rounds.trouble)
    assert "there is no " in place.rounds.trouble[0]
    assert not (place.data / "state").exists() or place.work.node.own_engine is None  # nobody's facts are taken
    place.write(book(3))
    until(lambda: place.rounds.running)
    place.write(book(4, "[checks.x]\ntpc = 1\n"))
    until(lambda: place.rounds.trouble)
    assert place.rounds.trouble[0].startswith("line 13: checks.x has no 'tpc': it has http, ")
    assert 3 == len(place.monitor.roster.entries)
    seen = place.monitor.roster.revision
    until(lambda: place.monitor.roster.revision > seen + 3)
    place.write(book(4))
    until(lambda: len(place.monitor.roster.entries) == 4)
    assert [] == place.rounds.trouble


def test_results_are_kept_in_order_and_as_figures_in_pulse(place: Place) -> None:
    place.write('[checks.queue]\nplugin = ["/bin/echo", "7 waiting | waiting=7c time=0.25s"]\nevery_s = 0.5\n')
    place.monitor.start()
    until(lambda: len(place.monitor.roster.history("queue", 10)) >= 3)
    history = place.monitor.roster.history("queue", 10)
    assert sorted([one.at_ns for one in history], reverse=True) == [one.at_ns for one in history]
    assert ("ok", "7 waiting", 7.0) == (history[0].word, history[0].text, history[0].figures[0].value)
    pulse = place.work.pulse
    assert 250.0 == pytest.approx(pulse.series("monitor.figure", check="queue", figure="time").p50_ms, rel=0.01)
    assert pulse.series("monitor.check", check="queue").count >= 3


def test_a_disk_that_is_full_loses_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.write(book(2))
    place.rounds.look = well
    full = threading.Event()
    full.set()
    keep = place.monitor.roster.keep

    def kept(name: str, outcome: Outcome) -> None:
        if full.is_set():
            raise errors.StorageFull("no space left")
        keep(name, outcome)

    monkeypatch.setattr(place.monitor.roster, "keep", kept)
    monkeypatch.setattr("boxwork.packs.monitor.rounds.PAUSE_S", 0.05)
    place.monitor.start()
    until(lambda: len(place.rounds._results) >= 4)
    full.clear()
    until(lambda: not place.rounds._results)
    assert len(place.monitor.roster.history("c-0", 10)) >= 2


OTHER = """
import sys, time
import boxwork
settings = {"monitor.book": sys.argv[2], "monitor.book_poll_s": 0.05}
with boxwork.open(sys.argv[1], settings=settings) as work:
    monitor = work.part("monitor")
    monitor.start()
    for line in sys.stdin:
        trouble = " ".join(monitor.rounds.trouble)[:60]
        print(f"{monitor.rounds.running} {monitor.roster.revision > 0} {trouble}", flush=True)
"""


def test_a_second_process_of_the_same_directory_waits_and_takes_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(tmp_path)
    with service() as web:
        place.write(f'[checks.web]\nhttp = "{web.url}/"\nevery_s = 0.5\n')
        with place.open():
            place.monitor.start()
            until(lambda: place.monitor.roster.revision > 1)
            with subprocess.Popen(
                [sys.executable, "-c", OTHER, str(place.data), str(place.path)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8",
            ) as other:  # fmt: skip
                try:

                    def ask() -> str:
                        assert other.stdin is not None
                        assert other.stdout is not None
                        other.stdin.write("?\n")
                        other.stdin.flush()
                        return other.stdout.readline()

                    until(lambda: "another process makes the rounds" in ask())
                    assert ask().startswith("False False")
                    place.work.close()
                    until(lambda: ask().startswith("True True"))
                finally:
                    other.stdin.close()  # type: ignore[union-attr]
                    other.wait(10)


def test_the_rounds_begin_with_the_server_and_end_with_the_node(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.write(book(2))
    with place.open(), served(place.work) as server:
        until(lambda: place.rounds.running)

        def state() -> Any:
            with urllib.request.urlopen(f"{server.url}/monitor/state", timeout=5) as reply:
                return json.load(reply)

        until(lambda: state()["counts"]["critical"] == 2)
        until(lambda: len(state()["incidents"]) == 2)
        thread = place.rounds._thread
        assert thread in threading.enumerate()
    assert thread not in threading.enumerate()
