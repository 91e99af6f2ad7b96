"""A transaction: a box over state.

This file says what a transaction *is*; `state` runs it.  As with every box, making one does nothing but make a
value.  Its first parameter is `tx`, the only door to the facts, to time and to chance; the rest are its inputs.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Concatenate, Generic, Literal, ParamSpec, TypeVar, overload

from boxwork.errors import BadInput

P = ParamSpec("P")
R = TypeVar("R")

Lane = Literal["", "serial", "snapshot", "locking", "occ"]
LANES: tuple[Lane, ...] = ("", "serial", "snapshot", "locking", "occ")

# `work.commit(f, receipt=True, …)` takes these itself, so a transaction cannot have inputs of these names.
RESERVED = frozenset({"receipt", "once", "lane", "who", "unchanged"})


@dataclass(frozen=True, slots=True)
class Rules:
    """What a transaction declares beside its code.

    lane     where it runs; empty: where the node's setting `state.lane` says
    slow     it takes longer than about a millisecond: it runs beside the others, never in their way
    ignores  names of globals that the purity check shall not look at
    version  a text of your own, recorded with each commit
    """

    lane: Lane = ""
    slow: bool = False
    ignores: tuple[str, ...] = ()
    version: str = ""


class Transaction(Generic[P, R]):
    """A box over state.  Calling it with a `tx` is calling the plain function: nothing is committed."""

    def __init__(self, function: Callable[Concatenate[Any, P], R], name: str, rules: Rules) -> None:
        self.function = function
        self.name = name
        self.rules = rules
        functools.update_wrapper(self, function)

    def __call__(self, tx: Any, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.function(tx, *args, **kwargs)

    def __repr__(self) -> str:
        return f"<transaction {self.name}>"

    @functools.cached_property
    def awaits(self) -> bool:
        """Is it an `async def`: then it may think while it holds a snapshot, and counts as slow."""
        return inspect.iscoroutinefunction(self.function)

    @functools.cached_property
    def inputs(self) -> Inputs:
        """How its inputs are laid out in a row."""
        return Inputs.of(self.function, self.name)


@dataclass(frozen=True, slots=True)
class Inputs:
    """The parameters after `tx`.  One call's inputs are a *row*: a tuple in this order, as the log keeps them."""

    names: tuple[str, ...]
    defaults: Mapping[str, Any]
    by_name: int  # so many at the end can only be given by name

    @classmethod
    def of(cls, function: Callable[..., Any], name: str) -> Inputs:
        parameters = list(inspect.signature(function).parameters.values())
        if not parameters:
            raise BadInput(f"transaction {name}: its first parameter must be `tx`, it has none")
        names: list[str] = []
        defaults: dict[str, Any] = {}
        by_name = 0
        for parameter in parameters[1:]:
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                raise BadInput(
                    f"transaction {name}: give every input a name of its own; *{parameter.name} cannot be recorded"
                )
            if parameter.name in RESERVED:
                raise BadInput(
                    f"transaction {name}: an input cannot be called {parameter.name!r}, `commit` takes that word itself"
                )
            names.append(parameter.name)
            if parameter.default is not parameter.empty:
                defaults[parameter.name] = parameter.default
            by_name += parameter.kind is parameter.KEYWORD_ONLY
        return cls(tuple(names), defaults, by_name)

    def row(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Any, ...]:
        """The row of one call; wrong inputs are named."""
        if not kwargs and len(args) == len(self.names):
            return tuple(args)
        if len(args) > len(self.names):
            raise BadInput(f"{name} takes {len(self.names)} inputs ({', '.join(self.names)}), {len(args)} were given")
        row = list(args)
        used = 0
        for parameter in self.names[len(args) :]:
            if parameter in kwargs:
                row.append(kwargs[parameter])
                used += 1
            elif parameter in self.defaults:
                row.append(self.defaults[parameter])
            else:
                raise BadInput(f"{name}: the input {parameter!r} is missing; it takes {', '.join(self.names)}")
        if used != len(kwargs):
            strange = sorted(set(kwargs) - set(self.names[len(args) :]))
            raise BadInput(
                f"{name} has no input {', '.join(map(repr, strange))} left to give; it takes"
                f" {', '.join(self.names) or 'none'}"
            )
        return tuple(row)

    def rows(self, name: str, given: Iterable[Sequence[Any] | Mapping[str, Any]]) -> list[tuple[Any, ...]]:
        """The rows of many calls, each given as a tuple in the order of the parameters, or a dict by their names."""
        rows: list[Any] = list(given)
        count = len(rows)  # the usual case is found out by loops in C
        if list(map(type, rows)).count(tuple) == count and list(map(len, rows)).count(len(self.names)) == count:
            return rows
        return [self.row(name, (), row) if isinstance(row, Mapping) else self.row(name, tuple(row), {}) for row in rows]

    def caller(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, callable as `f(tx, *row)`."""
        if not self.by_name:
            return function
        split, names = len(self.names) - self.by_name, self.names[len(self.names) - self.by_name :]

        def call(tx: Any, *row: Any) -> Any:
            return function(tx, *row[:split], **dict(zip(names, row[split:], strict=True)))

        return call


@overload
def transaction(function: Callable[Concatenate[Any, P], R], /) -> Transaction[P, R]: ...
@overload
def transaction(
    *, name: str = ..., lane: Lane = ..., slow: bool = ..., ignores: Sequence[str] = ..., version: str = ...
) -> Callable[[Callable[Concatenate[Any, P], R]], Transaction[P, R]]: ...
def transaction(
    function: Callable[Concatenate[Any, P], R] | None = None,
    /,
    *,
    name: str = "",
    lane: Lane = "",
    slow: bool = False,
    ignores: Sequence[str] = (),
    version: str = "",
) -> Transaction[P, R] | Callable[[Callable[Concatenate[Any, P], R]], Transaction[P, R]]:
    """Make a transaction of a function whose first parameter is `tx`.  What can be declared: see `Rules`.

    The name (default: the function's own) is what the log records and people type.
    """
    if isinstance(ignores, str):
        raise BadInput(f"@transaction(ignores={ignores!r}): give a list of names, ignores=[{ignores!r}]")
    if lane not in LANES:
        raise BadInput(f"@transaction(lane={lane!r}): there are {', '.join(LANES[1:])}")
    rules = Rules(lane, slow, tuple(ignores), version)

    def make(target: Callable[Concatenate[Any, P], R]) -> Transaction[P, R]:
        if isinstance(target, Transaction):
            raise BadInput(f"{target!r} is a transaction already")
        if not callable(target):
            raise BadInput(f"@transaction wants a function, not {target!r}")
        return Transaction(target, name or getattr(target, "__name__", type(target).__name__), rules)

    return make if function is None else make(function)
