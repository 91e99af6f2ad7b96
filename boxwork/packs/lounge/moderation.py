"""Opening a room, and keeping order in it: for whoever was shown its key.

("lounge", room, "title" | "slow")    what it is called; seconds between two comments of a person
("lounge", room, "muted", person)     seen by all, so that nobody wonders
("lounge.lock", room)                 the hash of its key
("lounge.words", room)                words that it does not want; not told to members
("lounge.opened", room)               when, in ms
"""

from __future__ import annotations

from typing import Any

from boxwork import transaction
from boxwork.packs.lounge.wording import FILTER_WORD_LENGTH_MAX, FILTER_WORDS_MAX, TITLE_LENGTH_MAX, folded, plain

MILLISECOND_NS = 1_000_000
# Between two comments of one person.  Unit: s.
SLOW_S_MAX = 3600
# Rooms of a node.  Unit: rooms.  Reason: so that who opens them in a loop is told; each has a few facts.
ROOMS_MAX = 1000

KEEPERS_ONLY = "only who keeps order may do this: show the key of the room"


@transaction(name="lounge_open")
def open_lounge(tx: Any, room: str, title: str, lock: str) -> None:
    """Open a room; refused if there is one of this name."""
    title = plain(title)
    tx.require(0 < len(title) <= TITLE_LENGTH_MAX, f"a title has 1 to {TITLE_LENGTH_MAX} characters")
    tx.require(tx.put_new(("lounge.lock", room), lock), f"there is a room {room} already", room=room)
    tx.add(("lounge.rooms",), 1, max=ROOMS_MAX)
    tx.put(("lounge", room, "title"), title)
    tx.put(("lounge.opened", room), tx.now() // MILLISECOND_NS)


@transaction(name="lounge_mute")
def mute(tx: Any, room: str, keeper: bool, whom: str) -> None:
    """This person says nothing more here."""
    tx.require(keeper, KEEPERS_ONLY)
    tx.require(0 < len(whom) <= 64, "who is to be muted?")
    tx.put(("lounge", room, "muted", whom), True)


@transaction(name="lounge_unmute")
def unmute(tx: Any, room: str, keeper: bool, whom: str) -> None:
    """This person may speak again."""
    tx.require(keeper, KEEPERS_ONLY)
    tx.delete(("lounge", room, "muted", whom))


@transaction(name="lounge_remove")
def remove(tx: Any, room: str, keeper: bool, number: int) -> None:
    """Take a comment away; its place says that there was one."""
    tx.require(keeper, KEEPERS_ONLY)
    said = tx.get(("lounge", room, "comment", number))
    tx.require(said is not None, f"there is no comment {number}")
    person, name, _, at_ms = said
    tx.put(("lounge", room, "comment", number), (person, name, None, at_ms))


@transaction(name="lounge_slow_down")
def slow_down(tx: Any, room: str, keeper: bool, seconds: int) -> None:
    """So many seconds between two comments of one person; 0: as fast as they like."""
    tx.require(keeper, KEEPERS_ONLY)
    tx.require(0 <= seconds <= SLOW_S_MAX, f"0 to {SLOW_S_MAX} s, not {seconds}")
    tx.put(("lounge", room, "slow"), seconds)


@transaction(name="lounge_filter_words")
def filter_words(tx: Any, room: str, keeper: bool, words: list[str]) -> list[str]:
    """Words that this room does not want; answers with them as they are compared."""
    tx.require(keeper, KEEPERS_ONLY)
    tx.require(len(words) <= FILTER_WORDS_MAX, f"up to {FILTER_WORDS_MAX} words, not {len(words)}")
    known = list(dict.fromkeys(folded(plain(word)) for word in words if plain(word)))
    long = next((word for word in known if len(word) > FILTER_WORD_LENGTH_MAX), "")
    tx.require(not long, f"a word has up to {FILTER_WORD_LENGTH_MAX} letters: {long[:50]!r}")
    tx.put(("lounge.words", room), known)
    return known
