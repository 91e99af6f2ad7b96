from __future__ import annotations

import gzip
import io
import lzma
import tarfile

import pytest

from boxwork import errors
from boxwork.packs.images.initrd import busybox_of, cpio, initrd, kernel

MODULES = "./lib/modules/6.1/kernel"


def module(*needs: str) -> bytes:
    return b"\x7fELF\0license=GPL\0depends=" + ",".join(needs).encode() + b"\0name=x\0"


FILES = {
    "./boot/vmlinuz-6.1": b"the kernel",
    f"{MODULES}/drivers/virtio/virtio.ko": module("virtio_ring"),
    f"{MODULES}/drivers/virtio/virtio_ring.ko": module(),
    f"{MODULES}/drivers/virtio/virtio_pci.ko": module("virtio_ring", "virtio"),
    f"{MODULES}/drivers/block/virtio_blk.ko": module("virtio", "virtio-ring"),
    f"{MODULES}/fs/squashfs/squashfs.ko": module(),
    f"{MODULES}/drivers/gpu/huge.ko": module(),
}


def deb(files: dict[str, bytes], *, member: str = "data.tar.xz") -> bytes:
    """A Debian package with these files."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    members = {"debian-binary": b"2.0\n", "control.tar.xz": b"odd", member: lzma.compress(plain.getvalue())}
    out = b"!<arch>\n"
    for name, data in members.items():
        out += (
            f"{name:<16}{0:<12}{0:<6}{0:<6}{0o100644:<8o}{len(data):<10}`\n".encode() + data + b"\n" * (len(data) % 2)
        )
    return out


def unpacked(archive: bytes) -> dict[str, tuple[int, bytes]]:
    """Name → (mode, bytes), read by the description of the format in the kernel's buffer-format.rst."""
    found, at = {}, 0
    while True:
        assert archive[at : at + 6] == b"070701"
        fields = [int(archive[at + 6 + 8 * each : at + 14 + 8 * each], 16) for each in range(13)]
        mode, size, length = fields[1], fields[6], fields[11]
        name = archive[at + 110 : at + 110 + length - 1].decode()
        at += (110 + length + 3) // 4 * 4
        if name == "TRAILER!!!":
            return found
        found[name] = (mode, archive[at : at + size])
        at += (size + 3) // 4 * 4


def test_the_kernel_comes_out_of_its_package() -> None:
    assert b"the kernel" == kernel(deb(FILES))


def test_modules_come_in_the_order_in_which_they_need_each_other() -> None:
    found = unpacked(gzip.decompress(initrd(deb(FILES), deb({"./bin/busybox": b"a shell"}))))
    order = found["modules/order"][1].decode().split()
    assert set(order) == {"virtio.ko", "virtio_ring.ko", "virtio_pci.ko", "virtio_blk.ko", "squashfs.ko"}
    assert order.index("virtio_ring.ko") < order.index("virtio.ko") < order.index("virtio_pci.ko")
    assert order.index("virtio.ko") < order.index("virtio_blk.ko")
    assert found["modules/squashfs.ko"] == (0o100644, module())
    assert found["bin/busybox"] == (0o100755, b"a shell")
    assert found["init"][1].startswith(b"#!/bin/busybox sh\n")
    assert "modules/huge.ko" not in found


def test_the_same_packages_give_the_same_initrd() -> None:
    shell = deb({"./bin/busybox": b"a shell"})
    turned = dict(reversed(FILES.items()))
    assert initrd(deb(FILES), shell) == initrd(deb(turned), shell)


def test_an_archive_is_padded_and_ended() -> None:
    for size in range(6):
        archive = cpio({"a": (0o644, bytes(size))}, directories=("d",))
        assert len(archive) % 4 == 0
        assert unpacked(archive) == {"d": (0o040755, b""), "a": (0o100644, bytes(size))}


def test_what_is_no_package_is_refused() -> None:
    with pytest.raises(errors.BadInput, match="no Debian package"):
        kernel(b"PK\3\4")
    with pytest.raises(errors.BadInput, match=r"no data\.tar"):
        kernel(deb(FILES, member="other.tar.xz"))
    with pytest.raises(errors.BadInput, match="zstd"):
        kernel(deb(FILES, member="data.tar.zst"))
    with pytest.raises(errors.BadInput, match="not the one that names it"):
        kernel(deb({"./usr/share/doc/x": b""}))
    with pytest.raises(errors.BadInput, match="no file like"):
        busybox_of(deb(FILES))
