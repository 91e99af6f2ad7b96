"""Taking directories in: what is read, what is not read again, and what is refused."""

import contextlib
import os
import socket
import stat
import threading

import pytest

from boxwork.clock import SECOND_NS, SystemClock
from boxwork.content import tree_commit, tree_reader
from boxwork.content.content import Content
from boxwork.content.sweep import Sweep
from boxwork.content.tree import TABLES, Tree, TreeIndex, commit, follower
from boxwork.content.tree_index import COARSE_NS, TICK_NS, is_racy
from boxwork.errors import BadInput, Busy, StorageFull, TooLarge
from boxwork.keys import ref_of
from boxwork.testing.stores import content_settings


class Watched:
    """Content that counts the bytes which are put."""

    def __init__(self, content):
        self._content = content
        self.put = []

    def put_many(self, blobs, *, durable=True):
        self.put += [bytes(blob) for blob in blobs if not bytes(blob).startswith(b"boxwork-tree")]
        return self._content.put_many(blobs, durable=durable)

    def __getattr__(self, name):
        return getattr(self._content, name)


class LaterClock(SystemClock):
    """As if everything had happened a while ago, so that nothing is racy."""

    def now_ns(self):
        return super().now_ns() + 10 * SECOND_NS


@pytest.fixture
def content(tmp_path):
    with contextlib.closing(
        Content(tmp_path / "data", content_settings(), LaterClock(), cache_tables=TABLES)
    ) as opened:
        yield Watched(opened)


@pytest.fixture
def source(tmp_path):
    root = tmp_path / "source"
    (root / "sub" / "deep").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / "a.txt").write_bytes(b"alpha")
    (root / "sub" / "run.sh").write_bytes(b"#!/bin/sh\n")
    (root / "sub" / "run.sh").chmod(0o755)
    (root / "sub" / "deep" / "big.bin").write_bytes(b"0123456789" * 20_000)
    (root / "sub" / "link").symlink_to("../a.txt")
    (root / "zero").write_bytes(b"")
    return root


def shape(tree):
    return {path: (entry.kind, entry.mode, entry.size, entry.target) for path, entry in tree.walk()}


def test_a_directory_becomes_a_tree(content, source):
    tree = commit(content, source)
    assert shape(tree) == {
        "a.txt": ("file", 0o644, 5, ""),
        "empty": ("directory", 0o755, 0, ""),
        "sub": ("directory", 0o755, 0, ""),
        "sub/deep": ("directory", 0o755, 0, ""),
        "sub/deep/big.bin": ("file", 0o644, 200_000, ""),
        "sub/link": ("symlink", 0, 0, "../a.txt"),
        "sub/run.sh": ("file", 0o755, 10, ""),
        "zero": ("file", 0o644, 0, ""),
    }
    assert tree.read("sub/deep/big.bin") == b"0123456789" * 20_000


def test_equal_directories_are_one_tree_wherever_they_lie(content, source, tmp_path):
    tree = commit(content, source)
    source.rename(tmp_path / "elsewhere")
    os.utime(tmp_path / "elsewhere" / "a.txt", ns=(1, 1))
    assert tree == commit(content, tmp_path / "elsewhere")
    assert tree == commit(content, tmp_path / "elsewhere", index=TreeIndex(None))


def test_an_unchanged_directory_is_not_read_again(content, source):
    tree = commit(content, source)
    content.put.clear()
    assert tree == commit(content, source)
    assert content.put == []


def test_only_what_changed_is_read(content, source):
    before = commit(content, source)
    content.put.clear()
    (source / "sub" / "new").write_bytes(b"new")
    (source / "a.txt").write_bytes(b"ALPHA")
    (source / "zero").unlink()
    after = commit(content, source)
    assert sorted(content.put) == [b"ALPHA", b"new"]
    assert after != before
    assert after.read("a.txt") == b"ALPHA"
    assert "zero" not in after.entries
    assert after.find("sub/deep").ref == before.find("sub/deep").ref


