"""A directory with all that an operating system keeps of it goes into a tree, and comes back the same."""

import os
import socket
import stat

import pytest

from boxwork.clock import SystemClock
from boxwork.content import tree_system
from boxwork.content.content import Content
from boxwork.content.tree import TABLES, checkout, commit
from boxwork.errors import BadInput
from boxwork.testing.stores import content_settings

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="devices and file capabilities need root")
# cap_net_bind_service, effective and permitted: VFS_CAP_REVISION_2 of linux/capability.h.
CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")


@pytest.fixture
def content(tmp_path):
    opened = Content(tmp_path / "data", content_settings(), SystemClock(), cache_tables=TABLES)
    yield opened
    opened.close()


@pytest.fixture
def source(tmp_path):
    root = tmp_path / "source"
    (root / "sub" / "plain").mkdir(parents=True)
    (root / "one").write_bytes(b"shared")
    os.link(root / "one", root / "sub" / "two")
    (root / "sub" / "alone").write_bytes(b"alone")
    (root / "sub" / "plain" / "file").write_bytes(b"plain")
    (root / "sub" / "link").symlink_to("alone")
    os.mkfifo(root / "sub" / "pipe", 0o640)
    try:
        os.setxattr(root / "sub" / "alone", "user.mime", b"text/plain")
        os.setxattr(root / "sub", "user.note", b"\xff\0")
    except OSError as reason:
        pytest.skip(f"this file system has no attributes: {reason}")
    return root


def test_attributes_pipes_and_shared_inodes_are_in_the_value(content, source):
    tree = commit(content, source, whole=True)
    assert (("user.mime", b"text/plain"),) == tree.find("sub/alone").attributes
    assert (("user.note", b"\xff\0"),) == tree.find("sub").attributes
    assert ("pipe", 0o640) == (tree.find("sub/pipe").kind, tree.find("sub/pipe").mode)
    assert {"one": "one", "sub/two": "one"} == {path: entry.group for path, entry in tree.walk() if entry.group}
    # A directory without such things is spelled as before.
    plain = commit(content, source, ownership=True, special="skip")
    assert plain.find("sub/plain").ref == tree.find("sub/plain").ref
    assert plain.ref != tree.ref


@pytest.mark.parametrize("mode", ["copy", "hardlink"])
@as_root
def test_a_whole_directory_comes_back_the_same(content, source, tmp_path, mode):
    os.mknod(source / "sub" / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(source / "disk", stat.S_IFBLK | 0o660, os.makedev(8, 1))
    os.setxattr(source / "one", "security.capability", CAPABILITY)
    for path in (source / "one", source / "sub/alone", source / "sub/plain/file"):
        path.chmod(0o444)  # linked files are read-only
    tree = commit(content, source, whole=True)
    assert ("character", (1, 3)) == (tree.find("sub/null").kind, tree.find("sub/null").device)
    target = checkout(content, tree, tmp_path / "target", mode=mode, ownership=True)
    assert CAPABILITY == os.getxattr(target / "one", "security.capability")
    assert os.path.samefile(target / "one", target / "sub/two")
    ours = [path for path, entry in tree.walk() if entry.kind == "file"]
    if mode == "copy":
        assert tree == commit(content, target, whole=True)
    else:  # files that are linked to the store share their inode with it, and only with it
        again = commit(content, target, whole=True)
        assert [(path, again.find(path).ref, again.find(path).attributes) for path in ours] == [
            (path, tree.find(path).ref, tree.find(path).attributes) for path in ours
        ]


def test_without_whole_nothing_changes_and_what_has_no_content_is_named(content, source):
    with pytest.raises(BadInput, match=r"sub/pipe.*whole=True"):
        commit(content, source)
    (source / "sub" / "pipe").unlink()
    tree = commit(content, source)
    assert all(not entry.attributes and not entry.group for _, entry in tree.walk())


def test_a_socket_is_refused_by_its_path_or_skipped(content, source, monkeypatch):
    monkeypatch.chdir(source / "sub")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind("sock")
    with pytest.raises(BadInput, match="sub/sock.*a socket"):
        commit(content, source, whole=True)
    assert "sock" not in commit(content, source, whole=True, special="skip").subtree(
        commit(content, source, whole=True, special="skip").find("sub")
    ).entries  # fmt: skip
    assert "sub" not in commit(content, source, whole=True, ignore=["sub"]).entries


def test_a_change_of_an_attribute_alone_is_a_change(content, source):
    before = commit(content, source, whole=True)
    os.setxattr(source / "sub" / "alone", "user.mime", b"text/html")
    after = commit(content, source, whole=True)
    assert before != after
    os.removexattr(source / "sub" / "alone", "user.mime")
    assert () == commit(content, source, whole=True).find("sub/alone").attributes


def test_an_attribute_that_is_too_long_is_refused_by_its_path(content, source, monkeypatch):
    monkeypatch.setattr(tree_system, "ATTRIBUTE_BYTES_MAX", 4)
    with pytest.raises(BadInput, match=r"source/sub.* has an attribute .* a tree takes 4"):
        commit(content, source, whole=True)


def test_links_cannot_be_followed_into_a_whole_directory(content, source):
    with pytest.raises(BadInput, match="follow=False"):
        commit(content, source, whole=True, follow=True)
