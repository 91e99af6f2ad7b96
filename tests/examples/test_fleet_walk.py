"""The walk of docs/fleet-hosts.md runs: real server, real agents, three network namespaces."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.servers  # root: it makes network namespaces
@pytest.mark.timeout(400)
def test_three_hosts_leave_a_bad_version_by_themselves() -> None:
    # Ports and addresses of its own, by the process, so that two walks on one machine do not meet.
    number = os.getpid() % 100
    ours = ["--port", str(18_900 + number), "--second", str(100 + number)]
    done = subprocess.run(
        [sys.executable, ROOT / "examples/fleet/three_hosts.py", *ours],
        capture_output=True,
        text=True,
        timeout=380,
        check=False,
    )
    assert 0 == done.returncode, done.stdout + done.stderr
    assert "version 1 runs everywhere" in done.stdout
    assert "nobody was drained" in done.stdout
    assert "ever saw version 3; the rollout stopped there" in done.stdout
    assert "web1, cut off from the network, went back to version 1 by hand" in done.stdout
