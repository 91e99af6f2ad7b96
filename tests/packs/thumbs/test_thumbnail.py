from __future__ import annotations

import io
from typing import Any

import pytest
from PIL import Image, ImageCms

from boxwork.packs.thumbs.thumbnail import is_progressive, mezzanine, thumbnail

FORMATS = ("webp", "jpg", "avif")


def opened(data: bytes) -> Any:
    return Image.open(io.BytesIO(data)).convert("RGB")


def near(pixel: Any, colour: tuple[int, int, int], within: int = 40) -> bool:
    return all(abs(a - b) <= within for a, b in zip(pixel, colour, strict=True))


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_a_thumbnail_fits_inside_and_keeps_its_shape(make: Any, format: Any, options: dict[str, Any]) -> None:
    small = opened(thumbnail(make(1200, 900, **options), width=320, format=format))
    assert small.size == (320, 240)
    assert near(small.getpixel((40, 200)), (220, 30, 30))
    assert near(small.getpixel((280, 200)), (30, 30, 220))


@pytest.mark.parametrize("kind", ["PNG", "GIF", "TIFF", "WEBP", "BMP", "AVIF"])
def test_every_kind_of_picture_is_read(make: Any, kind: str) -> None:
    assert opened(thumbnail(make(640, 480, kind), width=100)).size == (100, 75)


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_picture_stands_upright(make: Any, orientation: int, options: dict[str, Any]) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    small = opened(thumbnail(make(800, 600, exif=exif, **options), width=200))
    expected = Image.open(io.BytesIO(make(800, 600, exif=exif)))
    from PIL import ImageOps

    upright = ImageOps.exif_transpose(expected).convert("RGB").resize(small.size)
    assert small.size == ((200, 150) if orientation < 5 else (200, 267))
    for at in ((20, 20), (180, 20), (20, small.height - 20), (180, small.height - 20)):
        assert near(small.getpixel(at), upright.getpixel(at))


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
@pytest.mark.parametrize("fit", ["cover", "attention"])
def test_cover_fills_the_frame(make: Any, fit: Any, options: dict[str, Any]) -> None:
    photo = make(1200, 600, **options)
    assert opened(thumbnail(photo, width=200, height=100, fit=fit)).size == (200, 100)
    assert opened(thumbnail(photo, width=200, fit=fit)).size == (200, 200)


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_a_small_picture_is_not_enlarged(make: Any, options: dict[str, Any]) -> None:
    assert opened(thumbnail(make(60, 40, **options), width=320)).size == (60, 40)
    assert opened(thumbnail(make(60, 40, **options), width=320, height=200, fit="cover")).size == (60, 40)


def test_height_limits_too(make: Any) -> None:
    assert opened(thumbnail(make(800, 600), width=320, height=100)).size == (133, 100)
    assert opened(thumbnail(make(800, 600, progressive=True), width=320, height=100)).size == (133, 100)


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_a_colour_profile_is_applied_and_left_out(make: Any, options: dict[str, Any]) -> None:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    small = Image.open(io.BytesIO(thumbnail(make(icc_profile=lab.tobytes(), **options), width=100)))
    assert "icc_profile" not in small.info
    assert near(small.convert("RGB").getpixel((10, 60)), (220, 30, 30))
    broken = thumbnail(make(icc_profile=b"no profile at all", **options), width=100)
    assert near(opened(broken).getpixel((10, 60)), (220, 30, 30))


def test_metadata_does_not_travel_along(make: Any) -> None:
    exif = Image.Exif()
    exif[0x010E] = "a secret place"
    for format in FORMATS:
        for options in ({}, {"progressive": True}):
            small = thumbnail(make(exif=exif, comment=b"secret words", **options), format=format)  # type: ignore[arg-type]
            assert b"secret" not in small


def test_transparency_becomes_white_where_there_is_none(make: Any) -> None:
    image = Image.new("RGBA", (100, 100), (255, 0, 0, 0))
    out = io.BytesIO()
    image.save(out, "PNG")
    assert near(opened(thumbnail(out.getvalue(), format="jpg")).getpixel((50, 50)), (255, 255, 255), 6)
    kept = Image.open(io.BytesIO(thumbnail(out.getvalue(), format="webp")))
    assert kept.convert("RGBA").getpixel((50, 50))[3] == 0


@pytest.mark.parametrize("mode", ["L", "CMYK"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_grey_and_print_colours_are_read(make: Any, mode: str, options: dict[str, Any]) -> None:
    assert opened(thumbnail(make(mode=mode, **options), width=100)).size == (100, 75)


def test_progressive_is_told_from_the_head(make: Any) -> None:
    assert is_progressive(make(progressive=True))
    assert not is_progressive(make())
    assert not is_progressive(b"\xff\xd8\xff")


@pytest.mark.parametrize(
    ("changes", "word"),
    [({"width": 0}, "pixels"), ({"width": 99999}, "pixels"), ({"quality": 101}, "quality"), ({"fit": "x"}, "fit"),
     ({"format": "gif"}, "webp")],
)  # fmt: skip
def test_wrong_wishes_are_named(make: Any, changes: dict[str, Any], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        thumbnail(make(), **changes)


def test_broken_pictures_say_so(make: Any) -> None:
    whole = make(800, 600)
    for broken in (b"", b"hello", b"<svg/>", whole[:2000], make(progressive=True)[:2000], b"\xff\xd8\xff" + b"x" * 99,
                   make(kind="PNG")[:200]):  # fmt: skip
        with pytest.raises(ValueError, match="picture"):
            thumbnail(broken)


@pytest.mark.parametrize(
    ("size", "expected"), [((1600, 1200), (1365, 1024)), ((1200, 3000), (1024, 2560)), ((300, 200), (300, 200))]
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_mezzanine_has_its_shorter_side(
    make: Any, size: tuple[int, int], expected: tuple[int, int], kind: str
) -> None:
    with Image.open(io.BytesIO(mezzanine(make(*size, kind)))) as made:
        assert abs(made.width - expected[0]) <= 1
        assert abs(made.height - expected[1]) <= 1


def test_a_mezzanine_stands_upright_and_keeps_what_can_be_seen_through(make: Any) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(io.BytesIO(mezzanine(make(3000, 1200, "PNG", exif=exif)))) as made:
        assert made.height > made.width
    out = io.BytesIO()
    Image.new("RGBA", (1500, 1200), (200, 0, 0, 90)).save(out, "PNG")
    with Image.open(io.BytesIO(mezzanine(out.getvalue()))) as made:
        assert made.mode == "RGBA"
