"""The line that a bench prints, and how it compares."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench import _report
from bench.__main__ import benches, for_people

ROOT = Path(__file__).resolve().parents[2]


def test_a_line_has_every_key_and_where_it_was_measured(capsys: pytest.CaptureFixture[str]) -> None:
    _report.report(name="memo.hit", value=4.123456, unit="us", peer="joblib", peer_value=88, rounds=7)
    line = json.loads(capsys.readouterr().out)
    assert ["name", "value", "unit", "peer", "peer_value", "ratio", "rounds", "machine", "commit"] == list(line)
    assert (4.123, 88, 21.34, 7) == (line["value"], line["peer_value"], line["ratio"], line["rounds"])
    assert "Python 3." in line["machine"]


@pytest.mark.parametrize(
    ("value", "unit", "peer_value", "ratio"),
    [
        (2.0, "us", 10.0, 5.0),
        (10.0, "s", 2.0, 0.2),
        (100.0, "puts/s", 20.0, 5.0),
        (3.0, "blobs", 6.0, None),
        (0.0, "us", 6.0, None),
        (3.0, "us", 0, None),
        (3.0, "us", None, None),
    ],
)
def test_above_one_we_are_better(value: float, unit: str, peer_value: float | None, ratio: float | None) -> None:
    assert ratio == _report.ratio(value, unit, peer_value)


def test_nothing_is_kept_unless_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(_report, "HISTORY", tmp_path / "history.jsonl")
    monkeypatch.delenv(_report.RECORD_VARIABLE, raising=False)
    _report.report(name="a", value=1, unit="s")
    assert [] == list(tmp_path.iterdir())
    monkeypatch.setenv(_report.RECORD_VARIABLE, "1")
    _report.report(name="a", value=1, unit="s")
    _report.report(name="b", value=2, unit="s")
    rows = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text("utf-8").splitlines()]
    assert ["a", "b"] == [row["name"] for row in rows]
    assert all(len("2024-02-29") == len(row["day"]) for row in rows)


def test_contestants_take_turns_and_the_first_round_does_not_count() -> None:
    order: list[str] = []
    times = _report.interleaved({"ours": lambda: order.append("ours"), "peer": lambda: order.append("peer")}, rounds=3)
    assert ["ours", "peer"] * 4 == order
    assert {"ours", "peer"} == set(times)
    assert all(value > 0 for value in times.values())


def test_the_slope_is_the_exponent_of_growth() -> None:
    assert 1.0 == pytest.approx(_report.slope(3.0, 30.0))
    assert 0.0 == pytest.approx(_report.slope(3.0, 3.0))


def test_a_quantile_is_one_of_the_values() -> None:
    values = [float(value) for value in range(100)]
    assert (50.0, 99.0, 99.0) == tuple(_report.quantile(values, part) for part in (0.5, 0.99, 1.0))


def test_a_row_for_people_is_made_of_a_line_and_other_text_is_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    _report.report(name="memo.hit", value=4.0, unit="us", peer="joblib", peer_value=88)
    row = for_people(capsys.readouterr().out)
    assert all(word in row for word in ("memo.hit", "4 us", "22x", "joblib 88 us"))
    assert "filling…" == for_people("filling…\n")


def test_every_bench_asks_a_question() -> None:
    assert [] == [name for name, question in benches().items() if not question.endswith("?")]


def test_every_bench_reports_the_same_way() -> None:
    silent = [
        name
        for name in benches()
        if not any(
            isinstance(node, ast.ImportFrom) and (node.module or "").endswith("_report")
            for node in ast.walk(ast.parse((ROOT / "bench" / f"{name}.py").read_text("utf-8")))
        )
    ]
    assert [] == silent, "a result is printed with `from _report import report`"


def test_a_bench_that_does_not_exist_is_refused_with_those_that_do() -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "bench", "no_such"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert 2 == answer.returncode
    assert "there is no bench no_such; there are:" in answer.stderr
