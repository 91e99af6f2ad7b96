"""The command group, and the page of documentation: both as a person would use them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from boxwork.errors import BadInput, LogCorrupt
from boxwork.state import counters, pipeline, recovery
from boxwork.state.commands import commands, transactions_of
from boxwork.state.engine import Engine
from boxwork.testing.workloads import like, like_by_reading

PAGE = Path(__file__).resolve().parents[2] / "docs" / "state.md"


@pytest.fixture
def said(tmp_path: Path, open_engine: Callable[..., Engine]) -> tuple[list[tuple[Any, str]], Any, str]:
    engine = open_engine("state")
    engine.commit(like, 1)
    _, receipt = engine.commit(like_by_reading, 1, receipt=True)
    answers: list[tuple[Any, str]] = []
    return answers, commands(lambda value, text: answers.append((value, text)), lambda: tmp_path), str(receipt)


def test_a_log_is_verified_while_its_owner_runs(said: Any, tmp_path: Path) -> None:
    answers, app, receipt = said
    (tmp_path / "receipts").write_text(receipt + "\n")
    app(
        ["verify", "--boxes", "boxwork.testing.workloads", "--receipts", str(tmp_path / "receipts")],
        result_action="return_value",
    )
    value, text = answers.pop()
    assert (True, 2, 2, 1) == (value["sound"], value["commits"], value["replayed"], value["receipts"])
    assert "sound" in text


def test_a_receipt_is_explained(said: Any) -> None:
    answers, app, receipt = said
    app(["explain", receipt, "--boxes", "boxwork.testing.workloads"], result_action="return_value")
    value, text = answers.pop()
    assert "like_by_reading" == value["transaction"]
    assert "wrote ('likes', 1) = 2" in text


def test_a_false_receipt_and_a_wrong_module_are_named(said: Any, tmp_path: Path) -> None:
    _, app, receipt = said
    other = "0" if receipt[-1] != "0" else "1"  # another digest, whatever this one ends with
    (tmp_path / "receipts").write_text(f"{receipt[:-1]}{other}\n")
    with pytest.raises(LogCorrupt):
        app(["verify", "--receipts", str(tmp_path / "receipts")], result_action="return_value")
    with pytest.raises(BadInput, match="can be imported"):
        transactions_of(["no.such.module"])
    with pytest.raises(BadInput, match="no @transaction"):
        transactions_of(["boxwork.state.order"])


def test_every_example_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = PAGE.read_text("utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    scope: dict[str, Any] = {"__name__": "page"}
    code = "\n".join(blocks)
    exec(compile(code, "state.md", "exec"), scope)
    with scope["boxwork"].open("data") as work:
        assert work.engine.facts.version > 5


def test_counters_have_a_lane_each() -> None:
    numbers = counters.Counters().numbers()
    assert list(counters.LANES) == list(numbers["lanes"])  # type: ignore[call-overload]
    assert callable(recovery.recover)
    assert pipeline.HOT_MAX > pipeline.HOT_SAMPLE
