"""The boot loader of a drive: GRUB for a PC's BIOS and for a UEFI, and the block in which it counts.

GRUB decides before anything else runs, so a version that does not even start is noticed: a slot on trial has a number
of tries, one is taken away *on disk* before each boot of it, and when none is left the good slot starts.  The slot
clears the trial itself, when it is healthy (`guest`).

    good=a        the slot that was healthy, or the only one
    trial=b       the slot on trial, or nothing
    tries=2       boots that it has left
    refused=…     the root of the version that was refused last
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from boxwork import derivation, errors
from boxwork.packs.images.chamber import scratch
from boxwork.packs.images.esp import file_system

# GRUB's own code, once started: a disk of a BIOS with GPT, a tar file as a file system, Linux, the counting.
COMMON = (
    "part_gpt", "memdisk", "tar", "loadenv", "normal", "configfile", "test", "echo", "sleep", "serial", "reboot",
)  # fmt: skip
# On a BIOS the kernel starts where it was read to, by its 16-bit entry.  By its 32-bit one GRUB reads it to 1 MiB, and
# then moves all the room it needs to unpack itself, 54 MB, up to 16 MiB, byte by byte: 2.4 s of an emulated machine.
MODULES = ("biosdisk", "linux16", *COMMON)
# A UEFI brings the disk itself; `regexp` finds out which one this is, of several.
UEFI_MODULES = ("linux", "regexp", *COMMON)
PLATFORM, UEFI_PLATFORM = "i386-pc", "x86_64-efi"
FOLDER = Path("/usr/lib/grub") / PLATFORM
UEFI_FOLDER = Path("/usr/lib/grub") / UEFI_PLATFORM
# Where GRUB and the machine find things.  `partitions` lays them out in this order.
STATE_PARTITION = 2
BOOT_PARTITIONS = {"a": 3, "b": 4}
TRIES_MAX = 9
# GRUB puts together 30 modules.  Unit: s.
MAKE_S_MAX = 60
SECTOR_BYTES = 512

# grub-core/boot/i386/pc/boot.S and diskboot.S: where the first sector names the second, and the second all others.
_KERNEL_SECTOR_AT = 0x5C
_REST_SECTOR_AT = SECTOR_BYTES - 12
CODE_BYTES = 440  # of the first sector; the partition table begins behind it

# --- the block ----------------------------------------------------------------------------------------------

# GRUB writes into files only, so the block is the first file of a tar file: behind a header of one sector.
BLOCK_NAME = "grubenv"
BLOCK_AT = SECTOR_BYTES
BLOCK_BYTES = 1024
BLOCK_HEADER = b"# GRUB Environment Block\n"
NAMES = ("good", "trial", "tries", "refused")


def block(state: dict[str, str]) -> bytes:
    """The block that holds this state.  All that changes is in its first sector, which a disk replaces as a whole."""
    text = BLOCK_HEADER + b"".join(f"{name}={state.get(name, '')}\n".encode() for name in NAMES)
    if len(text) > SECTOR_BYTES:
        raise errors.BadInput(f"the state of a drive has {len(text)} bytes: at most {SECTOR_BYTES} fit into a sector")
    return text.ljust(BLOCK_BYTES, b"#")


def state_of(data: bytes) -> dict[str, str]:
    """What a block says.  Raises `FormatError` if it is none."""
    if not data.startswith(BLOCK_HEADER):
        raise errors.FormatError(f"this is no state of a drive: it begins with {data[:24]!r}, not {BLOCK_HEADER!r}")
    lines = data[:SECTOR_BYTES].decode("ascii", "replace").splitlines()
    found = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    return {name: found.get(name, "") for name in NAMES}


# --- the program --------------------------------------------------------------------------------------------


# What only one of them says first.  A BIOS calls the disk it starts from the first; a UEFI says where the program came
# from: (hd0,gpt8)/EFI/BOOT.
BIOS_FIRST = "set disk=hd0\nset bits=16"
UEFI_FIRST = "regexp --set=1:disk '^\\(([^,)]+)' \"$cmdpath\""


def configuration(first: str = BIOS_FIRST) -> str:
    """What GRUB does: take a try away, choose the slot, hand over to what the slot says of itself."""
    block_at = f"($disk,gpt{STATE_PARTITION})/{BLOCK_NAME}"
    count = "\n".join(
        f'  {"if" if tries == 1 else "elif"} [ "$tries" = {tries} ]; then set tries={tries - 1}; set slot=$trial'
        for tries in range(1, TRIES_MAX + 1)
    )
    names = " ".join(NAMES)
    return f"""\
