"""Measuring a parametric scan: walls, doors, windows and floors that the scanner has made out itself.

The plan is seen from above: x to the right is the scene's X, y up the page is its -Z.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from boxwork.packs.scans import outline
from boxwork.packs.scans.doubt import Sensor, measure
from boxwork.packs.scans.scene import Scene

NAMED = re.compile(r"^(wall|door|window|opening|floor)[_\d]*$", re.IGNORECASE)
GAPS = ("door", "window", "opening")
# A door belongs to the walls whose middle plane is nearer than this.  Unit: metres; thick walls have 0.3.
THROUGH_M = 0.2
# A wall is one of a room's if its middle is nearer than this to the room's outline.  Unit: metres.
BESIDE_M = 0.25
# Heights of a room's walls that differ by more are told.  Unit: metres.
UNEVEN_M = 0.02
# Walls and the floor's outline may differ by this share before it is told.
LOOP_SHARE = 0.03
EDGES_MAX = 2000  # of an outline on a plan
FLOOR = "the floor's surface, seen from above"


@dataclass(slots=True)
class Element:
    """Something the scanner has named: where it begins and ends on the plan, and what its box measures."""

    id: str
    category: str
    name: str
    uuid: str
    begin: Any
    end: Any
    low: float
    high: float
    thickness: float
    how: str
    face_area: float = 0.0
    points: Any = None
    triangles: Any = None
    gaps: list[tuple[Element, tuple[float, float, float, float]]] = field(default_factory=list)

    @property
    def length(self) -> float:
        return float(np.linalg.norm(self.end - self.begin))

    @property
    def height(self) -> float:
        return self.high - self.low


def elements_of(scene: Scene) -> list[Element]:
    """What has a category, by the scanner's label or by its name."""
    found: list[Element] = []
    counts: dict[str, int] = {}
    for node, world, labels in scene.walk():
        if node.mesh < 0:
            continue
        parts = [part for part in node.path.split("/") if NAMED.match(part)]
        category = labels.get("Category") or (NAMED.match(parts[-1]).group(1) if parts else "")  # type: ignore[union-attr]
        if not category:
            continue
        category = category.lower()
        pieces = [piece for piece in scene.meshes[node.mesh].pieces if piece.triangles is not None]
        if not pieces:
            continue
        counts[category] = counts.get(category, 0) + 1
        element = _boxed(node, world, pieces, category)
        element.id = f"{category}-{counts[category]}"
        element.name, element.uuid = labels.get("Name", ""), labels.get("UUID", "")
        found.append(element)
    return found


def _boxed(node: Any, world: Any, pieces: list[Any], category: str) -> Element:
    begins = np.cumsum([0, *(len(piece.points) for piece in pieces)])
    local = np.concatenate([piece.points for piece in pieces]).astype(np.float64)
    triangles = np.concatenate([piece.triangles + begin for piece, begin in zip(pieces, begins, strict=False)])
    points = local @ world[:3, :3] + world[3, :3]
    axes = world[:3, :3] * np.ptp(local, axis=0)[:, None]
    lengths = np.linalg.norm(axes, axis=1)
    upright = np.abs(axes[:, 1]) / np.maximum(lengths, 1e-12)
    tall = int(np.argmax(upright))
    low, high = float(points[:, 1].min()), float(points[:, 1].max())
    flat = np.stack([points[:, 0], -points[:, 2]], axis=1)
    middle = (points.max(axis=0) + points.min(axis=0)) / 2
    if node.shape == "Cube" and upright[tall] > 0.9998 and category != "floor":
        sides = sorted((one for one in range(3) if one != tall), key=lambda one: -lengths[one])
        way = np.array([axes[sides[0]][0], -axes[sides[0]][2]]) / 2
        centre = np.array([middle[0], -middle[2]])
        element = Element("", category, "", "", centre - way, centre + way, low, high, float(lengths[sides[1]]),
                          "the scanner's box: its edges as they stand in the file")  # fmt: skip
        element.face_area = element.length * element.height
    else:
        centre = flat.mean(axis=0)
        _, _, turned = np.linalg.svd(flat - centre, full_matrices=False)
        along, across = (flat - centre) @ turned[0], (flat - centre) @ turned[1]
        element = Element("", category, "", "", centre + turned[0] * along.min(), centre + turned[0] * along.max(),
                          low, high, float(np.ptp(across)),
                          "its mesh: extent along its longest horizontal direction")  # fmt: skip
        corners = points[triangles]
        normal = np.array([turned[1][0], 0, -turned[1][1]])
        area = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]) @ normal / 2
        shared_points, shared = outline.merged(points, triangles)
        element.face_area = float(np.abs(area).sum()) / (2 if outline.is_closed(shared) else 1)
        assert len(shared_points)
    element.points, element.triangles = points, triangles
    return element


