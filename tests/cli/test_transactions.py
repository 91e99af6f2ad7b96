from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import boxwork as front
from boxwork import transaction

SOURCE = '''
import asyncio
from boxwork import transaction

@transaction
def like(tx, post: str, user: str, weight: int = 1) -> int:
    """Once per person."""
    if tx.put_new(("liked", post, user), True):
        tx.add(("likes", post), weight)
    return tx.get(("likes", post))

@transaction
async def ponder(tx, post: str) -> int:
    seen = tx.get(("likes", post), 0)
    await asyncio.sleep(0)
    tx.put(("likes", post), seen + 100)
    return seen + 100

def plain(tx):
    pass
'''


@transaction
def note(tx: Any, number: int) -> None:
    tx.put(("notes", number), "x" * 100)
    tx.delete(("notes", number - 1))


@pytest.fixture(autouse=True)
def own_transactions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_own_shop.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "my_own_shop", raising=False)


def test_a_commit_prints_its_answer_and_a_receipt_that_can_be_checked(boxwork: Any, tmp_path: Path) -> None:
    assert "1\n" == boxwork("commit", "my_own_shop:like", "post=p1", "user=ada")
    told = boxwork.json("commit", "my_own_shop:like", "post=p1", "user=bob", "weight=2", "--who", "bob")[0]
    assert 3 == told["answer"]
    explained = boxwork("state", "explain", told["receipt"], "--boxes", "my_own_shop")
    assert "like('p1', 'bob', 2)" in explained
    assert "wrote ('likes', 'p1') = 3" in explained
    (tmp_path / "receipts").write_text(str(told["receipt"]))
    report = boxwork.json("state", "verify", "--boxes", "my_own_shop", "--receipts", str(tmp_path / "receipts"))[0]
    assert (True, 2, 2, 1) == (report["sound"], report["commits"], report["replayed"], report["receipts"])
    receipt = str(told["receipt"])
    (tmp_path / "receipts").write_text(receipt[:-1] + ("0" if receipt[-1] != "0" else "1"))
    assert "receipts" in boxwork("state", "verify", "--receipts", str(tmp_path / "receipts"), code=1)


def test_an_idempotency_id_holds_between_two_calls_of_the_program(boxwork: Any) -> None:
    for _ in range(2):
        told = boxwork.json("commit", "my_own_shop:ponder", "post=p1", "--once", "order 1")[0]
        assert 100 == told["answer"]


def test_what_cannot_be_committed_is_explained(boxwork: Any) -> None:
    assert "nothing was ever committed" in boxwork("state", "verify", code=1)
    assert "there is no transaction 'nothing'" in boxwork("commit", "nothing", code=1)
    assert "put @transaction above it" in boxwork("commit", "my_own_shop:plain", code=1)
    assert "'user' is missing" in boxwork("commit", "my_own_shop:like", "post=p1", code=1)
    assert "name=value" in boxwork("commit", "my_own_shop:like", "post", code=1)
    boxwork("transactions")


def test_a_watch_shows_what_is_committed_and_owns_nothing(boxwork: Any) -> None:
    boxwork("commit", "my_own_shop:like", "post=p1", "user=ada")
    with front.open(boxwork.directory) as work:  # the owner
        work.commit(note, 1)
        changes = boxwork.json("watch", "likes", "--after", "0", "--count", "1")
        assert [{"version": 1, "key": ["likes", "p1"], "value": 1, "deleted": False, "by": "like"}] == changes
        assert "2  ('notes', 1) = 'xxx" in boxwork("watch", "notes", "1", "--after", "1", "--count", "1")


def test_a_watch_follows_another_process_from_now_on(boxwork: Any) -> None:
    with front.open(boxwork.directory) as work:
        work.commit(note, 1)
        program = "import sys; from boxwork.cli.program import run; run(sys.argv[1:])"
        watch = subprocess.Popen(
            [sys.executable, "-c", program, "--data", str(boxwork.directory), "watch", "--count", "2"],
            stdout=subprocess.PIPE,
            text=True,
        )
        number = 1
        while watch.poll() is None and number < 1_000:  # it has begun when it has heard something
            number += 1
            work.commit(note, number)
            try:
                watch.wait(0.05)
            except subprocess.TimeoutExpired:
                continue
        lines = watch.communicate(timeout=5)[0].splitlines()
    assert 2 == len(lines)
    assert "('notes'," in lines[0]
    assert "deleted" in lines[0] + lines[1]
