"""The owner's side and the other side over a real socket, in one process: limits, versions, and the end."""

from __future__ import annotations

import contextlib
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from boxwork.errors import BadInput, Busy, StateInUse, Undeclared
from boxwork.state.engine import Engine
from boxwork.state.remote import desk as desk_module
from boxwork.state.remote import wire
from boxwork.state.remote.courier import Courier, NoOwner, place_of
from boxwork.state.remote.desk import Desk
from boxwork.transactions import Transaction, transaction


@transaction
def press(tx: Any, name: str) -> Any:
    tx.add((name,), 1)
    return tx.get((name,))


@transaction(lane="locking")
def locked(tx: Any, gate: str) -> None:
    tx.put((gate,), 1)


class Counter:
    """The owner, with fingerprints that a test can change."""

    def __init__(self, path: Path, engine: Engine) -> None:
        self.path, self.engine = path, engine
        self.prints: dict[str, str] = {}
        self.desk = Desk(path, engine, {press.name: press}, self.fingerprint)
        self.courier = Courier(path)

    def fingerprint(self, box: Transaction[..., Any]) -> str:
        if self.prints.get(box.name) == "unknown":
            raise Undeclared("it reads a mutable global")
        return self.prints.get(box.name, "same")

    def commit(self, *row: Any, **options: str) -> Any:
        return self.courier.commit(press, row, "same", 10.0, **options)[0]


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
        ({"protocol": 99, "ask": "commit"}, StateInUse),
        ({"protocol": wire.PROTOCOL, "ask": "format the disk"}, BadInput),
        ({"protocol": wire.PROTOCOL, "ask": "commit"}, KeyError),
    ]:
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as link:
            link.connect(str(counter.path))
            wire.send(link, question)
            assert isinstance(wire.error_in(wire.receive(link)["error"]), kind)
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as link:
        link.connect(str(counter.path))
        link.sendall(b"\xff\xff\xff\xff")
        with pytest.raises(wire.Left):
            wire.receive(link)
    assert 1 == counter.commit("a")


def test_more_connections_than_the_limit_are_refused_not_kept_waiting(
    counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk_module, "CONNECTIONS_MAX", 1)
    assert 1 == counter.commit("a")  # its connection is kept
    with contextlib.closing(Courier(counter.path)) as other, pytest.raises(Busy, match="are being served"):
        other.numbers(10.0)
    assert 2 == counter.commit("a")


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
