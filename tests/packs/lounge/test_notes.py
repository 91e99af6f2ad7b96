"""Who is mentioned is told, and nobody else."""

from __future__ import annotations

from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from boxwork.packs.lounge.comments import NOTES_MAX, comment
from boxwork.packs.lounge.keys import person_of
from boxwork.packs.lounge.notes import read_notes
from tests.packs.lounge.conftest import ADA, BOB, EVE, Come


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


def test_what_was_read_stays_read(work: Any, key: str) -> None:
    work.commit(comment, "friday", person_of(BOB), False, "bob", "hello")
    work.commit_many(comment, [("friday", "x", False, "x", "@bob") for _ in range(3)])
    for before in (2, 1):
        work.commit(read_notes, person=person_of(BOB), before=before)
    assert 2 == work.read().get(("lounge.notes", person_of(BOB), "read"))
