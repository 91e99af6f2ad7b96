"""Commits of processes that do not own the facts: real processes, killed and closed while others commit."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import boxwork
from boxwork import Boxwork, Pack, transaction
from boxwork.errors import BoundReached, CommitUnknown, Refused, StateInUse, UnsupportedType
from boxwork.state.remote import wire
from boxwork.state.remote.line import Line

# A module that both processes load, as the workers of one service do.
SHOP = """
import asyncio
import datetime
from boxwork import transaction

@transaction
def like(tx, post: str, user: str) -> int:
    if tx.put_new(("liked", post, user), True):
        tx.add(("likes", post), 1)
    return tx.get(("likes", post))

@transaction
def bump(tx, post: str) -> int:
    tx.add(("likes", post), 1)
    return tx.get(("likes", post))

@transaction
def spend(tx, cents: int) -> None:
    tx.add(("budget",), -cents, min=0)

@transaction
def stamp(tx, day: datetime.date, marks: set) -> tuple:
    tx.put(("stamp",), (day, marks))
    return tx.get(("stamp",))

@transaction
def stumble(tx, kind: str) -> None:
    if kind == "key":
        raise KeyError("shelf 7")
    if kind == "own":
        raise Odd("very odd")
    tx.refuse("closed", shelf=7)

@transaction
def unsendable(tx) -> object:
    tx.put(("unsendable",), 1)
    return object()

@transaction
async def ponder(tx, post: str) -> int:
    seen = tx.get(("likes", post), 0)
    await asyncio.sleep(0)
    tx.put(("likes", post), seen + 100)
    return seen + 100

class Odd(Exception):
    pass
"""
OWNER = """
import sys
import boxwork, {module} as shop
with boxwork.open(sys.argv[1]) as work:
    work.commit(shop.like, "first", "owner")
    print("ready", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    name = "a_shop_of_two_processes"
    (tmp_path / f"{name}.py").write_text(SHOP)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, name, raising=False)
    return __import__(name)


@contextmanager
def owning(shop: Any, directory: Path, code: str = OWNER) -> Iterator[subprocess.Popen[str]]:
    """Another process that owns the facts until it is killed, or gets a line."""
    owner = subprocess.Popen(
        [sys.executable, "-c", code.format(module=shop.__name__), str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(shop.__file__).parent)},
    )
    try:
        assert owner.stdout is not None
        assert "ready\n" == owner.stdout.readline()
        yield owner
    finally:
        owner.kill()
        owner.communicate()


def stop(owner: subprocess.Popen[str]) -> None:
    """It does nothing more, but still is; a signal alone has no effect yet when it was sent."""
    owner.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, owner.pid, os.WSTOPPED | os.WNOWAIT)


def test_a_commit_is_handed_to_the_owner_and_stands_in_one_log(shop: Any, tmp_path: Path) -> None:
    with owning(shop, tmp_path / "d") as owner, boxwork.open(tmp_path / "d") as work:
        assert 1 == work.commit(shop.like, post="p1", user="ada")
        answer, receipt = work.commit(shop.like, "p1", "bob", receipt=True)
        assert (2, 3) == (answer, receipt.version)
        assert [3, 3] == work.commit_many(shop.like, [("p1", "cyd"), {"post": "p1", "user": "cyd"}])
        assert 3 == work.commit_soon(shop.like, post="p1", user="ada").result()[0]
        assert work.node.own_engine is None
        assert owner.pid == work.node.forwarding.numbers()["owner"]
        with pytest.raises(StateInUse, match=f"process {owner.pid}"):
            work.read()
        path = tmp_path / "d" / wire.SOCKET
        assert 0o600 == stat.S_IMODE(path.stat().st_mode)
        assert 0o700 == stat.S_IMODE(path.parent.stat().st_mode)


def test_values_and_errors_arrive_as_what_they_were(shop: Any, tmp_path: Path) -> None:
    import datetime

    day = datetime.date(2026, 11, 29)
    with owning(shop, tmp_path / "d"), boxwork.open(tmp_path / "d") as work:
        assert (day, {1, 2}) == work.commit(shop.stamp, day, {1, 2})
        with pytest.raises(BoundReached, match="below 0"):
            work.commit(shop.spend, cents=5)
        with pytest.raises(Refused, match="closed") as refusal:
            work.commit(shop.stumble, "refuse")
        assert {"shelf": 7} == refusal.value.details
        with pytest.raises(KeyError, match="shelf 7"):
            work.commit(shop.stumble, "key")
        with pytest.raises(boxwork.errors.StateError, match="raised Odd: very odd"):
            work.commit(shop.stumble, "own")
        with pytest.raises(boxwork.errors.StateError, match="was committed as 1.3.0.*its answer"):
            work.commit(shop.unsendable)
        with pytest.raises(UnsupportedType):
            work.commit(shop.like, post=object(), user="ada")
        failed, fine = work.commit_many(shop.spend, [(5,), (0,)])
        assert isinstance(failed, BoundReached)
        assert fine is None


