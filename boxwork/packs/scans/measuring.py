"""The boxes `scan_measures`, a scan in, its measures out as JSON, and `measures_table`, the same as CSV."""

from __future__ import annotations

import csv
import io
import math
from typing import Any

import msgspec

from boxwork import derivation
from boxwork.packs.scans.converting import CONVERT_BYTES_MAX, CONVERT_S_MAX

# Standard deviations of a phone with LiDAR; where they come from: `doubt`.  Units: metres; a share.
READING_SD_M = 0.01
RELATIVE_SD = 0.005
READING_SD_M_MAX = 1.0
RELATIVE_SD_MAX = 0.2


@derivation(worker="process", timeout_s=CONVERT_S_MAX, memory_bytes_max=CONVERT_BYTES_MAX)
def scan_measures(scan: bytes, reading_sd_m: float = READING_SD_M, relative_sd: float = RELATIVE_SD) -> bytes:
    """Walls, openings, rooms and their areas, heights and volumes, each with its interval and how it was found.

    A scan with walls that the scanner has made out itself is measured by them; any other as a surface.
    `reading_sd_m` and `relative_sd` say how good the sensor is.
    """
    from boxwork.packs.scans.doubt import Sensor
    from boxwork.packs.scans.package import opened
    from boxwork.packs.scans.reading import read_scene
    from boxwork.packs.scans.surfaces import measure_surface
    from boxwork.packs.scans.walls import elements_of, measure_elements

    for name, value, most in (
        ("reading_sd_m", reading_sd_m, READING_SD_M_MAX),
        ("relative_sd", relative_sd, RELATIVE_SD_MAX),
    ):
        if not (math.isfinite(value) and 0 <= value <= most):
            raise ValueError(f"{name} goes from 0 to {most}, not {value}")
    with opened(scan) as source:
        scene = read_scene(source)
    sensor = Sensor(reading_sd_m, relative_sd)
    elements = elements_of(scene)
    parametric = any(one.category == "wall" for one in elements)
    found = measure_elements(elements, sensor) if parametric else measure_surface(scene, sensor)
    about = {
        "form": "parametric" if parametric else "mesh",
        "sensor": {
            "reading_sd_m": reading_sd_m,
            "relative_sd": relative_sd,
            "interval": "value ± plus_minus holds the truth in 95 of 100 cases, if the sensor is as good as said here",
        },
    }
    return msgspec.json.encode({**about, **found})


@derivation
def measures_table(measures: bytes) -> bytes:
    """The measures as CSV, one value a row."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("what", "measure", "value", "plus_minus", "unit", "how", "uuid"))
    for row in rows_of(msgspec.json.decode(measures)):
        writer.writerow(row)
    return out.getvalue().encode()


def rows_of(found: dict[str, Any]) -> list[tuple[Any, ...]]:
    """(what, measure, value, plus_minus, unit, how, uuid) of every value in the measures."""
    rows: list[tuple[Any, ...]] = []

    def add(what: str, name: str, one: dict[str, Any], uuid: str = "") -> None:
        rows.append((what, name, one["value"], one["plus_minus"], one["unit"], one["how"], uuid))

    def add_all(what: str, part: dict[str, Any]) -> None:
        for name, one in part.items():
            if isinstance(one, dict) and "plus_minus" in one:
                add(what, name, one, part.get("uuid", ""))

    add_all("all", found.get("totals", {}))
    add_all("all", found)
    for room in found.get("rooms", ()):
        add_all(room["name"], room)
    add_all("extent", found.get("extent", {}))
    for kind in ("walls", "openings", "objects"):
        for part in found.get(kind, ()):
            add_all(part["id"], part)
    return rows