def test_a_file_written_with_its_times_put_back_is_found(content, source):
    path = source / "a.txt"
    commit(content, source)
    times = path.stat()
    path.write_bytes(b"ALPHA")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert commit(content, source).read("a.txt") == b"ALPHA"


def test_a_change_of_mode_alone_is_a_change(content, source):
    before = commit(content, source)
    (source / "a.txt").chmod(0o600)
    (source / "sub").chmod(0o700)
    after = commit(content, source)
    assert (after.find("a.txt").mode, after.find("sub").mode) == (0o600, 0o700)
    (source / "a.txt").chmod(0o644)
    (source / "sub").chmod(0o755)
    assert before == commit(content, source)


def test_a_link_that_points_elsewhere_is_a_change(content, source):
    commit(content, source)
    (source / "sub" / "link").unlink()
    (source / "sub" / "link").symlink_to("elsewhere")
    assert commit(content, source).find("sub/link").target == "elsewhere"


def test_a_racy_file_is_read_again(tmp_path, source):
    """With a clock that stands at the time of the write, the file could be written again in the same tick."""

    class AtTheWrite(SystemClock):
        def now_ns(self):
            return max(os.stat(source / "a.txt").st_ctime_ns, os.stat(source / "a.txt").st_mtime_ns) + 1

    with contextlib.closing(
        Content(tmp_path / "racy", content_settings(), AtTheWrite(), cache_tables=TABLES)
    ) as opened:
        watched = Watched(opened)
        commit(watched, source)
        watched.put.clear()
        commit(watched, source)
        assert b"alpha" in watched.put


def test_what_counts_as_racy():
    second = 1_700_000_000 * SECOND_NS
    assert not is_racy(second + 1, second + 1, second + 1 + TICK_NS)
    assert is_racy(second + 1, second + 1, second + TICK_NS)
    assert is_racy(second + 1, second + 5, second + 1 + TICK_NS)  # the later of the two stamps counts
    assert is_racy(second, second, second + COARSE_NS - 1)  # whole seconds: a coarse file system
    assert not is_racy(second, second, second + COARSE_NS)
    assert is_racy(second * 2, second, second)  # from the future


def test_the_index_is_no_proof_that_a_blob_is_still_here(content, source):
    tree = commit(content, source)
    content.delete(ref_of(b"alpha"))
    content.delete(tree.find("sub").ref)
    content.put.clear()
    assert tree == commit(content, source)
    assert content.put == [b"alpha"]
    assert len(list(tree.walk())) == 8


def test_a_sweep_keeps_what_a_pinned_tree_holds(content, source):
    tree = commit(content, source)
    content.add_follower(follower(content))
    content.pin(tree.ref, "release")
    stray = content._content.put(b"stray")
    for database in (content.durable_db, content.cache_db):  # as if everything had been put long ago
        database.update(
            lambda edit: [edit.put("blobs", key, bytes(8) + row[8:]) for key, row in list(edit.scan("blobs"))] and None
        )
    Sweep(content._content, grace_ns=0, margin_ns=0).run()
    assert not content.has(stray)
    assert [tree.store.has(entry.ref) for _, entry in tree.walk() if entry.ref] == [True] * 7


def test_what_is_ignored_is_not_there(content, source):
    assert set(commit(content, source, ignore=["*.txt", "sub/deep", "link"]).entries) == {"empty", "sub", "zero"}
    tree = commit(content, source, ignore=lambda path, directory: directory and path == "sub")
    assert set(tree.entries) == {"a.txt", "empty", "zero"}
    assert commit(content, source).find("sub/deep").kind == "directory"
    with pytest.raises(BadInput, match="list of patterns"):
        commit(content, source, ignore="*.txt")


def test_links_are_followed_when_asked(content, source):
    (source / "dirlink").symlink_to("sub/deep")
    tree = commit(content, source, follow=True)
    assert tree.find("sub/link").kind == "file"
    assert tree.read("sub/link") == b"alpha"
    assert tree.find("dirlink/big.bin").size == 200_000
    assert commit(content, source).find("dirlink").kind == "symlink"
    (source / "sub" / "loop").symlink_to("..")
    with pytest.raises(BadInput, match="leads back"):
        commit(content, source, follow=True)
    (source / "sub" / "loop").unlink()
    (source / "broken").symlink_to("nowhere")
    with pytest.raises(BadInput, match="link to nothing"):
        commit(content, source, follow=True)
    assert commit(content, source).find("broken").target == "nowhere"


