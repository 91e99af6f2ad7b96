from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from boxwork import Boxwork, derivation, ref_of
from boxwork.errors import BadInput, DerivationFailed

GATE = threading.Event()


@derivation
def shout(text: bytes) -> bytes:
    return text.upper()


@derivation(ignores=["GATE"])
def slow(text: bytes) -> bytes:
    GATE.wait(10)
    return text


@derivation
def broken(text: bytes) -> bytes:
    raise ValueError("no such thing")


def test_the_awaiting_face_keeps_derives_and_answers(tmp_path: Path) -> None:
    async def main() -> None:
        async with Boxwork(tmp_path / "d") as work:
            note = await work.put(b"quiet")
            loud = await work.derive(shout, text=note)
            assert loud == await work.derive(shout, text=b"quiet")
            assert b"QUIET" == await work.get(loud) == await work.call(shout, text=note)
            assert await work.has(note)
            assert 5 == await work.size(note)
            await work.pin(note, "a")
            assert await work.unpin("a")

    asyncio.run(main())


def test_puts_that_arrive_together_share_commits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with Boxwork(tmp_path / "d") as work:
            groups: list[int] = []
            content = work.blocking.content
            put_many = content.put_many

            def counted(blobs: list[bytes], *, durable: bool = True) -> list[object]:
                groups.append(len(blobs))
                return put_many(blobs, durable=durable)

            monkeypatch.setattr(content, "put_many", counted)
            refs = await asyncio.gather(*(work.put(b"blob %d" % i) for i in range(100)))
            assert [ref_of(b"blob %d" % i) for i in range(100)] == refs
            assert 100 == sum(groups)
            assert len(groups) <= 3

    asyncio.run(main())


def test_a_slow_box_does_not_stop_the_loop(tmp_path: Path) -> None:
    async def main() -> None:
        GATE.clear()
        async with Boxwork(tmp_path / "d") as work:
            task = asyncio.create_task(work.derive(slow, text=b"x"))
            await work.put(b"meanwhile")
            assert not task.done()
            GATE.set()
            assert ref_of(b"x") == await asyncio.wait_for(task, 10)

    asyncio.run(main())


def test_a_failure_reaches_the_awaiting_caller_with_its_cause(tmp_path: Path) -> None:
    async def main() -> None:
        async with Boxwork(tmp_path / "d") as work:
            with pytest.raises(DerivationFailed, match="no such thing"):
                await work.derive(broken, text=b"x")

    asyncio.run(main())


def test_a_face_that_is_not_open_says_how_to_open_it(tmp_path: Path) -> None:
    work = Boxwork(tmp_path / "d")
    with pytest.raises(BadInput, match="async with"):
        work.pulse  # noqa: B018
