"""A digest does not depend on what happens to be loaded."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.derive.honesty import history
from tests.derive.honesty.cases import IMPORTS, Case

# Unit: seconds; an interpreter and some twenty children, a hundred times what is usual.
HISTORY_S_MAX = 100

LOADING = [case for case in IMPORTS if case.loads]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What each history says of each case."""
    found = {}
    for one in history.HISTORIES:
        command = [sys.executable, "-W", "ignore", history.__file__, one, str(tmp_path_factory.mktemp(one))]
        done = subprocess.run(command, capture_output=True, text=True, timeout=HISTORY_S_MAX, check=False)
        assert done.returncode == 0, done.stderr
        found[one] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("case", LOADING, ids=lambda case: case.id)
def test_the_digest_is_the_same_before_and_after_the_run_and_with_every_history(case: Case, told: Any) -> None:
    digests = {one: (rows[case.title]["before"], rows[case.title]["after"]) for one, rows in told.items()}
    expected = digests["nothing"][0]
    assert dict.fromkeys(history.HISTORIES, (expected, expected)) == digests


@pytest.mark.parametrize("case", LOADING, ids=lambda case: case.id)
def test_what_a_run_loaded_is_looked_at_once(case: Case, told: Any) -> None:
    assert all(rows[case.title]["settled"] for rows in told.values())


@pytest.mark.parametrize("case", LOADING, ids=lambda case: case.id)
def test_asking_for_a_digest_imports_no_library(case: Case, told: Any) -> None:
    if "imported above" in case.title:
        return  # a part of a package that is loaded already is imported
    ours = {name.partition("/")[0] for name in case.before}
    assert [] == [one for one in told["nothing"][case.title]["imported"] if one.partition(".")[0] not in ours]
