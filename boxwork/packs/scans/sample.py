"""Made-up scans whose truth is known: a flat as RoomPlan's parametric export has it, and a room as a noisy mesh.

They are made of a plan, so that what is measured in them can be compared with what they were made of.
"""

from __future__ import annotations

import math
import tempfile
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Gap:
    """A door, a window or an opening: in which wall, how far along it its middle is, its size, its sill."""

    kind: str
    wall: int
    along: float
    width: float
    height: float
    sill: float = 0.0


@dataclass(frozen=True, slots=True)
class Room:
    """A floor plan: corners against the clock as seen from above (X to the right, Y up the page), in metres."""

    name: str
    corners: tuple[Point, ...]
    height: float = 2.5
    gaps: tuple[Gap, ...] = ()


@dataclass(frozen=True, slots=True)
class Form:
    """How it is written: units, axis, turned around the vertical, every element in a file of its own or not."""

    up: str = "Y"
    metres_per_unit: float = 1.0
    yaw: float = 0.0
    apart: bool = True
    scale: float = field(default=1.0)


FLAT = (
    Room(
        "Living room",
        ((0, 0), (5.2, 0), (5.2, 2.4), (3.9, 2.4), (3.9, 4.1), (0, 4.1)),
        2.62,
        (
            Gap("Door", 1, 1.2, 0.94, 2.05),
            Gap("Window", 0, 1.5, 1.6, 1.35, 0.85),
            Gap("Window", 0, 3.8, 1.2, 1.35, 0.85),
            Gap("Opening", 4, 2.9, 1.4, 2.2),
        ),
    ),
    Room(
        "Kitchen",
        ((0, 4.1), (3.9, 4.1), (3.9, 6.9), (0, 6.9)),
        2.62,
        (Gap("Window", 2, 1.9, 1.1, 1.1, 1.0), Gap("Opening", 0, 1.0, 1.4, 2.2)),
    ),
    Room(
        "Bedroom",
        ((5.2, 0), (9.0, 0), (9.0, 4.4), (5.2, 4.4)),
        2.55,
        (Gap("Door", 3, 3.2, 0.94, 2.05), Gap("Window", 1, 2.2, 1.8, 1.35, 0.85)),
    ),
)
L_ROOM = Room("L", ((0, 0), (6, 0), (6, 3), (2.5, 3), (2.5, 5), (0, 5)), 2.7)


def parametric(rooms: Sequence[Room] = FLAT, form: Form | None = None) -> bytes:
    """A USDZ of walls, doors, windows, openings and floors: unit cubes with a transform and a scale."""
    from pxr import Sdf, Usd, UsdGeom, UsdUtils

    form = form or Form()
    with tempfile.TemporaryDirectory(prefix="boxwork-sample-") as folder:
        path = Path(folder) / "Room.usda"
        stage = Usd.Stage.CreateNew(str(path))
        _metadata(stage, form)
        arch = UsdGeom.Xform.Define(stage, "/Room/Parametric_grp/Arch_grp")
        stage.SetDefaultPrim(stage.GetPrimAtPath("/Room"))
        counts: dict[str, int] = {}

        def element(category: str) -> tuple[Any, Any]:
            number = counts[category] = counts.get(category, -1) + 1
            name = f"{category}{number}"
            home = stage
            if form.apart:
                home = Usd.Stage.CreateNew(str(Path(folder) / f"{name}.usda"))
                _metadata(home, form)
            prim = UsdGeom.Xform.Define(home, f"/{name}" if form.apart else f"{arch.GetPath()}/{name}")
            prim.GetPrim().SetCustomDataByKey("Category", category)
            prim.GetPrim().SetCustomDataByKey("UUID", str(uuid.uuid5(uuid.NAMESPACE_OID, name)).upper())
            if form.apart:
                home.SetDefaultPrim(prim.GetPrim())
                home.GetRootLayer().Save()
                holder = stage.DefinePrim(f"{arch.GetPath()}/{name}")
                holder.GetReferences().AddReference(Sdf.Reference(f"./{name}.usda"))
            return home, prim

        for room in rooms:
            for at, (begin, end) in enumerate(zip(room.corners, (*room.corners[1:], room.corners[0]), strict=True)):
                _cube(*element("Wall"), begin, end, 0.0, room.height, form)
                for gap in room.gaps:
                    if gap.wall == at:
                        _cube(*element(gap.kind), *_part(begin, end, gap), gap.sill, gap.height, form)
            home, prim = element("Floor")
            prim.GetPrim().SetCustomDataByKey("Name", room.name)
            mesh = UsdGeom.Mesh.Define(home, prim.GetPath().AppendChild("Surface"))
            points = np.array([_world(corner, 0.0, form) for corner in room.corners])
            _fill(mesh, points, [len(points)], list(range(len(points))))
            if form.apart:
                home.GetRootLayer().Save()
        stage.GetRootLayer().Save()
        packed = Path(folder) / "Room.usdz"
        if not UsdUtils.CreateNewUsdzPackage(str(path), str(packed)):
            raise RuntimeError("USD did not write the package")
        return packed.read_bytes()


