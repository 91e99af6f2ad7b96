"""Intervals share one scale, and what lies outside of it is an arrow."""

from __future__ import annotations

import re

from boxwork.packs.compare.drawing import WIDTH, axis, interval


def test_the_scale_holds_every_interval_with_a_margin() -> None:
    low, high = axis([{"macro_f1_interval": (0.5, 0.6)}, {"macro_f1_interval": (0.55, 0.7)}])
    assert 0.4 < low < 0.5
    assert 0.7 < high < 0.8


def test_models_that_are_nearly_equal_do_not_look_apart() -> None:
    low, high = axis([{"macro_f1_interval": (0.9, 0.9001)}])
    assert high - low >= 0.004


def test_an_interval_lies_where_its_figures_are() -> None:
    drawn = interval(0.5, (0.25, 0.75), (0.0, 1.0))
    left, wide = (float(found) for found in re.search(r'<rect x="([\d.]+)".*? width="([\d.]+)"', drawn).groups())  # type: ignore[union-attr]
    assert (WIDTH / 4, WIDTH / 2) == (left, wide)
    assert "0.2500 to 0.7500" in drawn


def test_the_dummy_far_below_is_an_arrow() -> None:
    drawn = interval(0.1, (0.05, 0.15), (0.5, 1.0))
    assert "away" in drawn
    assert "<rect" not in drawn
