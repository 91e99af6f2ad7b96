"""The engine for async code.

Answers come back in groups, one wake-up of the event loop for all that became durable together.  This is the rim:
the engine itself knows no asyncio.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, ParamSpec, TypeVar, overload

from boxwork.state.attempts import Attempts
from boxwork.state.engine import Engine
from boxwork.state.intents import Intent
from boxwork.state.job import Job
from boxwork.state.order import Key
from boxwork.state.receipts import Receipt
from boxwork.state.snapshot import Snapshot
from boxwork.state.watch import Change, Conflict
from boxwork.transactions import Lane, Transaction

P = ParamSpec("P")
R = TypeVar("R")


class AsyncEngine:
    """`Engine`, awaited.  For one event loop; made in it."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._loop = asyncio.get_running_loop()
        self._finished: deque[tuple[asyncio.Future[Job], Job]] = deque()
        self._is_called = False

    # --- waiting for jobs

    def _job_done(self, future: asyncio.Future[Job], job: Job) -> None:
        """Called by the log thread."""
        self._finished.append((future, job))
        if not self._is_called:
            self._is_called = True
            try:
                self._loop.call_soon_threadsafe(self._hand_out)
            except RuntimeError:  # the loop has ended, and with it everybody who waited
                self._finished.clear()

    def _hand_out(self) -> None:
        self._is_called = False
        while self._finished:
            future, job = self._finished.popleft()
            if not future.done():
                future.set_result(job)

    async def wait(self, job: Job) -> Job:
        future: asyncio.Future[Job] = self._loop.create_future()
        job.done = lambda finished: self._job_done(future, finished)
        self.engine.hand_in(job)
        return await future

    # --- committing

    @overload
    async def commit(
        self,
        box: Transaction[P, R] | Callable[..., R],
        /,
        *args: Any,
        receipt: Literal[False] = ...,
        once: str = ...,
        lane: Lane = ...,
        who: str = ...,
        **inputs: Any,
    ) -> R: ...
    @overload
    async def commit(
        self,
        box: Transaction[P, R] | Callable[..., R],
        /,
        *args: Any,
        receipt: Literal[True],
        once: str = ...,
        lane: Lane = ...,
        who: str = ...,
        **inputs: Any,
    ) -> tuple[R, Receipt]: ...
    async def commit(
        self,
        box: Any,
        /,
        *args: Any,
        receipt: bool = False,
        once: str = "",
        lane: Lane = "",
        who: str = "",
        **inputs: Any,
    ) -> Any:
        """Run a transaction: see `Engine.commit`.  An `async def` thinks on its snapshot, in this event loop."""
        engine = self.engine
        target = engine.box_of(box)
        job = engine.job(target, target.inputs.row(target.name, args, inputs), lane, once=once, who=who)
        if not engine.runs_elsewhere(job):
            job = await self.wait(job)
        elif job.lane == "snapshot":
            job = await self._attempt(job)
        else:
            return await asyncio.wrap_future(
                engine.submit(box, *args, receipt=receipt, once=once, lane=lane, who=who, **inputs)
            )
        answer = job.answer()
        return (answer, job.receipt()) if receipt else answer

    async def _attempt(self, job: Job) -> Job:
        attempts = Attempts(self.engine, job)
        try:
            while True:
                if (asking := attempts.asking()) is not None:
                    await self.wait(asking)
                tx = attempts.begin()
                try:
                    if job.box.awaits:
                        answer = await job.call(tx, *job.arguments(0))
                    else:
                        answer = await self._loop.run_in_executor(self.engine.pool(), job.call, tx, *job.arguments(0))
                except asyncio.CancelledError:
                    raise
                except BaseException as error:
                    return attempts.raised(error)
                attempt = attempts.offer(answer)
                if attempt is None:
                    return attempts.only_read()
                if attempts.settled(await self.wait(attempt)):
                    return attempt
        finally:
            attempts.close()

    async def commit_many(
        self,
        box: Transaction[P, R] | Callable[..., R],
        rows: Iterable[Sequence[Any] | Mapping[str, Any]],
        /,
        *,
        lane: Lane = "",
        who: str = "",
    ) -> list[Any]:
        """One transaction for each row: see `Engine.commit_many`."""
        return await asyncio.wrap_future(self.engine.submit_many(box, rows, lane=lane, who=who))

    # --- looking

    def read(self) -> Snapshot:
        """The facts at the newest durable version; close it (or use `with`)."""
        return self.engine.read()

    def get(self, key: Key, default: Any = None) -> Any:
        return self.engine.get(key, default)

    def begin(self, who: str = "", on_change: Callable[[list[Conflict]], None] | None = None) -> AsyncIntent:
        """Read and think on a snapshot, then commit a short function: `async with work.begin() as tx`."""
        return AsyncIntent(self, who, on_change)

    async def watch(self, prefix: Key = ()) -> AsyncGenerator[Change, None]:
        """Every change under `prefix` from now on.  Raises `Lagged` when too far behind."""
        with self.engine.watch(prefix) as watch:
            heard = asyncio.Event()

            def wake() -> None:
                with contextlib.suppress(RuntimeError):  # the loop has ended, and with it this watch
                    self._loop.call_soon_threadsafe(heard.set)

            watch.heard = wake
            while not watch.closed:
                for change in watch.take():
                    yield change
                await heard.wait()
                heard.clear()
            for change in watch.take():
                yield change


class AsyncIntent:
    """`Intent`, awaited."""

    def __init__(self, face: AsyncEngine, who: str, on_change: Callable[[list[Conflict]], None] | None) -> None:
        self._face = face
        self._changed = asyncio.Event()
        self._on_change = on_change
        self._intent = Intent(face.engine, who, self._tell)

    def _tell(self, conflicts: list[Conflict]) -> None:
        def here() -> None:
            self._changed.set()
            if self._on_change is not None:
                self._on_change(conflicts)

        with contextlib.suppress(RuntimeError):  # the loop has ended, and with it this intent
            self._face._loop.call_soon_threadsafe(here)

    @property
    def version(self) -> int:
        return self._intent.version

    @property
    def reads(self) -> list[Key]:
        return self._intent.reads

    @property
    def conflicts(self) -> list[Conflict]:
        """What was read here and has changed since."""
        return self._intent.conflicts

    async def changed(self) -> list[Conflict]:
        """Wait until something that was read here changes."""
        await self._changed.wait()
        return self._intent.conflicts

    def get(self, key: Key, default: Any = None) -> Any:
        return self._intent.get(key, default)

    def scan(self, prefix: Key = (), **options: Any) -> list[tuple[Key, Any]]:
        return self._intent.scan(prefix, **options)

    async def commit(
        self,
        box: Any,
        /,
        *args: Any,
        unchanged: bool | Iterable[Key] = (),
        receipt: bool = False,
        once: str = "",
        **inputs: Any,
    ) -> Any:
        """Commit a short transaction on the newest facts: see `Intent.commit`."""
        job = await self._face.wait(self._intent.job(box, args, inputs, unchanged=unchanged, once=once))
        answer = job.answer()
        return (answer, job.receipt()) if receipt else answer

    def close(self) -> None:
        self._intent.close()

    async def __aenter__(self) -> AsyncIntent:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
