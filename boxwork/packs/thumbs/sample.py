"""A sample inventory: pictures to look at when there are none yet, drawn here, from a seed.

`make_sample(folder)` writes some 300 of them in under 10 s on two cores.  Each kind of picture is one function of
(size, random numbers, palette); the sizes, turned EXIF orientations and names vary as they do on a real disk.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, TypeAlias

COUNT = 300
SEED = 20_261_122
QUALITY = 88

Size: TypeAlias = tuple[int, int]  # width, height

# Width and height in pixels, most frequent first; about 0.6 megapixels each, so that 300 are drawn in seconds.
SIZES: tuple[Size, ...] = (
    (960, 640), (960, 640), (960, 720), (640, 960), (800, 800), (1120, 630), (720, 960), (576, 1024), (1344, 576),
)  # fmt: skip

# Dark to light; the names go into the file names.
PALETTES: dict[str, tuple[str, ...]] = {
    "dusk": ("#1b1437", "#4a2860", "#8f3a6d", "#d9596b", "#f6976e", "#fde0a6"),
    "dawn": ("#22304f", "#49608a", "#8c8fb0", "#d3a6a8", "#f5cdb0", "#fdf0d9"),
    "fjord": ("#08222f", "#0e4354", "#1f6d7a", "#4e9f9e", "#9ccfc0", "#eaf5e6"),
    "meadow": ("#12251a", "#23492f", "#46783f", "#85a851", "#cbd07e", "#f6f0c4"),
    "ember": ("#170b0f", "#45121c", "#8a1c23", "#d0432a", "#f28a3b", "#ffdc8a"),
    "glacier": ("#0b1b34", "#1d3f6e", "#3b75ab", "#78afd6", "#bcdcee", "#f5fbfe"),
    "orchid": ("#1a1030", "#40206b", "#7a37a3", "#b964c4", "#e6a3dc", "#fce7f5"),
    "dune": ("#2b1a12", "#5e3a22", "#98643a", "#c9985c", "#e9c993", "#faeed6"),
    "lagoon": ("#05202b", "#05505c", "#0a8a86", "#3dc0a4", "#9fe3bb", "#f2fbd9"),
    "ink": ("#0d1016", "#262c38", "#4b5566", "#848f9f", "#c0c7d0", "#f4f5f6"),
}


def palette_table(colours: tuple[str, ...]) -> Any:
    """256 colours from the first to the last, as float32 (256, 3)."""
    import numpy as np

    stops = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in colours], np.float32)
    at = np.linspace(0, len(colours) - 1, 256)
    table = np.stack([np.interp(at, range(len(colours)), stops[:, channel]) for channel in range(3)], axis=1)
    return table.astype(np.float32)


def noise(size: Size, rng: Any, cells: int, octaves: int = 3) -> Any:
    """Smooth noise from 0 to 1: random grids, enlarged and added, finer ones weaker."""
    import numpy as np
    from PIL import Image

    wide, high = size
    total = np.zeros((high, wide), np.float32)
    for octave in range(octaves):
        count = cells * 2**octave
        grid = rng.random((max(2, round(count * high / wide)) + 2, count + 2), np.float32)
        total += np.asarray(Image.fromarray(grid).resize(size, Image.Resampling.BICUBIC)) * 0.5**octave
    total -= total.min()
    total /= total.max() or 1
    return total


def colour(field: Any, table: Any) -> Any:
    """A field of 0…1 as colours of the table."""
    import numpy as np

    return table[np.clip(field * 255, 0, 255).astype(np.uint8)]


def ridges(size: Size, rng: Any, table: Any) -> Any:
    """Mountains behind mountains in haze, under a low sun."""
    import numpy as np

    wide, high = size
    y, x = np.mgrid[0:high, 0:wide].astype(np.float32)
    horizon = rng.uniform(0.45, 0.62)
    image = table[np.clip((0.45 + 0.55 * (y[:, :1] / (high * horizon)).clip(0, 1)) * 255, 0, 255).astype(np.uint8)]
    image = np.repeat(image, wide, axis=1)
    sun_x, sun_y = rng.uniform(0.2, 0.8) * wide, rng.uniform(0.25, horizon - 0.05) * high
    apart = np.hypot(x - sun_x, y - sun_y) / high
    image += (table[255] - image) * (np.exp(-apart * 5.0) * 0.75)[..., None]
    disc = np.clip((rng.uniform(0.03, 0.06) - apart) * high * 0.7, 0, 1)[..., None]
    image += (np.array([255, 250, 236], np.float32) - image) * disc
    layers = int(rng.integers(5, 8))
    along = np.arange(wide, dtype=np.float32) / wide
    for layer in range(layers):
        near = layer / (layers - 1)
        top = (horizon - 0.07 + 0.5 * near**1.25) * high
        profile = np.zeros(wide, np.float32)
        for octave in range(7):
            turns = (1.2 + layer * 0.5) * 2**octave * rng.uniform(0.8, 1.2)
            wave = np.sin(2 * np.pi * (turns * along + rng.random()))
            profile += (1 - np.abs(wave) * 2 if octave < 3 else wave) * 0.5**octave
        line = top - profile * high * (0.05 + 0.035 * near)
        start = max(0, int(line.min()) - 1)
        below = y[start:, :1] - line[None, :]
        cover = np.clip(below, 0, 1)[..., None]
        base = table[int(150 * (1 - near) ** 1.1) + 6]
        haze = np.clip(below / (high * 0.30), 0, 1)[..., None] * (1 - near) * 0.55
        shade = base + (table[205] - base) * haze
        image[start:] += (shade - image[start:]) * cover
    return image


def marble(size: Size, rng: Any, table: Any) -> Any:
    """Noise, pulled about by noise: paint in water."""
    import numpy as np

    first, second = noise(size, rng, 3), noise(size, rng, 4)
    wide, high = size
    y, x = np.mgrid[0:high, 0:wide].astype(np.float32) / high
    angle = rng.uniform(0, np.pi)
    bands = (x * np.cos(angle) + y * np.sin(angle)) * rng.uniform(0.5, 1.4) + first * 1.9 + second * 0.5
    field = 0.5 + 0.42 * np.sin(bands * np.pi)
    light = 0.94 + 0.06 * np.sin(bands * 40)
    return colour(field, table) * light[..., None]


def julia(size: Size, rng: Any, table: Any) -> Any:
    """A Julia set near the edge of the Mandelbrot set, smoothly coloured (drawn at half size, enlarged)."""
    import numpy as np
    from PIL import Image

    wide, high = size[0] // 2, size[1] // 2
    turn = rng.uniform(0, 2 * np.pi)
    c = np.complex64(0.7885 * np.exp(1j * turn))
    zoom = rng.uniform(0.8, 1.25)
    y, x = np.mgrid[0:high, 0:wide].astype(np.float32)
    z = (((x - wide / 2) + 1j * (y - high / 2)) / (min(wide, high) / 2) * zoom).astype(np.complex64)
    steps = np.zeros((high, wide), np.float32)
    trap = np.full((high, wide), 9.0, np.float32)
    for _ in range(44):
        z = z * z + c
        size2 = z.real**2 + z.imag**2
        alive = size2 < 64
        steps += alive
        np.minimum(trap, size2, out=trap, where=alive)
        z[~alive] = 8
    field = (0.62 * (steps / 44) ** 0.55 + 0.38 * (1 - np.sqrt(trap / 9))).clip(0, 1)
    image = colour(field * 0.96, table)
    return np.asarray(Image.fromarray(image.astype(np.uint8)).resize(size, Image.Resampling.BICUBIC), np.float32)


def veils(size: Size, rng: Any, table: Any) -> Any:
    """Soft lights of many colours, one over another."""
    import numpy as np
    from PIL import Image

    wide, high = size[0] // 8, size[1] // 8
    y, x = np.mgrid[0:high, 0:wide].astype(np.float32) / high
    other = palette_table(PALETTES[sorted(PALETTES)[int(rng.integers(len(PALETTES)))]])
    image = np.broadcast_to(table[int(rng.integers(10, 60))], (high, wide, 3)).copy()
    for light in range(10):
        at_x, at_y, reach = rng.uniform(-0.1, wide / high + 0.1), rng.uniform(-0.1, 1.1), rng.uniform(0.12, 0.42)
        turn, long = rng.uniform(0, np.pi), rng.uniform(1.0, 2.8)
        u = (x - at_x) * np.cos(turn) + (y - at_y) * np.sin(turn)
        v = (y - at_y) * np.cos(turn) - (x - at_x) * np.sin(turn)
        weight = np.exp(-((u / long) ** 2 + v**2) / (2 * reach * reach))[..., None]
        ink = (other if light % 3 == 2 else table)[int(rng.integers(90, 256) if light % 2 else rng.integers(20, 150))]
        image += (ink - image) * weight * 0.85
    soft = Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
    return np.asarray(soft, np.float32)


def tiles(size: Size, rng: Any, table: Any) -> Any:
    """Quarter circles, discs and halves on a grid, as on a poster."""
    import numpy as np
    from PIL import Image, ImageDraw

    wide, high = size[0] * 2, size[1] * 2  # drawn double, so that the edges come out smooth
    colours = [tuple(int(v) for v in table[i]) for i in (8, 60, 110, 150, 200, 245)]
    picture = Image.new("RGB", (wide, high), colours[5])
    pen = ImageDraw.Draw(picture)
    side = max(wide, high) // int(rng.integers(5, 9))
    for top in range(0, high, side):
        for left in range(0, wide, side):
            back, front, dot = (colours[i] for i in rng.permutation(6)[:3])
            box = (left, top, left + side, top + side)
            pen.rectangle(box, fill=back)
            form = int(rng.integers(0, 6))
            corner = int(rng.integers(0, 4))
            if form == 0:
                pen.ellipse((left + side // 8, top + side // 8, left + side * 7 // 8, top + side * 7 // 8), fill=front)
            elif form in (1, 2):
                # the middle of the circle is a corner of the tile, so only a quarter of it lies inside
                mid_x, mid_y = left + side * (corner % 2), top + side * (corner // 2)
                begin = (0, 90, 270, 180)[corner]
                for reach, ink in ((1.0, front), (0.62, dot), (0.28, back))[: 1 + form]:
                    r = side * reach
                    pen.pieslice((mid_x - r, mid_y - r, mid_x + r, mid_y + r), begin, begin + 90, fill=ink)
            elif form == 3:
                points = [(left, top), (left + side, top), (left + side, top + side), (left, top + side)]
                pen.polygon(points[:corner] + points[corner + 1 :], fill=front)
            elif form == 4:
                for stripe in range(0, 6, 2):
                    pen.rectangle((left, top + side * stripe // 6, left + side, top + side * (stripe + 1) // 6), front)
            else:
                pen.pieslice(box, 90 * corner, 90 * corner + 180, fill=front)
    return np.asarray(picture.reduce(2), np.float32)


def aurora(size: Size, rng: Any, table: Any) -> Any:
    """Curtains of light over a dark line of firs."""
    import numpy as np

    wide, high = size
    y = np.arange(high, dtype=np.float32)[:, None] / high
    along = np.arange(wide, dtype=np.float32) / wide
    night = table[0] * 0.55
    image = night + (table[40] - night) * (y**1.5)[..., None] * 0.9
    image = np.repeat(image, wide, axis=1)
    count = wide * high // 2600
    rows, columns = rng.integers(0, int(high * 0.8), count), rng.integers(0, wide, count)
    image[rows, columns] = 90 + 165 * rng.random((count, 1), np.float32) ** 3
    for _ in range(4):
        edge = rng.uniform(0.42, 0.66) + sum(
            rng.uniform(0.02, 0.09) / n * np.sin(2 * np.pi * (n * along * rng.uniform(0.6, 1.6) + rng.random()))
            for n in (1, 2, 4, 7)
        )
        fine = np.sin(2 * np.pi * (along * rng.uniform(18, 40) + 3 * edge))
        rays = 0.55 + 0.45 * fine * np.sin(along * 60 + edge * 9)
        over = edge[None, :] - y
        light = np.where(over > 0, np.exp(-over * 6.5), np.exp(over * 42)) * rays[None, :]
        image += light[..., None] * table[int(rng.integers(120, 235))] * 0.42
    for layer, depth in ((0, 0.16), (1, 0.09)):
        teeth = np.zeros(wide, np.float32)
        at = 0
        while at < wide:
            broad = int(rng.integers(14, 44)) + 10 * layer
            tree = 1 - np.abs(np.linspace(-1, 1, broad)) ** 0.8
            stop = min(wide, at + broad)
            teeth[at:stop] = np.maximum(teeth[at:stop], tree[: stop - at] * rng.uniform(0.4, 1.0))
            at += broad // 2
        line = high * (1 - depth) - teeth * high * 0.11
        cover = np.clip(y * high - line[None, :], 0, 1)[..., None]
        image += (table[0] * (0.42 - 0.3 * layer) - image) * cover
    return image


def planet(size: Size, rng: Any, table: Any) -> Any:
    """A banded world with its light from one side, and stars."""
    import numpy as np
    from PIL import Image

    wide, high = size
    radius = rng.uniform(0.28, 0.42) * min(wide, high)
    mid_x, mid_y = wide * rng.uniform(0.35, 0.65), high * rng.uniform(0.45, 0.55)
    swirl = noise((wide // 2, high // 2), rng, 5)
    small_y, small_x = np.mgrid[0 : high // 2, 0 : wide // 2].astype(np.float32) * 2
    away = np.hypot(small_x - mid_x, small_y - mid_y) / radius - 1
    back = table[0] * 0.35 + (swirl**3)[..., None] * table[70] * 0.5
    back += np.exp(-np.clip(away, 0, None) * 9)[..., None] * table[190] * 0.5
    soft = Image.fromarray(np.clip(back, 0, 255).astype(np.uint8)).resize(size, Image.Resampling.BILINEAR)
    image = np.array(soft, np.float32)
    count = wide * high // 1800
    image[rng.integers(0, high, count), rng.integers(0, wide, count)] += 255 * rng.random((count, 1), np.float32) ** 4

    top, left = max(0, int(mid_y - radius) - 1), max(0, int(mid_x - radius) - 1)
    bottom, right = min(high, int(mid_y + radius) + 2), min(wide, int(mid_x + radius) + 2)
    y, x = np.mgrid[top:bottom, left:right].astype(np.float32)
    u, v = (x - mid_x) / radius, (y - mid_y) / radius
    far = u * u + v * v
    tilt = rng.uniform(-0.6, 0.6)
    flow = np.asarray(Image.fromarray(swirl).resize((right - left, bottom - top), Image.Resampling.BILINEAR))
    bands = 0.5 + 0.5 * np.sin((v * np.cos(tilt) + u * np.sin(tilt)) * rng.uniform(6, 16) + flow * 4.5)
    side = -0.7 if rng.random() < 0.5 else 0.7
    light = np.clip(u * side - v * 0.4 + np.sqrt(np.clip(1 - far, 0, 1)) * 0.6, 0.015, 1.3)
    surface = colour(0.2 + 0.75 * bands, table) * light[..., None]
    inside = np.clip((1 - np.sqrt(far)) * radius, 0, 1)[..., None]
    part = image[top:bottom, left:right]
    part += (surface - part) * inside
    return image


def swell(size: Size, rng: Any, table: Any) -> Any:
    """Waves of paper, each throwing a shadow on the one behind it."""
    import numpy as np

    wide, high = size
    y = np.arange(high, dtype=np.float32)[:, None]
    along = np.arange(wide, dtype=np.float32) / wide
    image = np.empty((high, wide, 3), np.float32)
    image[:] = table[250]
    layers = int(rng.integers(7, 11))
    reach = high * 0.06  # how far a shadow is seen
    for layer in range(layers):
        part = (layer + 1) / (layers + 1)
        line = np.full(wide, high * (part * 0.95 + 0.02), np.float32)
        for n in (1, 2, 3):
            line += high * 0.055 / n * np.sin(2 * np.pi * (n * along * rng.uniform(0.5, 1.3) + rng.random()))
        first, last = max(0, int(line.min() - reach)), min(high, int(line.max()) + 2)
        below = y[first:last] - line
        shadow = np.exp(np.minimum(below, 0) / (high * 0.022))
        image[first:last] *= (1 - 0.33 * shadow)[..., None]
        tone = table[int(235 * (1 - part)) + 12]
        image[first:last] += (tone - image[first:last]) * np.clip(below, 0, 1)[..., None]
        image[last:] = tone
    return image


def skyline(size: Size, rng: Any, table: Any) -> Any:
    """A town at the blue hour, with its windows lit."""
    import numpy as np
    from PIL import Image, ImageDraw

    wide, high = size
    y = np.linspace(0.18, 1, high, dtype=np.float32)[:, None]
    sky = np.repeat(colour(y**1.3, table), wide, axis=1)
    picture = Image.fromarray(np.clip(sky, 0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(picture)
    lit = tuple(int(v) for v in (table[245] * 0.6 + np.array([255, 214, 130], np.float32) * 0.4))
    for layer in range(4):
        tone = tuple(int(v) for v in table[int(104 - layer * 32)] * (0.9 - 0.12 * layer))
        left = -int(rng.integers(0, 40))
        while left < wide:
            broad = int(rng.integers(wide // 26, wide // 11))
            tall = int(high * rng.uniform(0.16, 0.52) * (1 - layer * 0.17) + high * 0.05)
            top = high - tall
            pen.rectangle((left, top, left + broad, high), fill=tone)
            if rng.random() < 0.3:
                pen.polygon([(left, top), (left + broad // 2, top - broad // 2), (left + broad, top)], fill=tone)
            elif rng.random() < 0.3:
                pen.line((left + broad // 2, top - high // 14, left + broad // 2, top), fill=tone, width=3)
            if layer:
                pane = 4 + layer
                for row in range(top + 2 * pane, high, pane * 3):
                    for column in range(left + pane, left + broad - pane, pane * 2):
                        if rng.random() < 0.17 + 0.06 * layer:
                            pen.rectangle((column, row, column + pane - 2, row + pane), fill=lit)
            left += broad + int(rng.integers(0, 12))
    return np.asarray(picture, np.float32)


KINDS: dict[str, Callable[[Size, Any, Any], Any]] = {
    "ridges": ridges, "marble": marble, "aurora": aurora, "veils": veils, "swell": swell, "planet": planet,
    "tiles": tiles, "julia": julia, "skyline": skyline,
}  # fmt: skip
# Landscapes come up more often: they look most like what people have on their disks.
ORDER = ("ridges", "veils", "aurora", "marble", "ridges", "planet", "swell", "tiles", "ridges", "julia", "skyline")


def draw(index: int) -> tuple[str, Any, int]:
    """Picture number `index`: its name, itself, and the EXIF orientation it is to be stored with."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng([SEED, index])
    kind = ORDER[index % len(ORDER)]
    palette = sorted(PALETTES)[(index * 7 + index // len(ORDER) * 3) % len(PALETTES)]
    size = SIZES[int(rng.integers(len(SIZES)))]
    pixels = KINDS[kind](size, rng, palette_table(PALETTES[palette]))
    picture = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    # one in six lies on its side or head in the file, as cameras leave it, and says so
    orientation = int(rng.choice([3, 6, 8])) if index % 6 == 5 else 1
    back = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
    if orientation in back:
        picture = picture.transpose(back[orientation])
    return f"{index:03d}-{palette}-{kind}.jpg", picture, orientation


def write(folder: Path, index: int) -> Path:
    name, picture, orientation = draw(index)
    exif = picture.getexif()
    exif[0x010E] = "A sample picture, drawn by Boxwork"  # ImageDescription
    exif[0x0112] = orientation
    path = folder / name
    # written beside and renamed: an interrupted run leaves no half picture that looks like a broken photo
    part = path.with_suffix(".part")
    picture.save(part, "JPEG", quality=QUALITY, exif=exif)
    os.replace(part, path)
    return path


def make_sample(
    folder: Path | str, count: int = COUNT, progress: Callable[[int, int], None] | None = None
) -> list[Path]:
    """Write `count` sample pictures; `progress(done, count)` is called after each, and may raise to end it."""
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    made: list[Path] = []
    with ThreadPoolExecutor(os.cpu_count() or 1, "sample") as pool:
        drawn = [pool.submit(write, target, index) for index in range(count)]
        try:
            for future in as_completed(drawn):
                made.append(future.result())
                if progress is not None:
                    progress(len(made), count)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return sorted(made)
