from __future__ import annotations

import io
import threading
import zipfile
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from boxwork import Ref, ref_of
from boxwork.packs.thumbs import PACK
from boxwork.packs.thumbs.gallery import plain_reason
from boxwork.testing.served import served


def rows(client: httpx.Client, **query: Any) -> list[list[str]]:
    return list(client.get("/thumbs/items", params=query).raise_for_status().json()["rows"])


def records(body: bytes) -> dict[int, tuple[int, bytes]]:
    """The records of a pack: position → (status, bytes)."""
    found = {}
    at = 0
    while at < len(body):
        length = int.from_bytes(body[at + 2 : at + 6], "big")
        found[body[at]] = (body[at + 1], body[at + 6 : at + 6 + length])
        at += 6 + length
    assert at == len(body)
    return found


def test_a_thumbnail_is_made_once_and_kept_for_ever(client: httpx.Client, work: Any) -> None:
    ref = rows(client)[1][0]
    first = client.get(f"/thumbs/320/{ref}.webp")
    assert first.status_code == 200
    assert first.headers["content-type"] == "image/webp"
    assert first.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert Image.open(io.BytesIO(first.content)).size[0] == 320
    assert PACK.prepare is not None
    box, inputs = PACK.prepare(Ref.parse(ref))
    assert work.peek(box, **inputs) == ref_of(first.content)  # what `boxwork up` prepares is what the page asks for
    second = client.get(f"/thumbs/320/{ref}.webp")
    assert second.content == first.content
    assert {name: second.headers[name] for name in ("etag", "cache-control", "content-type")} == {
        name: first.headers[name] for name in ("etag", "cache-control", "content-type")
    }
    again = client.get(f"/thumbs/320/{ref}.webp", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_other_spellings_lead_to_the_one_address(client: httpx.Client) -> None:
    ref = rows(client)[1][0]
    for spelling in (f"/thumbs/small/{ref}.webp", f"/thumbs/320/sha256:{ref}.webp", f"/thumbs/0320/{ref}.webp"):
        answer = client.get(spelling)
        assert (answer.status_code, answer.headers["location"]) == (308, f"/thumbs/320/{ref}.webp")


def test_a_broken_picture_says_so_and_is_not_kept(client: httpx.Client) -> None:
    ref = next(row[0] for row in rows(client) if row[1] == "broken.jpg")
    answer = client.get(f"/thumbs/320/{ref}.webp")
    assert (answer.status_code, answer.json()["error"]) == (422, "derivation.failed")
    assert "broken" in answer.json()["message"]
    assert answer.headers["cache-control"] == "no-store"
    unknown = client.get(f"/thumbs/320/{'0' * 64}.webp")
    assert (unknown.status_code, unknown.headers["cache-control"]) == (404, "no-store")


def test_the_list_is_by_position_and_search(client: httpx.Client) -> None:
    page = client.get("/thumbs/items", params={"first": 2, "count": 3}).json()
    assert (page["total"], page["first"], len(page["rows"])) == (12, 2, 3)
    assert [row[1] for row in rows(client, q="SEA wave")] == ["wave 0.png", "wave 1.png", "wave 2.png"]
    assert rows(client, q="nothing like it") == []
    assert client.get("/thumbs/items", params={"first": "-1"}).status_code == 400
    assert client.get("/thumbs/items", params={"count": "1001"}).status_code == 400


def test_a_new_picture_shows_up(client: httpx.Client, work: Any, folder: Path, make: Any) -> None:
    before = client.get("/thumbs/items").json()
    (folder / "new.jpg").write_bytes(make(333, 222))
    list(work.inventory.scan(folder))
    after = client.get("/thumbs/items").json()
    assert (after["total"], after["version"]) == (before["total"] + 1, before["version"] + 1)


def test_a_pack_holds_every_picture_or_its_fault(client: httpx.Client) -> None:
    wanted = rows(client)
    answer = client.get("/thumbs/pack", params={"spec": "320", "refs": ",".join(row[0] for row in wanted)})
    found = records(answer.content)
    assert set(found) == set(range(len(wanted)))
    for at, row in enumerate(wanted):
        status, data = found[at]
        if row[1] == "broken.jpg":
            assert status == 1
            assert b"derivation.failed" in data
        else:
            assert status == 0
            assert client.get(f"/thumbs/320/{row[0]}.webp").content == data
    assert client.get("/thumbs/pack", params={"refs": ""}).status_code == 400
    assert client.get("/thumbs/pack", params={"refs": ",".join([wanted[0][0]] * 65)}).status_code == 400


def test_placeholders_come_by_themselves(client: httpx.Client) -> None:
    ref = rows(client)[1][0]
    client.get(f"/thumbs/320/{ref}.webp")
    for _ in range(100):
        if known := rows(client)[1][2]:
            break
        threading.Event().wait(0.05)
    assert len(known) == 36


def test_about_tells_facts_and_lineage(client: httpx.Client) -> None:
    ref, name, _ = rows(client)[1]
    client.get(f"/thumbs/320/{ref}.webp")
    about = client.get(f"/thumbs/about/{ref}").json()
    assert (about["path"], about["facts"]["width"], about["facts"]["kind"]) == (name, 400, "jpeg")
    assert about["thumb"]["box"] == "thumbnail"
    assert about["thumb"]["duration_ms"] > 0
    assert client.get(f"/why/{about['thumb']['ref']}").json()["key"] == about["thumb"]["key"]
    broken = next(row[0] for row in rows(client) if row[1] == "broken.jpg")
    assert client.get(f"/thumbs/about/{broken}").status_code == 200


def test_a_selection_comes_as_one_file(client: httpx.Client, folder: Path) -> None:
    chosen = rows(client, q="photo-")
    answer = client.post("/thumbs/zip", data={"refs": ",".join(row[0] for row in chosen)})
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        assert sorted(archive.namelist()) == [f"photo-{n}.jpg" for n in range(8)]
        assert archive.read("photo-3.jpg") == (folder / "photo-3.jpg").read_bytes()
    assert client.post("/thumbs/zip", data={"refs": ""}).status_code == 400
    assert client.post("/thumbs/zip", data={"refs": "0" * 64}).status_code == 404


def test_the_page_stands_in_the_shell_and_loads_only_its_own(client: httpx.Client) -> None:
    page = client.get("/")
    assert page.status_code == 200
    assert "script-src 'self'" in page.headers["content-security-policy"]
    for address in ("gallery.js", "grid.js", "source.js", "viewer.js", "gallery.css", "shell.css", "theme.js"):
        path = next(part for part in page.text.split('"') if part.endswith(f"/{address}"))
        loaded = client.get(path)
        assert loaded.status_code == 200
        assert "immutable" in loaded.headers["cache-control"]
        old = client.get(path.replace(path.split("/")[3], "0" * 12))
        assert (old.status_code, old.headers["cache-control"]) == (200, "no-store")
    assert client.get("/static/thumbs/x/../routes.py").status_code == 404


def test_many_who_ask_for_one_cold_picture_cause_one_run(
    server: Any, work: Any, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = rows(client)[2][0]
    submitted = []
    submit = work.submit
    monkeypatch.setattr(work, "submit", lambda *args, **inputs: (submitted.append(args), submit(*args, **inputs))[1])
    answers: list[int] = []

    def ask() -> None:
        with httpx.Client(base_url=server.url, timeout=30) as own:
            answers.append(own.get(f"/thumbs/640x480-cover/{ref}.webp").status_code)

    threads = [threading.Thread(target=ask) for _ in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 24
    assert len(submitted) == 1


def test_items_by_cursor_cover_the_inventory(client: httpx.Client) -> None:
    names: list[str] = []
    after = ""
    while True:
        page = client.get("/items", params={"limit": 5, "after": after}).json()
        names += [item["name"] for item in page["items"]]
        after = page["next"]
        if not after:
            break
    assert len(names) == len(set(names)) == page["count"] == 13
    found = client.get("/items", params={"q": "SEA"}).json()["items"]
    assert len(found) == 3
    one = client.get(f"/items/{found[0]['id']}").json()
    assert one == found[0]
    assert client.get(one["url"]).status_code == 200
    assert client.get("/items/00").status_code == 404
    for query in ({"limit": 0}, {"limit": "x"}, {"after": "zz"}, {"q": "x" * 201}):
        assert client.get("/items", params=query).status_code == 400


def test_openapi_has_every_box_and_route(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    assert {"/blobs", "/blobs/{ref}", "/items", "/healthz", "/why/{name}", "/derive/thumbnail"} <= set(
        document["paths"]
    )
    inputs = document["paths"]["/derive/thumbnail"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert inputs["required"] == ["photo"]
    assert inputs["properties"]["fit"]["enum"] == ["attention", "cover", "inside"]


@pytest.mark.parametrize("prefix", ["/media", ""])
def test_it_mounts_below_another_application(work: Any, prefix: str) -> None:
    from starlette.applications import Starlette
    from starlette.routing import Mount

    from boxwork.serve.http import asgi

    outer = Starlette(routes=[Mount(prefix, app=asgi(work))])
    with served(work, outer) as running, httpx.Client(base_url=running.url + prefix, timeout=20) as client:
        page = client.get("/")
        assert f'data-base="{prefix}"' in page.text
        sheet = next(part for part in page.text.split('"') if part.endswith("/gallery.css"))
        assert sheet.startswith(f"{prefix}/static/")
        assert httpx.get(running.url + sheet).status_code == 200
        ref = rows(client)[1][0]
        assert client.get(f"/thumbs/320/{ref}.webp").status_code == 200
        assert client.get("/healthz").status_code == 200


def test_files_that_could_not_be_read_are_counted_and_listed(client: httpx.Client, work: Any, folder: Path) -> None:
    (folder / "<b>dead.jpg").symlink_to(folder / "nothing")
    list(work.inventory.scan(folder))
    assert 1 == client.get("/thumbs/items?count=0").json()["faults"]
    broken = next(item for item in work.inventory.items(contains="broken").items)
    assert 422 == client.get(f"/thumbs/320/{broken.ref[7:]}.webp").status_code
    assert 2 == client.get("/thumbs/items?count=0").json()["faults"]
    page = client.get("/faults").text
    assert "broken.jpg" in page
    assert "&lt;b&gt;dead.jpg" in page
    (folder / "broken.jpg").unlink()
    (folder / "<b>dead.jpg").unlink()
    list(work.inventory.scan(folder))
    assert 0 == client.get("/thumbs/items?count=0").json()["faults"]
    assert "Every file" in client.get("/faults").text


def test_a_changed_photo_has_a_new_address_and_a_removed_one_leaves(
    client: httpx.Client, work: Any, folder: Path, make: Any
) -> None:
    def rows() -> dict[str, str]:
        return {name: ref for ref, name, _ in client.get("/thumbs/items").json()["rows"]}

    before = rows()
    (folder / "photo-0.jpg").write_bytes(make(390, 300))
    (folder / "photo-1.jpg").unlink()
    list(work.inventory.scan(folder))
    after = rows()
    assert before["photo-0.jpg"] != after["photo-0.jpg"]
    assert "photo-1.jpg" not in after
    assert {name: before[name] for name in after if name != "photo-0.jpg"} == {
        name: after[name] for name in after if name != "photo-0.jpg"
    }
    assert 200 == client.get(f"/thumbs/320/{after['photo-0.jpg']}.webp").status_code


def test_a_reason_is_told_without_names_of_functions_and_times_of_tries() -> None:
    reason = "thumbnail failed with ValueError: it ends early (5 bytes) (1.2 s ago; it runs again after derive.x = 2 s)"
    assert "it ends early (5 bytes)" == plain_reason(reason)
    assert "the worker of thumbnail was ended by SIGSEGV" == plain_reason(
        "the worker of thumbnail was ended by SIGSEGV"
    )
