"""Real machines under QEMU: a bad version is refused, and the one before runs again as it was."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import boxwork
from boxwork import Tree
from boxwork.packs.images.boot_commands import make_bootable
from boxwork.packs.images.gate import Unbootable, passing
from boxwork.packs.images.slots import Slots
from tests.packs.images.roots import CONTENT, CRASHING, SICK, make_root, take_boot_packages

pytestmark = [pytest.mark.servers, pytest.mark.timeout(600)]

# Far above the 3 to 6 s of a boot: these tests are about what happens, and run beside others.
SETTINGS = {"images.boot_s_max": 120.0, "images.health_s_max": 30.0, "images.boot_tries_max": 1}


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    for program in ("qemu-system-x86_64", "tar2sqfs", "apt-get"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    with boxwork.open(tmp_path_factory.mktemp("machines") / "data", settings=SETTINGS) as opened:
        take_boot_packages(opened)
        yield opened


@pytest.fixture(scope="module")
def good(work: Any, tmp_path_factory: pytest.TempPathFactory) -> Tree:
    return make_bootable(work, make_root(work, tmp_path_factory.mktemp("good") / "root"))


def silent(text: str) -> None:
    pass


def console(slots: Slots, log: str) -> str:
    return (slots.folder / "log" / log).read_text(errors="replace")


def test_a_version_that_is_not_healthy_is_refused_and_the_one_before_runs_again(
    work: Any, good: Tree, tmp_path: Path
) -> None:
    slots = Slots(work, "web")
    with passing(work, "web", good, tell=silent) as (passage, machine):
        assert (passage.version, passage.refused) == (good.ref, "")
        assert [boot.verdict for boot in passage.boots] == ["healthy"]
        # The machine measured its own disk, and names what it found.
        assert passage.boots[0].reason == good.find("root.squashfs").ref
    before = {path.name: path.read_bytes() for path in (slots.folder / passage.slot).iterdir()}

    bad = make_bootable(work, make_root(work, tmp_path / "bad", SICK))
    with passing(work, "web", bad, tell=silent) as (passage, machine):
        assert [boot.verdict for boot in passage.boots] == ["sick", "healthy"]
        assert "10-check answered 2" in passage.refused
        assert passage.version == good.ref
        assert "the database is not there" in console(slots, passage.boots[0].log)
        assert machine._process.poll() is None
    assert {path.name: path.read_bytes() for path in (slots.folder / passage.slot).iterdir()} == before
    assert slots.is_intact(passage.slot)
    assert machine._process.poll() is not None

    with passing(work, "web", bad, tell=silent) as (passage, _):
        assert [boot.verdict for boot in passage.boots] == ["healthy"]
        assert passage.refused


def test_a_version_that_goes_down_is_refused_and_a_damaged_slot_is_mended(
    work: Any, good: Tree, tmp_path: Path
) -> None:
    slots = Slots(work, "crash")
    with passing(work, "crash", good, tell=silent) as (passage, _):
        pass
    path = slots.folder / passage.slot / "root.squashfs"
    path.unlink()
    path.write_bytes(b"not what it was")
    crashing = make_bootable(work, make_root(work, tmp_path / "crashing", CRASHING))
    with passing(work, "crash", crashing, tell=silent) as (passage, _):
        assert [boot.verdict for boot in passage.boots] == ["down", "healthy"]
        assert passage.mended
        assert passage.version == good.ref


def test_a_machine_that_was_never_healthy_says_so(work: Any, tmp_path: Path) -> None:
    bad = make_bootable(work, make_root(work, tmp_path / "bad", SICK, other="x"))
    with pytest.raises(Unbootable, match="10-check answered 2"), passing(work, "never", bad, tell=silent):
        pass
    with pytest.raises(Unbootable, match="it has none"), passing(work, "never", tell=silent):
        pass


BOOT = """
import sys, boxwork
from boxwork.packs.images.gate import passing
with boxwork.open(sys.argv[1], settings={"images.boot_tries_max": 1}) as work:
    tell = lambda text: print(text, flush=True)
    with passing(work, "killed", work.tree(sys.argv[2]), tell=tell):
        tell("up")
"""


def test_a_host_that_is_killed_while_a_version_is_on_trial_starts_the_good_one(
    work: Any, good: Tree, tmp_path: Path
) -> None:
    slots = Slots(work, "killed")
    with passing(work, "killed", good, tell=silent):
        pass
    other = make_bootable(work, make_root(work, tmp_path / "other", CONTENT, other="healthy, but never asked"))
    process = subprocess.Popen(
        [sys.executable, "-c", BOOT, str(work.node.root), str(other.ref)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert "boot 2: slot b" in process.stdout.readline()
    until(lambda: bool(machines(slots)))
    process.kill()
    process.wait(20)
    process.stdout.close()
    assert (slots.state().trial, slots.state().tries) == ("b", 1)
    until(lambda: not machines(slots))  # a machine does not outlive its host
    with passing(work, "killed", other, tell=silent) as (passage, _):
        assert passage.version == good.ref
        assert passage.refused == "no verdict in 1 of 1 tries"


def machines(slots: Slots) -> list[str]:
    """The processes that run from these slots."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes()
            if words.startswith(b"qemu") and os.fsencode(slots.folder) in words:
                found.append(path.parent.name)
    return found


def until(done: Callable[[], bool]) -> None:
    ends = time.monotonic() + 30
    while not done():
        assert time.monotonic() < ends
        time.sleep(0.02)
