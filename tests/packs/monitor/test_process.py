"""Commands as real processes: their end reaches everything they started, and nothing waits for ever."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from boxwork.packs.monitor import process


def run(*command: str, limit_s: float = 10, given: bytes = b"") -> process.Ended:
    return asyncio.run(process.run(command, limit_s, given=given, environment={"WHO": "ada"}))


def is_alive(number: int) -> bool:
    """Does it run; a zombie does not."""
    try:
        return Path(f"/proc/{number}/stat").read_text("utf-8").rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(number: int) -> bool:
    until = time.monotonic() + 5
    while is_alive(number) and time.monotonic() < until:
        time.sleep(0.01)
    return not is_alive(number)


def test_what_it_says_and_how_it_ends() -> None:
    ended = run("/bin/sh", "-c", "echo $WHO; echo oops >&2; exit 3")
    assert (3, b"ada\noops\n", False) == (ended.code, ended.output, ended.timed_out)
    assert b"hello" == run("/bin/cat", given=b"hello").output
    assert -9 == run("/bin/sh", "-c", "kill -9 $$").code


def test_a_word_is_no_shell() -> None:
    assert b"$WHO; exit 3\n" == run("/bin/echo", "$WHO; exit 3").output


def test_what_is_not_there_is_told() -> None:
    assert "no/such cannot be run: No such file or directory" == run("no/such").fault


def test_at_the_limit_the_whole_group_is_ended(tmp_path: Path) -> None:
    note = tmp_path / "child"
    began = time.monotonic()
    ended = run(
        "/bin/sh",
        "-c",
        f"(trap '' TERM; echo $$ >/dev/null; sleep 60 & echo $! > {note}; wait) & sleep 60",
        limit_s=0.5,
    )
    assert ended.timed_out
    assert time.monotonic() - began < 5
    assert gone(int(note.read_text("utf-8")))


def test_what_it_leaves_behind_with_its_output_open_is_ended_too(tmp_path: Path) -> None:
    note = tmp_path / "child"
    began = time.monotonic()
    ended = run("/bin/sh", "-c", f"sleep 60 & echo $! > {note}; echo done")
    assert (0, b"done\n") == (ended.code, ended.output)
    assert time.monotonic() - began < 5
    assert gone(int(note.read_text("utf-8")))


def test_endless_output_is_cut_and_does_not_fill_the_memory() -> None:
    ended = run("/bin/sh", "-c", "yes | head -c 3000000; exit 1")
    assert (1, process.OUTPUT_BYTES_MAX) == (ended.code, len(ended.output))


def test_whoever_leaves_takes_it_along(tmp_path: Path) -> None:
    note = tmp_path / "self"

    async def leave() -> None:
        task = asyncio.ensure_future(process.run(["/bin/sh", "-c", f"echo $$ > {note}; exec sleep 60"], 60))
        while not (note.exists() and note.read_text("utf-8")):
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(leave())
    assert gone(int(note.read_text("utf-8")))
