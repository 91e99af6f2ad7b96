from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from boxwork import errors
from boxwork.packs.images import esp

MIB = 1 << 20
FSCK = shutil.which("fsck.fat", path="/usr/sbin:/sbin")


def read(image: bytes) -> bytes:
    """The program, as a reader finds it: by the boot sector, the directories, and the chain of its clusters."""
    reserved, tables, entries = (
        int.from_bytes(image[14:16], "little"),
        image[16],
        int.from_bytes(image[17:19], "little"),
    )
    table_at = reserved * 512
    root_at = table_at + tables * int.from_bytes(image[22:24], "little") * 512
    data_at = root_at + entries * 32

    def follow(cluster: int) -> bytes:
        found = b""
        while cluster < 0xFF8:
            at = data_at + (cluster - 2) * image[13] * 512
            found += image[at : at + image[13] * 512]
            pair = int.from_bytes(image[table_at + 3 * cluster // 2 :][:2], "little")
            cluster = pair >> 4 if cluster % 2 else pair & 0xFFF
        return found

    def entry(directory: bytes, name: bytes) -> tuple[int, int]:
        at = next(at for at in range(0, len(directory), 32) if directory[at : at + 11] == name)
        return int.from_bytes(directory[at + 26 : at + 28], "little"), int.from_bytes(
            directory[at + 28 : at + 32], "little"
        )

    cluster, _ = entry(image[root_at:data_at], b"EFI        ")
    cluster, _ = entry(follow(cluster), b"BOOT       ")
    cluster, size = entry(follow(cluster), b"BOOTX64 EFI")
    return follow(cluster)[:size]


@pytest.mark.parametrize("size", [1, 2047, 2048, 2049, 300_001])
def test_the_program_is_found_as_it_was_put(size: int) -> None:
    program = bytes(number * 7 % 251 for number in range(size))
    assert program == read(esp.file_system(program, 2 * MIB).ljust(2 * MIB, b"\0"))


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(errors.TooLarge, match="has room for"):
        esp.file_system(b"x" * (2 * MIB), 2 * MIB)
    with pytest.raises(errors.TooLarge, match="FAT12"):
        esp.file_system(b"x", 64 * MIB)


@pytest.mark.servers
@pytest.mark.skipif(FSCK is None, reason="needs dosfstools")
def test_fsck_finds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "esp"
    path.write_bytes(esp.file_system(b"program" * 40_000, 2 * MIB).ljust(2 * MIB, b"\0"))
    found = subprocess.run([FSCK, "-n", path], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout
