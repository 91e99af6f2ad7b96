"""A whole Debian with systemd, from its recipe to a machine with a network and data, which ends in good order."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path

import msgspec
import pytest

import boxwork
from boxwork.packs.images import drive, loader, recipe
from boxwork.packs.images.boot_commands import make_bootable
from boxwork.packs.images.recipe import Base
from tests.packs.images.plain_qemu import machine
from tests.packs.images.roots import take_boot_packages
from tests.packs.images.test_debian import DEBS

RECIPE = Path(__file__).parents[3] / "examples" / "machine" / "debian.toml"

pytestmark = [
    pytest.mark.servers,
    pytest.mark.timeout(600),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for devices"),
    pytest.mark.skipif(not (DEBS / "wanted").exists(), reason=f"needs real packages in {DEBS}: .ci/run fetches them"),
    pytest.mark.skipif(not (loader.UEFI_FOLDER / "modinfo.sh").exists(), reason="needs grub-efi-amd64-bin"),
    *(
        pytest.mark.skipif(shutil.which(program) is None, reason=f"needs {program}")
        for program in ("mmdebstrap", "qemu-system-x86_64", "tar2sqfs", "grub-mkimage")
    ),
]


def test_a_debian_with_systemd_boots_is_healthy_and_goes_down_when_told(tmp_path: Path) -> None:
    sources = Base(variant="essential", suite="test", sources=f"deb [trusted=yes] copy:{DEBS} ./")
    wanted = msgspec.structs.replace(recipe.read(RECIPE), base=sources)
    path, button = tmp_path / "disk.img", tmp_path / "monitor"
    with boxwork.open(tmp_path / "data") as work:
        take_boot_packages(work)
        built = work.part("images").builder.build(wanted)
        version = make_bootable(work, work.tree(built.tree))
        layout = drive.write(work, version, path)
    with machine(
        path, "-m", "1024", "-nic", "user,model=virtio", "-monitor", f"unix:{button},server,nowait"
    ) as console:
        # Its health check: systemd has started everything, the recipe's service ran, and the card has an address.
        assert "start 1 of machine" in console.until("multi-user.target is reached", "sick ")
        assert str(version.find("root.squashfs").content) in console.until("healthy ", "sick ")
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.connect(str(button))
            monitor.sendall(b"system_powerdown\n")
            console.until("reboot: Power down")
        assert console.ended() == 0
    # What the service wrote is on the data partition, whatever becomes of the version.
    data = layout.partitions["data"].at
    said = subprocess.run(
        ["debugfs", "-R", "cat /boxwork/keep/var/lib/visits/count", f"{path}?offset={data}"],
        capture_output=True, text=True, timeout=60, check=True, env={"PATH": "/usr/sbin:/sbin:/usr/bin:/bin"},
    )  # fmt: skip
    assert said.stdout == "1\n"
