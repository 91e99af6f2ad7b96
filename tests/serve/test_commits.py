"""`/commit`: the same answers, refusals and receipts as in process, over a real server."""

from __future__ import annotations

import asyncio
import datetime
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from boxwork import Pack, Ref, transaction
from boxwork.app.work import Work
from boxwork.keys import ref_of
from boxwork.serve.readable import readable
from boxwork.testing.served import served


@dataclass(frozen=True)
class Seat:
    row: int
    letter: str = "A"


@transaction
def book(tx: Any, seat: Seat, guest: str, at: datetime.date, ticket: Ref | None = None, code: bytes = b"") -> Any:
    """Book a seat, once.

    More about it.
    """
    tx.require(tx.put_new(("seat", seat.row, seat.letter), guest), "taken", seat=seat.row)
    return {"seat": seat, "at": at, "ticket": ticket, "code": code, "seats": {seat.row}}


@transaction
def spend(tx: Any, cents: int) -> Any:
    tx.add(("budget",), -cents, min=-100)
    return tx.get(("budget",))


@transaction
async def ponder(tx: Any, seconds: float) -> Any:
    seen = tx.get(("pondered",), 0)
    await asyncio.sleep(seconds)
    tx.put(("pondered",), seen + 1)
    return seen + 1


@transaction
def stumble(tx: Any) -> None:
    raise RuntimeError("a bug of the transaction")


@pytest.fixture(scope="module")
def work(make_work: Callable[..., Work]) -> Work:
    pack = Pack("theatre", "Transactions for the tests.", transactions=(book, spend, ponder, stumble))
    return make_work((pack,), serve__commit_s_max=0.5)


@pytest.fixture(scope="module")
def client(work: Work) -> Iterator[httpx.Client]:
    with served(work) as server, httpx.Client(base_url=server.url, timeout=10) as session:
        yield session


def test_inputs_are_typed_and_the_answer_has_a_receipt(client: httpx.Client, work: Work) -> None:
    ticket = ref_of(b"ticket")
    body = {
        "seat": {"row": 3}, "guest": "ada", "at": "2026-11-29", "ticket": ticket, "code": {"base64": "YWI="},
    }  # fmt: skip
    told = client.post("/commit/book", json=body).json()
    expected = {"seat": {"row": 3, "letter": "A"}, "at": "2026-11-29", "ticket": ticket, "seats": [3]}
    assert {**expected, "code": {"base64": "YWI="}} == told["answer"]
    assert told["receipt"].startswith(f"1.{told['version']}.{told['index']}.")
    with work.read() as facts:
        assert "ada" == facts.get(("seat", 3, "A"))


def test_a_refusal_is_a_typed_answer_in_the_one_shape(client: httpx.Client) -> None:
    body = {"seat": {"row": 4}, "guest": "ada", "at": "2026-11-29"}
    assert 200 == client.post("/commit/book", json=body).status_code
    refused = client.post("/commit/book", json=body)
    assert 409 == refused.status_code
    told = refused.json()
    assert ("transaction.refused", "never", {"seat": 4}) == (told["error"], told["retry"], told["details"])
    assert refused.headers["x-request-id"] == told["request"]
    assert "transaction.bound" == client.post("/commit/spend", json={"cents": 1000}).json()["error"]


@pytest.mark.parametrize(
    ("path", "body", "status", "word"),
    [
        ("/commit/nothing", {}, 404, "there are: book"),
        ("/commit/book", {"guest": "ada", "at": "2026-11-29"}, 400, "'seat'"),
        ("/commit/book", {"seat": {"row": "x"}, "guest": "ada", "at": "2026-11-29"}, 400, "'seat'"),
        ("/commit/book", {"seat": {"row": 1}, "guest": "ada", "at": "soon"}, 400, "'at'"),
        ("/commit/book", {"tx": 1}, 400, "no input 'tx'"),
        ("/commit/spend", {"cents": 1.5}, 400, "'cents'"),
        ("/commit/spend?lane=fast", {"cents": 1}, 400, "serial, snapshot, locking, occ"),
        ("/commit/spend", [], 400, "object"),
    ],
)
def test_wrong_calls_are_named(client: httpx.Client, path: str, body: Any, status: int, word: str) -> None:
    answer = client.post(path, json=body)
    assert status == answer.status_code
    assert word in answer.json()["message"]


