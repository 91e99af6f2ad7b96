"""A mergeable histogram of signed integers, relative error at most 0.5416 %.

Base-2 exponential buckets at scale 6 (64 an octave) on both sides of a zero bucket.  Merging adds integers, so a
rollup of any depth equals the histogram of all its samples, bit for bit.  It maps one to one to Prometheus native
histograms (schema 6) and OTLP exponential histograms: see `exchange.py`.

Binary format 1, little endian:

    u8 version=1 · i8 scale · u16 flags · u16 buckets · i32 first index · i64 sum (low half) · i64 min · i64 max
    [i64 high half of sum]          flag 16
    [u64 zero count]                flag 32
    [u16 buckets · i32 first index · u16 widths of the negative side]   flag 64
    positive gaps · positive counts · negative gaps · negative counts

A gap is the number of empty buckets before an occupied one.  `widths` (the low three bits of flags for the
positive side): bit 0: gaps are u16 instead of u8; bits 1-2: counts are u8, u16, u32 or u64.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from boxwork.errors import BadInput, FormatError
from boxwork.pulse.buckets import SCALE, Buckets, Counts, Indices, Numbers, index_of, representatives

VERSION = 1
WIDE_SUM, HAS_ZERO, HAS_NEGATIVE = 16, 32, 64
HEADER = struct.Struct("<BbHHiqqq")
SIDE = struct.Struct("<HiH")
WORD = struct.Struct("<q")
ZERO_COUNT = struct.Struct("<Q")

# Samples are bucketed this many at a time: the working set of one round (5 arrays of 8 bytes) stays in the second-level
# cache; a million at once costs 30 ns each instead of 3.  Unit: samples.  Source: bench/pulse_aggregate.py.
CHUNK = 16_384
# The sum of a chunk cannot overflow while every magnitude is below this.  Unit: the samples' own.
PLAIN_SUM_MAX = 2**62 // CHUNK

# No bucket lies beyond this, on either side: the whole range of a double at scale 6 has indices within 2**17.  A
# damaged file must not make a window of gigabytes.  Unit: buckets.
INDEX_MAX = 1 << 17

_COUNT_TYPES = (np.dtype("<u1"), np.dtype("<u2"), np.dtype("<u4"), np.dtype("<u8"))
_GAP_TYPES = (np.dtype("<u1"), np.dtype("<u2"))
_COUNT_LIMITS = (1 << 8, 1 << 16, 1 << 32)
_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1
_NOTHING = np.zeros(0, np.int64)


class Histogram:
    """Counts of samples by magnitude and sign, with exact count, sum, minimum and maximum.

    Not thread-safe: one owner adds, others get copies.  `minimum` and `maximum` are 0 when it is empty.
    """

    __slots__ = ("maximum", "minimum", "negative", "positive", "scale", "sum", "zero")

    def __init__(self, samples: Iterable[int] = (), *, scale: int = SCALE) -> None:
        if not -4 <= scale <= SCALE:
            raise BadInput(f"a histogram's scale is -4 … {SCALE}, not {scale}")
        self.scale = scale
        self.zero = 0
        self.sum = 0
        self.minimum = 0
        self.maximum = 0
        self.positive = Buckets()
        self.negative = Buckets()
        values = np.asarray(samples if isinstance(samples, (np.ndarray, list, tuple)) else list(samples), np.int64)
        if len(values):
            self.add(values)

    # --- adding

    def add(self, samples: npt.NDArray[np.int64]) -> None:
        """Add int64 samples, in chunks."""
        for start in range(0, len(samples), CHUNK):
            self._add_chunk(samples[start : start + CHUNK])

    def record(self, sample: int) -> None:
        """Add one sample; for many, `add` is 100 times cheaper per sample."""
        self._add_chunk(np.array([sample], np.int64))

    def _add_chunk(self, chunk: npt.NDArray[np.int64]) -> None:
        # The ufuncs themselves: the methods of the array add a microsecond each, and most intervals are short.
        low, high = int(np.minimum.reduce(chunk)), int(np.maximum.reduce(chunk))
        if self.empty:
            self.minimum, self.maximum = low, high
        else:
            self.minimum, self.maximum = min(self.minimum, low), max(self.maximum, high)
        if low > -PLAIN_SUM_MAX and high < PLAIN_SUM_MAX:
            self.sum += int(np.add.reduce(chunk))
        else:  # in two halves, so that 64 bits cannot overflow
            self.sum += (int((chunk >> 32).sum()) << 32) + int((chunk & 0xFFFFFFFF).sum())
        if low > 0:
            self.positive.add_indices(index_of(chunk, self.scale))
            return
        above = chunk[chunk > 0]
        # The magnitude of -2**63 does not fit in int64; as unsigned bits it is right.
        below = np.abs(chunk[chunk < 0]).view(np.uint64)
        self.zero += len(chunk) - len(above) - len(below)
        if len(above):
            self.positive.add_indices(index_of(above, self.scale))
        if len(below):
            self.negative.add_indices(index_of(below, self.scale))

    def merge(self, other: Histogram) -> None:
        """Add all of `other`; of two scales the coarser one holds afterwards."""
        if other.empty:
            return
        if other.scale < self.scale:
            self._become(self.downscaled(other.scale))
        elif other.scale > self.scale:
            other = other.downscaled(self.scale)
        if self.empty:
            self.minimum, self.maximum = other.minimum, other.maximum
        else:
            self.minimum, self.maximum = min(self.minimum, other.minimum), max(self.maximum, other.maximum)
        self.zero += other.zero
        self.sum += other.sum
        for mine, theirs in ((self.positive, other.positive), (self.negative, other.negative)):
            if len(theirs.counts):
                mine.add_window(theirs.base, theirs.counts)

    def _become(self, other: Histogram) -> None:
        self.scale, self.positive, self.negative = other.scale, other.positive, other.negative

    def downscaled(self, scale: int) -> Histogram:
        """The same samples at a coarser scale: equal to having recorded them there."""
        if scale > self.scale:
            raise BadInput(f"a histogram of scale {self.scale} cannot become finer ({scale})")
        coarse = Histogram(scale=scale)
        coarse.zero, coarse.sum = self.zero, self.sum
        coarse.minimum, coarse.maximum = self.minimum, self.maximum
        coarse.positive = self.positive.downscaled(self.scale - scale)
        coarse.negative = self.negative.downscaled(self.scale - scale)
        return coarse

    def copy(self) -> Histogram:
        twin = Histogram(scale=self.scale)
        twin.zero, twin.sum, twin.minimum, twin.maximum = self.zero, self.sum, self.minimum, self.maximum
        twin.positive, twin.negative = self.positive.copy(), self.negative.copy()
        return twin

    # --- reading

    @property
    def count(self) -> int:
        return self.zero + int(self.positive.counts.sum()) + int(self.negative.counts.sum())

    @property
    def empty(self) -> bool:
        # A window is made for a first count, so its mere existence says that there is one.
        return not (self.zero or len(self.positive.counts) or len(self.negative.counts))

    @property
    def mean(self) -> float:
        """The exact mean; not a number when it is empty."""
        count = self.count
        return self.sum / count if count else math.nan

    @property
    def negative_fraction(self) -> float:
        """The share of samples below zero: clocks that disagree, not time that runs backwards."""
        count = self.count
        return self.negative.total() / count if count else 0.0

    def cells(self) -> tuple[npt.NDArray[np.float64], Counts]:
        """Every occupied bucket in ascending order: the value that stands for it, and its count."""
        below, below_counts = self.negative.sparse()
        above, above_counts = self.positive.sparse()
        zero = _NOTHING[:0] if self.zero == 0 else np.array([self.zero])
        values = np.concatenate(
            [-representatives(below, self.scale)[::-1], np.zeros(len(zero)), representatives(above, self.scale)]
        )
        if len(values):  # no sample lies outside, so clamping can only bring a representative nearer
            np.clip(values, self.minimum, self.maximum, out=values)
        return values, np.concatenate([below_counts[::-1], zero, above_counts])

    def quantiles(self, shares: Sequence[float]) -> list[float]:
        """The nearest-rank quantiles, each within 0.5416 % of the true sample; NaN when it is empty."""
        for share in shares:
            if not 0.0 <= share <= 1.0:
                raise BadInput(f"a quantile is asked for a share between 0 and 1, not {share!r}")
        values, counts = self.cells()
        if not len(values):
            return [math.nan] * len(shares)
        ranks = np.cumsum(counts)
        total = int(ranks[-1])
        # 0.07 * 100 is 7.000000000000001 in floating point; the factor keeps such a product from the next rank.
        wanted = [max(1, math.ceil(share * total * (1 - 1e-12))) for share in shares]
        return [float(values[place]) for place in np.searchsorted(ranks, wanted)]

    def quantile(self, share: float) -> float:
        return self.quantiles((share,))[0]

    def fraction_over(self, limit: float) -> float:
        """The share of samples above `limit`, a bucket counting as its representative; 0 when it is empty."""
        values, counts = self.cells()
        total = int(counts.sum())
        return float(counts[values > limit].sum()) / total if total else 0.0

    def between(self, low: float, high: float) -> Histogram:
        """The buckets whose representative lies in [low, high]; sum, minimum and maximum become estimates."""
        part = Histogram(scale=self.scale)
        for sign, mine, theirs in ((1.0, self.positive, part.positive), (-1.0, self.negative, part.negative)):
            indices, counts = mine.sparse()
            values = np.clip(sign * representatives(indices, self.scale), self.minimum, self.maximum)
            kept = (values >= low) & (values <= high)
            theirs.add_sparse(indices[kept], counts[kept])
        part.zero = self.zero if low <= 0 <= high else 0
        part.minimum, part.maximum = self.minimum, self.maximum
        values, counts = part.cells()
        if len(values):
            part.sum = round(float((values * counts).sum()))
            part.minimum, part.maximum = math.floor(values[0]), math.ceil(values[-1])
        else:
            part.minimum = part.maximum = 0
        return part

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Histogram) and self.to_bytes() == other.to_bytes()

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        if not self.count:
            return "Histogram(empty)"
        middle, high = self.quantiles((0.5, 0.99))
        return f"Histogram(count={self.count}, p50={middle:.6g}, p99={high:.6g}, max={self.maximum})"

    # --- binary

    def to_bytes(self) -> bytes:
        """Format 1; an empty histogram is zero bytes long."""
        if self.empty:
            return b""
        indices, counts = self.positive.sparse()
        flags, first, body = _encode_side(indices, counts)
        below, below_counts = self.negative.sparse() if len(self.negative.counts) else (_NOTHING, _NOTHING)
        head = []
        if not -(2**63) <= self.sum < 2**63:
            flags |= WIDE_SUM
            head.append(WORD.pack(self.sum >> 64))
        if self.zero:
            flags |= HAS_ZERO
            head.append(ZERO_COUNT.pack(self.zero))
        if len(below):
            flags |= HAS_NEGATIVE
            widths, below_first, below_body = _encode_side(below, below_counts)
            head.append(SIDE.pack(len(below), below_first, widths))
            body += below_body
        low_sum = self.sum if not flags & WIDE_SUM else _signed(self.sum & 0xFFFFFFFFFFFFFFFF)
        return b"".join(
            (
                HEADER.pack(VERSION, self.scale, flags, len(indices), first, low_sum, self.minimum, self.maximum),
                *head,
                body,
            )
        )

    @classmethod
    def from_bytes(cls, data: bytes | memoryview) -> Histogram:
        """The inverse of `to_bytes`; FormatError names what is wrong."""
        histogram = cls()
        if len(data):
            histogram.merge_bytes(data)
        return histogram

    def merge_many(self, blobs: Sequence[bytes], skip: int = 0) -> None:
        """`merge_bytes(blob[skip:])` for all of them, usual ones together: 2 us each instead of 8."""
        groups: dict[int, _Group] = {}
        low, high = _INT64_MAX, _INT64_MIN
        for blob in blobs:
            if len(blob) < skip + HEADER.size:
                self.merge_bytes(memoryview(blob)[skip:])
                continue
            version, scale, flags, buckets, first, total, minimum, maximum = HEADER.unpack_from(blob, skip)
            at = skip + HEADER.size
            middle = at + (buckets << (flags & 1))
            if (
                version != VERSION
                or scale != self.scale
                or flags > 7
                or not buckets
                or middle + (buckets << (flags >> 1)) != len(blob)
            ):
                self.merge_bytes(memoryview(blob)[skip:])
                continue
            group = groups.get(flags)
            if group is None:
                group = groups[flags] = _Group()
            group.gaps.append(blob[at:middle])
            group.counts.append(blob[middle:])
            group.buckets.append(buckets)
            group.firsts.append(first)
            self.sum += total
            if minimum < low:
                low = minimum
            if maximum > high:
                high = maximum
        if not groups:
            return
        empty = self.empty
        for widths, group in groups.items():
            indices, counts = group.decoded(widths)
            lowest, highest = int(indices.min()), int(indices.max())
            if max(-lowest, highest) > INDEX_MAX:
                raise FormatError(f"a histogram has buckets from {lowest} to {highest}: it is damaged")
            self.positive.cover(lowest, highest + 1)
            np.add.at(self.positive.counts, indices - self.positive.base, counts.astype(np.int64))
        self.minimum = low if empty else min(self.minimum, low)
        self.maximum = high if empty else max(self.maximum, high)

    def merge_bytes(self, data: bytes | memoryview) -> None:
        """`merge(Histogram.from_bytes(data))` without the histogram between: what a query does hundreds of times."""
        if not len(data):
            return
        scale, total, low, high, zero, above, below = _decode(data)
        if scale != self.scale:
            if self.empty:
                self.scale = scale
            else:
                other = Histogram(scale=scale)
                other.merge_bytes(data)
                self.merge(other)
                return
        if self.empty:
            self.minimum, self.maximum = low, high
        else:
            self.minimum, self.maximum = min(self.minimum, low), max(self.maximum, high)
        self.sum += total
        self.zero += zero
        self.positive.add_sparse(*above)
        if below is not None:
            self.negative.add_sparse(*below)


class _Group:
    """Plain histograms (no zero, nothing negative) whose arrays have the same widths, waiting to be decoded at once."""

    __slots__ = ("buckets", "counts", "firsts", "gaps")

    def __init__(self) -> None:
        self.gaps: list[bytes] = []
        self.counts: list[bytes] = []
        self.buckets: list[int] = []
        self.firsts: list[int] = []

    def decoded(self, widths: int) -> _Side:
        """Indices (with repetitions, in no order) and their counts."""
        steps = np.frombuffer(b"".join(self.gaps), _GAP_TYPES[widths & 1]).astype(np.int64)
        steps += 1
        places = np.cumsum(steps)
        lengths = np.array(self.buckets)
        starts = np.cumsum(lengths) - lengths
        # One running sum goes through all of them; each is moved so that it begins at its own first index.
        places += np.repeat(np.array(self.firsts) - places[starts], lengths)
        return places, np.frombuffer(b"".join(self.counts), _COUNT_TYPES[widths >> 1])


_Side = tuple[Indices, Numbers]
_Decoded = tuple[int, int, int, int, int, _Side, _Side | None]


def _encode_side(indices: Indices, counts: Counts) -> tuple[int, int, bytes]:
    if not len(indices):
        return 0, 0, b""
    gaps = np.empty(len(indices), np.int64)
    gaps[0] = 0
    np.subtract(indices[1:], indices[:-1], out=gaps[1:])
    gaps[1:] -= 1
    widest, largest = int(np.maximum.reduce(gaps)), int(np.maximum.reduce(counts))
    wide_gap = widest > 255
    if widest > 65535:
        raise BadInput(f"a histogram with {widest} empty buckets between two others cannot be written")
    width = 0 if largest < 256 else 1 if largest < 65536 else 2 if largest < _COUNT_LIMITS[2] else 3
    body = gaps.astype(_GAP_TYPES[wide_gap]).tobytes() + counts.astype(_COUNT_TYPES[width]).tobytes()
    return int(wide_gap) | width << 1, int(indices[0]), body


def _decode(data: bytes | memoryview) -> _Decoded:
    try:
        version, scale, flags, buckets, first, total, low, high = HEADER.unpack_from(data)
        if version != VERSION:
            raise FormatError(f"this histogram has format {version}; this version of Boxwork reads format {VERSION}")
        if not -4 <= scale <= SCALE or flags & ~0x77:
            raise FormatError(f"a histogram has scale {scale} and flags {flags:#x}: it is damaged")
        position = HEADER.size
        if flags & WIDE_SUM:
            total = (WORD.unpack_from(data, position)[0] << 64) | (total & 0xFFFFFFFFFFFFFFFF)
            position += WORD.size
        zero = 0
        if flags & HAS_ZERO:
            (zero,) = ZERO_COUNT.unpack_from(data, position)
            position += ZERO_COUNT.size
        below_buckets = below_first = widths = 0
        if flags & HAS_NEGATIVE:
            below_buckets, below_first, widths = SIDE.unpack_from(data, position)
            position += SIDE.size
        above, position = _decode_side(data, position, flags, buckets, first)
        below = None
        if flags & HAS_NEGATIVE:
            below, position = _decode_side(data, position, widths, below_buckets, below_first)
        if position != len(data):
            raise FormatError(f"a histogram has {len(data) - position} bytes too many: it is damaged")
    except (struct.error, ValueError, IndexError) as reason:
        raise FormatError(f"a histogram of {len(data)} bytes is cut short or damaged: {reason}") from reason
    return scale, total, low, high, zero, above, below


def _decode_side(data: bytes | memoryview, position: int, widths: int, buckets: int, first: int) -> tuple[_Side, int]:
    if abs(first) > INDEX_MAX:
        raise FormatError(f"a histogram's first bucket is {first}: it is damaged")
    gap_type, count_type = _GAP_TYPES[widths & 1], _COUNT_TYPES[widths >> 1 & 3]
    indices = np.frombuffer(data, gap_type, buckets, position).astype(np.int64)
    position += buckets * gap_type.itemsize
    if buckets:
        indices += 1
        indices[0] = first
        np.cumsum(indices, out=indices)
        if int(indices[-1]) > INDEX_MAX:
            raise FormatError(f"a histogram's last bucket is {int(indices[-1])}: it is damaged")
    counts = np.frombuffer(data, count_type, buckets, position)
    return (indices, counts), position + buckets * count_type.itemsize


def _signed(word: int) -> int:
    return word - (1 << 64) if word >> 63 else word
