"""The same set is never built twice, on any node: a second node takes what the first one built, if it is believed."""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

import boxwork
from boxwork import asgi, errors
from boxwork.packs.images import peers
from boxwork.packs.images.workshop import Workshop
from boxwork.testing.served import served
from tests.packs.images.archive_of_debs import Archive
from tests.packs.images.conftest import recipe_of

pytestmark = [
    pytest.mark.servers,
    pytest.mark.skipif(shutil.which("mmdebstrap") is None, reason="needs Debian's mmdebstrap"),
    pytest.mark.skipif(shutil.which("dpkg-scanpackages") is None, reason="needs Debian's dpkg-dev"),
]
TEXT = 'packages = ["world"]\n\n[files."/etc/motd"]\ntext = "welcome"\n[files."/srv/big"]\ntext = "{big}"\n'
BIG = TEXT.format(big="x" * 100_000)


@contextlib.contextmanager
def node(work: Any, change: Callable[[str, bytes], bytes] | None = None) -> Iterator[str]:
    """The node at an address; `change` gets each answer (path, body) and may make another of it."""
    inner = asgi(work)

    async def changed(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or change is None:
            await inner(scope, receive, send)
            return
        body, start = bytearray(), {}

        async def keep(message: Any) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = message
                return
            body.extend(message.get("body", b""))
            if not message.get("more_body"):
                data = change(scope["path"], bytes(body))
                head = [(name, value) for name, value in start["headers"] if name != b"content-length"]
                await send({**start, "headers": [*head, (b"content-length", b"%d" % len(data))]})
                await send({"type": "http.response.body", "body": data})

        await inner(scope, receive, keep)

    with served(work, changed) as server:
        yield server.url


@contextlib.contextmanager
def second(place: Path, url: str, key: str) -> Iterator[tuple[Any, Workshop]]:
    told = {"images.peers": url, "images.peer_keys": key, "images.peer_answer_s_max": 5.0}
    with boxwork.open(place / "second", settings=told) as work:
        yield work, work.part("images")


def states(built: Any) -> list[str]:
    return [state for _, _, state in built.steps]


def test_a_second_node_runs_no_step_of_what_the_first_one_built(
    debs: Archive, work: Any, workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "LARGE_BYTES", 50_000)  # so that one of the files comes by itself
    first = workshop.builder.build(recipe_of(debs, BIG))
    with node(work) as url, second(tmp_path, url, workshop.signer.public()) as (other, shop):
        built = shop.builder.build(recipe_of(debs, BIG))
        assert ["fetched"] * len(built.steps) == states(built)
        assert (first.tree, first.set) == (built.tree, built.set)
        assert b"welcome" == other.tree(built.tree).read("etc/motd")
        assert b"x" * 100_000 == other.tree(built.tree).read("srv/big")
        # It is this node's own version now: signed by it, remembered, and the base of what comes next.
        shop.signer.verify(shop.catalog.version("small"))
        assert {"remembered"} == set(states(shop.builder.build(recipe_of(debs, BIG, name="again"))))
        more = shop.builder.build(recipe_of(debs, TEXT.format(big="y")))
        assert [*["remembered"] * (len(more.steps) - 1), "built"] == states(more)


def test_only_blobs_that_are_missing_come(debs: Archive, work: Any, workshop: Workshop, tmp_path: Path) -> None:
    asked: list[str] = []

    def count(path: str, body: bytes) -> bytes:
        if path == "/images/peers/blobs":
            asked.extend(msgspec.msgpack.decode(body))
        return body

    workshop.builder.build(recipe_of(debs, BIG))
    with node(work, count) as url, second(tmp_path, url, workshop.signer.public()) as (_, shop):
        shop.builder.build(recipe_of(debs, BIG))
        assert len(asked) == len(set(asked))


def test_wrong_bytes_are_noticed_by_their_hash_and_the_step_runs_here(
    debs: Archive, work: Any, workshop: Workshop, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def lie(path: str, body: bytes) -> bytes:
        return body.replace(b"world 1\n", b"WORLD 1\n") if path == "/images/peers/blobs" else body

    first = workshop.builder.build(recipe_of(debs, BIG))
    with node(work, lie) as url, second(tmp_path, url, workshop.signer.public()) as (other, shop):
        with caplog.at_level(logging.WARNING, "boxwork.images"):
            built = shop.builder.build(recipe_of(debs, BIG))
        assert "built" in states(built)
        assert first.tree == built.tree
        assert b"world 1\n" == other.tree(built.tree).read("usr/share/world/text")
        assert "has another hash" in caplog.text


def test_an_answer_of_somebody_who_is_not_trusted_does_not_count(
    debs: Archive, work: Any, workshop: Workshop, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    workshop.builder.build(recipe_of(debs, BIG))
    with boxwork.open(tmp_path / "third") as third:
        stranger = third.part("images").signer.public()
    with node(work) as url, second(tmp_path, url, stranger) as (_, shop):
        assert {"built"} == set(states(shop.builder.build(recipe_of(debs, BIG))))
        assert "images.peer_keys does not name" in caplog.text


def test_another_root_for_a_key_is_not_what_was_signed(
    debs: Archive, work: Any, workshop: Workshop, tmp_path: Path
) -> None:
    first = workshop.builder.build(recipe_of(debs, BIG))
    wrong = workshop.builder.build(recipe_of(debs, TEXT.format(big="evil"), name="wrong"))

    def lie(path: str, body: bytes) -> bytes:
        return body.replace(str(first.tree).encode(), str(wrong.tree).encode()) if "/steps/" in path else body

    with node(work, lie) as url, second(tmp_path, url, workshop.signer.public()) as (_, shop):
        built = shop.builder.build(recipe_of(debs, BIG))
        assert "built" == states(built)[-1]
        assert first.tree == built.tree


def test_a_peer_that_is_gone_costs_nothing_but_a_warning(debs: Archive, tmp_path: Path) -> None:
    with second(tmp_path, "http://127.0.0.1:9", "AAAA") as (_, shop):
        assert {"built"} == set(states(shop.builder.build(recipe_of(debs, BIG))))


def test_peers_without_keys_and_addresses_that_are_none_are_refused(tmp_path: Path) -> None:
    for address, key, said in (("http://127.0.0.1:9", "", "peer_keys"), ("build", "AAAA", "http://HOST:PORT")):
        told = {"images.peers": address, "images.peer_keys": key}
        with boxwork.open(tmp_path / "second", settings=told) as other, pytest.raises(errors.BadInput, match=said):
            other.part("images")


def test_only_steps_of_images_are_answered_and_lists_have_a_limit(work: Any, workshop: Workshop) -> None:
    with node(work) as url:
        assert 404 == httpx.get(f"{url}/images/steps/{'0' * 64}").status_code
        assert 400 == httpx.get(f"{url}/images/steps/xyz").status_code
        assert 400 == httpx.post(f"{url}/images/peers/blobs", json=["sha256:" + "0" * 64] * 600).status_code
        assert 400 == httpx.post(f"{url}/images/peers/blobs", json={"no": "list"}).status_code
        empty = httpx.post(f"{url}/images/peers/blobs", json=["sha256:" + "0" * 64])
        assert [] == msgspec.msgpack.decode(empty.content)
