"""The facts of a node: opened at the first commit, owned by one process, there again afterwards."""

from __future__ import annotations

import asyncio
import os
import re
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import boxwork
from boxwork import Boxwork, Pack, transaction
from boxwork.clock import SECOND_NS, SystemClock
from boxwork.content.backup import restore
from boxwork.content.sweep import Sweep
from boxwork.errors import BadInput, NotFound, Refused, StateError, StateInUse
from boxwork.state.watch import Change
from boxwork.testing.clock import FakeClock

LIKE = """
import sys
import boxwork
from boxwork import transaction

@transaction
def like(tx, post: str, user: str) -> int:
    if tx.put_new(("liked", post, user), True):
        tx.add(("likes", post), 1)
    return tx.get(("likes", post))
"""


@transaction
def like(tx: Any, post: str, user: str) -> int:
    if tx.put_new(("liked", post, user), True):
        tx.add(("likes", post), 1)
    return tx.get(("likes", post))  # type: ignore[no-any-return]


@transaction
async def like_after_a_thought(tx: Any, post: str) -> int:
    seen = tx.get(("likes", post), 0)
    await asyncio.sleep(0)
    tx.put(("likes", post), seen + 1)
    return seen + 1  # type: ignore[no-any-return]


SHOP = Pack("shop", "is a pack for tests", transactions=(like,))


