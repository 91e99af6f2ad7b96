"""Taking a source in: reference its files where they lie, then derive what people will ask for first.

`watch` goes on doing so.  It looks instead of being told: inotify says nothing of network drives, forgets what
happens while its queue is full and wants one watch for each directory, so a look would be needed all the same.  What
a look costs is the source's affair: a collection with a change stream only asks what is new in it.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from boxwork.app.work import Work
from boxwork.clock import SECOND_NS, monotonic_ns, thread_cpu_ns
from boxwork.errors import BadInput, BoxworkError, DerivationFailed, StorageError
from boxwork.keys import Ref
from boxwork.pack import Pack

# Derivations under way: twice the processors keeps them busy while one result is written.  Unit: flights.
AHEAD = 2
# Reasons kept for the summary; the page lists all of them.  Unit: files.
FAULTS_KEPT = 20
# A look at a source takes at most this part of the time: 100,000 files are looked at in 0.35 s, then every 7 s.
# Of what lies elsewhere it is the CPU time: 100,000 objects far away are half a minute of waiting, a second of that.
LOOK_SHARE = 0.05
# A count under way looks up once a page of the list; a server that keeps it waiting is left to itself.  Unit: seconds.
COUNT_ENDS_S = 2.0
# Stands for never, where `inventory.rescan_remote_s` is 0.  Unit: seconds.
YEAR_S = 365 * 86_400

# A source that does not answer is asked again after this, or sooner: about what a server takes to start again, while a
# scan that was under way waits for it.  Unit: seconds.
AWAY_S = 15.0

Flights: TypeAlias = dict[Future[Ref], tuple[str, Ref]]


@dataclass(slots=True)
class Tally:
    """What happened to the files of one source, a folder or an address.

    `note` is about the source itself: that it does not answer, or does again.
    """

    source: str
    seen: int = 0
    new: int = 0
    changed: int = 0
    gone: int = 0
    unreadable: int = 0
    computed: int = 0
    remembered: int = 0
    failed: int = 0
    spent_ns: int = 0
    faults: list[tuple[str, str]] = field(default_factory=list)
    note: str = ""

    def text(self) -> str:
        if self.note:
            return f"{self.source}: {self.note}"
        parts = [f"{self.seen} files", f"{self.computed} computed", f"{self.remembered} remembered"]
        parts += [
            f"{count} {what}"
            for count, what in (
                (self.new, "new"),
                (self.changed, "changed"),
                (self.gone, "gone"),
                (self.unreadable, "unreadable"),
                (self.failed, "failed"),
            )
            if count
        ]
        return f"{self.source}: {', '.join(parts)} in {self.spent_ns / SECOND_NS:.1f} s"

    def as_json(self) -> dict[str, Any]:
        return {
            "event": "taken_in",
            "folder": self.source,
            "seconds": round(self.spent_ns / SECOND_NS, 3),
            **{
                name: getattr(self, name)
                for name in ("seen", "new", "changed", "gone", "unreadable", "computed", "remembered", "failed")
            },
            "faults": [{"path": path, "reason": reason} for path, reason in self.faults],
            **({"note": self.note} if self.note else {}),
        }

    def fault(self, path: str, reason: str) -> None:
        if len(self.faults) < FAULTS_KEPT:
            self.faults.append((path, reason))


def take_in(
    work: Work,
    source: str,
    stop: threading.Event,
    tell: Callable[[Tally], None],
    workers: int,
    *,
    fresh: bool = False,
    within: Sequence[bytes] = (),
) -> Tally:
    """Scan `source` and prepare its files; `tell` is called after each one.  A set `stop` ends it early.

    With `fresh`, only what the scan finds new or changed is prepared: the others were when they were that.  With
    `within`, only those parts are scanned.
    """
    tally = Tally(source)
    started = monotonic_ns()
    preparing = _preparing(work)
    flights: Flights = {}
    for path, ref in _files(work, tally, tuple(preparing), tell, fresh, within):
        if stop.is_set():
            break
        _prepare(work, preparing[Path(path).suffix.lower()], path, ref, flights, tally)
        while len(flights) >= AHEAD * workers:
            _land(work, flights, tally)
        tell(tally)
    while flights and not stop.is_set():
        _land(work, flights, tally)
        tell(tally)
    for flight in flights:
        flight.cancel()
    tally.spent_ns = monotonic_ns() - started
    return tally


@contextlib.contextmanager
def counted(work: Work, source: str) -> Iterator[Callable[[], int | None]]:
    """Counts the source beside its scan: a function that answers how many items it has, None while nobody knows."""
    whole: list[int] = []
    ended = threading.Event()

    def count() -> None:
        number = 0
        # who is away is told by the scan, and a bar without an end is a bar
        with contextlib.suppress(BoxworkError):
            for so_far in work.inventory.expected(source, suffixes=tuple(_preparing(work))):
                number = so_far
                if ended.is_set():
                    return
            whole.append(number)

    thread = threading.Thread(target=count, name="boxwork-count", daemon=True)
    thread.start()
    try:
        yield lambda: whole[0] if whole else None
    finally:
        ended.set()
        thread.join(COUNT_ENDS_S)


# For one source: a context that yields what hears of each file while it is taken in.
Showing: TypeAlias = Callable[[str], contextlib.AbstractContextManager[Callable[[Tally], None]]]


@contextlib.contextmanager
def silent(source: str) -> Iterator[Callable[[Tally], None]]:
    yield lambda tally: None


class _Watched:
    """What is remembered of one source between two looks."""

    def __init__(self, *, taken_in: bool) -> None:
        self.taken_in = taken_in
        self.away = False
        self.mark: object = None
        self.due_ns = 0
        self.faults: list[tuple[str, str]] = []


def watch(
    work: Work,
    stop: threading.Event,
    tell: Callable[[Tally], None],
    workers: int,
    taken_in: Iterable[str] = (),
    showing: Showing = silent,
) -> None:
    """Take in what comes to the sources of the inventory, and forget what goes, until `stop` is set.

    `tell` hears of every look that found something.  Sources that are in `taken_in` were taken in just now; others,
    which another process or a request may add or which were away, are taken in whole at the first look, and shown.
    """
    known = {source: _Watched(taken_in=True) for source in taken_in}
    rescan_s = work.settings.number("inventory.rescan_s")
    remote_s = work.settings.number("inventory.rescan_remote_s")
    while not stop.wait(rescan_s or None):
        for source in work.inventory.sources():
            state = known.setdefault(source, _Watched(taken_in=False))
            began_ns, began_cpu_ns = monotonic_ns(), thread_cpu_ns()
            if stop.is_set() or began_ns < state.due_ns:
                continue
            was_away, was_taken_in = state.away, state.taken_in
            tally = _look(work, source, state, stop, workers, showing)
            first = state.taken_in and not was_taken_in
            if was_away and not (state.away or first or (tally and (tally.new or tally.changed or tally.gone))):
                tally = Tally(source, note="it answers again")
            if tally and (first or tally.new or tally.changed or tally.gone or tally.faults != state.faults):
                state.faults = tally.faults
                # that it is away was said once, and what is said of not answering differs each time
                if not (was_away and state.away):
                    tell(tally)
                spent_ns = 0  # it was work, not looking
            else:
                spent_ns = monotonic_ns() - began_ns
            pause_s = rescan_s
            if not work.inventory.looks_are_cheap(source):
                pause_s = max(rescan_s, remote_s) if remote_s else YEAR_S
                spent_ns = min(spent_ns, thread_cpu_ns() - began_cpu_ns)
            if state.away:  # the time was spent waiting, and what a scan under way still has to do is not put off
                pause_s, spent_ns = min(pause_s, AWAY_S), 0
            # a little less than the pause of the loop, so that a source is not passed over by a hair
            state.due_ns = began_ns + int(max(0.9 * pause_s, spent_ns / SECOND_NS / LOOK_SHARE) * SECOND_NS)


def _look(
    work: Work, source: str, state: _Watched, stop: threading.Event, workers: int, showing: Showing
) -> Tally | None:
    """One look, and the scan it asks for; None if there was nothing to scan."""
    state.away = False
    try:
        look = work.inventory.look(source, state.mark, suffixes=tuple(_preparing(work)))
        if look.within == () and state.taken_in:
            state.mark = look.mark
            return None
        within = (look.within or ()) if state.taken_in else ()
        with (silent if state.taken_in else showing)(source) as tell:
            tally = take_in(work, source, stop, tell, workers, fresh=state.taken_in, within=within)
        if stop.is_set():
            return tally
        state.mark, state.taken_in = look.mark, True
    except (BadInput, StorageError) as error:  # a drive taken out, a server that is away: what it has is not forgotten
        tally = Tally(source)
        tally.note = error.message
        tally.fault(".", error.message)
        state.away = True
    return tally


def _preparing(work: Work) -> dict[str, Pack]:
    """Which pack a file is for, by the end of its name."""
    return {suffix: pack for pack in work.packs if pack.prepare for suffix in pack.suffixes}


def _files(
    work: Work,
    tally: Tally,
    suffixes: tuple[str, ...],
    tell: Callable[[Tally], None],
    fresh: bool,
    within: Sequence[bytes],
) -> Iterator[tuple[str, Ref]]:
    for seen in work.inventory.scan(tally.source, suffixes=suffixes, within=within):
        if seen.state == "gone":
            tally.gone += 1
            continue
        tally.seen += 1
        tally.new += seen.state == "new"
        tally.changed += seen.state == "changed"
        if seen.ref is None:
            tally.unreadable += 1
            tally.fault(seen.path, seen.reason)
            tell(tally)
        elif not fresh or seen.state != "known":
            yield seen.path, seen.ref


def _prepare(work: Work, pack: Pack, path: str, ref: Ref, flights: Flights, tally: Tally) -> None:
    if pack.prepare is None:
        return
    try:
        box, inputs = pack.prepare(ref)
        if work.peek(box, **inputs) is not None:
            tally.remembered += 1
        else:
            flights[work.node.pool.submit(work.derive, box, **inputs)] = (path, ref)
    except BoxworkError as error:
        tally.failed += 1
        tally.fault(path, error.message)


def _land(work: Work, flights: Flights, tally: Tally) -> None:
    for flight in wait(flights, timeout=1.0, return_when=FIRST_COMPLETED).done:
        path, ref = flights.pop(flight)
        error = flight.exception()
        if error is None:
            tally.computed += 1
            work.inventory.note(ref, "")
            continue
        tally.failed += 1
        tally.fault(path, error.message if isinstance(error, BoxworkError) else repr(error))
        if isinstance(error, DerivationFailed):
            work.inventory.note(ref, error.message)
