"""The rounds: one event loop in one thread that looks at every check when it is due.

What it hears goes the same way each time: the result is kept as an observation, then one transaction decides what it
means for incidents, and only then runbooks run and people are told.  Whoever owns the facts of the data directory makes
the rounds, so two processes never look twice; another one waits and takes over.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from boxwork import errors
from boxwork.packs.monitor import decisions, probe
from boxwork.packs.monitor.book import Book, Check, read_book
from boxwork.packs.monitor.mirror import Mirror
from boxwork.packs.monitor.notices import Notices
from boxwork.packs.monitor.outcome import OK, UNKNOWN, Outcome
from boxwork.packs.monitor.rhythm import Rhythm
from boxwork.packs.monitor.roster import KIND, Entry
from boxwork.packs.monitor.runbooks import KIND as OUTPUT_KIND
from boxwork.packs.monitor.runbooks import Runbooks
from boxwork.packs.monitor.triage import Rules

log = logging.getLogger("boxwork.monitor")

SECOND_NS = 1_000_000_000
# Results are gathered so long before they are kept and judged, together.  Unit: seconds.
GATHER_S = 0.1
# At least this often the rhythm is looked at, though nothing wakes it.  Unit: seconds.
TICK_S = 0.5
# After a fault of its own (the disk is full, another process has the facts): not again at once.  Unit: seconds.
PAUSE_S = 2.0
# How long closing waits for what runs to be ended.  Unit: seconds.
STOP_S_MAX = 10.0
# Results that wait to be kept while the disk takes none; above it the oldest are dropped, and that is told.  Unit:
# results, about 0.5 KiB each; 200 checks of ten seconds fill it in a quarter of an hour.
WAITING_MAX = 20_000
# How large a book may be.  Unit: bytes; 5,000 checks are about 1 MiB.
BOOK_BYTES_MAX = 4 << 20

Look = Callable[[Check, Any], Awaitable[Outcome]]


class Rounds:
    """Over one monitor.  `start` and `stop` are for any thread, everything else is for the loop's own."""

    def __init__(self, monitor: Any, look: Look = probe.look) -> None:
        self.monitor = monitor
        self.work = monitor.work
        self.clock = monitor.work.clock
        self.look = look
        self.roster = monitor.roster
        self.rhythm = Rhythm()
        self.book = Book()
        self.at_once = max(1, self.work.settings.integer("monitor.at_once"))
        self.late = self.work.pulse.series("monitor.late")
        # Why there are no rounds, or not those of the newest book; empty if all is well.
        self.trouble: list[str] = []
        self.running = False
        self.runbooks = Runbooks(self)
        self.notices = Notices(self)
        self._results: deque[tuple[str, Outcome]] = deque()
        self._asked: dict[str, list[asyncio.Future[Outcome]]] = {}
        self._marks: Any = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    # --- for any thread

    def start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="boxwork-monitor", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # it has just ended by itself
                loop.call_soon_threadsafe(self._end)
        if self._thread is not None:
            self._thread.join(STOP_S_MAX)

    def hurry(self, name: str) -> None:
        """Look at this check now."""
        if self._loop is not None and not self._stopping.is_set():
            self._loop.call_soon_threadsafe(self._hurry, name)

    # --- the loop

    def _run(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            asyncio.run(self._main())

    def _end(self) -> None:
        for task in asyncio.all_tasks(self._loop):
            task.cancel()

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        if self._stopping.is_set():  # `stop` found no loop to end
            return
        await self._open()
        self.running = True
        jobs = (self._pace, self._settle, self._deliver, self._follow)
        try:
            async with asyncio.TaskGroup() as group:
                for job in jobs:
                    group.create_task(self._again(job))
        finally:
            self.running = False
            left = list(self._tasks)
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
            with contextlib.suppress(errors.BoxworkError):
                await asyncio.to_thread(self.settle)  # what was heard in the last tenth of a second

    async def _again(self, job: Callable[[], Awaitable[None]]) -> None:
        """What fails is told and begun anew: rounds do not end because a disk was full."""
        while not self._stopping.is_set():
            try:
                await job()
            except errors.BoxworkError as fault:
                log.warning("the monitor's rounds: %s", fault.message)
                await asyncio.sleep(PAUSE_S)
            except Exception:
                log.exception("the monitor's rounds")
                await asyncio.sleep(PAUSE_S)

    async def _open(self) -> None:
        """Wait for a good book, then for the facts."""
        said = ""
        while True:
            await asyncio.to_thread(self._read_book)
            if self.book.checks:
                try:
                    await asyncio.to_thread(self._open_facts)
                    return
                except errors.StateInUse as fault:
                    text = f"another process makes the rounds: {fault.message}"
                    self.trouble = [text]
                    if text != said:
                        log.info(text)
                        said = text
            await asyncio.sleep(PAUSE_S if self.book.checks else self.monitor.poll_s)

    def _open_facts(self) -> None:
        self.work.engine  # noqa: B018 - from here on this process owns the facts
        observations = self.work.node.observations
        for kind, setting in ((KIND, "monitor.results_kept_h"), (OUTPUT_KIND, "monitor.output_kept_h")):
            observations.retain(kind, int(self.work.settings.number(setting) * 3600 * SECOND_NS))
        self.work.commit(decisions.begin, self.clock.token(4))
        mirror: Mirror = self.monitor.mirror
        self._take(self.book, mirror)

    def recall(self) -> None:
        """The book and how its checks stood, without making rounds.  Raises `StateInUse` if others make them."""
        mirror: Mirror = self.monitor.mirror
        self._read_book()
        self._take(self.book, mirror)

    # --- the book

    def _read_book(self) -> bool:
        """Has it changed, and is it good.  A bad one is told; the last good one stays."""
        path = self.monitor.path
        try:
            about = path.stat()
            marks = (about.st_mtime_ns, about.st_size, about.st_ino)
            if marks == self._marks:
                return False
            if about.st_size > BOOK_BYTES_MAX:
                raise errors.BadInput(f"it has {about.st_size} bytes, and {BOOK_BYTES_MAX} at most: split it")
            book = read_book(path.read_text("utf-8"))
        except FileNotFoundError:
            told = [f"there is no {path}: write one, docs/monitor.md begins with it"]
            if self.book.checks:
                self._complain(None, told)
            self.trouble = told  # a node without a book has no monitor, and says so on its page only
            return False
        except (OSError, UnicodeDecodeError) as fault:
            self._complain(None, [f"{path} cannot be read: {fault}"])
            return False
        except errors.BadInput as fault:
            self._complain(marks, fault.details.get("mistakes") or [fault.message])
            return False
        if self._marks is not None:
            log.info("the book was read: %d checks", len(book.checks))
        self._marks, self.trouble = marks, []
        self.book = book
        return True

    def _complain(self, marks: Any, mistakes: list[str]) -> None:
        if mistakes != self.trouble:
            log.warning("%s: %s", self.monitor.path, "; ".join(mistakes))
        self._marks, self.trouble = marks, mistakes

    def _take(self, book: Book, mirror: Mirror) -> None:
        self.roster.take(book, mirror.status)
        intervals = {name: int(check.every_s * SECOND_NS) for name, check in book.checks.items()}
        self.rhythm.take(intervals, self.clock.monotonic_ns())

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(self.monitor.poll_s)
            if await asyncio.to_thread(self._read_book):
                self._take(self.book, self.monitor.mirror)
                self._wake.set()

    # --- looking

    async def _pace(self) -> None:
        while True:
            now = self.clock.monotonic_ns()
            for name, meant in self.rhythm.due(now, self.at_once - self.rhythm.running):
                self.late.record(now - meant)
                self.keep_going(self._one(name))
            waiting = self.rhythm.waiting_ns(now)
            full = self.rhythm.running >= self.at_once
            limit_s = TICK_S if waiting is None or full else min(TICK_S, waiting / SECOND_NS)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(limit_s):
                    await self._wake.wait()
            self._wake.clear()

    def keep_going(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A task that is ended with the rounds."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _one(self, name: str) -> None:
        entry = self.roster.entries.get(name)
        try:
            if entry is not None:
                self._heard(entry, await self._outcome(entry))
        finally:
            retry_ns = entry.retry_ns if entry is not None else 0
            self.rhythm.ended(name, self.clock.monotonic_ns(), retry_ns)
            self._wake.set()

    async def _outcome(self, entry: Entry) -> Outcome:
        at_ns = self.clock.now_ns()
        try:
            return await self.look(entry.check, self.clock)
        except Exception as fault:  # ours, or a library's: the other checks go on
            log.exception("the check %s", entry.name)
            return Outcome(UNKNOWN, f"the look itself failed: {fault!r}"[:300], at_ns)

    def _heard(self, entry: Entry, outcome: Outcome) -> None:
        before = entry.status
        self.roster.heard(entry.name, outcome)
        self._results.append((entry.name, outcome))
        if len(self._results) > WAITING_MAX:
            log.warning("results cannot be kept: the one of %s is dropped", self._results.popleft()[0])
        self._measure(entry, outcome)
        if outcome.state != OK and before.state == OK:
            # What it needs may be the cause, and is asked now rather than at its next place.
            for name in entry.above:
                self._hurry(name)
        for waiter in self._asked.pop(entry.name, ()):
            if not waiter.done():
                waiter.set_result(outcome)

    def _measure(self, entry: Entry, outcome: Outcome) -> None:
        pulse, name = self.work.pulse, entry.name
        pulse.series("monitor.check", check=name).record(outcome.took_ns)
        for figure in outcome.figures:
            sample = figure.sample
            if sample is not None:
                unit, amount = sample
                series = pulse.series("monitor.figure", unit=unit, check=name, figure=figure.label)
                series.record(amount)
                entry.series[figure.label] = str(series.name)

    def _hurry(self, name: str) -> None:
        self.rhythm.hurry(name, self.clock.monotonic_ns())
        self._wake.set()

    async def ask(self, name: str, limit_s: float) -> Outcome | None:
        """A result that began after now; None: there came none."""
        since = self.clock.now_ns()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                while name in self.roster.entries:
                    waiter: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
                    self._asked.setdefault(name, []).append(waiter)
                    self._hurry(name)
                    outcome = await waiter
                    if outcome.at_ns >= since:
                        return outcome
        return None

    # --- deciding

    @property
    def rules(self) -> Rules:
        tickets = self.book.tickets
        return Rules(
            tickets.storm_checks,
            int(tickets.storm_s * SECOND_NS),
            int(tickets.gather_s * SECOND_NS),
            int(tickets.calm_s * SECOND_NS),
            int(tickets.reopen_s * SECOND_NS),
            tuple(self.book.notify),
        )

    async def _settle(self) -> None:
        while True:
            await asyncio.sleep(GATHER_S)
            await asyncio.to_thread(self.settle)
            self.runbooks.begin()

    def settle(self) -> bool:
        """Keep what was heard, and decide what it means; True if something was decided."""
        while self._results:
            name, outcome = self._results[0]
            self.roster.keep(name, outcome)
            if self._results and self._results[0][1] is outcome:  # else it was dropped meanwhile
                self._results.popleft()
        mirror = self.monitor.mirror
        rules = self.rules
        news = self.roster.news(mirror, rules, self.clock.now_ns())
        if news is None:
            return False
        self.work.commit(decisions.look, news, rules)
        mirror.catch_up()
        return True

    async def _deliver(self) -> None:
        while True:
            await asyncio.sleep(GATHER_S)
            self.notices.begin()
