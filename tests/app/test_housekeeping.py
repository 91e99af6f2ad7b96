from __future__ import annotations

import threading
from pathlib import Path

import boxwork
from boxwork import derivation


@derivation
def blow_up(letter: str) -> bytes:
    return letter.encode() * 100_000


def test_a_round_brings_the_cache_under_its_quota_and_keeps_what_is_durable(tmp_path: Path) -> None:
    with boxwork.open(tmp_path / "d", settings={"content.cache_bytes_max": 250_000}) as work:
        kept = work.put(b"durable" * 100_000)
        outputs = [work.derive(blow_up, letter=letter) for letter in "abcd"]
        told = work.node.housekeeping.round()
        assert 2 == told["evicted"]
        assert 2 == sum(map(work.has, outputs))
        assert work.has(kept)
        assert {b"a" * 100_000} == {work.call(blow_up, letter="a")}, "what was evicted is computed again"


def test_a_round_lets_observations_expire(tmp_path: Path) -> None:
    with boxwork.open(tmp_path / "d") as work:
        work.node.observations.retain("price", 10, keep_latest=False)
        work.observe("price", 3, source="shop", at=1)
        assert 1 == work.node.housekeeping.round()["expired"]
        assert work.latest("price", "shop") is None


def test_rounds_come_by_themselves(tmp_path: Path) -> None:
    pause = threading.Event()
    with boxwork.open(tmp_path / "d", settings={"content.cache_bytes_max": 250_000}) as work:
        outputs = [work.derive(blow_up, letter=letter) for letter in "abcd"]
    with boxwork.open(
        tmp_path / "d", settings={"content.cache_bytes_max": 250_000, "node.housekeeping_s": 0.01}
    ) as work:
        for _ in range(1000):  # 10 s at most
            if sum(map(work.has, outputs)) == 2:
                break
            pause.wait(0.01)
        assert 2 == sum(map(work.has, outputs))
