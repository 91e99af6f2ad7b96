"""The locking lane: real two-phase locking, for interactive sessions and for comparison.

A shared lock to read, an exclusive one to write, a shared one on a prefix to scan; all are held until the commit is
durable.  Of two that want the same:

  wait-die   the older waits, the younger is aborted (Rosenkrantz, Stearns, Lewis, TODS 1978): no deadlock can arise
  no-wait    whoever comes second is aborted

Under wait-die whoever holds nothing yet waits for anybody: nobody can be waiting for him, so no cycle goes through
him, and nothing he did is lost.  Waiters of one key stand in a queue; what is released is handed to those in front
who can go on, and only they are woken.

Reads see the newest durable facts.  The other lanes know nothing of locks: what they change under a session makes
its commit an abort, so the lanes together are serializable too.

Invariants, whenever the table is not being changed (wait-die):
  who waits and holds something is older than every holder, and every such waiter before him, that is in his way
  no waiter in a queue could be granted what he waits for
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from boxwork.errors import BadInput, Timeout, TransactionAborted
from boxwork.state.order import Key
from boxwork.state.snapshot import Facts
from boxwork.state.tx import SnapshotTx

Policy: TypeAlias = Literal["wait-die", "no-wait"]
Mode: TypeAlias = Literal["shared", "exclusive"]

# How long a session waits for one lock.  Unit: ns.  Reason: whoever holds it may have gone; wait-die cannot know.
WAIT_NS_MAX = 30 * 1_000_000_000


@dataclass(frozen=True, slots=True)
class Wait:
    """Somebody waits for a lock."""

    who: str
    key: Key
    mode: Mode
    holders: tuple[str, ...]
    since_ns: int


@dataclass(slots=True, eq=False)
class Owner:
    """A session, as the lock table knows it.  The smaller the age, the older."""

    age: int
    who: str
    held: set[tuple[bool, Key]] = field(default_factory=set)  # (is a prefix, key)


@dataclass(slots=True, eq=False)
class Request:
    """A lock that is wanted.  `latch` is let go when it is `granted`, or when its owner must die."""

    owner: Owner
    key: Key
    mode: Mode
    is_prefix: bool
    since_ns: int = 0
    granted: bool = False
    killers: tuple[str, ...] = ()
    latch: threading.Lock = field(default_factory=threading.Lock)


class LockTable:
    def __init__(
        self, monotonic_ns: Callable[[], int], policy: Policy = "wait-die", wait_ns_max: int = WAIT_NS_MAX
    ) -> None:
        if policy not in ("wait-die", "no-wait"):
            raise BadInput(f"the lock policy is {policy!r}; there are wait-die and no-wait")
        self.policy = policy
        self._monotonic_ns = monotonic_ns
        self._wait_ns_max = wait_ns_max
        self._mutex = threading.Lock()  # over everything below; held for microseconds, never while waiting
        self._locks: dict[Key, dict[Owner, Mode]] = {}
        self._prefixes: dict[Key, dict[Owner, Mode]] = {}
        self._queues: dict[Key, list[Request]] = {}
        self._prefix_queue: list[Request] = []
        self._next_age = 1
        self.waited = 0
        self.waited_ns = 0

    def owner(self, who: str, age: int = 0) -> Owner:
        """A new owner.  Who was aborted comes back with his age, so that he grows older and wins in the end."""
        with self._mutex:
            if not age:
                age, self._next_age = self._next_age, self._next_age + 1
            return Owner(age, who)

    def lock(self, owner: Owner, key: Key, mode: Mode) -> None:
        """Hold `key` in `mode`.  Raises `TransactionAborted` by the policy, `Timeout` after too long a wait."""
        held = self._locks.get(key)
        if held is None or held.get(owner) not in (mode, "exclusive"):  # nobody else changes what he holds
            self._acquire(Request(owner, key, mode, False))

    def lock_prefix(self, owner: Owner, prefix: Key) -> None:
        """Hold every key under `prefix`, also those that are not there yet, against writers."""
        if (True, prefix) not in owner.held:
            self._acquire(Request(owner, prefix, "shared", True))

    def release(self, owner: Owner) -> None:
        """Let go of everything, and hand it to those who waited."""
        with self._mutex:
            held, owner.held = owner.held, set()
            for is_prefix, key in held:
                table = self._prefixes if is_prefix else self._locks
                holders = table[key]
                del holders[owner]
                if not holders:
                    del table[key]
            for is_prefix, key in held:
                self._review(key, is_prefix)

    def waits(self) -> list[Wait]:
        """Who waits for whom, now."""
        with self._mutex:
            waiting = [*self._prefix_queue, *(request for queue in self._queues.values() for request in queue)]
            return [Wait(r.owner.who, r.key, r.mode, _names(self._rivals(r)), r.since_ns) for r in waiting]

    # --- one request

    def _acquire(self, request: Request) -> None:
        with self._mutex:
            rivals = list(self._rivals(request))
            if not rivals:
                self._grant(request)
                return
            self._die_if_due(request, rivals)
            request.since_ns = self._monotonic_ns()
            request.latch.acquire()
            self._enqueue(request)
        try:
            request.latch.acquire(timeout=self._wait_ns_max / 1e9)
        except BaseException:  # interrupted: nobody shall be handed a lock that he no longer waits for
            with self._mutex:
                if not request.granted and not request.killers:
                    self._dequeue(request)
                    self._review(request.key, request.is_prefix)
            raise
        with self._mutex:
            self.waited += 1
            self.waited_ns += self._monotonic_ns() - request.since_ns
            if request.granted:
                return
            if request.killers:
                raise self._abort(request)
            names = _names(self._rivals(request))
            self._dequeue(request)
            self._review(request.key, request.is_prefix)  # those behind him
            raise Timeout(
                f"waited {self._wait_ns_max / 1e9:.0f} s for {request.key!r}, held by {', '.join(names)}",
                key=list(map(str, request.key)),
                holders=names,
            )

    def _rivals(self, request: Request) -> Iterator[Owner]:
        """Those in the way of a request: holders, and who waits before it and is not to be overtaken."""
        owner, key, exclusive = request.owner, request.key, request.mode == "exclusive"
        if request.is_prefix:
            size = len(key)
            for other, holders in self._locks.items():
                if other[:size] == key:
                    yield from (rival for rival, held in holders.items() if rival is not owner and held == "exclusive")
            return
        holders = self._locks.get(key, {})
        for rival, held in holders.items():
            if rival is not owner and (exclusive or held == "exclusive"):
                yield rival
        if exclusive and self._prefixes:
            for size in range(len(key) + 1):
                yield from (rival for rival in self._prefixes.get(key[:size], ()) if rival is not owner)
        if owner in holders:
            return  # who has it shared and wants more waits for the other holders only: the queue waits for him
        for waiting in self._queues.get(key, ()):
            if waiting is request:
                return
            rival = waiting.owner
            # Whoever holds something must not wait for one who holds nothing, for that one may wait for anybody.
            if (exclusive or waiting.mode == "exclusive") and (rival.held or not owner.held or rival.age < owner.age):
                yield rival

    def _must_die(self, request: Request, rivals: list[Owner]) -> bool:
        owner = request.owner
        return self.policy == "no-wait" or (bool(owner.held) and any(rival.age < owner.age for rival in rivals))

    def _die_if_due(self, request: Request, rivals: list[Owner]) -> None:
        if self._must_die(request, rivals):
            request.killers = _names(iter(rivals))
            raise self._abort(request)

    def _abort(self, request: Request) -> TransactionAborted:
        return TransactionAborted(
            f"{request.key!r} is locked by {', '.join(request.killers)} ({self.policy}): run it again",
            key=list(map(str, request.key)),
            holders=request.killers,
            age=request.owner.age,
        )

    def _grant(self, request: Request) -> None:
        owner = request.owner
        table = self._prefixes if request.is_prefix else self._locks
        table.setdefault(request.key, {})[owner] = request.mode
        owner.held.add((request.is_prefix, request.key))
        request.granted = True
        # A new holder may be older than some who wait for him now: they must not.
        if request.is_prefix or self._prefix_queue or request.key in self._queues:
            self._review(request.key, request.is_prefix)

    # --- the queues

    def _enqueue(self, request: Request) -> None:
        if request.is_prefix:
            self._prefix_queue.append(request)
        elif request.owner in self._locks.get(request.key, {}):
            self._queues.setdefault(request.key, []).insert(0, request)
        else:
            self._queues.setdefault(request.key, []).append(request)

    def _dequeue(self, request: Request) -> None:
        if request.is_prefix:
            self._prefix_queue.remove(request)
            return
        queue = self._queues[request.key]
        queue.remove(request)
        if not queue:
            del self._queues[request.key]

    def _review(self, key: Key, is_prefix: bool) -> None:
        """Something about `key` has changed: wake those who can go on, and those who must not wait any longer."""
        waiting: list[Request]
        if is_prefix:
            size = len(key)
            waiting = [r for other, queue in self._queues.items() if other[:size] == key for r in queue]
        else:
            waiting = [*self._queues.get(key, ()), *(r for r in self._prefix_queue if key[: len(r.key)] == r.key)]
        for request in waiting:
            if request.granted or request.killers:  # by a review within this one
                continue
            rivals = list(self._rivals(request))
            if rivals and not self._must_die(request, rivals):
                continue
            self._dequeue(request)
            if rivals:
                request.killers = _names(iter(rivals))
            else:
                self._grant(request)
            request.latch.release()


def _names(owners: Iterator[Owner]) -> tuple[str, ...]:
    return tuple(sorted({owner.who for owner in owners}))


class LockedTx(SnapshotTx):
    """A transaction under locks: each read sees the newest durable value, once its lock is held."""

    __slots__ = ("_facts", "_owner", "_read_at", "_scanned_at", "_table")

    def __init__(self, facts: Facts, table: LockTable, owner: Owner, version: int, now_ns: int, seed: bytes) -> None:
        super().__init__(facts, version, now_ns, seed, 0)
        self._facts = facts
        self._table = table
        self._owner = owner
        self._read_at: dict[Key, int] = {}
        self._scanned_at: dict[Key, int] = {}

    def read_at(self, key: Key) -> int:
        return self._read_at[key]

    def scanned_at(self, prefix: Key) -> int:
        return self._scanned_at[prefix]

    def _read(self, key: Key) -> Any:
        if key not in self._read_at:
            self._table.lock(self._owner, key, "shared")
            # First the version, then the value: a change in between is then taken for one after the read, which
            # is an abort too many and never one too few.
            self._read_at[key] = self._facts.version
        return super()._read(key)

    def put(self, key: Key, value: Any) -> None:
        self._table.lock(self._owner, key, "exclusive")
        super().put(key, value)

    def delete(self, key: Key) -> None:
        self._table.lock(self._owner, key, "exclusive")
        super().delete(key)

    def add(self, key: Key, delta: int, *, min: int | None = None, max: int | None = None) -> None:
        self._table.lock(self._owner, key, "exclusive")
        super().add(key, delta, min=min, max=max)

    def _merge(self, key: Key, kind: Any, amount: Any) -> None:
        self._table.lock(self._owner, key, "exclusive")
        super()._merge(key, kind, amount)

    def scan(self, prefix: Key = (), **options: Any) -> list[tuple[Key, Any]]:
        if prefix not in self._scanned_at:
            self._table.lock_prefix(self._owner, prefix)
            self._scanned_at[prefix] = self._facts.version
        # The rows come one by one through `_read`, which would lock each: the prefix is held, so their versions are.
        return super().scan(prefix, **options)
