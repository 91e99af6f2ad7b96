"""A rule says what is wrong with a series, in one line that people write.

    p99(path{dst=cme}) > 250us over 30s for 10s clear 200us and coverage > 0.9
    share(http{route=/t} > 50ms) > 1% for 1m
    burn(http > 50ms, 99.9%) > 14.4 over 1h
    coverage(path) < 0.9 for 30s
    negative(path) > 0.1%
    slow pages: p99(http) > 250ms

Before a colon stands a name, if it is to have one.  `over` is the window looked at (default 60 s), `for` how long the
condition must hold before the rule fires and how long it must be gone before it clears, `clear` the value it must
come back to (hysteresis).  A window that saw too little, or no samples at all, decides nothing: the state stays what
it was.  Amounts have the unit of their series: times as above, sizes in KiB, MiB or GiB, shares in %.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from boxwork.clock import SECOND_NS
from boxwork.errors import BadInput
from boxwork.pulse.query import Answer
from boxwork.pulse.series_name import Pattern

UNITS = {"ns": 1.0, "us": 1e3, "µs": 1e3, "ms": 1e6, "s": 1e9, "m": 60e9, "h": 3600e9, "%": 0.01, "": 1.0} | {
    "kib": 2.0**10, "mib": 2.0**20, "gib": 2.0**30, "tib": 2.0**40, "kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12,
}  # fmt: skip
# A quantile of a share, like `machine.cpu`, is in parts per million: there a percent is 10,000 of them.
PPM = 1e6
OVER_SECONDS = 60.0
NAME_LENGTH_MAX = 60

Kind = Literal["quantile", "mean", "max", "min", "count", "share", "burn", "coverage", "negative", "lost"]
# Their figures are in the unit of the series; the others are shares, factors and counts.
OF_THE_SERIES = {"quantile", "mean", "max", "min"}
_FROM_SAMPLES = {"quantile", "mean", "max", "min", "share", "burn", "negative"}

_NUMBER = r"[-+]?\d+(?:\.\d+)?"
_AMOUNT = rf"{_NUMBER}\s*(?:ns|us|µs|ms|s|m|h|%|[kmgt]i?b)?(?![a-z])"
_RULE = re.compile(
    rf"\s*(?:(?P<name>[\w][\w .-]{{0,{NAME_LENGTH_MAX}}}?)\s*:)?"
    rf"\s*(?P<measure>[a-z]+[0-9.]*)\s*\((?P<inside>.*)\)"
    rf"\s*(?P<sign>[<>])\s*(?P<value>{_AMOUNT})(?P<rest>.*)",
    re.IGNORECASE | re.DOTALL,
)
_CLAUSE = re.compile(
    rf"\s+(?:(?P<word>over|for|clear)\s+(?P<amount>{_AMOUNT})|and\s+coverage\s*>\s*(?P<coverage>{_AMOUNT}))",
    re.IGNORECASE,
)
_INSIDE = re.compile(
    rf"(?P<pattern>.*?)\s*(?:>\s*(?P<limit>{_AMOUNT}))?\s*(?:,\s*(?P<goal>{_AMOUNT}))?\s*", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Rule:
    """One thing to watch.  `limit` is the latency of `share` and `burn`, `goal` the objective of `burn`."""

    pattern: str
    kind: Kind
    above: bool
    value: float
    share: float = 0.99
    limit: float = 0.0
    goal: float = 0.999
    over_seconds: float = OVER_SECONDS
    for_seconds: float = 0.0
    clear: float | None = None
    coverage_min: float = 0.0
    name: str = ""
    text: str = field(default="", compare=False)
    #: The unit of the series as the limit was written, until a series is there: `250us` is of one in nanoseconds.
    unit: str = field(default="", compare=False)

    @classmethod
    def parse(cls, text: str, *, name: str = "") -> Rule:
        found = _RULE.fullmatch(text)
        if found is None:
            raise BadInput(f"{text!r} is not a rule; write for example `p99(path{{dst=cme}}) > 250us for 10s`")
        given: dict[str, Any] = {
            "name": name or (found["name"] or "").strip() or text.strip(),
            "text": _written(text, found),
            "unit": _unit(found["value"]),
        }
        measure = found["measure"].lower()
        if re.fullmatch(r"p\d+(\.\d+)?", measure):
            digits = measure[1:]
            # p50, p99, p99.9 are percents; p999 is the customary spelling of p99.9
            percent = float(digits if "." in digits or len(digits) <= 2 else f"{digits[:2]}.{digits[2:]}")
            given["share"] = round(percent / 100, 12)
            measure = "quantile"
        kinds = ("quantile", "mean", "max", "min", "count", "share", "burn", "coverage", "negative", "lost")
        if measure not in kinds:
            raise BadInput(f"{text!r}: {measure!r} cannot be watched; there are p50 … p99.9, {', '.join(kinds[1:])}")
        inside = _INSIDE.fullmatch(found["inside"])
        if inside is None or not inside["pattern"]:
            raise BadInput(f"{text!r}: {found['inside']!r} is not a series, with `> limit` for share and burn")
        Pattern.parse(inside["pattern"])  # a bad one is refused now, not at the first look
        if (measure in ("share", "burn")) != (inside["limit"] is not None):
            raise BadInput(f"{text!r}: share and burn, and only they, take a limit: `share(path > 5ms) > 1%`")
        if inside["limit"] is not None:
            given["limit"] = _amount(inside["limit"], text)
        if inside["goal"] is not None:
            given["goal"] = _amount(inside["goal"], text)
            if measure != "burn" or not 0 < given["goal"] < 1:
                raise BadInput(f"{text!r}: an objective belongs to burn and lies between 0 % and 100 %")
        position, rest = 0, found["rest"].rstrip()
        while position < len(rest):
            clause = _CLAUSE.match(rest, position)
            if clause is None:
                raise BadInput(
                    f"{text!r}: {rest[position:].strip()!r} is not understood; there are `over 30s`, `for 10s`,"
                    " `clear 200us` and `and coverage > 0.9`"
                )
            position = clause.end()
            if clause["word"] is None:
                given["coverage_min"] = _amount(clause["coverage"], text)
            elif clause["word"].lower() == "clear":
                given["clear"] = _threshold(measure, clause["amount"], text)
            else:
                given[f"{clause['word'].lower()}_seconds"] = _seconds(clause["word"].lower(), clause["amount"], text)
        return cls(
            inside["pattern"],
            measure,  # type: ignore[arg-type]
            found["sign"] == ">",
            _threshold(measure, found["value"], text),
            **given,
        )

    def as_json(self) -> dict[str, Any]:
        return {
            "rule": self.name,
            "text": self.text,
            "pattern": self.pattern,
            "kind": self.kind,
            "above": self.above,
            "threshold": self.value,
            "limit": self.limit if self.kind in ("share", "burn") else None,
            "over_seconds": self.over_seconds,
            "for_seconds": self.for_seconds,
        }

    def measure(self, answer: Answer) -> float:
        """The watched figure of an answer; NaN when it decides nothing."""
        histogram, coverage = answer.histogram, answer.coverage
        if not answer.series or (self.kind != "coverage" and coverage.ratio < self.coverage_min):
            return math.nan
        if self.kind in _FROM_SAMPLES and histogram.empty:
            return math.nan
        if self.kind == "burn":
            return histogram.fraction_over(self.limit) / (1 - self.goal)
        plain: dict[str, Callable[[], float]] = {
            "quantile": lambda: histogram.quantile(self.share),
            "mean": lambda: histogram.mean,
            "max": lambda: histogram.maximum,
            "min": lambda: histogram.minimum,
            "count": lambda: histogram.count,
            "share": lambda: histogram.fraction_over(self.limit),
            "coverage": lambda: coverage.ratio,
            "negative": lambda: histogram.negative_fraction,
            "lost": lambda: coverage.lost,
        }
        return plain[self.kind]()

    def breached(self, value: float) -> bool:
        return value > self.value if self.above else value < self.value

    def recovered(self, value: float) -> bool:
        """Has it come back to `clear`?  Between the two nothing changes."""
        if self.clear is None:
            return not self.breached(value)
        return value <= self.clear if self.above else value >= self.clear


def _written(text: str, found: re.Match[str]) -> str:
    """The rule without its name."""
    return text[found.start("measure") :].strip()


def _unit(amount: str) -> str:
    suffix = amount.lstrip("+-0123456789. ").lower()
    return {"": "", "%": "ppm"}.get(suffix, "bytes" if suffix.endswith("b") else "ns")


def _threshold(measure: str, text: str, whole: str) -> float:
    """What the watched figure is compared with."""
    amount = _amount(text, whole)
    return amount * PPM if measure in OF_THE_SERIES and text.rstrip().endswith("%") else amount


def _seconds(word: str, amount: str, whole: str) -> float:
    if _unit(amount) != "ns":  # a number alone would be one of nanoseconds, which nobody means
        raise BadInput(f"{whole!r}: `{word} {amount.strip()}` is no length of time: write `{word} 30s`, or ms, m, h")
    seconds = _amount(amount, whole) / SECOND_NS
    if seconds < 0 or (seconds == 0 and word == "over"):
        raise BadInput(f"{whole!r}: `{word} {amount.strip()}` is not above zero")
    return seconds


def _amount(text: str, whole: str) -> float:
    found = re.fullmatch(rf"({_NUMBER})\s*([a-zµ%]*)", text.strip(), re.IGNORECASE)
    if found is None or found[2].lower() not in UNITS:
        raise BadInput(f"{whole!r}: {text.strip()!r} is not an amount; units are {', '.join(u for u in UNITS if u)}")
    return float(found[1]) * UNITS[found[2].lower()]
