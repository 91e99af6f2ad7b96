"""The order of keys.

A key is a tuple of str, int and bytes.  Keys are ordered by their encoded form, in which a prefix of a key is a
prefix of its bytes; bytes come before ints before texts, so that mixed keys have an order too.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator
from gc import get_referents
from typing import Any, TypeAlias

from boxwork.errors import BadInput, UnsupportedType

Key: TypeAlias = tuple["str | int | bytes", ...]

# One key.  Unit: bytes of its encoded form.  Reason: keys are kept in memory and repeated in every entry that
# touches them; a key that needs more is a value.
KEY_BYTES_MAX = 1024

_BYTES, _NEGATIVE, _POSITIVE, _TEXT = b"\x01", 0x02, 0x03, b"\x04"


def encode_key(key: Key) -> bytes:
    """The bytes by which keys are ordered.  Raises `UnsupportedType` for what is not a key.

    bytes and text: tag, body with 00 as 00 FF, then 00.  int: tag of the sign, its length in bytes (for negative
    ones as 255 - length), its digits (for negative ones the two's complement of that length).
    """
    out = bytearray()
    for part in key:
        kind = part.__class__
        if kind is str and isinstance(part, str):
            out += _TEXT + part.encode().replace(b"\0", b"\0\xff") + b"\0"
        elif kind is int and isinstance(part, int):
            size = (abs(part).bit_length() + 7) // 8
            if size > 127:
                raise UnsupportedType(f"the int {str(part)[:20]}… in a key has {size} bytes; 127 is the most")
            if part >= 0:
                out += bytes((_POSITIVE, size)) + part.to_bytes(size, "big")
            else:
                out += bytes((_NEGATIVE, 255 - size)) + (part + (1 << 8 * size)).to_bytes(size, "big")
        elif kind is bytes and isinstance(part, bytes):
            out += _BYTES + part.replace(b"\0", b"\0\xff") + b"\0"
        else:
            raise _not_a_key(key)
    return bytes(out)


def check_key(key: Any) -> None:
    """Raise `UnsupportedType` unless `key` is a tuple of str, int and bytes of a bearable size."""
    if key.__class__ is not tuple or not key:
        raise _not_a_key(key)
    if len(key) <= 8:  # the usual key, at a third of the price: up to 8 short parts are within every limit
        for part in key:
            kind = part.__class__
            if kind is int:
                if not -(2**63) <= part < 2**63:
                    break
            elif not (kind is str or kind is bytes) or len(part) > 96 or not part.isascii():
                break
        else:
            return
    size = 0
    for part in key:
        kind = part.__class__
        if kind is int:
            if not -(2**63) <= part < 2**63:
                raise UnsupportedType(f"the int {str(part)[:30]} in a key is beyond 64 bits: spell it as a text")
            size += 10
        elif kind is str:
            if not part.isascii():
                try:
                    part.encode()
                except UnicodeEncodeError:
                    raise UnsupportedType(f"the text {part[:40]!r} in a key has a lone surrogate") from None
            size += 4 * len(part) if not part.isascii() else len(part)
        elif kind is bytes:
            size += len(part)
        else:
            raise _not_a_key(key)
    if size > KEY_BYTES_MAX:
        raise BadInput(
            f"the key {str(key)[:60]}… takes up to {size} bytes, {KEY_BYTES_MAX} is the most: move the long"
            " part into the value",
            limit=KEY_BYTES_MAX,
        )


def check_keys(keys: list[Any]) -> None:
    """`check_key` for each; for many at once, at half of the price."""
    if not keys:
        return
    if list(map(type, keys)).count(tuple) == len(keys):
        sizes = set(map(len, keys))
        if 0 not in sizes and max(sizes) <= 8:
            parts = get_referents(*keys)  # of all tuples, in any order
            if set(map(type, parts)) <= _KINDS and _are_short(set(parts)):  # parts repeat: each once
                return
    for key in keys:
        check_key(key)


_KINDS = {str, int, bytes}


def _are_short(parts: set[Any]) -> bool:
    """Can eight of any of them be a key?"""
    numbers = [part for part in parts if part.__class__ is int]
    if numbers and not (-(2**63) <= min(numbers) and max(numbers) < 2**63):
        return False
    texts = [part for part in parts if part.__class__ is not int]
    return not texts or (max(map(len, texts)) <= 96 and all(text.isascii() for text in texts))


def _not_a_key(key: Any) -> UnsupportedType:
    if key.__class__ is not tuple:
        return UnsupportedType(f"{key!r:.60} is not a key: a key is a tuple, for example ({key!r:.40},)")
    if not key:
        return UnsupportedType('the empty tuple is not a key: begin with the name of the table, ("likes", …)')
    strange = next(part for part in key if part.__class__ not in (str, int, bytes))
    return UnsupportedType(
        f"{key!r:.60} is not a key: {strange!r:.30} is a {type(strange).__name__}, but the parts of"
        " a key are str, int and bytes"
    )


class SortedKeys:
    """Keys in order, in runs of bounded length: adding one moves at most a run, not everything."""

    # Length of a run before it is split.  Unit: keys.  Reason: bisecting runs and shifting in one cost about the same.
    RUN_MAX = 1024

    __slots__ = ("_firsts", "_runs")

    def __init__(self, keys: Iterable[Key] = ()) -> None:
        rows = sorted({(encode_key(key), key) for key in keys})
        size = self.RUN_MAX // 2
        self._runs = [rows[at : at + size] for at in range(0, len(rows), size)] or [[]]
        self._firsts = [run[0][0] if run else b"" for run in self._runs]

    def __len__(self) -> int:
        return sum(map(len, self._runs))

    def add(self, key: Key) -> None:
        form = encode_key(key)
        at = max(bisect_left(self._firsts, form + b"\0") - 1, 0)
        run = self._runs[at]
        place = bisect_left(run, (form,))
        if place < len(run) and run[place][0] == form:
            return
        insort(run, (form, key))
        self._firsts[at] = run[0][0]
        if len(run) > self.RUN_MAX:
            half = len(run) // 2
            self._runs.insert(at + 1, run[half:])
            self._firsts.insert(at + 1, run[half][0])
            del run[half:]

    def discard(self, key: Key) -> None:
        form = encode_key(key)
        at = max(bisect_left(self._firsts, form + b"\0") - 1, 0)
        run = self._runs[at]
        place = bisect_left(run, (form,))
        if place >= len(run) or run[place][0] != form:
            return
        del run[place]
        if run:
            self._firsts[at] = run[0][0]
        elif len(self._runs) > 1:
            del self._runs[at], self._firsts[at]
        else:
            self._firsts[at] = b""

    def between(self, low: bytes, high: bytes) -> Iterator[tuple[bytes, Key]]:
        """(form, key) for low <= form < high, in order."""
        at = max(bisect_left(self._firsts, low + b"\0") - 1, 0)
        place = bisect_left(self._runs[at], (low,))
        while at < len(self._runs):
            run = self._runs[at]
            for row in run[place:]:
                if row[0] >= high:
                    return
                yield row
            at, place = at + 1, 0


def bounds(prefix: Key, start: Key | None, end: Key | None) -> tuple[bytes, bytes]:
    """The encoded range [low, high) of the keys that begin with `prefix`, from `start` to before `end`."""
    form = encode_key(prefix)
    low, high = form, form + b"\xff"  # no part begins with FF, so this is after every key with the prefix
    if start is not None:
        low = max(low, encode_key(start))
    if end is not None:
        high = min(high, encode_key(end))
    return low, high
