from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree

import numpy as np

from boxwork.packs.scans import sample
from boxwork.packs.scans.measuring import scan_measures
from boxwork.packs.scans.picture import VIEW_TRIANGLES_MAX, inside, plan_svg, scan_view, thinned


def test_a_plan_is_to_scale_and_has_every_wall_once(flat: bytes) -> None:
    root = ElementTree.fromstring(plan_svg(json.loads(scan_measures(flat))))
    walls = [one for one in root.iter("line") if one.get("class") == "wall"]
    assert 14 == len(walls)
    lengths = sorted(
        np.hypot(*(float(one.get(b, "0")) - float(one.get(a, "0")) for a, b in (("x1", "x2"), ("y1", "y2"))))
        for one in walls
    )
    ratio = np.array(lengths) / sorted(edge_lengths())
    assert np.ptp(ratio) < 0.01 * ratio.mean()
    shown = [one.text for one in root.iter("text") if one.get("class") == "length"]
    assert shown.count("3.90") == 2  # the wall that two rooms share is labelled once, the one to the street once


def edge_lengths() -> list[float]:
    found: list[float] = []
    for room in sample.FLAT:
        corners = np.array(room.corners)
        found += np.linalg.norm(np.roll(corners, -1, axis=0) - corners, axis=1).tolist()
    return found


def test_a_name_cannot_break_out_of_the_plan() -> None:
    room = sample.Room("<script>&\"'", ((0, 0), (4, 0), (4, 3), (0, 3)))
    svg = plan_svg(json.loads(scan_measures(sample.parametric((room,)))))
    assert "<script>" not in svg
    ElementTree.fromstring(svg)


def test_a_room_s_name_stands_inside_of_it() -> None:
    corner = np.array([(0, 0), (9, 0), (9, 1), (1, 1), (1, 9), (0, 9)], float)
    x, y = inside(corner)
    assert (0 < x < 9 and 0 < y < 1) or (0 < x < 1 and 0 < y < 9)


def test_a_view_is_thinned_out_and_still_a_picture() -> None:
    from boxwork.packs.scans.sample import L_ROOM, room_shell

    points, triangles = room_shell(L_ROOM, 0.1)
    assert len(triangles) > 5 * VIEW_TRIANGLES_MAX
    few, fewer = thinned(points, triangles)
    assert 500 < len(fewer) <= VIEW_TRIANGLES_MAX
    assert np.abs(np.ptp(few, axis=0) - np.ptp(points, axis=0)).max() < 0.25
    root = ElementTree.fromstring(scan_view(sample.noisy_mesh()).decode())
    assert sum(len((one.get("d") or "").split("M")) - 1 for one in root.iter("path")) > 500
