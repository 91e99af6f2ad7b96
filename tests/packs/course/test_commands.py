"""The command line of courses, as a person and as a script types it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from boxwork.cli import program
from boxwork.testing.served import served
from tests.packs.course.conftest import NAME, Stage

BOXWORK = Path(sys.executable).parent / "boxwork"


@pytest.fixture
def boxwork(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """`boxwork course …` on the stage's data directory, in this process; how it ended, and what it said."""

    def run(*words: str) -> tuple[int, str]:
        code = program.run(["--data", str(tmp_path / "data"), "course", *words])
        shown = capsys.readouterr()
        return code, shown.out + shown.err

    return run


@pytest.fixture
def beside(tmp_path: Path) -> Any:
    """The same in a process of its own, which does not own the facts."""

    def run(*words: str) -> tuple[int, str]:
        command = [BOXWORK, "--data", str(tmp_path / "data"), "course", *words]
        done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=60)
        return done.returncode, done.stdout + done.stderr

    return run


def test_a_course_is_written_checked_published_edited_and_put_back(boxwork: Any, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    assert (0, f"22 files are in {folder}: begin with course.md\n") == boxwork("sample", str(folder))
    code, told = boxwork("check", str(folder), "--json")
    assert (0, {"course": NAME, "days": 5, "sessions": 14, "pages": 2, "materials": 5}) == (code, json.loads(told))
    code, told = boxwork("publish", str(folder), "--reason", "the first")
    assert (0, True) == (code, "19 of 19 pages were built\n" in told)
    venue = folder / "pages" / "venue.md"
    venue.write_text(venue.read_text("utf-8").replace("level", "even"), "utf-8")
    code, told = boxwork("publish", str(folder), "--reason", "a word", "--json")
    first = json.loads(told)
    assert (0, ["page/venue"], 2) == (code, first["rebuilt"], first["version"])
    code, told = boxwork("versions", NAME, "--json")
    rows = [json.loads(line) for line in told.splitlines()]
    assert [(2, "a word"), (1, "the first")] == [(row["number"], row["why"]) for row in rows]
    code, told = boxwork("restore", NAME, rows[1]["tree"][:16], "--json")
    assert (0, 3, []) == (code, json.loads(told)["version"], json.loads(told)["rebuilt"])
    venue.write_text("no head", "utf-8")
    code, told = boxwork("check", str(folder))
    assert code != 0
    assert "pages/venue.md: it has no head" in told


def test_a_check_knows_the_limit_of_this_place(boxwork: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    boxwork("sample", str(tmp_path / "mine"))
    monkeypatch.setenv("BOXWORK_COURSE_MATERIAL_BYTES_MAX", "100")
    code, told = boxwork("check", str(tmp_path / "mine"))
    assert code != 0
    assert "course.material_bytes_max" in told.replace("\n", "")


def test_people_are_listed_and_cancelled_beside_a_running_server(boxwork: Any, beside: Any, stage: Stage) -> None:
    stage.register("ada")
    stage.register("bob", wishes="tea")
    with served(stage.work):  # this process owns the facts; the commands hand in theirs
        code, told = beside("participants", NAME, "--json")
        rows = [json.loads(line) for line in told.splitlines()]
        assert [("ada", "enrolled", ""), ("bob", "enrolled", "tea")] == [
            (row["name"], row["state"], row["needs"]) for row in rows
        ]
        assert not any("token" in row for row in rows)
        assert (0, True) == (beside("cancel", NAME, "1")[0], stage.states() == ["cancelled", "enrolled"])
        assert (0, f"registration of {NAME} is closed\n") == boxwork("close", NAME)
        assert stage.office.overview(NAME).closed
        assert 0 == boxwork("open", NAME)[0]
        code, told = boxwork("list", "--json")
        assert {"course": NAME, "seats": 60, "taken": 1, "waiting": 0, "registration": "open"}.items() <= json.loads(
            told
        ).items()
        code, told = boxwork("participants", NAME, "--csv")
        assert "2,enrolled,,bob,bob@example.org,tea," in told
        code, told = boxwork("letters", NAME, "--address", "https://course.example.org", "--json")
        letters = [json.loads(line) for line in told.splitlines()]
        assert ["Your registration is cancelled", "You have a seat", "You have a seat"] == [
            one["subject"] for one in letters
        ]
        assert "Dear bob,\n\nYou are registered for" in letters[1]["text"]
        assert f"https://course.example.org/course/{NAME}/me/" in letters[1]["text"]
        assert "forgotten" == letters[0]["to"]
    code, told = boxwork("cancel", NAME, "9")
    assert code != 0
    assert "nobody has the number 9" in told
