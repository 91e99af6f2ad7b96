"""A call that was no hit: its flight, its run, and what is stored of it.

The run is in the caller's thread for an inline box, in a pool thread or a worker process else.  Between the two looks
at the table stands the lock against other processes; between the run and the row stands another look at everything
the run may have read.
"""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import CancelledError, Future
from functools import partial
from typing import Any

from boxwork.clock import SECOND_NS, Clock, monotonic_ns
from boxwork.content.content import Content
from boxwork.content.tree_value import Tree
from boxwork.database import Edit
from boxwork.derive.answers import MISSING, Answers
from boxwork.derive.asks import Ask, Asks, Plan, Recorders
from boxwork.derive.canonical_text import text_of_value
from boxwork.derive.explain import (
    FINGERPRINTS,
    FORM_BYTES_KEPT,
    input_rows,
    part_differences,
    parts_bytes,
    record_bytes,
)
from boxwork.derive.failures import Failures
from boxwork.derive.flights import RETRY_S_MAX, RETRY_S_MIN, Flight, Flights
from boxwork.derive.handles import File
from boxwork.derive.inputs import HANDLES, Inputs, handles_in
from boxwork.derive.outputs import BLOB, OUTPUTS, Encoded, row_bytes
from boxwork.derive.processes import Stop
from boxwork.derive.workers import Job, Workers
from boxwork.errors import BlobMissing, BoxworkError, DerivationCancelled, DerivationFailed, InputChanged, Timeout
from boxwork.keys import Ref, ref_of
from boxwork.settings import MiB, Settings

# Blobs inside containers, and calls of other boxes, that an explain record keeps.  Unit: each; 34 bytes apiece.
SOURCES_MAX = 16


class _Here(threading.local):
    """The flight whose box runs in this thread."""

    flight: Flight | None = None


