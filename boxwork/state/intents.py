"""Intents: think outside, then submit a short function.

While somebody thinks (a person, an agent, a remote model) nothing is locked and nothing is computed twice.  What he
decides is a short transaction with a precondition; that it no longer holds is an answer with its reason (`Refused`),
not an abort.  Meanwhile he is told when something he has read is changed, so he can stop thinking about the past.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from boxwork.errors import BadInput
from boxwork.state.job import Job
from boxwork.state.order import Key
from boxwork.state.tx import SnapshotTx
from boxwork.state.watch import Conflict

if TYPE_CHECKING:
    from boxwork.state.engine import Engine


class Intent:
    """A view at one version that remembers what was read on it.

    get, scan       as in a transaction, but nothing can be written
    conflicts       what was read here and has changed since, so far
    on_change       called with a list of `Conflict`, from the log's thread, as soon as it happens
    """

    def __init__(
        self, engine: Engine, who: str = "", on_change: Callable[[list[Conflict]], None] | None = None
    ) -> None:
        self._engine = engine
        self._who = who
        self._snapshot = engine.read()
        self._tx = SnapshotTx(self._snapshot, self._snapshot.version, 0, b"", 0)
        self._on_change = on_change
        self._lock = threading.Lock()
        self._conflicts: dict[Key, Conflict] = {}
        self._closed = False
        engine.audience.hold(self, lambda: self._tx.reads, self._tell)

    @property
    def version(self) -> int:
        return self._snapshot.version

    @property
    def reads(self) -> list[Key]:
        return list(self._tx.reads)

    @property
    def conflicts(self) -> list[Conflict]:
        with self._lock:
            return list(self._conflicts.values())

    def _tell(self, conflicts: list[Conflict]) -> None:
        with self._lock:
            self._conflicts.update({conflict.key: conflict for conflict in conflicts})
        if self._on_change is not None:
            self._on_change(conflicts)

    def get(self, key: Key, default: Any = None) -> Any:
        """The value under `key` at this version."""
        self._check()
        value = self._tx.get(key, default)
        if self._engine.facts.changed_since(self.version, key):
            self._tell([Conflict(self._engine.facts.version, key, self._engine.machine.author(key))])
        return value

    def scan(self, prefix: Key = (), **options: Any) -> list[tuple[Key, Any]]:
        """The facts under `prefix` at this version; each of them counts as read."""
        self._check()
        return self._tx.scan(prefix, **options)

    def job(
        self,
        box: Any,
        args: Iterable[Any],
        inputs: dict[str, Any],
        *,
        unchanged: bool | Iterable[Key] = (),
        once: str = "",
        lane: Any = "",
    ) -> Job:
        """What `commit` hands in."""
        self._check()
        target = self._engine.box_of(box)
        keys: tuple[Key, ...] = tuple(self._tx.reads) if unchanged is True else tuple(unchanged or ())
        for key in keys:
            if key.__class__ is not tuple:
                raise BadInput(f"unchanged={unchanged!r}: give a list of keys, or True for all that were read")
        row = target.inputs.row(target.name, tuple(args), inputs)
        job = self._engine.job(
            target, row, lane or "serial", once=once, who=self._who, unchanged=keys, since=self.version
        )
        if self._engine.runs_elsewhere(job):
            raise BadInput(f"{target.name} is slow: think before, on this view, and commit a short function")
        return job

    def commit(
        self,
        box: Any,
        /,
        *args: Any,
        unchanged: bool | Iterable[Key] = (),
        receipt: bool = False,
        once: str = "",
        **inputs: Any,
    ) -> Any:
        """Commit a short transaction on the newest facts.

        `unchanged` names keys (True: all that were read here) that must be as they were on this view; otherwise the
        answer is `Refused`, with the key and who changed it.  What only the newest facts can tell, the function
        itself says with `tx.require`.
        """
        job = self._engine.wait(self.job(box, args, inputs, unchanged=unchanged, once=once))
        answer = job.answer()
        return (answer, job.receipt()) if receipt else answer

    def _check(self) -> None:
        if self._closed:
            raise BadInput("this view is closed: begin another")

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._engine.audience.let_go(self)
            self._snapshot.close()

    def __enter__(self) -> Intent:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
