"""One flight per key: whoever asks for what is being computed waits for it instead of computing it again.

Threads of one process meet in a table; processes of one machine meet at a byte of the file `run/flights`, whose
offset is taken from the key.  The lock is a POSIX record lock (fcntl(2), F_SETLK), for two reasons measured against
its alternatives: it belongs to the process, so a forked child never holds it (flock and OFD locks are shared with
the child: one kept a killed runner's lock for 3 s), and the kernel drops it in the moment the process dies.  Its
known trap, that closing *any* descriptor of the file drops all locks of the process, is avoided by opening the file
once per process (`FlightLocks.shared`) and by nobody else touching it.

A waiting process asks again with growing pauses of at most `RETRY_S_MAX`; that is also how long a takeover takes.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

from boxwork.content.store import storage_error
from boxwork.errors import Busy, DerivationFailed

# Pauses between two tries for another process's lock.  The longest is an upper bound of a takeover, which is promised
# within 50 ms also on a busy machine; a try costs 2 us, so a waiting process costs 0.05 % of a core.  Unit: seconds.
RETRY_S_MIN = 0.0002
RETRY_S_MAX = 0.004


class FlightLocks:
    """Locks on bytes of one file, one byte per key.  Two keys of one offset only wait for each other."""

    _open: ClassVar[dict[str, FlightLocks]] = {}
    _opening: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, path: Path) -> None:
        self._path = os.path.realpath(path)
        self._users = 0
        try:
            os.makedirs(os.path.dirname(self._path), mode=0o700, exist_ok=True)
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as reason:
            raise storage_error(path, reason) from reason
        self._held: dict[int, object] = {}

    @classmethod
    def shared(cls, path: Path) -> FlightLocks:
        """The locks of this file; every call is paired with one `close`."""
        with cls._opening:
            name = os.path.realpath(path)
            locks = cls._open.get(name) or cls._open.setdefault(name, cls(path))
            locks._users += 1
            return locks

    def try_lock(self, key: bytes) -> bool:
        """Take the key's byte if no other process, and no other node of this one, has it."""
        offset = int.from_bytes(key[:8], "big") >> 2  # 62 bits: an off_t holds 63
        held, mine = self._held, object()
        if held.setdefault(offset, mine) is not mine:  # atomic, so two threads never both get it
            return False
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, offset)
        except OSError as reason:
            del held[offset]
            if isinstance(reason, (BlockingIOError, PermissionError)):
                return False
            raise storage_error(Path(self._path), reason) from reason
        return True

    def unlock(self, key: bytes) -> None:
        offset = int.from_bytes(key[:8], "big") >> 2
        with contextlib.suppress(OSError):  # closed meanwhile, and with it unlocked
            fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, offset)
        del self._held[offset]

    def close(self) -> None:
        with self._opening:
            self._users -= 1
            if self._users == 0:
                self._open.pop(self._path, None)
                os.close(self._fd)

    @classmethod
    def forget_in_child(cls) -> None:
        """After a fork, in the child: the locks stayed with the parent; only the descriptors are ours to close."""
        for locks in cls._open.values():
            os.close(locks._fd)
        cls._open.clear()
        cls._opening = threading.Lock()


os.register_at_fork(after_in_child=FlightLocks.forget_in_child)


class Flight:
    """One computation under way.  Its state is guarded by the lock of its `Flights`.

    What few flights need is a default of the class: making a flight is part of every cold call.
    """

    started = False  # somebody runs it; until then a waiter may claim it
    pinned = False  # it runs in its caller's own thread, which cannot leave
    abandoned = False  # everybody who waited has left
    waiting_for: tuple[Flight, ...] = ()  # the flights whose outputs the box running here asked for
    used: tuple[bytes, ...] = ()  # keys asked for by the box while it ran
    cancel: Callable[[], object] | None = None  # stops the worker, where one can be stopped
    inputs: Mapping[str, Any] = MappingProxyType({})  # what it was called with: a sweep leaves that alone
    landed = False
    outcome: Any = None
    watchers: tuple[Future[Any], ...] = ()

    def __init__(self, key: bytes, name: str) -> None:
        self.key = key
        self.name = name


