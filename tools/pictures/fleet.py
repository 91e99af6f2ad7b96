"""The fleet pages: 2,000 simulated hosts in the middle of a rollout, over a sheet that an HTTP server publishes."""

from __future__ import annotations

import http.server
import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import boxwork
from boxwork import clock
from boxwork.packs.fleet.decisions import heard, spell
from boxwork.packs.fleet.plan import Plan
from boxwork.packs.fleet.protocol import Drift, Report
from boxwork.testing.served import served
from tools.pictures.camera import camera

HOSTS = 2000
# The simulated hosts answer within seconds.  Unit: s.
PATIENCE_S = 60.0

MANIFEST = """
packages = ["nginx=1.22", "shop=4.1"]

[columns.workers]
type = "integer"
min = 1
max = 64

[[effects]]
path = "etc/*.conf"
effect = "reload"
"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def sheet(folder: Path) -> Iterator[str]:
    """The address of the table, as a spreadsheet publishes one."""
    rows = "".join(f"host-{number:05},{4 + number % 3}\n" for number in range(HOSTS))
    (folder / "hosts.csv").write_text(f"host,workers\n{rows}")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"csv:http://127.0.0.1:{server.server_port}/hosts.csv"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def crowd(url: str) -> Iterator[None]:
    order = json.dumps({"url": url, "hosts": HOSTS, "wait_s": 20.0, "slow": {"1": 31.0, "2": 34.0}})
    process = subprocess.Popen(
        [sys.executable, "-m", "boxwork.packs.fleet.simulator", order], stdout=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait(10)


def until(what: str, holds: Any) -> None:
    end = clock.monotonic_ns() + int(PATIENCE_S * 1e9)
    while not holds():
        if clock.monotonic_ns() > end:
            raise TimeoutError(f"not within {PATIENCE_S:.0f} s: {what}")
        threading.Event().wait(0.05)


def release(folder: Path, workers: str) -> Path:
    (folder / "etc").mkdir(parents=True, exist_ok=True)
    (folder / "release.toml").write_text(MANIFEST)
    (folder / "etc" / "shop.conf.j2").write_text(f"name = {{{{ host }}}}\nworkers = {workers}\nqueue = 128\n")
    (folder / "etc" / "motd").write_text("This host is told what it should be.  Changes here are drift.\n")
    return folder


def drift(work: Any, fleet: Any) -> None:
    """Two hosts tell that somebody edited a file on them."""
    for host in ("host-00430", "host-01170"):
        told = fleet.mirror.status[host].report
        changed = (Drift(path="etc/shop.conf", kind="changed"),)
        work.commit(
            heard,
            spell(Report(host=host, epoch=told.epoch, position=told.position, release=told.release, tree=told.tree,
                         digest=told.digest, state="drifted", drift=changed, drift_count=1, agent="simulated")),
        )  # fmt: skip


def live(page: Any) -> None:
    page.wait_for_selector('#line[data-state="live"]')


def shoot(eye: Any, rollout: int, version: int) -> None:
    eye.take("fleet-light", "/fleet", ready=live)
    eye.take("fleet-dark", "/fleet", "dark", ready=live)
    eye.take("fleet-phone", "/fleet", "dark", ready=live, phone=True)
    eye.take("fleet-rollout", f"/fleet/rollout/{rollout}")
    eye.take("fleet-host", "/fleet/host/host-00430", whole=True)
    eye.take("fleet-version", f"/fleet/version/{version}", whole=True)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        (place / "sheet").mkdir()
        with sheet(place / "sheet") as source:
            settings: dict[str, object] = {"fleet.source": source, "fleet.source_poll_s": 1.0}
            with boxwork.open(place / "data", settings=settings) as work, served(work) as node, crowd(node.url):
                fleet = work.part("fleet")
                first = fleet.publish(release(place / "release", "{{ workers }}"), author="ada", reason="the first one")
                before = fleet.start(first.number, Plan(kind="once", bake_s=0), who="ada", why="the first one")
                until("the first version is everywhere", lambda: fleet.mirror.rollouts[before.number].state == "done")
                why = "twice the workers: carts were slow on Sunday"
                second = fleet.publish(release(place / "release", "{{ workers * 2 }}"), author="ada", reason=why)
                plan = Plan(kind="exponential", first=0.05, bake_s=4)
                rollout = fleet.start(second.number, plan, who="ada", why=why)
                drift(work, fleet)
                until("some hosts have the second", lambda: well(fleet, second.number) >= HOSTS // 5)
                fleet.steer(rollout.number, "paused", who="ada", why="a look at the latencies first")
                with camera(node.url) as eye:
                    shoot(eye, rollout.number, second.number)


def well(fleet: Any, number: int) -> int:
    return sum(status.report.release == number for status in list(fleet.mirror.status.values()))
