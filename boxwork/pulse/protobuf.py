"""As much of the protocol buffers wire format as writing a message takes: nothing is read, nothing is generated.

Source: protobuf.dev/programming-guides/encoding.  A field with the default value of its type is left out by the
caller where the message is proto3.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

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
