"""The two galleries of examples/: mounted in a FastAPI application, and over a collection of a real server."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from PIL import Image

from boxwork.testing.mongodb import mongodb

pytestmark = pytest.mark.servers
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[httpx.Client]:
    """The application in a uvicorn of its own, as its first lines say."""
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (600, 400), "gold").save(tmp_path / "photos" / "lamp.jpg")
    place = {"SHOP_PHOTOS": str(tmp_path / "photos"), "SHOP_DATA": str(tmp_path / "data")}
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        command = [sys.executable, "-W", "error", "-m", "uvicorn", "app:app", "--fd", str(listener.fileno())]
        server = subprocess.Popen(
            command,
            cwd=EXAMPLES / "gallery_in_fastapi",
            env=os.environ | place | {"SHOP_TOKEN": "open-sesame"},
            pass_fds=[listener.fileno()],
        )
        try:  # the socket listens already, so the first request waits until the application is up
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, follow_redirects=True) as client:
                yield client
        finally:
            server.terminate()
            assert server.wait(20) in (0, -15)


def test_fastapi_has_its_routes_and_ours_behind_its_guard(shop: httpx.Client) -> None:
    product = shop.get("/products/lamp").json()
    assert product["name"] == "lamp"
    assert shop.get("/products/sofa").status_code == 404
    refused = shop.get(product["thumbnail"])
    assert refused.status_code == 403
    assert refused.json()["message"] == "say who you are: /login?token=…"
    assert shop.get("/media/items").status_code == 403
    assert shop.get(product["thumbnail"], headers={"x-shop-token": "wrong"}).status_code == 403
    thumb = shop.get(product["thumbnail"], headers={"x-shop-token": "open-sesame"})
    assert (thumb.status_code, thumb.headers["content-type"]) == (200, "image/webp")
    assert len(thumb.content) == product["bytes"]
    page = shop.get("/login", params={"token": "open-sesame"})  # the cookie, and on to the gallery
    assert page.url.path == "/media/"
    assert page.status_code == 200
    assert 'href="/media/' in page.text
    assert shop.get("/media/items").json()["count"] == 1
    assert "paths" in shop.get("/openapi.json").json()


def test_a_collection_becomes_thumbnails_twice(tmp_path: Path) -> None:
    with mongodb(tmp_path / "mongodb") as server:
        for state in ("new", "known"):
            answer = subprocess.run(
                [sys.executable, "-W", "error", str(EXAMPLES / "gallery_of_mongodb" / "app.py"), server],
                cwd=tmp_path,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert answer.returncode == 0, answer.stderr
            lines = sorted(answer.stdout.splitlines())
            assert [f"{name}.jpg: {state}" for name in ("chair", "lamp", "table")] == [
                line.partition(",")[0] for line in lines
            ]
