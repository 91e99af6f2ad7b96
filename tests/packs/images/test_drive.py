"""A drive boots by itself under a plain QEMU, counts its own tries, goes back by itself, and keeps its data."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import boxwork
from boxwork import Tree, errors, ref_of, ref_of_file
from boxwork.packs.images import drive, loader
from boxwork.packs.images.boot_commands import make_bootable
from boxwork.testing.served import served
from tests.packs.images.plain_qemu import machine
from tests.packs.images.roots import CONTENT, CRASHING, NEVER, SICK, make_root, take_boot_packages

pytestmark = [pytest.mark.servers, pytest.mark.timeout(600)]

PROGRAMS = ("qemu-system-x86_64", "tar2sqfs", "apt-get", "grub-mkimage", "sfdisk", "mke2fs")
# QEMU's UEFI, without the key store of a machine: so it starts what lies in EFI/BOOT.
UEFI = Path("/usr/share/OVMF/OVMF_CODE_4M.fd")
# It counts its boots on the data partition, and says which machine it is.
COUNTING = """#!/bin/sh
b=/bin/busybox
n=$($b cat /data/boots 2>/dev/null); n=$((n + 1)); echo $n >/data/boots
echo note >>/var/lib/app/notes
$b sync
echo "boots=$n id=$($b cat /etc/machine-id) notes=$($b wc -l </var/lib/app/notes) seed=$($b cat /var/lib/app/seed)"
"""


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    for program in PROGRAMS:
        if shutil.which(program, path="/usr/bin:/bin:/usr/sbin:/sbin") is None:
            pytest.skip(f"{program} is not installed")
    if not (loader.UEFI_FOLDER / "modinfo.sh").exists():
        pytest.skip("grub-efi-amd64-bin is not installed")
    with boxwork.open(tmp_path_factory.mktemp("drives") / "data") as opened:
        take_boot_packages(opened)
        yield opened


@pytest.fixture(scope="module")
def good(work: Any, tmp_path_factory: pytest.TempPathFactory) -> Tree:
    return make_bootable(work, keeping(work, tmp_path_factory.mktemp("good") / "root"))


def keeping(work: Any, folder: Path, check: str = COUNTING) -> Tree:
    """A root that keeps /var/lib/app, with a file in it."""
    (folder / "var/lib/app").mkdir(parents=True)
    (folder / "var/lib/app/seed").write_text("sown")
    (folder / "etc/boxwork").mkdir(parents=True)
    (folder / "etc/boxwork/keep").write_text("# what outlives a version\n/var/lib/app\n")
    return make_root(work, folder, check)


def test_the_same_version_makes_the_same_drive_on_another_node(work: Any, good: Tree, tmp_path: Path) -> None:
    one, other = tmp_path / "one.img", tmp_path / "other.img"
    drive.write(work, good, one)
    with boxwork.open(tmp_path / "data") as second:
        take_boot_packages(second)
        drive.write(second, make_bootable(second, keeping(second, tmp_path / "root")), other)
    with one.open("rb") as first, other.open("rb") as again:
        assert ref_of_file(first) == ref_of_file(again)
    # It has holes where nothing is.
    assert one.stat().st_blocks * 512 < one.stat().st_size / 8


def test_a_sick_version_goes_back_by_itself_and_the_data_outlives_it(work: Any, good: Tree, tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    drive.write(work, good, path)
    with machine(path, bus="ide") as console:  # as `-drive` is without another word
        first = console.until("boots=")
        assert "boots=1 " in first
        assert "notes=1 seed=sown" in first
        assert str(good.find("root.squashfs").content) in console.until("healthy ")
    identity = first.split("id=")[1].split()[0]
    assert len(identity) == 32

    size = good.find("root.squashfs").size
    bad = make_bootable(work, make_root(work, tmp_path / "bad", SICK))
    assert drive.install(work, bad, path) == "b"
    assert drive.state(path) == {"good": "a", "trial": "b", "tries": "2", "refused": ""}
    with machine(path) as console:
        assert "the database is not there" in console.until("database")
        assert "10-check answered 2" in console.until("sick ")
        again = console.until("boots=")
        console.until("healthy ")
    assert f"boots=2 id={identity} notes=2 seed=sown" in again
    assert drive.state(path) == {"good": "a", "trial": "", "tries": "", "refused": bad.find("root.squashfs").content}
    assert drive.root_in(work, path, "a", size) == good.find("root.squashfs").content


@pytest.mark.skipif(not UEFI.exists(), reason="needs ovmf")
def test_a_uefi_starts_the_same_drive_and_goes_back_too(work: Any, good: Tree, tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    drive.write(work, good, path)
    bad = make_bootable(work, make_root(work, tmp_path / "bad", SICK))
    drive.install(work, bad, path)
    with machine(path, "-drive", f"if=pflash,format=raw,unit=0,readonly=on,file={UEFI}") as console:
        assert "slot b" in console.until("boxwork: slot")
        assert "10-check answered 2" in console.until("sick ")
        assert "slot a" in console.until("boxwork: slot")
        assert str(good.find("root.squashfs").content) in console.until("healthy ")
    assert drive.state(path) == {"good": "a", "trial": "", "tries": "", "refused": bad.find("root.squashfs").content}
    with machine(path) as console:  # and a BIOS goes on where the UEFI was
        assert "slot a" in console.until("boxwork: slot")


def test_a_version_that_goes_down_uses_up_its_tries(work: Any, good: Tree, tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    drive.write(work, good, path)
    drive.install(work, make_bootable(work, make_root(work, tmp_path / "bad", CRASHING)), path)
    with machine(path) as console:
        assert "slot b" in console.until("boxwork: slot")
        assert "slot b" in console.until("boxwork: slot")
        assert "slot a" in console.until("boxwork: slot")
        console.until("its tries are used up")
        console.until("healthy ")
    assert drive.state(path) == {"good": "a", "trial": "", "tries": "", "refused": "slot-b"}


def test_a_healthy_version_becomes_the_good_one(work: Any, good: Tree, tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    drive.write(work, good, path)
    other = make_bootable(work, make_root(work, tmp_path / "other", CONTENT))
    drive.install(work, other, path)
    with machine(path) as console:
        assert str(other.find("root.squashfs").content) in console.until("healthy ")
    assert drive.state(path)["good"] == "b"
    assert drive.install(work, good, path) == "a"


# It stops everything else that runs, the health script too, and itself: nobody is left to say anything.
HANGING = """#!/bin/sh
/bin/busybox kill -STOP -1
echo everything stands still
while :; do /bin/busybox sleep 3600; done
"""


def test_a_version_that_hangs_is_started_again_by_the_watchdog_and_goes_back(tmp_path: Path) -> None:
    settings = {"images.watchdog_s": 40.0, "images.health_s_max": 20.0}
    with boxwork.open(tmp_path / "data", settings=settings) as work:
        take_boot_packages(work)
        good = make_bootable(work, make_root(work, tmp_path / "good"))
        path, folder = tmp_path / "disk.img", tmp_path / "hanging"
        (folder / "sbin").mkdir(parents=True)
        (folder / "sbin/init").write_text(HANGING)
        (folder / "sbin/init").chmod(0o755)
        drive.write(work, good, path)
        drive.install(work, make_bootable(work, make_root(work, folder, NEVER)), path, tries=1)
        with machine(path) as console:
            assert "slot b" in console.until("boxwork: slot")
            assert "starts this machine again if it hangs (40 s)" in console.until("if it hangs")
            console.until("everything stands still")
            assert "slot a" in console.until("boxwork: slot")
            console.until("its tries are used up")
            assert str(good.find("root.squashfs").content) in console.until("healthy ")
        assert drive.state(path) == {"good": "a", "trial": "", "tries": "", "refused": "slot-b"}


def test_a_healthy_machine_feeds_its_watchdog(tmp_path: Path) -> None:
    settings = {"images.watchdog_s": 12.0, "images.health_s_max": 2.0}
    with boxwork.open(tmp_path / "data", settings=settings) as work:
        take_boot_packages(work)
        path, folder = tmp_path / "disk.img", tmp_path / "root"
        (folder / "sbin").mkdir(parents=True)
        (folder / "sbin/init").write_text(LIVING)
        (folder / "sbin/init").chmod(0o755)
        drive.write(work, make_bootable(work, make_root(work, folder)), path)
        with machine(path) as console:
            console.until("healthy ")
            assert "alive after 30 s" in console.until("alive after", "boxwork: slot")


LIVING = """#!/bin/sh
/bin/busybox sleep 30
echo alive after 30 s
while :; do /bin/busybox sleep 3600; done
"""


def test_a_watchdog_that_would_bite_before_the_verdict_is_refused(tmp_path: Path, good: Tree) -> None:
    said = r"images\.watchdog_s=60: at least .* which is 70"
    with (
        boxwork.open(tmp_path / "data", settings={"images.watchdog_s": 60.0}) as work,
        pytest.raises(errors.BadInput, match=said),
    ):
        drive.write(work, good, tmp_path / "disk.img")


# The image's own init: an address from DHCP, and then it waits.
INIT = """#!/bin/sh
b=/bin/busybox
$b ip link set eth0 up
$b udhcpc -q -n -i eth0 -s /etc/dhcp
while :; do $b sleep 3600; done
"""
DHCP = """#!/bin/sh
b=/bin/busybox
[ "$1" = bound ] || exit 0
$b ip addr add $ip/$mask dev $interface && $b ip route add default via $router
"""
# Healthy is: the node answers, and took what this machine has to say.  10.0.2.2 is the host, as QEMU has it; HTTP by
# hand, because Debian's static busybox crashes in its wget.
ASKING = r"""#!/bin/sh
b=/bin/busybox
# Not the end of what it sends before the answer came: a server takes that for a client who has left.
send() { printf "$1 HTTP/1.0\r\nHost: localhost\r\nContent-Length: ${#2}\r\n\r\n$2"; $b sleep 1; }
ask() { send "$@" | $b nc -w 5 10.0.2.2 PORT; }
ask "GET /healthz" | $b grep -q "^HTTP/1.1 200" || exit 1
said=$(ask "POST /blobs" "machine $($b cat /etc/machine-id)" | $b grep sha256:) || exit 2
echo "id=$($b cat /etc/machine-id) the node said $said"
"""


def test_a_machine_has_a_network_and_asks_a_node(work: Any, tmp_path: Path) -> None:
    with served(work) as server:
        port = server.url.rpartition(":")[2]
        folder = tmp_path / "root"
        (folder / "sbin").mkdir(parents=True)
        (folder / "etc").mkdir()
        for name, text in (("sbin/init", INIT), ("etc/dhcp", DHCP)):
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)
        path = tmp_path / "disk.img"
        drive.write(work, make_bootable(work, make_root(work, folder, ASKING.replace("PORT", port))), path)
        with machine(path, "-nic", "user,model=virtio") as console:
            told = console.until("id=", "sick ")
            console.until("healthy ", "sick ")
    identity = told.split("id=")[1].split()[0]
    said = ref_of(f"machine {identity}".encode())
    assert said in told
    assert work.get(said) == f"machine {identity}".encode()


def test_a_damaged_root_on_trial_is_noticed_before_it_is_mounted(work: Any, good: Tree, tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    layout = drive.write(work, good, path)
    drive.install(work, make_bootable(work, make_root(work, tmp_path / "other", CONTENT)), path)
    with path.open("r+b") as file:
        file.seek(layout.partitions["root-b"].at + 100_000)
        file.write(b"changed")
    with machine(path) as console:
        assert "the disk is sha256:" in console.until("sick ")
        assert str(good.find("root.squashfs").content) in console.until("healthy ")


def test_what_is_no_drive_or_has_no_room_is_refused(work: Any, good: Tree, tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    path.write_bytes(b"not a drive")
    with pytest.raises(errors.FormatError, match="no drive"):
        drive.state(path)
    with pytest.raises(errors.TooLarge, match="--slot-mib"):
        drive.write(work, good, path, root_mib=1)
    assert path.read_bytes() == b"not a drive"
    with pytest.raises(errors.BadInput, match="16 to"):
        drive.write(work, good, path, data_mib=1)


def test_the_block_is_what_grub_reads() -> None:
    state = {"good": "a", "trial": "b", "tries": "2", "refused": "sha256:" + "f" * 64}
    data = loader.block(state)
    assert len(data) == 1024
    assert data[512:] == b"#" * 512
    assert loader.state_of(data) == state
    with pytest.raises(errors.FormatError, match="no state"):
        loader.state_of(b"\0" * 1024)
