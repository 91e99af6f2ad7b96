"""A corpus of pictures nobody should trust: at least 200, made here.  The server must answer each with a thumbnail or
an error that says why, hold its memory, and go on answering others."""

from __future__ import annotations

import contextlib
import io
import struct
import threading
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
from PIL import Image

# What the process may grow by while the corpus is decoded, the decoders themselves included.  Unit: bytes.
GROWTH_BYTES_MAX = 400_000_000

# Odd, and still pictures.
MAY_WORK = {"progressive jpeg 65500x1", "jpeg and html"}


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, body: bytes, *, depth: int = 8, colour: int = 2, interlace: int = 0) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def bombs() -> Iterator[tuple[str, bytes]]:
    """Little files that say they are huge."""
    zeros = zlib.compress(bytes(4_000_000), 9)
    for side in (20_000, 60_000, 2**31 - 1):
        for interlace in (0, 1):
            yield f"png {side} interlace {interlace}", png(side, side, zeros, interlace=interlace)
    small = io.BytesIO()
    Image.new("RGB", (64, 64)).save(small, "JPEG", progressive=True)
    for wide, high in ((65535, 65535), (65500, 1), (0, 64), (64, 0)):
        data = bytearray(small.getvalue())
        at = data.index(b"\xff\xc2") + 5
        data[at : at + 4] = struct.pack(">HH", high, wide)
        yield f"progressive jpeg {wide}x{high}", bytes(data)
    plain = io.BytesIO()
    Image.new("RGB", (64, 64)).save(plain, "JPEG")
    data = bytearray(plain.getvalue())
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", 65535, 65535)
    yield "jpeg 65535x65535", bytes(data)
    for side in (30_000, 65535):
        yield f"gif {side}", b"GIF89a" + struct.pack("<HH", side, side) + b"\xf0\0\0" + bytes(6) + b"," + struct.pack(
            "<HHHHB", 0, 0, side, side, 0) + b"\x02\x02\x4c\x01\0;"  # fmt: skip
    yield (
        "bmp huge",
        b"BM" + struct.pack("<IHHIIiiHHIIiiII", 100, 0, 0, 54, 40, 60_000, 60_000, 1, 24, 0, 0, 0, 0, 0, 0),
    )
    yield "bmp negative", b"BM" + struct.pack("<IHHIIiiHHIIiiII", 100, 0, 0, 54, 40, -5, 2**31 - 1, 1, 24, *[0] * 6)


def corpus() -> list[tuple[str, bytes]]:
    rng = np.random.default_rng(7)
    found = list(bombs())
    pixels = Image.fromarray(rng.integers(0, 255, (90, 120, 3), dtype=np.uint8))
    whole: dict[str, bytes] = {}
    for kind, options in (("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {}), ("GIF", {}), ("WEBP", {}),
                          ("TIFF", {}), ("BMP", {}), ("AVIF", {})):  # fmt: skip
        out = io.BytesIO()
        pixels.save(out, kind, **options)
        whole[f"{kind} {options}"] = out.getvalue()
    for name, data in whole.items():
        for share in (0.02, 0.2, 0.5, 0.8, 0.99):
            found.append((f"{name} cut at {share}", data[: int(len(data) * share)]))
        for turn in range(18):
            bent = bytearray(data)
            # half of them are hit in the head, where the sizes and tables stand
            reach = min(200, len(bent)) if turn % 2 else len(bent)
            for at in rng.integers(8, reach, 1 + turn):
                bent[at] = rng.integers(0, 256)
            found.append((f"{name} bent {turn}", bytes(bent)))
    found += [
        ("empty", b""), ("svg", b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'),
        ("postscript", b"%!PS\n(/etc/passwd) run"), ("html", b"<html><script>alert(1)</script>"),
        ("jpeg and html", whole["JPEG {}"] + b"<script>alert(1)</script>"),
        ("only marks", b"\xff\xd8" + b"\xff" * 5000),
        ("endless segments", b"\xff\xd8" + b"\xff\xe1\x00\x02" * 5000), ("zip", b"PK\x03\x04" + bytes(500)),
        ("mvg", b"push graphic-context\nimage over 0,0 0,0 'https://example.com'"), ("pdf", b"%PDF-1.7\n" + bytes(99)),
    ]  # fmt: skip
    return found


def tree_rss() -> int:
    """Bytes of this process and of those that decode for it."""
    found = 0
    for process in (psutil.Process(), *psutil.Process().children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            found += process.memory_info().rss
    return found


@pytest.mark.servers  # 10 to 20 s of decoding; `make test` stays quick without it
def test_a_hostile_corpus_hurts_nobody(client: httpx.Client, server: Any, work: Any, make: Any) -> None:
    bad = corpus()
    assert len(bad) >= 200
    good = work.put(make(700, 500))
    refs = [(name, work.put(data)) for name, data in bad]
    address = f"/thumbs/320/{good.removeprefix('sha256:')}.webp"
    assert client.get(address).status_code == 200
    before = tree_rss()
    peak = before
    over = threading.Event()
    others: list[int] = []

    def look() -> None:
        nonlocal peak
        with httpx.Client(base_url=server.url, timeout=30) as own:
            while not over.wait(0.02):
                peak = max(peak, tree_rss())
                others.append(own.get(address).status_code)

    def ask(named: tuple[str, str]) -> tuple[str, int, dict[str, Any]]:
        with httpx.Client(base_url=server.url, timeout=60) as own:
            answer = own.get(f"/thumbs/320/{named[1].removeprefix('sha256:')}.webp")
            return named[0], answer.status_code, {} if answer.status_code == 200 else answer.json()

    watcher = threading.Thread(target=look)
    watcher.start()
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(ask, refs))
    over.set()
    watcher.join()
    wrong = [answer for answer in answers if answer[1] not in (200, 422)]
    assert wrong == []
    assert all(fault["message"] for _, status, fault in answers if status == 422)
    assert sum(status == 422 for _, status, _ in answers) > 100
    for name, status, _ in answers:
        assert status == 422 or "bent" in name or name in MAY_WORK or "cut at 0.99" in name, name
    assert set(others) == {200}
    assert peak - before < GROWTH_BYTES_MAX
