"""The facade: two classes, pins, further places, and who has the directory open."""

import contextlib
import os
import signal
import subprocess
import sys

import pytest

from boxwork.clock import SystemClock
from boxwork.content.content import Content
from boxwork.content.places import session as session_module
from boxwork.content.places.disk import TOUCH_NS
from boxwork.content.places.memory import MemoryPlace
from boxwork.content.places.session import Session
from boxwork.errors import BadInput, BlobMissing, StorageError
from boxwork.keys import ref_of
from boxwork.testing.clock import FakeClock
from boxwork.testing.faults import FaultyStore, failing, in_child
from boxwork.testing.stores import content_settings

SMALL, LARGE = b"s" * 100, b"L" * 500_000


@pytest.fixture
def root(tmp_path):
    return tmp_path / "data"


@pytest.fixture
def content(root):
    with contextlib.closing(Content(root, content_settings(), FakeClock())) as one:
        yield one


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["inline", "file"])
@pytest.mark.parametrize("durable", [True, False], ids=["durable", "cache"])
def test_each_class_keeps_its_own(content, data, durable):
    ref = content.put(data, durable=durable)
    assert content.get(ref) == data
    assert content.size(ref) == len(data)
    assert content.durable.has(ref) == durable
    assert content.cache.has(ref) != durable
    with content.open(ref) as file:
        assert file.read() == data


def test_a_cached_blob_that_is_put_durably_becomes_durable(content):
    ref = content.put(LARGE, durable=False)
    content.put(LARGE)
    assert content.durable.has(ref)


def test_many_blobs_go_into_the_class_asked_for(content):
    refs = content.put_many([SMALL, LARGE], durable=False)
    assert [content.cache.has(ref) for ref in refs] == [True, True]
    assert [content.durable.has(ref) for ref in refs] == [False, False]


def test_further_places_are_asked_last_and_never_written_to(content):
    far = FaultyStore(MemoryPlace())
    ref = far.inner.put(b"far away")
    content.add_place(far)
    assert content.get(ref) == b"far away"
    assert content.has(ref)
    content.put(b"near")
    content.get(ref_of(b"near"))
    assert set(far.calls) == {"get", "has"}


def test_a_place_that_fails_does_not_hide_the_next_one(content):
    content.add_place(FaultyStore(MemoryPlace(), fail=failing("get", "open")))
    good = MemoryPlace()
    content.add_place(good)
    ref = good.put(b"x")
    assert content.get(ref) == b"x"
    with pytest.raises(StorageError, match="fails on purpose"):
        content.get(ref_of(b"nowhere"))


def test_a_damaged_file_is_answered_by_the_other_class(content):
    ref = content.put(LARGE)
    content.put(LARGE, durable=False)
    path = content.durable.file_path(ref)
    os.chmod(path, 0o600)
    os.truncate(path, 10)
    assert content.get(ref) == LARGE


def test_delete_forgets_both_classes(content):
    ref = content.put(LARGE)
    content.put(LARGE, durable=False)
    assert content.delete(ref)
    assert not content.has(ref)
    assert not content.delete(ref)


# --- pins


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["inline", "file"])
def test_put_and_pin_are_one_step(content, data):
    before = content.durable_db._environment.info()["last_txnid"]
    ref = content.put(data, pin="album/cover")
    assert content.durable_db._environment.info()["last_txnid"] == before + 1
    assert content.pinned("album/cover") == ref
    assert content.put_stream([data], pin="again") == ref
    assert list(content.pins()) == [("again", ref), ("album/cover", ref)]


def test_many_names_may_pin_one_blob_and_a_name_moves(content):
    one, two = content.put(b"one"), content.put(b"two")
    content.pin(one, "a")
    content.pin(one, "b")
    content.pin(two, "b")
    assert list(content.pins()) == [("a", one), ("b", two)]
    assert list(content.pins("b")) == [("b", two)]
    assert content.unpin("a")
    assert not content.unpin("a")
    assert content.pinned("a") is None
    assert content.get(one) == b"one"


def test_pinning_what_is_not_here_is_an_error(content):
    with pytest.raises(BlobMissing):
        content.pin(ref_of(b"nowhere"), "a")
    assert list(content.pins()) == []


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["inline", "file"])
def test_pinning_a_cached_blob_makes_it_durable(content, data):
    ref = content.put(data, durable=False)
    content.pin(ref, "a")
    assert content.durable.get(ref) == data


def test_a_blob_that_lies_in_a_further_place_is_pinned_where_it_is(content):
    far = MemoryPlace()
    content.add_place(far)
    ref = far.put(b"far")
    content.pin(ref, "a")
    assert content.pinned("a") == ref
    assert not content.durable.has(ref)


