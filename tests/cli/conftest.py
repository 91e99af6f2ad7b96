from __future__ import annotations

import json
from pathlib import Path

import pytest

from boxwork.cli.program import run


class Terminal:
    """Runs commands on one data directory and shows what they print."""

    def __init__(self, directory: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.directory = directory
        self.capture = capture

    def __call__(self, *arguments: str, code: int = 0) -> str:
        answer = run(["--data", str(self.directory), *arguments])
        shown = self.capture.readouterr()
        assert code == answer, shown.err
        return shown.out if code == 0 else shown.err

    def forget_what_was_shown(self) -> None:
        self.capture.readouterr()

    def json(self, *arguments: str, code: int = 0) -> list[dict[str, object]]:
        answer = run(["--data", str(self.directory), "--json", *arguments])
        shown = self.capture.readouterr()
        assert code == answer, shown.err
        assert "" == shown.err
        return [json.loads(line) for line in shown.out.splitlines()]


@pytest.fixture
def boxwork(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(tmp_path / "d", capsys)
