"""The pulse pages, with made-up traffic.

Fifteen minutes of made-up traffic are written into the history of a temporary node, with a silence, a gap, a loss and
a clock step in them; then the node runs on with the same traffic while the pages are photographed in Chromium.
Nothing of this machine is in the pictures: its own figures are made up too.
"""

from __future__ import annotations

import math
import random
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import boxwork
from boxwork.clock import SECOND_NS
from boxwork.pulse import Pulse
from boxwork.testing.clock import FakeClock
from boxwork.testing.served import served
from tools.pictures.camera import camera

PAST_SECONDS = 900

WAYS = {
    ("ny4", "cme"): 8.2, ("ny4", "ld4"): 34.1, ("ny4", "fr2"): 39.2, ("ny4", "nasdaq"): 0.31, ("ld4", "ny4"): 34.3,
    ("ld4", "fr2"): 4.6, ("ld4", "cme"): 43.0, ("ld4", "lse"): 0.22, ("fr2", "ld4"): 4.7, ("fr2", "ny4"): 39.3,
    ("fr2", "eurex"): 0.12, ("fr2", "cme"): 47.0,
}  # fmt: skip
ROUTES = {("GET", "/blobs/{ref}"): (0.2, 30), ("GET", "/t/{size}/{ref}"): (0.08, 60), ("POST", "/derive/{box}"): (5, 6)}


RULES = (
    "slow path: p99(path{src=ny4,dst=ld4,probe=agent}) > 30ms over 30s for 3s clear 25ms",
    "lossy path: lost(path{src=ld4,dst=cme}) > 0 over 1m",
    "slow answers: share(feed.decode > 400us) > 10% over 1m for 10m",
    "new feed: p99(feed.decode{venue=eurex}) > 250us over 30s",
    "error budget: burn(http > 50ms, 99.9%) > 14.4 over 5m",
    "full machine: mean(machine.cpu{what=busy}) > 95% over 5m",
    "memory: min(machine.memory{what=available}) < 2GiB over 1m",
)


class Traffic:
    """What a busy node would record, one second at a time; `at` is wall time in seconds."""

    def __init__(self, pulse: Pulse) -> None:
        self.pulse = pulse
        self.random = random.Random(7)

    def second(self, at: float, *, share: float = 1.0) -> None:
        pulse, chance = self.pulse, self.random
        wave = math.sin(at / 70)
        for (method, route), (middle_ms, rate) in ROUTES.items():
            record = pulse.series("http", method=method, route=route, status="2xx").record
            for _ in range(round(rate * share)):
                slow = 9 if chance.random() < 0.06 else 1
                record(round(middle_ms * 1e6 * slow * chance.lognormvariate(0.15 * wave, 0.45)))
        decode = pulse.series("feed.decode", venue="cme").record
        for _ in range(round(220 * share)):
            if chance.random() < 0.78:
                decode(round(chance.lognormvariate(11 + 0.1 * wave, 0.36)))
            else:
                decode(round(chance.lognormvariate(13.4 + 0.5 * math.sin(at / 25), 0.2)))
        for box, middle in (("thumbnail", 16.6), ("facts", 14.2)):
            for hop, rate, factor in (("hit", 12, 0.0004), ("run", 2, 1.0)):
                record = pulse.series(f"derive.{hop}", box=box).record
                for _ in range(rate):
                    record(round(factor * chance.lognormvariate(middle, 0.4)))
        for hop, middle in (("get", 8.9), ("put", 14.8)):
            for _ in range(20):
                pulse.series(f"store.{hop}", place="disk").record(round(chance.lognormvariate(middle, 0.5)))
        for (src, dst), middle_ms in WAYS.items():
            path = pulse.series("path", src=src, dst=dst, probe="agent" if dst in ("ny4", "ld4", "fr2") else "tcp")
            for _ in range(5):
                path.record(round(middle_ms * 1e6 * chance.lognormvariate(0, 0.04)))
            if (src, dst) == ("ld4", "cme") and chance.random() < 0.1:
                path.lose(1)
        for src, dst, offset in (("ny4", "ld4", -19), ("ld4", "ny4", 88)):
            for _ in range(20):
                pulse.series("path.oneway", src=src, dst=dst).record(
                    round(1e6 * (34 + offset * 0.9 + chance.gauss(0, 9)))
                )
        self._machine(at)

    def _machine(self, at: float) -> None:
        pulse, chance = self.pulse, self.random
        busy = 0.34 + 0.2 * math.sin(at / 40) + chance.gauss(0, 0.03)
        shares = {"busy": busy, "user": busy * 0.72, "system": busy * 0.2, "iowait": 0.02, "steal": 0.0}
        for what, part in shares.items():
            pulse.series("machine.cpu", unit="ppm", what=what).record(round(1e6 * min(1, max(0, part))))
        used = (5.2 + 0.3 * math.sin(at / 200)) * 2**30
        for what, size in (("used", used), ("available", 16 * 2**30 - used)):
            pulse.series("machine.memory", unit="bytes", what=what).record(round(size))
        for of, part in (("cpu", busy * 0.3), ("memory", 0.0), ("io", 0.03)):
            level = max(0, part + chance.gauss(0, 0.01))
            pulse.series("machine.pressure", unit="ppm", of=of, who="some").record(round(1e6 * level))
        for direction, rate in (("in", 2.1e6), ("out", 7.4e6)):
            level = rate * chance.lognormvariate(0.4 * math.sin(at / 30), 0.2)
            pulse.series("machine.network", unit="bytes/s", interface="eth0", direction=direction).record(round(level))
            pulse.series("machine.network", unit="bytes/s", interface="eth1", direction=direction).record(0)
        for direction, rate in (("read", 3e5), ("write", 4e6)):
            level = rate * chance.lognormvariate(0, 0.5)
            pulse.series("machine.disk", unit="bytes/s", disk="nvme0n1", direction=direction).record(round(level))
        pulse.series("machine.disk_busy", unit="ppm", disk="nvme0n1").record(round(1e6 * chance.uniform(0.02, 0.12)))
        drops = 40 if int(at) % 97 < 3 else 0
        pulse.series("machine.udp_drops", unit="datagrams/s").record(drops)
        pulse.series("machine.load", unit="tasks/1000").record(round(1000 * (1.3 + 0.5 * wave_of(at))))


