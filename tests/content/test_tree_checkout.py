"""Bringing trees back: whole or not at all, nowhere but at the target, and never a way to change a blob."""

import contextlib
import errno
import fcntl
import os
import resource
import stat
import subprocess
import sys
import threading

import pytest

from boxwork.clock import SystemClock
from boxwork.content import staging, tree_checkout
from boxwork.content.content import Content
from boxwork.content.places.memory import MemoryPlace
from boxwork.content.tree import TABLES, Tree, TreeEntry, checkout, commit, encode, switch
from boxwork.content.tree_checkout import drop_unused_links, invented_mtime_ns
from boxwork.errors import BadInput, BlobCorrupt, BlobMissing, StorageError, StorageFull
from boxwork.keys import ref_of
from boxwork.testing.stores import content_settings

root_only = pytest.mark.servers  # they need root
BIG = b"0123456789" * 20_000


@pytest.fixture
def content(tmp_path):
    with contextlib.closing(
        Content(tmp_path / "data", content_settings(), SystemClock(), cache_tables=TABLES)
    ) as opened:
        yield opened


@pytest.fixture
def source(tmp_path):
    root = tmp_path / "source"
    (root / "sub" / "deep").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / "a.txt").write_bytes(b"alpha")
    (root / "sub" / "run.sh").write_bytes(b"#!/bin/sh\n")
    (root / "sub" / "run.sh").chmod(0o755)
    (root / "sub" / "deep" / "big.bin").write_bytes(BIG)
    (root / "sub" / "link").symlink_to("../a.txt")
    (root / os.fsdecode(b"\xff\n")).write_bytes(b"")
    (root / "sub").chmod(0o750)
    return root


@pytest.fixture
def tree(content, source):
    return commit(content, source)


def put_tree(store, *entries):
    return Tree(store.put(encode(entries)), store)


def leftovers(path):
    return [name for name in os.listdir(path) if name.startswith(".")]


@pytest.mark.parametrize("mode", ["copy", "hardlink"])
def test_what_was_committed_comes_back(content, tree, tmp_path, mode):
    target = checkout(content, tree, tmp_path / "parents" / "target", mode=mode)
    assert target == tmp_path / "parents" / "target"
    assert (target / "sub" / "deep" / "big.bin").read_bytes() == BIG
    assert os.readlink(target / "sub" / "link") == "../a.txt"
    assert os.path.exists(os.fsencode(target) + b"/\xff\n")
    assert commit(content, target, modes="executable") == commit(content, tmp_path / "source", modes="executable")
    assert leftovers(target.parent) == []


def test_a_copy_is_the_same_tree_again(content, tree, tmp_path):
    assert tree == commit(content, checkout(content, tree.ref, tmp_path / "target", mode="copy"))


def test_linked_files_share_their_bytes_and_cannot_be_written(content, tree, tmp_path):
    one = checkout(content, tree, tmp_path / "one")
    two = checkout(content, tree, tmp_path / "two")
    for path, mode in (("a.txt", 0o444), ("sub/run.sh", 0o555), ("sub/deep/big.bin", 0o444)):
        assert os.path.samefile(one / path, two / path)
        assert stat.S_IMODE((one / path).stat().st_mode) == mode
    assert stat.S_IMODE((one / "sub").stat().st_mode) == 0o750
    # A big blob's own file is shared; small ones lie in LMDB and have a copy under blobs/links.
    big = content.file_path(ref_of(BIG))
    assert os.path.samefile(big, one / "sub/deep/big.bin")


def test_files_of_other_modes_do_not_share_an_inode_with_the_blob(content, tmp_path):
    ref = content.put(BIG)
    tree = put_tree(
        content,
        TreeEntry("plain", "file", 0o644, len(BIG), ref),
        TreeEntry("run", "file", 0o755, len(BIG), ref),
        TreeEntry("own", "file", 0o600, len(BIG), ref),
    )
    one, two = checkout(content, tree, tmp_path / "one"), checkout(content, tree, tmp_path / "two")
    assert {name: stat.S_IMODE((one / name).stat().st_mode) for name in ("plain", "run", "own")} == {
        "plain": 0o444,
        "run": 0o555,
        "own": 0o400,
    }
    assert len({(one / name).stat().st_ino for name in ("plain", "run", "own")}) == 3
    assert os.path.samefile(one / "run", two / "run")


