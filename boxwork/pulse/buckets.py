"""One side of a histogram: exponential buckets as a dense window of counts.

At scale s bucket i holds the magnitudes in (2**((i-1)/2**s), 2**(i/2**s)]: the upper bound belongs to it, as in
Prometheus; OpenTelemetry calls the same bucket i-1.  At scale 6 an octave has 64 buckets.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Counts: TypeAlias = npt.NDArray[np.int64]
Indices: TypeAlias = npt.NDArray[np.int64]
Numbers: TypeAlias = npt.NDArray[Any]

# 64 buckets an octave: relative error at most (b-1)/(b+1) = 0.5415 % with b = 2**(1/64).  See docs/pulse.md.
SCALE = 6
# A window grows by this many spare buckets (half an octave), so that a drifting latency does not copy it every time.
SPARE = 32


def index_of(magnitudes: npt.NDArray[np.uint64] | Counts, scale: int = SCALE) -> Indices:
    """The bucket of each magnitude (> 0).

    `log2` in floating point puts a magnitude within 1e-14 of a bound on either side of it; the error bound has
    more slack than that, and the tests compare with the exact integer rule `(v**64 - 1).bit_length()`.
    """
    exponents = np.log2(magnitudes)
    exponents *= 2.0**scale
    return np.ceil(exponents, out=exponents).astype(np.int64)


def upper_bound(index: int, scale: int = SCALE) -> float:
    """The largest magnitude of bucket `index`; the bucket before it ends where this one begins."""
    return math.exp2(index / 2.0**scale)


def representatives(indices: Indices, scale: int = SCALE) -> npt.NDArray[np.float64]:
    """The value that stands for each bucket: the harmonic middle of its bounds, which makes the relative error even."""
    bounds: npt.NDArray[np.float64] = np.exp2(indices / 2.0**scale)
    bounds *= 2.0 / (1.0 + 2.0 ** (1.0 / 2.0**scale))
    return bounds


class Buckets:
    """Counts of the buckets `base … base + len(counts) - 1`; all others are empty."""

    __slots__ = ("base", "counts")

    def __init__(self, base: int = 0, counts: Counts | None = None) -> None:
        self.base = base
        self.counts: Counts = np.zeros(0, np.int64) if counts is None else counts

    def cover(self, low: int, high: int) -> None:
        """Make the window hold the indices low … high - 1."""
        end = self.base + len(self.counts)
        if len(self.counts) == 0:
            self.base, self.counts = low, np.zeros(high - low, np.int64)
        elif low < self.base or high > end:
            base = low - SPARE if low < self.base else self.base
            grown = np.zeros((high + SPARE if high > end else end) - base, np.int64)
            grown[self.base - base : end - base] = self.counts
            self.base, self.counts = base, grown

    def add_indices(self, indices: Indices) -> None:
        """Count each index once more."""
        low = int(np.minimum.reduce(indices))
        counts = np.bincount(indices - low)
        if len(self.counts):
            self.add_window(low, counts)
        else:
            self.base, self.counts = low, counts

    def add_window(self, low: int, counts: Counts) -> None:
        """Add a dense run of counts that begins at index `low`."""
        high = low + len(counts)
        self.cover(low, high)
        self.counts[low - self.base : high - self.base] += counts

    def add_sparse(self, indices: Indices, counts: Numbers) -> None:
        """Add counts at distinct, ascending indices."""
        if len(indices):
            self.cover(int(indices[0]), int(indices[-1]) + 1)
            self.counts[indices - self.base] += counts

    def sparse(self) -> tuple[Indices, Counts]:
        """The occupied indices, ascending, and their counts."""
        places = self.counts.nonzero()[0]
        return places + self.base, self.counts[places]

    def total(self) -> int:
        return int(self.counts.sum())

    def downscaled(self, steps: int) -> Buckets:
        """Every 2**steps neighbours as one bucket: exact, as bounds of the coarser scale are bounds of this one."""
        indices, counts = self.sparse()
        coarse = Buckets()
        if len(indices):
            merged = -((-indices) >> steps)  # ceil(index / 2**steps)
            low = int(merged[0])
            window = np.zeros(int(merged[-1]) - low + 1, np.int64)
            np.add.at(window, merged - low, counts)
            coarse.add_window(low, window)
        return coarse

    def copy(self) -> Buckets:
        return Buckets(self.base, self.counts.copy())
