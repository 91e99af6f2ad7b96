"""The boxes `thumbnail`, a picture in, a small picture out, and `mezzanine`, what further sizes are made from.

Pillow decodes JPEG, at a reduced size (12 megapixels: 37 ms of CPU against 47 by libvips, 2 megapixels: 12 against
21; a progressive one in 57 MB against 200), and BMP; libvips decodes everything else, line by line (a PNG of 4
megapixels: 77 ms against 132).  The first encoding is a fast one: WebP effort 2, AVIF effort 0, which costs a
fiftieth of the usual default for 18 % fewer bytes than a JPEG that looks the same; the best one is made when nobody
waits.  Measured in 2026-11, bench/edge_thumbs.py; again before changing.
"""

from __future__ import annotations

import io
import logging
import math
from typing import Any, Literal

from boxwork import derivation

Fit = Literal["inside", "cover", "attention"]
Format = Literal["webp", "jpg", "avif"]
Effort = Literal["fast", "best"]

# Unit: pixels on a side.  Enough for a 5K screen; what is larger is not a thumbnail.
SIDE_MAX = 5120

# What a decoder that reads line by line, or at a reduced size, may be given; a phone makes 200 million.  Unit: pixels.
STREAMED_PIXELS_MAX = 300_000_000

# What has to be held whole (progressive, interlaced, HEIF, TIFF, BMP, GIF): 4 bytes a pixel, 200 MB.  Unit: pixels.
HELD_PIXELS_MAX = 50_000_000

# Unit: bytes.  A raw-like TIFF of 50 megapixels has about 300 MB; above this it is not a picture for the web.
SOURCE_BYTES_MAX = 400_000_000

# Pictures are decoded in processes of their own (boxwork/derive/processes.py): one that makes a decoder crash, hang or
# swell takes a worker with it and nothing else.  The slowest that may be read, 300 megapixels of PNG, takes 6 s, and
# four times that beside others; the largest that is held, 0.6 GB, beside an address space that libraries are generous
# with.  Units: seconds, bytes.
DECODE_S_MAX = 60.0
DECODE_BYTES_MAX = 3 * 1024**3 // 2

# Quality at which the three look the same on photographs (SSIM of JPEG at 80).
JPEG_QUALITY = 80
WEBP_QUALITY = 81
AVIF_QUALITY = 63
# From here on a JPEG keeps colour at full resolution; what it is made for is looked at closely.
WHOLE_COLOURS_QUALITY = 90
WEBP_EFFORTS = (2, 6)  # fast, best
AVIF_EFFORTS = (0, 3)

# A JPEG is decoded at no less than so many times the size that is wanted: fast, best.  With 1.5 it is an eighth for 12
# megapixels to 320 pixels, 24 ms instead of 33; SSIM of photographs 0.9995 instead of 0.9997, of fine stripes 0.991
# instead of 0.9996.  Unit: times.
GAPS = (1.5, 2.0)

# The last step, from there to what is wanted, is bicubic in a fast one and Lanczos in the best: 2.5 ms instead of 3.6.
# SSIM of 12 photographs, mean: JPEG 0.9861 instead of 0.9862 in 1.7 % fewer bytes, WebP 0.9826 and 0.9826 in 1 % more,
# AVIF 0.9842 instead of 0.9844 in 0.5 % more (with one more of quality for the last two, which is what they have).

# The shorter side of a mezzanine, and its quality: twice what is made from it, so that nothing of it is seen.
MEZZANINE_PIXELS = 1024
MEZZANINE_QUALITY = 92

# A picture that ends in the middle is an error, not a picture that is half grey.  It has to be said to the loader:
# `thumbnail_buffer(fail_on=…)` of libvips 8.18 does not pass it on (tried: PNG, GIF, TIFF and JPEG cut in half).
STRICT = "[fail_on=error]"

ORIENTATION = 0x0112  # the EXIF tag
MARKS = (
    (0, b"\xff\xd8\xff", "jpeg"), (0, b"\x89PNG\r\n\x1a\n", "png"), (0, b"GIF8", "gif"), (8, b"WEBP", "webp"),
    (0, b"II*\0", "tiff"), (0, b"MM\0*", "tiff"), (4, b"ftypavif", "heif"), (4, b"ftypavis", "heif"),
    (4, b"ftypheic", "heif"), (4, b"ftypheix", "heif"), (4, b"ftypmif1", "heif"), (4, b"ftypmsf1", "heif"),
    (0, b"BM", "bmp"),
)  # fmt: skip


