"""The inventory over HTTP: listed, added to, taken out of; files of the user are never touched."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import httpx
import pytest

from boxwork.app.work import Work
from boxwork.box import derivation
from boxwork.keys import Ref, ref_of
from boxwork.pack import Pack
from boxwork.serve.guard import anyone
from boxwork.serve.http import asgi


@derivation
def look(photo: bytes) -> bytes:
    return photo[:1]


def _prepare(photo: Ref) -> tuple[Any, dict[str, Any]]:
    return look, {"photo": photo}


@pytest.fixture
def work(make_work: Any) -> Work:
    pack = Pack("looks", "A pack that takes photos.", boxes=(look,), suffixes=(".jpg",), prepare=_prepare)
    return make_work((pack,), serve__blob_bytes_max=1_000_000)  # type: ignore[no-any-return]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a.jpg", "b.JPG", "notes.txt"):
        (folder / name).write_bytes(name.encode())
    return folder


def names(client: httpx.Client, **query: str) -> list[str]:
    return [item["name"] for item in client.get("/items", params=query).json()["items"]]


def test_a_folder_is_added_by_its_path_and_only_what_a_pack_can_use(client: httpx.Client, photos: Path) -> None:
    answer = client.post("/items", json={"folder": str(photos)})
    assert (201, {"folder": str(photos), "new": 2, "known": 0, "changed": 0, "gone": 0, "unreadable": 0}) == (
        answer.status_code,
        answer.json(),
    )
    assert ["a.jpg", "b.JPG"] == names(client)
    item = client.get("/items").json()["items"][0]
    assert b"a.jpg" == client.get(item["url"]).content
    assert str(photos) not in client.get("/items").text


def test_an_item_is_taken_out_stays_out_and_its_file_stays(client: httpx.Client, photos: Path) -> None:
    client.post("/items", json={"folder": str(photos)})
    item = client.get("/items").json()["items"][0]
    assert item == client.delete(f"/items/{item['id']}").json()
    assert 404 == client.delete(f"/items/{item['id']}").status_code
    assert 404 == client.get(f"/items/{item['id']}").status_code
    client.post("/items", json={"folder": str(photos)})
    assert ["b.JPG"] == names(client)
    assert b"a.jpg" == (photos / "a.jpg").read_bytes()
    answer = client.post("/items", json={"path": str(photos / "a.jpg")})
    assert (201, item, f"/items/{item['id']}") == (answer.status_code, answer.json(), answer.headers["location"])
    assert ["a.jpg", "b.JPG"] == names(client)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"folder": "/no/such/folder"}, "cannot be listed"),
        ({"folder": "photos"}, "absolute"),
        ({"folder": 7}, "absolute"),
        ({"folder": "/\0"}, "absolute"),
        ({"path": "/etc/passwd"}, "no folder of the inventory"),
        ({"folder": "/", "path": "/"}, "say what to add"),
        ([], "say what to add"),
        ({}, "say what to add"),
    ],
)
def test_what_cannot_be_added_is_refused_with_advice(client: httpx.Client, given: Any, said: str) -> None:
    answer = client.post("/items", json=given)
    assert 400 == answer.status_code
    assert said in answer.json()["message"]


def test_a_file_of_the_inventory_cannot_be_reached_through_a_link_that_leads_out(
    client: httpx.Client, photos: Path, tmp_path: Path
) -> None:
    client.post("/items", json={"folder": str(photos)})
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    (photos / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    assert 400 == client.post("/items", json={"path": str(photos / "link.jpg")}).status_code
    assert 400 == client.post("/items", json={"path": f"{photos}/../secret.jpg"}).status_code


def test_a_sent_picture_is_kept_and_never_overwrites(client: httpx.Client, work: Work) -> None:
    for number, name in ((0, "sea.jpg"), (1, "sea (2).jpg"), (2, "sea (3).jpg")):
        answer = client.post("/items?name=sea.jpg", content=b"sea %d" % number, headers={"content-type": "image/jpeg"})
        assert (201, name, ref_of(b"sea %d" % number)) == (
            answer.status_code,
            answer.json()["name"],
            answer.json()["ref"],
        )
        assert b"sea %d" % number == client.get(answer.json()["url"]).content
    folder = work.node.root / "uploads"
    assert ["sea (2).jpg", "sea (3).jpg", "sea.jpg"] == sorted(os.listdir(folder))
    assert 0o700 == folder.stat().st_mode & 0o777
    assert 0o600 == (folder / "sea.jpg").stat().st_mode & 0o777


def test_a_body_over_the_limit_leaves_nothing(client: httpx.Client, work: Work) -> None:
    def pieces() -> Any:
        for _ in range(30):
            yield b"x" * 100_000

    answer = client.post("/items?name=big.jpg", content=pieces())
    assert 413 == answer.status_code
    folder = work.node.root / "uploads"
    assert [] == (os.listdir(folder) if folder.exists() else [])


def test_the_faulty_ones_are_listed_apart(client: httpx.Client, photos: Path, work: Work) -> None:
    (photos / "dead.jpg").symlink_to(photos / "nothing")
    client.post("/items", json={"folder": str(photos)})
    work.inventory.note(ref_of(b"a.jpg"), "it is broken")
    items = client.get("/items?faulty=true").json()["items"]
    assert [("a.jpg", "it is broken"), ("dead.jpg", "a symbolic link")] == sorted(
        (item["name"], item["reason"].partition(":")[0]) for item in items
    )
    assert 3 == len(names(client))
    assert 400 == client.get("/items?faulty=1").status_code


async def _post(work: Work, peer: str, host: str, photos: Path) -> int:
    transport = httpx.ASGITransport(asgi(work, guard=anyone), client=(peer, 5000))
    async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}") as client:
        return (await client.post("/items", json={"folder": str(photos)})).status_code


@pytest.mark.parametrize(
    ("peer", "host", "status"),
    [("127.0.0.1", "localhost", 201), ("10.0.0.7", "localhost", 403), ("127.0.0.1", "photos.example", 403)],
)
def test_only_this_machine_names_folders_whatever_the_guard(
    work: Work, photos: Path, peer: str, host: str, status: int
) -> None:
    import asyncio

    assert status == asyncio.run(_post(work, peer, host, photos))