def test_ownership_and_special_bits_are_in_the_value_when_asked(content, source):
    (source / "a.txt").chmod(0o4755)
    plain = commit(content, source).find("a.txt")
    owned = commit(content, source, ownership=True)
    assert (plain.mode, plain.uid, plain.gid) == (0o755, None, None)
    assert (owned.find("a.txt").mode, owned.find("a.txt").uid) == (0o4755, os.geteuid())
    assert owned.find("sub/link").gid == os.lstat(source / "sub" / "link").st_gid
    content.put.clear()
    assert owned == commit(content, source, ownership=True)
    assert content.put == []


def test_only_executability_is_kept_when_asked(content, source):
    (source / "a.txt").chmod(0o600)
    (source / "sub").chmod(0o700)
    tree = commit(content, source, modes="executable")
    assert {path: entry.mode for path, entry in tree.walk() if entry.kind != "symlink"} == {
        "a.txt": 0o644,
        "empty": 0o755,
        "sub": 0o755,
        "sub/deep": 0o755,
        "sub/deep/big.bin": 0o644,
        "sub/run.sh": 0o755,
        "zero": 0o644,
    }


def test_special_files_are_refused_or_skipped(content, source, tmp_path):
    os.mkfifo(source / "pipe")
    with pytest.raises(BadInput, match="a pipe"):
        commit(content, source)
    with contextlib.chdir(source), socket.socket(socket.AF_UNIX) as sock:
        sock.bind("sock")
    assert {"pipe", "sock"}.isdisjoint(commit(content, source, special="skip").entries)
    (source / "pipe").unlink()
    with pytest.raises(BadInput, match="a socket"):
        commit(content, source)


def test_strange_names_are_taken_as_they_are(content, source):
    names = [b"with space", b"line\nfeed", b"\xff\xfe", "ümläut".encode(), b"-rf", b"*", b"tab\t", b"\xf0\x9f\x98\x80"]
    for name in names:
        (source / os.fsdecode(name)).write_bytes(name)
    tree = commit(content, source)
    for name in names:
        assert tree.read(os.fsdecode(name)) == name
    content.put.clear()
    assert tree == commit(content, source)
    assert content.put == []


def test_a_file_that_never_holds_still_is_given_up(content, source, monkeypatch):
    path, reads = source / "a.txt", []
    real = os.read

    def read(fd, count):
        data = real(fd, count)
        if os.fstat(fd).st_ino == path.stat().st_ino:
            reads.append(data)
            path.write_bytes(b"version %d" % len(reads))
        return data

    monkeypatch.setattr(tree_commit.os, "read", read)
    with pytest.raises(Busy, match=r"a\.txt"):
        commit(content, source)
    assert len(reads) == tree_reader.ATTEMPTS_MAX


def test_a_file_that_changes_once_while_it_is_read_is_read_again(content, source, monkeypatch):
    path, reads = source / "a.txt", []
    real = os.read

    def read(fd, count):
        data = real(fd, count)
        if os.fstat(fd).st_ino == path.stat().st_ino and not reads:
            reads.append(data)
            path.write_bytes(b"the second version")
        return data

    monkeypatch.setattr(tree_commit.os, "read", read)
    tree = commit(content, source)
    assert (tree.read("a.txt"), tree.find("a.txt").size) == (b"the second version", 18)


def test_a_big_file_is_streamed_and_watched_too(content, source, monkeypatch):
    monkeypatch.setattr(tree_reader, "STREAM_BYTES_MIN", 100_000)
    path = source / "sub" / "deep" / "big.bin"
    changed = []
    real = content._content.put_stream

    def put_stream(chunks, **options):
        ref = real(chunks, **options)
        if not changed:
            changed.append(ref)
            path.write_bytes(b"x" * 150_000)
        return ref

    monkeypatch.setattr(content._content, "put_stream", put_stream)
    tree = commit(content, source)
    assert tree.read("sub/deep/big.bin") == b"x" * 150_000
    assert tree == commit(content, source)


