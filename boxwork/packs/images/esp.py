"""The partition that a UEFI starts from: a FAT file system with one program in it, EFI/BOOT/BOOTX64.EFI.

Written here, because mkfs.vfat draws an identity by chance and mtools write the time.  FAT12 as Microsoft's
specification has it (fatgen103): a boot sector, two equal tables, the root directory, clusters.  The program lies in
one piece behind its two directories.
"""

from __future__ import annotations

import struct

from boxwork import errors

SECTOR_BYTES = 512
SECTORS_PER_CLUSTER = 4
CLUSTER_BYTES = SECTORS_PER_CLUSTER * SECTOR_BYTES
ENTRY_BYTES = 32
ROOT_ENTRIES = 64
TABLES = 2
# A file system of more clusters is no FAT12.  Unit: clusters.
CLUSTERS_MAX = 4_084
# Media descriptor of a fixed disk; the first entry of a table repeats it.
FIXED = 0xF8
END = 0xFFF
FILE, DIRECTORY = 0x20, 0x10
# 1980-01-01, the first day that FAT knows.
DAY = 0x0021


def file_system(program: bytes, total_bytes: int) -> bytes:
    """The partition's bytes up to the end of the program; what follows is zero.  Raises `TooLarge`."""
    sectors = total_bytes // SECTOR_BYTES
    root_sectors = ROOT_ENTRIES * ENTRY_BYTES // SECTOR_BYTES
    table_sectors = _sectors(3 * (sectors // SECTORS_PER_CLUSTER + 2) // 2)
    clusters = (sectors - 1 - TABLES * table_sectors - root_sectors) // SECTORS_PER_CLUSTER
    if clusters > CLUSTERS_MAX:
        raise errors.TooLarge(f"{total_bytes} bytes are too large for FAT12: at most {CLUSTERS_MAX} clusters")
    count = -(-len(program) // CLUSTER_BYTES)
    if count + 2 > clusters:
        raise errors.TooLarge(
            f"the loader has {len(program)} bytes, its partition has room for {clusters - 2} clusters"
        )
    efi, boot, first = 2, 3, 4
    chain = [FIXED | 0xF00, END, END, END, *range(first + 1, first + count), END]
    return b"".join(
        (
            _boot_sector(sectors, table_sectors),
            TABLES * _table(chain).ljust(table_sectors * SECTOR_BYTES, b"\0"),
            _entry(b"EFI        ", DIRECTORY, efi).ljust(ROOT_ENTRIES * ENTRY_BYTES, b"\0"),
            _directory(efi, 0, _entry(b"BOOT       ", DIRECTORY, boot)),
            _directory(boot, efi, _entry(b"BOOTX64 EFI", FILE, first, len(program))),
            program,
        )
    )


def _sectors(size: int) -> int:
    return -(-size // SECTOR_BYTES)


def _boot_sector(sectors: int, table_sectors: int) -> bytes:
    small, large = (sectors, 0) if sectors < 1 << 16 else (0, sectors)
    head = struct.pack(
        "<3s8sHBHBHHBHHHIIBBBI11s8s",
        b"\xeb\x3c\x90", b"BOXWORK ", SECTOR_BYTES, SECTORS_PER_CLUSTER, 1, TABLES, ROOT_ENTRIES, small, FIXED,
        table_sectors, 32, 2, 0, large, 0x80, 0, 0x29, 0, b"NO NAME    ", b"FAT12   ",
    )  # fmt: skip
    return head.ljust(SECTOR_BYTES - 2, b"\0") + b"\x55\xaa"


def _table(chain: list[int]) -> bytes:
    """Two entries of twelve bits are three bytes."""
    pairs = zip(chain[::2], [*chain[1::2], 0], strict=False)
    return b"".join((one | other << 12).to_bytes(3, "little") for one, other in pairs)


def _directory(own: int, parent: int, entry: bytes) -> bytes:
    dots = _entry(b".          ", DIRECTORY, own) + _entry(b"..         ", DIRECTORY, parent)
    return (dots + entry).ljust(CLUSTER_BYTES, b"\0")


def _entry(name: bytes, kind: int, cluster: int, size: int = 0) -> bytes:
    return struct.pack("<11sBBBHHHHHHHI", name, kind, 0, 0, 0, DAY, DAY, 0, 0, DAY, cluster, size)
