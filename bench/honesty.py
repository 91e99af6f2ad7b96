"""How often does a memo library give a stale answer, or compute for nothing?

Fifteen things that happen between two calls, the same for every library, each in fresh processes.  `--all` runs the
whole matrix of tests/derive/honesty/cases.py (some minutes).
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench._report import report
from tests.derive.honesty.cases import CASES, CLASSIC
from tests.derive.honesty.score import score

PEERS = ("boxwork", "joblib", "diskcache")


def main() -> None:
    # A patch lasts as long as its process, so a case with one says nothing about two processes.
    cases = [case for case in CASES if not case.patch] if "--all" in sys.argv else CLASSIC
    totals = dict.fromkeys(PEERS, 0)
    stale = dict.fromkeys(PEERS, 0)
    print(f"{'':52}" + "".join(f"{peer:12}" for peer in PEERS), file=sys.stderr)
    for case in cases:
        row = []
        for peer in PEERS:
            with tempfile.TemporaryDirectory() as directory:
                row.append(score(peer, case, Path(directory)))
            totals[peer] += row[-1] == "ok"
            stale[peer] += row[-1] == "STALE"
        print(f"{case.title[:50]:52}" + "".join(f"{found:12}" for found in row), file=sys.stderr, flush=True)
    for peer in PEERS[1:]:
        report(
            name=f"honesty.ok of {len(cases)}",
            value=totals["boxwork"],
            unit="cases",
            peer=peer,
            peer_value=totals[peer],
        )
        report(
            name=f"honesty.stale of {len(cases)}",
            value=stale["boxwork"],
            unit="cases",
            peer=peer,
            peer_value=stale[peer],
        )


if __name__ == "__main__":
    main()