@derivation(worker="process", timeout_s=DECODE_S_MAX, memory_bytes_max=DECODE_BYTES_MAX)
def thumbnail(
    photo: bytes,
    width: int = 320,
    height: int = 0,
    fit: Fit = "inside",
    format: Format = "webp",
    quality: int = 0,
    effort: Effort = "fast",
) -> bytes:
    """A small version of a picture: upright, in sRGB, without its metadata, never enlarged.

    `height` 0 is as high as it gets (inside) or square (cover, attention); `quality` 0 is the format's usual one;
    `effort` "best" takes several times as long for a tenth fewer bytes.
    """
    if not (0 < width <= SIDE_MAX and 0 <= height <= SIDE_MAX):
        raise ValueError(f"a thumbnail has 1 to {SIDE_MAX} pixels on a side, not {width} x {height}")
    if not 0 <= quality <= 100:
        raise ValueError(f"quality goes from 1 to 100 (0: the usual), not {quality}")
    if fit not in ("inside", "cover", "attention"):
        raise ValueError(f"fit is inside, cover or attention, not {fit!r}")
    if format not in ("webp", "jpg", "avif"):
        raise ValueError(f"a thumbnail is webp, jpg or avif, not {format!r}")
    if effort not in ("fast", "best"):
        raise ValueError(f"effort is fast or best, not {effort!r}")
    return encode(shrink(photo, width, height, fit, effort), format, quality, effort)


@derivation(worker="process", timeout_s=DECODE_S_MAX, memory_bytes_max=DECODE_BYTES_MAX)
def mezzanine(photo: bytes) -> bytes:
    """The picture with 1024 pixels on its shorter side, upright, in sRGB; small sizes made from it cost a tenth."""
    picture = shrink(photo, MEZZANINE_PIXELS, MEZZANINE_PIXELS, "outside", "best")
    picture = as_pillow(picture)
    return encode(picture, "webp" if picture.mode in ("LA", "RGBA") else "jpg", MEZZANINE_QUALITY)


def kind_of(photo: bytes) -> str:
    """Which decoder gets it.  SVG and everything else that is a program is not in the list."""
    for offset, mark, kind in MARKS:
        if photo.startswith(mark, offset):
            return kind
    raise ValueError(f"not a picture that can be read: it begins with {photo[:12]!r} ({len(photo):,} bytes)")


def shrink(photo: bytes, width: int, height: int, fit: str, effort: str = "fast") -> Any:
    """The picture, small, in sRGB, upright: Pillow's, or libvips' where that decoded or cut it."""
    if len(photo) > SOURCE_BYTES_MAX:
        raise ValueError(f"the picture has {len(photo):,} bytes; at most {SOURCE_BYTES_MAX:,} are read")
    kind = kind_of(photo)
    if kind in ("jpeg", "bmp"):
        return by_pillow(photo, kind, width, height, fit, best=effort == "best")
    return by_vips(photo, kind, width, height, fit)


def by_vips(photo: bytes, kind: str, width: int, height: int, fit: str) -> Any:
    import pyvips

    quiet_vips(pyvips)
    try:
        header = pyvips.Image.new_from_buffer(photo, "", access="sequential")
        interlaced = header.get_typeof("interlaced") != 0 and header.get("interlaced") == 1
        check_size(header.width, header.height, streamed=kind in ("png", "webp") and not interlaced)
        high = height or (width if fit != "inside" else header.width * 64)
        if fit == "outside":  # libvips fits inside only: as wide as makes the shorter side what is wanted
            turned = header.get_typeof("orientation") != 0 and header.get("orientation") in (5, 6, 7, 8)
            size = (header.height, header.width) if turned else (header.width, header.height)
            width, high = math.ceil(size[0] * scale_of(*size, width, height, fit)), 10_000_000
        crop = {"cover": "centre", "attention": "attention"}.get(fit, "none")
        small = pyvips.Image.thumbnail_buffer(
            photo, width, height=min(high, 10_000_000), size="down", crop=crop,
            output_profile="srgb", option_string=STRICT,
        )  # fmt: skip
        # copy_memory decodes now: what is broken is found here, and not while somebody else encodes
        return small.copy_memory()
    except pyvips.Error as fault:
        raise ValueError(f"the picture is broken or not {kind}: {reason_of(fault)}") from None


