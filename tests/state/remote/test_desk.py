"""The owner's side and the other side over a real socket, in one process: limits, versions, and the end."""

from __future__ import annotations

import contextlib
import errno
import itertools
import socket
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from boxwork.clock import SystemClock
from boxwork.errors import BadInput, Busy, CommitUnknown, StateError, StateInUse, StorageFull, TooLarge, Undeclared
from boxwork.settings import merge
from boxwork.state import pipeline
from boxwork.state.engine import SETTINGS, Engine
from boxwork.state.logs.memory import MemoryLog
from boxwork.state.remote import desk as desk_module
from boxwork.state.remote import guest as guest_module
from boxwork.state.remote import wire
from boxwork.state.remote.courier import Courier, NoOwner, place_of
from boxwork.state.remote.desk import Desk
from boxwork.state.remote.line import Reply
from boxwork.transactions import Transaction, transaction


@transaction
def press(tx: Any, name: str) -> Any:
    tx.add((name,), 1)
    return tx.get((name,))


@transaction
def peek(tx: Any, name: str) -> Any:
    return tx.get((name,))


@transaction
def echo(tx: Any, text: str) -> Any:
    tx.put(("echo",), len(text))
    return text


@transaction
def swell(tx: Any, size: int) -> Any:
    tx.put(("swell",), size)
    return "x" * size * 10


@transaction
async def ponder(tx: Any, name: str) -> Any:
    tx.put((name, "thought"), tx.get((name,), 0))


@transaction(lane="locking")
def locked(tx: Any, gate: str) -> None:
    tx.put((gate,), 1)


BOXES = (press, peek, echo, swell, ponder)


class Counter:
    """The owner, with fingerprints that a test can change."""

    def __init__(self, path: Path, engine: Engine) -> None:
        self.path, self.engine = path, engine
        self.prints: dict[str, str] = {}
        self.desk = Desk(path, engine, {one.name: one for one in BOXES}, self.fingerprint)
        self.courier = Courier(path)

    def fingerprint(self, box: Transaction[..., Any]) -> str:
        if self.prints.get(box.name) == "unknown":
            raise Undeclared("it reads a mutable global")
        return self.prints.get(box.name, "same")

    def commit(self, *row: Any, **options: str) -> Any:
        return self.courier.commit(press, row, "same", 10.0, **options)[0]

    def hasty(self, row: Any) -> Any:
        return self.courier.commit(locked, row, "same", 0.3)


def guest(counter: Counter) -> contextlib.closing[socket.socket]:
    link = wire.connect(counter.path, 10.0)
    assert wire.PROTOCOL == wire.as_map(hear(link))["hello"]
    return contextlib.closing(link)


def hear(link: socket.socket) -> bytes:
    """The next message."""
    inbox = wire.Inbox()
    while not (messages := inbox.take(link.recv(4096) or pytest.fail("the owner hung up"))):
        pass
    return messages[0]


@pytest.fixture
def counter(tmp_path: Path, open_engine: Any) -> Iterator[Counter]:
    made = Counter(tmp_path / "run" / "node.sock", open_engine())
    yield made
    made.courier.close()
    made.desk.close()


def test_commits_come_in_and_answers_go_out(counter: Counter) -> None:
    assert [1, 2, 3] == [counter.commit("a") for _ in range(3)]
    assert [4, 5] == counter.courier.commit_many(press, [("a",), ("a",)], "same", 10.0)
    assert 5 == counter.engine.get(("a",))
    assert 5 == counter.courier.numbers(10.0)["numbers"]["lanes"]["serial"]["commits"]
    assert 0o600 == stat.S_IMODE(counter.path.stat().st_mode)


def test_a_socket_that_a_killed_owner_left_is_replaced(tmp_path: Path, open_engine: Any) -> None:
    path = tmp_path / "node.sock"
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as dead:
        dead.bind(str(path))
    with pytest.raises(NoOwner, match="nobody listens"):
        Courier(path).numbers(1.0)
    made = Counter(path, open_engine())
    assert 1 == made.commit("a")
    made.courier.close()
    made.desk.close()
    assert not path.exists()


