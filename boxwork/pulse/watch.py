"""Looks at rules and says when something is wrong, and when it is over.

A rule (`rule.py`) is the same query as a chart: it can only fire on what a page would show.  What changes is an
event: subscribers are told, the log has a line, and the last events stay here for the page.
"""

from __future__ import annotations

import logging
import math
import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from boxwork.clock import SECOND_NS
from boxwork.errors import BadInput
from boxwork.pulse.recorder import Pulse
from boxwork.pulse.rule import OF_THE_SERIES, Rule
from boxwork.pulse.series_name import SeriesName
from boxwork.settings import Setting, Settings

log = logging.getLogger("boxwork.pulse")

SETTINGS = (
    Setting(
        "pulse.watch",
        "",
        "",
        "rules to watch, one a line or with `;` between: `slow pages: p99(http) > 250ms over 5m for 30s`; a line that"
        " begins with # is none",
    ),
)

# A rule is looked at once a second, or ten times in its window: an hour's burn rate need not be asked each second.
PERIOD_MIN, PERIOD_MAX = 1.0, 60.0
# What changed, for a page; the log has all of it.  Unit: events.
EVENTS_MAX = 200
# Each rule is a query of about 0.1 ms in the aggregator's thread, once a second.  Unit: rules.
RULES_MAX = 200

Condition = Literal["firing", "pending", "clearing", "quiet", "unknown"]


_BETWEEN = re.compile(r"\n|;(?![^{]*\})")


def rules_in(text: str) -> list[Rule]:
    """The rules of a setting: one a line, or with `;` between them."""
    lines = (line.strip() for line in _BETWEEN.split(text))
    return [Rule.parse(line) for line in lines if line and not line.startswith("#")]


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
            "text": self.rule.text,
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
    value: float = math.nan  # of the last look; NaN when that decided nothing
    coverage: float = 0.0
    series: tuple[SeriesName, ...] = ()
    unit: str = ""
    changed_at_ns: int | None = None

    def condition(self) -> Condition:
        if self.since_ns is not None:
            return "clearing" if self.firing else "pending"
        if self.firing:
            return "firing"
        return "unknown" if math.isnan(self.value) else "quiet"


class Watch:
    """Looks at its rules in the pulse's thread and tells subscribers; a subscriber must not wait."""

    def __init__(self, pulse: Pulse, *rules: Rule | str) -> None:
        self.pulse = pulse
        #: What changed lately, oldest first.
        self.events: deque[Event] = deque(maxlen=EVENTS_MAX)
        self._states: list[_State] = []
        self._subscribers: list[Callable[[Event], object]] = []
        self._stop: Callable[[], None] | None = None
        for rule in rules:
            self.add(rule)

    @classmethod
    def from_settings(cls, pulse: Pulse, settings: Settings) -> Watch:
        """The rules of the setting `pulse.watch`; events go to the log.  Raises `BadInput` for what is no rule."""
        try:
            watch = cls(pulse, *rules_in(settings.text("pulse.watch")))
        except BadInput as reason:
            raise BadInput(
                f"the setting pulse.watch of {settings.where('pulse.watch')}: {reason.message}", setting="pulse.watch"
            ) from None
        watch.subscribe(_log)
        return watch

    def add(self, rule: Rule | str) -> Rule:
        parsed = Rule.parse(rule) if isinstance(rule, str) else rule
        if len(self._states) >= RULES_MAX:
            raise BadInput(
                f"{RULES_MAX} rules are watched already; one pattern may stand for many series: `path{{dst=*}}`"
            )
        self._states = [*self._states, _State(parsed)]
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

    def __len__(self) -> int:
        return len(self._states)

    def firing(self) -> list[dict[str, Any]]:
        """The rules that hold now."""
        return [
            {"rule": state.rule.name, "value": state.value, "since_ns": state.changed_at_ns}
            for state in self._states
            if state.firing
        ]

    def rules(self) -> list[dict[str, Any]]:
        """Every rule and how it stands, for a page: firing, pending (not long enough yet), clearing, quiet, unknown."""
        now = self.pulse.clock.monotonic_ns()
        return [
            {
                **state.rule.as_json(),
                "condition": state.condition(),
                "value": None if math.isnan(state.value) else state.value,
                "unit": (state.unit or state.rule.unit) if state.rule.kind in OF_THE_SERIES else "",
                "coverage": state.coverage,
                "series": len(state.series),
                "example": str(state.series[0]) if state.series else None,
                "since_ns": state.changed_at_ns,
                "held_seconds": None if state.since_ns is None else (now - state.since_ns) / SECOND_NS,
            }
            for state in self._states
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
                self._tell(event)
        return events

    def _tell(self, event: Event) -> None:
        self.events.append(event)
        for subscriber in self._subscribers[:]:
            try:
                subscriber(event)
            except Exception:
                log.exception("pulse: a subscriber of %r failed", event.rule.name)

    def _judge(self, state: _State, now: int) -> Event | None:
        rule = state.rule
        answer = self.pulse.query(rule.pattern, last_seconds=rule.over_seconds)
        state.value = value = rule.measure(answer)
        state.coverage, state.series = answer.coverage.ratio, tuple(answer.series)
        if answer.series and not state.unit:
            state.unit = next((info.unit for info in self.pulse.catalog() if info.name == answer.series[0]), "ns")
        if math.isnan(value):
            state.since_ns = None
            return None
        turned = rule.recovered(value) if state.firing else rule.breached(value)
        if not turned:
            state.since_ns = None
            return None
        if state.since_ns is None:
            state.since_ns = now
        if now - state.since_ns < rule.for_seconds * SECOND_NS:
            return None
        state.firing, state.since_ns = not state.firing, None
        wall = state.changed_at_ns = self.pulse.clock.now_ns()
        return Event("fired" if state.firing else "cleared", rule, value, wall, answer.coverage.ratio)


def _log(event: Event) -> None:
    log.warning("%s: %s", event.kind, event.rule.name, extra={"value": event.value, "coverage": event.coverage})
