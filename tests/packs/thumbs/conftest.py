"""A real node with a folder of pictures, and a real server in front of it."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

import boxwork
from boxwork.serve.server import Server
from boxwork.testing.served import served

Make = Callable[..., bytes]


def picture(width: int = 400, height: int = 300, kind: str = "JPEG", **options: Any) -> bytes:
    """A picture with a red left half and a blue right half, white on top: which way is up can be seen."""
    mode = options.pop("mode", "RGB")
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : width // 2] = (220, 30, 30)
    pixels[:, width // 2 :] = (30, 30, 220)
    pixels[: height // 4] = 255
    out = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(out, kind, **options)
    return out.getvalue()


@pytest.fixture
def make() -> Make:
    return picture


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Eleven pictures, one that is broken, and something that is none."""
    place = tmp_path / "photos"
    (place / "trip to the sea").mkdir(parents=True)
    for number in range(8):
        (place / f"photo-{number}.jpg").write_bytes(picture(400 + number, 300))
    for number in range(3):
        (place / "trip to the sea" / f"wave {number}.png").write_bytes(picture(200 + number, 300, "PNG"))
    (place / "broken.jpg").write_bytes(picture()[:800])
    (place / "notes.txt").write_text("no picture")
    return place


@pytest.fixture
def work(tmp_path: Path, folder: Path) -> Iterator[Any]:
    with boxwork.open(tmp_path / "data") as node:
        list(node.inventory.scan(folder))
        yield node


@pytest.fixture
def server(work: Any) -> Iterator[Server]:
    with served(work) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=20) as session:
        yield session
