"""Where thumbnails come from: one generation for a crowd, further sizes from the mezzanine, better ones when idle."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import boxwork
from boxwork import Ref
from boxwork.packs.thumbs.spec import SHOWN, Spec
from boxwork.packs.thumbs.studio import Studio
from boxwork.packs.thumbs.thumbnail import mezzanine, thumbnail

CROWD = 10_000


def count(work: Any) -> list[str]:
    """The names of the boxes that are submitted from now on."""
    begun: list[str] = []
    submit = work.submit

    def counted(box: Any, **inputs: Any) -> Any:
        if box.name != "placeholder":
            begun.append(box.name)
        return submit(box, **inputs)

    work.submit = counted
    return begun


@pytest.fixture
def photo(work: Any, make: Any) -> Ref:
    return Ref(work.put(make(1600, 1200)))


def test_ten_thousand_requests_at_once_are_one_generation(work: Any, photo: Ref) -> None:
    begun = count(work)

    async def crowd() -> list[bytes]:
        studio = Studio(work)
        return await asyncio.gather(*(studio.thumb(photo, Spec(320, format="jpg")) for _ in range(CROWD)))

    answers = asyncio.run(crowd())
    assert ["thumbnail"] == begun
    assert 1 == len(set(answers))
    assert CROWD == len(answers)


def test_who_asks_for_broken_pictures_waits_for_their_reasons_and_nobody_else_does(work: Any, photo: Ref) -> None:
    broken = [Ref(work.put(b"\xff\xd8 no picture %d" % number)) for number in range(2)]

    async def ask() -> None:
        studio = Studio(work)
        turns, begun = iter((0.0, 3600.0)), asyncio.Event()

        def wait_s(now_ns: int) -> float:
            wait = next(turns)
            if wait:
                begun.set()
            return wait

        studio.pace.wait_s = wait_s  # type: ignore[method-assign]
        with pytest.raises(boxwork.errors.DerivationFailed):
            await studio.thumb(broken[0], Spec(320))
        late = asyncio.ensure_future(studio.thumb(broken[1], Spec(320)))
        await asyncio.wait_for(begun.wait(), 60)
        assert b"RIFF" == (await asyncio.wait_for(studio.thumb(photo, Spec(320)), 60))[:4]
        assert not late.done()
        late.cancel()
        await asyncio.wait({late})

    asyncio.run(ask())


def test_further_small_sizes_come_from_one_mezzanine(work: Any, photo: Ref) -> None:
    begun = count(work)

    async def ask() -> None:
        studio = Studio(work)
        for spec in (Spec(320), Spec(160), Spec(256, 256, "cover"), Spec(512, format="avif"), Spec(640)):
            await studio.thumb(photo, spec)

    asyncio.run(ask())
    assert ["mezzanine", *["thumbnail"] * 5] == sorted(begun, key=lambda name: (name != "mezzanine", name))
    between = work.derive(mezzanine, photo=photo)
    assert work.peek(thumbnail, photo=between, **Spec(160).inputs()) is not None
    assert work.peek(thumbnail, photo=photo, **Spec(160).inputs()) is None
    assert work.peek(thumbnail, photo=photo, **Spec(320).inputs()) is not None
    assert work.peek(thumbnail, photo=photo, **Spec(640).inputs()) is not None


# What `placeholder` loads that `_warm` has not: after that, the boxes would be looked at again, on the event loop.
WARMED = """
import sys
import boxwork
from boxwork.packs.thumbs.facts import placeholder
from boxwork.packs.thumbs.studio import Studio

with boxwork.open(sys.argv[1]) as work:
    Studio(work)._warm()
    known = set(sys.modules)
    placeholder.function(sys.stdin.buffer.read())
    print(sorted(set(sys.modules) - known))
"""


def test_the_first_placeholder_loads_nothing_that_was_not_loaded_before(tmp_path: Path, make: Any) -> None:
    told = subprocess.run(
        [sys.executable, "-c", WARMED, str(tmp_path)],
        input=thumbnail.function(make(64, 64)),
        stdout=subprocess.PIPE,
        check=True,
    )
    assert b"[]" == told.stdout.strip()


def test_what_nobody_waits_for_is_not_begun(work: Any, make: Any) -> None:
    refs = [Ref(work.put(make(1600 + number, 1200))) for number in range(12)]
    begun = count(work)

    async def leave() -> None:
        studio = Studio(work)
        asks = [asyncio.ensure_future(studio.thumb(ref, SHOWN)) for ref in refs]
        while not studio.darkroom.jobs:
            await asyncio.sleep(0)
        for ask in asks:
            ask.cancel()
        await asyncio.gather(*asks, return_exceptions=True)
        assert not studio.darkroom.jobs

    asyncio.run(leave())
    assert len(begun) <= (work.settings.integer("thumbs.at_once") or 8)


def test_a_better_encoding_is_made_when_nobody_waits(tmp_path: Path, folder: Path) -> None:
    with boxwork.open(tmp_path / "data", settings={"thumbs.polish_after_s": 0.02}) as work:
        (ref,) = [seen.ref for seen in work.inventory.scan(folder) if seen.path == "photo-1.jpg"]
        fast = work.get(work.derive(thumbnail, photo=ref, **SHOWN.inputs()))

        async def wait() -> bytes:
            studio = Studio(work)
            studio.window("", 0, 10)
            studio.work_off()
            deadline = time.monotonic() + 30
            while work.peek(thumbnail, photo=ref, **SHOWN.inputs(), effort="best") is None:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.02)
            assert fast == await studio.thumb(ref, SHOWN)  # the address that is kept for ever says what it said
            return await studio.thumb(ref, SHOWN, best=True)

        assert len(asyncio.run(wait())) <= len(fast)


def test_whoever_scrolls_puts_better_encodings_off(work: Any, photo: Ref) -> None:
    work.derive(thumbnail, photo=photo, **SHOWN.inputs())

    async def scroll() -> tuple[float, float]:
        studio = Studio(work)
        before = studio._rest_s()
        await studio.thumb(photo, SHOWN, best=True)
        return before, studio._rest_s()

    before, after = asyncio.run(scroll())
    assert before <= 0 < after <= work.settings.number("thumbs.polish_after_s")