def noisy_mesh(
    room: Room = L_ROOM, form: Form | None = None, *, noise: float = 0.008, step: float = 0.12, seed: int = 1,
    missing: float = 0.0, clutter: int = 0,
) -> bytes:  # fmt: skip
    """A USDZ with one mesh of the room's inside as a LiDAR sees it.

    noise is the standard deviation of every point in metres, step about an edge of a triangle, missing the share of
    triangles that the scanner did not see, clutter how many boxes stand on the floor.
    """
    from pxr import Usd, UsdGeom, UsdUtils

    form = form or Form()
    points, triangles = room_shell(room, step)
    chance = np.random.default_rng(seed)
    points = points + chance.normal(0, noise, points.shape) if noise else points
    if missing:
        triangles = triangles[chance.random(len(triangles)) >= missing]
    for _ in range(clutter):
        middle = np.array(room.corners).min(axis=0) + 0.6 + chance.random(2) * 0.5
        size = 0.3 + chance.random(3) * 0.5
        from boxwork.packs.scans.solids import cube

        box, faces, _ = cube(1.0)
        box = box * size + (middle[0], middle[1], size[2] / 2)
        triangles = np.concatenate([triangles, faces + len(points)])
        points = np.concatenate([points, box])
    with tempfile.TemporaryDirectory(prefix="boxwork-sample-") as folder:
        path = Path(folder) / "Mesh.usdc"
        stage = Usd.Stage.CreateNew(str(path))
        _metadata(stage, form)
        UsdGeom.Xform.Define(stage, "/Room")
        stage.SetDefaultPrim(stage.GetPrimAtPath("/Room"))
        mesh = UsdGeom.Mesh.Define(stage, "/Room/Mesh")
        world = np.stack([_world((x, y), z, form) for x, y, z in points])
        _fill(mesh, world, [3] * len(triangles), triangles.reshape(-1))
        stage.GetRootLayer().Save()
        packed = Path(folder) / "Mesh.usdz"
        if not UsdUtils.CreateNewUsdzPackage(str(path), str(packed)):
            raise RuntimeError("USD did not write the package")
        return packed.read_bytes()


def room_shell(room: Room, step: float) -> tuple[Any, Any]:
    """Points and triangles of floor, ceiling and walls, looking inwards, Z up; points on edges are shared."""
    from boxwork.packs.scans.polygons import cut

    corners = np.array(room.corners)
    count = np.array([len(corners)])
    flat = np.column_stack([corners, np.zeros(len(corners))])
    parts, _ = cut(count, np.arange(len(corners)), flat, [], False)
    rows = max(1, round(room.height / step))
    quads: list[Any] = []
    for begin, end in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        columns = max(1, round(float(np.linalg.norm(end - begin)) / step))
        along = begin + (end - begin) * np.linspace(0, 1, columns + 1)[:, None]
        grid = np.stack([np.column_stack([along, np.full(columns + 1, z)])
                         for z in np.linspace(0, room.height, rows + 1)])  # fmt: skip
        a, b, c, d = grid[:-1, :-1], grid[:-1, 1:], grid[1:, 1:], grid[1:, :-1]
        for one in ((a, c, b), (a, d, c)):
            quads.append(np.stack(one, axis=2).reshape(-1, 3, 3))
    floor = flat[parts]
    while np.linalg.norm(floor[:, 0] - floor[:, 1], axis=1).max() > step:
        floor = _halved(floor)
    ceiling = floor[:, ::-1] + (0, 0, room.height)
    soup = np.concatenate([floor, ceiling, *quads])
    _, first, index = np.unique(np.round(soup.reshape(-1, 3), 6), axis=0, return_index=True, return_inverse=True)
    return soup.reshape(-1, 3)[first], index.reshape(-1, 3)


