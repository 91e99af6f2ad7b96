"""The awaiting face of a node: `async with Boxwork("data") as work: …`.

What is remembered is answered inline, without a thread; everything that may wait runs on the node's threads.
Puts that arrive while another one is being written go together in one commit.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, ParamSpec, TypeVar, overload

from boxwork.app.node import Node
from boxwork.app.work import Box, Source, Work
from boxwork.clock import Clock
from boxwork.content.observations import Observation
from boxwork.content.tree import Tree
from boxwork.derive.explain import Why
from boxwork.errors import BadInput, StateInUse
from boxwork.keys import Ref
from boxwork.pack import Pack
from boxwork.pulse import Pulse
from boxwork.pulse.watch import Watch as Alarms
from boxwork.state.face import AsyncEngine, AsyncIntent
from boxwork.state.order import Key
from boxwork.state.receipts import Receipt
from boxwork.state.snapshot import Snapshot
from boxwork.state.watch import Change, Conflict
from boxwork.transactions import Lane, Transaction

P = ParamSpec("P")
R = TypeVar("R")

# Puts of one group: the write lock is held for about 5 ms, and a failure is shared by no more than these.  Unit: blobs.
GROUP_MAX = 1_000
# Larger blobs go by themselves: they are files, which a shared commit does not make cheaper.  Unit: bytes.
GROUP_BLOB_BYTES_MAX = 64 * 1024


class Boxwork:
    """A node, awaiting.  For one event loop; the arguments are those of `boxwork.open`."""

    def __init__(
        self,
        directory: str | os.PathLike[str] = "data",
        *,
        packs: Iterable[Pack | str] = (),
        settings: Mapping[str, object] | None = None,
        clock: Clock | None = None,
        executors: Mapping[str, Executor] | None = None,
    ) -> None:
        self._arguments = (directory, tuple(packs), dict(settings or {}), clock, dict(executors or {}))
        self._work: Work | None = None
        self._waiting: list[tuple[bytes, bool, asyncio.Future[Ref]]] = []
        self._writer: asyncio.Task[None] | None = None
        self._facts: AsyncEngine | None = None

    async def __aenter__(self) -> Boxwork:
        if self._work is not None:
            raise BadInput("this Boxwork is open already: make another one, both share the node")
        node = await asyncio.to_thread(Node.acquire, *self._arguments)
        self._work = Work(node)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            await self._writer
        work, self._work, self._facts = self.blocking, None, None
        await asyncio.to_thread(work.close)

    @property
    def blocking(self) -> Work:
        """The same node's blocking face, for code that runs in a thread."""
        if self._work is None:
            raise BadInput("this Boxwork is not open: use it inside `async with Boxwork(…) as work`")
        return self._work

    @property
    def alarms(self) -> Alarms:
        return self.blocking.alarms

    @property
    def pulse(self) -> Pulse:
        return self.blocking.pulse

    # --- keep

    async def put(self, source: Source, *, durable: bool = True, pin: str | None = None) -> Ref:
        """As `Work.put`."""
        if isinstance(source, bytes) and pin is None and len(source) <= GROUP_BLOB_BYTES_MAX:
            answer: asyncio.Future[Ref] = asyncio.get_running_loop().create_future()
            self._waiting.append((source, durable, answer))
            if self._writer is None:
                self._writer = asyncio.create_task(self._write_groups())
            return await answer
        return await self._thread(self.blocking.put, source, durable=durable, pin=pin)

    async def _write_groups(self) -> None:
        """Writes until nobody waits; what arrives during one commit makes the next group."""
        await asyncio.sleep(0)  # let everyone who is ready now come into the first group
        while self._waiting:
            group, self._waiting = self._waiting[:GROUP_MAX], self._waiting[GROUP_MAX:]
            for durable in (True, False):
                part = [(data, answer) for data, wanted, answer in group if wanted is durable]
                if not part:
                    continue
                try:
                    refs = await self._thread(
                        self.blocking.content.put_many, [data for data, _ in part], durable=durable
                    )
                except Exception as error:
                    for _, answer in part:
                        if not answer.done():
                            answer.set_exception(error)
                else:
                    for (_, answer), ref in zip(part, refs, strict=True):
                        if not answer.done():
                            answer.set_result(ref)
        self._writer = None

    async def get(self, ref: str) -> bytes:
        """As `Work.get`."""
        return await self._thread(self.blocking.get, ref)

    async def size(self, ref: str) -> int:
        return await self._thread(self.blocking.size, ref)

    async def has(self, ref: str) -> bool:
        return await self._thread(self.blocking.has, ref)

    async def pin(self, ref: str, name: str) -> None:
        await self._thread(self.blocking.pin, ref, name)

    async def unpin(self, name: str) -> bool:
        return await self._thread(self.blocking.unpin, name)

    # --- trees

    async def put_tree(self, directory: str | os.PathLike[str], **options: Any) -> Tree:
        return await self._thread(self.blocking.put_tree, directory, **options)

    async def checkout(self, tree: Tree | str, target: str | os.PathLike[str], **options: Any) -> Path:
        return await self._thread(self.blocking.checkout, tree, target, **options)

    # --- derive

    async def derive(self, box: Box, /, *args: Any, **inputs: Any) -> Ref:
        """As `Work.derive`; a remembered output is answered inline."""
        work = self.blocking
        ref = work.peek(box, *args, **inputs)
        if ref is not None:
            return ref
        return await asyncio.wrap_future(work.submit(box, *args, **inputs))

    async def call(self, box: Box, /, *args: Any, **inputs: Any) -> Any:
        """As `Work.call`; a remembered value is answered inline."""
        await self.derive(box, *args, **inputs)
        return self.blocking.call(box, *args, **inputs)

    async def why(self, name: str | bytes) -> Why:
        return await self._thread(self.blocking.why, name)

    # --- decide

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
    @overload
    async def commit(
        self,
        box: str,
        /,
        *args: Any,
        receipt: bool = ...,
        once: str = ...,
        lane: Lane = ...,
        who: str = ...,
        **inputs: Any,
    ) -> Any: ...
    async def commit(self, box: Any, /, *args: Any, **inputs: Any) -> Any:
        """As `Work.commit`; what is handed in together shares one write.  An `async def` thinks on its snapshot."""
        target = self.blocking._transaction(box)
        try:
            facts = self._facts or await self._open_facts()
        except StateInUse:  # another process owns them: it is handed in there
            return await self._thread(self.blocking.node.forwarding.commit, target, args, inputs, loops=True)
        return await facts.commit(target, *args, **inputs)

    async def commit_many(
        self,
        box: Transaction[P, R] | Callable[..., R] | str,
        rows: Iterable[Sequence[Any] | Mapping[str, Any]],
        /,
        *,
        lane: Lane = "",
        who: str = "",
    ) -> list[Any]:
        """As `Work.commit_many`."""
        target = self.blocking._transaction(box)
        try:
            facts = self._facts or await self._open_facts()
        except StateInUse:
            return await self._thread(self.blocking.node.forwarding.commit_many, target, rows, lane=lane, who=who)
        return await facts.commit_many(target, rows, lane=lane, who=who)

    @contextlib.asynccontextmanager
    async def read(self) -> AsyncIterator[Snapshot]:
        """The facts as they are now: `async with work.read() as facts: facts.get(("likes", "p1"))`."""
        with (self._facts or await self._open_facts()).read() as snapshot:
            yield snapshot

    @contextlib.asynccontextmanager
    async def begin(
        self, who: str = "", on_change: Callable[[list[Conflict]], None] | None = None
    ) -> AsyncIterator[AsyncIntent]:
        """Read and think on a snapshot, then commit a short function: `async with work.begin() as view`."""
        async with (self._facts or await self._open_facts()).begin(who, on_change) as view:
            yield view

    async def watch(self, prefix: Key = ()) -> AsyncGenerator[Change, None]:
        """Every change under `prefix` from now on: `async for change in work.watch(("likes",))`."""
        async with contextlib.aclosing((self._facts or await self._open_facts()).watch(prefix)) as changes:
            async for change in changes:
                yield change

    async def _open_facts(self) -> AsyncEngine:
        """Opening reads the log, so it happens in a thread."""
        engine = await self._thread(lambda: self.blocking.engine)
        if self._facts is None:  # somebody else may have come first
            self._facts = AsyncEngine(engine)
        return self._facts

    # --- observe

    async def observe(self, kind: str, value: Any, *, source: str, at: int | None = None, who: str = "") -> Observation:
        return await self._thread(self.blocking.observe, kind, value, source=source, at=at, who=who)

    async def latest(self, kind: str, source: str) -> Observation | None:
        return await self._thread(self.blocking.latest, kind, source)

    def _thread(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[R]:
        return asyncio.wrap_future(self.blocking.node.pool.submit(function, *args, **kwargs))
