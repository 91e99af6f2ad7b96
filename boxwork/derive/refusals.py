"""Why a box is refused: what it reads, where, and what to write instead."""

from __future__ import annotations

from typing import NamedTuple

from boxwork.errors import Undeclared

# Special methods that only people and debuggers call.
QUIET = frozenset({"__repr__", "__reduce__", "__reduce_ex__", "__getstate__", "__setstate__", "__del__", "__dir__"})


def may_be_called(methods: frozenset[str], attributes: set[str]) -> bool:
    """Does the code that was walked use all these names on anything, or does the interpreter call them by itself?"""
    return "*" in attributes or all(
        method in attributes or (method.startswith("__") and method.endswith("__") and method not in QUIET)
        for method in methods
    )


class Spot(NamedTuple):
    file: str
    line: int
    function: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


class Refusal(NamedTuple):
    methods: frozenset[str]
    error: Undeclared


class Refusals:
    """Collects refusals; the first that can matter is raised.

    A refusal inside a method counts when the code on the walk uses that method's name on anything, or when the
    interpreter may call it by itself.  A lenient collection raises nothing: it describes inputs, whose methods a
    box may or may not call; the box's own walk over its annotations is the strict one.
    """

    def __init__(self, name: str, lenient: bool) -> None:
        self._name = name
        self._lenient = lenient
        self.found: list[Refusal] = []

    def add(self, spot: Spot, name: str, what: str, advice: str, methods: frozenset[str], declare: str = "") -> None:
        """`declare` is what can be written in @derivation(…) to take it into the key."""
        into = f"@derivation({declare}) to make it part of the key, " if declare else ""
        where = "" if spot.function == self._name else f" (in {spot.function})"
        error = Undeclared(
            f"box {self._name} {what}, at {spot}{where}: its key would not see a change. Write {into}"
            f"@derivation(ignores=[{name!r}]) if it cannot change the output, or {advice}.",
            box=self._name,
            name=name,
            file=spot.file,
            line=spot.line,
            declare=declare or f"ignores=[{name!r}]",
        )
        self.found.append(Refusal(methods, error))

    def raise_first(self, attributes: set[str]) -> list[str]:
        """Raise the first refusal that can matter; answer with the messages of those that cannot."""
        notes: list[str] = []
        for refusal in self.found:
            if may_be_called(refusal.methods, attributes) and not self._lenient:
                raise refusal.error
            notes.append(f"not called: {refusal.error.message}")
        return notes
