"""The registry as its clients see it, request by request."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from boxwork.content.repositories import DOCKER_MANIFEST, MANIFEST_BYTES_MAX, OCI_INDEX, OCI_MANIFEST
from boxwork.keys import ref_of
from boxwork.testing.served import served
from tests.serve.wire.images import LAYER, Image, descriptor, push, push_blob, push_manifest

IMAGE = Image({"hello": b"#!/bin/sh\necho hello\n"})
LARGE = bytes(range(256)) * 4096


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["errors"][0]["code"]


def begin(client: httpx.Client, repository: str = "demo/app") -> str:
    answer = client.post(f"/v2/{repository}/blobs/uploads/")
    assert answer.status_code == 202
    assert answer.headers["range"] == "0-0"
    return answer.headers["location"]


def test_the_base_says_that_this_is_a_registry(client: httpx.Client) -> None:
    for path in ("/v2/", "/v2"):
        answer = client.get(path)
        assert (answer.status_code, answer.json()) == (200, {})
        assert answer.headers["docker-distribution-api-version"] == "registry/2.0"


def test_what_was_pushed_is_pulled_by_tag_and_by_digest(client: httpx.Client) -> None:
    push(client, "demo/app", "v1", IMAGE)
    for reference in ("v1", str(IMAGE.ref)):
        answer = client.get(f"/v2/demo/app/manifests/{reference}", headers={"accept": OCI_MANIFEST})
        assert answer.content == IMAGE.manifest
        assert answer.headers["content-type"] == OCI_MANIFEST
        assert answer.headers["docker-content-digest"] == IMAGE.ref
        head = client.head(f"/v2/demo/app/manifests/{reference}")
        assert head.content == b""
        for name in ("content-type", "content-length", "docker-content-digest", "etag"):
            assert head.headers[name] == answer.headers[name]
    blob = client.get(f"/v2/demo/app/blobs/{ref_of(IMAGE.layer)}")
    assert blob.content == IMAGE.layer
    assert blob.headers["docker-content-digest"] == ref_of(IMAGE.layer)


def test_a_manifest_that_the_client_has_is_not_sent_again(client: httpx.Client) -> None:
    push(client, "demo/app", "v1", IMAGE)
    answer = client.get("/v2/demo/app/manifests/v1", headers={"if-none-match": f'"{IMAGE.ref}"'})
    assert (answer.status_code, answer.content) == (304, b"")


@pytest.mark.parametrize("data", [b"small", LARGE], ids=["small", "large"])
def test_a_blob_comes_in_one_piece(client: httpx.Client, work: Any, data: bytes) -> None:
    answer = push_blob(client, "demo/app", data)
    assert answer.status_code == 201
    assert answer.headers["docker-content-digest"] == ref_of(data)
    assert client.get(answer.headers["location"]).content == data
    single = client.post("/v2/demo/app/blobs/uploads/", params={"digest": ref_of(b"1" + data)}, content=b"1" + data)
    assert single.status_code == 201
    assert work.get(ref_of(b"1" + data)) == b"1" + data


@pytest.mark.parametrize("data", [b"0123456789", LARGE], ids=["small", "large"])
def test_a_blob_comes_in_chunks_that_go_on_where_the_last_one_ended(client: httpx.Client, data: bytes) -> None:
    location, half = begin(client), len(data) // 2
    first = client.patch(location, content=data[:half], headers={"content-range": f"0-{half - 1}"})
    assert (first.status_code, first.headers["range"]) == (202, f"0-{half - 1}")
    status = client.get(location)
    assert (status.status_code, status.headers["range"]) == (204, f"0-{half - 1}")
    for wrong in (f"{half + 1}-{len(data)}", f"{half}-{len(data)}", "x-y", "0-4"):
        answer = client.patch(location, content=data[half:], headers={"content-range": wrong})
        assert code(answer) == (416, "BLOB_UPLOAD_INVALID")
    second = client.patch(location, content=iter([data[half:]]))  # of no declared length, as docker sends them
    assert second.headers["range"] == f"0-{len(data) - 1}"
    done = client.put(second.headers["location"], params={"digest": ref_of(data)})
    assert done.status_code == 201
    assert client.get(f"/v2/demo/app/blobs/{ref_of(data)}").content == data
    assert code(client.get(location)) == (404, "BLOB_UPLOAD_UNKNOWN")


def test_bytes_of_another_digest_are_refused_and_gone(client: httpx.Client, work: Any) -> None:
    location = begin(client)
    answer = client.put(location, params={"digest": ref_of(b"something else")}, content=b"bytes of another digest")
    assert code(answer) == (400, "DIGEST_INVALID")
    assert not work.has(ref_of(b"bytes of another digest"))
    assert code(client.put(begin(client), params={"digest": "sha512:00"}, content=b"x")) == (400, "DIGEST_INVALID")
    assert code(client.put(begin(client), content=b"x")) == (400, "DIGEST_INVALID")


def test_an_upload_belongs_to_its_repository_and_can_be_given_up(client: httpx.Client) -> None:
    location = begin(client)
    assert code(client.get(location.replace("demo/app", "demo/other"))) == (404, "BLOB_UPLOAD_UNKNOWN")
    assert client.delete(location).status_code == 204
    assert code(client.patch(location, content=b"x")) == (404, "BLOB_UPLOAD_UNKNOWN")


def test_a_blob_that_is_too_large_is_refused(client: httpx.Client, work: Any) -> None:
    limit = work.settings.integer("serve.blob_bytes_max")
    location = begin(client)
    assert code(client.patch(location, content=bytes(limit + 1))) == (413, "SIZE_INVALID")
    assert client.patch(location, content=bytes(limit)).status_code == 202
    assert code(client.patch(location, content=b"1")) == (413, "SIZE_INVALID")


def test_a_blob_of_the_store_is_mounted_and_another_is_asked_for(client: httpx.Client, work: Any) -> None:
    ref = work.put(b"a thumbnail, say")
    answer = client.post("/v2/demo/app/blobs/uploads/", params={"mount": ref, "from": "demo/other"})
    assert (answer.status_code, answer.headers["docker-content-digest"]) == (201, ref)
    missing = client.post("/v2/demo/app/blobs/uploads/", params={"mount": ref_of(b"?"), "from": "demo/other"})
    assert missing.status_code == 202
    assert client.head(f"/v2/demo/app/blobs/{ref}").headers["content-length"] == str(len(b"a thumbnail, say"))
    assert client.head(f"/v2/demo/app/blobs/{ref_of(b'?')}").status_code == 404


def test_a_part_of_a_blob_is_cut_out(client: httpx.Client, work: Any) -> None:
    ref = work.put(LARGE)
    answer = client.get(f"/v2/demo/app/blobs/{ref}", headers={"range": "bytes=256-511"})
    assert (answer.status_code, answer.content) == (206, LARGE[256:512])
    assert answer.headers["content-range"] == f"bytes 256-511/{len(LARGE)}"


def test_a_private_blob_is_as_if_it_were_not_here(client: httpx.Client, work: Any) -> None:
    pytest.importorskip("cryptography")
    ref = work.spaces.create("ward", owner="dr").put(b"a recording", principal="dr", subject="ada")
    assert client.head(f"/v2/demo/app/blobs/{ref}").status_code == 404
    mount = client.post("/v2/demo/app/blobs/uploads/", params={"mount": ref, "from": "x"})
    assert mount.status_code == 202
    stolen = json.loads(IMAGE.manifest)
    stolen["layers"] = [{"mediaType": LAYER, "digest": str(ref), "size": work.size(ref)}]
    push(client, "demo/app", "v1", IMAGE)
    assert code(push_manifest(client, "demo/app", "x", json.dumps(stolen).encode())) == (400, "MANIFEST_BLOB_UNKNOWN")


def test_a_manifest_needs_what_it_holds(client: httpx.Client) -> None:
    image = Image({"never": b"pushed"})
    assert code(push_manifest(client, "demo/app", "v1", image.manifest)) == (400, "MANIFEST_BLOB_UNKNOWN")
    assert push_blob(client, "demo/app", image.config).status_code == 201
    assert code(push_manifest(client, "demo/app", "v1", image.manifest)) == (400, "MANIFEST_BLOB_UNKNOWN")
    assert push_blob(client, "demo/app", image.layer).status_code == 201
    assert push_manifest(client, "demo/app", "v1", image.manifest).status_code == 201


def changed(**fields: Any) -> bytes:
    return json.dumps({**json.loads(IMAGE.manifest), **fields}).encode()


@pytest.mark.parametrize(
    ("data", "kind", "expected"),
    [
        (b"rubbish", OCI_MANIFEST, "MANIFEST_INVALID"),
        (b"[" * 100_000, OCI_MANIFEST, "MANIFEST_INVALID"),
        (IMAGE.manifest, "text/plain", "MANIFEST_INVALID"),
        (IMAGE.manifest, DOCKER_MANIFEST, "MANIFEST_INVALID"),
        (changed(schemaVersion=1), OCI_MANIFEST, "MANIFEST_INVALID"),
        (changed(manifests=[]), OCI_MANIFEST, "MANIFEST_INVALID"),
        (changed(mediaType=OCI_INDEX), OCI_INDEX, "MANIFEST_INVALID"),
        (changed(layers=[{"mediaType": LAYER, "digest": "sha256:../../etc", "size": 1}]), OCI_MANIFEST,
         "MANIFEST_INVALID"),
        (changed(layers=[{**descriptor(LAYER, IMAGE.layer), "size": 1}]), OCI_MANIFEST, "MANIFEST_INVALID"),
        (bytes(MANIFEST_BYTES_MAX + 1), OCI_MANIFEST, "SIZE_INVALID"),
    ],
    ids=["rubbish", "deep", "text", "header", "version", "both", "neither", "path", "size", "large"],
)  # fmt: skip
def test_what_is_no_manifest_is_refused(client: httpx.Client, data: bytes, kind: str, expected: str) -> None:
    push(client, "demo/app", "v1", IMAGE)
    answer = push_manifest(client, "demo/app", "v2", data, kind)
    assert code(answer)[1] == expected
    assert code(client.get("/v2/demo/app/manifests/v2")) == (404, "MANIFEST_UNKNOWN")


def test_a_manifest_under_a_digest_that_is_not_its_own_is_refused(client: httpx.Client) -> None:
    push(client, "demo/app", "v1", IMAGE)
    answer = push_manifest(client, "demo/app", str(ref_of(b"another")), IMAGE.manifest)
    assert code(answer) == (400, "DIGEST_INVALID")


def test_a_tag_moves_and_the_manifest_before_stays_under_its_digest(client: httpx.Client) -> None:
    push(client, "demo/app", "latest", IMAGE)
    later = Image({"hello": b"later"})
    push(client, "demo/app", "latest", later)
    assert client.get("/v2/demo/app/manifests/latest").content == later.manifest
    assert client.get(f"/v2/demo/app/manifests/{IMAGE.ref}").content == IMAGE.manifest


def test_tags_and_repositories_are_listed_in_pages(client: httpx.Client) -> None:
    for tag in ("v2", "v10", "v1", "latest"):
        push(client, "paged/app", tag, IMAGE)
    for repository in ("paged", "paged-1", "paged/app/deeper"):
        push(client, repository, "v1", IMAGE)
    assert client.get("/v2/paged/app/tags/list").json() == {"name": "paged/app", "tags": ["latest", "v1", "v10", "v2"]}
    first = client.get("/v2/paged/app/tags/list", params={"n": 3})
    assert first.json()["tags"] == ["latest", "v1", "v10"]
    assert first.headers["link"] == '</v2/paged/app/tags/list?n=3&last=v10>; rel="next"'
    second = client.get(first.headers["link"].partition(">")[0][1:])
    assert second.json()["tags"] == ["v2"]
    assert "link" not in second.headers
    assert client.get("/v2/paged/app/tags/list", params={"n": 0}).json()["tags"] == []
    assert code(client.get("/v2/paged/app/tags/list", params={"n": "x"})) == (400, "PAGINATION_NUMBER_INVALID")
    names, last = [], "paged"
    while page := client.get("/v2/_catalog", params={"n": 1, "last": last}).json()["repositories"]:
        names += page
        last = page[-1]
    assert [name for name in names if name.startswith("paged")] == ["paged-1", "paged/app", "paged/app/deeper"]
    assert code(client.get("/v2/nobody/tags/list")) == (404, "NAME_UNKNOWN")
    assert client.get("/v2/_catalog", params={"last": "x" * 5000}).status_code == 200


def test_deleting_takes_a_tag_or_a_manifest_with_all_its_tags(client: httpx.Client) -> None:
    for tag in ("v1", "v2", "v3"):
        push(client, "gone/app", tag, IMAGE)
    assert client.delete("/v2/gone/app/manifests/v1").status_code == 202
    assert client.get("/v2/gone/app/tags/list").json()["tags"] == ["v2", "v3"]
    assert client.get(f"/v2/gone/app/manifests/{IMAGE.ref}").status_code == 200
    assert client.delete(f"/v2/gone/app/manifests/{IMAGE.ref}").status_code == 202
    assert code(client.get("/v2/gone/app/manifests/v2")) == (404, "MANIFEST_UNKNOWN")
    assert code(client.delete(f"/v2/gone/app/manifests/{IMAGE.ref}")) == (404, "MANIFEST_UNKNOWN")
    assert code(client.delete(f"/v2/gone/app/blobs/{ref_of(IMAGE.layer)}")) == (405, "UNSUPPORTED")


def test_what_refers_to_a_manifest_is_found_from_it(client: httpx.Client) -> None:
    push(client, "demo/app", "v1", IMAGE)
    subject = {"subject": descriptor(OCI_MANIFEST, IMAGE.manifest)}
    bill = Image({"sbom": b"{}"}, {**subject, "artifactType": "application/spdx+json", "annotations": {"of": "app"}})
    signature = Image({"signature": b"x"}, subject)
    for each in (bill, signature):
        for data in (each.layer, each.config):
            assert push_blob(client, "demo/app", data).status_code == 201
        answer = push_manifest(client, "demo/app", str(each.ref), each.manifest)
        assert answer.headers["oci-subject"] == IMAGE.ref
    found = client.get(f"/v2/demo/app/referrers/{IMAGE.ref}")
    assert found.headers["content-type"] == OCI_INDEX
    assert {each["digest"] for each in found.json()["manifests"]} == {bill.ref, signature.ref}
    told = client.get(f"/v2/demo/app/referrers/{IMAGE.ref}", params={"artifactType": "application/spdx+json"})
    assert told.headers["oci-filters-applied"] == "artifactType"
    [only] = told.json()["manifests"]
    assert only == {
        "mediaType": OCI_MANIFEST, "digest": bill.ref, "size": len(bill.manifest),
        "artifactType": "application/spdx+json", "annotations": {"of": "app"},
    }  # fmt: skip
    page = client.get(f"/v2/demo/app/referrers/{IMAGE.ref}", params={"n": 1})
    assert len(page.json()["manifests"]) == 1
    following = client.get(page.headers["link"].partition(">")[0][1:])
    assert following.json()["manifests"] != page.json()["manifests"]
    nobody = client.get(f"/v2/demo/app/referrers/{ref_of(b'nobody')}")
    assert (nobody.status_code, nobody.json()["manifests"]) == (200, [])
    client.delete(f"/v2/demo/app/manifests/{bill.ref}")
    left = client.get(f"/v2/demo/app/referrers/{IMAGE.ref}").json()["manifests"]
    assert [each["digest"] for each in left] == [signature.ref]


def test_an_index_needs_its_manifests_in_the_same_repository(client: httpx.Client) -> None:
    push(client, "demo/app", "amd64", IMAGE)
    index = json.dumps(
        {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [descriptor(OCI_MANIFEST, IMAGE.manifest)]}
    ).encode()
    assert code(push_manifest(client, "elsewhere", "v1", index, OCI_INDEX)) == (400, "MANIFEST_BLOB_UNKNOWN")
    assert push_manifest(client, "demo/app", "v1", index, OCI_INDEX).status_code == 201
    assert client.get("/v2/demo/app/manifests/v1").headers["content-type"] == OCI_INDEX


@pytest.mark.parametrize("name", ["UPPER", "a//b", "-a", "a/../b", "a" * 256, "a_-b"])
def test_a_name_that_no_repository_may_have_is_refused(client: httpx.Client, name: str) -> None:
    answer = client.request("POST", f"/v2/{name}/blobs/uploads/".replace("..", "%2e%2e"))
    assert code(answer) == (400, "NAME_INVALID")


def test_an_unknown_address_and_a_wrong_method_answer_in_the_registry_shape(client: httpx.Client) -> None:
    assert code(client.get("/v2/demo/app/nothing")) == (404, "NAME_UNKNOWN")
    wrong = client.post("/v2/demo/app/manifests/v1")
    assert code(wrong) == (405, "UNSUPPORTED")
    assert wrong.json()["errors"][0]["detail"]["request"] == wrong.headers["x-request-id"]


def test_who_may_not_come_in_is_told_in_the_registry_shape(client: httpx.Client) -> None:
    answer = client.get("/v2/", headers={"host": "registry.example.org"})
    assert code(answer) == (403, "DENIED")


def test_only_so_many_uploads_are_open_at_once(make_work: Callable[..., Any]) -> None:
    work = make_work(serve__push_open_max=2)
    with served(work) as server, httpx.Client(base_url=server.url, timeout=10) as client:
        locations = [begin(client) for _ in range(2)]
        full = client.post("/v2/demo/app/blobs/uploads/")
        assert code(full) == (503, "TOOMANYREQUESTS")
        assert full.headers["retry-after"] == "1"
        client.delete(locations[0])
        begin(client)
