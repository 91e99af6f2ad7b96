"""Every case of the matrix ends as it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from boxwork.derive.fingerprint import Fingerprinter
from boxwork.errors import Undeclared
from tests.derive.honesty.cases import CASES, CLASSIC, Case
from tests.derive.honesty.stage import Stage

INPUTS = [case for case in CLASSIC if case.then]  # what the inputs decide is the deriver's business, see test_inputs


@pytest.mark.parametrize("case", [case for case in CASES if case not in INPUTS], ids=lambda case: case.id)
def test_the_case_ends_as_it_says(case: Case, tmp_path: Path) -> None:
    stage = Stage(case, tmp_path)
    if case.verdict == "refused":
        with pytest.raises(Undeclared) as refusal:
            stage.keys(Fingerprinter())
        assert case.says in refusal.value.message
        assert "@derivation(" in refusal.value.message
        return
    before, after = stage.keys(Fingerprinter())
    assert (case.verdict == "same") is (before == after)


@pytest.mark.parametrize("case", [case for case in CASES if case.after], ids=lambda case: case.id)
def test_going_back_gives_the_old_fingerprint(case: Case, tmp_path: Path) -> None:
    if case.verdict == "refused":
        return
    first, _ = Stage(case, tmp_path).keys(Fingerprinter())
    (tmp_path / "again").mkdir()
    again = Stage(case, tmp_path / "again")
    second, _ = again.keys(Fingerprinter())
    assert first[0] == second[0]


def test_there_are_fifteen_classic_cases_and_many_more() -> None:
    assert len(CLASSIC) == 15
    assert len(CASES) >= 15 + 25
    assert len({case.title for case in CASES}) == len(CASES)
