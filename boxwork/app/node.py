"""The node: all layers over one data directory, one per process and directory, counted by its openers.

It has two faces: `Work` blocks (`with boxwork.open("data") as work`), `Boxwork` awaits (`async with Boxwork("data")
as work`).
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

from boxwork import database, journal, pulse
from boxwork.app import forwarding
from boxwork.app.forwarding import Forwarding
from boxwork.app.housekeeping import Housekeeping
from boxwork.box import Derivation
from boxwork.clock import Clock, SystemClock
from boxwork.content import content as content_module
from boxwork.content import format as data_format
from boxwork.content import inventory as inventory_module
from boxwork.content import observations as observations_module
from boxwork.content import repositories as repositories_module
from boxwork.content import spaces as spaces_module
from boxwork.content import tree_index
from boxwork.content.content import Content
from boxwork.content.inventory import Inventory
from boxwork.content.observations import Observations
from boxwork.content.repositories import Repositories
from boxwork.content.spaces import Spaces
from boxwork.content.tree import follower
from boxwork.derive import deriver as deriver_module
from boxwork.derive import fingerprint as fingerprint_module
from boxwork.derive.deriver import Deriver
from boxwork.derive.fingerprint import Fingerprinter
from boxwork.errors import BadInput, NotFound, StateError
from boxwork.live import limits as live_limits
from boxwork.pack import Pack, find_packs
from boxwork.pulse import Pulse
from boxwork.pulse import watch as watch_module
from boxwork.pulse.recorder import history_of
from boxwork.pulse.watch import Watch
from boxwork.serve import limits
from boxwork.settings import Setting, Settings, merge
from boxwork.state import engine as engine_module
from boxwork.state.checkpoint import pin_name
from boxwork.state.engine import Engine
from boxwork.state.remote.desk import Desk
from boxwork.transactions import Transaction

log = logging.getLogger("boxwork.node")

SETTINGS = (
    Setting(
        "node.threads",
        0,
        "threads",
        "threads of one node for calls from async code; 0 is four more than there are processors",
    ),
    Setting(
        "node.housekeeping_s",
        300.0,
        "s",
        "how often the cache is brought under its quota; measuring it reads every row, 0.5 s for a million",
    ),
)
CONFIGURATION = "boxwork.toml"


def all_settings(packs: Iterable[Pack]) -> list[Setting]:
    """Every setting there is, those of the packs included."""
    declared = [
        *SETTINGS,
        *database.SETTINGS,
        *journal.SETTINGS,
        *pulse.SETTINGS,
        *watch_module.SETTINGS,
        *content_module.SETTINGS,
        *deriver_module.SETTINGS,
        *engine_module.SETTINGS,
        *forwarding.SETTINGS,
        *limits.SETTINGS,
        *live_limits.SETTINGS,
    ]
    return declared + [setting for pack in packs for setting in pack.settings]


def _by_name(packs: Iterable[Pack]) -> dict[str, Transaction[..., Any]]:
    """The transactions of all packs.  A name means one transaction: the log knows them by it."""
    found: dict[str, tuple[str, Transaction[..., Any]]] = {}
    for pack in packs:
        for box in (*pack.transactions, *(box for box in pack.inner if isinstance(box, Transaction))):
            box.inputs  # noqa: B018  a signature that cannot be recorded is refused here, not at its first call
            other, _ = found.setdefault(box.name, (pack.name, box))
            if other != pack.name:
                raise BadInput(
                    f"the packs {other} and {pack.name} both have a transaction {box.name!r}: give one of"
                    " them another name, or leave a pack out",
                    transaction=box.name,
                )
    return {name: box for name, (_, box) in found.items()}


class Node:
    """All layers over one directory in one process.  `Node.acquire` makes or shares it, `release` gives it back."""

    _nodes: ClassVar[dict[Path, Node]] = {}
    _lock = threading.Lock()

    @classmethod
    def acquire(
        cls,
        directory: str | os.PathLike[str],
        packs: Iterable[Pack | str],
        flags: Mapping[str, object],
        clock: Clock | None,
        executors: Mapping[str, Executor],
    ) -> Node:
        root = Path(directory).expanduser().resolve()
        with cls._lock:
            node = cls._nodes.get(root)
            if node is None:
                node = cls._nodes[root] = cls(root, packs, flags, clock or SystemClock(), executors)
            elif any(node.settings[name] != value for name, value in flags.items()):
                raise BadInput(f"{root} is open in this process with other settings: close it first, or leave them out")
            node.users += 1
            return node

    def __init__(
        self,
        root: Path,
        packs: Iterable[Pack | str],
        flags: Mapping[str, object],
        clock: Clock,
        executors: Mapping[str, Executor],
    ) -> None:
        self.root = root
        self.users = 0
        self.clock = clock
        self.packs = find_packs(packs)
        self.settings: Settings = merge(all_settings(self.packs), file=root / CONFIGURATION, flags=flags)
        data_format.prepare(root, clock)
        self.boxes: dict[str, Derivation[..., Any]] = {
            box.name: box for pack in self.packs for box in (*pack.boxes, *pack.inner) if isinstance(box, Derivation)
        }
        self.transactions = _by_name(self.packs)
        self.offered_boxes = {box.name: box for pack in self.packs for box in pack.boxes}
        self.offered_transactions = {box.name: box for pack in self.packs for box in pack.transactions}
        self._parts: dict[str, Any] = {}
        self._engine: Engine | None = None
        self._desk: Desk | None = None
        self._engine_lock = threading.Lock()
        self._is_closed = False
        # What was opened is closed in the reverse order: by `release`, or here if a later step fails.
        self._closers = contextlib.ExitStack()
        with self._closers as opening:
            self.pulse = Pulse.from_settings(self.settings, history_of(self.settings, root), clock=clock)
            opening.callback(self.pulse.close)
            self.alarms = Watch.from_settings(self.pulse, self.settings).start()
            opening.callback(self.alarms.close)
            self.content = Content(
                root,
                self.settings,
                clock,
                self.pulse,
                durable_tables=[
                    *observations_module.TABLES,
                    *spaces_module.TABLES,
                    *inventory_module.TABLES,
                    *repositories_module.TABLES,
                    *deriver_module.DURABLE_TABLES,
                ],
                cache_tables=[*tree_index.TABLES, *deriver_module.CACHE_TABLES, fingerprint_module.TABLE],
            )
            opening.callback(self.content.close)
            opening.callback(self._close_engine)
            self.content.add_follower(follower(self.content))
            self.observations = Observations(self.content, clock)
            self.spaces = Spaces(self.content, root / "keys", clock)
            self.inventory = Inventory(self.content.durable_db, clock)
            self.repositories = Repositories(self.content, self.spaces.is_public)
            self.content.add_place(self.inventory)
            opening.callback(self.inventory.close)
            threads = self.settings.integer("node.threads") or (os.cpu_count() or 1) + 4
            self.pool = ThreadPoolExecutor(threads, thread_name_prefix="boxwork")
            opening.callback(self.pool.shutdown, wait=True, cancel_futures=True)
            fingerprinter = Fingerprinter(persist=self.content.cache_db)
            self.forwarding = Forwarding(
                root, lambda: self.engine, fingerprinter, clock, self.settings.number("state.forward_s_max")
            )
            opening.callback(self.forwarding.close)
            self.deriver = Deriver(self.content, fingerprinter, clock, self.pulse, self.settings, executors=executors)
            opening.callback(self.deriver.close)
            self.housekeeping = Housekeeping(
                self.content,
                self.deriver,
                self.observations,
                self.repositories,
                self.settings.number("node.housekeeping_s"),
            )
            opening.callback(self.housekeeping.close)
            self._closers = opening.pop_all()

    @property
    def engine(self) -> Engine:
        """The facts.  Opened at the first question: from then on this process owns them.

        Raises `StateInUse` if another process does, `LogCorrupt` if the log is damaged.
        """
        engine = self._engine
        return engine if engine is not None else self._open_engine()

    @property
    def own_engine(self) -> Engine | None:
        """The facts, if this process owns them already."""
        return self._engine

    def _open_engine(self) -> Engine:
        with self._engine_lock:
            if self._is_closed:
                raise StateError(f"{self.root} is closed in this process: open it again", path=str(self.root))
            if self._engine is None:
                content = self.content
                self._engine = Engine.open(
                    self.root / engine_module.FOLDER,
                    self.settings,
                    self.clock,
                    store=content,
                    pin=content.pin,
                    unpin=content.unpin,
                    pulse=self.pulse,
                )
                # A process that was killed between two checkpoints may have left the pin of one that does not count.
                current = pin_name(self._engine.recovered.checkpoint_version)
                for name in [name for name, _ in content.pins(pin_name()) if name != current]:
                    content.unpin(name)
                try:
                    self._desk = self.forwarding.open_desk(self._engine, self.transactions)
                except OSError as reason:  # the facts are of use without it, to this process
                    log.warning("no other process can hand in commits: %s", reason, extra={"path": str(self.root)})
            return self._engine

    def _close_engine(self) -> None:
        with self._engine_lock:
            self._is_closed = True
            if self._desk is not None:
                self._desk.close()  # first: what was handed in by others is still answered
                self._desk = None
            if self._engine is not None:
                self._engine.close()
                self._engine = None

    def part(self, name: str, work: object) -> Any:
        """What the pack's `opener` made of `work`, the face it is handed; made at the first question."""
        with Node._lock:
            if name not in self._parts:
                pack = next((pack for pack in self.packs if pack.name == name), None)
                if pack is None or pack.opener is None:
                    raise NotFound(
                        f"there is no pack {name!r} with a part of its own; packs: "
                        + ", ".join(pack.name for pack in self.packs)
                    )
                self._parts[name] = pack.opener(work)
            return self._parts[name]

    def release(self) -> None:
        with Node._lock:
            self.users -= 1
            if self.users > 0:
                return
            Node._nodes.pop(self.root, None)
        for part in self._parts.values():
            part.close()
        self._closers.close()

    @classmethod
    def _leave_child(cls) -> None:
        """In a forked child: the maps, locks and threads belong to the parent, so every node is gone here."""
        cls._lock = threading.Lock()
        for node in cls._nodes.values():
            node._engine_lock = threading.Lock()  # a thread of the parent may have held the other one
            desk, node._desk = node._desk, None
            if desk is not None:
                desk.close_in_child()
            engine, node._engine, node._is_closed = node._engine, None, True
            if engine is not None:
                engine.close_in_child()
            node.content.close_in_child()
        cls._nodes.clear()


os.register_at_fork(after_in_child=Node._leave_child)
