"""A room over real sockets: comments in order, exact likes, mentions, and somebody who keeps order."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from boxwork.packs.lounge.comments import comment, like
from boxwork.packs.lounge.keys import person_of
from tests.packs.lounge.conftest import ADA, BOB, EVE, Come


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


def test_a_room_that_is_not_open_and_a_secret_that_is_none_are_refused(key: str, guest: Come) -> None:
    with pytest.raises(ConnectionClosed, match="4404"):
        guest(ADA, "lounge/nowhere")
    with pytest.raises(ConnectionClosed, match="4400"):
        guest("ada")
