"""A node with an open room, and a real server in front of it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.sync.client import connect

import boxwork
from boxwork.testing.served import served

ADA, BOB, EVE = (letter * 32 for letter in "abe")


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


class Guest:
    """One connection."""

    def __init__(self, socket: Any, hello: dict[str, Any]) -> None:
        self.socket = socket
        self.calls = 0
        socket.send(json.dumps({"hello": hello}))
        self.lines: list[dict[str, Any]] = []
        self.first = self.until(lambda line: "facts" in line)

    def until(self, found: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        while True:
            for line in str(self.socket.recv(timeout=10)).split("\n"):
                self.lines.append(json.loads(line))
            hits = [line for line in self.lines if found(line)]
            if hits:
                return hits[-1]

    def call(self, which: str, /, **inputs: Any) -> dict[str, Any]:
        self.calls += 1
        self.socket.send(json.dumps({"call": f"lounge_{which}", "id": f"{self.calls}", "inputs": inputs}))
        return self.until(lambda line: line.get("id") == f"{self.calls}")

    def say(self, text: str, name: str = "ada") -> dict[str, Any]:
        return self.call("comment", name=name, text=text)


@pytest.fixture
def guest(url: str) -> Iterator[Callable[..., Guest]]:
    with contextlib.ExitStack() as ends:

        def come(secret: str, room: str = "lounge/friday", **claims: str) -> Guest:
            socket = ends.enter_context(connect(f"{url.replace('http', 'ws')}/rooms/{room}", close_timeout=1))
            return Guest(socket, {"secret": secret, **claims})

        yield come


Come = Callable[..., Guest]