serial --unit=0 --speed=115200
terminal_input console
terminal_output serial
{first}
load_env --file {block_at} {names}
set slot=$good
if [ -n "$trial" ]; then
{count}
  fi
  if [ "$slot" = "$trial" ]; then save_env --file {block_at} {names}; fi
fi
function start {{
  if [ "$slot" = b ]; then set root=$disk,gpt{BOOT_PARTITIONS["b"]}; else set root=$disk,gpt{BOOT_PARTITIONS["a"]}; fi
  echo "boxwork: slot $slot"
  source /boot.cfg
  boot
}}
start
echo "boxwork: slot $slot cannot be started"
set slot=$good
start
sleep 5
reboot
"""


def line(options: str, words: dict[str, object]) -> str:
    """What a slot says of itself: GRUB reads it from the slot's boot partition.  An older GRUB does not say `bits`."""
    told = " ".join([options, *(f"{word}={value}" for word, value in words.items())])
    return f"""\
set told="{told} boxwork.slot=$slot"
if [ "$bits" = 16 ]; then linux16 /kernel $told; initrd16 /initrd
else linux /kernel $told; initrd /initrd; fi
"""


@derivation(name="image_loader", worker="thread", ignores=["subprocess", "scratch", "pathlib.Path"])
def grub(configuration: str, modules: tuple[str, ...], at: int, tools: str) -> bytes:
    """The code of a drive's first sector, filled up to a sector, and then GRUB itself as it lies from sector `at`.

    `tools` is the version of GRUB.
    """
    core = bytearray(_image(PLATFORM, FOLDER, configuration, modules))
    first = bytearray((FOLDER / "boot.img").read_bytes()[:CODE_BYTES].ljust(SECTOR_BYTES, b"\0"))
    first[_KERNEL_SECTOR_AT : _KERNEL_SECTOR_AT + 8] = at.to_bytes(8, "little")
    core[_REST_SECTOR_AT : _REST_SECTOR_AT + 8] = (at + 1).to_bytes(8, "little")
    return bytes(first + core)


@derivation(name="image_uefi_loader", worker="thread", ignores=["subprocess", "scratch", "pathlib.Path"])
def uefi(configuration: str, modules: tuple[str, ...], total: int, tools: str) -> bytes:
    """The partition of `total` bytes that a UEFI starts from, up to the end of GRUB in it."""
    return file_system(_image(UEFI_PLATFORM, UEFI_FOLDER, configuration, modules), total)


def _image(platform: str, folder: Path, configuration: str, modules: tuple[str, ...]) -> bytes:
    """GRUB with these modules, and its configuration inside."""
    with scratch() as place:
        (place / "grub.cfg").write_text(configuration)
        memory = place / "memory.tar"
        run(["tar", "--format=ustar", "--owner=0", "--group=0", "--numeric-owner", "--mtime=@0", "--mode=0644",
             "-cf", str(memory), "-C", str(place), "grub.cfg"])  # fmt: skip
        # With the slash, or a UEFI's GRUB takes the folder that it was started from.
        run(["grub-mkimage", "-O", platform, "-d", str(folder), "-m", str(memory), "-p", "(memdisk)/",
             "-o", str(place / "core"), *modules])  # fmt: skip
        return (place / "core").read_bytes()


def run(command: list[str], **options: Any) -> None:
    """A program that makes a part of a drive: in English, and with a clock that stands."""
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "TZ": "UTC", "SOURCE_DATE_EPOCH": "0"}
    environment |= options.pop("environment", {})
    done = subprocess.run(command, capture_output=True, timeout=MAKE_S_MAX, check=False, env=environment, **options)
    if done.returncode:
        raise ValueError(f"{command[0]} ended with {done.returncode}: {done.stderr.decode(errors='replace')[:400]}")