def test_the_awaiting_face_hands_in_too_also_what_thinks(shop: Any, tmp_path: Path) -> None:
    async def main() -> None:
        async with Boxwork(tmp_path / "d") as work:
            likes = await asyncio.gather(*(work.commit(shop.like, post="p1", user=str(n)) for n in range(20)))
            assert list(range(1, 21)) == sorted(likes)
            assert 120 == await work.commit(shop.ponder, post="p1")
            assert [121] == await work.commit_many(shop.like, [("p1", "x")])

    with owning(shop, tmp_path / "d"):
        asyncio.run(main())


def test_other_code_under_the_same_name_is_refused(shop: Any, tmp_path: Path) -> None:
    with owning(shop, tmp_path / "d") as owner:
        path = Path(shop.__file__)
        path.write_text(SHOP.replace('tx.add(("likes", post), 1)', 'tx.add(("likes", post), 2)'))
        code = f"import sys, boxwork, {shop.__name__} as s; boxwork.open(sys.argv[1]).commit(s.like, 'p1', 'ada')"
        told = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "d")],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": str(path.parent)},
        )
        assert f"process {owner.pid} owns the facts, and its transaction 'like' is other code than yours" in told.stderr


def test_what_the_owner_has_not_loaded_is_refused_with_what_to_do(shop: Any, tmp_path: Path) -> None:
    @transaction
    def strange(tx: Any) -> None:
        tx.put(("strange",), 1)

    with owning(shop, tmp_path / "d") as owner, boxwork.open(tmp_path / "d") as work:
        with pytest.raises(StateInUse, match="has not loaded the transaction 'strange'.*--boxes") as refusal:
            work.commit(strange)
        assert str(owner.pid) == refusal.value.details["owner"]


def test_handing_in_can_be_switched_off(shop: Any, tmp_path: Path) -> None:
    with (
        owning(shop, tmp_path / "d") as owner,
        boxwork.open(tmp_path / "d", settings={"state.forward_s_max": 0.0}) as work,
        pytest.raises(StateInUse, match=f"process {owner.pid} owns the facts"),
    ):
        work.commit(shop.like, "p1", "ada")


def test_an_owner_that_ends_answers_first_and_the_next_one_goes_on(shop: Any, tmp_path: Path) -> None:
    """Every commit is answered, though the owner closes its node in the middle and this process takes over."""
    with owning(shop, tmp_path / "d") as owner, boxwork.open(tmp_path / "d") as work:
        answers: list[int] = []

        def press() -> None:
            for number in range(100):
                answers.append(work.commit(shop.like, post="p1", user=f"{threading.get_ident()} {number}"))

        threads = [threading.Thread(target=press) for _ in range(4)]
        for thread in threads:
            thread.start()
        _until(lambda: len(answers) > 40)
        assert owner.stdin is not None
        owner.stdin.write("\n")
        owner.stdin.flush()
        for thread in threads:
            thread.join(30)
        assert list(range(1, 401)) == sorted(answers)
        assert work.node.own_engine is not None


def test_with_an_id_a_killed_owner_costs_nothing_and_nothing_twice(shop: Any, tmp_path: Path) -> None:
    with owning(shop, tmp_path / "d") as owner, boxwork.open(tmp_path / "d") as work:
        answers: list[int] = []

        def press(name: int) -> None:
            for number in range(60):
                answers.append(work.commit(shop.bump, "p1", once=f"{name} {number}"))

        threads = [threading.Thread(target=press, args=(name,)) for name in range(4)]
        for thread in threads:
            thread.start()
        _until(lambda: len(answers) > 40)
        owner.kill()
        for thread in threads:
            thread.join(30)
        with work.read() as facts:
            assert 240 == facts.get(("likes", "p1"))
        assert list(range(1, 241)) == sorted(answers)


