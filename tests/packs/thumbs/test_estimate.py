from __future__ import annotations

import io
from typing import Any

from PIL import Image

from boxwork.packs.thumbs.estimate import STREAMED_BYTES, UNKNOWN_BYTES, decode_bytes, jpeg_frame


def test_a_progressive_picture_costs_its_coefficients(make: Any) -> None:
    plain, progressive = make(1000, 800), make(1000, 800, progressive=True)
    assert jpeg_frame(plain) == (False, 800_000, 3)
    assert jpeg_frame(progressive) == (True, 800_000, 3)
    assert decode_bytes(plain, 5) == 5 + STREAMED_BYTES
    assert decode_bytes(progressive, 5) == 5 + STREAMED_BYTES + 2 * 3 * 800_000


def test_a_png_costs_a_few_lines(make: Any) -> None:
    assert decode_bytes(make(1000, 800, "PNG"), 5) == 5 + STREAMED_BYTES + 64 * 1000


def test_what_cannot_be_told_is_guessed_high() -> None:
    out = io.BytesIO()
    Image.new("RGB", (9, 9)).save(out, "GIF")
    for head in (b"", b"\xff\xd8\xff", b"\xff\xd8\xff\xe1\xff\xff", out.getvalue(), b"\x89PNG"):
        assert decode_bytes(head, 0) == UNKNOWN_BYTES
