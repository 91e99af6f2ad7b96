"""What a transaction does to facts: puts, and merges that commute.

A *merge* says how a value changes without saying what it was: add, max, min, union, append.  Two transactions
that merge into one key never conflict, whatever they read elsewhere.  A merge with bounds also carries a *guard*:
the bounds must hold at the transaction's place in the order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from boxwork.errors import BadInput, BoundReached
from boxwork.state.order import Key
from boxwork.state.values import ABSENT, DELETED, Packed, freeze, unpack

Kind: TypeAlias = Literal["add", "max", "min", "union", "append"]
Merge: TypeAlias = tuple[Kind, Any]


@dataclass(frozen=True, slots=True)
class Guard:
    """At this transaction's place, the value of `key` plus `delta` must lie within the bounds.

    `delta` counts everything the transaction has added to the key up to the guarded call.  A guard stays even
    if the transaction overwrites the key afterwards.
    """

    key: Key
    delta: int
    low: int | None
    high: int | None

    def check(self, stored: Any) -> None:
        """Raise `BoundReached` if it does not hold on this stored value."""
        before = number(self.key, stored)
        bound_check(self.key, before, before + self.delta, self.low, self.high)


def bound_check(key: Key, before: int, after: int, low: int | None, high: int | None) -> None:
    if low is not None and after < low:
        raise BoundReached(
            f"{key!r} is {before}; adding {after - before} would take it below {low}",
            key=list(map(str, key)),
            value=before,
            after=after,
            bound=low,
        )
    if high is not None and after > high:
        raise BoundReached(
            f"{key!r} is {before}; adding {after - before} would take it above {high}",
            key=list(map(str, key)),
            value=before,
            after=after,
            bound=high,
        )


def number(key: Key, stored: Any) -> int:
    """A stored value as the int that `add` needs; an absent one is 0."""
    if stored.__class__ is int:
        return stored
    if stored is ABSENT or stored is DELETED:
        return 0
    raise BadInput(f"{key!r} holds {_shown(stored)}, and add() changes ints: count in the smallest unit (cents, ns)")


def check_amount(key: Key, delta: Any) -> None:
    if delta.__class__ is not int:
        raise BadInput(
            f"add({key!r}, {delta!r}): the amount is a {type(delta).__name__}; only ints add up to the same"
            " sum in every order, so count in the smallest unit (cents, ns)"
        )


def merged(key: Key, stored: Any, kind: Kind, amount: Any) -> Any:
    """The stored value after a merge."""
    if kind == "add":
        return number(key, stored) + amount
    absent = stored is ABSENT or stored is DELETED
    if kind == "max" or kind == "min":
        if absent:
            return freeze(amount)
        value = unpack(stored.payload) if stored.__class__ is Packed else stored
        try:
            better = amount > value if kind == "max" else amount < value
        except TypeError:
            raise BadInput(f"{key!r} holds {_shown(stored)}, which does not compare with {amount!r}") from None
        return freeze(amount) if better else stored
    if kind == "union":
        members = frozenset() if absent else (unpack(stored.payload) if stored.__class__ is Packed else stored)
        if not isinstance(members, (set, frozenset)):
            raise BadInput(f"{key!r} holds {_shown(stored)}, and union() changes sets: put a set first, or nothing")
        return freeze(frozenset(members) | amount)
    items = () if absent else (unpack(stored.payload) if stored.__class__ is Packed else stored)
    if not isinstance(items, (tuple, list)):
        raise BadInput(f"{key!r} holds {_shown(stored)}, and append() changes tuples: put one first, or nothing")
    return freeze((*items, *amount))


def joined(first: Merge, second: Merge) -> Merge | None:
    """One merge with the effect of both, or None where there is none (they are of different kinds)."""
    kind, amount = first
    if kind != second[0]:
        return None
    if kind == "add":
        return kind, amount + second[1]
    if kind == "max":
        return kind, max(amount, second[1])
    if kind == "min":
        return kind, min(amount, second[1])
    if kind == "union":
        return kind, amount | second[1]
    return kind, (*amount, *second[1])


def members_of(members: Any) -> frozenset[Any]:
    """The argument of `union` as a set; a text is one member by mistake more often than many by intent."""
    if isinstance(members, (str, bytes)):
        raise BadInput(f"union(…, {members!r:.40}): give a set of members, {{{members!r:.40}}}")
    try:
        return frozenset(members)
    except TypeError:
        raise BadInput(f"union(…, {members!r:.40}): the members of a set are hashable") from None


def _shown(stored: Any) -> str:
    text = repr(stored)
    return text if len(text) <= 60 else text[:60] + "…"
