"""How a rollout goes: its steps, its gates, and what to do next, as a pure function.

The decision knows nothing of clocks, hosts or networks: it is handed what was reported and answers with one move.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Annotated, Literal, TypeAlias

import msgspec

from boxwork import errors, ref_of

SECOND_NS = 1_000_000_000


class Latency(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A gate on the project's own histograms: the p99 of what `series` matches stays below `p99_ms`.

    Looked at over `window_s`; fewer than `samples_min` samples say nothing.
    """

    series: str
    p99_ms: Annotated[float, msgspec.Meta(gt=0, le=86_400_000)]
    window_s: Annotated[float, msgspec.Meta(gt=0, le=86_400)] = 60.0
    samples_min: Annotated[int, msgspec.Meta(ge=1, le=1_000_000_000)] = 100


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Steps and gates.

    kind          `linear` adds `growth` of the cohort each step, `exponential` multiplies by it, `once` takes all
    first         the share of the cohort in the first step; at least one host
    bake_s        so long every host of a step must have been well before the next
    failures_max  this many unwell hosts are borne; one more and all go back
    ack_s         a host that has said nothing for so long is silent
    silent_max    the share of moved hosts that may be silent (machines are off); above it the rollout pauses
    """

    kind: Literal["linear", "exponential", "once"] = "exponential"
    first: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.01
    growth: Annotated[float, msgspec.Meta(gt=0, le=1_000)] = 2.0
    bake_s: Annotated[float, msgspec.Meta(ge=0, le=604_800)] = 10.0
    failures_max: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 0
    ack_s: Annotated[float, msgspec.Meta(gt=0, le=86_400)] = 120.0
    silent_max: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.1
    latency: Latency | None = None

    def __post_init__(self) -> None:
        if self.kind == "exponential" and self.growth <= 1:
            raise ValueError(f"growth={self.growth:g}: an exponential rollout multiplies by more than 1")
        if self.kind == "linear" and self.growth > 1:
            raise ValueError(f"growth={self.growth:g}: a linear rollout adds a share of the cohort, at most 1")

    def reach(self, step: int, cohort: int) -> int:
        """How many hosts have been moved after `step` steps: 0 at the beginning, all at the end."""
        return max(itertools.islice(self.steps(cohort), max(0, step)), default=0)

    def steps(self, cohort: int) -> Iterator[int]:
        """The reach of each step, until all: each at least one host further, for a share may be less than one."""
        share, reached = 1.0 if self.kind == "once" else self.first, 0
        while reached < cohort:
            # Shares are decimal fractions: 0.07 of 100 hosts are 7, though 0.07 * 100 is a hair more.
            reached = min(cohort, max(reached + 1, math.ceil(share * cohort - 1e-9)))
            yield reached
            share = min(1.0, share * self.growth if self.kind == "exponential" else share + self.growth)


class BadPlan(errors.BadInput):
    """Fields that cannot be, or do not fit each other."""

    code = "fleet.plan"
    status = 422


def plan_of(values: dict[str, object]) -> Plan:
    """A plan from its fields.  Raises `BadPlan` with the field that cannot be."""
    try:
        return msgspec.convert(values, Plan, strict=False)
    except msgspec.ValidationError as fault:
        raise BadPlan(f"the plan of the rollout: {fault}") from None


def order(rollout: int, hosts: list[str]) -> list[str]:
    """The cohort in its order: by hash, so it is spread over racks and names, and others go first each time."""
    return sorted(hosts, key=lambda host: ref_of(f"fleet rollout {rollout}\0{host}".encode()))


class Seen(msgspec.Struct, frozen=True):
    """What is known of the hosts that were moved, and of the gate on latency."""

    moved: int
    well: int
    unwell: tuple[tuple[str, str], ...] = ()  # (host, reason)
    silent: int = 0  # have not answered within ack_s
    p99_ms: float | None = None  # None: too few samples to say anything


class Wait(msgspec.Struct, frozen=True):
    until: str


class Advance(msgspec.Struct, frozen=True):
    why: str


class Finish(msgspec.Struct, frozen=True):
    why: str


class Revert(msgspec.Struct, frozen=True):
    why: str


class Pause(msgspec.Struct, frozen=True):
    why: str


Move: TypeAlias = Wait | Advance | Finish | Revert | Pause


def decide(plan: Plan, cohort: int, moved: int, baked_s: float, seen: Seen) -> Move:
    """The next move of a running rollout; `baked_s` is how long ago the last step was taken."""
    if len(seen.unwell) > plan.failures_max:
        host, reason = seen.unwell[0]
        more = f" and {len(seen.unwell) - 1} more" if len(seen.unwell) > 1 else ""
        return Revert(f"{host}{more}: {reason or 'unwell'}")
    gate = plan.latency
    if gate is not None and moved and seen.p99_ms is not None and seen.p99_ms > gate.p99_ms:
        return Revert(f"p99 of {gate.series} is {seen.p99_ms:.1f} ms, above {gate.p99_ms:g} ms")
    if not moved and cohort:
        return Advance("the first ones")
    waiting = seen.moved - seen.well - len(seen.unwell) - seen.silent
    if waiting > 0:
        return Wait(f"{waiting} of {seen.moved} hosts to answer")
    if seen.silent > plan.silent_max * max(1, seen.moved):
        return Pause(f"{seen.silent} of {seen.moved} hosts have not answered for {plan.ack_s:g} s")
    if baked_s < plan.bake_s:
        return Wait(f"{plan.bake_s - baked_s:.0f} s of baking")
    if gate is not None and moved and seen.p99_ms is None and baked_s < plan.bake_s + gate.window_s:
        return Wait(f"{gate.samples_min} samples of {gate.series}")
    if moved >= cohort:
        return Finish("all hosts are well")
    return Advance(f"{seen.well} of {seen.moved} are well")
