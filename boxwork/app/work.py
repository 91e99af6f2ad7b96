"""The blocking face of a node: `with boxwork.open("data") as work: …`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Literal, ParamSpec, TypeAlias, TypeVar, cast, overload

from boxwork.app.node import Node
from boxwork.box import BoundDerivation, Derivation
from boxwork.clock import Clock
from boxwork.content import tree as trees
from boxwork.content.content import Content
from boxwork.content.inventory import Inventory
from boxwork.content.observations import Observation
from boxwork.content.repositories import Repositories
from boxwork.content.spaces import Spaces
from boxwork.content.tree import Tree
from boxwork.derive.explain import Miss, Why
from boxwork.errors import BadInput, NotFound
from boxwork.keys import CHUNK_BYTES, Buffer, Ref
from boxwork.pack import Pack
from boxwork.pulse import Pulse
from boxwork.pulse.watch import Watch as Alarms
from boxwork.settings import Settings
from boxwork.state.engine import Engine
from boxwork.state.intents import Intent
from boxwork.state.order import Key
from boxwork.state.receipts import Receipt
from boxwork.state.remote.line import Line
from boxwork.state.snapshot import Snapshot
from boxwork.state.watch import Conflict, Watch
from boxwork.transactions import Lane, Transaction

P = ParamSpec("P")
R = TypeVar("R")

Box: TypeAlias = "Derivation[..., Any] | BoundDerivation | str"
Source: TypeAlias = "Buffer | BinaryIO | os.PathLike[str] | Iterable[Buffer]"


def open(
    directory: str | os.PathLike[str] = "data",
    *,
    packs: Iterable[Pack | str] = (),
    settings: Mapping[str, object] | None = None,
    clock: Clock | None = None,
    executors: Mapping[str, Executor] | None = None,
) -> Work:
    """Open (or make) a data directory; use it with `with`, or call `close()`.

    packs      further packs, as values or as names of modules with a `PACK`
    settings   overrides by name, for example {"content.cache_bytes_max": 1 << 30}
    executors  who runs boxes, by worker kind ("thread", "process"): any `concurrent.futures.Executor`

    One process shares one node per directory, however often it is opened; other processes may have it open too.
    Raises `FormatError` for a directory of something else, `StorageError` if it cannot be used.
    """
    return Work(Node.acquire(directory, packs, settings or {}, clock, executors or {}))


class Work:
    """A node, blocking.  Safe from many threads; every wait has a limit."""

    def __init__(self, node: Node) -> None:
        self.node = node
        # Bound here: a hit costs 5 us, and each attribute on the way 40 ns.
        self._derive = node.deriver.derive
        self._call = node.deriver.call
        self._closed = False

    # --- life

    def close(self) -> None:
        """Give the node back; the last one to do so closes it.  Twice is once."""
        if not self._closed:
            self._closed = True
            self.node.release()

    def __enter__(self) -> Work:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<work on {self.node.root}{', closed' if self._closed else ''}>"

    # --- what it is made of

    @property
    def content(self) -> Content:
        return self.node.content

    @property
    def pulse(self) -> Pulse:
        return self.node.pulse

    @property
    def alarms(self) -> Alarms:
        """The rules that watch series (setting `pulse.watch`): `add` another one, `subscribe` to their events."""
        return self.node.alarms

    @property
    def settings(self) -> Settings:
        return self.node.settings

    @property
    def clock(self) -> Clock:
        return self.node.clock

    @property
    def inventory(self) -> Inventory:
        """The files, objects and documents that are referenced where they lie."""
        return self.node.inventory

    @property
    def packs(self) -> tuple[Pack, ...]:
        return self.node.packs

    @property
    def boxes(self) -> Mapping[str, Derivation[..., Any]]:
        """The boxes of all packs by name."""
        return self.node.boxes

    @property
    def transactions(self) -> Mapping[str, Transaction[..., Any]]:
        """The transactions of all packs by name."""
        return self.node.transactions

    @property
    def offered_boxes(self) -> Mapping[str, Derivation[..., Any]]:
        """The boxes that whoever may come in may run over HTTP: without those that only a pack's own code runs."""
        return self.node.offered_boxes

    @property
    def offered_transactions(self) -> Mapping[str, Transaction[..., Any]]:
        """The transactions that whoever may come in may commit over HTTP."""
        return self.node.offered_transactions

    @property
    def engine(self) -> Engine:
        """The facts themselves, for what has no method here: sessions, previews, numbers, checkpoints."""
        return self.node.engine

    def part(self, pack: str) -> Any:
        """What the pack's `opener` made for this node."""
        return self.node.part(pack, self)

    # --- keep

    def put(self, source: Source, *, durable: bool = True, pin: str | None = None) -> Ref:
        """Keep bytes, a file (a path or an open one) or a stream of chunks; the answer is their name.

        With `durable` (default) it is on disk when this returns.  With `pin` it stays until `unpin`; without, a
        `gc` may take it once nothing has referred to it for `content.gc_grace_s`.
        """
        if isinstance(source, (bytes, bytearray, memoryview)):
            return self.content.put(source, durable=durable, pin=pin)
        if isinstance(source, os.PathLike):
            try:
                with Path(source).open("rb") as file:
                    return self.content.put_stream(chunks_of(file), durable=durable, pin=pin)
            except OSError as reason:  # the store's own trouble is a BoxworkError, so this is the file's
                path = os.fspath(source)
                raise BadInput(f"{path} cannot be read: {reason.strerror}", path=path) from reason
        if isinstance(source, str):
            raise BadInput(f"put({source[:40]!r}): a text could be a path or content; give Path(…) or bytes")
        if hasattr(source, "read"):
            return self.content.put_stream(chunks_of(cast(BinaryIO, source)), durable=durable, pin=pin)
        return self.content.put_stream(source, durable=durable, pin=pin)

    def get(self, ref: str) -> bytes:
        """All bytes of a blob.  Raises `BlobMissing`, `BadRef`."""
        return self.content.get(Ref.parse(ref))

    def open(self, ref: str) -> BinaryIO:
        """A blob as a seekable file; the caller closes it."""
        return self.content.open(Ref.parse(ref))

    def size(self, ref: str) -> int:
        """Bytes of a blob."""
        return self.content.size(Ref.parse(ref))

    def has(self, ref: str) -> bool:
        return self.content.has(Ref.parse(ref))

    def pin(self, ref: str, name: str) -> None:
        """Keep a blob or a tree, with all in it, under `name` until `unpin`."""
        self.content.pin(Ref.parse(ref), name)

    def unpin(self, name: str) -> bool:
        return self.content.unpin(name)

    def pins(self, prefix: str = "") -> Iterator[tuple[str, Ref]]:
        return self.content.pins(prefix)

    # --- trees

    def put_tree(self, directory: str | os.PathLike[str], **options: Any) -> Tree:
        """Take a directory in as a value.  Options: those of `boxwork.content.tree.commit`."""
        return trees.commit(self.content, directory, clock=self.clock, **options)

    def compose(self, files: Mapping[str, str]) -> Tree:
        """A tree of one directory out of blobs that are here: name → ref.  They become durable with it."""
        return trees.compose(self.content, {name: Ref.parse(ref) for name, ref in files.items()})

    def tree(self, ref: str) -> Tree:
        """The tree of this name; what is in it is read when it is asked for."""
        return Tree(Ref.parse(ref), self.content)

    def checkout(self, tree: Tree | str, target: str | os.PathLike[str], **options: Any) -> Path:
        """Put a tree on disk at `target`, swapped in at once.  Options: those of `boxwork.content.tree.checkout`."""
        return trees.checkout(self.content, tree if isinstance(tree, Tree) else Ref.parse(tree), target, **options)

    @property
    def repositories(self) -> Repositories:
        """Tags and manifests: what podman, skopeo and others push to and pull from `/v2`."""
        return self.node.repositories

    # --- derive

    def derive(self, box: Box, /, *args: Any, **inputs: Any) -> Ref:
        """The ref of the box's output for these inputs: remembered, or computed now.

        Raises `DerivationFailed` with the reason if the function raises, `Undeclared` if the box reads what its
        key does not see, `UnsupportedType` for an input without a canonical form.
        """
        return self._derive(box if type(box) is Derivation else self._box(box), inputs, args)

    def call(self, box: Box, /, *args: Any, **inputs: Any) -> Any:
        """As `derive`, but the answer is the value."""
        return self._call(box if type(box) is Derivation else self._box(box), inputs, args)

    def submit(self, box: Box, /, *args: Any, **inputs: Any) -> Future[Ref]:
        """As `derive`, but the answer comes at once and is a future; cancelling it is leaving."""
        return self.node.deriver.submit(self._box(box), inputs, args)

    def peek(self, box: Box, /, *args: Any, **inputs: Any) -> Ref | None:
        """The output's ref if it is remembered; never runs anything."""
        return self.node.deriver.remembered(self._box(box), inputs, args)

    def why(self, name: str | bytes) -> Why:
        """What is known of an output's ref or a key: function, inputs, versions, duration, lineage, last miss."""
        return self.node.deriver.why(name)

    def last_miss(self, box: Box) -> Miss | None:
        """Why the last run of this box in this process was no hit: what differs from the nearest earlier call."""
        found = self._box(box)
        return self.node.deriver.last_miss(found.box if isinstance(found, BoundDerivation) else found)

    def _box(self, box: Box) -> Derivation[..., Any] | BoundDerivation:
        if not isinstance(box, str):
            return box
        found = self.node.boxes.get(box)
        if found is None:
            raise NotFound(
                f"there is no box {box!r}; there are: {', '.join(sorted(self.node.boxes)) or 'none'}", box=box
            )
        return found

    # --- decide

    @overload
    def commit(
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
    def commit(
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
    def commit(
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
    def commit(self, box: Any, /, *args: Any, **inputs: Any) -> Any:
        """Run a transaction; when this returns its effect is durable and visible, and the answer is the function's.

        receipt  answer with a pair: what it returned, and where it stands in the log
        once     an idempotency id: a second commit with it changes nothing and answers as the first did
        lane     where it runs, if not where it says itself
        who      named to others whom it gets in the way of

        What the function raises comes out here, and then nothing was changed.  Raises `Refused` for a precondition
        that does not hold.  If another process owns the facts, it is handed in there (docs/state.md); `StateInUse`
        says why that cannot be, `CommitUnknown` that the owner went away before it answered.
        """
        engine = self.node.own_engine
        if engine is not None:
            return engine.commit(self._transaction(box), *args, **inputs)
        return self.node.forwarding.commit(self._transaction(box), args, inputs)

    def commit_soon(
        self,
        box: Transaction[..., Any] | str,
        /,
        *args: Any,
        once: str = "",
        lane: Lane = "",
        who: str = "",
        **inputs: Any,
    ) -> Future[tuple[Any, Receipt]]:
        """`commit`, without waiting for it: the future has the answer and the receipt.  An `async def` may think."""
        target, options = self._transaction(box), {"once": once, "lane": lane, "who": who}
        engine = self.node.own_engine
        if engine is not None and not engine.box_of(target).awaits:
            return engine.submit(target, *args, receipt=True, once=once, lane=lane, who=who, **inputs)
        given = {**inputs, **options, "receipt": True}
        return self.node.pool.submit(self.node.forwarding.commit, target, args, given, loops=True)

    def line(self) -> Line:
        """A connection to the process that owns the facts, with many calls under way, for one thread: see `Line`."""
        return self.node.forwarding.line()

    def commit_many(
        self,
        box: Transaction[P, R] | Callable[..., R] | str,
        rows: Iterable[Sequence[Any] | Mapping[str, Any]],
        /,
        *,
        lane: Lane = "",
        who: str = "",
    ) -> list[Any]:
        """One transaction for each row of inputs (a tuple in the order of the parameters, or a dict by their names).

        Returns what each of them returned, in order; in place of an answer stands the exception of one that raised.
        """
        engine = self.node.own_engine
        if engine is not None:
            return engine.commit_many(self._transaction(box), rows, lane=lane, who=who)
        return self.node.forwarding.commit_many(self._transaction(box), rows, lane=lane, who=who)

    def read(self) -> Snapshot:
        """The facts as they are now: `with work.read() as facts: facts.get(("likes", "p1"))`."""
        return self.node.engine.read()

    def begin(self, who: str = "", on_change: Callable[[list[Conflict]], None] | None = None) -> Intent:
        """Read and think on a snapshot, then commit a short function with a precondition: see `Intent`."""
        return self.node.engine.begin(who, on_change)

    def watch(self, prefix: Key = ()) -> Watch:
        """Every change under `prefix` from now on; iterate over it in a `with`."""
        return self.node.engine.watch(prefix)

    def _transaction(self, box: Any) -> Any:
        if not isinstance(box, str):
            return box
        found = self.node.transactions.get(box)
        if found is None:
            known = ", ".join(sorted(self.node.transactions)) or "none"
            raise NotFound(f"there is no transaction {box!r}; there are: {known}", transaction=box)
        return found

    # --- observe

    def observe(self, kind: str, value: Any, *, source: str, at: int | None = None, who: str = "") -> Observation:
        """Record what was seen: bytes or a plain value, with its source and time (nanoseconds; default: now)."""
        return self.node.observations.observe(kind, value, source=source, at=at, who=who)

    def latest(self, kind: str, source: str, *, at: int | None = None) -> Observation | None:
        """The newest observation of this kind and source, or the newest up to the time `at`."""
        return self.node.observations.latest(kind, source, at=at)

    def history(self, kind: str, source: str | None = None, **limits: Any) -> Iterator[Observation]:
        """Observations in order of time.  Limits: those of `Observations.history`."""
        return iter(self.node.observations.history(kind, source, **limits))

    # --- spaces

    @property
    def spaces(self) -> Spaces:
        """Private spaces: their blobs are encrypted, granted, and forgotten with their subject's key."""
        return self.node.spaces


def chunks_of(file: BinaryIO) -> Iterator[bytes]:
    """What is left of a file, in pieces of bounded size."""
    while chunk := file.read(CHUNK_BYTES):
        yield chunk
