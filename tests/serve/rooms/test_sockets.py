"""Rooms over real sockets: who may come in, what they are told, and what they may call."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

import boxwork
from boxwork.errors import Refused
from boxwork.testing.served import served
from tests.serve.rooms.conftest import BOARDS, Page, fill, press, write

SMALL = {"live.tail_frames": 10}


def test_a_commit_is_told_to_everybody_in_the_room_and_to_nobody_else(work: Any, url: str, page: Any) -> None:
    work.commit(press, board="b1", times=2)
    ada, bob, other = page(url), page(url), page(url, "b2")
    assert [[["presses"], 2]] == ada.open()["facts"]
    bob.open()
    assert [] == other.open()["facts"]
    work.commit(write, board="b1", person="x", text="hello")
    for one in (ada, bob):
        one.until(lambda line: line["kind"] == "frame")
        assert {"by": "x", "text": "hello"} == one.facts["line", 0]
        assert 2 == one.facts[("presses",)]
    work.commit(press, board="b2")
    other.until(lambda line: line["kind"] == "frame")
    assert {("presses",): 1} == other.facts


def test_another_process_commits_and_the_room_hears_it(work: Any, url: str, page: Any) -> None:
    ada = page(url)
    ada.open()
    root = Path(__file__).parents[3]
    command = [str(Path(sys.executable).with_name("boxwork")), "--data", str(work.node.root), "commit"]
    done = subprocess.run(
        [*command, "tests.serve.rooms.conftest:press", "board=b1", "times=7"],
        cwd=root, env={**os.environ, "PYTHONPATH": str(root)}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    ada.until(lambda line: line["kind"] == "frame")
    assert 7 == ada.facts[("presses",)]


def test_a_call_is_answered_and_the_same_call_again_counts_once(work: Any, url: str, page: Any) -> None:
    ada = page(url, name="ada")
    ada.open()
    assert 3 == ada.call("press", "c1", times=3)["answer"]
    ada.cut()
    ada.open()
    assert 3 == ada.call("press", "c1", times=3)["answer"]
    assert 3 == work.read().get(("board", "b1", "presses"))


def test_who_is_speaking_is_not_for_the_member_to_say(url: str, page: Any) -> None:
    ada = page(url, name="ada")
    ada.open()
    ada.call("write", "1", text="me")
    ada.until_offset(1)
    assert "ada" == ada.facts["line", 0]["by"]
    assert "input.bad" == ada.call("write", "2", text="not me", person="bob")["error"]
    assert "input.bad" == ada.call("press", "3", board="b2")["error"]


def test_a_refusal_a_bug_and_a_wrong_call_are_answers_with_reasons(url: str, page: Any) -> None:
    ada = page(url)
    ada.open()
    said = ada.call("press", "1", times=500)
    assert (Refused.code, "times is 1 to 100", {"times": 500}) == (said["error"], said["message"], said["details"])
    assert "transaction.failed" == ada.call("fail", "2")["error"]
    assert "there are: press, write, fail" in ada.call("fill", "3", lines=1, size=1)["message"]
    assert "input.bad" == ada.call("press", "5", times="x")["error"]
    ada.say("[[[")
    assert "input.bad" == ada.until(lambda line: line.get("id") == "")["error"]
    assert 1 == ada.call("press", "6")["answer"]


@pytest.mark.parametrize("work", [{"live.commands_burst": 3, "live.commands_per_s": 0.001}], indirect=True)
def test_a_member_that_calls_too_fast_is_told_to_wait(work: Any, url: str, page: Any) -> None:
    ada, bob = page(url), page(url)
    ada.open()
    bob.open()
    for number in range(3):
        ada.call("press", f"{number}")
    said = ada.call("press", "4")
    assert ("busy", "later") == (said["error"], said["retry"])
    assert 4 == bob.call("press", "0")["answer"]


def test_a_cut_leaves_no_gap_and_no_double(work: Any, url: str, page: Any) -> None:
    ada = page(url)
    ada.open()
    for number in range(20):
        work.commit(write, board="b1", person="x", text=str(number))
    ada.until_offset(5)
    ada.cut()
    for number in range(20, 60):
        work.commit(write, board="b1", person="x", text=str(number))
        work.commit(press, board="b2")
    assert "resumed" == ada.open()["kind"]
    last = work.commit(write, board="b1", person="x", text="60", receipt=True)[1].version
    ada.until_offset(last)
    assert [str(number) for number in range(61)] == [ada.facts["line", number]["text"] for number in range(61)]
    assert 61 == len(ada.offsets)


@pytest.mark.parametrize("work", [SMALL], indirect=True)
def test_who_was_away_for_longer_than_the_tail_begins_anew(work: Any, url: str, page: Any) -> None:
    ada = page(url)
    ada.open()
    work.commit(press, board="b1")
    ada.until_offset(1)
    ada.cut()
    for _ in range(30):
        work.commit(press, board="b1")
    first = ada.open()
    assert ("reset", "too much happened meanwhile") == (first["kind"], first["why"])
    work.commit(press, board="b1")
    ada.until_offset(32)
    assert 32 == ada.facts[("presses",)]


def test_a_page_goes_on_after_the_node_was_started_again(tmp_path: Path, page: Any) -> None:
    with boxwork.open(tmp_path / "d", packs=(BOARDS,)) as work:
        work.commit(press, board="b1")
        with served(work) as server:
            ada = page(server.url)
            ada.open()
            for _ in range(3):
                work.commit(press, board="b1")
            ada.until_offset(4)
            server.uvicorn.leave()
            assert 1012 == ada.closed()[0]
        for _ in range(5):
            work.commit(press, board="b1")
            work.commit(press, board="b2")
    with boxwork.open(tmp_path / "d", packs=(BOARDS,)) as work, served(work) as server:
        ada.url = page(server.url).url
        assert "resumed" == ada.open()["kind"], "from the log"
        bob = page(server.url)
        bob.open()
        last = work.commit(press, board="b1", receipt=True)[1].version
        ada.until_offset(last)
        assert [2, 3, 4, 5, 7, 9, 11, 13, 15] == ada.offsets
        assert 10 == ada.facts[("presses",)]


def test_an_offset_of_another_log_is_a_reset(work: Any, url: str, page: Any) -> None:
    work.commit(press, board="b1")
    for epoch, offset in (("1.0123456789ab", 1), ("", 99)):
        ada = page(url)
        ada.epoch, ada.offset = epoch, offset
        assert {"": "joined"}.get(epoch, "reset") == ada.open()["kind"]
        ada.cut()
        ada.offset = 10_000
        assert "reset" == ada.open()["kind"]
        assert 1 == ada.facts[("presses",)]


@pytest.mark.parametrize("work", [{"live.unsent_bytes_max": 4096, **SMALL}], indirect=True)
def test_a_slow_reader_costs_a_bounded_amount_and_comes_back(work: Any, url: str, page: Any) -> None:
    slow, quick = page(url), page(url)
    slow.open(max_queue=1)
    quick.open()
    for _ in range(60):  # 12 MB: more than the sockets between us hold
        last = work.commit(fill, board="b1", lines=20, size=10_000, receipt=True)[1].version
        quick.until_offset(last)
    assert 20 == len([key for key in quick.facts if key[0] == "fill"])
    slow.until_offset(last)
    assert quick.facts == slow.facts
    assert len(slow.offsets) < 60, "it was given the facts anew instead of all that it had missed"
    work.commit(press, board="b1")
    slow.until(lambda line: line["kind"] == "frame")


def test_news_that_the_node_itself_missed_is_found_in_the_log(work: Any, url: str, page: Any) -> None:
    ada = page(url)
    ada.open()
    for watch in work.engine.audience.watches and work.engine.audience._watches:
        watch._waiting_max = 5
    work.commit(fill, board="b1", lines=50, size=1)  # 50 changes at once: the watch is too slow
    last = work.commit(press, board="b1", receipt=True)[1].version
    ada.until_offset(last)
    assert 50 == len([key for key in ada.facts if key[0] == "fill"])


def test_a_page_of_another_site_may_not_open_a_room(url: str) -> None:
    address = url.replace("http", "ws") + "/rooms/board/b1"
    for origin in ("http://evil.example", "null", url.replace("http://", "http://x.")):
        with pytest.raises(InvalidStatus, match="403"), connect(address, origin=origin):  # type: ignore[arg-type]
            pass
    with connect(address, origin=url):  # type: ignore[arg-type]
        pass


def test_the_origin_counts_even_where_the_guard_lets_everybody_in(work: Any) -> None:
    from boxwork.serve.guard import anyone

    with served(work, guard=anyone) as server:
        address = server.url.replace("http", "ws") + "/rooms/board/b1"
        with pytest.raises(InvalidStatus, match="403"), connect(address, origin="http://evil.example"):  # type: ignore[arg-type]
            pass


@pytest.mark.parametrize(
    ("path", "first", "code", "reason"),
    [("nothing", "", 4404, "there are: board/{board}"), ("board/b1", "no", 4400, "the first message"),
     ("board/b1", '{"hello": {"token": "wrong"}}', 4403, "opens no board"), ("board/b1", "", 4408, "no hello")],
)  # fmt: skip
@pytest.mark.parametrize("work", [{"live.hello_s_max": 0.3}], indirect=True)
def test_who_is_not_let_in_hears_why(url: str, path: str, first: str, code: int, reason: str) -> None:
    with connect(url.replace("http", "ws") + f"/rooms/{path}") as socket:
        if first:
            socket.send(first)
        with pytest.raises(ConnectionClosed) as end:
            socket.recv(timeout=10)
    assert end.value.rcvd is not None
    assert code == end.value.rcvd.code
    assert reason in end.value.rcvd.reason


@pytest.mark.parametrize("work", [{"live.members_max": 1, "live.message_bytes_max": 200}], indirect=True)
def test_the_limits_of_members_and_messages_hold(work: Any, url: str, page: Any) -> None:
    ada, bob = page(url), page(url)
    ada.open()
    bob.connect()
    code, reason = bob.closed()
    assert 1013 == code
    assert "live.members_max" in reason
    ada.say({"call": "write", "id": "1", "inputs": {"text": "x" * 300}})
    assert 1009 == ada.closed()[0]


def test_people_are_counted_and_the_count_is_told(url: str, page: Any) -> None:
    ada, bob, tab = page(url, name="ada"), page(url, name="bob"), page(url, name="ada")
    for one in (ada, bob, tab):
        one.open()
    ada.until(lambda line: line == {"kind": "present", "count": 2})


def test_it_is_there_inside_of_another_application_too(work: Any, page: Any) -> None:
    from starlette.applications import Starlette
    from starlette.routing import Mount

    outer = Starlette(routes=[Mount("/under/here", boxwork.asgi(work))])
    with served(work, outer) as server:
        ada, bob = page(f"{server.url}/under/here"), page(f"{server.url}/under/here")
        ada.open()
        bob.open()
        for number in range(50):
            ada.call("write", f"{number}", text=str(number))
        bob.until_offset(50)
        assert [str(number) for number in range(50)] == [bob.facts["line", number]["text"] for number in range(50)]


def test_how_long_it_took_is_measured(work: Any, url: str, page: Any) -> None:
    ada = page(url)
    ada.open()
    ada.call("press", "1")
    text = httpx.get(f"{url}/metrics", timeout=10).text
    assert "live_fanout" in text.replace(".", "_")


def test_a_thousand_presses_of_many_are_exactly_a_thousand(work: Any, url: str, page: Any) -> None:
    pages = [page(url, name=f"p{number}") for number in range(10)]
    for one in pages:
        one.open()
    for number in range(50):
        for one in pages:
            one.say({"call": "press", "id": f"{number}", "inputs": {"times": 2}})
            if number % 10 == 9:
                one.until(lambda line, number=number: line.get("id") == f"{number}")
    assert 1000 == work.read().get(("board", "b1", "presses"))
    watcher = Page(url)
    watcher.open()
    watcher.until_offset(work.read().version)
    assert 1000 == watcher.facts[("presses",)]
    watcher.close()
