"""Pictures of a scan for a page, as SVG: the plan with its lengths, and the whole from above at an angle.

Shapes only, with classes for the page's style sheet: it knows light and dark.
"""

from __future__ import annotations

import math
from html import escape
from typing import Any

import numpy as np

from boxwork import derivation
from boxwork.packs.scans.converting import CONVERT_BYTES_MAX, CONVERT_S_MAX

# Of the longer side of a plan.  Unit: units of the drawing, about pixels.
PLAN_SIDE = 900.0
MARGIN = 64.0
# Triangles of the view from an angle; more are thinned out.  Unit: triangles, 60 bytes each.
VIEW_TRIANGLES_MAX = 4000
VIEW_SIDE = 900.0
SHADES = 6
# A wall shorter than this has no room for its length.  Unit: units of the drawing.
LABEL_MIN = 46.0
BARS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500)


def plan_svg(found: dict[str, Any]) -> str:
    """The plan to scale; empty if the measures have no outline."""
    rooms = [room for room in found.get("rooms", ()) if len(room.get("outline", ())) >= 3]
    lines = [np.array([one["from"], one["to"]]) for one in found.get("walls", ())]
    corners = [np.array(room["outline"]) for room in rooms] + lines
    if not corners:
        return ""
    every = np.concatenate(corners)
    low, size = every.min(axis=0), np.maximum(np.ptp(every, axis=0), 1e-6)
    scale = PLAN_SIDE / float(size.max())
    wide, high = (size * scale + 2 * MARGIN).tolist()

    def at(point: Any) -> tuple[float, float]:
        x, y = (np.asarray(point, float) - low) * scale
        return MARGIN + float(x), high - MARGIN - float(y)

    middle = np.array(at(every.mean(axis=0)))
    parts = []
    for room in rooms:
        shape = " ".join(f"{x:.1f},{y:.1f}" for x, y in map(at, room["outline"]))
        parts.append(f'<polygon class="room" points="{shape}"/>')
    for one in found.get("walls", ()):
        parts.append(_line("wall", at(one["from"]), at(one["to"])))
    for one in found.get("openings", ()):
        parts.append(_line("gap", at(one["from"]), at(one["to"])))
        parts.append(_line(one["kind"], at(one["from"]), at(one["to"])))
    for one in found.get("objects", ()):
        parts.append(_line("object", at(one["from"]), at(one["to"])))
    for room in rooms:
        parts.append(_room_label(room, [at(point) for point in room["outline"]]))
    parts += [_length_label(at(one["from"]), at(one["to"]), one["length"]["value"], middle)
              for one in _once(found.get("walls", ()))]  # fmt: skip
    base, bar = high - 14, next((one for one in BARS if one * scale >= 70), BARS[-1])
    parts.append(
        f'<g class="bar-of"><path d="M{MARGIN:.0f} {base:.1f}h{bar * scale:.1f}m0 -5v10m{-bar * scale:.1f} 0v-10"/>'
        f'<text x="{MARGIN + bar * scale + 8:.1f}" y="{high - 10:.1f}">{bar:g} m</text></g>'
    )
    said = f"Plan of {len(rooms)} rooms and {len(lines)} walls" if lines else "Outline of the room"
    return (
        f'<svg class="plan" viewBox="0 0 {wide:.0f} {high:.0f}" role="img" aria-label="{said}, to scale">'
        f"{''.join(parts)}</svg>"
    )


def _line(kind: str, begin: tuple[float, float], end: tuple[float, float]) -> str:
    return f'<line class="{escape(kind)}" x1="{begin[0]:.1f}" y1="{begin[1]:.1f}" x2="{end[0]:.1f}" y2="{end[1]:.1f}"/>'


def _once(walls: Any) -> list[Any]:
    """Walls without those that lie on one that is shown already (two rooms share them)."""
    kept: list[Any] = []
    for wall in walls:
        ends = sorted([wall["from"], wall["to"]])
        if not any(np.allclose(ends, sorted([one["from"], one["to"]]), atol=0.05) for one in kept):
            kept.append(wall)
    return kept


def _length_label(begin: tuple[float, float], end: tuple[float, float], length: float, middle: Any) -> str:
    a, b = np.array(begin), np.array(end)
    way = b - a
    drawn = float(np.linalg.norm(way))
    if drawn < LABEL_MIN:
        return ""
    across = np.array([-way[1], way[0]]) / drawn
    centre = (a + b) / 2
    if (centre - middle) @ across < 0:
        across = -across
    x, y = centre + across * 20
    turn = math.degrees(math.atan2(way[1], way[0]))
    turn = turn - 180 if turn > 90 else turn + 180 if turn <= -90 else turn
    turned = f"rotate({turn:.1f} {x:.1f} {y:.1f})"
    return f'<text class="length" x="{x:.1f}" y="{y:.1f}" transform="{turned}">{length:.2f}</text>'


def _room_label(room: dict[str, Any], corners: list[tuple[float, float]]) -> str:
    x, y = inside(np.array(corners))
    area = room.get("floor_area")
    size = f'<tspan x="{x:.1f}" dy="1.35em" class="size">{area["value"]:.2f} m²</tspan>' if area else ""
    return f'<text class="name" x="{x:.1f}" y="{y:.1f}">{escape(room["name"])}{size}</text>'


