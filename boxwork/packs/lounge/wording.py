"""Texts that people write: what is taken, who is mentioned, which words a room does not want."""

from __future__ import annotations

import re
import unicodedata

# Unit: characters.  Reason: as long as a message that is read in passing.
COMMENT_LENGTH_MAX = 500
NAME_LENGTH_MAX = 32
TITLE_LENGTH_MAX = 80
# Unit: words; of 40 characters.  Reason: each comment is compared with all of them.
FILTER_WORDS_MAX = 100
FILTER_WORD_LENGTH_MAX = 40
# People that one comment notifies.  Unit: people.  Reason: more is no mention, it is a loudspeaker.
MENTIONS_MAX = 5

_MENTION = re.compile(r"(?<!\w)@([\w-]{1,32})")
_NAME = re.compile(r"[\w-]{1,32}")
_WORD = re.compile(r"\w+")
# Seen by nobody, and good for hiding a word or turning a line around: formats, surrogates, private use.
_UNSEEN = {"Cc", "Cf", "Co", "Cs", "Cn"}
_JOINER = "\u200d"  # holds an emoji of several together


def plain(text: str) -> str:
    """Composed, in one line, without what cannot be seen."""
    composed = unicodedata.normalize("NFC", " ".join(text.split()))
    return "".join(sign for sign in composed if sign == _JOINER or unicodedata.category(sign) not in _UNSEEN).strip()


def folded(text: str) -> str:
    """For comparing: "Ｆｏｏ" and "foo" are one word."""
    return unicodedata.normalize("NFKC", text).casefold()


def is_name(name: str) -> bool:
    return _NAME.fullmatch(name) is not None


def mentions(text: str) -> list[str]:
    """The folded names behind an @, each once, the first few."""
    return list(dict.fromkeys(folded(name) for name in _MENTION.findall(text)))[:MENTIONS_MAX]


def unwanted(text: str, words: list[str]) -> str:
    """The first unwanted word of a text; empty: there is none.  Whole words only: nobody's place name is refused."""
    found = set(_WORD.findall(folded(text.replace(_JOINER, ""))))
    return next((word for word in words if word in found), "")
