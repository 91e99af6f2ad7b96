"""A node and a server in front of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import boxwork
from boxwork.packs.scans import sample
from boxwork.testing.served import served


@pytest.fixture(scope="session")
def flat() -> bytes:
    return sample.parametric()


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Any]:
    with boxwork.open(tmp_path / "data") as node:
        yield node


@pytest.fixture
def client(work: Any) -> Iterator[httpx.Client]:
    with served(work) as running, httpx.Client(base_url=running.url, timeout=60) as session:
        yield session
