"""A node with boards, and pages that follow the rule of docs/live.md."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from socket import SHUT_RDWR
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

import boxwork
from boxwork import Pack, Rooms, errors, transaction
from boxwork.testing.served import served


@transaction
def press(tx: Any, board: str, times: int = 1) -> int:
    """Press the button of a board."""
    tx.require(0 < times <= 100, "times is 1 to 100", times=times)
    tx.add(("board", board, "presses"), times)
    return int(tx.get(("board", board, "presses")))


@transaction
def write(tx: Any, board: str, person: str, text: str) -> int:
    """Write a line onto a board."""
    number: int = tx.get(("board", board, "next"), 0)
    tx.put(("board", board, "next"), number + 1)
    tx.put(("board", board, "line", number), {"by": person, "text": text})
    return number


@transaction
def fill(tx: Any, board: str, lines: int, size: int) -> None:
    """Many lines in one entry."""
    for number in range(lines):
        tx.put(("board", board, "fill", number), "x" * size)


@transaction
def fail(tx: Any, board: str) -> None:
    raise ValueError("this transaction always fails")


def admit(work: Any, fields: Mapping[str, str], claims: Mapping[str, Any]) -> Mapping[str, Any]:
    if claims.get("token") == "wrong":
        raise errors.Forbidden("this token opens no board")
    return {"person": str(claims.get("name", ""))}


BOARDS = Pack(
    "boards",
    "Boards for the tests.",
    transactions=(press, write, fill),
    rooms=(Rooms("board/{board}", ("board", "{board}"), admit=admit, calls=(press, write, fail)),),
)


class Page:
    """A page in a room; it takes every line by the rule, and remembers what it was told."""

    def __init__(self, url: str, board: str = "b1", **claims: Any) -> None:
        self.url = f"{url.replace('http', 'ws', 1)}/rooms/board/{board}"
        self.claims = claims
        self.epoch, self.offset = "", 0
        self.facts: dict[tuple[Any, ...], Any] = {}
        self.offsets: list[int] = []
        self.lines: list[dict[str, Any]] = []
        self.socket: ClientConnection | None = None

    def open(self, **options: Any) -> dict[str, Any]:
        """Say hello, as one who was here before if it was; the answer is the first line."""
        self.connect(**options)
        self.say({"hello": self.claims, "epoch": self.epoch, "offset": self.offset})
        return self.until(lambda line: line["kind"] in ("joined", "resumed", "reset"))

    def connect(self, **options: Any) -> None:
        self.ends = contextlib.ExitStack()
        self.socket = self.ends.enter_context(connect(self.url, open_timeout=10, close_timeout=2, **options))

    def say(self, message: Any) -> None:
        assert self.socket is not None
        self.socket.send(message if isinstance(message, str) else json.dumps(message))

    def call(self, name: str, id: str, **inputs: Any) -> dict[str, Any]:
        self.say({"call": name, "id": id, "inputs": inputs})
        return self.until(lambda line: line.get("id") == id)

    def until(self, found: Callable[[dict[str, Any]], bool], wait_s: float = 10) -> dict[str, Any]:
        assert self.socket is not None
        seen = []
        while True:
            lines = [json.loads(line) for line in str(self.socket.recv(timeout=wait_s)).split("\n")]
            for line in lines:
                self.take(line)
            seen += [line for line in lines if found(line)]
            if seen:
                return seen[0]

    def until_offset(self, offset: int) -> None:
        while self.offset < offset:
            self.until(lambda line: line["kind"] in ("frame", "reset"))

    def take(self, line: dict[str, Any]) -> None:
        self.lines.append(line)
        if line["kind"] in ("joined", "reset"):
            self.epoch, self.offset = line["epoch"], line["offset"]
            self.facts = {tuple(key): value for key, value in line["facts"]}
        elif line["kind"] == "frame":
            assert line["after"] <= self.offset < line["offset"], f"at {self.offset}: {line}"
            self.offset = line["offset"]
            self.offsets.append(self.offset)
            for key, *value in line["changes"]:
                if value:
                    self.facts[tuple(key)] = value[0]
                else:
                    self.facts.pop(tuple(key), None)

    def closed(self) -> tuple[int, str]:
        """Wait for the end: code and reason."""
        assert self.socket is not None
        with contextlib.suppress(ConnectionClosed):
            while True:
                self.socket.recv(timeout=10)
        end = self.socket.protocol.close_rcvd
        assert end is not None
        return end.code, end.reason

    def cut(self) -> None:
        """No goodbye: the cable is pulled."""
        assert self.socket is not None
        self.socket.socket.shutdown(SHUT_RDWR)
        self.close()

    def close(self) -> None:
        if self.socket is not None:
            self.ends.close()
            self.socket = None


@pytest.fixture
def page() -> Iterator[Callable[..., Page]]:
    opened: list[Page] = []

    def make(url: str, board: str = "b1", **claims: Any) -> Page:
        opened.append(Page(url, board, **claims))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


@pytest.fixture
def work(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[Any]:
    with boxwork.open(tmp_path / "d", packs=(BOARDS,), settings=getattr(request, "param", {})) as node:
        yield node


@pytest.fixture
def url(work: Any) -> Iterator[str]:
    with served(work) as server:
        yield server.url
