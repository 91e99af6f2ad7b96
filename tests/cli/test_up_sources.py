"""`boxwork up` over a bucket, a collection and a folder at once, with real servers: taken in, shown, watched."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from boxwork.content.sources.bucket import BucketAddress, store_of
from boxwork.testing.mongodb import mongodb
from boxwork.testing.stores import seaweedfs
from tests.cli.test_up import PATIENCE_S, Up

pytestmark = pytest.mark.servers
SECRET = "test-secret"  # of the test server's only user, see `seaweedfs`


def picture(colour: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (60, 40), (colour, 9, 9)).save(out, "JPEG")
    return out.getvalue()


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with seaweedfs(tmp_path / "seaweedfs") as server:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", server["access_key_id"])
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", server["secret_access_key"])
        yield f"s3://{server['bucket']}/shop?endpoint={server['endpoint']}"


@pytest.fixture
def products(tmp_path: Path) -> Iterator[Any]:
    import pymongo

    with mongodb(tmp_path / "mongodb") as address, pymongo.MongoClient(address) as client:
        yield address, client.shop.products


def until(true: Any) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_bucket_a_collection_and_a_folder_are_one_gallery(bucket: str, products: Any, tmp_path: Path) -> None:
    import obstore

    address, collection = products
    store = store_of(BucketAddress.parse(bucket))
    obstore.put(store, "sea.jpg", picture(10))
    obstore.put(store, "broken.jpg", b"\xff\xd8 no picture")
    collection.insert_many([{"photo": picture(20), "title": "lamp"}, {"photo": 17, "title": "chair"}])
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "home.jpg").write_bytes(picture(30))
    source = f"{address}/shop.products?field=photo&name=title"
    looks = ["--set", "inventory.rescan_s=0.2", "--set", "inventory.rescan_remote_s=0.5"]
    up = Up(tmp_path / "data", bucket, source, str(tmp_path / "photos"), *looks)
    try:
        url = up.line()["url"]
        told = [up.line() for _ in range(3)]
        assert [(2, 1, 1), (2, 1, 0), (1, 1, 0)] == [(one["seen"], one["computed"], one["failed"]) for one in told]
        with httpx.Client(base_url=url, timeout=30) as client:

            def names() -> set[str]:
                items = client.get("/items").json()["items"]
                return {item["name"].rpartition("/")[2] for item in items if "reason" not in item}

            assert {"sea.jpg", "lamp.jpg", "home.jpg"} == names()
            rows = client.get("/thumbs/items").json()["rows"]
            for ref, _, _ in rows:
                status = client.get(f"/thumbs/100/{ref}.webp").status_code
                assert status == (422 if ref == _ref(b"\xff\xd8 no picture") else 200)
            faults = {item["name"].rpartition("/")[2] for item in client.get("/items?faulty=true").json()["items"]}
            assert {"broken.jpg", "chair.jpg"} <= faults
            collection.insert_one({"photo": picture(40), "title": "table"})
            collection.delete_one({"title": "lamp"})
            obstore.put(store, "lake.jpg", picture(50))
            obstore.delete(store, "sea.jpg")
            until(lambda: {"lake.jpg", "table.jpg", "home.jpg"} == names())
            pages = [client.get(path).text for path in ("/", "/faults", "/items", "/openapi.json")]
            assert not any(SECRET in page or "test-key" in page for page in pages)
            added = client.post("/items", json={"source": bucket})
            assert (201, 0) == (added.status_code, added.json()["new"])
            refused = client.post("/items", json={"source": "s3://ada:hunter2@bucket"})
            assert 400 == refused.status_code
            assert "hunter2" not in refused.text
    finally:
        assert up.stop() == 0
    held = b"".join(path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file())
    assert SECRET.encode() not in held
    assert os.environ["AWS_SECRET_ACCESS_KEY"] == SECRET


def _ref(data: bytes) -> str:
    from boxwork.keys import ref_of

    return ref_of(data).hex
