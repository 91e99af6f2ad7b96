"""Who asks a server is told what it says, and what is wrong, in the words of the server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route

import boxwork
from boxwork import Elsewhere, Pack
from boxwork.errors import Busy, StateError
from boxwork.testing.served import served


async def repeat(request: Request) -> JSONResponse:
    return JSONResponse({"method": request.method, "order": await request.json() if request.method == "POST" else None})


async def refuse(request: Request) -> JSONResponse:
    return JSONResponse({"error": "x", "message": "not today", "details": {"until": "noon"}}, 409)


async def mumble(request: Request) -> PlainTextResponse:
    return PlainTextResponse("<html>", 502)


PACK = Pack(
    "teller",
    "A test",
    routes=lambda work: [
        Route("/teller/repeat", repeat, methods=["GET", "POST"]),
        Route("/teller/no", refuse),
        Route("/teller/mumble", mumble),
    ],
)


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Elsewhere]]:
    with boxwork.open(tmp_path_factory.mktemp("data"), packs=[PACK]) as work, served(work) as server:
        yield work, Elsewhere(work, server.url + "/", 10, StateError)


def test_an_order_is_posted_and_a_question_is_not(asked: tuple[Any, Elsewhere]) -> None:
    assert {"method": "GET", "order": None} == asked[1].ask("/teller/repeat")
    assert {"method": "POST", "order": {"of": "Path"}} == asked[1].ask("/teller/repeat", {"of": Path("Path")})
    assert {"method": "POST", "order": {}} == asked[1].ask("/teller/repeat", {})


def test_a_refusal_has_the_words_and_details_of_the_server(asked: tuple[Any, Elsewhere]) -> None:
    with pytest.raises(StateError, match="not today") as caught:
        asked[1].ask("/teller/no")
    assert {"until": "noon"} == caught.value.details
    with pytest.raises(StateError, match="answered 502"):
        asked[1].ask("/teller/mumble")


def test_without_a_server_it_says_where_none_is(asked: tuple[Any, Elsewhere], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", asked[1].url)  # it would answer, and is not asked
    with pytest.raises(Busy, match="no server at http://127.0.0.1:9 .*--server URL"):
        Elsewhere(asked[0], "http://127.0.0.1:9", 10, StateError).ask("/teller/repeat")
    where = asked[0].settings
    named = f"http://{where.text('serve.host')}:{where.integer('serve.port')}"
    assert named == Elsewhere(asked[0], "", 10, StateError).url
