"""The partitions of a drive: which there are, where each lies, and how the empty ones look.

    loader     GRUB                                    state      the block in which it counts
    boot-a/-b  kernel, initrd and command line of a slot, as a tar file, which GRUB reads as a file system
    root-a/-b  the root of a slot, a squashfs          data       what outlives a version: ext4
    esp        GRUB again, for a UEFI, in a FAT file system; last, so that drives from before it have the same places

Everything that a program would draw by chance (the identities of partitions and file systems) is said here, so the
same sizes give the same bytes.  The machine finds its partitions by their names.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec

from boxwork import derivation, errors, ref_of
from boxwork.packs.images.chamber import scratch
from boxwork.packs.images.loader import FOLDER, SECTOR_BYTES, UEFI_FOLDER, run

MIB = 1 << 20
SECTORS_PER_MIB = MIB // SECTOR_BYTES
# One MiB for the table and one for each small partition: everything lies on whole MiB, as flash wants it.
SMALL_MIB = 1
# GRUB for a UEFI has 0.4 MB.  Unit: MiB.
ESP_MIB = 2
# A kernel and an initrd of Debian's "cloud" kind are 9 MB together, of the generic kind with its modules about 40.
BOOT_MIB = 48
# Above the largest root we know, a desktop; a typing error should not make a file of a petabyte.  Unit: MiB.
ROOT_MIB_MAX = DATA_MIB_MAX = 1 << 20
# Below this mke2fs leaves out the journal, and a power cut costs a check of the file system.  Unit: MiB.
DATA_MIB_MIN = 16
# Of the table: a protective sector, its header, 128 entries; the same without the first at the end.  Unit: sectors.
HEAD_SECTORS, TAIL_SECTORS = 34, 33
# What is zero is not written, in pieces of a file system's block.  Unit: bytes.
PIECE_BYTES = 4096

_LINUX = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
_TYPES = {
    "loader": "21686148-6449-6E6F-744E-656564454649",
    "state": _LINUX,
    "esp": "C12A7328-F81F-11D2-BA4B-00A0C93EC93B",
}


@dataclass(frozen=True, slots=True)
class Partition:
    """A place on a drive.  `at` and `bytes` are counted in bytes."""

    number: int
    name: str
    at: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Layout:
    """All places on a drive for roots and data of these sizes."""

    root_mib: int
    data_mib: int

    def __post_init__(self) -> None:
        if not 1 <= self.root_mib <= ROOT_MIB_MAX:
            raise errors.BadInput(f"a slot of {self.root_mib} MiB: choose 1 to {ROOT_MIB_MAX}")
        if not DATA_MIB_MIN <= self.data_mib <= DATA_MIB_MAX:
            raise errors.BadInput(f"a data partition of {self.data_mib} MiB: choose {DATA_MIB_MIN} to {DATA_MIB_MAX}")

    @property
    def partitions(self) -> dict[str, Partition]:
        sizes = {
            "loader": SMALL_MIB, "state": SMALL_MIB, "boot-a": BOOT_MIB, "boot-b": BOOT_MIB,
            "root-a": self.root_mib, "root-b": self.root_mib, "data": self.data_mib,
            "esp": ESP_MIB,
        }  # fmt: skip
        found, at = {}, SMALL_MIB
        for number, (name, mib) in enumerate(sizes.items(), 1):
            found[name] = Partition(number, name, at * MIB, mib * MIB)
            at += mib
        return found

    @property
    def bytes(self) -> int:
        last = self.partitions["esp"]
        return last.at + last.bytes + MIB

    @property
    def script(self) -> str:
        """What sfdisk makes the table from."""
        lines = ["label: gpt", f"label-id: {_identity('drive')}", "unit: sectors", f"sector-size: {SECTOR_BYTES}", ""]
        lines += [
            f"start={part.at // SECTOR_BYTES}, size={part.bytes // SECTOR_BYTES}, "
            f'type={_TYPES.get(part.name, _LINUX)}, uuid={_identity(part.name)}, name="{part.name}"'
            for part in self.partitions.values()
        ]
        return "\n".join(lines) + "\n"


def layout_of(head: bytes) -> Layout:
    """The layout of a drive that begins like this.  Raises `FormatError` if it is none of ours."""
    try:
        # An entry of the table (UEFI 2.10, 5.3.3): 128 bytes; first and last sector are numbers at 32 and 40.
        def mib(number: int) -> int:
            entry = head[2 * SECTOR_BYTES + (number - 1) * 128 :][:128]
            return (int.from_bytes(entry[40:48], "little") + 1 - int.from_bytes(entry[32:40], "little")) // (
                SECTORS_PER_MIB
            )

        return Layout(mib(5), mib(7))
    except errors.BadInput:
        raise errors.FormatError("this file is no drive that `boxwork images disk` made") from None


def _identity(what: str) -> str:
    """A UUID that is always the same: chance would make another drive of the same parts."""
    return str(UUID(ref_of(f"boxwork images drive: {what}".encode()).hex[:32], version=4)).upper()


@derivation(name="image_partitions", worker="thread", ignores=["subprocess", "scratch", "open"])
def table(script: str, total: int, tools: str) -> bytes:
    """The partition table of a drive of `total` bytes: its first sectors, and then its last ones."""
    with scratch() as folder:
        file = folder / "drive"
        with file.open("wb") as made:
            made.truncate(total)
        run(["sfdisk", "--quiet", "--no-tell-kernel", "--no-reread", "--lock=no", str(file)], input=script.encode())
        with file.open("rb") as made:
            head = made.read(HEAD_SECTORS * SECTOR_BYTES)
            made.seek(-TAIL_SECTORS * SECTOR_BYTES, os.SEEK_END)
            return head + made.read()


@derivation(name="image_data_partition", worker="thread", ignores=["subprocess", "scratch", "open"])
def data(mib: int, identity: str, tools: str) -> bytes:
    """An empty ext4, packed: see `pieces_of`."""
    with scratch() as folder:
        file = folder / "data"
        with file.open("wb") as made:
            made.truncate(mib * MIB)
        run(["mke2fs", "-q", "-F", "-t", "ext4", "-L", "data", "-U", identity, "-b", str(PIECE_BYTES), "-m", "1",
             "-E", f"hash_seed={identity},root_owner=0:0,lazy_itable_init=1,lazy_journal_init=1,nodiscard", str(file)],
            environment={"E2FSPROGS_FAKE_TIME": "1735689600", "MKE2FS_CONFIG": "/dev/null"})  # fmt: skip
        return msgspec.msgpack.encode(list(_filled(file)))


def data_identity() -> str:
    return _identity("data file system").lower()


def pieces_of(packed: bytes) -> list[tuple[int, bytes]]:
    """What is not zero: where, and which bytes."""
    return msgspec.msgpack.decode(packed, type=list[tuple[int, bytes]])


def _filled(path: Path) -> Any:
    """Runs of blocks that are not zero."""
    empty, start, run_of = bytes(PIECE_BYTES), 0, bytearray()
    with path.open("rb") as file:
        total = os.fstat(file.fileno()).st_size
        at = 0
        while at < total:
            try:
                at = os.lseek(file.fileno(), at, os.SEEK_DATA) // PIECE_BYTES * PIECE_BYTES
            except OSError:  # nothing but a hole from here
                break
            piece = os.pread(file.fileno(), PIECE_BYTES, at)
            if piece != empty:
                if run_of and start + len(run_of) != at:
                    yield start, bytes(run_of)
                    run_of.clear()
                if not run_of:
                    start = at
                run_of += piece
            at += PIECE_BYTES
    if run_of:
        yield start, bytes(run_of)


def versions_of_tools() -> dict[str, str]:
    """The versions of the programs that make a drive.  Raises `BadInput` for one that is not installed."""
    asked = {"sfdisk": ("fdisk", "--version"), "mke2fs": ("e2fsprogs", "-V"), "grub-mkimage": ("grub-common", "-V")}
    found: dict[str, str] = {}
    if not (FOLDER / "boot.img").exists():
        raise errors.BadInput(f"{FOLDER}/boot.img is missing: apt-get install grub-pc-bin")
    if not (UEFI_FOLDER / "modinfo.sh").exists():
        raise errors.BadInput(f"{UEFI_FOLDER}/modinfo.sh is missing: apt-get install grub-efi-amd64-bin")
    path = f"/usr/sbin:/sbin:{os.environ.get('PATH', os.defpath)}"
    for program, (package, option) in asked.items():
        if (there := shutil.which(program, path=path)) is None:
            raise errors.BadInput(f"{program} is missing: apt-get install {package}")
        told = subprocess.run([there, option], capture_output=True, text=True, timeout=30, check=False)
        found[program] = (told.stdout or told.stderr).split("\n", 1)[0].strip()
    return found