class Flights:
    """The flights of one process."""

    def __init__(self, locks: FlightLocks, flights_max: int) -> None:
        self.locks = locks
        self._flights_max = flights_max
        self._lock = threading.Lock()
        self._flying: dict[bytes, Flight] = {}

    def join(self, key: bytes, name: str, *, pinned: bool = False) -> tuple[Flight, bool]:
        """The flight of this key, and whether the caller has to see to it.

        `pinned`: the caller runs it in its own thread, now; that is also offered a flight which nobody has begun.
        """
        with self._lock:
            flight = self._flying.get(key)
            if flight is not None and not flight.abandoned:
                if not pinned or flight.started:
                    return flight, False
                flight.started = flight.pinned = True
                return flight, True
            if len(self._flying) >= self._flights_max:
                raise Busy(f"{len(self._flying)} derivations are under way, the limit is derive.flights_max: try later")
            flight = self._flying[key] = Flight(key, name)
            if pinned:
                flight.started = flight.pinned = True
            return flight, True

    def claim(self, flight: Flight) -> bool:
        """Whoever gets True runs it."""
        with self._lock:
            if flight.started:
                return False
            flight.started = True
            return True

    def watch(self, flight: Flight, inside: Flight | None) -> Future[Any]:
        """A future of the outcome for one waiter; cancelling it is leaving.

        `inside` is the flight whose box is waiting: if `flight` in turn waits for that, nobody would ever move.
        """
        future: Future[Any] = Future()
        with self._lock:
            if flight.landed:
                _resolve(future, flight.outcome)
                return future
            if inside is not None:
                self._refuse_circle(flight, inside)
                inside.waiting_for = (*(other for other in inside.waiting_for if not other.landed), flight)
            flight.watchers = (*flight.watchers, future)
        future.add_done_callback(lambda done: self._leave(flight, done) if done.cancelled() else None)
        return future

    def land(self, flight: Flight, outcome: Any) -> None:
        """The flight is over: `outcome` is the row, or the exception.  Everybody who waited gets it."""
        with self._lock:
            if self._flying.get(flight.key) is flight:
                del self._flying[flight.key]
            flight.landed = True
            flight.outcome = outcome
            watchers, flight.watchers = flight.watchers, ()
        for future in watchers:
            _resolve(future, outcome)

    def can_stop(self, flight: Flight, stop: Callable[[], object] | None) -> None:
        """`stop` ends the worker.  If everybody has left already, it is called at once."""
        with self._lock:
            flight.cancel = stop
            gone = flight.abandoned
        if gone and stop is not None:
            stop()

    def flying(self) -> list[Flight]:
        with self._lock:
            return list(self._flying.values())

    def _leave(self, flight: Flight, future: Future[Any]) -> None:
        with self._lock:
            flight.watchers = tuple(other for other in flight.watchers if other is not future)
            if flight.watchers or flight.landed or flight.pinned:
                return
            flight.abandoned = True
            stop = flight.cancel
        if stop is not None:
            stop()

    @staticmethod
    def _refuse_circle(flight: Flight, inside: Flight) -> None:
        if flight is inside:
            raise DerivationFailed(
                f"{inside.name} asks for its own output: it derives itself with the same inputs", box=inside.name
            )
        seen: set[int] = set()
        ahead = [flight]
        while ahead:
            step = ahead.pop()
            if step is inside:
                raise DerivationFailed(
                    f"{inside.name} asks, while it runs, for {flight.name}, which waits for its output", box=inside.name
                )
            if id(step) not in seen and not step.landed:
                seen.add(id(step))
                ahead.extend(step.waiting_for)


def _resolve(future: Future[Any], outcome: Any) -> None:
    if not future.set_running_or_notify_cancel():
        return
    if isinstance(outcome, BaseException):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
