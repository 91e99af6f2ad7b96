"""Taking a folder in: reference its files where they lie, then derive what people will ask for first.

`watch` goes on doing so.  It looks instead of being told: inotify says nothing of network drives, forgets what
happens while its queue is full and wants one watch for each directory, so a look would be needed all the same.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from boxwork.app.work import Work
from boxwork.clock import SECOND_NS, monotonic_ns
from boxwork.errors import BadInput, BoxworkError, DerivationFailed
from boxwork.keys import Ref
from boxwork.pack import Pack

# Derivations under way: twice the processors keeps them busy while one result is written.  Unit: flights.
AHEAD = 2
# Reasons kept for the summary; the page lists all of them.  Unit: files.
FAULTS_KEPT = 20
# A look at the folders takes at most this part of the time: 100,000 files are looked at in 0.35 s, then every 7 s.
LOOK_SHARE = 0.05

Flights: TypeAlias = dict[Future[Ref], tuple[str, Ref]]


@dataclass(slots=True)
class Tally:
    """What happened to the files of one folder."""

    folder: Path
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

    def text(self) -> str:
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
        return f"{self.folder}: {', '.join(parts)} in {self.spent_ns / SECOND_NS:.1f} s"

    def as_json(self) -> dict[str, Any]:
        return {
            "event": "taken_in",
            "folder": str(self.folder),
            "seconds": round(self.spent_ns / SECOND_NS, 3),
            **{
                name: getattr(self, name)
                for name in ("seen", "new", "changed", "gone", "unreadable", "computed", "remembered", "failed")
            },
            "faults": [{"path": path, "reason": reason} for path, reason in self.faults],
        }

    def fault(self, path: str, reason: str) -> None:
        if len(self.faults) < FAULTS_KEPT:
            self.faults.append((path, reason))


def take_in(
    work: Work, folder: Path, stop: threading.Event, tell: Callable[[Tally], None], workers: int, *, fresh: bool = False
) -> Tally:
    """Scan `folder` and prepare its files; `tell` is called after each one.  A set `stop` ends it early.

    With `fresh`, only what the scan finds new or changed is prepared: the others were when they were that.
    """
    tally = Tally(folder)
    started = monotonic_ns()
    preparing = _preparing(work)
    flights: Flights = {}
    for path, ref in _files(work, folder, tuple(preparing), tally, tell, fresh):
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


def watch(
    work: Work, stop: threading.Event, tell: Callable[[Tally], None], workers: int, taken_in: Iterable[Path] = ()
) -> None:
    """Take in what comes to the folders of the inventory, and forget what goes, until `stop` is set.

    `tell` hears of every look that found something.  Folders that are in `taken_in` were taken in just now; others,
    which another process or a request may add, are taken in whole at the first look.
    """
    known: dict[Path, int | None] = {folder.resolve(): None for folder in taken_in}
    faults: dict[Path, list[tuple[str, str]]] = {}
    suffixes = tuple(_preparing(work))
    rescan_s = work.settings.number("inventory.rescan_s")
    pause_s = rescan_s
    while not stop.wait(pause_s if rescan_s else None):
        looked_ns = 0
        for folder in work.inventory.folders():
            before_ns = monotonic_ns()
            mark = work.inventory.glance(folder, suffixes=suffixes)
            tally = None
            if not stop.is_set() and (mark is None or known.get(folder) != mark):
                tally = _look(work, folder, stop, workers, fresh=folder in known)
                known[folder] = mark
            if tally and (tally.new or tally.changed or tally.gone or tally.faults != faults.get(folder, [])):
                faults[folder] = tally.faults
                tell(tally)
            else:
                looked_ns += monotonic_ns() - before_ns
        pause_s = max(rescan_s, looked_ns / SECOND_NS / LOOK_SHARE)


def _look(work: Work, folder: Path, stop: threading.Event, workers: int, *, fresh: bool) -> Tally:
    try:
        return take_in(work, folder, stop, lambda _: None, workers, fresh=fresh)
    except BadInput as error:  # a drive that was taken out: what it has is not forgotten
        tally = Tally(folder)
        tally.fault(".", error.message)
        return tally


def _preparing(work: Work) -> dict[str, Pack]:
    """Which pack a file is for, by the end of its name."""
    return {suffix: pack for pack in work.packs if pack.prepare for suffix in pack.suffixes}


def _files(
    work: Work, folder: Path, suffixes: tuple[str, ...], tally: Tally, tell: Callable[[Tally], None], fresh: bool
) -> Iterator[tuple[str, Ref]]:
    for seen in work.inventory.scan(folder, suffixes=suffixes):
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
