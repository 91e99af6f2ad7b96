"""The ten minutes of docs/fleet.md are run as they stand there."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[3] / "docs" / "fleet.md"


@pytest.mark.timeout(300)
def test_the_walk_of_the_page_works(tmp_path: Path) -> None:
    walk = PAGE.read_text("utf-8").split("<!-- walk -->")[1].split("<!-- end -->")[0]
    commands = "\n".join(re.findall(r"```sh\n(.*?)```", walk, re.DOTALL))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        commands = commands.replace("8080", str(probe.getsockname()[1]))
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    with (tmp_path / "said").open("wb") as said:
        process = subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", commands],
            cwd=tmp_path, env=environment, stdout=said, stderr=said, start_new_session=True,
        )  # fmt: skip
        try:
            code = process.wait(240)
        except subprocess.TimeoutExpired:
            code = -1
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # the server and the agents that the page left running
            process.wait()
    told = (tmp_path / "said").read_text("utf-8", "replace")
    assert 0 == code, told
    assert "web1: workers 4 → 16" in told
    mistake = "line 3 (web2), column workers: 'lots' is not allowed: a whole number from 1 to 64, please"
    assert mistake in " ".join(told.split())
    assert "hunter2" not in told
    served = [path for path in (tmp_path / "data").rglob("*") if path.is_file()]
    assert not [path for path in served if b"hunter2" in path.read_bytes()]
