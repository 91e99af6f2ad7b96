"""What of this process other processes may ask for: transactions that it has loaded, if their code is the same."""

from __future__ import annotations

import os
import sys
import weakref
from collections.abc import Callable, Mapping
from typing import Any

from boxwork.errors import BoxworkError, StateInUse
from boxwork.transactions import Transaction

Fingerprint = Callable[[Transaction[..., Any]], str]


class Used:
    """A transaction that guests use, by the name, the place and the fingerprint they gave.

    call    its function, for `call(tx, *row)`
    size    so many inputs it takes
    mixes   it can run in one job with others
    round   in which it was looked at last, see `Catalogue.box`
    """

    __slots__ = (
        "__weakref__",
        "_module",
        "_path",
        "box",
        "call",
        "fingerprint",
        "mixes",
        "name",
        "place",
        "round",
        "size",
    )

    def __init__(self, name: str, place: str, fingerprint: str) -> None:
        self.name = name
        self.place = place
        self.fingerprint = fingerprint
        self._module, _, path = place.partition(":")
        self._path = path.split(".")
        self.box: Transaction[..., Any] | None = None
        self.call: Callable[..., Any] | None = None
        self.size = -1
        self.mixes = False
        self.round = 0

    def loaded(self) -> Transaction[..., Any] | None:
        """What stands at its place in this process, if the module is loaded; nothing is imported."""
        value: Any = sys.modules.get(self._module)
        for part in self._path:
            value = getattr(value, part, None)
        return value if isinstance(value, Transaction) else None


class Catalogue:
    """For one thread, but for `box`."""

    def __init__(
        self,
        named: Mapping[str, Transaction[..., Any]],
        fingerprint: Fingerprint,
        check: Callable[[Transaction[..., Any]], object],
        mixes: Callable[[Transaction[..., Any]], bool],
    ) -> None:
        """`check` raises if a transaction is none that may be run; `mixes`: can it run in one job with others?"""
        self._named = named
        self._fingerprint = fingerprint
        self._check = check
        self._mixes = mixes
        self._used: weakref.WeakValueDictionary[tuple[str, str, str], Used] = weakref.WeakValueDictionary()

    def used(self, question: dict[str, Any]) -> Used:
        """Who names the same gets the same one, so that calls of many guests come together."""
        naming = str(question["name"]), str(question.get("place", "")), str(question.get("fingerprint", ""))
        used = self._used.get(naming)
        if used is None:
            used = self._used[naming] = Used(*naming)
        return used

    def box(self, used: Used) -> Transaction[..., Any]:
        """The transaction of this process that is asked for, as it is now; raises why it is not to be had."""
        box, loaded = self._named.get(used.name), used.loaded()
        if loaded is not None and loaded.name == used.name and (box is None or box.function is not loaded.function):
            box = loaded
        if box is None:
            raise StateInUse(
                f"process {os.getpid()} owns the facts and has not loaded the transaction {used.name!r}"
                f" ({used.place or 'of no module'}): start it with that module (`boxwork up --boxes MODULE`), put the"
                " transaction into a pack, or stop it",
                **_owner(used),
            )
        try:
            mine = self._fingerprint(box)
        except BoxworkError as reason:
            raise StateInUse(
                f"process {os.getpid()} owns the facts, and nobody can say whether its {used.name!r} is the same code:"
                f" {reason}",
                **_owner(used),
            ) from reason
        if mine != used.fingerprint:
            raise StateInUse(
                f"process {os.getpid()} owns the facts, and its transaction {used.name!r} is other code than yours:"
                " restart it, so that both run the same",
                **_owner(used),
            )
        if box is not used.box:
            self._check(box)
            used.box, used.size, used.mixes = box, len(box.inputs.names), self._mixes(box)
            used.call = box.inputs.caller(box.function)
        return box


def _owner(used: Used) -> dict[str, str]:
    return {"owner": str(os.getpid()), "transaction": used.name}
