"""A store without a node: small, and the same store."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from boxwork.content.standalone import open_content, sweep
from boxwork.content.tree import checkout, commit
from boxwork.testing.clock import FakeClock

DAY_NS = 86_400 * 1_000_000_000


def test_a_tree_that_is_pinned_survives_a_sweep_with_all_it_holds(tmp_path: Path) -> None:
    (tmp_path / "site/deep").mkdir(parents=True)
    (tmp_path / "site/deep/a").write_bytes(b"a" * 100_000)
    clock = FakeClock()
    content = open_content(tmp_path / "store", clock=clock)
    try:
        tree = commit(content, tmp_path / "site")
        lost = content.put(b"nobody wants this")
        content.pin(tree.ref, "site")
        clock.advance(2 * DAY_NS)
        assert 1 == sweep(content, grace_s=86_400).deleted
        assert not content.has(lost)
        checkout(content, tree, tmp_path / "again")
        assert b"a" * 100_000 == (tmp_path / "again/deep/a").read_bytes()
    finally:
        content.close()


def test_it_needs_no_numpy_and_no_server(tmp_path: Path) -> None:
    script = (
        "import sys, boxwork; boxwork.open_content(sys.argv[1]).close();"
        "print([name for name in ('numpy', 'starlette', 'uvicorn', 'rich', 'cyclopts') if name in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "store")], capture_output=True, text=True, timeout=60, check=True
    )
    assert "[]" == found.stdout.strip()