def test_other_code_unknown_code_and_no_code_are_told_apart(counter: Counter) -> None:
    counter.prints["press"] = "other"
    with pytest.raises(StateInUse, match="is other code than yours"):
        counter.commit("a")
    counter.prints["press"] = "unknown"
    with pytest.raises(StateInUse, match="nobody can say whether .* mutable global"):
        counter.commit("a")

    @transaction
    def strange(tx: Any) -> None: ...

    with pytest.raises(StateInUse, match="has not loaded the transaction 'strange'"):
        counter.courier.commit(strange, (), "same", 10.0)
    assert "tests" in place_of(locked) or "test_desk" in place_of(locked)
    assert counter.courier.commit(locked, ("gate",), "same", 10.0)[0] is None  # of this module, which is loaded


def test_a_stranger_who_speaks_otherwise_is_told_so(counter: Counter) -> None:
    for question, kind in [
        ({"protocol": 99, "ask": "commit", "number": 1}, StateInUse),
        ({"protocol": 1, "ask": "commit"}, StateInUse),
        ({"protocol": wire.PROTOCOL, "ask": "format the disk"}, BadInput),
        ({"protocol": wire.PROTOCOL, "ask": "commit_many"}, KeyError),
    ]:
        with guest(counter) as link:
            link.sendall(wire.question(question))
            assert isinstance(wire.error_in(wire.as_map(hear(link))["error"]), kind)
    assert 1 == counter.commit("a")


def test_who_was_never_taken_in_has_begun_nothing(tmp_path: Path) -> None:
    """An owner that dies between being asked and looking: it was not begun, so it may be asked of the next one."""
    path = tmp_path / "node.sock"
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as listener, contextlib.closing(Courier(path)) as courier:
        listener.bind(str(path))
        listener.listen(1)
        sent = threading.Timer(0.1, lambda: (listener.shutdown(socket.SHUT_RDWR), listener.close()))
        sent.start()
        with pytest.raises(NoOwner):
            courier.commit(press, ("a",), "same", 10.0)
        sent.join()


def test_a_client_of_the_first_version_is_told_so(counter: Counter) -> None:
    """It asks, and takes the first message for the answer."""
    with contextlib.closing(wire.connect(counter.path, 10.0)) as link:
        link.sendall(wire.question({"protocol": 1, "ask": "commit"}))
        told = wire.as_map(hear(link))
        with pytest.raises(StateInUse, match="speaks version 2 .* not 1"):
            raise wire.error_in(told["error"])


def test_garbage_ends_one_connection_and_no_other(counter: Counter) -> None:
    for garbage in (
        b"\xff\xff\xff\xff",  # a message over the limit
        b"\0\0\0\0",  # a message of nothing
        b"\0\0\0\2\xc1\xc1",
        b"\0\0\0\2\x01\xc0",  # calls that are none
        wire.calls_out({(1, 2, "no row", None): None}),  # type: ignore[dict-item]
        wire.question({"protocol": wire.PROTOCOL, "ask": "use"}),
        wire.question({"protocol": wire.PROTOCOL, "ask": "use", "as": [], "name": "press"}),
    ):
        with guest(counter) as link:
            link.sendall(garbage)
            assert b"" == link.recv(100)
        assert not counter.engine.machine.in_flight
    with guest(counter) as link:
        link.sendall(wire.calls_out({(1, 7, ("a",), None): None}))
        [(number, error)] = wire.answers_in(hear(link)).failed
        assert (1, BadInput) == (number, type(wire.error_in(error)))
    assert 1 == counter.commit("a")


def test_a_message_may_come_byte_by_byte(counter: Counter) -> None:
    use = {"protocol": wire.PROTOCOL, "ask": "use", "as": 3, "name": "press", "fingerprint": "same"}
    with guest(counter) as link:
        for byte in wire.question(use) + wire.calls_out({(5, 3, ("a",), None): None}):
            link.sendall(bytes([byte]))
        assert [(5, 0, 1)] == [tuple(one) for one in wire.answers_in(hear(link)).answered]


