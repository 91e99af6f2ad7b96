"""Kernel and initrd out of Debian packages, without installing them: boxes over the bytes of two .deb files.

A .deb is an `ar` archive with a compressed tar in it.  The kernel package has the kernel and its modules, the package
busybox-static a shell that needs nothing beside it.
"""

from __future__ import annotations

import gzip
import io
import re
import tarfile
from collections.abc import Iterable

from boxwork import derivation, errors
from boxwork.packs.images import guest

# What stands between a kernel of Debian's "cloud" kind and a squashfs on a virtio disk; what they need comes along.
# A plain `-drive` of QEMU is an IDE disk; a network card of virtio is there if it is asked for.  The last three are for
# systemd: the power button, and how it is read; a mount point that waits for its first use.
MODULES = (
    "virtio_pci", "virtio_blk", "ata_piix", "sd_mod", "squashfs", "overlay", "virtio_net", "button", "evdev", "autofs4",
)  # fmt: skip

# What resets a machine that hangs, with the word for its seconds: hardware first, as far as the kernel has it, and at
# last the kernel's own timer.  Debian's "cloud" kernel has the first and the last, its common one all.
WATCHDOGS = (("wdat_wdt", "timeout"), ("i6300esb", "heartbeat"), ("iTCO_wdt", "heartbeat"), ("softdog", "soft_margin"))

_AR_MAGIC = b"!<arch>\n"
_AR_HEADER_BYTES = 60
_DEPENDS = re.compile(rb"\0depends=([^\0]*)\0")
_KERNEL = re.compile(r"(?:\./)?boot/vmlinuz-")
_MODULE = re.compile(r"(?:\./)?(?:usr/)?lib/modules/[^/]+/kernel/(?:.*/)?([^/]+)\.ko")
_WANTED = re.compile(r"/(virtio|block|ata|scsi|net|acpi|input|autofs|squashfs|overlayfs|lib|crypto|watchdog)/")
_BUSYBOX = re.compile(r"(?:\./)?(?:usr/)?bin/busybox")


# tarfile.open reads what is in memory here, not a path.
@derivation(ignores=["tarfile.open"])
def kernel(package: bytes) -> bytes:
    """The kernel in a linux-image package."""
    with _data_of(package) as archive:
        for entry in archive:
            if entry.isfile() and _KERNEL.match(entry.name):
                return _read(archive, entry)
    raise errors.BadInput("the package has no boot/vmlinuz-…: give a linux-image package, not the one that names it")


@derivation(ignores=["tarfile.open"])
def initrd(package: bytes, busybox: bytes) -> bytes:
    """The initrd for the kernel of `package`: its modules, a shell, and the script that starts an image."""
    modules = _modules(package)
    order = [name for name in _in_order(MODULES, modules) if name in modules]
    words = dict(WATCHDOGS)
    watching = [name for name in _in_order(words, modules) if name in modules and name not in order]
    watchdogs = "".join(f"{name}.ko {words.get(name, '')}\n" for name in watching)
    files = {
        "bin/busybox": (0o755, busybox_of(busybox)),
        "init": (0o755, guest.INIT.encode()),
        "health": (0o755, guest.HEALTH.encode()),
        "start": (0o755, guest.START.encode()),
        "slot": (0o644, guest.SLOT_SCRIPT.encode()),
        "modules/order": (0o644, "".join(f"{name}.ko\n" for name in order).encode()),
        "modules/watchdogs": (0o644, watchdogs.encode()),
        **{f"modules/{name}.ko": (0o644, modules[name]) for name in (*order, *watching)},
    }
    # Packed, since a BIOS reads a plain disk two bytes at a time: a megabyte less is half a second under emulation.
    return gzip.compress(cpio(files, directories=("bin", "modules", "dev")), mtime=0)


def busybox_of(package: bytes) -> bytes:
    """The program in the package busybox-static."""
    return _find(package, _BUSYBOX)


def cpio(files: dict[str, tuple[int, bytes]], directories: Iterable[str] = ()) -> bytes:
    """A `newc` archive, which the kernel unpacks as its first root; names in order, times zero, owner root."""
    out = bytearray()
    number = 0

    def add(name: str, mode: int, data: bytes) -> None:
        nonlocal number
        number += 1
        raw = name.encode() + b"\0"
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(raw), 0)
        out.extend(b"070701" + b"".join(b"%08X" % field for field in fields) + raw)
        out.extend(bytes(-len(out) % 4))
        out.extend(data)
        out.extend(bytes(-len(out) % 4))

    for name in sorted(directories):
        add(name, 0o040755, b"")
    for name, (mode, data) in sorted(files.items()):
        add(name, 0o100000 | mode, data)
    add("TRAILER!!!", 0, b"")
    return bytes(out)


def _modules(package: bytes) -> dict[str, bytes]:
    """Module name → bytes, of those that could be wanted: a package has thousands, and `MODULES` need a dozen."""
    found: dict[str, bytes] = {}
    with _data_of(package) as archive:
        for entry in archive:
            match = _MODULE.fullmatch(entry.name)
            if match and entry.isfile() and _WANTED.search(entry.name):
                found[match[1].replace("-", "_")] = _read(archive, entry)
    return found


def _in_order(wanted: Iterable[str], modules: dict[str, bytes]) -> list[str]:
    """The modules with what they need, each after its own needs.  What is not there is built in."""
    done: list[str] = []

    def visit(name: str) -> None:
        if name in done:
            return
        match = _DEPENDS.search(modules.get(name, b""))
        for need in match[1].decode().replace("-", "_").split(",") if match and match[1] else ():
            visit(need)
        done.append(name)

    for name in wanted:
        visit(name)
    return done


def _find(package: bytes, pattern: re.Pattern[str]) -> bytes:
    with _data_of(package) as archive:
        for entry in archive:
            if entry.isfile() and pattern.fullmatch(entry.name):
                return _read(archive, entry)
    raise errors.BadInput(f"the package has no file like {pattern.pattern}")


def _read(archive: tarfile.TarFile, entry: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(entry)
    return file.read() if file is not None else b""


def _data_of(package: bytes) -> tarfile.TarFile:
    """The files in a .deb: the member data.tar of the ar archive."""
    if not package.startswith(_AR_MAGIC):
        raise errors.BadInput("these bytes are no Debian package: it begins with !<arch>")
    at = len(_AR_MAGIC)
    while at + _AR_HEADER_BYTES <= len(package):
        name = package[at : at + 16].decode("ascii", "replace").strip().rstrip("/")
        size = int(package[at + 48 : at + 58])
        at += _AR_HEADER_BYTES
        if name.startswith("data.tar"):
            if name.endswith(".zst"):
                raise errors.BadInput("the package is packed with zstd, which Python 3.11 cannot read: take Debian's")
            return tarfile.open(fileobj=io.BytesIO(package[at : at + size]))
        at += size + size % 2
    raise errors.BadInput("the Debian package has no data.tar")