def test_a_file_written_to_through_a_link_is_not_handed_on(content, tree, tmp_path):
    """Root may write whatever the mode says; the modification time gives it away."""
    one = checkout(content, tree, tmp_path / "one")
    for path, mode in (("a.txt", 0o444), ("sub/run.sh", 0o555)):
        (one / path).chmod(0o644)
        with open(one / path, "r+b") as file:
            file.write(b"X")
        (one / path).chmod(mode)
    two = checkout(content, tree, tmp_path / "two")
    assert (two / "a.txt").read_bytes() == b"alpha"
    assert (two / "sub" / "run.sh").read_bytes() == b"#!/bin/sh\n"
    assert content.get(ref_of(b"alpha")) == b"alpha"


def test_a_blob_file_written_to_through_a_link_is_found(content, tree, tmp_path):
    one = checkout(content, tree, tmp_path / "one")
    (one / "sub/deep/big.bin").chmod(0o644)
    with open(one / "sub/deep/big.bin", "r+b") as file:
        file.write(b"X")
    with pytest.raises(BlobCorrupt, match="doctor"):
        checkout(content, tree, tmp_path / "two")
    assert not (tmp_path / "two").exists()
    assert leftovers(tmp_path) == []


def test_a_torn_link_file_is_made_again(content, tree, tmp_path):
    checkout(content, tree, tmp_path / "one")
    torn = next((tmp_path / "data" / "blobs" / "links" / "0444").rglob(ref_of(b"alpha").hex))
    torn.chmod(0o600)
    torn.write_bytes(b"")
    assert (checkout(content, tree, tmp_path / "two") / "a.txt").read_bytes() == b"alpha"


def test_an_inode_that_takes_no_more_links_is_copied(content, tree, tmp_path, monkeypatch):
    checkout(content, tree, tmp_path / "one")
    real = os.link

    def link(source, target, **options):
        if "/" in os.fspath(source) and options.get("dst_dir_fd") is not None and "/" not in os.fspath(target):
            raise OSError(errno.EMLINK, "Too many links")
        return real(source, target, **options)

    monkeypatch.setattr(tree_checkout.os, "link", link)
    two = checkout(content, tree, tmp_path / "two")
    assert (two / "a.txt").read_bytes() == b"alpha"
    assert not os.path.samefile(tmp_path / "one" / "a.txt", two / "a.txt")


def test_unused_link_files_can_be_dropped(content, tree, tmp_path):
    checkout(content, tree, tmp_path / "one")
    assert drop_unused_links(content.root) == (0, 0)
    checkout(content, put_tree(content), tmp_path / "one", replace=True)
    assert drop_unused_links(content.root) == (3, len(b"alpha") + len(b"#!/bin/sh\n"))
    assert (checkout(content, tree, tmp_path / "two") / "a.txt").read_bytes() == b"alpha"


def test_modification_times_follow_from_the_bytes(content, tree, tmp_path):
    for mode in ("copy", "hardlink"):
        target = checkout(content, tree, tmp_path / mode, mode=mode)
        assert (target / "a.txt").stat().st_mtime_ns == invented_mtime_ns(ref_of(b"alpha"))
    fixed = checkout(content, tree, tmp_path / "fixed", mode="copy", mtime_ns=5_000_000_000)
    assert (fixed / "a.txt").stat().st_mtime_ns == 5_000_000_000
    assert invented_mtime_ns(ref_of(b"alpha")) != invented_mtime_ns(ref_of(b"beta"))


def test_a_directory_is_replaced_in_one_step_and_only_when_asked(content, tree, tmp_path):
    target = tmp_path / "target"
    target.mkdir()
    (target / "mine").write_bytes(b"mine")
    with pytest.raises(BadInput, match="replace=True"):
        checkout(content, tree, target)
    assert (target / "mine").read_bytes() == b"mine"
    checkout(content, tree, target, replace=True)
    assert sorted(os.listdir(target)) == sorted(tree.entries)
    assert leftovers(tmp_path) == []
    empty = tmp_path / "empty"
    empty.mkdir()
    checkout(content, tree, empty)
    assert (empty / "a.txt").exists()


