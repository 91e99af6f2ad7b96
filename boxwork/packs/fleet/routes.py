"""What the pack answers over HTTP.

for hosts (`protocol`):
POST /fleet/hosts/{host}?digest=&wait_s=    the document with its blobs, or 304 when nothing changed for so long;
                                            the body is what the host says of itself
GET  /fleet/hosts/{host}?digest=&wait_s=    the document alone
GET  /fleet/hosts/{host}/blobs?not=         the small blobs that it lacks, in one answer
POST /fleet/hosts/{host}/blobs              blobs of its tree by name, many in one answer
GET  /fleet/hosts/{host}/blobs/{ref}        a blob of its tree
GET  /fleet/hosts/{host}/token              its token by the newest key
POST /fleet/hosts/{host}/reports            what it says of itself
GET  /fleet/key                             the public key; `/fleet/keys` all of them, POST to it makes another

for people and programs:
GET  /fleet/state                           hosts by version, the rollout, the source
GET  /fleet/hosts.json?q=                   the hosts
GET  /fleet/about/{host}                    one host, its document and its reports
GET  /fleet/versions/{n}                    one version; `?against=m` its difference
GET  /fleet/history
POST /fleet/versions                        publish a release folder that is in the store, by its ref
POST /fleet/overrides                       set values for a host or a label; `/unset` takes them back
POST /fleet/rollouts                        start one
POST /fleet/rollouts/{n}/{action}           pause, resume, abort
GET  /fleet/events                          the state, live
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl

import anyio
import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from boxwork import Ref, errors
from boxwork.packs.fleet import described, orders, pages, protocol
from boxwork.packs.fleet.admission import door_of, token_of
from boxwork.packs.fleet.conductor import Conductor
from boxwork.packs.fleet.outlook import Outlook
from boxwork.packs.fleet.overrides import set_over, unset_over
from boxwork.packs.fleet.plan import plan_of
from boxwork.packs.fleet.questions import Questions, of_host, whole_body
from boxwork.packs.fleet.systems import lot

log = logging.getLogger("boxwork.fleet")

# A document is of now, and only for the host it is for.
PRIVATE = {"cache-control": "private, no-cache"}
IMMUTABLE = {"cache-control": "private, max-age=31536000, immutable", "content-type": "application/octet-stream"}
# A person's order or a report in JSON.  Unit: bytes; 100 paths of drift with long names are 30 KiB.
BODY_BYTES_MAX = 256 * 1024
_WHOLE = re.compile(described.NUMBER)
ACK = msgspec.json.encode(protocol.Ack())


class Desk:
    """The endpoints, over one fleet."""

    def __init__(self, work: Any) -> None:
        self.work = work
        self.fleet = work.part("fleet")
        self.questions = Questions(self)
        self.outlook = Outlook(self.fleet)
        self.running = False
        self._beginning = threading.Lock()
        if work.settings.text("fleet.source"):
            self.begin()

    def begin(self) -> Any:
        """Open the facts and start the conductor: at once where a source is set, else when somebody asks."""
        with self._beginning:
            if not self.running:
                self.fleet.mirror.moved.append(self.questions.waiting.wake)
                self.fleet.conductor = Conductor(self.fleet)
                self.fleet.conductor.start()
                self.running = True
        return self.fleet

    async def _ready(self) -> Any:
        if not self.running:
            await anyio.to_thread.run_sync(self.begin)
        return self.fleet

    # --- for hosts; what they ask all the time is in `questions`

    async def blob(self, request: Request) -> Response:
        """`GET /fleet/hosts/{host}/blobs/{ref}`: a blob of what a host is or was to be."""
        fleet = await self._ready()
        ref = Ref.parse(request.path_params["ref"])
        data = await anyio.to_thread.run_sync(fleet.blob, host_of(request), ref)
        return Response(data, 200, {"etag": f'"{ref}"', **IMMUTABLE})

    async def pack(self, request: Request) -> Response:
        """`GET /fleet/hosts/{host}/blobs?not={tree}`: the small blobs that are not in that tree, in one answer."""
        fleet = await self._ready()
        has = dict(parse_qsl(request.scope["query_string"].decode("latin-1"))).get("not", "")
        if has:
            Ref.parse(has)
        # A few small blobs come out of a memory map: the way to a thread and back costs more.
        blobs = fleet.pack(host_of(request), has)
        return Response(bytes(blobs), 200, {"content-type": "application/msgpack", **PRIVATE})

    async def lot(self, request: Request) -> Response:
        """`POST /fleet/hosts/{host}/blobs`: blobs by their names, many in one answer."""
        fleet = await self._ready()
        refs = protocol.read_lot(await body_of(request))
        blobs = await anyio.to_thread.run_sync(lot, fleet, host_of(request), refs)
        return Response(blobs, 200, {"content-type": "application/msgpack", **PRIVATE})

    async def report(self, request: Request) -> Response:
        """`POST /fleet/hosts/{host}/reports`: what a host says of itself; answered once it is on disk."""
        await self._ready()
        said = of_host(protocol.read_report(await body_of(request)), host_of(request))
        request.app.not_counted(request.scope)
        await self.questions.reporting.hand_in([said])
        return Response(ACK, 200, {"content-type": "application/json", "cache-control": "no-store"})

    async def token(self, request: Request) -> Response:
        """`GET /fleet/hosts/{host}/token`: a token by the newest key, for who shows an older one that is still good."""
        fleet = await self._ready()
        host = host_of(request)
        made = await anyio.to_thread.run_sync(lambda: token_of(fleet.keyring.newest, host))
        return json_reply({"token": made})

    async def key(self, request: Request) -> Response:
        """`GET /fleet/key`: the public key, and the name of these facts."""
        fleet = await self._ready()
        ring = await anyio.to_thread.run_sync(lambda: fleet.keyring.ring)
        return json_reply({"public_key": ring.keys[-1], "epoch": fleet.mirror.epoch})

    async def keys(self, request: Request) -> Response:
        """`GET /fleet/keys`: the public keys, which of them are in use, and who decided that."""
        fleet = await self._ready()
        return json_reply(await anyio.to_thread.run_sync(fleet.keyring.about))

    async def new_key(self, request: Request) -> Response:
        """`POST /fleet/keys`: add a key, which every host learns from a document that the old one signed."""
        fleet = await self._ready()
        given = await order_of(request, orders.NewKey)
        key = await anyio.to_thread.run_sync(lambda: fleet.keyring.new(who=given.who, why=given.why))
        return json_reply({"key": key}, 201)

    async def retire(self, request: Request) -> Response:
        """`POST /fleet/keys/retire`: take a key out of use."""
        fleet = await self._ready()
        given = await order_of(request, orders.Retire)
        grace_s = None if given.grace_s is msgspec.UNSET else given.grace_s
        key = await anyio.to_thread.run_sync(
            lambda: fleet.keyring.retire(given.key, who=given.who, why=given.why, anyway=given.anyway, grace_s=grace_s)
        )
        return json_reply({"key": key})

    # --- for people

    async def state(self, request: Request) -> Response:
        """`GET /fleet/state`: hosts by release and condition, the rollout, the source."""
        await self._ready()
        return json_reply(await anyio.to_thread.run_sync(self.outlook.state))

    async def hosts(self, request: Request) -> Response:
        """`GET /fleet/hosts.json?q=&only=`: host, what it shall be, what it is, how it is, drift, seconds ago."""
        await self._ready()
        query = request.query_params
        only, words = query.get("only", ""), query.get("q", "")
        if max(len(only), len(words)) > described.WORDS_MAX:
            raise errors.BadInput(f"at most {described.WORDS_MAX} characters are looked for in a name")
        return json_reply(await anyio.to_thread.run_sync(self.outlook.hosts, words, only))

    async def about(self, request: Request) -> Response:
        """`GET /fleet/about/{host}`: everything about one host."""
        await self._ready()
        return json_reply(await anyio.to_thread.run_sync(self.outlook.host, host_of(request)))

    async def version(self, request: Request) -> Response:
        """`GET /fleet/versions/{number}`: one version; with `?against=` what differs from another."""
        await self._ready()
        number = whole(request.path_params["number"])
        against = request.query_params.get("against")
        if against is None:
            return json_reply(await anyio.to_thread.run_sync(self.outlook.version, number))
        return json_reply(await anyio.to_thread.run_sync(self.outlook.difference, whole(against), number))

    async def history(self, request: Request) -> Response:
        """`GET /fleet/history`: who decided what, when and why, newest first."""
        fleet = await self._ready()
        return json_reply(await anyio.to_thread.run_sync(lambda: list(fleet.history())))

    async def publish(self, request: Request) -> Response:
        """`POST /fleet/versions`: a version of a template tree that is in the store, with the rows of now."""
        fleet = await self._ready()
        given = await order_of(request, orders.Publish)
        try:
            version = await anyio.to_thread.run_sync(
                lambda: fleet.publish(Ref.parse(given.template), author=given.author, reason=given.reason)
            )
        except errors.BlobCorrupt as fault:
            raise errors.BadInput(f"the template is no tree: {fault.message}") from None
        return json_reply(version, 201)

    async def override(self, request: Request) -> Response:
        """`POST /fleet/overrides`: values for a host or a label over those of the source; the version with them."""
        fleet = await self._ready()
        given = await order_of(request, orders.Set)
        version = await anyio.to_thread.run_sync(
            lambda: set_over(fleet, given.scope, given.values, who=given.who, why=given.why)
        )
        return json_reply(version, 201)

    async def unset(self, request: Request) -> Response:
        """`POST /fleet/overrides/unset`: what the source says again; no column means all of the scope."""
        fleet = await self._ready()
        given = await order_of(request, orders.Unset)
        return json_reply(
            await anyio.to_thread.run_sync(
                lambda: unset_over(fleet, given.scope, given.columns, who=given.who, why=given.why)
            )
        )

    async def start(self, request: Request) -> Response:
        """`POST /fleet/rollouts`: move the fleet to a version; what the plan leaves out is as in the settings."""
        fleet = await self._ready()
        given = await order_of(request, orders.Start)
        default: Any = fleet.conductor.default_plan()
        plan = plan_of({**msgspec.to_builtins(default), **msgspec.to_builtins(given.plan)})
        rollout = await anyio.to_thread.run_sync(
            lambda: fleet.start(given.version, plan, who=given.who, why=given.why, only=given.only)
        )
        return json_reply(rollout, 201)

    async def steer(self, request: Request) -> Response:
        """`POST /fleet/rollouts/{number}/{action}`: pause, resume or abort."""
        fleet = await self._ready()
        number, action = whole(request.path_params["number"]), request.path_params["action"]
        state = {"pause": "paused", "resume": "running", "abort": "aborted"}.get(action)
        if state is None:
            raise errors.NotFound(f"a rollout can be told to pause, resume or abort, not {action[:40]!r}")
        given = await order_of(request, orders.Steer)
        return json_reply(
            await anyio.to_thread.run_sync(lambda: fleet.steer(number, state, who=given.who, why=given.why))
        )

    async def check(self, request: Request) -> Response:
        """`POST /fleet/source`: look at the source now."""
        fleet = await self._ready()
        version = await anyio.to_thread.run_sync(fleet.follow_source)
        return json_reply({"version": version, "source": fleet.facade.health})


class Direct:
    """An endpoint as an ASGI app; what it raises goes to the edge, which makes the answer of every error."""

    def __init__(self, endpoint: Callable[[Request], Awaitable[Response]]) -> None:
        self.endpoint = endpoint
        self.__doc__ = endpoint.__doc__

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self.endpoint(Request(scope, receive, send))
        await response(scope, receive, send)


def host_of(request: Request) -> str:
    host: str = request.path_params["host"]
    return host


async def body_of(request: Request) -> bytes:
    """The whole body, within the limit."""
    return await whole_body(request.receive, BODY_BYTES_MAX)


async def order_of(request: Request, kind: Any) -> Any:
    """What a person or a program asks for, as `kind`."""
    if request.headers.get("content-type", "").split(";")[0] != "application/json":
        raise errors.BadInput("an order is JSON: send it with content-type application/json")
    return orders.read(await body_of(request), kind)


def whole(text: str) -> int:
    if not _WHOLE.fullmatch(text):
        raise errors.BadInput(f"{text[:20]!r} is no number of a version or rollout")
    return int(text)


def json_reply(value: Any, status: int = 200) -> Response:
    return Response(
        msgspec.json.encode(value, enc_hook=str),
        status,
        {"content-type": "application/json", "cache-control": "no-store"},
    )


def routes(work: Any) -> list[BaseRoute]:
    desk = Desk(work)
    shown = pages.Pages(desk)
    return [
        # What thousands of hosts ask stands first, and without the wrappers that pages may need.  `protocol` has it.
        Route("/fleet/hosts/{host}", desk.questions, methods=["GET", "POST"], include_in_schema=False),
        Route("/fleet/hosts/{host}/reports", Direct(desk.report), methods=["POST"], include_in_schema=False),
        Route("/fleet/hosts/{host}/token", Direct(desk.token), methods=["GET"], include_in_schema=False),
        Route("/fleet/hosts/{host}/blobs", Direct(desk.pack), methods=["GET"], include_in_schema=False),
        Route("/fleet/hosts/{host}/blobs", Direct(desk.lot), methods=["POST"], include_in_schema=False),
        Route("/fleet/hosts/{host}/blobs/{ref}", Direct(desk.blob), methods=["GET"], include_in_schema=False),
        Route("/fleet", shown.fleet, methods=["GET"], include_in_schema=False),
        Route("/fleet/host/{host}", shown.host, methods=["GET"], include_in_schema=False),
        Route("/fleet/version/{number}", shown.version, methods=["GET"], include_in_schema=False),
        Route("/fleet/rollout/{number}", shown.rollout, methods=["GET"], include_in_schema=False),
        Route("/fleet/events", shown.events, methods=["GET"], include_in_schema=False),
        Route("/fleet/key", desk.key, methods=["GET"]),
        Route("/fleet/keys", desk.keys, methods=["GET"]),
        Route("/fleet/keys", desk.new_key, methods=["POST"]),
        Route("/fleet/keys/retire", desk.retire, methods=["POST"]),
        Route("/fleet/state", desk.state, methods=["GET"]),
        Route("/fleet/hosts.json", desk.hosts, methods=["GET"]),
        Route("/fleet/about/{host}", desk.about, methods=["GET"]),
        Route("/fleet/history", desk.history, methods=["GET"]),
        Route("/fleet/source", desk.check, methods=["POST"]),
        Route("/fleet/versions", desk.publish, methods=["POST"]),
        Route("/fleet/versions/{number}", desk.version, methods=["GET"]),
        Route("/fleet/overrides", desk.override, methods=["POST"]),
        Route("/fleet/overrides/unset", desk.unset, methods=["POST"]),
        Route("/fleet/rollouts", desk.start, methods=["POST"]),
        Route("/fleet/rollouts/{number}/{action}", desk.steer, methods=["POST"]),
    ]


__all__ = ["Desk", "door_of", "routes"]
