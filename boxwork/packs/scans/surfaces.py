"""Measuring a mesh scan: its extent, floor and ceiling, the area inside its walls, its volume.  Y is up.

Floor and ceiling are the lowest and the highest level at which much of the surface is horizontal.  The area is that
of horizontal cuts through the walls: where the scanner missed a piece the cut is closed in a straight line.  Nothing
here assumes right angles.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from boxwork.packs.scans import outline
from boxwork.packs.scans.doubt import Sensor, measure
from boxwork.packs.scans.scene import Scene

# Within so much of horizontal a triangle is a piece of floor or ceiling.  Noise of 1 cm on edges of 8 cm tilts by 15.
LEVEL_DEGREES = 30.0
BIN_M = 0.02  # of the histogram of heights
# A level has at least this share of the area of the largest one: a table has less.
LEVEL_SHARE = 0.25
NEAR_M = 0.06  # around a level, triangles belong to it
ROOM_M_MIN = 1.5  # between floor and ceiling
# Errors of a scan hang together over about this distance, so a surface has one free reading for each such square.
PATCH_M = 0.25
# The cuts, as shares of the height: above most furniture, below lamps.
CUTS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9)
LOOSE_MAX = 3000  # ends of a cut that are looked for partners; more is no wall any more
CLOSED_SHARE_MAX = 0.3  # of a cut's length may be straight lines where the scanner saw nothing
SPREAD_TO_SD = 1.4826  # from the median of deviations to a standard deviation


def measure_surface(scene: Scene, sensor: Sensor) -> dict[str, Any]:
    """Raises `ValueError` if there is no triangle."""
    points, triangles = joined(scene)
    corners = points[triangles]
    checks: list[str] = []
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    areas = np.linalg.norm(across, axis=1) / 2
    levels = _levels(corners, across, areas)
    noise = max((level[2] for level in levels), default=0.0)
    found: dict[str, Any] = {"extent": _extent(points, sensor, noise), "rooms": [], "checks": checks}
    found["surface_area"] = measure(
        float(areas.sum()), "m²", "all triangles; roughness counts", 2 * sensor.relative * float(areas.sum())
    )
    closed = outline.is_closed(triangles)
    if closed:
        size = float(np.einsum("ij,ij->i", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum() / 6)
        # a surface that lies wrong by u everywhere has a volume that is wrong by area x u / √patches
        patches = max(1.0, float(areas.sum()) / PATCH_M**2)
        fit = float(areas.sum()) * noise / math.sqrt(patches)
        wrong = math.hypot(float(areas.sum()) * sensor.reading / math.sqrt(2 * 6), 3 * sensor.relative * abs(size))
        found["volume"] = measure(abs(size), "m³", "the mesh is closed: what its surface encloses", wrong, fit)
    room = _room(corners, levels, sensor, checks)
    if room:
        found["rooms"] = [room]
        if not closed and "volume" in room:
            found["volume"] = room["volume"]
    if not closed:
        checks.append("the mesh is not closed: its volume is floor area x height, if both were found")
    return found


def joined(scene: Scene) -> tuple[Any, Any]:
    """All triangles of the scene in one, in metres, with points of equal place as one."""
    points, triangles, begin = [], [], 0
    for node, world, _ in scene.walk():
        for piece in scene.meshes[node.mesh].pieces if node.mesh >= 0 else ():
            if piece.triangles is None:
                continue
            moved = piece.points.astype(np.float64) @ world[:3, :3] + world[3, :3]
            mirrored = np.linalg.det(world[:3, :3]) < 0
            triangles.append((piece.triangles[:, ::-1] if mirrored else piece.triangles) + begin)
            points.append(moved)
            begin += len(moved)
    if not triangles:
        raise ValueError("there is no surface in this scan: nothing can be measured")
    return outline.merged(np.concatenate(points), np.concatenate(triangles))


def _extent(points: Any, sensor: Sensor, noise: float) -> dict[str, Any]:
    """Along the file's axes, and along the horizontal directions in which it is smallest."""
    size = np.ptp(points, axis=0)
    how = "from the outermost point to the outermost point along the file's axis"
    found: dict[str, Any] = {
        name: measure(float(one), "m", how, sensor.length(float(one)), noise * math.sqrt(2))
        for name, one in zip(("x", "height", "z"), size, strict=True)
    }
    flat = points[:, [0, 2]]
    best = (math.inf, 0.0, 0.0)
    for degrees in np.arange(0, 90, 0.5):
        turn = math.radians(float(degrees))
        along = np.ptp(flat @ (math.cos(turn), math.sin(turn)))
        beside = np.ptp(flat @ (-math.sin(turn), math.cos(turn)))
        best = min(best, (float(along * beside), float(max(along, beside)), float(min(along, beside))))
    how = "of the smallest upright box around it, turned by half degrees"
    found["length"] = measure(best[1], "m", how, sensor.length(best[1]), noise * math.sqrt(2))
    found["width"] = measure(best[2], "m", how, sensor.length(best[2]), noise * math.sqrt(2))
    return found


