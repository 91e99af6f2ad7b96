"""The command line, as a person types it and as a script reads it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

BOXWORK = Path(sys.executable).parent / "boxwork"
PLAN = '[[model]]\nkind = "tree"\n[[model]]\nkind = "naive_bayes"\n'

# Each worker imports scikit-learn, which takes longer than what is trained here.
ONE_WORKER = ("--set", "derive.processes=1")

Run = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def boxwork(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """`boxwork compare …` in a folder of its own; how it ended, and what it said."""
    folder = tmp_path_factory.mktemp("commands")
    (folder / "plan.toml").write_text("resamples = 100\n" + PLAN, "utf-8")
    (folder / "deeper.toml").write_text(
        "resamples = 100\n" + PLAN.replace('"tree"', '"tree"\nname = "tree"\nparams = {max_depth = 3}', 1)
    )

    def run(*words: str) -> tuple[int, str]:
        done = subprocess.run(
            [BOXWORK, "compare", *words, *ONE_WORKER], cwd=folder, capture_output=True, encoding="utf-8", timeout=100
        )
        return done.returncode, " ".join((done.stdout + done.stderr).split()) if "--json" not in words else done.stdout

    assert (0, "b.csv: boxwork compare run b.csv --target cancelled") == run("sample", "b.csv", "--rows", "1500")
    return run


@pytest.fixture(scope="module")
def first(boxwork: Run) -> str:
    code, told = boxwork("run", "b.csv", "--target", "cancelled", "--plan", "plan.toml")
    assert 0 == code, told
    return told


def data(boxwork: Run, *words: str) -> Any:
    code, told = boxwork(*words, "--json")
    assert 0 == code, told
    return json.loads(told)


def test_a_run_tells_the_report_the_alarm_and_the_leaderboard(first: str) -> None:
    assert "b run 1 1,518 rows in, " in first
    assert "repeated an earlier row, cell by cell" in first
    assert "! The column refund alone predicts cancelled" in first
    assert 'drop = ["refund"] under [clean]' in first
    assert "dummy" in first
    assert "computed 12: clean, split, alarms, train tree, train naive_bayes, train dummy" in first


def test_one_changed_parameter_reruns_one_training_and_says_so(boxwork: Run, first: str) -> None:
    run = data(boxwork, "run", "b.csv", "--target", "cancelled", "--plan", "deeper.toml", "--name", "b")
    assert ["train tree"] == [what for what in run["computed"] if what.startswith("train")]
    assert (2, 12) == (run["number"], len(run["computed"]) + len(run["remembered"]))


def test_what_was_compared_is_listed_and_shown(boxwork: Run, first: str) -> None:
    (code, told), shown = boxwork("list"), data(boxwork, "show", "b", "--number", "1")
    assert 0 == code
    assert "refund" in told
    assert {"tree", "naive_bayes", "dummy"} == {row["name"] for row in shown["board"]["rows"]}
    code, told = boxwork("show", "b", "--number", "1", "--columns")
    assert (0, True) == (code, "the same value in every row" in told)


def test_a_column_left_out_takes_its_alarm_with_it_and_a_comparison_is_forgotten(boxwork: Run, first: str) -> None:
    words = ("--target", "cancelled", "--plan", "plan.toml", "--drop", "refund", "--name", "honest")
    run = data(boxwork, "run", "b.csv", *words)
    assert [] == [alarm for alarm in run["board"]["alarms"]["alarms"] if alarm["level"] != "note"]
    assert max(row["score"]["macro_f1"] for row in run["board"]["rows"]) < 0.9
    assert (0, "honest: 1 runs are forgotten") == boxwork("forget", "honest")
    code, told = boxwork("show", "honest")
    assert (1, True) == (code, "there is no comparison 'honest'" in told)


def test_wrong_rows_are_listed(boxwork: Run, first: str) -> None:
    code, told = boxwork("wrong", "b", "dummy", "--limit", "3")
    assert 0 == code
    assert "more: --limit 0" in told
    code, told = boxwork("wrong", "b", "oak")
    assert (1, True) == (code, "b has no model 'oak'; it has tree, naive_bayes, dummy" in told)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run", "no.csv", "--target", "y"), "the table no.csv cannot be read: No such file"),
        (("run", "b.csv"), "say what is predicted: --target COLUMN"),
        (("run", "b.csv", "--target", "cancelled", "--plan", "no.toml"), "the plan no.toml cannot be read"),
        (("sample", "b.csv"), "b.csv cannot be written: File exists"),
        (("sample", "c.csv", "--rows", "3"), "a sample has 1,000 to 10,000,000 rows, not 3"),
    ],
)
def test_what_cannot_be_done_is_told(boxwork: Run, words: tuple[str, ...], said: str) -> None:
    code, told = boxwork(*words)
    assert (1, True) == (code, said in told), told
