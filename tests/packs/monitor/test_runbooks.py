"""A real little service dies, its runbook starts it again, and the incident ends; or it does not help, and says so."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import boxwork
from tests.packs.monitor.services import free_port, until

START = """#!/bin/sh
echo "starting for $BOXWORK_CHECK, which is $BOXWORK_STATE: $BOXWORK_OUTPUT"
{python} -m http.server {port} --bind 127.0.0.1 >/dev/null 2>&1 &
echo $! > {note}
until {python} -c "import socket; socket.create_connection(('127.0.0.1', {port}), 1)" 2>/dev/null; do sleep 0.05; done
"""
BOOK = """
[defaults]
every_s = 0.5
attempts = 2
retry_s = 0.1
[tickets]
gather_s = 0
calm_s = 0.3
[checks.web]
http = "http://127.0.0.1:{port}/"
runbook = "start"
[runbooks.start]
command = [{command}]
wait_s = 0
tries = 2
times_an_hour = 3
timeout_s = 30
"""


class Place:
    def __init__(self, root: Path) -> None:
        self.root, self.port = root, free_port()
        self.note = root / "pid"
        self.script = root / "start"
        self.script.write_text(START.format(python=sys.executable, port=self.port, note=self.note), "utf-8")
        self.script.chmod(0o755)
        self.book = root / "monitor.toml"
        self.write(f'"{self.script}"')
        self.work = boxwork.open(
            root / "data", settings={"monitor.book": str(self.book), "monitor.book_poll_s": 0.1}
        )  # fmt: skip
        self.monitor: Any = self.work.part("monitor")

    def write(self, command: str) -> None:
        half = self.root / "half"
        half.write_text(BOOK.format(port=self.port, command=command), "utf-8")
        half.replace(self.book)

    def incident(self, number: int, state: str) -> Any:
        return until(
            lambda: (found := self.monitor.mirror.incidents.get(number)) is not None
            and found.state == state
            and found
        )  # fmt: skip

    def kill(self) -> None:
        if self.note.exists():
            os.kill(int(self.note.read_text("utf-8")), signal.SIGKILL)
            self.note.unlink()

    def close(self) -> None:
        self.work.close()
        self.kill()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    try:
        yield made
    finally:
        made.close()


def test_a_service_that_died_is_started_again_and_the_incident_ends(place: Place) -> None:
    place.monitor.start()
    found = place.incident(1, "resolved")
    (run,) = found.runs
    assert ("start", "helped", 0, "start ended with 0; the check is well") == (
        run.runbook, run.outcome, run.code, run.text,
    )  # fmt: skip
    output = place.work.get(run.output).decode()
    assert output.startswith("starting for web, which is critical: ")
    told = [one.what for one in found.entries]
    assert ("opened", "resolved") == (told[0], told[-1])
    assert {"critical", "runbook", "runbook helped", "well"} <= set(told)
    place.kill()  # it dies once more: the same incident, and a second run
    until(lambda: place.monitor.mirror.incident(1).reopened == 1)
    found = place.incident(1, "resolved")
    assert ["helped", "helped"] == [one.outcome for one in found.runs]
    assert 1 == place.monitor.mirror.last


def test_a_runbook_that_does_not_help_stops_after_its_tries_and_says_so(place: Place) -> None:
    place.write('"/bin/sh", "-c", "echo cannot; exit 7"')
    place.monitor.start()
    found = until(
        lambda: (one := place.monitor.mirror.incidents.get(1)) is not None
        and "runbook given up" in [entry.what for entry in one.entries]
        and one
    )  # fmt: skip
    assert [("failed", 7), ("failed", 7)] == [(run.outcome, run.code) for run in found.runs]
    assert b"cannot\n" == place.work.get(found.runs[0].output)
    seen = place.monitor.roster.entries["web"].revision
    until(lambda: place.monitor.roster.entries["web"].revision > seen + 3)
    assert 2 == len(place.monitor.mirror.incident(1).runs)
    assert {"web": "it has run 2 times and did not help"} == place.monitor.rounds.runbooks.held
    assert "open" == place.monitor.mirror.incident(1).state


def test_a_runbook_that_hangs_is_stopped_and_one_that_is_acknowledged_does_not_run(place: Place) -> None:
    place.write('"/bin/sleep", "60"')
    place.book.write_text(place.book.read_text("utf-8").replace("timeout_s = 30", "timeout_s = 0.3"), "utf-8")
    place.monitor.start()
    until(lambda: (one := place.monitor.mirror.incidents.get(1)) is not None and one.runs)
    place.monitor.acknowledge(1, who="ada", note="")
    run = until(lambda: (one := place.monitor.mirror.incident(1).runs[0]).outcome != "running" and one)
    assert ("failed", True) == (run.outcome, "did not end within 0.3 s and was stopped" in run.text)
    seen = place.monitor.roster.entries["web"].revision
    until(lambda: place.monitor.roster.entries["web"].revision > seen + 3)
    assert 1 == len(place.monitor.mirror.incident(1).runs)


def test_it_runs_no_more_often_than_it_may_within_an_hour(place: Place) -> None:
    text = place.book.read_text("utf-8").replace("times_an_hour = 3", "times_an_hour = 1")
    place.book.write_text(text.replace(json.dumps(str(place.script)), '"/bin/false"'), "utf-8")
    place.monitor.start()
    until(lambda: place.monitor.rounds.runbooks.held)
    assert {"web": "it has run 1 times within an hour"} == place.monitor.rounds.runbooks.held
    assert 1 == len(place.monitor.mirror.incident(1).runs)
