"""The name of a series: a word and labels, written `path{dst=cme,src=ny4}`; and patterns over such names.

A character that has a meaning in this spelling (`{ } , = * %` and controls) is written as `%` and two hex digits in
each of its bytes, so any text can be a name or a label.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property

from boxwork.errors import BadInput

_SPECIAL = re.compile(r"[{},=*?\[\]%\x00-\x1f\x7f]")
_ESCAPED = re.compile(r"(?:%[0-9a-f]{2})+")


@dataclass(frozen=True)
class SeriesName:
    """A word and its labels, sorted: equal labels in any order are the same name."""

    name: str
    labels: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, name: str, labels: Mapping[str, object]) -> SeriesName:
        if not labels:
            return cls(name)
        return cls(name, tuple(sorted((key, str(value)) for key, value in labels.items())))

    @classmethod
    def parse(cls, text: str) -> SeriesName:
        """The inverse of `str(name)`."""
        name, pairs = _split(text)
        return cls(_plain(name), tuple(sorted((_plain(key), _plain(value)) for key, value in pairs)))

    @cached_property
    def text(self) -> str:
        if not self.labels:
            return _quoted(self.name)
        inside = ",".join(f"{_quoted(key)}={_quoted(value)}" for key, value in self.labels)
        return f"{_quoted(self.name)}{{{inside}}}"

    @cached_property
    def _hash(self) -> int:
        return hash((self.name, self.labels))

    def __hash__(self) -> int:
        # Each series is looked up several times a tick, and a tuple of pairs takes a microsecond to hash.
        return self._hash

    def __str__(self) -> str:
        return self.text

    def label(self, key: str, otherwise: str = "") -> str:
        return dict(self.labels).get(key, otherwise)


@dataclass(frozen=True)
class Pattern:
    """Names it matches: the word and each mentioned label by glob (`*`, `?`, `[ab]`); labels not mentioned are free."""

    name: str
    labels: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, text: str) -> Pattern:
        """`path{src=ny4,dst=*}`; a text without braces matches the word with any labels."""
        name, pairs = _split(text)
        return cls(name, tuple(sorted((_plain(key), glob) for key, glob in pairs)))

    @classmethod
    def of(cls, text: str | SeriesName, labels: Mapping[str, object]) -> Pattern:
        if isinstance(text, SeriesName):
            pattern = cls(_quoted(text.name), tuple((key, _quoted(value)) for key, value in text.labels))
        else:
            pattern = cls.parse(text)
        more = tuple((key, str(value)) for key, value in labels.items())
        return cls(pattern.name, tuple(sorted((*pattern.labels, *more))))

    def matches(self, series: SeriesName) -> bool:
        if not _fits(series.name, self.name):
            return False
        labels = dict(series.labels)
        return all(key in labels and _fits(labels[key], glob) for key, glob in self.labels)

    def choose(self, names: Iterable[SeriesName]) -> list[SeriesName]:
        return sorted((name for name in names if self.matches(name)), key=str)


def _fits(value: str, glob: str) -> bool:
    if value == glob:
        return True
    # Compared in the written spelling, so that an escaped star in a pattern is a star and not a glob.
    return fnmatchcase(_quoted(value), glob) or (glob.find("*") < 0 and _plain(glob) == value)


def _split(text: str) -> tuple[str, list[tuple[str, str]]]:
    name, brace, rest = text.partition("{")
    if not name or (brace and not rest.endswith("}")):
        raise BadInput(f"{text!r} is not a series: write `name` or `name{{label=value,…}}`")
    pairs = []
    for part in rest[:-1].split(",") if brace else ():
        key, equals, value = part.partition("=")
        if part:
            if not (key and equals):
                raise BadInput(f"{text!r}: {part!r} is not `label=value`")
            pairs.append((key.strip(), value.strip().strip('"')))
    return name, pairs


def _quoted(text: str) -> str:
    return _SPECIAL.sub(lambda found: f"%{ord(found[0]):02x}", text)


def _plain(text: str) -> str:
    return _ESCAPED.sub(lambda found: bytes.fromhex(found[0].replace("%", "")).decode("utf-8", "replace"), text)