def _levels(corners: Any, across: Any, areas: Any) -> list[tuple[float, float, float]]:
    """(height, standard deviation of it, spread of the surface around it) of floor and ceiling; fewer if not seen."""
    upright = np.abs(across[:, 1]) / np.maximum(2 * areas, 1e-15)
    lies = upright > math.cos(math.radians(LEVEL_DEGREES))
    if not lies.any():
        return []
    heights, weights = corners[lies, :, 1].mean(axis=1), areas[lies]
    places = corners[lies].mean(axis=1)[:, [0, 2]]
    low, high = float(heights.min()), float(heights.max())
    bins = max(1, math.ceil((high - low) / BIN_M))
    if bins > 100_000:  # a building a kilometre high: not a room, and not worth the memory
        return []
    counts = np.bincount(((heights - low) / BIN_M).astype(np.int64).clip(0, bins - 1), weights, bins)
    counts = np.convolve(counts, (1, 1, 1), "same")
    strong = np.flatnonzero(counts >= LEVEL_SHARE * counts.max())
    found: list[tuple[float, float, float]] = []
    for at, way in ((strong[0], 1), (strong[-1], -1)):
        while 0 <= at + way < bins and counts[at + way] > counts[at]:
            at += way
        level = _settled(heights, weights, places, low + (at + 0.5) * BIN_M)
        if not found or abs(level[0] - found[0][0]) > ROOM_M_MIN:
            found.append(level)
    return found


def _settled(heights: Any, weights: Any, places: Any, level: float) -> tuple[float, float, float]:
    for _ in range(3):
        near = np.abs(heights - level) < NEAR_M
        level = _median(heights[near], weights[near])
    spread = SPREAD_TO_SD * _median(np.abs(heights[near] - level), weights[near])
    patches = len(np.unique(np.floor(places[near] / PATCH_M).astype(np.int64), axis=0))
    # the median of n readings has 1.25 times the standard deviation of their mean
    return level, 1.25 * spread / math.sqrt(max(1, patches)), spread


def _median(values: Any, weights: Any) -> float:
    order = np.argsort(values)
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, total[-1] / 2)])


def _room(corners: Any, levels: list[tuple[float, float, float]], sensor: Sensor, checks: list[str]) -> dict[str, Any]:
    if len(levels) < 2:
        checks.append("floor and ceiling were not both found: no height, no floor area")
        return {}
    (floor, floor_sd, _), (ceiling, ceiling_sd, _) = levels
    height, fit = ceiling - floor, math.hypot(floor_sd, ceiling_sd)
    how = "from the level of the floor to that of the ceiling (medians of what is horizontal there)"
    room: dict[str, Any] = {"name": "room", "height": measure(height, "m", how, sensor.length(height), fit)}
    cuts = [cut_area(corners, floor + share * height) for share in CUTS]
    good = [one for one in cuts if one is not None]
    if len(good) < len(CUTS) / 2:
        checks.append("the walls do not go around: too much of every horizontal cut was not seen; no floor area")
        return room
    areas = np.array([one[0] for one in good])
    area = float(np.median(areas))
    spread = SPREAD_TO_SD * float(np.median(np.abs(areas - area)))
    best = min(good, key=lambda one: abs(one[0] - area))
    closed = float(np.median([one[1] for one in good]))
    if closed > 0.02:
        checks.append(f"{closed:.0%} of the walls' length was not seen at the height of the cuts; drawn straight")
    ring = best[2]
    room["outline"] = [[round(float(x), 4), round(float(-z), 4)] for x, z in ring]
    # of a ragged outline the sensor's part is that of the four walls of a square of its area
    edges = [math.sqrt(area)] * 4
    how = f"the median of {len(good)} horizontal cuts through the walls"
    room["floor_area"] = measure(area, "m²", how, sensor.polygon(edges, area), spread)
    doubt = math.hypot(height * spread, area * fit)
    room["volume"] = measure(area * height, "m³", "floor area x height", sensor.prism(edges, area, height), doubt)
    return room


