"""What the pack answers over HTTP.

GET  /monitor/state                          counts, open incidents, maintenance windows, the book
GET  /monitor/checks                         every check as it stands
GET  /monitor/checks/{name}                  one check with its history; POST looks at it now
GET  /monitor/incidents/{number}             one incident with its timeline
POST /monitor/incidents/{number}/{action}    acknowledge, resolve
POST /monitor/silences                       a maintenance window; /{id}/end ends it
GET  /monitor/events                         the state and what changed, live
"""

from __future__ import annotations

import re
from typing import Any

import anyio
import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from boxwork import errors, whole_body
from boxwork.packs.monitor import described, orders, pages
from boxwork.packs.monitor.outlook import Outlook

# A person's order.  Unit: bytes; its texts have 1,000 characters each.
BODY_BYTES_MAX = 64 * 1024
_WHOLE = re.compile(described.NUMBER)


class Desk:
    """The endpoints, over one monitor; the rounds begin with it."""

    def __init__(self, work: Any) -> None:
        self.monitor = work.part("monitor")
        self.outlook = Outlook(self.monitor)
        self.monitor.start()

    async def state(self, request: Request) -> Response:
        """`GET /monitor/state`: what is wrong, how many checks stand how, maintenance windows, the book."""
        return reply(await anyio.to_thread.run_sync(self.outlook.state))

    async def checks(self, request: Request) -> Response:
        """`GET /monitor/checks`: every check as it stands, what is wrong first."""
        return reply(await anyio.to_thread.run_sync(lambda: self.outlook.rows(recent=False)))

    async def check(self, request: Request) -> Response:
        """`GET /monitor/checks/{name}`: one check with its last results, figures and incidents."""
        return reply(await anyio.to_thread.run_sync(self.outlook.check, request.path_params["name"]))

    async def look(self, request: Request) -> Response:
        """`POST /monitor/checks/{name}`: look at it now."""
        await order_of(request, orders.Nothing)
        name = self.outlook.entry(request.path_params["name"]).name
        if not self.monitor.rounds.running:
            raise errors.Busy("no rounds are made in this process just now; /monitor says why")
        self.monitor.rounds.hurry(name)
        return reply({"check": name}, 202)

    async def incident(self, request: Request) -> Response:
        """`GET /monitor/incidents/{number}`: one incident with its timeline, members and runs."""
        number = whole(request.path_params["number"])
        return reply(await anyio.to_thread.run_sync(self.outlook.incident, number))

    async def steer(self, request: Request) -> Response:
        """`POST /monitor/incidents/{number}/{action}`: acknowledge or resolve."""
        number, action = whole(request.path_params["number"]), request.path_params["action"]
        monitor = self.monitor
        act = {"acknowledge": monitor.acknowledge, "resolve": monitor.resolve}.get(action)
        if act is None:
            raise errors.NotFound(f"an incident can be told to acknowledge or resolve, not {action[:40]!r}")
        given = await order_of(request, orders.Answer)
        await anyio.to_thread.run_sync(lambda: act(number, who=given.who, note=given.note))
        return reply(await anyio.to_thread.run_sync(self.outlook.incident, number))

    async def silence(self, request: Request) -> Response:
        """`POST /monitor/silences`: a maintenance window for a check or a pattern, and for what needs it."""
        given = await order_of(request, orders.Window)
        made = await anyio.to_thread.run_sync(
            lambda: self.monitor.silence(
                given.checks, minutes=given.minutes, who=given.who, why=given.why, in_minutes=given.in_minutes
            )
        )
        return reply(made, 201)

    async def unsilence(self, request: Request) -> Response:
        """`POST /monitor/silences/{id}/end`: end a maintenance window now."""
        given = await order_of(request, orders.EndOfWindow)
        name = request.path_params["id"]
        return reply(await anyio.to_thread.run_sync(lambda: self.monitor.unsilence(name, who=given.who)))


async def order_of(request: Request, kind: Any) -> Any:
    """What a person or a program asks for, as `kind`."""
    if request.headers.get("content-type", "").split(";")[0] != "application/json":
        raise errors.BadInput("an order is JSON: send it with content-type application/json")
    return orders.read(await whole_body(request, BODY_BYTES_MAX), kind)


def whole(text: str) -> int:
    if not _WHOLE.fullmatch(text):
        raise errors.BadInput(f"{text[:20]!r} is no number of an incident")
    return int(text)


def reply(value: Any, status: int = 200) -> Response:
    return Response(
        msgspec.json.encode(value, enc_hook=str),
        status,
        {"content-type": "application/json", "cache-control": "no-store"},
    )


def routes(work: Any) -> list[BaseRoute]:
    desk = Desk(work)
    shown = pages.Pages(desk)
    return [
        Route("/monitor", shown.everything, methods=["GET"], include_in_schema=False),
        Route("/monitor/check/{name}", shown.check, methods=["GET"], include_in_schema=False),
        Route("/monitor/incident/{number}", shown.incident, methods=["GET"], include_in_schema=False),
        Route("/monitor/events", shown.events, methods=["GET"], include_in_schema=False),
        Route("/monitor/state", desk.state, methods=["GET"]),
        Route("/monitor/checks", desk.checks, methods=["GET"]),
        Route("/monitor/checks/{name}", desk.check, methods=["GET"]),
        Route("/monitor/checks/{name}", desk.look, methods=["POST"]),
        Route("/monitor/incidents/{number}", desk.incident, methods=["GET"]),
        Route("/monitor/incidents/{number}/{action}", desk.steer, methods=["POST"]),
        Route("/monitor/silences", desk.silence, methods=["POST"]),
        Route("/monitor/silences/{id}/end", desk.unsilence, methods=["POST"]),
    ]