def by_pillow(photo: bytes, kind: str, width: int, height: int, fit: str, *, best: bool) -> Any:
    from PIL import Image, ImageOps

    filter = Image.Resampling.LANCZOS if best else Image.Resampling.BICUBIC
    try:
        with opened(photo, kind) as picture:
            check_size(*picture.size, streamed=kind == "jpeg" and not is_progressive(photo))
            turned = kind == "jpeg" and picture.getexif().get(ORIENTATION, 1) in (5, 6, 7, 8)
            wide, high = (picture.size[1], picture.size[0]) if turned else picture.size
            scale = scale_of(wide, high, width, height, fit)
            size = (max(1, round(picture.size[0] * scale)), max(1, round(picture.size[1] * scale)))
            # The decoder halves the size up to three times, here down to no less than `gap` times what is wanted.
            gap = GAPS[best] if 16 * size[0] * size[1] <= HELD_PIXELS_MAX else 1
            picture.draft(picture.mode, (round(size[0] * gap), round(size[1] * gap)))
            small = picture.resize(size, filter, reducing_gap=2.0)
            small = to_srgb(ImageOps.exif_transpose(small), picture.info.get("icc_profile"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as fault:
        raise ValueError(f"the picture is broken or not {kind}: {fault}") from None
    small.info = {}  # comment and profile would go along
    if fit in ("inside", "outside"):
        return small
    plain = as_vips(small)
    wide, high = min(width, plain.width), min(height or width, plain.height)
    return plain.smartcrop(wide, high, interesting="attention" if fit == "attention" else "centre").copy_memory()


def opened(photo: bytes, kind: str) -> Any:
    """Pillow's own size check is passed by: `check_size` has a limit for what is decoded at reduced size too."""
    from PIL import BmpImagePlugin, JpegImagePlugin

    plugin: Any = JpegImagePlugin.JpegImageFile if kind == "jpeg" else BmpImagePlugin.BmpImageFile
    return plugin(io.BytesIO(photo))


def scale_of(wide: int, high: int, width: int, height: int, fit: str) -> float:
    across = width / wide
    down = (height or (width if fit != "inside" else high)) / high
    return min(1.0, (min if fit == "inside" else max)(across, down if height or fit != "inside" else across))


def to_srgb(picture: Any, profile: bytes | None) -> Any:
    """Colours as a browser shows them without a profile; a broken profile counts as none."""
    from PIL import ImageCms

    if profile and picture.mode in ("RGB", "CMYK", "L"):
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            return ImageCms.profileToProfile(picture, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
        except (ImageCms.PyCMSError, OSError):
            pass
    return picture if picture.mode in ("RGB", "RGBA") else picture.convert("RGB")


def is_progressive(photo: bytes) -> bool:
    """Does the frame header say progressive (SOF2), or lossless, arithmetic and hierarchical kin of it."""
    at = 2
    while at + 4 <= len(photo) and photo[at] == 0xFF:
        mark = photo[at + 1]
        if mark == 0xFF:
            at += 1
        elif mark == 0xDA or (0xC0 <= mark < 0xD0 and mark not in (0xC4, 0xC8, 0xCC)):
            return mark not in (0xC0, 0xC1, 0xDA)
        else:
            at += 2 + int.from_bytes(photo[at + 2 : at + 4], "big")
    return False


def check_size(width: int, height: int, *, streamed: bool) -> None:
    pixels_max = STREAMED_PIXELS_MAX if streamed else HELD_PIXELS_MAX
    if width * height > pixels_max:
        raise ValueError(
            f"the picture has {width} x {height} = {width * height / 1e6:,.0f} megapixels; a"
            f" {'streamed' if streamed else 'whole-in-memory'} format is read up to {pixels_max / 1e6:,.0f}"
        )


def encode(picture: Any, format: str, quality: int, effort: str = "fast") -> bytes:
    """Bytes of the format; no metadata goes along, which includes where the photo was taken.

    Pillow writes JPEG and WebP: the same bytes to see, 1 ms less than libvips, which starts threads for it.
    """
    best = effort == "best"
    if format == "avif":
        chosen = {"Q": quality or AVIF_QUALITY, "effort": AVIF_EFFORTS[best]}
        return bytes(as_vips(picture).heifsave_buffer(compression="av1", keep="none", **chosen))
    picture, out = as_pillow(picture), io.BytesIO()
    if format == "jpg":
        quality = quality or JPEG_QUALITY
        colours = "4:4:4" if quality >= WHOLE_COLOURS_QUALITY else "4:2:0"
        on_white(picture).save(out, "JPEG", quality=quality, optimize=True, subsampling=colours)
    else:
        picture.save(out, "WEBP", quality=quality or WEBP_QUALITY, method=WEBP_EFFORTS[best])
    return out.getvalue()


def as_vips(picture: Any) -> Any:
    import pyvips
    from PIL import Image

    if not isinstance(picture, Image.Image):
        return picture if picture.format == "uchar" else picture.cast("uchar")
    quiet_vips(pyvips)
    plain = pyvips.Image.new_from_memory(
        picture.tobytes(), picture.width, picture.height, len(picture.getbands()), "uchar"
    )
    return plain.copy(interpretation="srgb")


def as_pillow(picture: Any) -> Any:
    from PIL import Image

    if isinstance(picture, Image.Image):
        return picture
    plain = as_vips(picture)
    mode = ("L", "LA", "RGB", "RGBA")[plain.bands - 1]
    return Image.frombytes(mode, (plain.width, plain.height), plain.write_to_memory())


def on_white(picture: Any) -> Any:
    """Without transparency: JPEG has none."""
    from PIL import Image

    if picture.mode not in ("LA", "RGBA"):
        return picture
    picture = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")


def quiet_vips(pyvips: Any) -> None:
    """One thread a picture (the pool above decides how many at once), no cache, no decoder that was not fuzzed."""
    pyvips.cache_set_max(0)
    pyvips.concurrency_set(1)
    pyvips.block_untrusted_set(True)
    # its warnings about a broken picture come back as the error of that picture
    logging.getLogger("pyvips").setLevel(logging.ERROR)


def reason_of(fault: Exception) -> str:
    """The first line of what libvips says, without the name of its function."""
    lines = [line.strip() for line in str(fault).splitlines() if line.strip()]
    said = next((line for line in lines[1:] if ":" in line), lines[-1] if lines else "unknown")
    return said.split(": ", 1)[-1]
