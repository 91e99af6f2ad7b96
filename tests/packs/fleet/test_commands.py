"""The command line of overrides, keys and partial rollouts, as a person types it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BOXWORK = Path(sys.executable).parent / "boxwork"


@pytest.fixture
def boxwork(stage: Any) -> Any:
    """`boxwork fleet …` on the stage's data directory; what it said, and how it ended."""
    stage.roll_out(stage.publish().number)
    stage.close()

    def run(*words: str) -> tuple[int, str]:
        command = [BOXWORK, "--data", str(stage.root / "data"), "--set", f"fleet.source=csv:{stage.sheet}", "fleet"]
        done = subprocess.run([*command, *words], capture_output=True, text=True, timeout=60)
        return done.returncode, " ".join((done.stdout + done.stderr).split())

    yield run
    stage.open()


def test_an_override_is_set_shown_and_taken_back(boxwork: Any) -> None:
    assert (0, "version 2 has it: web1: workers 9: more memory") == boxwork(
        "set", "web1", "workers=9", "--reason", "more memory", "--author", "bob"
    )
    code, told = boxwork("show", "web1")
    assert (0, True) == (code, "override for web1: workers=9 by bob, " in told and told.count("more memory") == 1)
    code, told = boxwork("set", "web1", "workers=99", "--reason", "too many")
    assert code != 0
    assert "a whole number from 1 to 64, please" in told
    assert 0 == boxwork("rollout", "start", "2", "--only", "web1")[0]
    code, told = boxwork("rollout", "start", "2")
    assert code != 0
    assert "rollout 2 is not over and has 1 of these 1 hosts (web1)" in told
    assert (0, "version 3 has it: web1: workers as the source says: it is in the sheet") == boxwork(
        "unset", "web1", "workers", "--reason", "it is in the sheet"
    )


def test_a_key_is_made_and_not_retired_before_its_time(boxwork: Any) -> None:
    _, old = boxwork("key")
    code, told = boxwork("keys", "new", "--reason", "the yearly change")
    new = told.split()[0]
    assert (0, 64, True) == (code, len(new), old != new)
    assert (0, new) == boxwork("key")
    code, told = boxwork("keys", "retire", old[:8], "--reason", "x")
    assert code != 0
    assert "3 hosts have not said that they know the other key (web0, web1, web2)" in told
    assert (0, f"{old} is retired") == boxwork("keys", "retire", old[:8], "--reason", "x", "--anyway")
    code, told = boxwork("keys")
    assert (0, True) == (code, old[:16] in told and new[:16] in told and "retired" in told)
