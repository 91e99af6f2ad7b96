"""Rules that watch series and say when something is wrong, and when it is over.

A rule is the same query as a chart: it can only fire on what a page would show.

    p99(path{dst=cme}) > 250us over 30s for 10s clear 200us and coverage > 0.9
    share(http{route=/t} > 50ms) > 1% for 1m
    burn(http > 50ms, 99.9%) > 14.4 over 1h
    coverage(path) < 0.9 for 30s
    negative(path) > 0.1%
    lost(path) > 0

`over` is the window looked at (default 60 s), `for` how long the condition must hold before the rule fires and how
long it must be gone before it clears, `clear` the value it must come back to (hysteresis).  A window that saw too
little, or no samples at all, decides nothing: the state stays what it was.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from boxwork.clock import SECOND_NS
from boxwork.errors import BadInput
from boxwork.pulse.query import Answer
from boxwork.pulse.recorder import Pulse

log = logging.getLogger("boxwork.pulse")

UNITS = {"ns": 1.0, "us": 1e3, "µs": 1e3, "ms": 1e6, "s": 1e9, "m": 60e9, "h": 3600e9, "%": 0.01, "": 1.0}
OVER_SECONDS = 60.0
# A rule is looked at once a second, or ten times in its window: an hour's burn rate need not be asked each second.
PERIOD_MIN, PERIOD_MAX = 1.0, 60.0

Kind = Literal["quantile", "mean", "max", "min", "count", "share", "burn", "coverage", "negative", "lost"]
_FROM_SAMPLES = {"quantile", "mean", "max", "min", "share", "burn", "negative"}

_NUMBER = r"[-+]?\d+(?:\.\d+)?"
_AMOUNT = rf"{_NUMBER}\s*(?:ns|us|µs|ms|s|m|h|%)?(?![a-z])"
_RULE = re.compile(
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

    @classmethod
    def parse(cls, text: str, *, name: str = "") -> Rule:
        found = _RULE.fullmatch(text)
        if found is None:
            raise BadInput(f"{text!r} is not a rule; write for example `p99(path{{dst=cme}}) > 250us for 10s`")
        given: dict[str, Any] = {"name": name or text.strip()}
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
                given["clear"] = _amount(clause["amount"], text)
            else:
                given[f"{clause['word'].lower()}_seconds"] = _amount(clause["amount"], text) / SECOND_NS
        return cls(
            inside["pattern"],
            measure,  # type: ignore[arg-type]
            found["sign"] == ">",
            _amount(found["value"], text),
            **given,
        )

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


@dataclass(frozen=True, slots=True)
class Event:
    """A rule changed its mind at `at_ns` (wall time)."""

    kind: Literal["fired", "cleared"]
    rule: Rule
    value: float
    at_ns: int
    coverage: float

    def as_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "rule": self.rule.name,
            "value": self.value,
            "at_ns": self.at_ns,
            "coverage": self.coverage,
        }


@dataclass(slots=True)
class _State:
    rule: Rule
    firing: bool = False
    since_ns: int | None = None  # monotonic time at which the other state began to hold
    due_ns: int = 0
    value: float = math.nan
    fired_at_ns: int | None = None


class Watch:
    """Looks at its rules in the pulse's thread and tells subscribers; a subscriber must not wait."""

    def __init__(self, pulse: Pulse, *rules: Rule | str) -> None:
        self.pulse = pulse
        self._states: list[_State] = []
        self._subscribers: list[Callable[[Event], object]] = []
        self._stop: Callable[[], None] | None = None
        for rule in rules:
            self.add(rule)

    def add(self, rule: Rule | str) -> Rule:
        parsed = Rule.parse(rule) if isinstance(rule, str) else rule
        self._states.append(_State(parsed))
        return parsed

    def remove(self, rule: Rule) -> None:
        self._states = [state for state in self._states if state.rule != rule]

    def subscribe(self, subscriber: Callable[[Event], object]) -> Callable[[], None]:
        """Call `subscriber(event)` whenever a rule fires or clears; answers with how to stop it."""
        self._subscribers.append(subscriber)

        def stop() -> None:
            if subscriber in self._subscribers:
                self._subscribers.remove(subscriber)

        return stop

    def start(self) -> Watch:
        if self._stop is None:
            self._stop = self.pulse.every(PERIOD_MIN, self.look)
        return self

    def close(self) -> None:
        if self._stop is not None:
            self._stop()
            self._stop = None

    def firing(self) -> list[dict[str, Any]]:
        """The rules that hold now, for a page."""
        return [
            {"rule": state.rule.name, "value": state.value, "since_ns": state.fired_at_ns}
            for state in self._states
            if state.firing
        ]

    def look(self) -> list[Event]:
        """Look at every rule that is due; answers with what changed."""
        now = self.pulse.clock.monotonic_ns()
        events = []
        for state in self._states:
            if now < state.due_ns:
                continue
            period = min(PERIOD_MAX, max(PERIOD_MIN, state.rule.over_seconds / 10))
            state.due_ns = now + round(period * SECOND_NS) - SECOND_NS // 2
            event = self._judge(state, now)
            if event is not None:
                events.append(event)
                for subscriber in self._subscribers[:]:
                    try:
                        subscriber(event)
                    except Exception:
                        log.exception("pulse: a subscriber of %r failed", event.rule.name)
        return events

    def _judge(self, state: _State, now: int) -> Event | None:
        rule = state.rule
        answer = self.pulse.query(rule.pattern, last_seconds=rule.over_seconds)
        value = rule.measure(answer)
        if math.isnan(value):
            state.since_ns = None
            return None
        state.value = value
        turned = rule.recovered(value) if state.firing else rule.breached(value)
        if not turned:
            state.since_ns = None
            return None
        if state.since_ns is None:
            state.since_ns = now
        if now - state.since_ns < rule.for_seconds * SECOND_NS:
            return None
        state.firing, state.since_ns = not state.firing, None
        wall = self.pulse.clock.now_ns()
        state.fired_at_ns = wall if state.firing else None
        return Event("fired" if state.firing else "cleared", rule, value, wall, answer.coverage.ratio)


def _amount(text: str, whole: str) -> float:
    found = re.fullmatch(rf"({_NUMBER})\s*([a-zµ%]*)", text.strip(), re.IGNORECASE)
    if found is None or found[2].lower() not in UNITS:
        raise BadInput(f"{whole!r}: {text.strip()!r} is not an amount; units are {', '.join(u for u in UNITS if u)}")
    return float(found[1]) * UNITS[found[2].lower()]
