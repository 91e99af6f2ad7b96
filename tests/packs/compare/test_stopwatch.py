"""Times are left by the box and taken once by who asked; what nobody takes goes."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from boxwork.packs.compare import stopwatch


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path / f"boxwork-compare-{os.getuid()}"


def test_times_are_taken_once(folder: Path) -> None:
    stopwatch.tell("run", {"fit": 5, "predict": 7}, ["ConvergenceWarning: " + "x" * 1000])
    assert 0o700 == folder.stat().st_mode & 0o777
    found = stopwatch.take("run")
    assert found is not None
    assert (5, 7, 300) == (found["fit"], found["predict"], len(found["said"][0]))
    assert None is stopwatch.take("run")


def test_what_is_no_file_of_times_is_not_believed(folder: Path) -> None:
    folder.mkdir()
    (folder / "long").write_text("1" * 100_000, "utf-8")
    (folder / "list").write_text("[1]", "utf-8")
    (folder / "torn").write_text('{"fit": ', "utf-8")
    assert [None, None, None] == [stopwatch.take(name) for name in ("long", "list", "torn")]


def test_times_that_nobody_took_go_after_a_day(folder: Path) -> None:
    for run in ("old", "young", "mine"):
        stopwatch.tell(run, {"fit": 1}, [])
    os.utime(folder / "old", (0, 0))
    stopwatch.take("mine")
    assert ["young"] == [path.name for path in folder.iterdir()]


def test_a_folder_that_cannot_be_written_loses_times_and_nothing_else(folder: Path) -> None:
    folder.write_text("a file stands in the way", "utf-8")
    stopwatch.tell("run", {"fit": 1}, [])
    assert None is stopwatch.take("run")


def test_laps_follow_each_other() -> None:
    watch = stopwatch.Stopwatch()
    watch.lap("fit")
    watch.lap("predict")
    assert ["fit", "predict"] == list(watch.laps)
    assert all(lap >= 0 for lap in watch.laps.values())