def test_a_pin_name_has_limits(content):
    ref = content.put(b"x")
    for name in ("", "n" * 401):
        with pytest.raises(BadInput, match="pin name"):
            content.pin(ref, name)
        with pytest.raises(BadInput):
            content.put(b"y", pin=name)
    assert not content.has(ref_of(b"y"))
    content.pin(ref, "ä" * 200)


def test_touch_renews_both_classes_and_names_what_is_missing(content):
    far = MemoryPlace()
    content.add_place(far)
    durable, cached, away = content.put(SMALL), content.put(LARGE, durable=False), far.put(b"far")
    content.clock.advance(2 * TOUCH_NS)
    assert content.touch([durable, cached, away, ref_of(b"nowhere")]) == [ref_of(b"nowhere")]
    assert content.durable.row(durable.digest).touched_ns == content.clock.now_ns()
    assert content.cache.row(cached.digest).touched_ns == content.clock.now_ns()


def test_gets_and_puts_are_timed(root):
    class Recorder:
        def __init__(self):
            self.seen = []

        def series(self, name, **labels):
            series = type("Series", (), {})()
            series.record = lambda ns: self.seen.append((name, labels, ns))
            return series

    recorder = Recorder()
    with contextlib.closing(Content(root, content_settings(), SystemClock(), recorder)) as content:
        content.get(content.put(b"x"))
    assert [(name, labels) for name, labels, _ in recorder.seen] == [
        ("store.put", {"place": "disk"}),
        ("store.get", {"place": "disk"}),
    ]
    assert all(0 < ns < 10**9 for _, _, ns in recorder.seen)


# --- opening, closing, crashing


def test_other_layers_bring_tables_along(root):
    content = Content(root, content_settings(), FakeClock(), cache_tables=("outputs",), durable_tables=("things",))
    content.cache_db.update(lambda edit: edit.put("outputs", b"k", b"v"))
    assert content.durable_db.get("things", b"k") is None
    content.close()


def test_everything_is_private_to_the_user(root):
    with contextlib.closing(Content(root, content_settings(), FakeClock())) as content:
        content.put(LARGE)
        modes = {path: path.stat().st_mode & 0o077 for path in root.rglob("*")}
    assert dict.fromkeys(modes, 0) == modes


def test_a_second_content_sees_what_the_first_put(root):
    first = Content(root, content_settings(), SystemClock())
    answer = subprocess.run(
        [sys.executable, "-c", OTHER_PROCESS, str(root), "put"], capture_output=True, text=True, check=True
    ).stdout.split()
    assert first.get(ref_of(b"from the other process")) == b"from the other process"
    assert answer == [ref_of(b"from the other process")]
    first.close()


def boot(root, name, tmp="put-"):
    return Session(root, (root / "cache",), tmp, boot=name)


def test_the_cache_survives_closing_in_order_and_a_reboot(root):
    (root / "cache").mkdir(parents=True)
    boot(root, "boot-1").close(lambda: None)
    session = boot(root, "boot-2")
    assert not session.dropped
    assert (root / "cache").exists()
    session.close(lambda: None)


def test_the_cache_survives_a_kill_in_the_same_boot(root):
    (root / "cache").mkdir(parents=True)
    boot(root, "boot-1").close_in_child()  # lets go without a word, like a process that was killed
    session = boot(root, "boot-1")
    assert not session.dropped
    session.close(lambda: None)


def test_the_cache_is_dropped_when_the_machine_went_down_while_it_was_open(root):
    (root / "cache").mkdir(parents=True)
    (root / "cache" / "data").write_bytes(b"perhaps torn")
    boot(root, "boot-1").close_in_child()
    session = boot(root, "boot-2")
    assert session.dropped
    assert not (root / "cache").exists()
    assert os.listdir(root / "tmp") == []
    session.close(lambda: None)


def test_an_unknown_boot_is_another_boot(root):
    (root / "cache").mkdir(parents=True)
    boot(root, "").close_in_child()
    assert boot(root, "").dropped


def test_a_cache_that_could_not_be_synced_is_not_called_in_order(root):
    def fail():
        raise StorageError("no")

    (root / "cache").mkdir(parents=True)
    boot(root, "boot-1").close(fail)
    assert boot(root, "boot-2").dropped


def test_the_last_one_out_closes_in_order(root):
    (root / "cache").mkdir(parents=True)
    synced = []
    one, two = boot(root, "boot-1"), boot(root, "boot-1")
    one.close(lambda: synced.append("one"))
    assert synced == []
    two.wrote_file()
    two.close(lambda: synced.append("two"))
    assert synced == ["two"]
    assert not (root / "run" / "cache.wrote").exists()
    assert not boot(root, "boot-2").dropped