def test_a_ref_is_no_bytes_to_a_transaction(client: httpx.Client) -> None:
    body = {"seat": {"row": 9}, "guest": "ada", "at": "2026-11-29", "code": ref_of(b"x")}
    assert "'code' takes {\"base64\"" in client.post("/commit/book", json=body).json()["message"]


def test_an_idempotency_key_makes_a_retry_the_same(client: httpx.Client) -> None:
    first, again = (
        client.post("/commit/spend", json={"cents": 10}, headers={"Idempotency-Key": "order 1"}).json()
        for _ in range(2)
    )
    assert first["answer"] == again["answer"]
    assert first["receipt"] == again["receipt"]
    long = client.post("/commit/spend", json={"cents": 10}, headers={"Idempotency-Key": "x" * 201})
    assert (400, True) == (long.status_code, "200 printable" in long.json()["message"])


def test_what_thinks_is_awaited_and_what_thinks_too_long_is_unknown(client: httpx.Client) -> None:
    assert 1 == client.post("/commit/ponder", json={"seconds": 0.0}).json()["answer"]
    late = client.post("/commit/ponder", json={"seconds": 2.0}, headers={"Idempotency-Key": "late"})
    assert (503, "commit.unknown", "unknown") == (late.status_code, late.json()["error"], late.json()["retry"])
    assert "serve.commit_s_max" in late.json()["message"]


def test_what_a_transaction_raises_is_told(client: httpx.Client) -> None:
    answer = client.post("/commit/stumble", json={})
    assert (422, "transaction.failed") == (answer.status_code, answer.json()["error"])
    assert "RuntimeError: a bug of the transaction; nothing was changed" in answer.json()["message"]


def test_many_at_once_are_all_counted(client: httpx.Client, work: Work) -> None:
    def press() -> None:
        for _ in range(25):
            assert 200 == client.post("/commit/spend", json={"cents": -1}).status_code

    with work.read() as facts:
        before = facts.get(("budget",), 0)
    threads = [threading.Thread(target=press) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with work.read() as facts:
        assert before + 200 == facts.get(("budget",))


def test_every_transaction_is_described(client: httpx.Client) -> None:
    listed = {one["name"]: one for one in client.get("/commit").json()["transactions"]}
    assert {"book", "ponder", "spend", "stumble"} <= listed.keys()
    assert ("Book a seat, once.", ["seat", "guest", "at"]) == (
        listed["book"]["summary"], listed["book"]["inputs"]["required"],
    )  # fmt: skip
    paths = client.get("/openapi.json").json()["paths"]
    shape = paths["/commit/book"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert {"seat", "guest", "at", "ticket", "code"} == shape["properties"].keys()
    assert "Idempotency-Key" == paths["/commit/book"]["post"]["parameters"][0]["name"]
    assert "Seat" in client.get("/openapi.json").json()["components"]["schemas"]


def test_a_stranger_may_not_commit(client: httpx.Client) -> None:
    answer = client.post("/commit/spend", json={"cents": 1}, headers={"Origin": "http" + "://elsewhere.example"})
    assert 403 == answer.status_code


def test_every_value_can_be_shown() -> None:
    assert [1, "9007199254740993", {"base64": "AA=="}, "nan", [["a", 1], 2]] == readable(
        (1, 2**53 + 1, b"\0", float("nan"), [("a", 1), 2])
    )
    assert [[[1, 2], "x"]] == readable({(1, 2): "x"})
    assert "<class 'object'>" == readable(object)