def test_without_an_id_nobody_knows_what_a_killed_owner_did(
    shop: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent, send = threading.Event(), Line.send

    def observed(line: Line, bundle: Any) -> None:
        send(line, bundle)
        sent.set()

    with owning(shop, tmp_path / "d") as owner, boxwork.open(tmp_path / "d") as work:
        work.commit(shop.like, "p0", "ada")  # it is taken in
        monkeypatch.setattr(Line, "send", observed)
        stop(owner)  # it takes nothing in, and the kernel still takes what is sent
        future = work.commit_soon(shop.bump, "p1")
        assert sent.wait(20)
        owner.kill()
        with pytest.raises(CommitUnknown, match="same `once`"):
            future.result(20)
        assert 1 == work.commit(shop.bump, "p1")  # this process owns the facts now


def test_an_owner_that_never_took_a_process_in_has_begun_nothing(shop: Any, tmp_path: Path) -> None:
    """It hangs, and is killed: this process becomes the owner and commits, also without an id."""
    with owning(shop, tmp_path / "d") as owner, boxwork.open(tmp_path / "d") as work:
        stop(owner)
        future = work.commit_soon(shop.bump, "p1")
        time.sleep(0.1)  # whether it is sent by then or not, the answer is the same
        owner.kill()
        assert 1 == future.result(20)[0]


def test_pipelined_calls_of_a_killed_owner_are_there_as_far_as_they_were_answered(shop: Any, tmp_path: Path) -> None:
    answered: list[int] = []
    sent = 0

    def press(work: Any, owner: Any) -> None:
        nonlocal sent
        with work.line() as line:
            while True:
                for _ in range(50):
                    line.call(shop.bump, ("p1",))
                    sent += 1
                line.flush()
                answered.extend(reply.answer for reply in line.receive())
                if len(answered) > 500:
                    owner.kill()

    with owning(shop, tmp_path / "d") as owner, boxwork.open(tmp_path / "d") as work:
        with pytest.raises(wire.Left):
            press(work, owner)
        owner.wait(20)
        with work.read() as facts:
            counted = facts.get(("likes", "p1"))
        assert list(range(1, len(answered) + 1)) == answered
        assert len(answered) <= counted <= sent


def test_an_owner_that_does_not_answer_is_not_waited_for_longer_than_the_limit(shop: Any, tmp_path: Path) -> None:
    limit = {"state.forward_s_max": 0.3}
    with owning(shop, tmp_path / "d") as owner, boxwork.open(tmp_path / "d", settings=limit) as work:
        stop(owner)
        with pytest.raises(CommitUnknown, match="within 0.3 s .setting state.forward_s_max"):
            work.commit(shop.bump, "p1", once="order 1")
        owner.send_signal(signal.SIGCONT)
        work.node.forwarding._limit_s = 20.0
        assert 1 == work.commit(shop.bump, "p1", once="order 1")  # what was sent before counts as the same


def test_a_forked_child_of_the_owner_does_not_keep_others_waiting(shop: Any, tmp_path: Path) -> None:
    """The child has copies of the sockets; unless it closes them, nobody hears that its parent was killed."""
    forking = OWNER.replace(
        '    print("ready"',
        # The child lives as long as the test: it has our end of a pipe, too, and ends when that is closed.
        "    import os\n    os.fork() or (sys.stdin.readline(), os._exit(0))\n" + '    print("ready"',
    )
    with owning(shop, tmp_path / "d", forking) as owner, boxwork.open(tmp_path / "d") as work:
        assert 1 == work.commit(shop.bump, "p1")
        owner.kill()
        assert 2 == work.commit(shop.bump, "p1", once="after the kill")


def test_a_directory_with_a_long_name_has_a_socket_too(shop: Any, tmp_path: Path) -> None:
    deep = tmp_path / ("long" * 20) / ("name" * 20)
    deep.mkdir(parents=True)
    with owning(shop, deep / "d"), boxwork.open(deep / "d") as work:
        assert 1 == work.commit(shop.bump, "p1")
        assert work.node.own_engine is None


def test_a_name_in_two_packs_means_the_one_of_the_owner_if_the_code_is_the_same(shop: Any, tmp_path: Path) -> None:
    pack = Pack("shop", "is a pack for tests", transactions=(shop.bump,))
    with owning(shop, tmp_path / "d"), boxwork.open(tmp_path / "d", packs=[pack]) as work:
        assert 1 == work.commit("bump", post="p1")


def _until(reached: Any, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.001)
