"""What can be said about a picture: `facts` reads its header, `placeholder` is what to show before it is there."""

from __future__ import annotations

import io
import json
from typing import Any

from boxwork import derivation
from boxwork.packs.thumbs.thumbnail import DECODE_BYTES_MAX, DECODE_S_MAX, ORIENTATION, kind_of

# The placeholder is a grid of so many colours, 3 bytes each: 27 bytes fit into a list of 100,000 pictures, and
# enlarged smoothly they show where the sky is.
GRID = 3

# EXIF tags: name → number.
TAGS = {"camera": 0x0110, "description": 0x010E}
EXIF_BLOCK = 0x8769
TAKEN = 0x9003


@derivation(worker="process", timeout_s=DECODE_S_MAX, memory_bytes_max=DECODE_BYTES_MAX)
def facts(photo: bytes) -> bytes:
    """Width and height (upright), kind, and what the camera wrote down, as JSON; without the place."""
    from PIL import Image

    kind = kind_of(photo)
    try:
        with Image.open(io.BytesIO(photo)) as picture:
            exif = picture.getexif()
            wide, high = picture.size
            if exif.get(ORIENTATION, 1) in (5, 6, 7, 8):
                wide, high = high, wide
            known: dict[str, Any] = {"kind": kind, "width": wide, "height": high}
            for name, tag in TAGS.items():
                if text := plain_text(exif.get(tag)):
                    known[name] = text
            if taken := plain_text(exif.get_ifd(EXIF_BLOCK).get(TAKEN)):
                known["taken"] = taken
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as fault:
        raise ValueError(f"the picture is broken or not {kind}: {fault}") from None
    return json.dumps(known, ensure_ascii=False, sort_keys=True).encode()


def plain_text(value: object) -> str:
    """A text of an EXIF field, without the zero bytes and control characters that cameras leave in it."""
    if not isinstance(value, str):
        return ""
    return "".join(sign for sign in value if sign.isprintable()).strip()[:200]


@derivation(worker="thread")
def placeholder(thumb: bytes) -> bytes:
    """A thumbnail as GRID x GRID colours: red, green, blue, row by row."""
    from PIL import Image

    with Image.open(io.BytesIO(thumb)) as picture:
        small = picture.convert("RGB").resize((GRID, GRID), Image.Resampling.BOX)
        return small.tobytes()
