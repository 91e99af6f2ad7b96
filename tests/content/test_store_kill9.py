"""`kill -9` while ingesting and deriving: nothing acknowledged is lost, nothing is wrong.

The same rounds as bench/kill9.py, which runs 200 of them.
"""

import importlib.util
import sys
from pathlib import Path


def test_twenty_kills_lose_nothing_that_was_acknowledged(tmp_path, monkeypatch):
    source = Path(__file__).parents[2] / "bench" / "kill9.py"
    spec = importlib.util.spec_from_file_location("bench_kill9", source)
    kill9 = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, kill9)
    spec.loader.exec_module(kill9)
    acknowledged, lost, wrong = kill9.run(tmp_path, rounds=20)
    assert (lost, wrong) == (0, 0)
    assert acknowledged > 100
