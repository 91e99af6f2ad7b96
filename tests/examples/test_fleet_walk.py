"""The walks of docs/fleet-hosts.md run: real server, real agents, three network namespaces, a real image."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DEBS = Path(os.environ.get("BOXWORK_TEST_DEBS", ROOT / ".cache" / "debs"))


def walked(name: str, number: int) -> str:
    """What a walk prints, once it has ended well; its port and addresses meet those of no other walk here."""
    ours = ["--port", str(18_900 + number), "--second", str(100 + number)]
    done = subprocess.run(
        [sys.executable, ROOT / "examples/fleet" / name, *ours],
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
    )
    assert 0 == done.returncode, done.stdout + done.stderr
    return done.stdout


@pytest.mark.servers  # root: it makes network namespaces
@pytest.mark.timeout(400)
def test_three_hosts_leave_a_bad_version_by_themselves() -> None:
    said = walked("three_hosts.py", os.getpid() % 70)
    assert "version 1 runs everywhere" in said
    assert "nobody was drained" in said
    assert "ever saw version 3; the rollout stopped there" in said
    assert "web1, cut off from the network, went back to version 1 by hand" in said


@pytest.mark.servers  # root: network namespaces, owners, and mmdebstrap with real packages
@pytest.mark.timeout(600)
@pytest.mark.skipif(shutil.which("mmdebstrap") is None, reason="needs Debian's mmdebstrap")
@pytest.mark.skipif(not (DEBS / "Packages").exists(), reason=f"needs real packages in {DEBS}: .ci/run fetches them")
def test_three_hosts_run_an_image_and_follow_it() -> None:
    said = walked("image_hosts.py", 70 + os.getpid() % 30)
    assert "version 1 runs everywhere, inside the image" in said
    assert "version 2 runs everywhere" in said
    assert "nobody was drained" in said
    assert "every host was drained once for it; the reason that the fleet gives: images/web: greeter 1.0 → 1.1" in said
    assert "ever saw version 4; the rollout stopped there" in said
    assert "web1, cut off from the network, went back to version 2 by hand" in said
