"""Scores a memo library on cases of the matrix: `ok`, `STALE`, or `needless`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.derive.honesty.cases import CASES, Case

RUNNER = Path(__file__).with_name("run_case.py")
# One moment of one case: an interpreter, its imports and one call.  Unit: seconds; a hundred times what is usual.
MOMENT_S_MAX = 60


def moment(peer: str, case: Case, number: int, directory: Path) -> dict[str, Any]:
    """What the caller gets from `peer` at moment `number`."""
    environment = os.environ | case.env[number] | {"PYTHONHASHSEED": str(case.hash_seeds[number])}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(RUNNER), peer, str(CASES.index(case)), str(number), str(directory)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=MOMENT_S_MAX,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{case.title} with {peer} failed:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def score(peer: str, case: Case, directory: Path) -> str:
    """A refusal is honest: nothing wrong is answered.  The right answer is what the plain function gives."""
    moment(peer, case, 0, directory)
    got = moment(peer, case, 1, directory)
    if got["refused"]:
        return "ok" if case.verdict == "refused" else f"refused: {got['refused'][:100]}"
    wanted = moment("plain", case, 1, directory)
    if got["value"] != wanted["value"]:
        return "STALE"
    return "needless" if got["ran"] and case.verdict == "same" else "ok"
