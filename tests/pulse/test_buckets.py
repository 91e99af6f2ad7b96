"""A window of buckets grows where it must and merges neighbours exactly."""

from __future__ import annotations

import numpy as np

from boxwork.pulse.buckets import Buckets, index_of, representatives, upper_bound


def test_the_upper_bound_belongs_to_its_bucket() -> None:
    assert [0, 64, 102, 128] == index_of(np.array([1, 2, 3, 4])).tolist()
    assert 8.0 == upper_bound(index_of(np.array([8]))[0])


def test_a_representative_is_equally_far_from_both_bounds() -> None:
    (value,) = representatives(np.array([640]))
    low, high = upper_bound(639), upper_bound(640)
    assert abs((value - low) / low - (high - value) / high) < 1e-12
    assert (high - value) / high < 0.005416


def test_a_window_grows_to_both_sides_and_keeps_its_counts() -> None:
    side = Buckets()
    for indices in ([100], [50, 50], [400], [-3]):
        side.add_indices(np.array(indices))
    found, counts = side.sparse()
    assert [[-3, 50, 100, 400], [1, 2, 1, 1]] == [found.tolist(), counts.tolist()]


def test_neighbours_merge_by_rounding_up_also_below_zero() -> None:
    side = Buckets()
    side.add_sparse(np.array([-3, -2, -1, 0, 1, 2, 3]), np.ones(7, np.int64))
    found, counts = side.downscaled(1).sparse()
    assert [[-1, 0, 1, 2], [2, 2, 2, 1]] == [found.tolist(), counts.tolist()]