def measure_elements(elements: list[Element], sensor: Sensor) -> dict[str, Any]:
    """Walls, openings, rooms, objects, totals, and what does not fit together."""
    walls = [one for one in elements if one.category == "wall"]
    gaps = [one for one in elements if one.category in GAPS]
    floors = [one for one in elements if one.category == "floor"]
    checks: list[str] = []
    belongs = {gap.id: _walls_of(gap, walls) for gap in gaps}
    for gap in gaps:
        if not belongs[gap.id]:
            checks.append(f"{gap.id} lies in no wall; it is taken from no wall's area")
    shapes = [_shape(floor, checks) for floor in floors]
    own = _shared_out(walls, [ring for ring, _ in shapes])
    rooms = [
        _room_of(ring, floor.name or floor.id, floor.uuid, own[at], sensor, checks, FLOOR, area)
        for at, (floor, (ring, area)) in enumerate(zip(floors, shapes, strict=True))
    ]
    if not floors:
        ring = outline.chained(np.array([[wall.begin, wall.end] for wall in walls]))
        if ring is None:
            checks.append("there is no floor, and the walls are not one closed ring: no floor area and no volume")
        else:
            rooms = [_room_of(outline.straightened(ring), "", "", walls, sensor, checks, "the ring of the walls")]
    _loose_ends(walls, checks)
    told = [_wall(wall, sensor) for wall in walls]
    perimeter = sum(room["perimeter"]["value"] for room in rooms)
    length = sum(wall.length for wall in walls)
    if perimeter and abs(length - perimeter) > LOOP_SHARE * perimeter:
        checks.append(
            f"the walls are {length:.2f} m long and the rooms' outlines {perimeter:.2f} m: walls are missing, stand"
            " twice, or two rooms share one"
        )
    return {
        "walls": told,
        "openings": [_gap(gap, belongs[gap.id], sensor) for gap in gaps],
        "rooms": rooms,
        "objects": [_object(one, sensor) for one in elements if one.category not in (*GAPS, "wall", "floor")],
        "totals": _totals(walls, rooms, sensor),
        "checks": checks,
    }


def _walls_of(gap: Element, walls: list[Element]) -> list[str]:
    """The walls that it goes through; it is noted there, too."""
    found, middle = [], (gap.begin + gap.end) / 2
    way = (gap.end - gap.begin) / max(gap.length, 1e-9)
    for wall in walls:
        if wall.length < 1e-6:
            continue
        along = (wall.end - wall.begin) / wall.length
        at = float((middle - wall.begin) @ along)
        beside = abs(float((middle - wall.begin) @ np.array([-along[1], along[0]])))
        if abs(float(way @ along)) > 0.9 and beside < THROUGH_M and 0 < at < wall.length:
            half = gap.length / 2
            wall.gaps.append((gap, (at - half, at + half, gap.low - wall.low, gap.high - wall.low)))
            found.append(wall.id)
    return found


def _wall(wall: Element, sensor: Sensor) -> dict[str, Any]:
    open_area = outline.covered([where for _, where in wall.gaps], wall.length, wall.height)
    doubt = sensor.rectangle(wall.length, wall.height)
    gap_doubt = [sensor.rectangle(gap.length, gap.height) for gap, _ in wall.gaps]
    how = f"{wall.how}; length x height"
    if wall.how.startswith("its mesh"):
        how = "its mesh: the area of its triangles, seen from the front"
    return {
        "id": wall.id, "uuid": wall.uuid, "from": _pair(wall.begin), "to": _pair(wall.end),
        "length": measure(wall.length, "m", wall.how, sensor.length(wall.length)),
        "height": measure(wall.height, "m", wall.how, sensor.length(wall.height)),
        "area": measure(wall.face_area, "m²", how, doubt),
        "net_area": measure(wall.face_area - open_area, "m²", "area without doors, windows and openings, each once",
                            float(np.sqrt(doubt**2 + sum(one**2 for one in gap_doubt)))),
        "openings": [gap.id for gap, _ in wall.gaps],
    }  # fmt: skip


def _gap(gap: Element, walls: list[str], sensor: Sensor) -> dict[str, Any]:
    return {
        "id": gap.id, "kind": gap.category, "uuid": gap.uuid, "walls": walls,
        "from": _pair(gap.begin), "to": _pair(gap.end),
        "width": measure(gap.length, "m", gap.how, sensor.length(gap.length)),
        "height": measure(gap.height, "m", gap.how, sensor.length(gap.height)),
        "area": measure(gap.face_area, "m²", f"{gap.how}; width x height", sensor.rectangle(gap.length, gap.height)),
    }  # fmt: skip


def _object(one: Element, sensor: Sensor) -> dict[str, Any]:
    return {
        "id": one.id, "category": one.category, "uuid": one.uuid, "from": _pair(one.begin), "to": _pair(one.end),
        "length": measure(one.length, "m", one.how, sensor.length(one.length)),
        "width": measure(one.thickness, "m", one.how, sensor.length(one.thickness)),
        "height": measure(one.height, "m", one.how, sensor.length(one.height)),
    }  # fmt: skip


