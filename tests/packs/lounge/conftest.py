"""A node with an open room, and a real server in front of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import boxwork
from boxwork.testing.served import served


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Any]:
    with boxwork.open(tmp_path / "data") as node:
        yield node


@pytest.fixture
def url(work: Any) -> Iterator[str]:
    with served(work) as server:
        yield server.url


@pytest.fixture
def key(url: str) -> str:
    """Of the room `friday`, which is open from now on."""
    answer = httpx.post(f"{url}/lounge/rooms/open", json={"room": "friday", "title": "Friday night"}, timeout=10)
    assert 200 == answer.status_code, answer.text
    return str(answer.json()["key"])