def wave_of(at: float) -> float:
    return math.sin(at / 90)


def write_past(folder: Path) -> None:
    """The past in two runs up to this moment: a gap lies between them, a clock step in the second one."""
    now = time.time_ns() // SECOND_NS * SECOND_NS
    begin = now - PAST_SECONDS * SECOND_NS
    for first, last in ((0, 250), (310, PAST_SECONDS)):
        clock = FakeClock(now_ns=begin + first * SECOND_NS)
        with Pulse(str(folder), clock=clock, threaded=False) as pulse:
            traffic, stepped = Traffic(pulse), False
            while clock.now_ns() < (begin + last * SECOND_NS if last < PAST_SECONDS else time.time_ns() - SECOND_NS):
                second = (clock.now_ns() - begin) // SECOND_NS
                if 420 <= second < 480:
                    traffic._machine(clock.now_ns() / 1e9)  # the feed is silent, the machine is not
                else:
                    traffic.second(clock.now_ns() / 1e9)
                if second in (560, 566, 571):
                    pulse.series("feed.decode", venue="cme").lose(400)
                if second == 690 and not stepped:
                    stepped = True
                    clock.step(2 * SECOND_NS)
                clock.advance(SECOND_NS)
                pulse.tick()


FEED = "/pulse?series=feed.decode%7Bvenue%3Dcme%7D"
SKEW = "/pulse?series=path.oneway%7Bdst%3Dld4%2Csrc%3Dny4%7D"


def lived(page: Any) -> None:
    page.wait_for_timeout(5_000)


def with_sparklines(page: Any) -> None:
    page.wait_for_timeout(14_000)  # until the sparklines of the list are whole


def brushed(page: Any) -> None:
    with_sparklines(page)
    box = page.locator("#chart").bounding_box()
    page.mouse.move(box["x"] + 0.62 * box["width"], box["y"] + 0.12 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.8 * box["width"], box["y"] + 0.46 * box["height"], steps=5)
    page.mouse.up()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] - 30)
    page.wait_for_selector("#choice:not([hidden])")


def take(url: str) -> None:
    with camera(url) as eye:
        eye.take("pulse-light", f"{FEED}&range=15m", ready=with_sparklines)
        eye.take("pulse-dark", FEED, "dark", ready=brushed)
        eye.take("pulse-negative", f"{SKEW}&range=15m", ready=lived)
        eye.take("pulse-paths", "/pulse/paths?range=15m", "dark", ready=lived)
        eye.take("pulse-watch", "/pulse/watch", ready=lived)
        eye.take("pulse-machine", "/pulse/machine", ready=lived)
        eye.take("pulse-phone", FEED, "dark", ready=lived, phone=True)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name) / "data"
        boxwork.open(root).close()
        write_past(root / "pulse")
        with boxwork.open(root) as work, served(work) as node:
            for rule in RULES:
                work.alarms.add(rule)
            stop, traffic = threading.Event(), Traffic(work.pulse)

            def run() -> None:
                while not stop.wait(1.0 - (time.time() + 0.5) % 1.0):  # in the middle of each second
                    traffic.second(time.time())

            thread = threading.Thread(target=run)
            thread.start()
            take(node.url)
            stop.set()
            thread.join()
