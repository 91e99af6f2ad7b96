"""Overrides: a value that a person set for a host, or for all that have a label, over what the source says.

    ("fleet", "overrides", scope, column)    Override: the value, who, when, why

A scope is a host (`web1`) or a label, which is a column with a value (`site=berlin`).  A host's own override goes
before a label's, and a later label before an earlier one.  The overrides are part of the table that a version names:
setting one makes a version, which is checked by the release's schema and rolled out like any other change.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from boxwork import errors, transaction
from boxwork.packs.fleet.protocol import HOST_NAME
from boxwork.packs.fleet.table import Raw

# Overrides of one fleet.  Somebody who needs more keeps a second source by hand.  Unit: overrides.
OVERRIDES_MAX = 1_000
VALUE_LENGTH_MAX = 1_000
# A name of the release's, as templates call it; `host` and `kind` are no values that a person sets.
NAME = r"[^\W\d]\w{0,99}"
COLUMN = rf"^(?!host$|kind$){NAME}$"
# A host, or a column with a value: one line of text that neither begins nor ends with a blank.
_INK = r"[^\x00-\x20\x7f-\xa0]"
SCOPE = rf"{HOST_NAME}|^{NAME}={_INK}([^\x00-\x1f\x7f-\x9f]{{0,998}}{_INK})?$"


class Override(msgspec.Struct, frozen=True):
    """One value; `number` says which of two came later, also within one moment."""

    value: str
    who: str
    why: str
    at_ns: int
    number: int


Overrides = Mapping[tuple[str, str], Override]


@transaction(name="fleet.override")
def override(tx: Any, scope: str, values: dict[str, str], by: str, why: str) -> int:
    """Set these columns for a scope; the answer is the number of the decision."""
    number: int = tx.get(("fleet", "last_override"), 0) + 1
    there = sum(1 for _ in tx.scan(("fleet", "overrides")))
    tx.require(there + len(values) <= OVERRIDES_MAX, f"there are {there} overrides, at most {OVERRIDES_MAX} are kept")
    for column, value in values.items():
        tx.put(("fleet", "overrides", scope, column), Override(value, by, why, tx.now(), number))
    tx.put(("fleet", "last_override"), number)
    return number


@transaction(name="fleet.unset")
def unset(tx: Any, scope: str, columns: list[str]) -> int:
    """Forget these overrides of a scope, all of them if none is named; the answer is how many."""
    found = [key for key, _ in tx.scan(("fleet", "overrides", scope)) if not columns or key[3] in columns]
    missing = sorted(set(columns) - {key[3] for key in found})
    tx.require(bool(found) and not missing, f"{scope} has no override of {', '.join(missing) or 'anything'}")
    for key in found:
        tx.delete(key)
    return len(found)


def read_scope(text: str) -> str:
    """A scope as it is kept.  Raises `BadInput`."""
    column, mark, value = text.strip().partition("=")
    scope = f"{column}{mark}{value.strip()}"
    if re.fullmatch(SCOPE, scope):
        return scope
    raise errors.BadInput(f"{text[:80]!r} is neither a host, as web1, nor a label, as site=berlin")


def read_values(pairs: Sequence[str]) -> dict[str, str]:
    """`key=value`, as it is typed.  Raises `BadInput`."""
    values: dict[str, str] = {}
    for pair in pairs:
        column, mark, value = pair.partition("=")
        if not mark or not re.fullmatch(COLUMN, column) or len(value) > VALUE_LENGTH_MAX:
            raise errors.BadInput(f"{pair[:80]!r} is no override: write column=value, with a column of the release")
        values[column] = value
    if not values:
        raise errors.BadInput("nothing to set: write column=value behind the host or the label")
    return values


def overlaid(rows: Sequence[Raw], overrides: Overrides) -> list[Raw]:
    """The rows with what was set over them; a row that nothing concerns is the same object."""
    if not overrides:
        return list(rows)
    return [_overlaid(row, overrides) for row in rows]


def _overlaid(row: Raw, overrides: Overrides) -> Raw:
    values = {column: one for _, column, one in concerning(row.values, overrides)}
    if not values:
        return row
    told = ", ".join(f"{column} set by {one.who}" for column, one in values.items())
    return Raw(f"{row.where}, {told}", {**row.values, **{column: one.value for column, one in values.items()}})


def concerning(row: Mapping[str, Any], overrides: Overrides) -> Iterator[tuple[str, str, Override]]:
    """(scope, column, override) of what is set for this row, in the order in which it is laid over it."""
    found = [(scope, column, one) for (scope, column), one in overrides.items() if is_for(scope, row)]
    yield from sorted(found, key=lambda entry: ("=" not in entry[0], entry[2].number))


def is_for(scope: str, row: Mapping[str, Any]) -> bool:
    """Does a scope mean the host of this row."""
    column, mark, value = scope.partition("=")
    if not mark:
        return str(row.get("host") or "").strip() == column
    return str(row.get(column, "")).strip() == value


def set_over(fleet: Any, scope: str, values: dict[str, str], *, who: str, why: str) -> Any:
    """Set values for a host or a label; the version that holds them.  Raises what is wrong, and nothing is set."""
    scope, mirror = read_scope(scope), fleet.mirror
    _check_reason(why)
    tried = {(scope, column): Override(value, who, why, 0, sys.maxsize) for column, value in values.items()}
    # The schema has the first word: what is decided is good.
    rows = fleet.facade.tried(fleet.kinds(fleet.version(mirror.latest).template), {**mirror.overrides, **tried})
    if not any(is_for(scope, row.values) for row in rows):
        raise errors.NotFound(f"no row of the source is {scope}: nothing would be overridden", scope=scope)
    fleet.work.commit(override, scope=scope, values=values, by=who, why=why)
    said = ", ".join(f"{column} {value}" for column, value in values.items())
    return _version_of(fleet, f"{scope}: {said}: {why}", who)


def unset_over(fleet: Any, scope: str, columns: list[str], *, who: str, why: str) -> Any:
    """As the source says again: these columns of a scope, all if none is named; the version that says so."""
    scope = read_scope(scope)
    _check_reason(why)
    fleet.work.commit(unset, scope=scope, columns=columns)
    return _version_of(fleet, f"{scope}: {', '.join(columns) or 'everything'} as the source says: {why}", who)


def _check_reason(why: str) -> None:
    if not why.strip():
        raise errors.BadInput("an override has a reason: say why (--reason)")


def _version_of(fleet: Any, reason: str, who: str) -> Any:
    """The version with the overrides of now.  A server that ends before it is made finds the difference by itself."""
    last = fleet.version(fleet.mirror.latest)
    table = fleet.facade.table(fleet.kinds(last.template), fleet.mirror.overrides)
    if table.ref == last.table:  # it changes nothing, or the thread that looks at the source was faster
        return last
    try:
        return fleet.put_version(
            last.template, table, who, reason, fleet.facade.name, fleet.follows, last.number, last.roots
        )
    except errors.Refused:
        return fleet.version(fleet.mirror.latest)


OVERRIDING = (override, unset)
