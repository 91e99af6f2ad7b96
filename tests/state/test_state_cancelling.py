"""Who leaves does not take a commit back, and does not stop the node for the others."""

from __future__ import annotations

import asyncio
from typing import Any

from boxwork.state.face import AsyncEngine
from boxwork.transactions import transaction


@transaction
def press(tx: Any) -> Any:
    tx.add(("presses",), 1)
    return tx.get(("presses",))


def test_a_cancelled_commit_many_is_committed_and_others_go_on(open_engine: Any) -> None:
    engine = open_engine()

    async def main() -> None:
        work = AsyncEngine(engine)
        many = asyncio.ensure_future(work.commit_many(press, [()] * 20_000))
        await asyncio.sleep(0)
        many.cancel()
        assert 20_001 == await asyncio.wait_for(work.commit(press), 20)

    asyncio.run(main())


def test_the_future_of_a_commit_cannot_be_cancelled(open_engine: Any) -> None:
    engine = open_engine()
    future = engine.submit(press)
    assert not future.cancel()
    assert 1 == future.result(20)


def test_a_listener_that_raises_is_told_to_the_log_and_to_nobody_else(open_engine: Any, caplog: Any) -> None:
    engine = open_engine()
    job = engine.job(press, ())

    def listen(_: Any) -> None:
        raise RuntimeError("a bug of the listener")

    job.done = listen
    engine.hand_in(job)
    assert 2 == engine.commit(press)
    assert "could not be told" in caplog.text
