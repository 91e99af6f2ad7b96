"""`boxwork monitor …`: what scripts get, with and without a server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import boxwork
from boxwork.cli.program import run
from boxwork.testing.served import served
from tests.packs.monitor.services import until

BOOK = """
[defaults]
every_s = 0.5
attempts = 1
[tickets]
gather_s = 0
calm_s = 0
[checks.web]
tcp = "127.0.0.1:1"
[checks.queue]
plugin = ["/bin/sh", "-c", "echo 'QUEUE WARNING - 12 | waiting=12;10;20'; exit 1"]
"""


@pytest.fixture
def book(tmp_path: Path) -> Path:
    path = tmp_path / "monitor.toml"
    path.write_text(BOOK, "utf-8")
    return path


def call(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, Any]:
    code = run([*words, "--json"])
    out = capsys.readouterr().out.strip()
    return code, json.loads(out.splitlines()[-1]) if out else None


def test_a_book_is_checked_with_line_and_remedy(book: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (0, 2) == ((answer := call(capsys, "monitor", "check", str(book)))[0], answer[1]["checks"])
    book.write_text(BOOK + "atempts = 2\n", "utf-8")
    code, said = call(capsys, "monitor", "check", str(book))
    assert (1, "monitor.book") == (code, said["error"])
    assert f"{book}: line 12: checks.queue has no 'atempts': it has http, " in said["message"]
    assert 1 == run(["monitor", "check", str(book.parent / "nowhere.toml")])


def test_one_check_runs_once_and_its_state_is_the_exit_code(book: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = call(capsys, "monitor", "run", "queue", "--file", str(book))
    assert (1, "warning", {"waiting": "12"}) == (code, said["state"], said["figures"])
    assert 2 == call(capsys, "monitor", "run", "web", "--file", str(book))[0]
    assert 1 == run(["monitor", "run", "nobody", "--file", str(book)])
    assert "there is no check 'nobody'" in capsys.readouterr().err
    assert 1 == run(["monitor", "run", "queue", "--file", str(book)])
    assert "warning: QUEUE WARNING - 12" in capsys.readouterr().out


@pytest.mark.parametrize("beside", [True, False], ids=["beside a server", "without one"])
def test_incidents_are_seen_and_taken(
    book: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], beside: bool
) -> None:
    data = tmp_path / "data"
    with boxwork.open(data, settings={"monitor.book": str(book)}) as work:
        with served(work) as server:
            until(lambda: work.part("monitor").mirror.incidents)
            more = ["--data", str(tmp_path / "mine"), "--set", f"monitor.book={book}"]
            at = ["--server", server.url]
            if beside:
                _take(capsys, more, at)
        if beside:
            return
    _take(capsys, ["--data", str(data), "--set", f"monitor.book={book}"], [])


def _take(capsys: pytest.CaptureFixture[str], more: list[str], at: list[str]) -> None:
    code, state = call(capsys, "monitor", "status", *at, *more)
    assert (1, ["web failed"]) == (code, [one["title"] for one in state["incidents"]])
    assert "acknowledged" == call(capsys, "monitor", "ack", "1", "--who", "ada", *at, *more)[1]["state"]
    assert 0 == call(capsys, "monitor", "status", *at, *more)[0]
    assert 0 == run(["monitor", "show", "1", *at, *more])
    assert "acknowledged by ada" in capsys.readouterr().out
    window = call(capsys, "monitor", "silence", "web", "--minutes", "5", "--why", "x", *at, *more)[1]
    assert 0 == run(["monitor", "status", *at, *more])
    assert "maintenance of web until" in capsys.readouterr().out
    assert 0 == call(capsys, "monitor", "unsilence", window["id"], *at, *more)[0]
    call(capsys, "monitor", "resolve", "1", *at, *more)
    code, said = call(capsys, "monitor", "resolve", "1", *at, *more)
    assert (1, True) == (code, "incident 1 is resolved already" in said["message"])
    assert 1 == call(capsys, "monitor", "silence", "a b", "--why", "x", *at, *more)[0]
