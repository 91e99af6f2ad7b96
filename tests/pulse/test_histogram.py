"""Right first: every quantile within the bound, every merge exact, every byte as in the golden files."""

from __future__ import annotations

import contextlib
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boxwork.errors import BadInput, FormatError
from boxwork.pulse.buckets import index_of
from boxwork.pulse.histogram import Histogram

GOLDEN = Path(__file__).parent / "golden"
ERROR_MAX = 0.005416
SHARES = (0.0, 0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999, 1.0)

int64s = st.integers(-(2**63), 2**63 - 1)
samples = st.lists(st.one_of(int64s, st.integers(-100, 100), st.integers(1, 10**9)), max_size=200)


def true_quantile(ordered: np.ndarray, share: float) -> int:
    return int(ordered[max(1, math.ceil(share * len(ordered) * (1 - 1e-12))) - 1])


def distributions() -> dict[str, np.ndarray]:
    chance = np.random.default_rng(7)
    normal = np.int64(chance.lognormal(11, 0.6, 40_000))
    return {
        "pareto": np.int64(chance.pareto(1.1, 40_000) * 50_000) + 1,
        "lognormal": normal,
        "bimodal": np.concatenate([normal, np.int64(chance.normal(9e6, 3e5, 20_000))]),
        "negative": np.int64(chance.normal(-40_000, 30_000, 40_000)),
        "tiny": chance.integers(-3, 4, 5_000),
        "one": np.array([123_456_789]),
    }


@pytest.mark.parametrize("name", list(distributions()))
def test_every_quantile_is_within_the_bound(name: str) -> None:
    values = distributions()[name]
    ordered = np.sort(values)
    for share, estimate in zip(SHARES, Histogram(values).quantiles(SHARES), strict=True):
        truth = true_quantile(ordered, share)
        assert abs(estimate - truth) <= ERROR_MAX * abs(truth), (share, truth, estimate)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 2**63 - 1), min_size=1, max_size=100))
def test_every_sample_lands_in_the_bucket_that_exact_arithmetic_names(values: list[int]) -> None:
    exact = [(value**64 - 1).bit_length() for value in values]
    found = index_of(np.array(values, np.int64)).tolist()
    # Above 2**53 a float cannot hold the integer; within 1e-14 of a bound either neighbour is as good.
    for value, expected, actual in zip(values, exact, found, strict=True):
        near = min(abs(math.log2(value) * 64 - bound) for bound in (expected - 1, expected))
        assert expected == actual or (abs(expected - actual) == 1 and near < 1e-9)


@settings(max_examples=60, deadline=None)
@given(samples, st.lists(st.integers(0, 200), max_size=4))
def test_merging_parts_in_any_cut_equals_the_whole_bit_for_bit(values: list[int], cuts: list[int]) -> None:
    whole, merged, decoded = Histogram(values), Histogram(), Histogram()
    edges = [0, *sorted(min(cut, len(values)) for cut in cuts), len(values)]
    for low, high in itertools.pairwise(edges):
        part = Histogram(values[low:high])
        merged.merge(part)
        decoded.merge_bytes(part.to_bytes())
    together = Histogram()
    parts = [Histogram(values[low:high]).to_bytes() for low, high in itertools.pairwise(edges)]
    together.merge_many([b"head" + part for part in parts], 4)
    assert whole.to_bytes() == merged.to_bytes() == decoded.to_bytes() == together.to_bytes()
    assert (len(values), sum(values)) == (whole.count, whole.sum)
    if values:
        assert (min(values), max(values)) == (whole.minimum, whole.maximum)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.integers(1, 10**7), max_size=30), max_size=8))
def test_many_plain_histograms_merge_at_once(parts: list[list[int]]) -> None:
    merged = Histogram()
    merged.merge_many([Histogram(part).to_bytes() for part in parts])
    assert Histogram([value for part in parts for value in part]) == merged


@settings(max_examples=40, deadline=None)
@given(samples, st.integers(-4, 6), st.integers(-4, 6))
def test_downscaling_equals_recording_at_the_coarser_scale(values: list[int], one: int, two: int) -> None:
    coarse, fine = sorted((one, two))
    assert Histogram(values, scale=coarse) == Histogram(values, scale=fine).downscaled(coarse)


@settings(max_examples=30, deadline=None)
@given(samples, samples)
def test_two_scales_merge_at_the_coarser_one_in_either_order(left: list[int], right: list[int]) -> None:
    for first, second in ((6, 3), (3, 6)):
        merged = Histogram(left, scale=first)
        merged.merge(Histogram(right, scale=second))
        if left and right:
            assert Histogram(left + right, scale=3) == merged


@settings(max_examples=60, deadline=None)
@given(samples)
def test_bytes_come_back_as_the_same_histogram(values: list[int]) -> None:
    histogram = Histogram(values)
    assert histogram == Histogram.from_bytes(histogram.to_bytes())


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=120), st.integers(0, 200), st.integers(0, 255))
def test_damaged_bytes_raise_a_format_error_and_nothing_else(noise: bytes, place: int, byte: int) -> None:
    good = bytearray(Histogram([5, -7, 0, 10**12, 10**6]).to_bytes())
    good[place % len(good)] = byte
    for data in (noise, bytes(good), bytes(good[: place % len(good)])):
        with contextlib.suppress(FormatError):
            Histogram.from_bytes(data)
        with contextlib.suppress(FormatError):
            Histogram().merge_many([data, Histogram([3]).to_bytes()])


GOLDENS = {
    "empty": Histogram(),
    "one": Histogram([1]),
    "signed": Histogram([-(2**63), -1000, -1, 0, 0, 1, 2, 3, 1000, 10**9, 2**63 - 1]),
    "wide_counts": Histogram(np.repeat(np.array([1000, 1_000_000], np.int64), [70_000, 300])),
    "wide_sum": Histogram([2**62] * 9),
    "coarse": Histogram([-5, 7, 123_456], scale=0),
}


@pytest.mark.parametrize("name", list(GOLDENS))
def test_the_binary_format_is_the_golden_one(name: str) -> None:
    golden = bytes.fromhex((GOLDEN / f"histogram_1_{name}.hex").read_text())
    assert golden.hex() == GOLDENS[name].to_bytes().hex()
    assert GOLDENS[name] == Histogram.from_bytes(golden)


def test_an_empty_histogram_answers_without_a_number() -> None:
    empty = Histogram()
    assert empty.count == 0
    assert math.isnan(empty.quantile(0.5))
    assert math.isnan(empty.mean)
    assert empty.fraction_over(1) == 0.0


def test_fraction_over_agrees_with_the_quantile() -> None:
    histogram = Histogram(range(1, 1001))
    assert 0.1 == pytest.approx(histogram.fraction_over(900), abs=0.01)
    assert 0.5 == Histogram([-1, 1]).negative_fraction


def test_a_rectangle_of_values_has_its_own_quantiles() -> None:
    histogram = Histogram([-50, 0, 10, 1000, 100_000])
    assert 2 == histogram.between(0, 500).count
    assert 1000 == pytest.approx(histogram.between(500, 5000).quantile(0.5), rel=ERROR_MAX)
    assert 0 == histogram.between(2, 3).count


def test_misuse_is_named() -> None:
    with pytest.raises(BadInput, match=r"between 0 and 1, not 99"):
        Histogram([1]).quantile(99)
    with pytest.raises(BadInput, match="cannot become finer"):
        Histogram(scale=3).downscaled(6)
    with pytest.raises(BadInput, match="scale"):
        Histogram(scale=7)