def inside(polygon: Any) -> tuple[float, float]:
    """A point well inside of a polygon: the best of a grid, by its distance to the rim."""
    low, size = polygon.min(axis=0), np.ptp(polygon, axis=0)
    steps = (np.arange(24) + 0.5) / 24
    grid = low + np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2) * size
    begin, end = polygon, np.roll(polygon, -1, axis=0)
    crosses = (begin[None, :, 1] > grid[:, None, 1]) != (end[None, :, 1] > grid[:, None, 1])
    rise = np.where(np.abs(end[:, 1] - begin[:, 1]) < 1e-12, 1e-12, end[:, 1] - begin[:, 1])
    reach = begin[:, 0] + (grid[:, 1:] - begin[:, 1]) / rise * (end[:, 0] - begin[:, 0])
    within = (crosses & (grid[:, :1] < reach)).sum(axis=1) % 2 == 1
    if not within.any():
        return float(polygon[:, 0].mean()), float(polygon[:, 1].mean())
    points, way = grid[within], end - begin
    share = ((points[:, None] - begin) * way).sum(axis=2) / np.maximum((way * way).sum(axis=1), 1e-12)
    nearest = begin + np.clip(share, 0, 1)[:, :, None] * way
    best = points[np.argmax(np.linalg.norm(points[:, None] - nearest, axis=2).min(axis=1))]
    return float(best[0]), float(best[1])


@derivation(worker="process", timeout_s=CONVERT_S_MAX, memory_bytes_max=CONVERT_BYTES_MAX)
def scan_view(scan: bytes) -> bytes:
    """The scan from above at an angle, as SVG; faces that look away are left out, so a room is seen into."""
    from boxwork.packs.scans.package import opened
    from boxwork.packs.scans.reading import read_scene
    from boxwork.packs.scans.surfaces import joined

    with opened(scan) as source:
        scene = read_scene(source)
    points, triangles = joined(scene)
    return view_svg(points, triangles, walls=any("Category" in node.labels for node, _, _ in scene.walk())).encode()


def view_svg(points: Any, triangles: Any, *, walls: bool) -> str:
    """Triangles in parallel projection, the farthest first.  With `walls` they let through what is behind them."""
    total = len(triangles)
    points, triangles = thinned(points, triangles)
    turn, tilt = math.radians(32), math.radians(38)
    right = np.array([math.cos(turn), 0, -math.sin(turn)])
    toward = np.array([math.sin(turn) * math.cos(tilt), math.sin(tilt), math.cos(turn) * math.cos(tilt)])
    up = np.cross(toward, right)
    corners = points[triangles]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.maximum(np.linalg.norm(normals, axis=1), 1e-15)
    seen = (normals @ toward) / length > 0.02
    corners, normals = corners[seen], normals[seen] / length[seen, None]
    if not len(corners):
        return ""
    flat = np.stack([corners @ right, -(corners @ up)], axis=2)
    low = flat.reshape(-1, 2).min(axis=0)
    scale = VIEW_SIDE / max(1e-9, float(np.ptp(flat.reshape(-1, 2), axis=0).max()))
    flat = (flat - low) * scale + 10
    wide, high = flat.reshape(-1, 2).max(axis=0) + 10
    light = normals @ (np.array([0.35, 0.85, 0.4]) / np.linalg.norm([0.35, 0.85, 0.4]))
    shade = np.clip(((light + 1) / 2 * SHADES).astype(int), 0, SHADES - 1)
    order = np.argsort((corners @ toward).mean(axis=1))
    # one path for neighbours in depth of one shade: half the bytes
    parts: list[str] = []
    last = -1
    for at in order:
        a, b, c = flat[at].round(1).tolist()
        path = f"M{a[0]} {a[1]}L{b[0]} {b[1]} {c[0]} {c[1]}Z"
        if shade[at] == last and not walls:
            parts[-1] += path
        else:
            parts.append(f'"/><path class="shade{shade[at]}" d="{path}')
        last = shade[at]
    shapes = "".join(parts)[3:] + '"/>'
    said = f"The scan from above at an angle, {total:,} triangles"
    kind = "view walls" if walls else "view"
    return f'<svg class="{kind}" viewBox="0 0 {wide:.0f} {high:.0f}" role="img" aria-label="{said}">{shapes}</svg>'


def thinned(points: Any, triangles: Any) -> tuple[Any, Any]:
    """At most `VIEW_TRIANGLES_MAX` triangles: points in one cell of a grid become one, until they are few enough."""
    size = float(np.ptp(points, axis=0).max()) or 1.0
    cell = size / 120
    while len(triangles) > VIEW_TRIANGLES_MAX:
        cells = np.floor((points - points.min(axis=0)) / cell).astype(np.int64)
        code = (cells[:, 0] * 2048 + cells[:, 1]) * 2048 + cells[:, 2]
        _, index, counts = np.unique(code, return_inverse=True, return_counts=True)
        merged = np.stack([np.bincount(index, points[:, axis]) / counts for axis in range(3)], axis=1)
        left = index[triangles]
        alive = (left[:, 0] != left[:, 1]) & (left[:, 1] != left[:, 2]) & (left[:, 2] != left[:, 0])
        points, triangles = merged, np.unique(_rolled(left[alive]), axis=0)
        cell *= 1.3
    return points, triangles


def _rolled(triangles: Any) -> Any:
    """Each triangle with its smallest number first, turned as before."""
    order = (np.argmin(triangles, axis=1)[:, None] + np.arange(3)) % 3
    return np.take_along_axis(triangles, order, axis=1)
