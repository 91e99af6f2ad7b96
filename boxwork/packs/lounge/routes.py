"""What the pack answers over HTTP; what happens in a room goes over `/rooms/lounge/{room}`.

GET  /lounge          the rooms, and a form that opens one
GET  /lounge/{room}   a room
POST /lounge/rooms/open     open a room; the answer has its key
"""

from __future__ import annotations

import asyncio
import importlib.resources
import json
import re
from html import escape
from typing import Any

import anyio
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from boxwork import errors, whole_body
from boxwork.packs.lounge.described import ROOM
from boxwork.packs.lounge.keys import lock_of
from boxwork.packs.lounge.moderation import open_lounge
from boxwork.packs.lounge.opening import listed
from boxwork.packs.lounge.wording import COMMENT_LENGTH_MAX, TITLE_LENGTH_MAX

PACKAGE = "boxwork.packs.lounge"
# Unit: bytes.  Reason: a name and a title.
BODY_BYTES_MAX = 4096
# Until an opened room is on disk.  Unit: s.
COMMIT_S_MAX = 30.0


class Desk:
    """The endpoints, over one node."""

    def __init__(self, work: Any) -> None:
        self.work = work

    async def rooms(self, request: Request) -> Response:
        """`GET /lounge`: the rooms there are."""
        rooms = await anyio.to_thread.run_sync(self._listed)
        base = escape(request.scope.get("root_path", ""))
        rows = "".join(
            f'<li><a href="{base}/lounge/{escape(row["room"])}"><strong>{escape(row["title"])}</strong>'
            f'<span class="quiet">{row["comments"]:,} comments · {row["likes"]:,} likes</span></a></li>'
            for row in rooms
        )
        return self._page(request, "Lounge", "rooms", {}, {"rooms": rows})

    def _listed(self) -> list[dict[str, Any]]:
        with self.work.node.engine.read() as facts:
            return listed(facts)

    async def room(self, request: Request) -> Response:
        """`GET /lounge/{room}`: a room, live."""
        room = request.path_params["room"]
        title = await anyio.to_thread.run_sync(self._title, room)
        data = {
            "room": room,
            "client": request.scope.get("root_path", "") + request.app.state.shell.address("rooms", "room.js"),
        }
        said = {"title": escape(title), "length": str(COMMENT_LENGTH_MAX)}
        return self._page(request, title, "room", data, said)

    def _title(self, room: str) -> str:
        with self.work.node.engine.read() as facts:
            title = facts.get(("lounge", room, "title"))
        if title is None:
            raise errors.NotFound(f"there is no room {room[:80]!r}: open it on the page /lounge")
        return str(title)

    async def open(self, request: Request) -> Response:
        """`POST /lounge/rooms/open`: open a room; its key is in the answer, and nowhere else."""
        given = await read_object(request)
        room, title = given.get("room"), given.get("title")
        if set(given) != {"room", "title"} or not isinstance(room, str) or not isinstance(title, str):
            raise errors.BadInput('a room is opened with {"room": "friday", "title": "Friday night"}')
        if not re.fullmatch(ROOM, room):
            raise errors.BadInput(f"a room's name has 1 to 40 letters a to z, digits or -, not {room[:60]!r}")
        if not 0 < len(title) <= TITLE_LENGTH_MAX:
            raise errors.BadInput(f"a title has 1 to {TITLE_LENGTH_MAX} characters, not {len(title)}")
        key = self.work.clock.token(16)
        future = self.work.commit_soon(open_lounge, room=room, title=title, lock=lock_of(room, key))
        try:
            await asyncio.wait_for(asyncio.wrap_future(future), COMMIT_S_MAX)
        except TimeoutError:
            raise errors.CommitUnknown(f"nobody knows whether the room {room} was opened: look at /lounge") from None
        data = json.dumps({"room": room, "key": key}).encode()
        return Response(data, 200, {"content-type": "application/json", "cache-control": "no-store"})

    def _page(self, request: Request, title: str, name: str, data: Any, said: dict[str, str]) -> Response:
        shell = request.app.state.shell
        if "lounge" not in shell.folders:
            shell.add_static("lounge", PACKAGE)
        fragment = (importlib.resources.files(PACKAGE) / f"{name}.html").read_text("utf-8")
        for word, text in said.items():
            fragment = fragment.replace("{{" + word + "}}", text)
        reply: Response = shell.page(
            request,
            title,
            fragment,
            styles=[shell.address("lounge", "lounge.css")],
            modules=[shell.address("lounge", f"{name}.js")],
            data=data,
        )
        return reply


async def read_object(request: Request) -> dict[str, Any]:
    """A small body of JSON."""
    data = await whole_body(request, BODY_BYTES_MAX)
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as fault:
        raise errors.BadInput(f"the body is not JSON: {fault}") from None
    if not isinstance(found, dict):
        raise errors.BadInput("the body is a JSON object")
    return found


def routes(work: Any) -> list[BaseRoute]:
    desk = Desk(work)
    return [
        Route("/lounge", desk.rooms, methods=["GET"], include_in_schema=False),
        Route("/lounge/rooms/open", desk.open, methods=["POST"]),
        Route("/lounge/{room}", desk.room, methods=["GET"], include_in_schema=False),
    ]
