"""Intervals as small drawings: one scale for all rows, so that overlap is seen."""

from __future__ import annotations

from typing import Any

WIDTH, HEIGHT = 150, 18
# Beside the outermost intervals, as a share of their span; and the least span, so that equal models do not look apart.
MARGIN, SPAN_MIN = 0.08, 0.004


def axis(scores: list[dict[str, Any]]) -> tuple[float, float]:
    """From where to where the drawings of these scores go: all of them, without the dummy far below."""
    if not scores:
        return 0.0, 1.0
    low = min(score["macro_f1_interval"][0] for score in scores)
    high = max(score["macro_f1_interval"][1] for score in scores)
    margin = max(MARGIN * (high - low), (SPAN_MIN - (high - low)) / 2)
    return max(0.0, low - margin), min(1.0, high + margin)


def axis_text(scale: tuple[float, float]) -> str:
    return f"{scale[0]:.3f} to {scale[1]:.3f}"


def interval(value: float, edges: tuple[float, float], scale: tuple[float, float]) -> str:
    """An SVG of one interval; one that lies outside of the scale is an arrow to where it is."""
    low, high = edges
    said = f"{low:.4f} to {high:.4f}"
    if high < scale[0]:
        shape = f'<path class="away" d="M12 {HEIGHT / 2} h-8 m4 -4 l-4 4 l4 4"/>'
    else:
        left, right, at = (_x(number, scale) for number in (low, high, value))
        middle = HEIGHT / 2
        shape = (
            f'<line class="rail" x1="0" x2="{WIDTH}" y1="{middle}" y2="{middle}"/>'
            f'<rect x="{left:.1f}" y="{middle - 4}" width="{max(1.0, right - left):.1f}" height="8" rx="2"/>'
            f'<line class="at" x1="{at:.1f}" x2="{at:.1f}" y1="{middle - 7}" y2="{middle + 7}"/>'
        )
    return (
        f'<svg class="interval" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"'
        f' aria-label="{said}"><title>{said}</title>{shape}</svg>'
    )


def _x(number: float, scale: tuple[float, float]) -> float:
    low, high = scale
    return WIDTH * min(1.0, max(0.0, (number - low) / (high - low)))
