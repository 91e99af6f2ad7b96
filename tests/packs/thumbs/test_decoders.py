"""Decoders run in processes of their own: what happens to one of them happens to one picture."""

from __future__ import annotations

import dataclasses
import functools
import io
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
from PIL import Image

import boxwork
from boxwork.packs.thumbs.thumbnail import thumbnail
from boxwork.serve.http import asgi
from boxwork.serve.server import Server, bind


@functools.cache
def slow_photo() -> bytes:
    """40 megapixels, progressive: some 0.5 s of decoding, 120 MB of it held."""
    out = io.BytesIO()
    Image.effect_noise((800, 500), 60).resize((8000, 5000)).convert("RGB").save(out, "JPEG", progressive=True)
    return out.getvalue()


def terms(monkeypatch: pytest.MonkeyPatch, **changed: Any) -> None:
    monkeypatch.setattr(thumbnail, "terms", dataclasses.replace(thumbnail.terms, **changed))


def decoders() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "worker_main" in " ".join(child.cmdline())]


def running_decoder() -> psutil.Process:
    """The one decoder, once it is in the middle of its work."""
    deadline = time.monotonic() + 20
    while True:
        for process in decoders():
            before = sum(process.cpu_times()[:2])
            time.sleep(0.05)
            # it has imported its libraries, holds a picture, and goes on
            if process.memory_info().rss > 90_000_000 and sum(process.cpu_times()[:2]) > before:
                return process
        assert time.monotonic() < deadline, "no decoder began"
        time.sleep(0.005)


def asked(client: httpx.Client, ref: str) -> httpx.Response:
    return client.get(f"/thumbs/320/{ref.removeprefix('sha256:')}.webp")


def disturbed(client: httpx.Client, ref: str, disturb: Callable[[psutil.Process], object]) -> httpx.Response:
    """The answer, when this is done to the decoder in the middle."""
    with ThreadPoolExecutor(1) as pool:
        answer: Future[httpx.Response] = pool.submit(asked, client, ref)
        disturb(running_decoder())
        return answer.result(60)


def test_a_decoder_that_is_killed_in_the_middle_costs_the_client_time_only(client: Any, work: Any) -> None:
    ref = work.put(slow_photo())
    killed: list[int] = []

    def kill(process: psutil.Process) -> None:
        killed.append(process.pid)
        process.send_signal(signal.SIGKILL)

    assert 200 == disturbed(client, ref, kill).status_code
    assert killed
    assert killed[0] not in {process.pid for process in decoders()}


def test_a_decoder_that_crashes_takes_its_picture_only(client: Any, work: Any, make: Any) -> None:
    answer = disturbed(client, work.put(slow_photo()), lambda process: process.send_signal(signal.SIGSEGV))
    assert 422 == answer.status_code
    assert "ended by SIGSEGV" in answer.json()["message"]
    assert 200 == asked(client, work.put(make(700, 500))).status_code


def test_a_decoder_that_hangs_is_ended_at_its_deadline(
    client: Any, work: Any, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert 200 == asked(client, work.put(make(640, 480))).status_code
    terms(monkeypatch, timeout_s=3.0)
    stopped: list[int] = []

    def stop(process: psutil.Process) -> None:
        stopped.append(process.pid)
        process.send_signal(signal.SIGSTOP)

    answer = disturbed(client, work.put(slow_photo()), stop)
    assert 422 == answer.status_code
    assert "took longer than its timeout_s = 3 s" in answer.json()["message"]
    assert not psutil.pid_exists(stopped[0])
    assert 200 == asked(client, work.put(make(700, 500))).status_code


def test_a_picture_that_swells_meets_the_decoder_s_limit_and_not_the_machine_s(
    client: Any, work: Any, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert 200 == asked(client, work.put(make(640, 480))).status_code
    terms(monkeypatch, memory_bytes_max=60_000_000)
    before = psutil.Process().memory_info().rss
    peak = 0
    over = threading.Event()

    def look() -> None:
        nonlocal peak
        while not over.wait(0.01):
            peak = max(peak, *(process.memory_info().rss for process in decoders()), 0)

    watcher = threading.Thread(target=look)
    watcher.start()
    answer = asked(client, work.put(slow_photo()))
    over.set()
    watcher.join()
    assert 422 == answer.status_code
    assert answer.json()["message"]
    assert peak < 150_000_000
    assert psutil.Process().memory_info().rss - before < 100_000_000
    assert 200 == asked(client, work.put(make(700, 500))).status_code


def test_others_are_served_while_a_decoder_hangs(client: Any, work: Any, make: Any) -> None:
    shown = work.put(make(640, 480))
    assert 200 == asked(client, shown).status_code
    spent: list[float] = []

    def stop(process: psutil.Process) -> None:
        process.send_signal(signal.SIGSTOP)
        for _ in range(20):
            began = time.monotonic()
            assert 200 == asked(client, shown).status_code
            spent.append(time.monotonic() - began)
        process.send_signal(signal.SIGCONT)

    assert 200 == disturbed(client, work.put(slow_photo()), stop).status_code
    assert max(spent) < 2


def test_decoders_start_when_they_are_needed_and_end_when_they_are_not(tmp_path: Path, make: Any) -> None:
    with boxwork.open(tmp_path / "data", settings={"derive.worker_idle_s": 0.2}) as work:
        server = Server(asgi(work), bind("127.0.0.1", 0, 1), work.settings)
        with httpx.Client(base_url=server.start(), timeout=30) as client:
            try:
                assert 404 == asked(client, "0" * 64).status_code
                assert [] == decoders()
                assert 200 == asked(client, work.put(make(640, 480))).status_code
                deadline = time.monotonic() + 20
                while decoders():
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
            finally:
                server.stop()


@pytest.mark.servers  # some seconds each to make
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_the_largest_that_are_read_fit_into_a_decoder(work: Any, kind: str) -> None:
    noise = np.random.default_rng(3).integers(0, 255, (60, 80, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).resize((8000, 6000), Image.Resampling.NEAREST).save(out, kind)
    small = work.get(work.derive(thumbnail, photo=work.put(out.getvalue()), width=1600, format="avif"))
    assert 1600 == Image.open(io.BytesIO(small)).width


def test_where_it_runs_is_not_part_of_what_it_is(work: Any, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was made in a thread is found by who makes it in a process."""
    ref = work.put(make(640, 480))
    with monkeypatch.context() as inside:
        terms(inside, worker="thread", timeout_s=0.0, memory_bytes_max=0)
        made = work.derive(thumbnail, photo=ref)
    assert made == work.peek(thumbnail, photo=ref)
