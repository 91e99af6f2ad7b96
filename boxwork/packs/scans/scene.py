"""A scan as plain values: nodes with their transforms, meshes of pieces, materials, pictures, and what is not in it.

Metres, right-handed.  Reading (`reading`) makes it of USD; writing (`writing`) makes glTF of it; measuring
(`walls`, `surfaces`) looks at it.  Nothing here knows either format.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

# Entries of one kind of loss that are told one by one; the rest is counted.  Unit: entries.
LOSSES_SHOWN = 200


@dataclass(slots=True)
class Piece:
    """Triangles (or points) that share one material.

    points (n, 3) float32, triangles (m, 3) or None for a point cloud, normals (n, 3), uvs up to two of (n, 2) with the
    origin in the upper left as glTF wants it, colours (n, 4) linear.
    """

    points: Any
    triangles: Any
    normals: Any = None
    uvs: tuple[Any, ...] = ()
    colours: Any = None
    material: int = -1


@dataclass(slots=True)
class Mesh:
    name: str
    pieces: list[Piece]


@dataclass(slots=True)
class Node:
    """`matrix` (4, 4) takes row vectors to the parent: p' = p @ matrix.  It is a scale, a rotation, a translation."""

    name: str
    path: str
    matrix: Any
    mesh: int = -1
    shape: str = ""  # the kind of solid it was, as "Cube"
    children: list[Node] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Texture:
    """A picture on a surface: which one, which UV set, how it repeats, and how it is moved."""

    image: int
    uv: int = 0
    wrap_s: str = "repeat"
    wrap_t: str = "repeat"
    offset: tuple[float, float] = (0.0, 0.0)
    rotation: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)


@dataclass(slots=True)
class Material:
    name: str
    colour: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    metallic: float = 0.0
    roughness: float = 0.5
    emissive: tuple[float, float, float] = (0.0, 0.0, 0.0)
    alpha: str = "OPAQUE"
    cutoff: float = 0.5
    double_sided: bool = False
    ior: float = 1.5
    clearcoat: float = 0.0
    clearcoat_roughness: float = 0.01
    colour_texture: Texture | None = None
    metallic_roughness_texture: Texture | None = None
    normal_texture: Texture | None = None
    occlusion_texture: Texture | None = None
    emissive_texture: Texture | None = None


@dataclass(slots=True)
class Report:
    """What did not come along (`lost`), and what came along in another form (`changed`)."""

    lost: list[dict[str, Any]] = field(default_factory=list)
    changed: list[dict[str, Any]] = field(default_factory=list)

    def lose(self, what: str, path: str, why: str) -> None:
        _note(self.lost, what, path, why)

    def change(self, what: str, path: str, why: str) -> None:
        _note(self.changed, what, path, why)


def _note(entries: list[dict[str, Any]], what: str, path: str, why: str) -> None:
    """One entry for each kind and reason: how many, and where the first of them are."""
    for entry in entries:
        if entry["what"] == what and entry["why"] == why:
            entry["count"] += 1
            if len(entry["paths"]) < LOSSES_SHOWN:
                entry["paths"].append(path)
            return
    entries.append({"what": what, "why": why, "count": 1, "paths": [path]})


@dataclass(slots=True)
class Scene:
    kind: str
    roots: list[Node] = field(default_factory=list)
    meshes: list[Mesh] = field(default_factory=list)
    materials: list[Material] = field(default_factory=list)
    images: list[tuple[str, str, bytes]] = field(default_factory=list)  # name, media type, bytes
    report: Report = field(default_factory=Report)
    up: str = "Y"
    metres_per_unit: float = 1.0

    def walk(self) -> Iterator[tuple[Node, Any, dict[str, str]]]:
        """Every node with its matrix to the world and the labels of it and of those above it."""
        stack = [(node, np.eye(4), dict[str, str]()) for node in reversed(self.roots)]
        while stack:
            node, above, labels = stack.pop()
            world = node.matrix @ above
            labels = {**labels, **node.labels}
            yield node, world, labels
            stack.extend((child, world, labels) for child in reversed(node.children))