def test_there_is_always_a_whole_tree_at_the_target(content, tmp_path):
    def numbered(number):
        return put_tree(
            content,
            *(
                TreeEntry(f"f{index}", "file", 0o644, len(str(number)), content.put(str(number).encode()))
                for index in range(5)
            ),
        )

    target, seen, stop = tmp_path / "target", [], threading.Event()
    checkout(content, numbered(0), target)

    def look():
        while not stop.is_set():
            fd = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
            try:
                files = []
                for index in range(5):
                    with open(os.open(f"f{index}", os.O_RDONLY, dir_fd=fd), "rb") as file:
                        files.append(file.read())
                seen.append(tuple(files))
            except FileNotFoundError:
                if os.fstat(fd).st_ino == target.stat().st_ino:  # not one that was swapped out and is being removed
                    seen.append(("torn",))
            finally:
                os.close(fd)

    reader = threading.Thread(target=look)
    reader.start()
    for number in range(1, 20):
        checkout(content, numbered(number), target, replace=True)
    stop.set()
    reader.join()
    assert {len(set(files)) for files in seen} == {1}
    assert ("torn",) not in seen


def test_a_swap_is_one_system_call(content, tree, tmp_path, monkeypatch):
    """Two renames would leave a moment without a target, too short to be caught by looking."""
    target = checkout(content, put_tree(content), tmp_path / "target")
    monkeypatch.setattr(staging.os, "rename", lambda *paths: pytest.fail("renamed in two steps"))
    checkout(content, tree, target, replace=True)
    assert (target / "a.txt").exists()


def test_without_exchange_two_renames_do(content, tree, tmp_path, monkeypatch):
    target = tmp_path / "target"
    checkout(content, put_tree(content), target)
    monkeypatch.setattr(staging, "_rename", lambda source, goal, flags: False)
    checkout(content, tree, target, replace=True)
    assert (target / "a.txt").read_bytes() == b"alpha"
    checkout(content, tree, tmp_path / "fresh", replace=True)
    checkout(content, tree, tmp_path / "other")
    assert leftovers(tmp_path) == []


def test_a_link_or_a_file_at_the_target_is_not_written_through(content, tree, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "link").symlink_to(elsewhere)
    (tmp_path / "file").write_bytes(b"file")
    with pytest.raises(BadInput, match="symbolic link"):
        checkout(content, tree, tmp_path / "link", replace=True)
    with pytest.raises(BadInput, match="is a file"):
        checkout(content, tree, tmp_path / "file", replace=True)
    assert os.listdir(elsewhere) == []


def test_a_failure_leaves_the_target_as_it_was(content, tree, tmp_path):
    target = checkout(content, tree, tmp_path / "target")
    lost = put_tree(
        content,
        TreeEntry("a", "file", 0o644, 5, ref_of(b"alpha")),
        TreeEntry("b", "file", 0o644, 5, ref_of(b"nowhere")),
    )
    for mode in ("copy", "hardlink"):
        with pytest.raises(BlobMissing):
            checkout(content, lost, target, mode=mode, replace=True)
        with pytest.raises(BlobMissing):
            checkout(content, lost, tmp_path / "new", mode=mode)
    assert (target / "sub" / "run.sh").exists()
    assert not (tmp_path / "new").exists()
    assert leftovers(tmp_path) == []


