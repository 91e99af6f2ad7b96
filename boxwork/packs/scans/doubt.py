"""How sure a measure is: what the sensor may be off by, and how well the data fixed the value.  Lengths in metres.

The sensor's part: every reading of a length has an error of its own (standard deviation `reading`), and the whole
scan is too large or too small by one factor (standard deviation `relative`).  Published accuracy of phones with LiDAR
is 1 to 2 cm for one reading and about 1 % of a wall: with 1 cm and 0.5 % these are two standard deviations, so the
interval told, value ± 2 standard deviations, is meant to hold the truth in 95 of 100 cases.

From there: an edge of a polygon lies wrong by reading / √2, because a length is read between two of them.  With edges
l and area A the area's variance is then reading² / 2 · Σ l² + (2 · relative · A)²; a volume A · h has
(h · u_A)² + (A · reading)² for the readings, and 3 · relative · V for the factor.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

# 95 of 100 cases of a normal distribution.  Unit: standard deviations.
COVER = 2.0


@dataclass(frozen=True, slots=True)
class Sensor:
    """reading in metres, relative as a share; both standard deviations."""

    reading: float
    relative: float

    def length(self, value: float) -> float:
        return math.hypot(self.reading, self.relative * value)

    def rectangle(self, length: float, height: float) -> float:
        return math.hypot(self.reading * math.hypot(length, height), 2 * self.relative * length * height)

    def polygon(self, edges: Sequence[float], area: float) -> float:
        return math.hypot(self.area_reading(edges), 2 * self.relative * area)

    def area_reading(self, edges: Sequence[float]) -> float:
        return self.reading / math.sqrt(2) * math.sqrt(sum(edge * edge for edge in edges))

    def perimeter(self, edges: Sequence[float]) -> float:
        """Every edge moves its two neighbours' ends; right for right angles, a little much for others."""
        return math.hypot(self.reading * math.sqrt(2 * len(edges)), self.relative * sum(edges))

    def prism(self, edges: Sequence[float], area: float, height: float) -> float:
        read = math.hypot(height * self.area_reading(edges), area * self.reading)
        return math.hypot(read, 3 * self.relative * area * height)


def measure(value: float, unit: str, how: str, sensor: float, fit: float = 0.0) -> dict[str, Any]:
    """A value with its interval; `sensor` and `fit` are standard deviations."""
    return {
        "value": round(float(value), 5),
        "plus_minus": round(COVER * math.hypot(sensor, fit), 5),
        "fit_plus_minus": round(COVER * float(fit), 5),
        "unit": unit,
        "how": how,
    }