def _shape(floor: Element, checks: list[str]) -> tuple[Any, float]:
    """(outline, area) of a floor."""
    points, triangles = outline.merged(floor.points, floor.triangles)
    flat = np.stack([points[:, 0], -points[:, 2]], axis=1)
    corners = flat[triangles]
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = float(np.abs(first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]).sum() / 2)
    area /= 2 if outline.is_closed(triangles) else 1
    rings = [flat[loop] for loop in outline.loops(outline.rim(triangles))]
    if not rings:  # a slab has no rim: what it covers is its shadow
        rings = [np.array([floor.begin, floor.end, floor.end, floor.begin])]
        checks.append(f"{floor.id} is a slab and not a surface: its outline is not known")
    return outline.straightened(max(rings, key=lambda one: abs(outline.signed_area(one)))), area


def _shared_out(walls: list[Element], rings: list[Any]) -> list[list[Element]]:
    """The walls of each room: those that run from corner to corner of it; others, of every room they stand along."""
    own: list[list[Element]] = [[] for _ in rings]
    for wall in walls:
        costs = [(_misses(wall, ring), at) for at, ring in enumerate(rings)]
        best = min(costs, default=(9.0, 0))
        if best[0] < 2 * BESIDE_M:
            own[best[1]].append(wall)
            continue
        for at, ring in enumerate(rings):
            if _distance((wall.begin + wall.end) / 2, ring) < BESIDE_M:
                own[at].append(wall)
    return own


def _misses(wall: Element, ring: Any) -> float:
    """How far a wall's ends are from those of the edge that it fits best."""
    after = np.roll(ring, -1, axis=0)
    there = np.linalg.norm(ring - wall.begin, axis=1) + np.linalg.norm(after - wall.end, axis=1)
    back = np.linalg.norm(ring - wall.end, axis=1) + np.linalg.norm(after - wall.begin, axis=1)
    return float(min(there.min(), back.min()))


def _room_of(
    ring: Any, name: str, uuid: str, own: list[Element], sensor: Sensor, checks: list[str], how: str,
    area: float | None = None,
) -> dict[str, Any]:  # fmt: skip
    area = abs(outline.signed_area(ring)) if area is None else area
    edges = outline.edge_lengths(ring)
    room: dict[str, Any] = {
        "name": name or "room", "uuid": uuid, "outline": [_pair(one) for one in ring[:EDGES_MAX]],
        "floor_area": measure(area, "m²", how, sensor.polygon(edges, area)),
        "perimeter": measure(sum(edges), "m", f"{how}: its rim", sensor.perimeter(edges)),
    }  # fmt: skip
    if not own:
        checks.append(f"no wall stands along {room['name']}: no height and no volume")
        return room
    heights, weights = np.array([wall.height for wall in own]), np.array([wall.length for wall in own])
    height, spread = float(np.average(heights, weights=weights)), float(np.ptp(heights))
    # any height between the lowest and the highest wall may be the room's
    fit = spread / np.sqrt(12) if spread > UNEVEN_M else 0.0
    if fit:
        checks.append(f"the walls of {room['name']} are {heights.min():.2f} to {heights.max():.2f} m high")
    said = f"the mean of its {len(own)} walls by length"
    room["height"] = measure(height, "m", said, sensor.length(height), float(fit))
    room["volume"] = measure(area * height, "m³", "floor area x height", sensor.prism(edges, area, height), area * fit)
    return room


def _totals(walls: list[Element], rooms: list[dict[str, Any]], sensor: Sensor) -> dict[str, Any]:
    length = sum(wall.length for wall in walls)
    own = float(np.sqrt(sum(sensor.reading**2 for _ in walls)))
    found = {"wall_length": measure(length, "m", "all walls", float(np.hypot(own, sensor.relative * length)))}
    for name, unit, times in (("floor_area", "m²", 2), ("volume", "m³", 3)):
        parts = [room[name] for room in rooms if name in room]
        if parts:
            value = sum(one["value"] for one in parts)
            # what is read is read for each room by itself; the factor is the same for all of them
            apart = [(one["plus_minus"] / 2) ** 2 - (times * sensor.relative * one["value"]) ** 2 for one in parts]
            doubt = np.hypot(np.sqrt(sum(max(0.0, one) for one in apart)), times * sensor.relative * value)
            found[name] = measure(value, unit, "all rooms", float(doubt))
    return found


def _loose_ends(walls: list[Element], checks: list[str]) -> None:
    for wall in walls:
        for end in (wall.begin, wall.end):
            near = min((_to_segment(end, one.begin, one.end) for one in walls if one is not wall), default=9.0)
            if near > outline.CORNER_M:
                checks.append(f"an end of {wall.id} is {near:.2f} m from the next wall: a wall may be missing there")


def _distance(point: Any, ring: Any) -> float:
    return min(_to_segment(point, a, b) for a, b in zip(ring, np.roll(ring, -1, axis=0), strict=True))


def _to_segment(point: Any, begin: Any, end: Any) -> float:
    way = end - begin
    share = float(np.clip((point - begin) @ way / max(float(way @ way), 1e-12), 0, 1))
    return float(np.linalg.norm(point - begin - share * way))


def _pair(point: Any) -> list[float]:
    return [round(float(point[0]), 4), round(float(point[1]), 4)]
