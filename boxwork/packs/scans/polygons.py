"""From USD's polygons to glTF's triangles: cutting polygons up, and sharing corners that are the same.

A corner is a place in `faceVertexIndices`.  Triangles name corners first, so that values given for each corner, each
face or each point can all be looked up; then corners that agree in everything become one vertex.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def cut(counts: Any, indices: Any, points: Any, holes: Any, left_handed: bool) -> tuple[Any, Any]:
    """(corners (m, 3), face of each triangle (m)).  Faces named in `holes` and those of less than 3 sides are none."""
    begins = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int64) if len(counts) else np.zeros(0, np.int64)
    wanted = counts >= 3
    if len(holes):
        wanted[holes] = False
    triangles, faces = [], []
    for sides in np.unique(counts[wanted]):
        chosen = np.flatnonzero(wanted & (counts == sides))
        starts = begins[chosen]
        if sides > 3:
            bent = _bent(points[indices[starts[:, None] + np.arange(sides)]])
            for face in chosen[bent]:
                parts = _ears(points[indices[begins[face] : begins[face] + sides]]) + begins[face]
                triangles.append(parts)
                faces.append(np.full(len(parts), face))
            chosen, starts = chosen[~bent], starts[~bent]
        fan = np.stack([np.zeros(sides - 2, np.int64), np.arange(1, sides - 1), np.arange(2, sides)], axis=1)
        triangles.append((starts[:, None, None] + fan[None]).reshape(-1, 3))
        faces.append(np.repeat(chosen, sides - 2))
    if not triangles:
        return np.zeros((0, 3), np.int64), np.zeros(0, np.int64)
    corners, face_of = np.concatenate(triangles), np.concatenate(faces)
    order = np.argsort(face_of, kind="stable")
    corners, face_of = corners[order], face_of[order]
    return (corners[:, ::-1] if left_handed else corners), face_of


def _bent(polygons: Any) -> Any:
    """Which of polygons (k, sides, 3) cannot be cut as a fan: one of the fan's triangles looks the other way."""
    edges = polygons[:, 1:] - polygons[:, :1]
    normals = np.cross(edges[:, :-1], edges[:, 1:])
    along = np.einsum("kij,kj->ki", normals, normals.sum(axis=1))
    reach = np.abs(along).max(axis=1, keepdims=True)
    return (along < -1e-9 * reach).any(axis=1)


def _ears(polygon: Any) -> Any:
    """Triangles of one polygon that is not convex, by its own positions; turned as the polygon is."""
    import mapbox_earcut

    normal = np.zeros(3)
    for at in range(len(polygon)):  # Newell: right for every simple polygon, also one that is not quite flat
        here, after = polygon[at], polygon[(at + 1) % len(polygon)]
        normal += np.cross(here - polygon[0], after - polygon[0])
    keep = [axis for axis in range(3) if axis != int(np.argmax(np.abs(normal)))]
    flat = np.ascontiguousarray(polygon[:, keep], dtype=np.float64)
    found = mapbox_earcut.triangulate_float64(flat, np.array([len(flat)], np.uint32)).astype(np.int64).reshape(-1, 3)
    corners = polygon[found]
    turned = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]) @ normal < 0
    found[turned] = found[turned][:, ::-1]
    return found


def spread(values: Any, interpolation: str, corners: Any, faces: Any, indices: Any) -> Any:
    """Which row of `values` each of the triangles' corners has, flat (3 m).  `ValueError` if there are too few."""
    if interpolation == "faceVarying":
        chosen = corners.reshape(-1)
    elif interpolation in ("vertex", "varying"):
        chosen = indices[corners].reshape(-1)
    elif interpolation == "uniform":
        chosen = np.repeat(faces, 3)
    else:
        chosen = np.zeros(corners.size, np.int64)
    if len(chosen) and (len(values) == 0 or int(chosen.max()) >= len(values)):
        raise ValueError(f"has {len(values)} values for {interpolation}, and {int(chosen.max()) + 1} are asked for")
    return chosen


def share(columns: list[Any]) -> tuple[Any, Any]:
    """Of columns of whole numbers (each 3 m long): (one corner for each different row, vertex of each corner)."""
    code = columns[0].astype(np.int64)
    for column in columns[1:]:
        _, code = np.unique(code, return_inverse=True)
        _, other = np.unique(column, return_inverse=True)
        code = code * (int(other.max(initial=0)) + 1) + other
    _, first, vertex = np.unique(code, return_index=True, return_inverse=True)
    return first, vertex


def same_rows(values: Any) -> Any:
    """A whole number for each row of a float array, equal where the rows are, bit by bit (-0 is 0)."""
    plain = np.ascontiguousarray(values, dtype=np.float32) + np.float32(0)
    if plain.shape[1] == 2:
        return np.unique(plain.view(np.int64).reshape(-1), return_inverse=True)[1]
    whole = plain.view(np.int32).astype(np.int64)
    code = np.unique((whole[:, 0] << 32) ^ (whole[:, 1] & 0xFFFFFFFF), return_inverse=True)[1]
    for column in range(2, whole.shape[1]):
        other = np.unique(whole[:, column], return_inverse=True)[1]
        code = np.unique(code * (int(other.max(initial=0)) + 1) + other, return_inverse=True)[1]
    return code


def smooth_normals(points: Any, triangles: Any) -> Any:
    """Of each point: the mean of its triangles' normals, by their areas."""
    corners = points.astype(np.float64)[triangles]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    total = np.zeros((len(points), 3))
    for axis in range(3):
        for corner in range(3):
            total[:, axis] += np.bincount(triangles[:, corner], weights=normals[:, axis], minlength=len(points))
    return unit(total)


def unit(vectors: Any) -> Any:
    """Of length 1; what has no length points up.  In float32, and again after rounding: 1 within 1e-6."""
    wide = np.nan_to_num(np.asarray(vectors, np.float64), posinf=0.0, neginf=0.0)
    length = np.linalg.norm(wide, axis=1, keepdims=True)
    made = np.where(length > 1e-20, wide / np.maximum(length, 1e-20), np.array([0.0, 1.0, 0.0]))
    return made.astype(np.float32)
