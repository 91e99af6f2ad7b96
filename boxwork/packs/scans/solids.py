"""USD's solids as triangles: cube, sphere, cylinder, cone, capsule, plane.  With normals, in their own space.

Round ones are many-sided: `SIDES` around, so that the surface is at most 0.5 % of the radius beside the true one.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

# 1 - cos(pi / 32) = 0.48 % of the radius.  Unit: sides of a circle.
SIDES = 32
# Rows from the equator to a pole.  Unit: rows.
ROWS = 8

# The corners of a cube and its faces seen from outside, against the clock.
CORNERS = tuple((x, y, z) for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5))
FACES = ((0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3))

Shape = tuple[Any, Any, Any]  # points, triangles, normals


def cube(size: float) -> Shape:
    corners = np.asarray(CORNERS) * size
    points = np.concatenate([corners[list(face)] for face in FACES])
    first, second = points.reshape(6, 4, 3)[:, 1] - points[::4], points.reshape(6, 4, 3)[:, 2] - points[::4]
    outward = np.cross(first, second)
    outward /= np.maximum(np.linalg.norm(outward, axis=1, keepdims=True), 1e-30)
    base = np.arange(0, 24, 4)[:, None]
    triangles = (base + np.array([0, 1, 2, 0, 2, 3])).reshape(-1, 3)
    return points, triangles, np.repeat(outward, 4, axis=0)


def plane(width: float, length: float, axis: str) -> Shape:
    """Width along X and length along Y for axis Z; USD's own table for the other two."""
    x, y = width / 2, length / 2
    flat = np.array([(-x, -y), (x, -y), (x, y), (-x, y)])
    points, normal = np.zeros((4, 3)), np.zeros(3)
    first, second = {"Z": (0, 1), "X": (2, 1), "Y": (0, 2)}[axis]
    points[:, first], points[:, second] = flat[:, 0], flat[:, 1]
    normal["XYZ".index(axis)] = 1.0
    triangles = np.array([(0, 1, 2), (0, 2, 3)])
    corners = points[triangles[0]]
    if np.cross(corners[1] - corners[0], corners[2] - corners[0]) @ normal < 0:
        triangles = triangles[:, ::-1]
    return points, triangles, np.tile(normal, (4, 1))


def sphere(radius: float) -> Shape:
    angles = np.linspace(-math.pi / 2, math.pi / 2, 2 * ROWS + 1)
    return _turned([(radius * math.cos(a), radius * math.sin(a), math.cos(a), math.sin(a)) for a in angles], "Z")


def cylinder(bottom: float, top: float, height: float, axis: str) -> Shape:
    """A cone is one whose top is 0."""
    slope = math.hypot(height, bottom - top) or 1.0
    outward, upward = height / slope, (bottom - top) / slope
    half = height / 2
    side = _turned([(bottom, -half, outward, upward), (top, half, outward, upward)], axis)
    parts = [side]
    if bottom > 0:
        parts.append(_turned([(0.0, -half, 0.0, -1.0), (bottom, -half, 0.0, -1.0)], axis))
    if top > 0:
        parts.append(_turned([(top, half, 0.0, 1.0), (0.0, half, 0.0, 1.0)], axis))
    return _joined(parts)


def capsule(bottom: float, top: float, height: float, axis: str) -> Shape:
    """A cylinder with half a ball at either end."""
    half, angles = height / 2, np.linspace(0, math.pi / 2, ROWS + 1)
    low = [(bottom * math.cos(a), -half - bottom * math.sin(a), math.cos(a), -math.sin(a)) for a in angles[::-1]]
    high = [(top * math.cos(a), half + top * math.sin(a), math.cos(a), math.sin(a)) for a in angles]
    return _turned(low + high, axis)


def _turned(profile: list[tuple[float, float, float, float]], axis: str) -> Shape:
    """A profile (radius, height, normal outward, normal upward), from bottom to top, turned around the axis."""
    turn = np.linspace(0, 2 * math.pi, SIDES + 1)
    radius, height, outward, upward = (np.array(column)[:, None] for column in zip(*profile, strict=True))
    ring = np.cos(turn)[None, :], np.sin(turn)[None, :]
    flat = np.ones_like(ring[0])
    points = np.stack([radius * ring[0], radius * ring[1], height * flat], axis=2)
    normals = np.stack([outward * ring[0], outward * ring[1], upward * flat], axis=2)
    rows, columns = len(profile), SIDES + 1
    low = (np.arange(rows - 1)[:, None] * columns + np.arange(SIDES)[None, :]).reshape(-1)
    right, high = low + 1, low + columns
    triangles = np.concatenate([np.stack([low, right, high + 1], 1), np.stack([low, high + 1, high], 1)])
    points, normals = points.reshape(-1, 3), normals.reshape(-1, 3)
    corners = points[triangles]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    triangles = triangles[area > 1e-12 * max(1e-30, area.max(initial=0.0))]  # at a pole half of them have no area
    if axis != "Z":  # a cyclic change of axes keeps the hand
        order = [2, 0, 1] if axis == "X" else [1, 2, 0]
        points, normals = points[:, order], normals[:, order]
    return points, triangles, normals


def _joined(parts: list[Shape]) -> Shape:
    begin, triangles = 0, []
    for points, faces, _ in parts:
        triangles.append(faces + begin)
        begin += len(points)
    return np.concatenate([p[0] for p in parts]), np.concatenate(triangles), np.concatenate([p[2] for p in parts])
