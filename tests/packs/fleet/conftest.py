"""A fleet over a real node: a release folder, a sheet in a file, and a clock that a test turns."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import boxwork
from boxwork.errors import Refused
from boxwork.packs.fleet import protocol
from boxwork.packs.fleet.conductor import Conductor
from boxwork.packs.fleet.decisions import heard, spell
from boxwork.packs.fleet.plan import Plan
from boxwork.testing.clock import FakeClock

MANIFEST = """
packages = ["nginx=1.22"]

[columns.workers]
type = "integer"
min = 1
max = 64

[columns.color]
type = "choice"
choices = ["red", "blue"]
default = "red"

[columns.password]
type = "secret"
required = false

[[effects]]
path = "etc/*.conf"
effect = "reload"

[hooks.health]
command = ["bin/health"]
"""


class Stage:
    """A fleet, and everything around it that a test moves."""

    def __init__(self, root: Path, hosts: int = 3) -> None:
        self.root = root
        self.release = root / "release"
        (self.release / "etc").mkdir(parents=True)
        (self.release / "bin").mkdir()
        self.write("release.toml", MANIFEST)
        self.write("etc/app.conf.j2", "host={{ host }} workers={{ workers }} password={{ password }}\n")
        self.write("etc/motd.j2", "{{ color }}\n")
        self.write("bin/health", "#!/bin/sh\nexit 0\n")
        self.sheet = root / "hosts.csv"
        self.rows = {f"web{number}": {"workers": "4", "color": "red", "password": ""} for number in range(hosts)}
        self.save()
        self.clock = FakeClock()
        self.settings: dict[str, object] = {"fleet.source": f"csv:{self.sheet}", "fleet.bake_s": 10}
        self.work: Any = None
        self.open()

    def open(self, **settings: object) -> None:
        self.settings |= settings
        self.work = boxwork.open(self.root / "data", settings=self.settings, clock=self.clock)
        self.fleet = self.work.part("fleet")
        self.conductor = Conductor(self.fleet)

    def close(self) -> None:
        self.work.close()

    def reopen(self, **settings: object) -> None:
        self.close()
        self.open(**settings)

    def write(self, path: str, text: str) -> None:
        (self.release / path).write_text(text)

    def save(self) -> None:
        """The sheet as its rows are now, in one step as an editor does."""
        lines = ["host,workers,color,password"]
        lines += [f"{host},{row['workers']},{row['color']},{row['password']}" for host, row in self.rows.items()]
        half = self.sheet.with_suffix(".new")
        half.write_text("\n".join(lines) + "\n")
        half.replace(self.sheet)

    def publish(self, reason: str = "a reason") -> Any:
        return self.fleet.publish(self.release, author="ada", reason=reason)

    def roll_out(self, number: int, **plan: Any) -> Any:
        """Start a rollout and answer for every host until it is over."""
        rollout = self.fleet.start(number, Plan(**{"bake_s": 0, **plan}), who="ada", why="a test")
        for _ in range(50):
            with contextlib.suppress(Refused):  # the conductor of a served fleet took this step already
                self.conductor.tick()
            self.answer()
            if self.rollout(rollout.number).state != "running":
                return self.rollout(rollout.number)
        raise AssertionError(f"the rollout did not end: {self.rollout(rollout.number)}")

    def rollout(self, number: int) -> Any:
        return self.fleet.mirror.rollouts[number]

    def desired(self, host: str) -> protocol.Desired | None:
        signed = self.fleet.desired(host)
        return None if signed is None else protocol.verify(protocol.public_key(self.fleet.private_key), signed)

    def desired_by(self, host: str, key: str) -> protocol.Desired:
        """What a host is told, if this public key (hexadecimal) has signed it."""
        return protocol.verify(bytes.fromhex(key), self.fleet.desired(host))

    def digests(self) -> dict[str, str | None]:
        signed = {host: self.fleet.desired(host) for host in self.rows}
        return {host: one.digest if one is not None else None for host, one in signed.items()}

    def answer(self, bad: Callable[[str, protocol.Desired], str] = lambda host, desired: "") -> None:
        """Every host takes what it is told, and says so; `bad` says what went wrong, if something did."""
        for host in list(self.fleet.mirror.assigned):
            desired = self.desired(host)
            status = self.fleet.mirror.status.get(host)
            if desired is None or (status is not None and status.report.position == desired.position):
                continue
            reason = bad(host, desired)
            if reason:
                said = protocol.Report(
                    host=host, position=desired.position - 1, state="failed", wanted_position=desired.position,
                    reason=reason,
                )  # fmt: skip
            else:
                said = protocol.Report(host=host, position=desired.position, release=desired.release, state="applied")
            self.work.commit(heard, spell(said))

    def advance(self, seconds: float) -> None:
        self.clock.advance(int(seconds * 1e9))


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path)
    yield made
    made.close()


@pytest.fixture
def make_stage(tmp_path: Path) -> Iterator[Callable[[int], Stage]]:
    made: list[Stage] = []

    def make(hosts: int) -> Stage:
        made.append(Stage(tmp_path / f"stage{len(made)}", hosts))
        return made[-1]

    yield make
    for one in made:
        one.close()
