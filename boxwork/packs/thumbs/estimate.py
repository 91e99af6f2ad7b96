"""How much memory decoding a picture will take, told from its first bytes, before anything is decoded."""

from __future__ import annotations

# So much of the file is looked at: camera headers with an embedded preview end before it.  Unit: bytes.
HEAD_BYTES = 64 * 1024

MEGABYTE = 1_000_000
# libvips with a small picture in it.  Unit: bytes.  Source: research/edge.md 2a (process 47 MB, bare 23).
STREAMED_BYTES = 24 * MEGABYTE
# For what cannot be told from the head; a guess on the side of care.
UNKNOWN_BYTES = 96 * MEGABYTE


def decode_bytes(head: bytes, size: int) -> int:
    """An estimate in bytes: the source itself, and what its decoder holds at once."""
    if head.startswith(b"\xff\xd8\xff"):
        frame = jpeg_frame(head)
        if frame is None:
            return size + UNKNOWN_BYTES
        progressive, pixels, components = frame
        return size + STREAMED_BYTES + (2 * components * pixels if progressive else 0)
    if head.startswith(b"\x89PNG") and len(head) >= 29:
        wide, high = int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
        return size + STREAMED_BYTES + (4 * wide * high if head[28] else 64 * wide)
    return size + UNKNOWN_BYTES


def jpeg_frame(head: bytes) -> tuple[bool, int, int] | None:
    """(progressive, pixels, components) of the first frame header; None if it is not in `head`."""
    at = 2
    while at + 10 <= len(head) and head[at] == 0xFF:
        mark = head[at + 1]
        if mark == 0xFF:
            at += 1
        elif 0xC0 <= mark < 0xD0 and mark not in (0xC4, 0xC8, 0xCC):
            high, wide = int.from_bytes(head[at + 5 : at + 7], "big"), int.from_bytes(head[at + 7 : at + 9], "big")
            return mark not in (0xC0, 0xC1), wide * high, head[at + 9]
        elif mark == 0xDA:
            return None
        else:
            at += 2 + int.from_bytes(head[at + 2 : at + 4], "big")
    return None
