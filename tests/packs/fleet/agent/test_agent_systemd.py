"""The shipped unit under a real systemd: it is process 1 of a namespace over an overlay of this machine's files.

That asks much of the machine (root, overlays, a cgroup tree of its own) and runs only when it is asked for:
BOXWORK_TEST_SYSTEMD=1.  What systemd thinks of the unit is checked always.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from boxwork.packs.fleet.protocol import Hook, Hooks
from tests.packs.fleet.agent._server import RULES, Server, shell

UNIT = Path(__file__).parents[4] / "systemd" / "boxwork-fleet-agent.service"
NAME = UNIT.name
SYSTEMD = Path("/lib/systemd/systemd")
# A fresh Python starts the agent in about a second; this is for a machine on which others build.  Unit: s.
PATIENCE_S = 60.0

BOOT = """
set -e
mkdir -p "$1/fs"; mount -t tmpfs none "$1/fs"; mkdir -p "$1"/fs/up "$1"/fs/work "$1"/fs/root
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/fs/up,workdir=$1/fs/work" "$1/fs/root"
R="$1/fs/root"
mount -t proc proc "$R/proc"; mount -t sysfs sys "$R/sys"; mount -t cgroup2 none "$R/sys/fs/cgroup"
mount -t tmpfs none "$R/run"; mount -t tmpfs none "$R/dev"
for d in null zero urandom random full tty; do touch "$R/dev/$d"; mount --bind "/dev/$d" "$R/dev/$d"; done
for p in "${@:3}"; do mkdir -p "$R$p"; mount --rbind "$p" "$R$p"; done  # an overlay ends where another mount begins
ln -s /proc/self/fd "$R/dev/fd"; mkdir -p "$R/dev/shm"
mkdir -p "$R/etc/systemd/system" "$R/etc/default" "$R/opt/boxwork/.venv/bin"
rm -rf "$R"/etc/systemd/system/*.wants; : > "$R/etc/machine-id"
cp -r "$1/etc/." "$R/etc/"; ln -s "$2" "$R/opt/boxwork/.venv/bin/boxwork"
exec chroot "$R" env -i container=boxwork "PATH=$PATH" /lib/systemd/systemd --unit=quiet.target
"""

DEMO = """[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/true
ExecReload=/bin/sh -c 'echo reloaded >> /run/demo.log'
"""


class Machine:
    """A running systemd; `run` is a command in it."""

    def __init__(self, folder: Path) -> None:
        boxwork = Path(sys.executable).parent / "boxwork"
        command = ["unshare", "-m", "-p", "-f", "-i", "-u", "-C", "--kill-child", "bash", "-c", BOOT, "boot"]
        self.said = (folder / "boot.log").open("wb")
        self.group = _own_cgroup()
        python = [str(UNIT.parents[1]), sys.prefix, sys.base_prefix]
        self.process = subprocess.Popen([*command, folder, boxwork, *python], stdout=self.said, stderr=self.said)
        if self.group is not None:
            (self.group.parent / "cgroup.procs").write_text(str(os.getpid()))
        self.first = until(lambda: self._child(), "process 1 has begun")
        until(lambda: self.run("systemctl", "is-system-running") in ("running", "degraded"), "systemd is up")

    def _child(self) -> str:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        is_there = children and Path(f"/proc/{children[0]}/comm").read_text() == "systemd\n"
        return children[0] if is_there else ""

    def run(self, *command: str) -> str:
        inside = ["nsenter", "-t", self.first, "-m", "-p", "-i", "-u", "-C", "-r", "-w"]
        done = subprocess.run([*inside, *command], capture_output=True, text=True, timeout=30)
        return done.stdout.strip()

    def shown(self, field: str) -> str:
        return self.run("systemctl", "show", NAME, "--value", "-p", field)

    def close(self) -> None:
        self.process.kill()  # --kill-child: process 1 goes with it, and the kernel ends everything in its namespace
        self.process.wait(10)
        self.said.close()
        if self.group is not None:
            for folder in sorted(self.group.rglob("*"), reverse=True):
                if folder.is_dir():
                    with contextlib.suppress(OSError):
                        folder.rmdir()


def _own_cgroup() -> Path | None:
    """This process in a cgroup of its own, which becomes the root of systemd's; None where there is no such tree."""
    for tree in (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup")):
        if (tree / "cgroup.procs").exists():
            group = tree / f"boxwork-test-{os.getpid()}"
            try:
                group.mkdir(exist_ok=True)
                (group / "cgroup.procs").write_text(str(os.getpid()))
            except OSError:
                return None
            return group
    return None


def until(found: Callable[[], object], what: str) -> str:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            if value := found():
                return str(value)
        time.sleep(0.05)
    raise AssertionError(f"after {PATIENCE_S:g} s still not: {what}")


@pytest.fixture
def machine(server: Server, tmp_path: Path) -> Iterator[Machine]:
    if not os.environ.get("BOXWORK_TEST_SYSTEMD"):
        pytest.skip("starts a systemd over this machine's files: set BOXWORK_TEST_SYSTEMD=1")
    if os.geteuid() != 0 or not SYSTEMD.exists() or shutil.which("nsenter") is None:
        pytest.skip("needs root, systemd and util-linux")
    folder = tmp_path / "machine"
    units = folder / "etc" / "systemd" / "system"
    units.mkdir(parents=True)
    shutil.copy(UNIT, units)
    (units / "demo.service").write_text(DEMO)
    (units / "quiet.target").write_text("[Unit]\nDescription=nothing by itself\nDefaultDependencies=no\n")
    (folder / "etc" / "default").mkdir()
    (folder / "etc" / "default" / "boxwork-fleet-agent").write_text(
        f"BOXWORK_FLEET_SERVER={server.url}\nBOXWORK_FLEET_HOST=web1\nBOXWORK_FLEET_KEY={server.key.hex()}\n"
        "BOXWORK_FLEET_WAIT_S=2\n"
    )
    (folder / "etc" / "boxwork-fleet-agent.token").write_text("none\n")
    made = Machine(folder)
    yield made
    made.close()


@pytest.mark.servers
@pytest.mark.optin
@pytest.mark.timeout(240)
def test_the_unit_starts_drains_reloads_restarts_and_comes_back_after_kill_9(server: Server, machine: Machine) -> None:
    hooks = Hooks(
        reload=Hook(("systemctl", "reload", "demo.service")),
        drain=shell("echo drained >> /run/demo.log"),
        resume=shell("echo resumed >> /run/demo.log; setsid sleep 1000 >/dev/null 2>&1 &"),
        health=Hook(("systemctl", "is-active", "demo.service")),
    )
    machine.run("systemctl", "start", "demo.service")
    server.say(server.desired({"etc/app.conf": b"1\n", "etc/kernel.conf": b"1\n"}, hooks=hooks, effects=RULES))
    machine.run("systemctl", "start", NAME)
    until(lambda: server.reports or machine.shown("NRestarts") != "0", "the agent has reported")
    assert machine.shown("NRestarts") == "0", machine.run("systemctl", "status", "--no-pager", NAME)
    server.wait_for_report(lambda said: said.state == "applied" and said.position == 1, PATIENCE_S)
    assert ("active", "0") == (machine.shown("ActiveState"), machine.shown("NRestarts"))
    assert "1" == machine.run("cat", "/var/lib/boxwork-fleet/current/etc/app.conf")

    server.say(server.desired({"etc/app.conf": b"2\n", "etc/kernel.conf": b"1\n"}, hooks=hooks, effects=RULES))
    server.wait_for_report(lambda said: said.state == "applied" and said.position == 2, PATIENCE_S)
    assert "reloaded" == machine.run("cat", "/run/demo.log").split()[-1]
    server.say(server.desired({"etc/app.conf": b"2\n", "etc/kernel.conf": b"2\n"}, hooks=hooks, effects=RULES))
    server.wait_for_report(lambda said: said.state == "applied" and said.position == 3, PATIENCE_S)
    assert ["drained", "resumed"] == machine.run("cat", "/run/demo.log").split()[-2:]

    before = machine.shown("MainPID")
    machine.run("systemctl", "kill", "--kill-whom=main", "-s", "KILL", NAME)
    until(lambda: machine.shown("MainPID") not in (before, "0"), "another agent runs")
    assert ("active", "1") == (machine.shown("ActiveState"), machine.shown("NRestarts"))
    server.say(server.desired({"etc/app.conf": b"3\n", "etc/kernel.conf": b"2\n"}, hooks=hooks, effects=RULES))
    server.wait_for_report(lambda said: said.state == "applied" and said.position == 4, PATIENCE_S)

    before = machine.shown("MainPID")
    machine.run("systemctl", "restart", NAME)
    until(lambda: machine.shown("MainPID") not in (before, "0"), "the restarted agent runs")
    start = time.monotonic()
    machine.run("systemctl", "stop", NAME)
    assert ("inactive", "success") == (machine.shown("ActiveState"), machine.shown("Result"))
    assert time.monotonic() - start < 5
    assert "sleep" in machine.run("ps", "-e", "-o", "comm=")  # what a hook started outlives the agent
    assert "3" == machine.run("cat", "/var/lib/boxwork-fleet/current/etc/app.conf")


@pytest.mark.servers
def test_systemd_finds_no_fault_in_the_unit_and_says_how_far_it_is_closed(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("needs systemd")
    # What ExecStart names must be there for `verify`; everything else is the shipped file.
    unit = tmp_path / NAME
    program = f"ExecStart={Path(sys.executable).parent / 'boxwork'}"
    unit.write_text(re.sub(r"ExecStart=\S+", program, UNIT.read_text()))
    verified = subprocess.run([analyze, "verify", "--man=no", unit], capture_output=True, text=True, timeout=60)
    assert (0, "") == (verified.returncode, "".join(line for line in verified.stderr.splitlines() if NAME in line))
    told = subprocess.run(
        [analyze, "security", "--offline=true", "--no-pager", unit], capture_output=True, text=True, timeout=60
    ).stdout
    # Root with hooks that speak to everything on the host cannot be closed far; what is closed stays closed.
    exposure = re.search(r"exposure level for \S+: ([0-9.]+)", told)
    assert exposure is not None, told
    assert float(exposure[1]) < 9.0
