"""Measures against plans whose truth is known, and against what must hold for every scan."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import numpy as np
import pytest

from boxwork.packs.scans import sample
from boxwork.packs.scans.doubt import COVER, Sensor
from boxwork.packs.scans.measuring import measures_table, rows_of, scan_measures
from boxwork.packs.scans.sample import FLAT, L_ROOM, Form, Gap, Room
from tests.packs.scans.stages import mesh, packed, stage, text

FORMS = (
    Form(),
    Form(up="Z", metres_per_unit=0.01),
    Form(yaw=33, apart=False),
    Form(up="Z", yaw=-71, metres_per_unit=0.0254),
)


def measured(scan: bytes, **options: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(scan_measures(scan, **options))
    return found


def area_of(room: Room) -> float:
    x, y = np.array(room.corners).T
    return float(abs((x * np.roll(y, -1) - y * np.roll(x, -1)).sum()) / 2)


def edges_of(room: Room) -> list[float]:
    corners = np.array(room.corners)
    return [float(one) for one in np.linalg.norm(np.roll(corners, -1, axis=0) - corners, axis=1)]


# --- parametric scans


@pytest.mark.parametrize("form", FORMS, ids=lambda form: f"{form.up}-{form.metres_per_unit}-{form.yaw}")
def test_a_flat_is_measured_as_it_was_drawn_to_a_tenth_of_a_millimetre(form: Form) -> None:
    found = measured(sample.parametric(form=form))
    assert [room.name for room in FLAT] == [room["name"] for room in found["rooms"]]
    for room, told in zip(FLAT, found["rooms"], strict=True):
        assert area_of(room) == pytest.approx(told["floor_area"]["value"], abs=1e-4)
        assert sum(edges_of(room)) == pytest.approx(told["perimeter"]["value"], abs=1e-4)
        assert room.height == pytest.approx(told["height"]["value"], abs=1e-4)
        assert area_of(room) * room.height == pytest.approx(told["volume"]["value"], abs=1e-3)
    lengths = [edge for room in FLAT for edge in edges_of(room)]
    assert lengths == pytest.approx([wall["length"]["value"] for wall in found["walls"]], abs=1e-4)
    gaps = sorted((gap.kind.lower(), gap.width, gap.height) for room in FLAT for gap in room.gaps)
    told_gaps = sorted((one["kind"], one["width"]["value"], one["height"]["value"]) for one in found["openings"])
    for gap, told_gap in zip(gaps, told_gaps, strict=True):
        assert gap[0] == told_gap[0]
        assert gap[1:] == pytest.approx(told_gap[1:], abs=1e-4)


def test_net_area_is_without_openings_and_each_is_taken_once() -> None:
    """The opening between living room and kitchen is there twice, in two walls that lie on one another."""
    found = measured(sample.parametric())
    walls = {wall["id"]: wall for wall in found["walls"]}
    windows = walls["wall-1"]
    assert 5.2 * 2.62 - (1.6 + 1.2) * 1.35 == pytest.approx(windows["net_area"]["value"], abs=1e-3)
    shared = walls["wall-5"]
    assert 2 == len(shared["openings"])
    assert 3.9 * 2.62 - 1.4 * 2.2 == pytest.approx(shared["net_area"]["value"], abs=1e-3)


def test_walls_without_a_floor_are_chained_to_one() -> None:
    room = Room("Hut", ((0, 0), (3, 0), (4, 2), (0, 2.5)), 2.4)
    scan = sample.parametric((room,), Form(apart=False))
    from pxr import Sdf, Usd

    layer = Sdf.Layer.CreateAnonymous(".usda")
    layer.ImportFromString(without_floor(scan))
    found = measured(text(Usd.Stage.Open(layer)))
    assert area_of(room) == pytest.approx(found["rooms"][0]["floor_area"]["value"], abs=1e-3)
    layer.ImportFromString(without_floor(scan, also="/Room/Parametric_grp/Arch_grp/Wall2"))
    found = measured(text(Usd.Stage.Open(layer)))
    assert [] == found["rooms"]
    assert any("not one closed ring" in check for check in found["checks"])
    assert any("a wall may be missing" in check for check in found["checks"])


def without_floor(scan: bytes, also: str = "") -> str:
    from boxwork.packs.scans.package import opened

    with opened(scan) as source:
        flat = source.stage.Flatten()
        from pxr import Usd

        made = Usd.Stage.Open(flat)
        for path in ("/Room/Parametric_grp/Arch_grp/Floor0", also):
            if path:
                made.RemovePrim(path)
        whole: str = made.GetRootLayer().ExportToString()
        return whole


def test_walls_of_unlike_height_widen_the_interval_and_are_told() -> None:
    low = Room("Low", ((0, 0), (4, 0), (4, 3), (0, 3)), 2.2)
    high = Room("High", ((0, 0), (4, 0), (4, 3), (0, 3)), 2.8)
    even, uneven = measured(sample.parametric((low,))), measured(sample.parametric((low, high)))
    assert uneven["rooms"][0]["height"]["plus_minus"] > 3 * even["rooms"][0]["height"]["plus_minus"]
    assert any("2.20 to 2.80 m high" in check for check in uneven["checks"])


def test_a_door_beside_every_wall_is_told() -> None:
    room = Room("R", ((0, 0), (4, 0), (4, 3), (0, 3)), 2.5, (Gap("Door", 0, 9.0, 1, 2),))
    found = measured(sample.parametric((room,)))
    assert any("door-1 lies in no wall" in check for check in found["checks"])
    assert 10.0 == pytest.approx(found["walls"][0]["net_area"]["value"], abs=1e-3)


# --- mesh scans


@pytest.mark.parametrize("form", FORMS, ids=lambda form: f"{form.up}-{form.metres_per_unit}-{form.yaw}")
def test_a_room_as_a_clean_mesh_is_measured_as_it_was_drawn(form: Form) -> None:
    found = measured(sample.noisy_mesh(form=form, noise=0, step=0.3))
    room = found["rooms"][0]
    assert L_ROOM.height == pytest.approx(room["height"]["value"], abs=1e-4)
    assert area_of(L_ROOM) == pytest.approx(room["floor_area"]["value"], abs=1e-3)
    assert 6.0 == pytest.approx(found["extent"]["length"]["value"], abs=0.01)
    assert 5.0 == pytest.approx(found["extent"]["width"]["value"], abs=0.01)


def test_noise_holes_and_clutter_move_a_room_by_less_than_its_interval() -> None:
    """Twelve rooms with 1 cm of noise, 5 % holes and two boxes: height within 5 mm, area within 0.5 %, in 95 of 100."""
    heights, areas, covered = [], [], 0
    for seed in range(12):
        scan = sample.noisy_mesh(noise=0.01, missing=0.05, clutter=2, seed=seed, step=0.16, form=Form(yaw=29.0 * seed))
        room = measured(scan, reading_sd_m=0, relative_sd=0)["rooms"][0]
        heights.append(abs(room["height"]["value"] - L_ROOM.height))
        areas.append(abs(room["floor_area"]["value"] / area_of(L_ROOM) - 1))
        covered += heights[-1] <= room["height"]["fit_plus_minus"]
    assert np.quantile(heights, 0.95) < 0.005
    assert np.quantile(areas, 0.95) < 0.005
    assert covered >= 11


def test_the_volume_of_a_closed_mesh_is_what_it_encloses() -> None:
    made = stage()
    corners = [(x, y, z) for x in (0, 4) for y in (0, 2.5) for z in (0, 3)]
    faces = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    mesh(made, "/Box", corners, faces)
    found = measured(packed(made))
    assert 30.0 == pytest.approx(found["volume"]["value"], rel=1e-5)
    assert "closed" in found["volume"]["how"]


def test_a_table_is_no_room() -> None:
    made = stage()
    mesh(made, "/Top", [(0, 1, 0), (1, 1, 0), (1, 1, 1), (0, 1, 1)], [(3, 2, 1, 0)])
    found = measured(packed(made))
    assert [] == found["rooms"]
    assert any("floor and ceiling were not both found" in check for check in found["checks"])


# --- what holds for every scan


@pytest.mark.parametrize("kind", ["parametric", "mesh"])
def test_twice_as_large_is_four_times_the_area_and_eight_times_the_volume(kind: str) -> None:
    def scan(scale: float) -> bytes:
        form = Form(scale=scale, yaw=12)
        return sample.parametric(form=form) if kind == "parametric" else sample.noisy_mesh(form=form, noise=0, step=0.3)

    once, twice = (rows_of(measured(scan(scale))) for scale in (1.0, 2.0))
    assert len(once) == len(twice) > 8
    power = {"m": 1, "m²": 2, "m³": 3}
    for small, large in zip(once, twice, strict=True):
        assert small[2] * 2 ** power[small[4]] == pytest.approx(large[2], rel=2e-3), small[:2]


def test_a_worse_sensor_has_wider_intervals_and_the_same_values() -> None:
    scan = sample.parametric()
    good, bad = (rows_of(measured(scan, reading_sd_m=sd)) for sd in (0.002, 0.03))
    assert [row[2] for row in good] == [row[2] for row in bad]
    assert all(a[3] < b[3] for a, b in zip(good, bad, strict=True))
    with pytest.raises(ValueError, match="reading_sd_m goes from 0 to 1.0, not nan"):
        scan_measures(scan, reading_sd_m=float("nan"))


@pytest.mark.parametrize("sides", [(4.0, 3.0), (9.0, 1.2)])
def test_intervals_hold_the_truth_in_95_of_100_cases(sides: tuple[float, float]) -> None:
    """Scanners by chance: every edge lies wrong by itself, and the whole by one factor."""
    sensor, chance, height = Sensor(0.012, 0.006), np.random.default_rng(5), 2.5
    count = 20_000
    factor = 1 + chance.normal(0, sensor.relative, count)
    length, width, high = (
        (side + chance.normal(0, sensor.reading / np.sqrt(2), (2, count)).sum(axis=0)) * factor
        for side in (*sides, height)
    )
    edges = [*sides, *sides]
    for value, truth, sd in (
        (length, sides[0], sensor.length(sides[0])),
        (length * width, sides[0] * sides[1], sensor.polygon(edges, sides[0] * sides[1])),
        (length * width, sides[0] * sides[1], sensor.rectangle(*sides)),
        (2 * (length + width), sum(edges), sensor.perimeter(edges)),
        (length * width * high, sides[0] * sides[1] * height, sensor.prism(edges, sides[0] * sides[1], height)),
    ):
        share = np.mean(np.abs(value - truth) <= COVER * sd)
        assert 0.92 <= share <= 0.98, (truth, share)


def test_the_table_has_a_row_for_every_measure() -> None:
    scan = scan_measures(sample.parametric())
    table = list(csv.DictReader(io.StringIO(measures_table(scan).decode())))
    assert len(rows_of(json.loads(scan))) == len(table)
    wall = next(row for row in table if (row["what"], row["measure"]) == ("wall-1", "length"))
    assert ("5.2", "m", 36) == (wall["value"], wall["unit"], len(wall["uuid"]))
    assert all(row["how"] and float(row["plus_minus"]) > 0 for row in table)