def _halved(triangles: Any) -> Any:
    """Every triangle as four."""
    a, b, c = triangles[:, 0], triangles[:, 1], triangles[:, 2]
    ab, bc, ca = (a + b) / 2, (b + c) / 2, (c + a) / 2
    parts = ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))
    return np.concatenate([np.stack(part, axis=1) for part in parts])


def _part(begin: Point, end: Point, gap: Gap) -> tuple[Point, Point]:
    way = np.subtract(end, begin)
    way = way / np.linalg.norm(way)
    low, high = (np.array(begin) + way * (gap.along + side * gap.width / 2) for side in (-1, 1))
    return (float(low[0]), float(low[1])), (float(high[0]), float(high[1]))


def _world(corner: Point, height: float, form: Form) -> tuple[float, float, float]:
    """From the plan to the file: turned, in its units, along its axes."""
    turn, unit = math.radians(form.yaw), form.scale / form.metres_per_unit
    x = (corner[0] * math.cos(turn) - corner[1] * math.sin(turn)) * unit
    y = (corner[0] * math.sin(turn) + corner[1] * math.cos(turn)) * unit
    return (x, y, height * unit) if form.up == "Z" else (x, height * unit, -y)


def _cube(home: Any, prim: Any, begin: Point, end: Point, sill: float, height: float, form: Form) -> None:
    from pxr import Gf, UsdGeom

    low, high = (np.array(_world(one, sill, form)) for one in (begin, end))
    top = np.array(_world(begin, sill + height, form))
    along, up = high - low, top - low
    across = np.cross(along / np.linalg.norm(along), up / np.linalg.norm(up))
    middle = (low + high) / 2 + up / 2
    place = np.eye(4)
    place[0, :3], place[1, :3], place[2, :3] = along / np.linalg.norm(along), up / np.linalg.norm(up), across
    place[3, :3] = middle
    cube = UsdGeom.Cube.Define(home, prim.GetPath().AppendChild("Box"))
    cube.CreateSizeAttr(1.0)
    cube.AddTransformOp().Set(Gf.Matrix4d(place.tolist()))
    cube.AddScaleOp().Set(Gf.Vec3f(float(np.linalg.norm(along)), float(np.linalg.norm(up)), 1e-4))
    if home.GetRootLayer() is not None:
        home.GetRootLayer().Save()


def _metadata(stage: Any, form: Form) -> None:
    from pxr import UsdGeom

    UsdGeom.SetStageMetersPerUnit(stage, form.metres_per_unit)
    UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.z if form.up == "Z" else UsdGeom.Tokens.y)


def _fill(mesh: Any, points: Any, counts: Any, indices: Any) -> None:
    from pxr import Vt

    mesh.CreatePointsAttr(Vt.Vec3fArray.FromNumpy(np.ascontiguousarray(points, dtype=np.float32)))
    mesh.CreateFaceVertexCountsAttr(Vt.IntArray.FromNumpy(np.asarray(counts, dtype=np.int32)))
    mesh.CreateFaceVertexIndicesAttr(Vt.IntArray.FromNumpy(np.ascontiguousarray(indices, dtype=np.int32)))
    mesh.CreateSubdivisionSchemeAttr("none")


def write_samples(folder: Path) -> list[Path]:
    """The flat and the room as files."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for name, data in (("flat.usdz", parametric()), ("room-mesh.usdz", noisy_mesh(missing=0.02, clutter=2))):
        (folder / name).write_bytes(data)
        made.append(folder / name)
    return made
