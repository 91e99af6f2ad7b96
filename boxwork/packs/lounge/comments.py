"""The transactions of a room: a comment, and a press of the heart.

("lounge", room, "comment", n)       (person, name, text, at_ms); without a text: it was removed
("lounge", room, "next")             the number of the next comment: the order of a room is that of its numbers
("lounge", room, "likes")            exact, however many press at once: a merge conflicts with nobody
("lounge.name", room, folded name)   the person who comments under it
("lounge.spoke", room, person)       when, for the slow mode
"""

from __future__ import annotations

from typing import Any

from boxwork import transaction
from boxwork.packs.lounge.wording import COMMENT_LENGTH_MAX, NAME_LENGTH_MAX, folded, is_name, mentions, plain, unwanted

MILLISECOND_NS = 1_000_000
# Presses that a page hands in together.  Unit: presses.  Reason: a page does it every 100 ms, nobody presses faster.
LIKES_MAX = 100
# Notifications kept for a person.  Unit: notifications.
NOTES_MAX = 50


@transaction(name="lounge_comment")
def comment(tx: Any, room: str, person: str, keeper: bool, name: str, text: str) -> int:
    """Say something; answers with its number.  Refused for who is muted, too fast, or uses an unwanted word."""
    name, text = plain(name), plain(text)
    tx.require(is_name(name), f"a name has 1 to {NAME_LENGTH_MAX} letters, digits, _ or -")
    tx.require(text, "there is nothing in this comment")
    tx.require(len(text) <= COMMENT_LENGTH_MAX, f"a comment has up to {COMMENT_LENGTH_MAX} characters")
    tx.require(not tx.get(("lounge", room, "muted", person)), "you are muted in this room")
    owner = tx.get(("lounge.name", room, folded(name)))
    tx.require(owner in (None, person), f"somebody else is called {name} here")
    now_ms = tx.now() // MILLISECOND_NS
    if not keeper:
        word = unwanted(f"{name} {text}", tx.get(("lounge.words", room), []))
        tx.require(not word, f"this room does not want the word {word!r}")
        slow_s = tx.get(("lounge", room, "slow"), 0)
        spoke = tx.get(("lounge.spoke", room, person), 0)
        wait_ms = spoke + slow_s * 1000 - now_ms
        tx.require(wait_ms <= 0, f"this room is slow: wait {-(-wait_ms // 1000)} s", wait_ms=wait_ms)
        if slow_s:
            tx.put(("lounge.spoke", room, person), now_ms)
    if owner is None:
        tx.put(("lounge.name", room, folded(name)), person)
    number = int(tx.get(("lounge", room, "next"), 0))
    tx.put(("lounge", room, "next"), number + 1)
    tx.put(("lounge", room, "comment", number), (person, name, text, now_ms))
    for mentioned in mentions(text):
        whom = tx.get(("lounge.name", room, mentioned))
        if whom not in (None, person):
            note = int(tx.get(("lounge.notes", whom, "next"), 0))
            tx.put(("lounge.notes", whom, "next"), note + 1)
            tx.put(("lounge.notes", whom, "note", note), (room, number, name, text, now_ms))
            if note >= NOTES_MAX:
                tx.delete(("lounge.notes", whom, "note", note - NOTES_MAX))
    return number


@transaction(name="lounge_like")
def like(tx: Any, room: str, times: int = 1) -> None:
    """So many presses of the heart."""
    tx.require(0 < times <= LIKES_MAX, f"1 to {LIKES_MAX} presses at once, not {times}")
    tx.add(("lounge", room, "likes"), times)
