from __future__ import annotations

import asyncio

import pytest

from boxwork import errors
from boxwork.packs.fleet import waiting as module
from boxwork.packs.fleet.waiting import Waiting


class Waiter:
    def __init__(self, waiting: Waiting, host: str) -> None:
        self.waiting, self.host = waiting, host
        self.let_go_at: list[float] = []

    def let_go(self) -> None:
        self.let_go_at.append(asyncio.get_running_loop().time())
        self.waiting.leave(self.host, self)


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_S", 0.02)


def test_hosts_are_let_go_together_when_their_time_is_over_and_never_late() -> None:
    async def run() -> None:
        waiting = Waiting(1000)
        waiters = [Waiter(waiting, f"web{number}") for number in range(500)]
        began = asyncio.get_running_loop().time()
        for number, waiter in enumerate(waiters):
            waiting.hold(waiter.host, waiter, 0.1 if number % 2 else 0.3)
        await asyncio.sleep(0.2)
        assert (250, 250) == (waiting.count, sum(len(waiter.let_go_at) for waiter in waiters[1::2]))
        await asyncio.sleep(0.2)
        assert (0, {}, {}) == (waiting.count, waiting._held, waiting._due)
        assert all(1 == len(waiter.let_go_at) for waiter in waiters)
        assert min(waiter.let_go_at[0] for waiter in waiters[::2]) - began > 0.3 - 3 * module.LOOK_S
        assert waiting._sentinel is None, "nobody waits, so nobody looks"

    asyncio.run(run())


def test_news_lets_the_hosts_go_that_it_concerns() -> None:
    async def run() -> None:
        waiting = Waiting(10)
        waiters = [Waiter(waiting, host) for host in ("web1", "web1", "web2")]
        for waiter in waiters:
            waiting.hold(waiter.host, waiter, 60)
        await asyncio.to_thread(waiting.wake, ["web1", "nobody"])
        await asyncio.sleep(0.05)
        assert [1, 1, 0] == [len(waiter.let_go_at) for waiter in waiters]
        waiting.leave("web2", waiters[2])
        waiting.leave("web2", waiters[2])
        assert (0, {}) == (waiting.count, waiting._due)

    asyncio.run(run())


def test_news_before_anybody_waited_is_not_lost() -> None:
    async def run() -> None:
        waiting = Waiting(10)
        waiting.begin()
        waiting.wake(["web1"])  # after somebody looked, and before it holds
        waiter = Waiter(waiting, "web1")
        waiting.hold("web1", waiter, 60)
        await asyncio.sleep(0.05)
        assert 1 == len(waiter.let_go_at)

    asyncio.run(run())


def test_all_are_let_go_when_it_is_over_and_too_many_are_refused() -> None:
    async def run() -> None:
        over = False
        waiting = Waiting(1, lambda: over)
        waiter = Waiter(waiting, "web1")
        waiting.hold("web1", waiter, 60)
        with pytest.raises(errors.Busy, match=r"fleet\.waiting_max"):
            waiting.hold("web2", Waiter(waiting, "web2"), 60)
        over = True
        await asyncio.sleep(0.1)
        assert (1, 0) == (len(waiter.let_go_at), waiting.count)

    asyncio.run(run())
