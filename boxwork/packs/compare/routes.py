"""What the pack answers over HTTP; all of it reads.

GET  /compare                        the list, as a page
GET  /compare/list.json              the same as data
GET  /compare/{name}                 a comparison's newest run; its page
GET  /compare/{name}/{number}        an earlier run
GET  /compare/{name}/{number}/model/{model}  one model: classes, confusion, lineage
GET  /compare/{name}/run.json        a run as data (`?number=`)
GET  /compare/{name}/wrong.json      the test rows that a model got wrong (`?model=&number=`)
"""

from __future__ import annotations

from typing import Any

import anyio
import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from boxwork import errors
from boxwork.packs.compare import model_pages, pages
from boxwork.packs.compare.outlook import Outlook

# Rows of one answer.  Unit: rows, some 50 bytes each; `boxwork compare wrong --limit 0` gives all.
WRONG_ROWS_MAX = 1000
NUMBER_MAX = 10**6


class Desk:
    """The endpoints.  Everything is read in a thread: a board is some 20 KB of JSON."""

    def __init__(self, work: Any) -> None:
        self.outlook = Outlook(work)

    async def list_page(self, request: Request) -> Response:
        """`GET /compare`"""
        reply: Response = await _thread(pages.list_page, request, self.outlook)
        return reply

    async def list(self, request: Request) -> Response:
        """`GET /compare/list.json`: every comparison in a few words."""
        return _json(await _thread(self.outlook.all))

    async def run_page(self, request: Request) -> Response:
        """`GET /compare/{name}` and `GET /compare/{name}/{number}`"""
        name, number = request.path_params["name"], request.path_params.get("number", 0)
        reply: Response = await _thread(pages.run_page, request, self.outlook, name, number)
        return reply

    async def model_page(self, request: Request) -> Response:
        """`GET /compare/{name}/{number}/model/{model}`"""
        asked = request.path_params
        reply: Response = await _thread(
            model_pages.model_page, request, self.outlook, asked["name"], asked["number"], asked["model"]
        )
        return reply

    async def run(self, request: Request) -> Response:
        """`GET /compare/{name}/run.json?number=`: a run with its leaderboard, its alarms and what cleaning did."""
        return _json(await _thread(self.outlook.run, request.path_params["name"], _number(request)))

    async def wrong(self, request: Request) -> Response:
        """`GET /compare/{name}/wrong.json?model=&number=`: the test rows that a model got wrong."""
        model = request.query_params.get("model", "")
        if not model:
            raise errors.BadInput("say which model: ?model=NAME, as on the leaderboard")
        rows = await _thread(self.outlook.wrong, request.path_params["name"], model, _number(request))
        return _json({"count": len(rows), "rows": rows[:WRONG_ROWS_MAX]})


async def _thread(function: Any, *arguments: Any) -> Any:
    return await anyio.to_thread.run_sync(function, *arguments)


def _number(request: Request) -> int:
    text = request.query_params.get("number", "")
    if not text:
        return 0
    if not (text.isascii() and text.isdecimal() and 1 <= int(text[:8]) <= NUMBER_MAX):
        raise errors.BadInput(f"a run has a number from 1 on, not {text[:40]!r}")
    return int(text[:8])


def _json(value: Any) -> Response:
    return Response(msgspec.json.encode(value), 200, {"cache-control": "no-cache"}, "application/json")


def routes(work: Any) -> list[BaseRoute]:
    desk = Desk(work)
    run = "/compare/{name}/{number:int}"
    return [
        Route("/compare", desk.list_page, methods=["GET"], include_in_schema=False),
        Route("/compare/list.json", desk.list, methods=["GET"]),
        Route("/compare/{name}", desk.run_page, methods=["GET"], include_in_schema=False),
        Route("/compare/{name}/run.json", desk.run, methods=["GET"]),
        Route("/compare/{name}/wrong.json", desk.wrong, methods=["GET"]),
        Route(run, desk.run_page, methods=["GET"], include_in_schema=False),
        Route(
            "/compare/{name}/{number:int}/model/{model:path}", desk.model_page, methods=["GET"], include_in_schema=False
        ),
    ]
