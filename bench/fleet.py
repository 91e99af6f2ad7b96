"""How fast does a change reach a large fleet, what does a fleet cost that only waits, and how far gets a bad version?

One served node, and 5,000 simulated hosts in a process of their own: each holds a connection with a long poll, takes
its document with the blobs of its tree when there is news, and reports with its next question.  Hosts and server share
this machine, so both their costs are in every figure; `crowd_cpu_s` is what the simulated hosts took of it.

    change    from the order (a rollout that takes all at once) until 99 of 100 hosts have applied it and their reports
              lie on the server's disk; `taken_s` until 99 of 100 have it, which a host knows before the server does
    publish   from the folder to the version: every template filled in for every host
    idle      CPU time of the server while nothing happens and each host asks every 30 s, in percent of one core
    bad       hosts that a version that fails everywhere reached before all were taken back, of the cohort
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

import psutil

import boxwork
from bench._report import report
from boxwork.packs.fleet.plan import Plan
from boxwork.serve.http import asgi
from boxwork.serve.server import Server, bind

HOSTS = int(os.environ.get("BENCH_FLEET_HOSTS", "5000"))
ROUNDS = 3
IDLE_S = 30.0
# Nobody waits longer for a fleet that does not come together.  Unit: seconds.
PATIENCE_S = 120.0
BAD = 2 + ROUNDS  # the release that every host finds unhealthy


class Crowd:
    """The simulated hosts: their process, and what they told."""

    def __init__(self, url: str) -> None:
        order = {"url": url, "hosts": HOSTS, "prefix": "web", "wait_s": 30, "ramp_s": 3, "bad": {str(BAD): "too bad"}}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "boxwork.packs.fleet.simulator", json.dumps(order)],
            stdout=subprocess.PIPE,
            text=True,
        )
        self.asked: set[str] = set()
        self.applied: dict[int, list[int]] = {}
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for line in self.process.stdout or ():
            told = json.loads(line)
            if told["event"] == "asked":
                self.asked.add(told["host"])
            elif told["event"] == "applied":
                self.applied.setdefault(told["position"], []).append(told["at_ns"])

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(10)


def cpu_s(process: int | None = None) -> float:
    return sum(psutil.Process(process).cpu_times()[:2])


def until(condition: Any, what: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > end:
            raise SystemExit(f"after {PATIENCE_S:g} s still not: {what}")
        time.sleep(0.01)


def make_release(root: Path) -> Path:
    release = root / "release"
    (release / "etc").mkdir(parents=True)
    (release / "release.toml").write_text('[columns.workers]\ntype = "integer"\n')
    (release / "etc" / "app.conf.j2").write_text("host = {{ host }}\nworkers = {{ workers }}\n")
    (release / "etc" / "motd").write_text("0\n")
    rows = "".join(f"web{number:05},{4 + number % 8}\n" for number in range(HOSTS))
    (root / "hosts.csv").write_text(f"host,workers\n{rows}")
    return release


class Change(NamedTuple):
    """All in seconds."""

    published: float
    acknowledged: float
    taken: float
    cpu: float
    crowd_cpu: float


def one_change(fleet: Any, crowd: Crowd, release: Path, number: int) -> Change:
    (release / "etc" / "motd").write_text(f"{number}\n")
    began = time.perf_counter()
    version = fleet.publish(release, author="bench", reason=f"change {number}")
    published = time.perf_counter() - began
    spent, crowd_spent = cpu_s(), cpu_s(crowd.process.pid)
    ordered, ordered_wall = time.clock_gettime_ns(time.CLOCK_MONOTONIC), time.time_ns()
    rollout = fleet.start(version.number, Plan(kind="once", bake_s=0), who="bench", why="bench")
    position = number + 1
    until(lambda: len(crowd.applied.get(position, ())) >= HOSTS, f"{HOSTS} hosts at position {position}")
    until(lambda: fleet.mirror.rollouts[rollout.number].state == "done", "the rollout is done")
    taken = sorted(crowd.applied[position])[int(HOSTS * 0.99) - 1] - ordered
    on_disk = sorted(status.at_ns for status in fleet.mirror.status.values() if status.report.position == position)
    return Change(
        published,
        (on_disk[int(HOSTS * 0.99) - 1] - ordered_wall) / 1e9,
        taken / 1e9,
        cpu_s() - spent,
        cpu_s(crowd.process.pid) - crowd_spent,
    )


def bad_version(fleet: Any, release: Path) -> tuple[int, float]:
    """How many hosts a bad version reached, and how long until all were taken back."""
    (release / "etc" / "motd").write_text("bad\n")
    version = fleet.publish(release, author="bench", reason="a bad one")
    assert version.number == BAD
    began = time.perf_counter()
    rollout = fleet.start(version.number, Plan(bake_s=5), who="bench", why="bench")
    until(lambda: fleet.mirror.rollouts[rollout.number].state == "reverted", "the rollout is reverted")
    took = time.perf_counter() - began
    return fleet.mirror.rollouts[rollout.number].moved, took


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        release = make_release(root)
        settings = {"fleet.source": f"csv:{root}/hosts.csv", "fleet.source_poll_s": 3600, "log.level": "error"}
        with boxwork.open(root / "data", settings=settings) as work:
            fleet = work.part("fleet")
            server = Server(asgi(work), bind("127.0.0.1", 0, 1), work.settings)
            url = server.start()
            fleet.publish(release, author="bench", reason="the first")
            rollout = fleet.start(1, Plan(kind="once", bake_s=0, ack_s=PATIENCE_S), who="bench", why="bench")
            until(lambda: fleet.mirror.rollouts[rollout.number].moved == HOSTS, "the first rollout has begun")
            crowd = Crowd(url)
            try:
                until(lambda: fleet.mirror.rollouts[rollout.number].state == "done", "every host is there")
                measure(fleet, crowd, release)
            finally:
                crowd.close()
                server.stop()


def measure(fleet: Any, crowd: Crowd, release: Path) -> None:
    spent = cpu_s()
    time.sleep(IDLE_S)
    idle = 100 * (cpu_s() - spent) / IDLE_S
    report(name="fleet.idle", value=idle, unit="% of a core", hosts=HOSTS, wait_s=30)
    rounds = [one_change(fleet, crowd, release, number) for number in range(1, ROUNDS + 1)]
    load = round(os.getloadavg()[0], 1)
    middle = Change(*(statistics.median(column) for column in zip(*rounds, strict=True)))
    report(name="fleet.publish", value=middle.published, unit="s", hosts=HOSTS, load=load)
    report(
        name="fleet.change", value=middle.acknowledged, unit="s", hosts=HOSTS, load=load,
        best=round(min(row.acknowledged for row in rounds), 3), taken_s=round(middle.taken, 3),
        cpu_s=round(middle.cpu, 2), crowd_cpu_s=round(middle.crowd_cpu, 2),
    )  # fmt: skip
    reached, took = bad_version(fleet, release)
    report(
        name="fleet.bad", value=100 * reached / HOSTS, unit="% of the cohort", hosts=HOSTS, reached=reached,
        reverted_after_s=round(took, 2),
    )  # fmt: skip


if __name__ == "__main__":
    main()
