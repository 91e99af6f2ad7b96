"""A root goes through a tar file and comes back the same: owners, devices, links, attributes."""

from __future__ import annotations

import io
import os
import shutil
import stat
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from boxwork import Tree, TreeEntry, errors, tree
from boxwork.packs.images.archive import tar, tar_chunks, tree_of_tar
from boxwork.packs.images.exports import squashfs, squashfs_tools
from boxwork.packs.images.oci import layer

CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")  # cap_net_raw=ep


def root_of(work: Any) -> Tree:
    def put(data: bytes) -> Any:
        return work.put(data, durable=False)

    big = b"x" * 5_000_000
    below = put(tree.encode([
        TreeEntry("big", "file", 0o644, len(big), put(big), "", 0, 0),
        TreeEntry("ping", "file", 0o755, 4, put(b"ping"), "", 0, 0, attributes=(("security.capability", CAPABILITY),)),
        TreeEntry("perl", "file", 0o755, 4, put(b"perl"), "", 0, 0, group="bin/perl"),
        TreeEntry("perl5", "file", 0o755, 4, put(b"perl"), "", 0, 0, group="bin/perl"),
        TreeEntry("su", "file", 0o4755, 2, put(b"su"), "", 0, 7),
    ]))  # fmt: skip
    long = "n" * 200
    return Tree(put(tree.encode([
        TreeEntry("bin", "directory", 0o2755, 0, below, "", 0, 42),
        TreeEntry("link", "symlink", target="bin/" + "t" * 150, uid=3, gid=4),
        TreeEntry("null", "character", 0o666, uid=0, gid=0, device=(1, 3)),
        TreeEntry("disk", "block", 0o660, uid=0, gid=6, device=(259, 70_000)),
        TreeEntry("pipe", "pipe", 0o600, uid=0, gid=0),
        TreeEntry(long, "file", 0o600, 0, put(b""), "", 4_000_000_000, 5),
        TreeEntry("not-utf8-\udcff", "file", 0o600, 1, put(b"?"), "", 0, 0),
    ])), work.content)  # fmt: skip


def test_nothing_is_lost_on_the_way(work: Any) -> None:
    root = root_of(work)
    with io.BytesIO(b"".join(tar_chunks(root, 0))) as file:
        assert root == tree_of_tar(file, work.content)


def test_the_same_root_is_the_same_file_and_every_time_stamp_is_the_one_given(work: Any) -> None:
    root = root_of(work)
    assert work.derive(tar, root=root) == work.derive(tar, root=root)
    with tarfile.open(fileobj=io.BytesIO(work.get(work.derive(tar, root=root, epoch_s=77)))) as archive:
        members = archive.getmembers()
    assert {77} == {member.mtime for member in members}
    assert {""} == {member.uname + member.gname for member in members}


@pytest.mark.servers
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root for devices and file capabilities")
def test_a_directory_with_everything_comes_through_tar_layers_and_squashfs(work: Any, tmp_path: Path) -> None:
    if shutil.which("tar2sqfs") is None:
        pytest.skip("needs squashfs-tools-ng")
    source = tmp_path / "source"
    (source / "bin").mkdir(parents=True)
    (source / "bin/perl").write_bytes(b"perl")
    os.link(source / "bin/perl", source / "bin/perl5")
    (source / "bin/ping").write_bytes(b"ping")
    os.setxattr(source / "bin/ping", "security.capability", CAPABILITY)
    os.setxattr(source / "bin/ping", "user.origin", b"\xff\x00 here")
    os.mknod(source / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mkfifo(source / "pipe")
    root = work.put_tree(source, whole=True)

    with work.open(work.derive(tar, root=root)) as file:
        assert root == tree_of_tar(file, work.content)
    empty = Tree(work.put(tree.encode([])), work.content)
    with work.open(work.derive(layer, before=empty, after=root)) as file:
        assert root == tree_of_tar(file, work.content)
    with work.open(work.derive(squashfs, root=root, tools=squashfs_tools())) as file:
        (tmp_path / "root.squashfs").write_bytes(file.read())
    back = subprocess.run(["sqfs2tar", tmp_path / "root.squashfs"], stdout=subprocess.PIPE, timeout=60, check=True)
    assert root == tree_of_tar(io.BytesIO(back.stdout), work.content)


@pytest.mark.servers
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root for devices and owners")
def test_gnu_tar_sees_the_same_as_a_checkout(work: Any, tmp_path: Path) -> None:
    root = root_of(work)
    target = work.checkout(root, tmp_path / "root", ownership=True, mode="copy", mtime_ns=0)
    (tmp_path / "root.tar").write_bytes(b"".join(tar_chunks(root, 0)))
    said = subprocess.run(
        ["tar", "--compare", "--xattrs", "--xattrs-include=*", "-f", tmp_path / "root.tar", "-C", target],
        capture_output=True, text=True, timeout=60,
    ).stdout  # fmt: skip
    assert [] == [line for line in said.splitlines() if "Mod time" not in line]
    assert CAPABILITY == os.getxattr(target / "bin/ping", "security.capability")
    assert (target / "bin/perl").samefile(target / "bin/perl5")
    assert 0o4755 == (target / "bin/su").stat().st_mode & 0o7777


def tar_of(*members: tuple[str, bytes, str]) -> io.BytesIO:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, kind, target in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            archive.addfile(info)
    out.seek(0)
    return out


@pytest.mark.parametrize(
    ("file", "said"),
    [
        (tar_of(("../up", tarfile.REGTYPE, "")), "leads out of the archive"),
        (tar_of(("a/../../up", tarfile.REGTYPE, "")), "leads out of the archive"),
        (tar_of(("a", tarfile.LNKTYPE, "../etc/passwd")), "leads out of the archive"),
        (tar_of(("a", tarfile.LNKTYPE, "b")), "is a link to 'b', which is not there"),
        (io.BytesIO(b"no tar file at all" * 100), "no whole tar file"),
        (io.BytesIO(tar_of(("a", tarfile.REGTYPE, "")).getvalue()[:100]), "no whole tar file"),
    ],
)
def test_a_hostile_or_broken_file_is_refused(work: Any, file: Any, said: str) -> None:
    with pytest.raises(errors.BadInput, match=said):
        tree_of_tar(file, work.content)