def test_a_file_that_vanishes_meanwhile_was_not_there(content, source, monkeypatch):
    real = tree_reader.Reader._read

    def read(self, folder, name):
        if name == "a.txt":
            (source / "a.txt").unlink()
        return real(self, folder, name)

    monkeypatch.setattr(tree_reader.Reader, "_read", read)
    tree = commit(content, source)
    assert set(tree.entries) == {"empty", "sub", "zero"}
    assert tree == commit(content, source)


def test_a_directory_swapped_for_a_link_meanwhile_leads_nowhere(content, source, monkeypatch, tmp_path):
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_bytes(b"secret")
    real = tree_commit._Walk._open

    def swap(self, folder, name):
        if name == "sub":
            (source / "sub").rename(tmp_path / "moved")
            (source / "sub").symlink_to(secret)
        return real(self, folder, name)

    monkeypatch.setattr(tree_commit._Walk, "_open", swap)
    with pytest.raises(BadInput, match="cannot be read"):
        commit(content, source)


def test_what_is_no_directory_is_refused(content, source):
    with pytest.raises(BadInput, match="not a directory"):
        commit(content, source / "a.txt")
    with pytest.raises(BadInput, match="cannot be read"):
        commit(content, source / "none")


def test_directories_that_nest_too_deep_are_refused(content, source, monkeypatch):
    path = source
    monkeypatch.setattr("boxwork.content.tree_value.DEPTH_MAX", 5)
    for _ in range(7):
        path = path / "d"
        path.mkdir()
    with pytest.raises(TooLarge):
        commit(content, source)


def test_a_failure_while_putting_is_told_and_leaves_no_descriptor(content, source, monkeypatch):
    before = len(os.listdir("/proc/self/fd"))

    def full(blobs, *, durable=True):
        raise StorageFull("no space")

    monkeypatch.setattr(content, "put_many", full, raising=False)
    with pytest.raises(StorageFull):
        commit(content, source)
    assert before == len(os.listdir("/proc/self/fd"))


def test_many_files_in_many_directories_keep_few_descriptors(content, tmp_path, monkeypatch):
    root = tmp_path / "wide"
    for number in range(300):
        (root / f"d{number}").mkdir(parents=True)
        (root / f"d{number}" / "f").write_bytes(b"%d" % number)
    most = []
    real = tree_reader.Reader._read

    def read(self, folder, name):
        most.append(len(os.listdir("/proc/self/fd")))
        return real(self, folder, name)

    monkeypatch.setattr(tree_reader.Reader, "_read", read)
    before = len(os.listdir("/proc/self/fd"))
    tree = commit(content, root)
    assert tree.read("d299/f") == b"299"
    assert max(most) - before < 64 * 6
    assert before == len(os.listdir("/proc/self/fd"))


def test_progress_is_told(content, source):
    told = []
    commit(content, source, progress=lambda *numbers: told.append(numbers))
    assert told[-1] == (8, 4, 200_015)


def test_two_commits_of_one_directory_at_once_agree(content, source):
    found = []
    threads = [threading.Thread(target=lambda: found.append(commit(content, source))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(found)) == 1


def test_a_damaged_index_row_is_as_good_as_none(content, source):
    tree = commit(content, source)
    content.cache_db.update(
        lambda edit: [edit.put("tree_index", key, b"\xc1junk") for key, _ in list(edit.scan("tree_index"))] and None
    )
    assert tree == commit(content, source)
    TreeIndex(content.cache_db).clear()
    assert content.cache_db.count("tree_index") == 0
    assert tree == commit(content, source)


def test_the_cache_class_is_enough_when_asked(content, source):
    tree = commit(content, source, durable=False)
    assert list(content._content.durable.refs()) == []
    assert Tree(tree.ref, content).read("a.txt") == b"alpha"
    assert stat.S_ISREG((source / "a.txt").stat().st_mode)