def another_process(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", LIKE + code, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_commit_is_there_after_the_node_was_opened_again(tmp_path: Path) -> None:
    with boxwork.open(tmp_path) as work:
        assert 1 == work.commit(like, post="p1", user="ada")
        answer, receipt = work.commit(like, "p1", "bob", receipt=True)
        assert (2, 2) == (answer, receipt.version)
        assert [3, 3] == work.commit_many(like, [("p1", "cyd"), {"post": "p1", "user": "cyd"}])
    with boxwork.open(tmp_path) as work, work.read() as facts:
        assert 3 == facts.get(("likes", "p1"))


def test_the_awaiting_face_commits_reads_and_thinks(tmp_path: Path) -> None:
    async def main() -> None:
        async with Boxwork(tmp_path) as work:
            likes = await asyncio.gather(*(work.commit(like, post="p1", user=f"user {n % 50}") for n in range(100)))
            assert 50 == max(likes)
            assert work.blocking.engine.counters.batches < 50
            assert 51 == await work.commit(like_after_a_thought, post="p1")
            assert [1, 1] == await work.commit_many(like, [("p2", "ada")] * 2)
            async with work.read() as facts:
                assert 51 == facts.get(("likes", "p1"))
            async with work.begin(who="ada") as view:
                assert 1 == view.get(("likes", "p2"))
                await work.commit(like, "p2", "bob", who="bob")
                with pytest.raises(Refused, match="changed by like by bob"):
                    await view.commit(like, "p2", "ada", unchanged=True)

    asyncio.run(main())


def test_whoever_watches_hears_of_commits_and_of_the_end(tmp_path: Path) -> None:
    async def main() -> list[Change]:
        heard: list[Change] = []
        begun = asyncio.Event()

        async def watch(work: Boxwork) -> None:
            async for change in work.watch(("likes",)):
                heard.append(change)
                begun.set()

        async with Boxwork(tmp_path) as work:
            watcher = asyncio.create_task(watch(work))
            for number in range(100):
                await work.commit(like, post="p1", user=str(number))
                if begun.is_set():
                    break
            await work.commit(like, post="p2", user="ada")
        await asyncio.wait_for(watcher, 5)
        return heard

    last = asyncio.run(main())[-1]
    assert (("likes", "p2"), 1, "like") == (last.key, last.value, last.by)


def test_opening_a_node_owns_no_facts_and_the_first_look_does(tmp_path: Path) -> None:
    with boxwork.open(tmp_path) as work:
        assert not (tmp_path / "state").exists()
        with work.watch(("likes",)) as watch:
            assert work.engine is work.engine
            work.commit(like, "p1", "ada")
            assert [("likes", "p1")] == [change.key for change in watch.take()]
    with pytest.raises(StateError, match="open it again"):
        work.commit(like, "p1", "ada")


def test_a_second_process_is_told_who_owns_the_facts(tmp_path: Path) -> None:
    owner = another_process(
        """
with boxwork.open(sys.argv[1]) as work:
    work.commit(like, "p1", "ada")
    print("ready", flush=True)
    sys.stdin.read()
""",
        str(tmp_path),
    )
    assert owner.stdout is not None
    assert "ready\n" == owner.stdout.readline()
    try:
        with boxwork.open(tmp_path) as work:
            assert b"content is everybody's" == work.get(work.put(b"content is everybody's"))
            with pytest.raises(StateInUse, match=f"process {owner.pid} owns the facts") as refusal:
                work.commit(like, "p1", "bob")
            assert str(owner.pid) == refusal.value.details["owner"]
            owner.kill()
            owner.communicate()
            assert 2 == work.commit(like, "p1", "bob")
    finally:
        owner.kill()
        owner.communicate()


def test_nothing_acknowledged_is_lost_to_kill_9(tmp_path: Path) -> None:
    child = another_process(
        """
with boxwork.open(sys.argv[1]) as work:
    for number in range(1_000_000):
        answer, receipt = work.commit(like, "p1", str(number), receipt=True)
        print(answer, receipt, flush=True)
""",
        str(tmp_path),
    )
    assert child.stdout is not None
    told = [child.stdout.readline().split() for _ in range(50)]
    child.send_signal(signal.SIGKILL)
    rest = child.stdout.read()  # not `communicate`, which passes over what `readline` has taken from the pipe already
    errors = child.communicate()[1]
    told += [line.split() for line in rest.splitlines() if re.fullmatch(r"\d+ \d+\.\d+\.\d+\.[0-9a-f]{64}", line)]
    assert "" == errors
    with boxwork.open(tmp_path) as work, work.read() as facts:
        # At most the one that was under way when it was killed is there beside those that were told.
        assert len(told) <= facts.get(("likes", "p1")) <= len(told) + 1
        assert [str(number) for number in range(1, len(told) + 1)] == [answer for answer, _ in told]
        assert facts.get(("liked", "p1", str(len(told) - 1)))


def test_a_forked_child_leaves_the_facts_alone_and_does_not_keep_their_lock(tmp_path: Path) -> None:
    work = boxwork.open(tmp_path)
    work.commit(like, "p1", "ada")
    engine = work.engine
    leave, left = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            refusals: list[str] = []
            for call in (lambda: work.commit(like, "p1", "bob"), lambda: engine.commit(like, "p1", "bob")):
                try:
                    call()
                except StateError as error:
                    refusals.append(error.code)
            with boxwork.open(tmp_path) as mine:  # as any other process: it hands in to its parent
                answer = mine.commit(like, "p1", "bob")
                code = 0 if answer == 2 and len(refusals) == 2 and mine.node.own_engine is None else 2
            os.write(left, b"x")
            signal.pause()
        finally:
            os._exit(code or 0)
    try:
        assert select.select([leave], [], [], 20)[0], "the child waits for a thread that it does not have"
        assert b"x" == os.read(leave, 1)
        assert 3 == work.commit(like, "p1", "cyd")
        work.close()
        with boxwork.open(tmp_path) as again:  # while the child still lives
            assert 4 == again.commit(like, "p1", "dan")
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(leave)
        os.close(left)


def test_a_sweep_keeps_the_checkpoint_and_takes_the_one_before(tmp_path: Path) -> None:
    clock = FakeClock(now_ns=SystemClock().now_ns())
    with boxwork.open(tmp_path, clock=clock) as work:
        work.commit(like, "p1", "ada")
        old = work.engine.checkpoint().ref
        work.content.pin(old, "state.checkpoint.999")  # as a process leaves it that was killed in between
        work.commit(like, "p1", "bob")
        new = work.engine.checkpoint().ref
    with boxwork.open(tmp_path, clock=clock) as work:
        assert 2 == work.engine.recovered.checkpoint_version
        assert ["state.checkpoint.2"] == [name for name, _ in work.pins()]
        clock.advance(10 * 24 * 3600 * SECOND_NS)
        Sweep(work.content, grace_ns=0).run()
        assert (False, True) == (work.has(old), work.has(new))
        assert 3 == work.commit(like, "p1", "cyd")


def test_a_backup_without_the_newest_checkpoint_is_read_from_its_log(tmp_path: Path) -> None:
    from boxwork.content.backup import backup

    with boxwork.open(tmp_path / "d") as work:
        work.commit(like, "p1", "ada")
        ref = work.engine.checkpoint().ref
        work.commit(like, "p1", "bob")
        work.unpin("state.checkpoint.1")
        work.content.delete(ref)
        backup(work.content, tmp_path / "copy")
    restore(tmp_path / "copy", tmp_path / "again")
    with boxwork.open(tmp_path / "again") as work:
        assert 3 == work.commit(like, "p1", "cyd")
        assert 0 == work.engine.recovered.checkpoint_version


def test_a_pack_offers_transactions_by_name(tmp_path: Path) -> None:
    with boxwork.open(tmp_path, packs=[SHOP]) as work:
        assert work.transactions["like"] is like
        assert 1 == work.commit("like", post="p1", user="ada")
        assert [2] == work.commit_many("like", [("p1", "bob")])
        with pytest.raises(NotFound, match=r"no transaction 'dislike'; there are: .*like"):
            work.commit("dislike")

    async def main() -> int:
        async with Boxwork(tmp_path, packs=[SHOP]) as work:
            return await work.commit("like", post="p1", user="cyd")  # type: ignore[no-any-return]

    assert 3 == asyncio.run(main())


def test_two_packs_may_not_mean_two_transactions_by_one_name(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="shop and stall both have a transaction 'like'"):
        boxwork.open(tmp_path, packs=[SHOP, Pack("stall", "is another", transactions=(like,))])


def test_settings_of_the_facts_are_settings_of_the_node(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    with boxwork.open(tmp_path / "d", settings={"state.lane": "snapshot"}) as work:
        work.commit(like, "p1", "ada")
        assert 1 == work.engine.counters["snapshot"].commits
        assert work.pulse.series("state.commit", lane="snapshot") is not None
    with boxwork.open(tmp_path / "d", settings={"state.lane": "fast"}) as work, pytest.raises(BadInput, match="fast"):
        work.commit(like, "p1", "ada")


def test_the_front_door_gives_the_decorator_and_not_a_module_of_its_name() -> None:
    # A module of that name would take the decorator's place as soon as it is imported.
    import boxwork.app

    assert callable(boxwork.transaction)
    assert isinstance(like, boxwork.Transaction)
