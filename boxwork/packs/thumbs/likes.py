"""Likes of pictures: the transactions of the gallery.

A picture is liked once by each person, however often the button is pressed, and the count is exact when a thousand
press at once: `tx.add` conflicts with nobody.
"""

from __future__ import annotations

from typing import Any

from boxwork import Ref, transaction


@transaction
def like_photo(tx: Any, photo: Ref, person: str) -> int:
    """Like a picture, once per person; answers with its likes."""
    tx.require(person.strip(), "somebody likes it: `person` is empty")
    if tx.put_new(("photo.liked", str(photo), person), tx.now()):
        tx.add(("photo.likes", str(photo)), 1)
    return int(tx.get(("photo.likes", str(photo)), 0))


@transaction
def unlike_photo(tx: Any, photo: Ref, person: str) -> int:
    """Take a like back; refused if there was none."""
    liked = ("photo.liked", str(photo), person)
    tx.require(tx.get(liked) is not None, "it was not liked", photo=str(photo), person=person)
    tx.delete(liked)
    tx.add(("photo.likes", str(photo)), -1, min=0)
    return int(tx.get(("photo.likes", str(photo)), 0))


@transaction
def likes_of_photo(tx: Any, photo: Ref, person: str) -> tuple[int, bool]:
    """How many like a picture, and is this person one of them?  It only reads."""
    liked = tx.get(("photo.liked", str(photo), person)) is not None
    return int(tx.get(("photo.likes", str(photo)), 0)), liked