class Runs:
    """Sees to the calls of one node that were no hits."""

    def __init__(
        self,
        content: Content,
        asks: Asks,
        answers: Answers,
        flights: Flights,
        workers: Workers,
        clock: Clock,
        settings: Settings,
        pulse: Recorders,
    ) -> None:
        self._content = content
        self._asks = asks
        self._answers = answers
        self.flights = flights
        self.workers = workers
        self._clock = clock
        self._locks = flights.locks
        self._failures = Failures(content.cache_db, clock, round(settings.number("derive.failure_ttl_s") * SECOND_NS))
        self._wait_s_max = settings.number("derive.wait_s_max")
        self._inline_bytes_max = settings.integer("derive.inline_bytes_max")
        self._stored_fingerprints: set[tuple[bytes, bool]] = set()
        self._here = _Here()
        # How long a run waited for a worker, by where it waited: a full pool shows here before anybody complains.
        self._queued = {
            kind: pulse.series("derive.queue", worker=kind).record for kind in ("thread", "process", "sandbox")
        }

    def note_use(self, key: bytes) -> None:
        """A hit: if a box is running in this thread, its record says that it used this output."""
        flight = self._here.flight
        if flight is not None:
            flight.used = (*flight.used[:SOURCES_MAX], key)

    def begin(self, ask: Ask) -> Future[bytes]:
        """Have the call seen to in another thread: a future of its row; cancelling it is leaving."""
        flight, mine = self.flights.join(ask.key, ask.plan.name)
        inside = self._here.flight
        row = self.flights.watch(flight, inside)
        if mine:
            self._dispatch(flight, ask, inside)
        return row

    def again(self, ask: Ask) -> Ref:
        """Run the box whatever is remembered, and store nothing: the ref its output has now."""
        plan = ask.plan
        args, named = ask.binder.receive(ask.bound, self._content, elsewhere=self.workers.reads(plan.worker))
        if plan.worker in ("inline", "thread"):
            encoded = plan.codec.encode(ask.box.function(*args, **named))
        else:
            job = Job(ask.box, args, named, self._asks.code(ask.box))
            encoded, _ = self.workers.run(plan.worker, job, lambda stop: None, lambda: False)
        return encoded.ref if encoded.data is None else ref_of(encoded.data)

    def adopt(self, ask: Ask, output: Tree) -> bool:
        """Store an output that was computed elsewhere, unless this call is being seen to."""
        if not self._locks.try_lock(ask.key):
            return False
        try:
            self._store(Flight(ask.key, ask.plan.name), ask, ask.plan.codec.encode(output), 0, ask.plain)
        finally:
            self._locks.unlock(ask.key)
        return True

    def resolve(self, ask: Ask, timeout_s: float | None) -> tuple[bytes, Any]:
        """The row of this call, and its value if it was computed in this thread."""
        plan = ask.plan
        inside = self._here.flight
        if inside is not None:
            inside.used = (*inside.used[:SOURCES_MAX], ask.key)
        # A box that runs in a pool thread runs what it asks for there too: were it queued behind itself, nobody moved.
        here = plan.worker == "inline" or (plan.worker == "thread" and inside is not None)
        flight, mine = self.flights.join(ask.key, plan.name, pinned=here)
        if here and mine:
            return self._fly(flight, ask)
        future = self.flights.watch(flight, inside)
        try:
            if mine:
                self._dispatch(flight, ask, inside)
            limit = self._wait_s_max if timeout_s is None else min(timeout_s, self._wait_s_max)
            return future.result(limit), MISSING
        except TimeoutError:
            if future.cancel():
                raise Timeout(
                    f"{plan.name} was not done after {limit:g} s; others may still wait for it, and its"
                    " output is remembered when it comes",
                    box=plan.name,
                    timeout_s=limit,
                ) from None
            return future.result(), MISSING
        except CancelledError:
            raise DerivationCancelled(f"{plan.name} was cancelled", box=plan.name) from None

    def _dispatch(self, flight: Flight, ask: Ask, inside: Flight | None) -> None:
        """Have a pool thread see to the flight; what a running box asks for gets a thread of its own, because the
        pool may be full of boxes that wait for each other."""

        asked_ns, queued = monotonic_ns(), self._queued["thread"]

        def fly() -> None:
            if self.flights.claim(flight):
                queued(monotonic_ns() - asked_ns)
                try:
                    self._fly(flight, ask)
                except BaseException as error:  # it was told to everybody who waits
                    error.__traceback__ = None  # of our own frames, which hold the flight, which holds the error

        try:
            if inside is None:
                self.workers.threads.submit(fly)
            else:
                threading.Thread(target=fly, name="boxwork-derive-nested", daemon=True).start()
        except BaseException as error:
            self.flights.land(flight, error)
            raise

    def _fly(self, flight: Flight, ask: Ask) -> tuple[bytes, Any]:
        """See to one flight until it lands, in this thread."""
        here = self._here
        outer, here.flight = here.flight, flight
        flight.inputs = ask.bound
        try:
            raw, value = self._locked(flight, ask)
        except BoxworkError as error:
            self.flights.land(flight, error)
            raise
        except BaseException as error:
            told = DerivationCancelled(f"{ask.plan.name} was interrupted by {type(error).__name__}", box=ask.plan.name)
            self.flights.land(flight, told)
            raise
        finally:
            here.flight = outer
        self.flights.land(flight, raw)
        return raw, value

    def _locked(self, flight: Flight, ask: Ask) -> tuple[bytes, Any]:
        """With the key's lock against other processes, look again, and run the box if nobody has meanwhile."""
        locks, key = self._locks, ask.key
        if not locks.try_lock(key):
            raw = self._await_lock(flight, ask)
            if raw is not None:
                return raw, MISSING
        try:
            raw = ask.plan.get_row(key)
            if raw is not None and self._answers.of(ask, raw) is not MISSING:
                return raw, MISSING
            if raw is not None or ask.plan.durable:  # the cache's row was just read; failures lie nowhere else
                self._failures.refuse(ask.plan.name, key)
            return self._run(flight, ask)
        finally:
            locks.unlock(key)

    def _await_lock(self, flight: Flight, ask: Ask) -> bytes | None:
        """Wait for another process: its row, or None when the lock is ours."""
        plan = ask.plan
        pause, deadline = RETRY_S_MIN, monotonic_ns() + round(self._wait_s_max * SECOND_NS)
        waiting = threading.Event()
        while not self._locks.try_lock(ask.key):
            raw = plan.get_row(ask.key)
            if raw is not None and self._answers.of(ask, raw) is not MISSING:
                return raw
            if flight.abandoned:
                raise DerivationCancelled(f"everybody who waited for {plan.name} has left", box=plan.name)
            if monotonic_ns() > deadline:
                raise Timeout(
                    f"another process computes {plan.name} for more than derive.wait_s_max ="
                    f" {self._wait_s_max:g} s; look for it with `boxwork doctor`",
                    box=plan.name,
                )
            waiting.wait(pause)
            pause = min(2 * pause, RETRY_S_MAX)
        return None

    def _run(self, flight: Flight, ask: Ask) -> tuple[bytes, Any]:
        plan = ask.plan
        if flight.abandoned:
            raise DerivationCancelled(f"everybody who waited for {plan.name} has left", box=plan.name)
        if plan.worker in ("inline", "thread"):
            args, named = ask.binder.receive(ask.bound, self._content)
            started = monotonic_ns()
            try:
                value = ask.box.function(*args, **named)
            except Exception as error:
                raise self._failures.remember(plan.name, ask.key, error) from error
            duration = monotonic_ns() - started
            encoded = plan.codec.encode(value)
        else:
            value = MISSING
            args, named = ask.binder.receive(ask.bound, self._content, elsewhere=self.workers.reads(plan.worker))
            job = Job(ask.box, args, named, self._asks.code(ask.box))
            asked_ns = monotonic_ns()

            def can_stop(stop: Stop | None) -> None:
                if stop is not None:  # a worker is there, and this ends it
                    self._queued[plan.worker](monotonic_ns() - asked_ns)
                self.flights.can_stop(flight, stop)

            try:
                encoded, duration = self.workers.run(plan.worker, job, can_stop, lambda: flight.abandoned)
                failure = None
            except DerivationFailed as error:
                failure, cause = self._failures.remember(plan.name, ask.key, error), error.__cause__
            if failure is not None:  # raised out here, so that it does not keep the other one as its context
                raise failure from cause
        plan.run(duration)
        plain = ask.plain
        self._refuse_changes(ask, plain)
        return self._store(flight, ask, encoded, duration, plain), value

    def _refuse_changes(self, ask: Ask, plain: bool) -> None:
        """Raise `InputChanged` if the box, what it declares, or a file it was given is not what it was."""
        plan = ask.plan
        now = self._asks.fingerprint(ask.box)
        if now.digest != ask.fingerprint.digest:
            differences = list(part_differences(ask.fingerprint.parts, now.parts))
            changed = ", ".join(map(str, differences)) or "its code"
            filled = [d.what.split()[1] for d in differences if d.what.startswith("constant ")]
            advice = f"; if the box fills it by itself and it cannot matter, write ignores={filled}" if filled else ""
            raise InputChanged(
                f"{plan.name}: {changed} while it ran; the output was not stored, ask again{advice}", box=plan.name
            )
        if not plain and ask.binder.watches(ask.bound):
            before, after = (ask.binder.grouped(forms) for forms in (ask.forms, ask.binder.forms(ask.bound)))
            changed = ", ".join(name for (name, old), (_, new) in zip(before, after, strict=True) if old != new)
            if changed:
                raise InputChanged(
                    f"{plan.name}: the input {changed} changed while it ran; the output was not stored,"
                    " ask again when it is complete",
                    box=plan.name,
                    inputs=changed,
                )

    def _store(self, flight: Flight, ask: Ask, encoded: Encoded, duration: int, plain: bool) -> bytes:
        """Write the output's row with its explain record, and its blob, in one transaction.

        The blob of a small output whose caller wants the value is only in the row, until somebody wants its ref.
        """
        plan, key, data, fingerprint = ask.plan, ask.key, encoded.data, ask.fingerprint
        now = self._clock.now_ns()
        record = record_bytes(
            plan.identity,
            plan.name,
            fingerprint.digest,
            self._input_rows(ask),
            now,
            duration,
            plan.worker,
            encoded.type_name,
            -1 if data is None else len(data),
            [ref.digest for ref in encoded.refs],
            () if plain else _sources(ask.bound),
            flight.used,
        )
        inline = data if data is not None and len(data) <= self._inline_bytes_max and encoded.kind != BLOB else None
        new = (fingerprint.digest, plan.durable) not in self._stored_fingerprints
        digest = encoded.ref.digest if data is None else ref_of(data).digest
        row = row_bytes(encoded.kind, digest, inline, record)

        def write(edit: Edit, digests: object = None) -> None:
            edit.put(OUTPUTS, key, row)
            if new:
                edit.put(FINGERPRINTS, fingerprint.digest, parts_bytes(fingerprint), overwrite=False)

        if encoded.refs or data is None:
            self._keep_named(plan, encoded)
        if data is not None and (inline is None or not ask.value):
            plan.place.put(data, also=write)
        else:
            plan.place.database.update(write)
        if new:
            self._stored_fingerprints.add((fingerprint.digest, plan.durable))
        plan.index.note(digest, key, plan.identity, now)
        plan.last_miss = key
        return row

    def _keep_named(self, plan: Plan, encoded: Encoded) -> None:
        """Blobs that an output only names must be there; those of a durable output become durable."""
        named = [*encoded.refs, *(() if encoded.data is not None else (encoded.ref,))]
        if not named:
            return
        absent = self._content.touch(named)
        if absent:
            raise BlobMissing(
                f"{plan.name} returned the ref {absent[0]}, whose bytes are not here: put them first, or"
                " return the bytes",
                ref=absent[0],
            )
        if plan.durable:
            for ref in named:
                if not self._content.durable.has(ref):
                    with self._content.open(ref) as file:
                        self._content.durable.put_stream(iter(partial(file.read, MiB), b""), expect=ref)

    def _input_rows(self, ask: Ask) -> bytes | list[list[Any]]:
        whole = b"".join(ask.forms)
        if len(whole) <= FORM_BYTES_KEPT:
            return whole
        return input_rows(ask.binder.grouped(ask.forms), lambda name: text_of_value(ask.bound.get(name)))


def _sources(bound: Inputs) -> list[bytes]:
    """Digests of the blobs and trees inside containers, for the lineage: the first of them."""
    inside = (value for value in bound.values() if type(value) not in HANDLES)
    found = (named for named in handles_in(inside) if not isinstance(named, File))
    digests = (named.digest if isinstance(named, Ref) else named.ref.digest for named in found)
    return list(dict.fromkeys(itertools.islice(digests, SOURCES_MAX)))
