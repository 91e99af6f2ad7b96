"""Thumbnails of pictures, and the gallery that shows them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from boxwork import Derivation, Pack, Page, Ref, Setting
from boxwork.packs.thumbs.album import SUFFIXES
from boxwork.packs.thumbs.described import DESCRIBED
from boxwork.packs.thumbs.facts import facts, placeholder
from boxwork.packs.thumbs.likes import like_photo, likes_of_photo, unlike_photo
from boxwork.packs.thumbs.spec import SHOWN
from boxwork.packs.thumbs.thumbnail import mezzanine, thumbnail


def _routes(work: Any) -> list[Any]:
    from boxwork.packs.thumbs.routes import routes

    return routes(work)


def _prepare(photo: Ref) -> tuple[Derivation[..., Any], dict[str, Any]]:
    """What the gallery will show first of a picture."""
    return thumbnail, {"photo": photo, **SHOWN.inputs()}


def _sample(folder: Path, progress: Callable[[int, int], None]) -> int:
    from boxwork.packs.thumbs.sample import make_sample

    return len(make_sample(folder, progress=progress))


PACK = Pack(
    "thumbs",
    "Thumbnails of pictures, and the gallery that shows them.",
    boxes=(thumbnail, mezzanine, facts, placeholder),
    transactions=(like_photo, unlike_photo, likes_of_photo),
    routes=_routes,
    described=DESCRIBED,
    settings=(
        Setting("thumbs.at_once", 0, "pictures", "decoded at the same time; 0 is one a processor"),
        Setting("thumbs.memory_bytes_max", 256 * 1024 * 1024, "bytes", "estimated for all pictures being decoded"),
        Setting("thumbs.waiting_max", 2000, "pictures", "asked for and not begun; then the oldest wish gets a 503"),
        Setting("thumbs.broken_per_s", 10.0, "a second", "broken pictures told of, after ten at once; 0 is no limit"),
        Setting("thumbs.presets_only", False, "", "true: strangers cannot make this machine work on sizes they invent"),
        Setting("thumbs.polish_after_s", 20.0, "s", "of quiet, then best encodings are made one by one; 0 makes none"),
        Setting("thumbs.zip_files_max", 1000, "pictures", "in one download of a selection"),
    ),
    pages=(Page("Gallery", "/"),),
    suffixes=SUFFIXES,
    prepare=_prepare,
    sample=_sample,
)
