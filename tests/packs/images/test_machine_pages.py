from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import boxwork
from boxwork.packs.images.slots import Boot, Slots
from boxwork.testing.served import served


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Any]:
    with boxwork.open(tmp_path / "data") as opened:
        yield opened


@pytest.fixture
def client(work: Any) -> Iterator[httpx.Client]:
    with served(work) as server, httpx.Client(base_url=server.url, timeout=20) as session:
        yield session


def machine(work: Any, name: str, console: bytes, verdicts: tuple[str, ...]) -> None:
    """A machine that was booted with these outcomes, each of another version."""
    with Slots(work, name).locked() as slots:
        for number, verdict in enumerate(verdicts, 1):
            slots.install(work.compose({"root.squashfs": work.put(f"version {number}".encode())}))
            slot = slots.next(1)
            log = f"{slots.count(slot):06d}-{slot}.log"
            (slots.folder / "log" / log).write_bytes(console)
            ref = str(slots.version(slot).ref)
            slots.record(Boot(number, slot, ref, verdict, "10-web <said> no", 1_700_000_000 * 10**9, 3400, log))


def test_a_node_without_machines_says_how_to_make_one(client: httpx.Client) -> None:
    answer = client.get("/images/machines")
    assert answer.status_code == 200
    assert "boxwork images boot web IMAGE" in answer.text


def test_a_machine_shows_its_slots_what_was_refused_and_its_consoles(work: Any, client: httpx.Client) -> None:
    machine(work, "web", b"\x1b[2J<script>alert(1)</script>\r\nbooted\r\n", ("healthy", "sick"))
    assert '/images/machines/web">web</a>' in client.get("/images/machines").text
    page = client.get("/images/machines/web").text
    for expected in ("runs", "Refused", "10-web &lt;said&gt; no", "sick</span>", "slot b · 3.4 s", "booted\n"):
        assert expected in page
    assert "[2J&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "\x1b" not in page


def test_only_the_end_of_a_long_console_is_shown(work: Any, client: httpx.Client) -> None:
    machine(work, "web", b"the beginning" + b"x" * 100_000 + b"the end", ("healthy",))
    page = client.get("/images/machines/web").text
    assert "the end" in page
    assert "the beginning" not in page


def test_a_machine_that_is_not_there_is_not_found(client: httpx.Client) -> None:
    assert client.get("/images/machines/nobody").status_code == 404
    assert client.get("/images/machines/..%2f..%2fetc").status_code == 404
