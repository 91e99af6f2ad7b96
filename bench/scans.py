"""How long, and in how much memory, does a mesh of a million triangles become GLB, and a flat be measured?

    python bench/scans.py [--side 708] [--rounds 3]

Each run is a process of its own, as in a worker; its start and the loading of USD (told apart as `load`) are not in the
times.  The peer is usd2gltf where it is installed (`pip install usd2gltf`; it is in no layer, because it is not kept
and pins nothing we could share); Blender's wheel has 800 MB and was compared once (docs/scans.md).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from bench._report import report
from boxwork.packs.scans import sample

WORKER = """
import json, resource, sys, time
begin = time.perf_counter()
from pxr import Usd
import pygltflib, PIL.Image, mapbox_earcut
from boxwork.packs.scans.converting import scan_to_glb
from boxwork.packs.scans.measuring import scan_measures
loaded = time.perf_counter()
base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
data = open(sys.argv[1], "rb").read()
ready, cpu = time.perf_counter(), time.process_time()
made = {"convert": scan_to_glb, "measure": scan_measures}[sys.argv[2]](data)
print(json.dumps({"load": loaded - begin, "s": time.perf_counter() - ready, "cpu_s": time.process_time() - cpu,
                  "bytes": len(made), "base": base, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}))
"""
PEER = """
import contextlib, json, sys, time
from usd2gltf.cli import main
begin = time.perf_counter()
sys.argv = ["usd2gltf", "-i", sys.argv[1], "-o", sys.argv[2]]
with contextlib.redirect_stdout(sys.stderr):
    main()
print(json.dumps({"s": time.perf_counter() - begin}))
"""


def terrain(side: int) -> bytes:
    """A wavy sheet of side x side points, as one mesh: 2 (side - 1)² triangles."""
    from pxr import Usd, UsdGeom, UsdUtils

    x, z = np.meshgrid(np.linspace(0, 10, side), np.linspace(0, 10, side))
    points = np.stack([x, 0.1 * np.sin(3 * x) * np.cos(2 * z), z], axis=2).reshape(-1, 3)
    at = (np.arange(side - 1)[:, None] * side + np.arange(side - 1)[None, :]).reshape(-1)
    faces = np.concatenate([np.stack([at, at + side, at + 1], 1), np.stack([at + 1, at + side, at + side + 1], 1)])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sheet.usdc"
        stage = Usd.Stage.CreateNew(str(path))
        UsdGeom.SetStageUpAxis(stage, "Y")
        UsdGeom.SetStageMetersPerUnit(stage, 1)
        mesh = UsdGeom.Mesh.Define(stage, "/Sheet")
        sample._fill(mesh, points, [3] * len(faces), faces.reshape(-1))
        stage.GetRootLayer().Save()
        UsdUtils.CreateNewUsdzPackage(str(path), str(path.with_suffix(".usdz")))
        return path.with_suffix(".usdz").read_bytes()


def runs(code: str, rounds: int, *arguments: str) -> list[dict[str, float]]:
    found = []
    for _ in range(rounds):
        told = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=300,
                              check=True)  # fmt: skip
        found.append(json.loads(told.stdout.splitlines()[-1]))
    return found


def median(found: list[dict[str, float]], name: str) -> float:
    return statistics.median(one[name] for one in found)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--side", type=int, default=708)
    parser.add_argument("--rounds", type=int, default=3)
    chosen, _ = parser.parse_known_args()
    triangles = 2 * (chosen.side - 1) ** 2
    with tempfile.TemporaryDirectory() as folder:
        sheet, flat = Path(folder) / "sheet.usdz", Path(folder) / "flat.usdz"
        sheet.write_bytes(terrain(chosen.side))
        flat.write_bytes(sample.parametric())
        found = runs(WORKER, chosen.rounds, str(sheet), "convert")
        try:
            peer: float | None = median(runs(PEER, 1, str(sheet), str(Path(folder) / "peer.glb")), "s")
        except subprocess.CalledProcessError:
            peer = None
        report(
            name="scans.convert", value=median(found, "s"), unit="s", peer="usd2gltf" if peer else "", peer_value=peer,
            triangles=triangles, cpu_s=round(median(found, "cpu_s"), 3), glb_bytes=int(median(found, "bytes")),
            scan_bytes=sheet.stat().st_size,
        )  # fmt: skip
        report(name="scans.convert.peak", value=median(found, "peak") / 1024, unit="MiB",
               loaded=round(median(found, "base") / 1024))  # fmt: skip
        report(name="scans.load", value=1000 * median(found, "load"), unit="ms")
        for name, work in (("scans.flat.convert", "convert"), ("scans.flat.measure", "measure")):
            report(name=name, value=1000 * median(runs(WORKER, chosen.rounds, str(flat), work), "s"), unit="ms")
        report(name="scans.measure", value=median(runs(WORKER, 1, str(sheet), "measure"), "s"), unit="s",
               triangles=triangles)  # fmt: skip


if __name__ == "__main__":
    main()
