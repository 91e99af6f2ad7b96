"""As much of the protocol buffers wire format as a message takes that we write, and the short answer to it.

Source: protobuf.dev/programming-guides/encoding.  A field with the default value of its type is left out by the
caller where the message is proto3.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

_DOUBLE = struct.Struct("<d")
_FIXED64 = struct.Struct("<Q")


def varint(value: int) -> bytes:
    """Seven bits a byte, low ones first; negative numbers as 64-bit two's complement."""
    if 0 <= value < 0x80:
        return _SMALL[value]
    value &= 0xFFFFFFFFFFFFFFFF
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


_SMALL = [bytes([value]) for value in range(0x80)]


def zigzag(value: int) -> bytes:
    """A signed varint: small magnitudes of either sign stay short."""
    return varint(value << 1 if value >= 0 else (-value << 1) - 1)


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def signed(field: int, value: int) -> bytes:
    return varint(field << 3) + zigzag(value)


def double(field: int, value: float) -> bytes:
    return varint(field << 3 | 1) + _DOUBLE.pack(value)


def fixed64(field: int, value: int) -> bytes:
    return varint(field << 3 | 1) + _FIXED64.pack(value)


def message(field: int, *parts: bytes) -> bytes:
    """A nested message, or bytes."""
    body = b"".join(parts)
    return varint(field << 3 | 2) + varint(len(body)) + body


def text(field: int, value: str) -> bytes:
    return message(field, value.encode())


def packed(field: int, values: Iterable[int]) -> bytes:
    return message(field, *map(varint, values))


def packed_signed(field: int, values: Iterable[int]) -> bytes:
    return message(field, *map(zigzag, values))


def fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of each field of a message; `ValueError` for what is none."""
    at = 0
    while at < len(data):
        key, at = _read_varint(data, at)
        kind = key & 7
        if kind == 0:
            value, at = _read_varint(data, at)
            yield key >> 3, value
            continue
        if kind == 2:
            length, at = _read_varint(data, at)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise ValueError(f"a field of kind {kind} is no field of a message")
        if at + length > len(data):
            raise ValueError(f"a field of {length} bytes ends behind its message")
        yield key >> 3, data[at : at + length]
        at += length


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 64:
        value |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 0x80:
            return value, at
    raise ValueError("a number does not end")