def test_a_thousand_calls_under_way_are_answered_in_their_order(counter: Counter) -> None:
    with contextlib.closing(counter.courier.line(10.0)) as line:
        numbers = [line.call(box, row, "same") for n in range(500) for box, row in ((press, ("a",)), (peek, ("a",)))]
        line.flush()
        replies: list[Reply] = []
        while line.under_way:
            replies += line.receive()
        by_number = {reply.number: reply for reply in replies}
        assert numbers == sorted(by_number)
        # Each look sees the press before it, and not the one after it.
        assert [n // 2 + 1 for n in range(1000)] == [by_number[number].answer for number in numbers]
        places = [(by_number[number].receipt.version, by_number[number].receipt.index) for number in numbers[::2]]
        assert sorted(set(places)) == places


def test_who_does_not_read_keeps_nobody_from_it(counter: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its answers are kept up to a limit, then nothing more is read from it; the others go on."""
    monkeypatch.setattr(guest_module, "UNREAD_MAX", 100_000)
    counter.commit("a")
    with contextlib.closing(counter.courier.line(10.0)) as line:
        for _ in range(400):
            line.call(echo, ("x" * 10_000,), "same")
        bundle = line.bundle()
        sender = threading.Thread(target=lambda: line.send(bundle))
        sender.start()
        while not sum(len(one._out) for one in list(counter.desk._guests.values())) > 100_000:
            assert counter.commit("b")
        assert counter.commit("b")
        line.under_way = 400
        while line.under_way:
            assert all(len(reply.answer) == 10_000 for reply in line.receive())
        sender.join(20)
    assert counter.commit("b")


def test_who_sends_without_listening_hears_later(counter: Counter) -> None:
    """More than both kernels hold: what was answered meanwhile is read while the rest is sent."""
    with contextlib.closing(counter.courier.line(10.0)) as line:
        for _ in range(6):
            for _ in range(40):
                line.call(echo, ("x" * 50_000,), "same")
            line.flush()
        heard = 0
        while line.under_way:
            heard += len(line.receive())
        assert 240 == heard


def test_a_guest_that_leaves_in_the_middle_takes_nothing_back(counter: Counter) -> None:
    line = counter.courier.line(10.0)
    for _ in range(100):
        line.call(press, ("a",), "same")
    line.flush()
    line.close()
    end = time.monotonic() + 20
    while counter.engine.get(("a",)) != 100:
        assert time.monotonic() < end
    while counter.desk._guests and time.monotonic() < end:
        pass
    assert not counter.desk._guests
    assert 101 == counter.commit("a")


def test_threads_share_one_connection(counter: Counter) -> None:
    answers: list[int] = []

    def work() -> None:
        for _ in range(100):
            answers.append(counter.commit("a"))

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert list(range(1, 1601)) == sorted(answers)
    assert 1 == len(counter.desk._guests)


def test_who_waits_too_long_goes_and_the_others_stay(counter: Counter) -> None:
    """Of two that wait at one connection the one that listens gives up; the other one hears for itself then."""
    session = counter.engine.session(who="in front")
    session.tx.put(("gate",), 0)
    with contextlib.closing(counter.courier):
        kept: list[Any] = []
        patient = threading.Thread(
            target=lambda: kept.append(counter.courier.commit(locked, ("gate",), "same", 20.0, once="patient"))
        )
        hasty = threading.Thread(target=lambda: kept.append(_caught(lambda: counter.hasty(("gate",)))))
        hasty.start()
        patient.start()
        hasty.join(20)
        assert isinstance(kept[0], CommitUnknown)
        session.commit()
        patient.join(20)
    assert kept[1][0] is None


def _caught(call: Any) -> Any:
    try:
        return call()
    except Exception as error:
        return error


def test_answers_and_calls_too_large_for_a_message_are_told_apart(
    counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "MESSAGE_BYTES_MAX", 20_000)
    with contextlib.closing(counter.courier.line(10.0)) as line:
        sizes = [15_000, 100, 30_000, 12_000]
        for size in sizes:
            line.call(echo, ("x" * size,), "same")
        line.flush()
        replies: list[Reply] = []
        while line.under_way or line._ahead:
            replies += line.receive()
        told = {reply.number: reply for reply in replies}
        assert [15_000, 100, 12_000] == [len(told[n].answer) for n in (1, 2, 4)]
        assert isinstance(told[3].error, TooLarge)
        line.call(swell, (5_000,), "same")
        line.flush()
        with pytest.raises(StateError, match="was committed as .* its answer"):
            raise line.receive()[0].error or AssertionError


def test_slow_and_awaiting_functions_run_beside_the_others(counter: Counter) -> None:
    with contextlib.closing(counter.courier.line(10.0)) as line:
        line.call(ponder, ("a",), "same")
        line.call(press, ("a",), "same")
        line.flush()
        replies: list[Reply] = []
        while line.under_way:
            replies += line.receive()
        assert [None, None] == [reply.error for reply in replies]
        assert {None, 1} == {reply.answer for reply in replies}


@pytest.mark.parametrize("quick_ns", [0, 10**12])
def test_guests_and_the_owner_commit_into_one_order(
    counter: Counter, monkeypatch: pytest.MonkeyPatch, quick_ns: int
) -> None:
    """Whether the desk's thread writes itself or hands over to the log thread, and whoever cuts meanwhile."""
    monkeypatch.setattr(pipeline, "QUICK_SYNC_NS", quick_ns)
    answers: list[int] = []

    def by_line() -> None:
        with counter.courier.line(20.0) as line:
            for _ in range(20):
                for _ in range(10):
                    line.call(press, ("a",), "same")
                line.flush()
                while line.under_way:
                    answers.extend(reply.answer for reply in line.receive())

    def by_hand() -> None:
        for _ in range(100):
            answers.append(counter.engine.commit(press, "a"))

    def many() -> None:
        for _ in range(10):
            answers.extend(counter.engine.commit_many(press, [("a",)] * 10))

    threads = [threading.Thread(target=work) for work in (by_line, by_line, by_hand, by_hand, many)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert list(range(1, 701)) == sorted(answers)
    records = list(counter.engine.records())
    assert all(later.previous == earlier.digest for earlier, later in itertools.pairwise(records))
    assert counter.engine.facts.version == records[-1].version
    assert 701 == counter.commit("a")


def test_a_small_batch_waits_for_the_one_that_is_being_written(
    counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would be handed over as well, and the next one, as long as calls come."""
    monkeypatch.setattr(pipeline, "QUICK_SYNC_NS", 10**12)
    machine, real = counter.engine.machine, counter.engine._log.append
    began, may_end, writers = threading.Event(), threading.Event(), []

    def append(records: Any) -> None:
        writers.append(threading.current_thread().name)
        began.set()
        assert may_end.wait(20)
        real(records)

    monkeypatch.setattr(counter.engine._log, "append", append)
    with counter.courier.line(20.0) as line:
        first = counter.engine.submit(press, "a")
        assert began.wait(20)
        line.call(press, ("a",), "same")
        line.flush()
        while machine.in_flight < 2:
            time.sleep(0.001)
        may_end.set()
        assert [2] == [reply.answer for reply in line.receive()]
        assert 1 == first.result(20)
    assert ["state-log", "state-desk"] == writers


def test_what_comes_while_the_desk_reads_belongs_to_the_same_batch(
    counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    with contextlib.ExitStack() as links:
        lines = [links.enter_context(counter.courier.line(20.0)) for _ in range(3)]
        for line in lines:
            line.call(press, ("a",), "same")
            line.flush()
            assert line.receive()
        ahead = iter(lines)
        real = Desk._attend

        def attend(self: Desk, *what: Any) -> None:
            real(self, *what)
            if (line := next(ahead, None)) is not None:
                line.call(press, ("a",), "same")
                line.flush()

        before = counter.engine.counters.batches
        monkeypatch.setattr(Desk, "_attend", attend)
        first = next(ahead)
        first.call(press, ("a",), "same")
        first.flush()
        assert [4, 5, 6] == [reply.answer for line in lines for reply in line.receive()]
        assert before + 1 == counter.engine.counters.batches


def test_a_full_disk_is_told_and_nothing_of_it_stands(counter: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    assert 1 == counter.commit("a")

    def full(records: Any) -> None:
        raise StorageFull("no space left")

    with monkeypatch.context() as broken:
        broken.setattr(counter.engine._log, "append", full)
        with counter.courier.line(10.0) as line:
            for _ in range(20):
                line.call(press, ("a",), "same")
            line.flush()
            while line.under_way:
                assert {StorageFull} == {type(reply.error) for reply in line.receive()}
    assert 2 == counter.commit("a")


def test_a_closed_engine_is_told(counter: Counter) -> None:
    counter.engine.close()
    with pytest.raises(StateError, match="is closed"):
        counter.commit("a")


def test_every_caller_has_its_time_recorded(tmp_path: Path) -> None:
    recorded: list[str] = []

    class Recorder:
        def series(self, name: str, **labels: str) -> Any:
            return SimpleNamespace(record=lambda ns: recorded.append(labels.get("lane", name)))

    settings = merge(SETTINGS, environment={}, flags={})
    with Engine(MemoryLog(), SystemClock(), settings, pulse=Recorder()) as engine:
        made = Counter(tmp_path / "node.sock", engine)
        with made.courier.line(10.0) as line:
            for _ in range(30):
                line.call(press, ("a",), "same")
            line.flush()
            while line.under_way:
                line.receive()
        made.desk.close()
    assert 30 == recorded.count("serial")


def test_what_the_queue_has_no_room_for_is_busy(tmp_path: Path, open_engine: Any) -> None:
    made = Counter(tmp_path / "node.sock", open_engine(queue_max=0))
    with made.engine._pipeline._turn, pytest.raises(Busy, match="state.queue_max"):  # somebody else executes
        made.commit("a")
    assert 1 == made.commit("a")
    made.courier.close()
    made.desk.close()


def test_more_connections_than_the_limit_are_refused_not_kept_waiting(
    counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk_module, "CONNECTIONS_MAX", 1)
    assert 1 == counter.commit("a")  # its connection is kept
    with contextlib.closing(Courier(counter.path)) as other, pytest.raises(Busy, match="are being served"):
        other.numbers(10.0)
    assert 2 == counter.commit("a")


def test_without_a_free_descriptor_a_connection_waits_and_the_desk_does_not_spin(
    counter: Counter, caplog: pytest.LogCaptureFixture
) -> None:
    listener, tries, end_ns = counter.desk._listener, itertools.count(1), SystemClock().monotonic_ns() + 500_000_000
    last = 0

    def accept() -> Any:
        nonlocal last
        if SystemClock().monotonic_ns() < end_ns:
            last = next(tries)
            raise OSError(errno.EMFILE, "Too many open files")
        return listener.accept()

    counter.desk._listener = SimpleNamespace(accept=accept, fileno=listener.fileno, close=listener.close)  # type: ignore[assignment]
    assert 1 == counter.courier.commit(press, ("n",), counter.fingerprint(press), 30)[0]
    assert 1 <= last <= 10
    assert "no connection of another process can be taken" in caplog.text


def test_an_end_without_anything_under_way_waits_for_nothing(counter: Counter) -> None:
    counter.commit("a")
    began = time.monotonic()
    counter.desk.close()  # its guest is idle
    assert desk_module.STOP_S_MAX / 2 > time.monotonic() - began


def test_what_is_under_way_is_answered_before_the_end(counter: Counter) -> None:
    """The owner closes while a commit waits for a lock; the commit is answered, and nobody else comes in."""
    answers: list[Any] = []
    session = counter.engine.session(who="in front")
    session.tx.put(("gate",), 0)
    waiting = threading.Thread(
        target=lambda: answers.append(counter.courier.commit(locked, ("gate",), "same", 10.0, who="behind")[1])
    )
    waiting.start()
    closing = threading.Thread(target=counter.desk.close)
    while not counter.engine.locks.waits() and waiting.is_alive():
        pass
    closing.start()
    session.commit()
    waiting.join(20)
    closing.join(20)
    assert 2 == answers[0].version
    with pytest.raises(NoOwner):
        Courier(counter.path).numbers(1.0)
