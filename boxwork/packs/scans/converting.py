"""The boxes `scan_to_glb`, a USD scan in, a GLB out, and `scan_report`, what did not come along with it."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from boxwork import derivation

Profile = Literal["gltf", "unity"]
PROFILES = ("gltf", "unity")

# USD is C++ that reads whatever strangers send: it runs in a process of its own, so a file that makes it crash, hang
# or swell takes a worker with it and nothing else.  A mesh of a million triangles takes 2 to 4 s (docs/scans.md) and
# 1 GB of address space, most of it libraries.  Units: seconds, bytes.
CONVERT_S_MAX = 180.0
CONVERT_BYTES_MAX = 6 * 1024**3

GLB_HEAD_BYTES = 20


@derivation(worker="process", timeout_s=CONVERT_S_MAX, memory_bytes_max=CONVERT_BYTES_MAX)
def scan_to_glb(scan: bytes, profile: Profile = "gltf") -> bytes:
    """A USDZ, USDC or USDA as GLB (glTF 2.0): metres, Y up, right-handed, textures inside, one vertex a corner.

    `gltf` keeps the file's own transforms.  `unity` is for Unity's glTFast: no node has a scale (and the root has
    none of axes and units), names are unique and begin with the category.  The report of what did not come along is
    in the file, at `asset.extras.boxwork`.
    """
    from boxwork.packs.scans.package import opened
    from boxwork.packs.scans.reading import read_scene
    from boxwork.packs.scans.writing import write_glb

    if profile not in PROFILES:
        raise ValueError(f"a profile is gltf or unity, not {profile!r}")
    with opened(scan) as source:
        scene = read_scene(source, bake_scale=profile == "unity")
    return write_glb(scene, {"boxwork": summary(scene, profile)}, unique_names=profile == "unity")


@derivation
def scan_report(glb: bytes) -> bytes:
    """What a GLB of `scan_to_glb` holds, what is lost and what is changed, as JSON."""
    return msgspec.json.encode(report_of(glb))


def report_of(glb: bytes) -> dict[str, Any]:
    """The report in a GLB.  Raises `ValueError` if it is not one of ours."""
    if glb[:4] != b"glTF" or len(glb) < GLB_HEAD_BYTES:
        raise ValueError(f"not a GLB: it begins with {glb[:4]!r}")
    length = int.from_bytes(glb[12:16], "little")
    try:
        found = msgspec.json.decode(glb[GLB_HEAD_BYTES : GLB_HEAD_BYTES + length])["asset"]["extras"]["boxwork"]
    except (msgspec.DecodeError, KeyError, TypeError):
        raise ValueError("the GLB has no report: it was not made by scan_to_glb") from None
    # the writer leaves empty lists out
    return {**found, "lost": found.get("lost", []), "changed": found.get("changed", [])}


def summary(scene: Any, profile: str) -> dict[str, Any]:
    """The report as it stands in the file."""
    uses = [node.mesh for node, _, _ in scene.walk() if node.mesh >= 0]
    drawn = [piece for mesh in uses for piece in scene.meshes[mesh].pieces]
    return {
        "source": {"kind": scene.kind, "up": scene.up, "metres_per_unit": scene.metres_per_unit},
        "profile": profile,
        "holds": {
            "nodes": sum(1 for _ in scene.walk()),
            "meshes": len(scene.meshes),
            "instances": len(uses),
            "triangles": sum(len(piece.triangles) for piece in drawn if piece.triangles is not None),
            "points": sum(len(piece.points) for piece in drawn if piece.triangles is None),
            "materials": len(scene.materials),
            "pictures": len(scene.images),
        },
        "lost": scene.report.lost,
        "changed": scene.report.changed,
    }