def cut_area(corners: Any, level: float) -> tuple[float, float, Any] | None:
    """(area, share of the length that had to be closed, largest ring (k, 2) of x and z) of a horizontal cut."""
    above = corners[:, :, 1] > level
    crossing = corners[above.any(axis=1) & ~above.all(axis=1)]
    if not len(crossing):
        return None
    begins, ends = _segments(crossing, level)
    numbers = np.unique(np.round(np.concatenate([begins, ends]), 6), axis=0, return_inverse=True)[1].reshape(-1)
    first, last = numbers[: len(begins)], numbers[len(begins) :]
    size = int(numbers.max()) + 1
    places = np.zeros((size, 2))
    places[numbers] = np.concatenate([begins, ends])
    surplus = np.bincount(last, minlength=size) - np.bincount(first, minlength=size)
    loose_ends = np.repeat(np.arange(size), np.maximum(surplus, 0))
    loose_begins = np.repeat(np.arange(size), np.maximum(-surplus, 0))
    if len(loose_ends) > LOOSE_MAX:
        return None
    joints = _paired(places, loose_ends, loose_begins)
    seen = float(np.linalg.norm(ends - begins, axis=1).sum())
    drawn = sum(float(np.linalg.norm(places[a] - places[b])) for a, b in joints)
    if drawn > CLOSED_SHARE_MAX * (seen + drawn):
        return None
    edges = np.concatenate([np.stack([first, last], axis=1), np.array(joints, np.int64).reshape(-1, 2)])
    edges = edges[edges[:, 0] != edges[:, 1]]
    middle = places.mean(axis=0)
    a, b = places[edges[:, 0]] - middle, places[edges[:, 1]] - middle
    area = abs(float((a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum() / 2))
    rings = [places[loop] for loop in outline.loops(edges)]
    if not rings or area <= 0:
        return None
    return area, drawn / (seen + drawn), max(rings, key=lambda ring: abs(outline.signed_area(ring)))


def _segments(crossing: Any, level: float) -> tuple[Any, Any]:
    """Where triangles meet the level: (from, to) in x and z, with the wall's inside always on one hand."""
    # each has one corner alone on its side: turn it to the front, which keeps the triangle's hand
    above = crossing[:, :, 1] > level
    alone_is_above = above.sum(axis=1) == 1
    alone = np.argmax(np.where(alone_is_above[:, None], above, ~above), axis=1)
    order = (alone[:, None] + np.arange(3)) % 3
    turned = np.take_along_axis(crossing, order[:, :, None], axis=1)

    def met(one: Any, other: Any) -> Any:
        # from the lower to the upper corner, so that two triangles of one edge meet at the very same point
        swap = (one[:, 1] > other[:, 1])[:, None]
        low, high = np.where(swap, other, one), np.where(swap, one, other)
        share = (level - low[:, 1]) / (high[:, 1] - low[:, 1])
        return (low + (high - low) * share[:, None])[:, [0, 2]]

    first, second = met(turned[:, 0], turned[:, 1]), met(turned[:, 0], turned[:, 2])
    flip = alone_is_above[:, None]
    return np.where(flip, first, second), np.where(flip, second, first)


def _paired(places: Any, ends: Any, begins: Any) -> list[tuple[int, int]]:
    """Every loose end with a loose beginning, the nearest first."""
    if not len(ends):
        return []
    far = np.linalg.norm(places[ends][:, None] - places[begins][None], axis=2)
    pairs: list[tuple[int, int]] = []
    taken_ends, taken_begins = np.zeros(len(ends), bool), np.zeros(len(begins), bool)
    for at in np.argsort(far, axis=None, kind="stable"):
        end, begin = divmod(int(at), len(begins))
        if not taken_ends[end] and not taken_begins[begin]:
            taken_ends[end] = taken_begins[begin] = True
            pairs.append((int(ends[end]), int(begins[begin])))
            if len(pairs) == len(ends):
                break
    return pairs
