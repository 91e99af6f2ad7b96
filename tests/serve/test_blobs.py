from __future__ import annotations

import socket
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from boxwork.keys import ref_of

SMALL = b"everything is a hashing problem"
LARGE = bytes(range(256)) * 4096


@pytest.fixture(params=[SMALL, LARGE], ids=["small", "large"])
def data(request: pytest.FixtureRequest) -> bytes:
    return bytes(request.param)


def test_a_blob_is_served_under_its_name_for_ever(client: httpx.Client, work: Any, data: bytes) -> None:
    ref = work.put(data)
    answer = client.get(f"/blobs/{ref}")
    assert answer.status_code == 200
    assert answer.content == data
    assert answer.headers["etag"] == f'"{ref}"'
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]
    assert answer.headers["x-request-id"]


def test_head_says_the_same_without_the_body(client: httpx.Client, work: Any, data: bytes) -> None:
    ref = work.put(data)
    head, get = client.head(f"/blobs/{ref}"), client.get(f"/blobs/{ref}")
    assert head.content == b""
    for name in ("content-length", "etag", "content-type", "accept-ranges"):
        assert head.headers[name] == get.headers[name]


def test_a_range_is_cut_out(client: httpx.Client, work: Any, data: bytes) -> None:
    ref = work.put(data)
    answer = client.get(f"/blobs/{ref}", headers={"range": "bytes=5-9"})
    assert answer.status_code == 206
    assert answer.content == data[5:10]
    assert answer.headers["content-range"] == f"bytes 5-9/{len(data)}"
    assert client.get(f"/blobs/{ref}", headers={"range": "bytes=-4"}).content == data[-4:]
    assert client.get(f"/blobs/{ref}", headers={"range": f"bytes={len(data)}-"}).status_code == 416
    assert client.get(f"/blobs/{ref}", headers={"range": "bytes=0-1,8-9"}).status_code == 200
    stale = {"range": "bytes=5-9", "if-range": '"other"'}
    assert client.get(f"/blobs/{ref}", headers=stale).status_code == 200


def test_what_the_client_has_is_not_sent_again(client: httpx.Client, work: Any, data: bytes) -> None:
    ref = work.put(data)
    answer = client.get(f"/blobs/{ref}", headers={"if-none-match": f'W/"x", "{ref}"'})
    assert answer.status_code == 304
    assert answer.content == b""
    assert answer.headers["etag"] == f'"{ref}"'


def test_a_stored_page_does_not_become_a_page(client: httpx.Client, work: Any) -> None:
    ref = work.put(b"<html><script>alert(1)</script></html>")
    assert client.get(f"/blobs/{ref}").headers["content-type"] == "text/plain; charset=utf-8"


def test_a_name_makes_it_a_download(client: httpx.Client, work: Any) -> None:
    ref = work.put(SMALL)
    answer = client.get(f"/blobs/{ref}", params={"name": 'a "quoted"\r\nname.jpg'})
    assert answer.headers["content-disposition"] == ("attachment; filename*=UTF-8''a%20%22quoted%22%0D%0Aname.jpg")


def test_a_missing_blob_and_a_bad_name_are_told_apart(client: httpx.Client) -> None:
    missing = client.get(f"/blobs/{ref_of(b'nowhere')}")
    assert (missing.status_code, missing.json()["error"]) == (404, "blob.missing")
    bad = client.get("/blobs/sha256:zz")
    assert (bad.status_code, bad.json()["error"]) == (400, "input.ref")
    assert bad.json()["request"] == bad.headers["x-request-id"]


def test_put_keeps_only_what_has_the_name(client: httpx.Client, work: Any, data: bytes) -> None:
    ref = ref_of(data)
    assert client.put(f"/blobs/{ref}", content=b"something else").status_code == 409
    assert not work.has(ref)
    assert client.put(f"/blobs/{ref}", content=data).status_code == 201
    assert work.get(ref) == data
    assert client.put(f"/blobs/{ref}", content=data).json() == {"ref": ref, "new": False}


def test_post_names_what_it_keeps_even_when_it_comes_in_pieces(client: httpx.Client, work: Any, data: bytes) -> None:
    pieces = [data[i : i + 10_000] for i in range(0, len(data), 10_000)]
    answer = client.post("/blobs", content=iter(pieces))
    assert (answer.status_code, answer.json()["ref"]) == (201, ref_of(data))
    assert work.get(ref_of(data)) == data


def test_an_upload_over_the_limit_is_refused_with_or_without_a_length(client: httpx.Client) -> None:
    big = b"x" * 3_000_001
    for body in (big, iter([big[:2_000_000], big[2_000_000:]])):
        answer = client.post("/blobs", content=body)
        assert (answer.status_code, answer.json()["error"]) == (413, "limit.size")
        assert "serve.blob_bytes_max" in answer.json()["message"]


def test_a_client_that_stops_sending_is_cut(server: Any, work: Any) -> None:
    where = urlsplit(server.url)
    with socket.create_connection((where.hostname, where.port), timeout=10) as raw:
        raw.sendall(b"POST /blobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\nhalf")
        assert b" 504 " in raw.recv(100)
    assert [] == list(work.content.durable.refs())


def test_an_upload_broken_off_leaves_nothing(server: Any, work: Any, client: httpx.Client) -> None:
    where = urlsplit(server.url)
    with socket.create_connection((where.hostname, where.port), timeout=10) as raw:
        raw.sendall(b"POST /blobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2000000\r\n\r\n" + b"x" * 100_000)
    assert client.get("/healthz").status_code == 200
    assert [] == list(work.content.durable.refs())


def test_a_blob_of_a_private_space_is_as_if_it_were_not_here(client: httpx.Client, work: Any) -> None:
    space = work.spaces.create("clinic", owner="ada")
    private = space.put(b"a recording", principal="ada", subject="patient-1")
    nowhere = ref_of(b"never put anywhere")
    answers = [client.get(f"/blobs/{ref}") for ref in (private, nowhere)]
    assert [404, 404] == [answer.status_code for answer in answers]
    told = [answer.json()["message"][71:] for answer in answers]
    assert told[0] == told[1]
