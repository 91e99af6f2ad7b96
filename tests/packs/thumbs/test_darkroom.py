from __future__ import annotations

import asyncio
from typing import Any

import pytest

from boxwork.errors import Busy
from boxwork.packs.thumbs.darkroom import Darkroom


class Bench:
    """Jobs that finish when told to."""

    def __init__(self) -> None:
        self.gates: dict[str, asyncio.Event] = {}
        self.begun: list[str] = []
        self.stopped: list[str] = []

    def job(self, name: str) -> Any:
        async def run() -> str:
            self.begun.append(name)
            try:
                await self.gates.setdefault(name, asyncio.Event()).wait()
            except asyncio.CancelledError:
                self.stopped.append(name)
                raise
            return name.upper()

        return run

    def finish(self, *names: str) -> None:
        for name in names:
            self.gates.setdefault(name, asyncio.Event()).set()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def wish(room: Darkroom, bench: Bench, name: str, cost: int = 1) -> asyncio.Task[Any]:
    return asyncio.ensure_future(room.develop(name, bench.job(name), cost))


def test_the_newest_wish_is_next() -> None:
    async def main() -> None:
        room, bench = Darkroom(1, 100, 100), Bench()
        tasks = [wish(room, bench, name) for name in "abcd"]
        await settle()
        bench.finish(*"abcd")
        assert ["A", "B", "C", "D"] == await asyncio.gather(*tasks)
        assert bench.begun == ["a", "d", "c", "b"]
        assert (room.running, room.held_bytes, room.jobs, room.stack) == (0, 0, {}, [])

    asyncio.run(main())


def test_many_who_wish_the_same_share_one_job() -> None:
    async def main() -> None:
        room, bench = Darkroom(2, 100, 100), Bench()
        tasks = [wish(room, bench, "a") for _ in range(1000)]
        await settle()
        bench.finish("a")
        assert ["A"] * 1000 == await asyncio.gather(*tasks)
        assert bench.begun == ["a"]

    asyncio.run(main())


def test_what_nobody_waits_for_is_not_begun_and_what_runs_is_stopped() -> None:
    async def main() -> None:
        room, bench = Darkroom(1, 100, 100), Bench()
        running, waiting, other = (wish(room, bench, name) for name in "abc")
        await settle()
        waiting.cancel()
        running.cancel()
        bench.finish("c")
        assert await other == "C"
        await settle()
        assert bench.begun == ["a", "c"]
        assert bench.stopped == ["a"]
        assert room.dropped == 2
        assert room.running == 0

    asyncio.run(main())


def test_one_who_leaves_does_not_take_it_from_the_other() -> None:
    async def main() -> None:
        room, bench = Darkroom(1, 100, 100), Bench()
        first, second = wish(room, bench, "a"), wish(room, bench, "a")
        await settle()
        first.cancel()
        await settle()
        bench.finish("a")
        assert await second == "A"

    asyncio.run(main())


def test_memory_admits_one_large_or_several_small() -> None:
    async def main() -> None:
        room, bench = Darkroom(4, 100, 100), Bench()
        tasks = [wish(room, bench, name, cost) for name, cost in [("a", 500), ("b", 60), ("c", 60), ("d", 30)]]
        await settle()
        assert bench.begun == ["a"]  # larger than all there is, but alone
        bench.finish("a")
        await settle()
        assert bench.begun == ["a", "d", "c"]
        bench.finish("c", "d", "b")
        await asyncio.gather(*tasks)
        assert room.held_bytes == 0

    asyncio.run(main())


def test_the_oldest_wish_gives_way_when_too_many_wait() -> None:
    async def main() -> None:
        room, bench = Darkroom(1, 100, 2), Bench()
        tasks = [wish(room, bench, name) for name in "abcd"]
        await settle()
        with pytest.raises(Busy):
            await tasks[1]
        bench.finish(*"acd")
        assert ["A", "C", "D"] == await asyncio.gather(tasks[0], *tasks[2:])

    asyncio.run(main())


def test_a_failure_reaches_everyone_and_is_not_kept() -> None:
    async def main() -> None:
        room = Darkroom(1, 100, 100)
        runs = 0

        async def fails() -> None:
            nonlocal runs
            runs += 1
            raise ValueError("no")

        results = await asyncio.gather(*(room.develop("a", fails, 1) for _ in range(3)), return_exceptions=True)
        assert [ValueError] * 3 == [type(result) for result in results]
        with pytest.raises(ValueError, match="no"):
            await room.develop("a", fails, 1)
        assert runs == 2

    asyncio.run(main())
