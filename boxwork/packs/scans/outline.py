"""Flat geometry for plans: outlines of triangles, chains of walls, rectangles that lie over one another."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

# Ends of walls nearer than this are one corner.  Unit: metres; scanners close corners to some mm, or not at all.
CORNER_M = 0.1


def merged(points: Any, triangles: Any) -> tuple[Any, Any]:
    """The same triangles with points of equal place as one."""
    _, first, index = np.unique(np.round(points, 6), axis=0, return_index=True, return_inverse=True)
    return points[first], index.reshape(-1)[triangles]


def rim(triangles: Any) -> Any:
    """The edges (from, to) of triangles that only one triangle has."""
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    edges = edges[edges[:, 0] != edges[:, 1]]
    code = np.sort(edges, axis=1)
    code = code[:, 0] * (int(code.max(initial=0)) + 1) + code[:, 1]
    _, inverse, counts = np.unique(code, return_inverse=True, return_counts=True)
    return edges[counts[inverse] == 1]


def is_closed(triangles: Any) -> bool:
    """Does every edge belong to two triangles that run along it in opposite ways."""
    if not len(triangles):
        return False
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    edges = edges[edges[:, 0] != edges[:, 1]]
    size = int(edges.max(initial=0)) + 1
    there, back = np.sort(edges[:, 0] * size + edges[:, 1]), np.sort(edges[:, 1] * size + edges[:, 0])
    return bool(np.array_equal(there, back) and len(np.unique(there)) == len(there))


def loops(edges: Any) -> list[list[int]]:
    """Edges (from, to) chained into loops of point numbers; what does not close is left out."""
    after: dict[int, list[int]] = {}
    for begin, end in edges.tolist():
        after.setdefault(begin, []).append(end)
    found = []
    while after:
        start = here = next(iter(after))
        loop = [start]
        while here in after:
            following = after[here]
            here = following.pop()
            if not following:
                del after[loop[-1]]
            if here == start:
                found.append(loop)
                break
            loop.append(here)
    return found


def straightened(polygon: Any) -> Any:
    """Without the corners at which nothing turns."""
    before, after = np.roll(polygon, 1, axis=0), np.roll(polygon, -1, axis=0)
    first, second = polygon - before, after - polygon
    turn = np.abs(first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0])
    keep = turn > 1e-5 * np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return polygon[keep] if keep.sum() >= 3 else polygon


def edge_lengths(polygon: Any) -> list[float]:
    return [float(one) for one in np.linalg.norm(np.roll(polygon, -1, axis=0) - polygon, axis=1)]


def signed_area(polygon: Any) -> float:
    x, y = polygon[:, 0] - polygon[0, 0], polygon[:, 1] - polygon[0, 1]
    return float(0.5 * (x * np.roll(y, -1) - y * np.roll(x, -1)).sum())


def chained(segments: Any) -> Any | None:
    """The polygon that walls (k, 2, 2) make, corner to corner; None if they are not one closed ring."""
    if len(segments) < 3:
        return None
    left = list(range(1, len(segments)))
    ring, here = [segments[0][0]], segments[0][1]
    while left:
        gaps = [(float(np.linalg.norm(segments[at][side] - here)), at, side) for at in left for side in (0, 1)]
        gap, at, side = min(gaps)
        if gap > CORNER_M:
            return None
        ring.append((segments[at][side] + here) / 2)
        here = segments[at][1 - side]
        left.remove(at)
    return np.array(ring) if float(np.linalg.norm(here - ring[0])) <= CORNER_M else None


def covered(rectangles: list[tuple[float, float, float, float]], length: float, height: float) -> float:
    """The area that rectangles (left, right, low, high) cover of a wall, what lies twice counted once."""
    clipped = [(max(0.0, a), min(length, b), max(0.0, c), min(height, d)) for a, b, c, d in rectangles]
    clipped = [one for one in clipped if one[0] < one[1] and one[2] < one[3]]
    across, up = sorted({x for one in clipped for x in one[:2]}), sorted({y for one in clipped for y in one[2:]})
    total = 0.0
    for left, right in pairwise(across):
        for low, high in pairwise(up):
            if any(a <= left and right <= b and c <= low and high <= d for a, b, c, d in clipped):
                total += (right - left) * (high - low)
    return total
