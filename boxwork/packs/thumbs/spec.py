"""The part of a thumbnail's address that says what is wanted: `320`, `640x480-cover`, `200-attention-q60`.

One picture has one spelling: `Spec.parse` takes what it understands, `str(spec)` is the address to redirect to, so
that a cache never keeps the same bytes twice.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from boxwork import errors
from boxwork.packs.thumbs.thumbnail import MEZZANINE_PIXELS, SIDE_MAX

_SPEC = re.compile(r"(\d{1,4})(?:x(\d{1,4}))?(?:-(inside|cover|attention))?(?:-q(\d{1,3}))?", re.ASCII)
FORMATS = {"webp": "image/webp", "jpg": "image/jpeg", "avif": "image/avif"}
# Half of the mezzanine's shorter side: what is made from it looks as if it were made from the original.
FROM_MEZZANINE_PIXELS_MAX = MEZZANINE_PIXELS // 2

PRESETS = {"tiny": "160", "small": "320", "medium": "640", "large": "1600", "zoom": "3200", "square": "256x256-cover"}


@dataclass(frozen=True, slots=True)
class Spec:
    width: int
    height: int = 0
    fit: str = "inside"
    quality: int = 0
    format: str = "webp"

    def __str__(self) -> str:
        text = f"{self.width}x{self.height}" if self.height else str(self.width)
        text += f"-{self.fit}" if self.fit != "inside" else ""
        return text + (f"-q{self.quality}" if self.quality else "")

    @classmethod
    def parse(cls, text: str, format: str, *, presets_only: bool = False) -> Spec:
        """`text` as a spec.  Raises `BadInput`, or `Forbidden` for a size of one's own where only presets are."""
        if format not in FORMATS:
            raise errors.BadInput(f"a thumbnail is {', '.join(FORMATS)}, not {format[:20]!r}")
        text = PRESETS.get(text, text)
        found = _SPEC.fullmatch(text)
        if found is None:
            raise errors.BadInput(
                f"{text[:60]!r} is no thumbnail: write 320, 640x480, 640x480-cover, 200x200-attention-q60,"
                f" or one of {', '.join(PRESETS)}"
            )
        spec = cls(int(found[1]), int(found[2] or 0), found[3] or "inside", int(found[4] or 0), format)
        if not (0 < spec.width <= SIDE_MAX and spec.height <= SIDE_MAX and spec.quality <= 100):
            raise errors.BadInput(f"{text}: 1 to {SIDE_MAX} pixels on a side and a quality up to 100, please")
        if presets_only and str(spec) not in PRESETS.values():
            raise errors.Forbidden(f"{text} is none of the presets ({', '.join(PRESETS)}; setting thumbs.presets_only)")
        return spec

    @property
    def is_from_mezzanine(self) -> bool:
        """A further size of a picture; what the gallery shows first comes from the original, in one step."""
        return max(self.width, self.height) <= FROM_MEZZANINE_PIXELS_MAX and (self.width, self.height) != (320, 0)

    def inputs(self) -> dict[str, Any]:
        """What the box is called with, beside the photo; defaults are left to it, so that the key stays short."""
        return {
            "width": self.width, "height": self.height, "fit": self.fit, "format": self.format,
            "quality": self.quality,
        }  # fmt: skip


# The one the gallery shows, and the one placeholders are made from.
SHOWN = Spec(320)