def test_whoever_comes_in_while_the_last_one_goes_out_opens_the_marker_again(root, monkeypatch):
    (root / "cache").mkdir(parents=True)
    boot(root, "boot-1").close(lambda: None)
    real, tries = session_module._try_lock, []

    def held_by_the_one_going_out(lock):
        tries.append(lock)
        return real(lock) if len(tries) > 1 else False

    monkeypatch.setattr(session_module, "_try_lock", held_by_the_one_going_out)
    session = boot(root, "boot-1")
    assert (root / "run" / "cache.state").read_text() == "boot-1 open\n"
    session.close_in_child()
    assert boot(root, "boot-2").dropped


def test_a_reboot_after_a_crash_drops_the_cache_and_keeps_what_is_durable(root, monkeypatch):
    child = subprocess.run([sys.executable, "-c", OTHER_PROCESS, str(root), "crash"], capture_output=True, text=True)
    assert child.returncode == -signal.SIGKILL
    with contextlib.closing(Content(root, content_settings(), SystemClock())) as content:
        assert not content.cache_was_dropped
        assert content.get(ref_of(b"cached" * 10_000)) == b"cached" * 10_000
        assert content.get(ref_of(b"cached")) == b"cached"
    child = subprocess.run([sys.executable, "-c", OTHER_PROCESS, str(root), "crash"], capture_output=True, text=True)
    monkeypatch.setattr("boxwork.content.places.session.boot_id", lambda: "the next boot")
    with contextlib.closing(Content(root, content_settings(), SystemClock())) as content:
        assert content.cache_was_dropped
        assert not content.has(ref_of(b"cached" * 10_000))
        assert not content.has(ref_of(b"cached"))
        assert content.get(ref_of(b"durable")) == b"durable"
        assert content.put(b"cached", durable=False)


def test_what_a_killed_put_left_is_cleared_when_nobody_else_is_there(root):
    Content(root, content_settings(), SystemClock()).close()
    (root / "tmp" / "put-1-2-3").write_bytes(b"half")
    (root / "tmp" / "of-someone-else").write_bytes(b"x")
    content = Content(root, content_settings(), SystemClock())
    assert os.listdir(root / "tmp") == ["of-someone-else"]
    (root / "tmp" / "put-1-2-4").write_bytes(b"being written")
    subprocess.run([sys.executable, "-c", OTHER_PROCESS, str(root), "put"], check=True, capture_output=True)
    assert sorted(os.listdir(root / "tmp")) == ["of-someone-else", "put-1-2-4"]
    content.close()


def test_a_put_killed_halfway_leaves_no_blob_and_no_wrong_byte(root):
    command = [sys.executable, "-c", OTHER_PROCESS, str(root), "half"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    whole = child.stdout.readline().split()
    child.kill()
    child.wait()
    child.stdout.close()
    assert len(os.listdir(root / "tmp")) == 1
    with contextlib.closing(Content(root, content_settings(), SystemClock())) as content:
        assert os.listdir(root / "tmp") == []
        assert whole == list(content.refs())
        assert content.get(ref_of(b"whole")) == b"whole"


def test_closing_twice_is_once_and_a_failed_opening_lets_go(root, monkeypatch):
    def refuse(*arguments, **options):
        raise StorageError("no")

    monkeypatch.setattr("boxwork.content.content.DiskPlace", refuse)
    with pytest.raises(StorageError):
        Content(root, content_settings(), FakeClock())
    monkeypatch.undo()
    content = Content(root, content_settings(), FakeClock())
    content.close()
    content.close()


def test_a_forked_child_lets_go_of_what_is_its_parents(content):
    small, large = content.put(SMALL), content.put(LARGE)

    def child():
        content.close_in_child()
        for ref in (small, large):
            with pytest.raises(StorageError, match="open it again"):
                content.get(ref)
        with pytest.raises(StorageError):
            content.put(b"new")
        content.close()
        return "refused"

    assert in_child(child) == "refused"
    assert content.get(small) == SMALL
    assert content.get(large) == LARGE
    assert content.put(b"new")


OTHER_PROCESS = """
import os, signal, sys, time
from pathlib import Path
from boxwork.clock import SystemClock
from boxwork.content.content import Content
from boxwork.testing.stores import content_settings

content = Content(Path(sys.argv[1]), content_settings(), SystemClock())
if sys.argv[2] == "put":
    print(content.put(b"from the other process"))
    content.close()
elif sys.argv[2] == "crash":
    content.put(b"durable")
    content.put(b"cached", durable=False)
    content.put(b"cached" * 10_000, durable=False)
    os.kill(os.getpid(), signal.SIGKILL)
else:
    def chunks():
        yield bytes(1 << 20)
        print(content.put(b"whole"), flush=True)
        time.sleep(60)
    content.put_stream(chunks())
"""
