"""Which picture is developed next: the one asked for last, as long as somebody still waits for it.

A person who scrolls asks for hundreds of pictures and looks at the last thirty.  First-in-first-out would finish
the ones that are out of sight first (3 to 5 s until the screen is settled; newest first 1.3 to 2.7, and a third
less work, because what nobody waits for any more is never begun.  Source: research/edge.md, 2e).

Invariants, between any two awaits:
    running <= slots;  held_bytes <= memory_bytes_max, or running == 1
    every job in `jobs` is in `stack` or is running
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

from boxwork import errors


@dataclass(slots=True, eq=False)
class Job:
    key: Hashable
    run: Callable[[], Awaitable[Any]]
    cost_bytes: int
    result: asyncio.Future[Any]
    waiting: int = 0
    task: asyncio.Task[None] | None = field(default=None)


class Darkroom:
    """Runs jobs newest first, a few at a time.  Used on one event loop only."""

    def __init__(self, slots: int, memory_bytes_max: int, waiting_max: int) -> None:
        self.slots = slots
        self.memory_bytes_max = memory_bytes_max
        self.waiting_max = waiting_max
        self.jobs: dict[Hashable, Job] = {}
        self.stack: list[Job] = []
        self.running = 0
        self.held_bytes = 0
        self.begun = 0
        self.dropped = 0

    async def develop(self, key: Hashable, run: Callable[[], Awaitable[Any]], cost_bytes: int) -> Any:
        """What `run` comes to; everyone who asks for `key` meanwhile shares it.

        When the last one who waits is cancelled, a job that is not running yet is dropped, and one that is
        running is cancelled.  Raises what `run` raises, or `Busy` when newer wishes have pushed this one out.
        """
        job = self.jobs.get(key)
        if job is None:
            job = Job(key, run, cost_bytes, asyncio.get_running_loop().create_future())
            self.jobs[key] = job
        elif job.task is None:
            self.stack.remove(job)  # asked for again: to the top
        if job.task is None:
            self.stack.append(job)
        job.waiting += 1
        self._pump()
        try:
            return await asyncio.shield(job.result)
        finally:
            job.waiting -= 1
            if job.waiting == 0 and not job.result.done():
                self._drop(job)
            del job  # this frame is part of what is raised, and that is kept by the job

    def _drop(self, job: Job) -> None:
        self.dropped += 1
        self.jobs.pop(job.key, None)
        if job.task is None:
            self.stack.remove(job)
            job.result.cancel()
        else:
            job.task.cancel()

    def _pump(self) -> None:
        while len(self.stack) > self.waiting_max:
            oldest = self.stack.pop(0)
            self.jobs.pop(oldest.key, None)
            oldest.result.set_exception(
                errors.Busy(f"{self.waiting_max} newer pictures are waiting (setting thumbs.waiting_max); ask again")
            )
        while self.stack and self.running < self.slots:
            job = self.stack[-1]
            if self.running and self.held_bytes + job.cost_bytes > self.memory_bytes_max:
                return
            self.stack.pop()
            self.running += 1
            self.begun += 1
            self.held_bytes += job.cost_bytes
            job.task = asyncio.ensure_future(self._work(job))

    async def _work(self, job: Job) -> None:
        try:
            value = await job.run()
            if not job.result.done():
                job.result.set_result(value)
        except asyncio.CancelledError:
            job.result.cancel()
        except BaseException as fault:
            if not job.result.done():
                job.result.set_exception(fault.with_traceback(None))
                if job.waiting == 0:
                    job.result.exception()  # nobody is left to be told; asyncio would complain
        finally:
            self.running -= 1
            self.held_bytes -= job.cost_bytes
            if self.jobs.get(job.key) is job:
                del self.jobs[job.key]
            self._pump()