@pytest.fixture
def files_at_most_1000_bytes():
    """The kernel refuses to write more, as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_the_target_as_it_was(tmp_path, files_at_most_1000_bytes):
    store = MemoryPlace()
    old = put_tree(store, TreeEntry("v", "file", 0o644, 1, store.put(b"1")))
    new = put_tree(
        store,
        TreeEntry("v", "file", 0o644, 1, store.put(b"2")),
        TreeEntry("w", "file", 0o644, len(BIG), store.put(BIG)),
    )
    target = checkout(store, old, tmp_path / "target", mode="copy")
    with pytest.raises(StorageFull):
        checkout(store, new, target, mode="copy", replace=True)
    assert (target / "v").read_bytes() == b"1"
    assert os.listdir(tmp_path) == ["target"]


def test_two_checkouts_of_one_target_at_once_both_succeed(content, tree, tmp_path):
    target, failures = tmp_path / "target", []
    checkout(content, tree, target)

    def work():
        try:
            for _ in range(5):
                checkout(content, tree, target, replace=True)
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert (target / "a.txt").read_bytes() == b"alpha"
    assert leftovers(tmp_path) == []


def test_a_tree_that_lies_about_sizes_is_refused(content, tmp_path):
    small, big = content.put(b"alpha"), content.put(BIG)
    for ref, size in ((small, 4), (big, 1), (small, 5_000_000)):
        for mode in ("copy", "hardlink"):
            lie = put_tree(content, TreeEntry("a", "file", 0o644, size, ref))
            with pytest.raises(BlobCorrupt):
                checkout(content, lie, tmp_path / "t", mode=mode)


def test_a_hostile_tree_does_not_leave_the_target(content, tmp_path):
    """A link out of the tree is made, if allowed, but nothing is ever written through it."""
    victim = tmp_path / "victim"
    victim.mkdir()
    inner = put_tree(content, TreeEntry("x", "file", 0o644, 5, content.put(b"alpha")))
    body = b"boxwork-tree 1\nl - d\0%b\0d 0755 - %b d\0" % (os.fsencode(victim), inner.ref.hex.encode())
    with pytest.raises(BlobCorrupt, match="does not come after"):
        checkout(content, content.put(body), tmp_path / "target")
    for name in (b"../victim/x", b"..", b"/etc/x"):
        body = b"boxwork-tree 1\nf 0644 - 5 %b %b\0" % (ref_of(b"alpha").hex.encode(), name)
        with pytest.raises(BlobCorrupt):
            checkout(content, content.put(body), tmp_path / "target", mode="copy")
    assert os.listdir(victim) == []
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize(
    ("target", "inside"),
    [
        ("file", True),
        ("sub/file", True),
        ("../file", True),
        ("./../file", True),
        ("../../file", False),
        ("/etc/passwd", False),
        ("sub/../../file", False),
        ("..", True),
        ("../..", False),
    ],
)
def test_links_that_leave_the_tree_are_refused_when_asked(content, tmp_path, target, inside):
    tree = put_tree(
        content, TreeEntry("d", "directory", 0o755, 0, put_tree(content, TreeEntry("l", "symlink", target=target)).ref)
    )
    if inside:
        checkout(content, tree, tmp_path / "t", symlinks="inside")
    else:
        with pytest.raises(BadInput, match="does not allow"):
            checkout(content, tree, tmp_path / "t", symlinks="inside")
    with pytest.raises(BadInput, match="does not allow"):
        checkout(content, tree, tmp_path / "t2", symlinks="refuse")
    checkout(content, tree, tmp_path / "t3")
    assert os.readlink(tmp_path / "t3" / "d" / "l") == target


def test_set_id_bits_need_ownership(content, tmp_path):
    tree = put_tree(
        content, TreeEntry("su", "file", 0o4755, 5, content.put(b"alpha"), uid=os.geteuid(), gid=os.getegid())
    )
    modes = [
        stat.S_IMODE(
            (checkout(content, tree, tmp_path / f"{mode}{owned}", mode=mode, ownership=owned) / "su").stat().st_mode
        )
        for mode in ("copy", "hardlink")
        for owned in (False, True)
    ]
    assert modes == [0o755, 0o4755, 0o555, 0o4555]


@root_only
def test_owners_come_back_when_asked(content, tmp_path):
    inner = put_tree(content, TreeEntry("l", "symlink", target="x", uid=7, gid=8))
    tree = put_tree(
        content,
        TreeEntry("f", "file", 0o644, len(BIG), content.put(BIG), uid=1234, gid=5678),
        TreeEntry("d", "directory", 0o2775, 0, inner.ref, uid=1234, gid=0),
    )
    for mode in ("copy", "hardlink"):
        target = checkout(content, tree, tmp_path / mode, mode=mode, ownership=True)
        assert [
            (path.lstat().st_uid, path.lstat().st_gid) for path in (target / "f", target / "d", target / "d" / "l")
        ] == [(1234, 5678), (1234, 0), (7, 8)]
        assert stat.S_IMODE((target / "d").stat().st_mode) == 0o2775
        assert tree.ref != commit(content, target, ownership=True).ref or mode == "copy"
    assert content.file_path(ref_of(BIG)).stat().st_uid == 0
    plain = checkout(content, tree, tmp_path / "plain")
    assert (plain / "f").stat().st_uid == 0


def test_a_store_without_a_directory_can_only_be_copied_from(tmp_path):
    store = MemoryPlace()
    tree = put_tree(
        store,
        TreeEntry("a", "file", 0o600, 5, store.put(b"alpha")),
        TreeEntry("big", "file", 0o644, 5 << 20, store.put(bytes(5 << 20))),
    )
    with pytest.raises(BadInput, match="mode='copy'"):
        checkout(store, tree, tmp_path / "t")
    target = checkout(store, tree, tmp_path / "t", mode="copy")
    assert (target / "a").read_bytes() == b"alpha"
    assert (target / "big").read_bytes() == bytes(5 << 20)
    with pytest.raises(BadInput, match="there are hardlink"):
        checkout(store, tree, tmp_path / "t2", mode="move")


def test_reflink_is_honest_where_there_is_none(content, tree, tmp_path, monkeypatch):
    def refuse(fd, request, argument):
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(tree_checkout.fcntl, "ioctl", refuse)
    with pytest.raises(StorageError, match="reflinks"):
        checkout(content, tree, tmp_path / "t", mode="reflink")
    assert (checkout(content, tree, tmp_path / "t", mode="copy") / "sub/deep/big.bin").read_bytes() == BIG


def test_a_killed_checkout_is_swept_by_the_next_and_a_running_one_is_not(content, tree, tmp_path):
    dead, alive = tmp_path / ".target.checkout-1-0", tmp_path / ".target.checkout-2-0"
    for path in (dead, alive):
        (path / "sub").mkdir(parents=True)
        (path / "sub").chmod(0o500)
    lock = os.open(alive, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        checkout(content, tree, tmp_path / "target")
        assert leftovers(tmp_path) == [".target.checkout-2-0"]
    finally:
        os.close(lock)


def test_a_checkout_killed_at_any_moment_leaves_the_old_or_the_new_tree(tmp_path):
    """A child is killed at its n-th file, for every n."""
    store = MemoryPlace()  # a child may not touch the LMDB environment of its parent
    old = put_tree(store, TreeEntry("v", "file", 0o644, 1, store.put(b"1")))
    new = put_tree(store, *(TreeEntry(f"v{i}", "file", 0o644, 1, store.put(b"2")) for i in range(3)))
    target = tmp_path / "target"
    ends = []
    for moment in range(3, 9):
        checkout(store, old, target, mode="copy", replace=target.exists())
        child = os.fork()
        if child == 0:
            count, real = [0], os.open

            def deadly(path, flags, *rest, count=count, real=real, moment=moment, **options):
                count[0] += 1
                if count[0] == moment:
                    os.kill(os.getpid(), 9)
                return real(path, flags, *rest, **options)

            tree_checkout.os.open = deadly
            try:
                checkout(store, new, target, mode="copy", replace=True)
            finally:
                os._exit(0)
        ends.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        assert sorted(os.listdir(target)) in (["v"], ["v0", "v1", "v2"])
    assert {-9, 0} == set(ends)
    checkout(store, new, target, mode="copy", replace=True)
    assert leftovers(tmp_path) == []


def test_switch_moves_a_link_and_moves_it_back(tmp_path):
    for name in ("v1", "v2"):
        (tmp_path / name).mkdir()
    link = tmp_path / "current"
    assert switch(link, "v1") is None
    assert switch(link, "v2", durable=True) == "v1"
    assert os.readlink(link) == "v2"
    assert switch(link, "v1") == "v2"
    assert os.readlink(link) == "v1"
    with pytest.raises(BadInput, match="no directory"):
        switch(link, "v3")
    with pytest.raises(BadInput, match="not a symbolic link"):
        switch(tmp_path / "v1", "v2")
    assert os.readlink(link) == "v1"
    assert sorted(os.listdir(tmp_path)) == ["current", "v1", "v2"]


def test_a_durable_checkout_and_progress(content, tree, tmp_path):
    told = []
    checkout(content, tree, tmp_path / "t", durable=True, progress=lambda *numbers: told.append(numbers))
    assert told[-1] == (8, 15 + len(BIG))


@root_only
def test_a_read_only_tree_is_replaced_by_an_ordinary_user_too(tmp_path):
    """Directories without write permission cannot be emptied as they are, except by root."""
    script = (
        "import os, sys\n"
        "from boxwork.content.places.memory import MemoryPlace\n"
        "from boxwork.content.tree import *\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "s = MemoryPlace()\n"
        "inner = s.put(encode([TreeEntry('f', 'file', 0o444, 1, s.put(b'x'))]))\n"
        "t = Tree(s.put(encode([TreeEntry('d', 'directory', 0o555, 0, inner)])), s)\n"
        "checkout(s, t, sys.argv[1], mode='copy')\n"
        "checkout(s, t, sys.argv[1], mode='copy', replace=True)\n"
        "print(sorted(os.listdir(os.path.dirname(sys.argv[1]))))\n"
    )
    import tempfile

    with tempfile.TemporaryDirectory(dir="/tmp") as place:
        os.chown(place, 65534, 65534)
        done = subprocess.run(
            [sys.executable, "-c", script, f"{place}/target"],
            capture_output=True,
            text=True,
            cwd="/",
            timeout=30,
            check=False,
        )
        assert (done.stdout.strip(), done.stderr) == ("['target']", "")
