"""A room over real sockets: comments in order, exact likes, mentions, and somebody who keeps order."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from boxwork.packs.lounge.comments import NOTES_MAX, comment, like
from boxwork.packs.lounge.keys import person_of
from boxwork.packs.lounge.moderation import open_lounge

ADA, BOB, EVE = (letter * 32 for letter in "abe")


class Guest:
    """One connection."""

    def __init__(self, socket: Any, hello: dict[str, Any]) -> None:
        self.socket = socket
        self.calls = 0
        socket.send(json.dumps({"hello": hello}))
        self.lines: list[dict[str, Any]] = []
        self.first = self.until(lambda line: "facts" in line)

    def until(self, found: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        while True:
            for line in str(self.socket.recv(timeout=10)).split("\n"):
                self.lines.append(json.loads(line))
            hits = [line for line in self.lines if found(line)]
            if hits:
                return hits[-1]

    def call(self, which: str, /, **inputs: Any) -> dict[str, Any]:
        self.calls += 1
        self.socket.send(json.dumps({"call": f"lounge_{which}", "id": f"{self.calls}", "inputs": inputs}))
        return self.until(lambda line: line.get("id") == f"{self.calls}")

    def say(self, text: str, name: str = "ada") -> dict[str, Any]:
        return self.call("comment", name=name, text=text)


@pytest.fixture
def guest(url: str) -> Iterator[Callable[..., Guest]]:
    with contextlib.ExitStack() as ends:

        def come(secret: str, room: str = "lounge/friday", **claims: str) -> Guest:
            socket = ends.enter_context(connect(f"{url.replace('http', 'ws')}/rooms/{room}", close_timeout=1))
            return Guest(socket, {"secret": secret, **claims})

        yield come


Come = Callable[..., Guest]


def texts(work: Any) -> list[Any]:
    with work.read() as facts:
        return [value[2] for _, value in facts.scan(("lounge", "friday", "comment"))]


def test_comments_have_one_order_and_who_comes_in_sees_the_last_ones(work: Any, key: str, guest: Come) -> None:
    ada, bob = guest(ADA), guest(BOB)
    for number in range(4):
        assert 2 * number == ada.say(f"a{number}")["answer"]
        assert 2 * number + 1 == bob.say(f"b{number}", "bob")["answer"]
    assert ["a0", "b0", "a1", "b1", "a2", "b2", "a3", "b3"] == texts(work)
    work.commit_many(comment, [("friday", "x", False, "many", f"{number}") for number in range(120)])
    late = guest(EVE)
    end = work.read().version
    late.until(lambda line: line.get("offset") == end)
    told = late.first["facts"] + [change for line in late.lines for change in line.get("changes", [])]
    assert list(range(128)) == [key[1] for key, _ in told if key[0] == "comment"]


def test_who_comes_in_later_is_shown_the_newest_hundred(work: Any, key: str, guest: Come) -> None:
    work.commit_many(comment, [("friday", "x", False, "many", f"{number}") for number in range(150)])
    facts = guest(EVE).first["facts"]
    assert list(range(50, 150)) == [key[1] for key, _ in facts if key[0] == "comment"]
    assert ["title", "Friday night"] in [[key[0], value] for key, value in facts]


def test_what_is_wrong_with_a_comment_is_said(key: str, guest: Come) -> None:
    ada, bob = guest(ADA), guest(BOB)
    assert "nothing in this comment" in ada.say(" \u200b ")["message"]
    assert "up to 500 characters" in ada.say("x" * 501)["message"]
    assert "a name has" in ada.say("hello", "a b")["message"]
    assert "answer" in ada.say("hello", "Ada")
    assert "somebody else is called" in bob.say("I am ada", "ＡＤＡ")["message"]


def test_a_thousand_likes_of_many_are_exactly_a_thousand(work: Any, key: str, url: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(work.commit, like, room="friday", times=4) for _ in range(250)]:
            done.result()
    assert 1000 == work.read().get(("lounge", "friday", "likes"))


def test_likes_have_bounds(key: str, guest: Come) -> None:
    ada = guest(ADA)
    for times in (0, -5, 101):
        assert "presses at once" in ada.call("like", times=times)["message"]
    assert "answer" in ada.call("like", times=100)


def test_who_is_mentioned_is_told_and_nobody_else(work: Any, key: str, guest: Come) -> None:
    ada, bob = guest(ADA), guest(BOB)
    bob.say("hello", "bob")
    ada.say("hello @Bob and @ada and @nobody")
    inbox = guest(BOB, f"lounge-notes/{person_of(BOB)}")
    if not inbox.first["facts"]:
        inbox.until(lambda line: line["kind"] == "frame")
    with work.read() as facts:
        notes = dict(facts.scan(("lounge.notes",)))
    assert {person_of(BOB)} == {key[1] for key in notes}
    assert ("friday", 1, "ada", "hello @Bob and @ada and @nobody") == notes["lounge.notes", person_of(BOB), "note", 0][
        :4
    ]
    assert "answer" in inbox.call("read_notes", before=1)
    assert "there are 1" in inbox.call("read_notes", before=2)["message"]


def test_only_so_many_notifications_are_kept(work: Any, key: str) -> None:
    work.commit(comment, "friday", person_of(BOB), False, "bob", "hello")
    work.commit_many(comment, [("friday", "x", False, "x", "@bob") for _ in range(NOTES_MAX + 20)])
    with work.read() as facts:
        kept = [key[3] for key, _ in facts.scan(("lounge.notes", person_of(BOB), "note"))]
    assert list(range(20, NOTES_MAX + 20)) == kept


def test_notifications_of_another_person_are_nobodys_business(key: str, guest: Come) -> None:
    with pytest.raises(ConnectionClosed, match="4403"):
        guest(EVE, f"lounge-notes/{person_of(BOB)}")


def test_one_who_is_muted_says_nothing_until_he_may_again(key: str, guest: Come) -> None:
    keeper, bob = guest(ADA, key=key), guest(BOB)
    assert "answer" in bob.say("one", "bob")
    assert "answer" in keeper.call("mute", whom=person_of(BOB))
    assert ("transaction.refused", "you are muted in this room") == tuple(
        bob.say("two", "bob")[word] for word in ("error", "message")
    )
    assert "answer" in keeper.call("unmute", whom=person_of(BOB))
    assert "answer" in bob.say("three", "bob")


def test_without_the_key_nobody_keeps_order(work: Any, key: str, guest: Come) -> None:
    eve = guest(EVE)
    eve.say("hello", "eve")
    for name, inputs in [("mute", {"whom": "x"}), ("unmute", {"whom": "x"}), ("remove", {"number": 0}),
                         ("slow_down", {"seconds": 5}), ("filter_words", {"words": []})]:  # fmt: skip
        assert "only who keeps order" in eve.call(name, **inputs)["message"]
        assert "cannot be said" in eve.call(name, keeper=True, **inputs)["message"]
    with pytest.raises(ConnectionClosed, match="4403"):
        guest(EVE, key="0" * 32)
    assert ["hello"] == texts(work)


def test_a_comment_is_removed_for_everybody(work: Any, key: str, guest: Come) -> None:
    keeper, bob = guest(ADA, key=key), guest(BOB)
    bob.say("a slip", "bob")
    assert "answer" in keeper.call("remove", number=0)
    bob.until(lambda line: '"bob",null' in json.dumps(line, separators=(",", ":")))
    assert [None] == texts(work)
    assert "there is no comment 7" in keeper.call("remove", number=7)["message"]


def test_a_slow_room_makes_wait_but_not_who_keeps_order(key: str, guest: Come) -> None:
    keeper, bob = guest(ADA, key=key), guest(BOB)
    assert "answer" in keeper.call("slow_down", seconds=600)
    assert "answer" in bob.say("one", "bob")
    said = bob.say("two", "bob")
    assert "this room is slow: wait 600 s" == said["message"]
    assert 0 < said["details"]["wait_ms"] <= 600_000
    assert "answer" in keeper.say("one")
    assert "answer" in keeper.say("two")
    assert "0 to 3600 s" in keeper.call("slow_down", seconds=4000)["message"]


def test_words_that_a_room_does_not_want_are_refused_and_not_shown(key: str, guest: Come) -> None:
    keeper, bob = guest(ADA, key=key), guest(BOB)
    assert ["foo", "bar"] == keeper.call("filter_words", words=["Foo", " BAR ", "", "foo"])["answer"]
    assert "'foo'" in bob.say("what a FOO", "bob")["message"]
    assert "answer" in bob.say("food", "bob")
    assert not any("words" in str(change[0]) for line in bob.lines for change in line.get("changes", []))
    assert "up to 100 words" in keeper.call("filter_words", words=["x"] * 101)["message"]
    assert "up to 40 letters" in keeper.call("filter_words", words=["x" * 41])["message"]


def test_a_room_is_opened_once_and_its_key_is_in_the_answer_only(work: Any, key: str, url: str) -> None:
    again = httpx.post(f"{url}/lounge/rooms/open", json={"room": "friday", "title": "Mine"}, timeout=10)
    assert (409, "there is a room friday already") == (again.status_code, again.json()["message"])
    with work.read() as facts:
        assert not [fact for fact in facts.scan(()) if key in str(fact)]


@pytest.mark.parametrize(
    "given", [{}, [], {"room": "a"}, {"room": "A b", "title": "x"}, {"room": "a", "title": "x" * 81},
              {"room": 1, "title": 2}, {"room": "a", "title": "x", "more": 1}]
)  # fmt: skip
def test_what_opens_no_room_is_said(url: str, given: Any) -> None:
    assert 400 == httpx.post(f"{url}/lounge/rooms/open", json=given, timeout=10).status_code


def test_a_title_has_bounds_and_a_body_too(url: str) -> None:
    assert 409 == httpx.post(f"{url}/lounge/rooms/open", json={"room": "a", "title": " "}, timeout=10).status_code
    assert 413 == httpx.post(f"{url}/lounge/rooms/open", content=b"x" * 5000, timeout=10).status_code


def test_the_transactions_are_not_offered_to_strangers(url: str, key: str) -> None:
    names = [one["name"] for one in httpx.get(f"{url}/commit", timeout=10).json()["transactions"]]
    assert not [name for name in names if name.startswith("lounge")]
    body = {"room": "friday", "person": "x", "keeper": True, "name": "x", "text": "x"}
    assert 404 == httpx.post(f"{url}/commit/lounge_comment", json=body, timeout=10).status_code


def test_the_pages_say_what_is_there(work: Any, key: str, url: str) -> None:
    work.commit(open_lounge, room="evil", title="<script>alert(1)</script>", lock="x")
    page = httpx.get(f"{url}/lounge", timeout=10).text
    assert "Friday night" in page
    assert "<script>alert" not in page
    assert "&lt;script&gt;" in httpx.get(f"{url}/lounge/evil", timeout=10).text
    assert 404 == httpx.get(f"{url}/lounge/nowhere", timeout=10).status_code


def test_a_room_that_is_not_open_and_a_secret_that_is_none_are_refused(key: str, guest: Come) -> None:
    with pytest.raises(ConnectionClosed, match="4404"):
        guest(ADA, "lounge/nowhere")
    with pytest.raises(ConnectionClosed, match="4400"):
        guest("ada")
