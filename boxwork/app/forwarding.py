"""Where a commit goes: to the facts in this process, or to the process that owns them.

Whoever comes first owns the facts until it closes the node, and takes in the commits of the others (`Desk`).  A
commit of another process goes there; if the owner goes away meanwhile, the next owner is asked, or this process
becomes it.  Nothing is handed in twice unless that is safe: with an idempotency id, or when it was not begun.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from boxwork.box import Derivation, Terms
from boxwork.clock import SECOND_NS, Clock
from boxwork.derive.fingerprint import Fingerprinter
from boxwork.errors import BoxworkError, CommitUnknown, StateError, StateInUse
from boxwork.settings import Setting
from boxwork.state.engine import Engine
from boxwork.state.face import AsyncEngine
from boxwork.state.remote import wire
from boxwork.state.remote.courier import Courier, Lost, NoOwner
from boxwork.state.remote.desk import Desk
from boxwork.state.remote.line import Line
from boxwork.transactions import Transaction, transaction

T = TypeVar("T")

SETTINGS = (
    Setting(
        "state.forward_s_max",
        30.0,
        "s",
        "a commit that is handed to the process which owns the facts is answered within this; 0: never hand in",
    ),
)
# Between two tries while one owner ends and the next begins.  Unit: s.  Reason: closing takes milliseconds, replaying
# a log up to a second; a try costs about 30 us.
PAUSE_S = 0.02


class Forwarding:
    """One for each node: `commit` and `commit_many`, wherever the facts are."""

    def __init__(
        self, root: Path, engine: Callable[[], Engine], fingerprinter: Fingerprinter, clock: Clock, limit_s: float
    ) -> None:
        self._path = root / wire.SOCKET
        self._engine = engine
        self._fingerprinter = fingerprinter
        self._clock = clock
        self._limit_s = limit_s
        self._courier = Courier(self._path)
        self._plain: dict[Any, Transaction[..., Any]] = {}
        self._shown: dict[int, Derivation[..., Any]] = {}
        self._is_elsewhere = False  # another process owned the facts when they were last asked for
        self._lock = threading.Lock()

    # --- the owner's side

    def open_desk(self, engine: Engine, named: Mapping[str, Transaction[..., Any]]) -> Desk | None:
        """Take in the commits of other processes, from now on."""
        return Desk(self._path, engine, named, self.fingerprint) if self._limit_s > 0 else None

    def fingerprint(self, box: Transaction[..., Any]) -> str:
        """The digest of the code of `box` and of what it calls.  Raises `Undeclared` if it cannot be known."""
        with self._lock:
            shown = self._shown.get(id(box))
            if shown is None or shown.function is not box.function:
                terms = Terms(ignores=box.rules.ignores, version=box.rules.version)
                shown = self._shown[id(box)] = Derivation(box.function, box.name, terms)
        return self._fingerprinter.of(shown).digest.hex()

    # --- everybody's side

    def commit(self, box: Any, args: Sequence[Any], given: Mapping[str, Any], *, loops: bool = False) -> Any:
        """`Engine.commit`, here or there: the answer, or with `receipt=True` the answer and the receipt.

        loops: this thread has no event loop, so an `async def` may have one of its own
        """
        inputs = dict(given)
        options: Any = {name: inputs.pop(name, "") for name in ("once", "lane", "who")}
        wants_receipt = bool(inputs.pop("receipt", False))

        def here(engine: Engine) -> Any:
            if loops and engine.box_of(box).awaits:
                return asyncio.run(_awaited(engine, box, args, inputs, options))
            return engine.commit(box, *args, receipt=True, **options, **inputs)

        def there(left_s: float) -> Any:
            target = self._named(box)
            row = target.inputs.row(target.name, args, inputs)
            return self._courier.commit(target, row, self._print(target), left_s, **options)

        answer, receipt = self._somewhere(here, there, again=bool(options["once"]))
        return (answer, receipt) if wants_receipt else answer

    def commit_many(
        self, box: Any, rows: Iterable[Sequence[Any] | Mapping[str, Any]], *, lane: Any = "", who: str = ""
    ) -> list[Any]:
        """`Engine.commit_many`, here or there."""
        laid = list(rows)

        def there(left_s: float) -> list[Any]:
            target = self._named(box)
            inputs, name = target.inputs, target.name
            whole = [
                inputs.row(name, (), row) if isinstance(row, Mapping) else inputs.row(name, tuple(row), {})
                for row in laid
            ]
            return self._courier.commit_many(target, whole, self._print(target), left_s, lane=lane, who=who)

        return self._somewhere(lambda engine: engine.commit_many(box, laid, lane=lane, who=who), there, again=False)

    def line(self) -> Line:
        """A connection of the caller's own to the process that owns the facts, be it this one."""

        def connect(left_s: float) -> Line:
            return self._courier.line(left_s, self._print)

        return self._somewhere(lambda _: connect(self._limit_s), connect, again=True)

    def numbers(self) -> dict[str, Any]:
        """`owner`: the process that owns the facts (0: this one), its `numbers`, and its `recent` entries."""

        def here(engine: Engine) -> dict[str, Any]:
            return {"owner": 0, "numbers": engine.numbers(), "recent": engine.recent()}

        return self._somewhere(here, self._courier.numbers, again=True)

    def _somewhere(self, here: Callable[[Engine], T], there: Callable[[float], T], *, again: bool) -> T:
        """`again`: it may be handed in a second time, though the first may have happened."""
        deadline = self._clock.monotonic_ns() + int(self._limit_s * SECOND_NS)
        refusal: StateError | None = None
        while True:
            if not self._is_elsewhere:  # else who answered last is asked first: trying the lock costs 0.1 ms
                try:
                    engine = self._engine()
                except StateInUse as in_use:
                    if self._limit_s <= 0:
                        raise
                    self._is_elsewhere, refusal = True, refusal or in_use
                else:
                    return here(engine)
            left_s = (deadline - self._clock.monotonic_ns()) / SECOND_NS
            if left_s <= 0 and refusal is not None:
                raise refusal
            try:
                return there(left_s)
            except NoOwner:
                pass
            except Lost as reason:
                refusal = CommitUnknown(reason.message)
                if not again:
                    raise refusal from reason
            self._is_elsewhere = False
            time.sleep(PAUSE_S)

    def _named(self, box: Any) -> Transaction[..., Any]:
        if isinstance(box, Transaction):
            return box
        with self._lock:
            made = self._plain.get(box)
            if made is None:
                made = self._plain[box] = transaction(box)
        return made

    def _print(self, box: Transaction[..., Any]) -> str:
        try:
            return self.fingerprint(box)
        except BoxworkError as reason:
            raise StateInUse(
                f"another process owns the facts, and {box.name!r} cannot be handed to it, because nobody can say"
                f" whether it has the same code: {reason}",
                transaction=box.name,
            ) from reason

    def close(self) -> None:
        self._courier.close()


async def _awaited(engine: Engine, box: Any, args: Sequence[Any], inputs: Mapping[str, Any], options: Any) -> Any:
    return await AsyncEngine(engine).commit(box, *args, receipt=True, **options, **inputs)
