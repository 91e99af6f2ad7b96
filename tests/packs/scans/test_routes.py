from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
import trimesh

import boxwork
from boxwork import ref_of
from boxwork.packs.scans import PACK, sample
from boxwork.packs.scans.converting import scan_to_glb
from boxwork.packs.scans.shelf import plain_name
from boxwork.testing.served import served
from tests.packs.scans.stages import SCENES


def sent(client: httpx.Client, scan: bytes, name: str = "flat.usdz") -> str:
    answer = client.post("/scans", params={"name": name}, content=scan)
    assert 201 == answer.status_code, answer.text
    ref: str = answer.json()["ref"]
    return ref.removeprefix("sha256:")


def test_a_scan_is_sent_converted_and_measured(client: httpx.Client, flat: bytes) -> None:
    ref = sent(client, flat)
    assert ref == ref_of(flat).hex
    glb = client.get(f"/scans/{ref}.glb", params={"profile": "unity"})
    assert (200, "model/gltf-binary") == (glb.status_code, glb.headers["content-type"])
    assert 'filename="flat-unity.glb"' in glb.headers["content-disposition"]
    assert 272 == len(trimesh.load(io.BytesIO(glb.content), file_type="glb").to_geometry().faces)
    again = client.get(f"/scans/{ref}.glb", params={"profile": "unity"}, headers={"if-none-match": glb.headers["etag"]})
    assert (304, b"") == (again.status_code, again.content)
    found = client.get(f"/scans/{ref}/measures").json()
    assert ["Living room", "Kitchen", "Bedroom"] == [room["name"] for room in found["rooms"]]
    table = client.get(f"/scans/{ref}/measures", params={"format": "csv"})
    assert table.text.startswith("what,measure,value,plus_minus,unit,how,uuid\n")
    assert [] == client.get(f"/scans/{ref}/report").json()["lost"]
    assert [("flat.usdz", len(flat))] == [(one["name"], one["bytes"]) for one in client.get("/scans/items").json()]


def test_the_page_of_a_scan_has_plan_measures_losses_and_lineage(client: httpx.Client, flat: bytes) -> None:
    page = client.get(f"/scans/{sent(client, flat)}").text
    for part in ('class="plan"', 'class="view walls"', "Living room", "± ", "scan_measures", "Everything in the scan"):
        assert part in page
    page = client.get(f"/scans/{sent(client, SCENES['with_losses']()[0], 'odd.usda')}").text
    assert "8 things did not come along" in page
    assert "SphereLight: lights are not carried over" in page
    listed = client.get("/scans").text
    assert listed.index("odd.usda") < listed.index("flat.usdz")


def test_a_scan_that_cannot_be_read_says_why_on_its_page_and_in_the_api(client: httpx.Client) -> None:
    ref = sent(client, b'#usda 1.0\ndef Mesh "M" {', "torn.usda")
    answer = client.get(f"/scans/{ref}.glb")
    assert (422, "derivation.failed") == (answer.status_code, answer.json()["error"])
    assert "the USDA cannot be read" in answer.json()["message"]
    page = client.get(f"/scans/{ref}")
    assert 200 == page.status_code
    assert "This scan cannot be read" in page.text


@pytest.mark.parametrize(
    ("name", "body", "status", "said"),
    [
        ("a.usdz", b"solid cube", 400, "a.usdz: not a USD scan"),
        ("", b"#usda 1.0\n", 400, "give the scan a name"),
        ("a.usda", b"", 400, "it has no bytes"),
        ("a.usda", b"#usda 1.0\n" + b" " * 5000, 413, "at most 4,096 (setting scans.bytes_max)"),
    ],
)
def test_what_is_no_scan_is_refused_with_the_reason(
    tmp_path: Path, name: str, body: bytes, status: int, said: str
) -> None:
    with (
        boxwork.open(tmp_path / "small", settings={"scans.bytes_max": 4096}) as work,
        served(work) as server,
        httpx.Client(base_url=server.url, timeout=20) as client,
    ):
        answer = client.post("/scans", params={"name": name}, content=body)
        assert status == answer.status_code
        assert said in answer.json()["message"]
        assert [] == client.get("/scans/items").json()


def test_wrong_questions_get_clear_answers(client: httpx.Client, flat: bytes) -> None:
    ref = sent(client, flat)
    assert "gltf or unity" in client.get(f"/scans/{ref}.glb", params={"profile": "blender"}).json()["message"]
    assert "json or csv" in client.get(f"/scans/{ref}/measures", params={"format": "pdf"}).json()["message"]
    assert 404 == client.get(f"/scans/{'0' * 64}.glb").status_code
    assert 400 == client.get("/scans/nonsense/measures").status_code


def test_more_scans_at_once_than_are_allowed_are_told_to_come_again(tmp_path: Path, flat: bytes) -> None:
    with (
        boxwork.open(tmp_path / "busy", settings={"scans.at_once": 0}) as work,
        served(work) as server,
        httpx.Client(base_url=server.url, timeout=20) as client,
    ):
        answer = client.post("/scans", params={"name": "a.usdz"}, content=flat)
        assert (503, "busy") == (answer.status_code, answer.json()["error"])
        assert "scans.at_once" in answer.json()["message"]


def test_a_scan_in_a_folder_is_listed_where_it_lies(work: Any, tmp_path: Path, flat: bytes) -> None:
    folder = tmp_path / "rooms"
    folder.mkdir()
    (folder / "hall.USDZ").write_bytes(flat)
    (folder / "notes.txt").write_text("no scan", "utf-8")
    list(work.inventory.scan(folder))
    found = work.part("scans").listed()
    assert ["hall.USDZ"] == [scan.name for scan in found]
    assert PACK.prepare is not None
    box, inputs = PACK.prepare(found[0].ref)
    made = work.derive(box, **inputs)  # what `boxwork up DIR` makes ahead is what the page asks for
    assert made == work.peek(scan_to_glb, scan=found[0].ref, profile="gltf") == work.part("scans").glb(found[0].ref)


def test_a_scan_that_was_acknowledged_is_there_when_the_node_opens_again(tmp_path: Path, flat: bytes) -> None:
    with boxwork.open(tmp_path / "data") as work:
        ref = work.part("scans").take(flat, "flat.usdz").ref
    with boxwork.open(tmp_path / "data") as work:
        assert [(ref, "flat.usdz")] == [(one.ref, one.name) for one in work.part("scans").listed()]
        assert flat == work.get(ref)


def test_the_sensor_of_the_settings_is_the_one_of_the_measures(tmp_path: Path, flat: bytes) -> None:
    with boxwork.open(tmp_path / "data", settings={"scans.reading_sd_m": 0.03}) as work:
        shelf = work.part("scans")
        found = json.loads(work.get(shelf.measures(work.put(flat))))
    assert 0.03 == found["sensor"]["reading_sd_m"]


def test_names_of_files_are_plain() -> None:
    assert ["b.usdz", "c.usdz", "é.usdz"] == [plain_name(one) for one in ("/a/b.usdz", "C:\\c.usdz", "é\0.usdz")]
    assert 200 == len(plain_name("x" * 900))


def test_samples_are_written(tmp_path: Path) -> None:
    assert ["flat.usdz", "room-mesh.usdz"] == [one.name for one in sample.write_samples(tmp_path / "s")]
