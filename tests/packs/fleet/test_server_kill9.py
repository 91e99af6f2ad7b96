"""`kill -9` of the server while it moves a fleet: what was acknowledged stays, and the rollout goes on by itself."""

from __future__ import annotations

import json
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError

import pytest

from boxwork.packs.fleet import protocol

HOSTS = 12
KILLS = 6

SERVER = """
import pathlib
import sys
import boxwork
from boxwork.packs.fleet.plan import Plan
from boxwork.serve.http import asgi
from boxwork.serve.server import Server, bind
root, port = sys.argv[1], int(sys.argv[2])
settings = {"fleet.source": f"csv:{root}/hosts.csv", "fleet.source_poll_s": 3600}
with boxwork.open(f"{root}/data", settings=settings) as work:
    fleet = work.part("fleet")
    for number in (1, 2):
        if fleet.mirror.latest < number:
            fleet.publish(pathlib.Path(f"{root}/v{number}"), author="ada", reason="x")
        if fleet.mirror.last_rollout < number and not fleet.mirror.going():
            fleet.start(number, Plan(first=0.1, growth=1.5, bake_s=0.05), who="ada", why="x")
    Server(asgi(work), bind("127.0.0.1", port, 1), work.settings).run(lambda url: print(url, flush=True))
"""


class Hosts(threading.Thread):
    """Twelve hosts that do what they are told, and remember the highest position that was acknowledged."""

    def __init__(self, base: str) -> None:
        super().__init__(daemon=True)
        self.base, self.over = base, threading.Event()
        self.acknowledged: dict[str, int] = {}
        self.digests: dict[str, str] = {}
        self.faults: list[str] = []

    def run(self) -> None:
        while not self.over.wait(0.01):
            for number in range(HOSTS):
                try:
                    self.step(f"web{number}")
                except (URLError, OSError, ValueError):  # the server is dead just now
                    time.sleep(0.02)

    def step(self, host: str) -> None:
        address = f"{self.base}/fleet/hosts/{host}"
        try:
            with urllib.request.urlopen(f"{address}?digest={self.digests.get(host, '')}", timeout=5) as reply:
                signed = protocol.read_signed(reply.read())
        except HTTPError as fault:
            if fault.code not in (304, 404):
                self.faults.append(f"{host}: {fault.code} {fault.read()!r}")
            return
        desired = protocol.read_document(signed)
        if desired.position < self.acknowledged.get(host, 0):
            self.faults.append(f"{host} went from position {self.acknowledged[host]} back to {desired.position}")
        said = protocol.Report(host=host, position=desired.position, release=desired.release, state="applied")
        body = json.dumps({"host": host, "position": said.position, "release": said.release, "state": "applied"})
        request = urllib.request.Request(f"{address}/reports", body.encode(), {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=5) as reply:
            reply.read()
        self.acknowledged[host] = desired.position
        self.digests[host] = signed.digest


def launch(root: Path, port: int) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", SERVER, str(root), str(port)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("http://")
    return process


def end_of(process: subprocess.Popen[str], how: signal.Signals) -> None:
    process.send_signal(how)
    process.wait(30)
    assert process.stdout is not None
    process.stdout.close()


def asked(base: str, path: str) -> Any:
    with urllib.request.urlopen(base + path, timeout=10) as reply:
        return json.load(reply)


@pytest.mark.timeout(240)
def test_a_server_that_is_killed_again_and_again_still_moves_its_fleet(tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / f"v{number}").mkdir()
        (tmp_path / f"v{number}" / "release.toml").write_text("")
        (tmp_path / f"v{number}" / "motd").write_text(f"version {number}\n")
    (tmp_path / "hosts.csv").write_text("host\n" + "".join(f"web{number}\n" for number in range(HOSTS)))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    base = f"http://127.0.0.1:{port}"
    chance = random.Random(7)
    hosts = Hosts(base)
    hosts.start()
    before: dict[str, int] = {}
    for _ in range(KILLS):
        process = launch(tmp_path, port)
        # What hosts were told that the server knows, it still knows.
        for host, position in before.items():
            assert position <= asked(base, f"/fleet/about/{host}")["status"]["report"]["position"]
        time.sleep(chance.uniform(0.05, 0.6))  # at any moment: that is what is tested
        before = dict(hosts.acknowledged)
        end_of(process, signal.SIGKILL)
    process = launch(tmp_path, port)
    try:
        end = time.monotonic() + 60
        while asked(base, "/fleet/state")["rollout"]["state"] == "running" and time.monotonic() < end:
            time.sleep(0.1)
        if asked(base, "/fleet/state")["rollout"]["to"] == 1:  # the first one has just ended: begin the second
            end_of(process, signal.SIGTERM)
            process = launch(tmp_path, port)
        while asked(base, "/fleet/state")["present"] != 2 or asked(base, "/fleet/state")["rollout"]["state"] != "done":
            assert time.monotonic() < end, asked(base, "/fleet/state")
            time.sleep(0.1)
        rows = asked(base, "/fleet/hosts.json")["rows"]
        assert {(2, 2, "well")} == {(shall, is_, word) for _, shall, is_, word, _, _ in rows}
        assert [] == hosts.faults
    finally:
        hosts.over.set()
        end_of(process, signal.SIGTERM)
