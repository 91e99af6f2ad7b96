"""`/derive` and `/why`: run a box over named bytes, and say where an output came from."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from boxwork.clock import MILLISECOND_NS, monotonic_ns
from boxwork.errors import DerivationCancelled, NotFound, Timeout
from boxwork.keys import Ref
from boxwork.serve.bodies import ClientLeft, json_reply, read_json
from boxwork.serve.inputs import from_json

T = TypeVar("T")


async def result_of(request: Request, future: Future[T], timeout_s: float) -> T:
    """What the future comes to; when the client hangs up or the time is over, it is cancelled.

    The body must have been read: from then on `receive` has only one thing left to say.
    """
    waited = asyncio.wrap_future(future)
    gone = asyncio.ensure_future(_gone(request))
    both: set[asyncio.Future[Any]] = {waited, gone}
    try:
        done, _ = await asyncio.wait(both, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if waited in done:
            return waited.result()
        if gone in done:
            raise ClientLeft
        raise Timeout(f"it took longer than {timeout_s:g} s (setting serve.derive_s_max); ask again for the rest")
    except asyncio.CancelledError:
        if waited.cancelled():
            raise DerivationCancelled("the derivation was cancelled while it waited; ask again") from None
        raise
    finally:
        gone.cancel()
        if not waited.done():
            waited.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def list_boxes(request: Request) -> Response:
    """`GET /derive`: the boxes there are."""
    boxes = request.app.state.work.offered_boxes
    return json_reply({"boxes": [{"name": name, "summary": _summary(box)} for name, box in sorted(boxes.items())]})


def _summary(box: Any) -> str:
    return (box.__doc__ or "").strip().partition("\n")[0]


async def derive(request: Request) -> Response:
    """`POST /derive/{box}`: inputs as a JSON object; answers with the name of the output and where it is."""
    work = request.app.state.work
    name = request.path_params["box"]
    box = work.offered_boxes.get(name)
    if box is None:
        raise NotFound(f"there is no box {name[:80]!r}; there are: {', '.join(sorted(work.offered_boxes)) or 'none'}")
    inputs = from_json(box, await read_json(request))
    started = monotonic_ns()
    ref = work.peek(box, **inputs)
    outcome = "hit"
    if ref is None:
        outcome = "computed"
        future = work.submit(box, **inputs)
        ref = await result_of(request, future, work.settings.number("serve.derive_s_max"))
    spent_ns = monotonic_ns() - started
    return json_reply(
        {
            "ref": ref, "key": key_of(work, ref), "outcome": outcome, "bytes": work.size(ref),
            "duration_ms": round(spent_ns / MILLISECOND_NS, 3), "url": f"/blobs/{ref}",
        }
    )  # fmt: skip


def key_of(work: Any, ref: Ref) -> str | None:
    """The key that produced this output, as its explain record has it."""
    try:
        return str(work.why(ref).record.key.hex())
    except NotFound:
        return None


async def why(request: Request) -> Response:
    """`GET /why/{name}`: the explain record of a key (64 hexadecimal digits) or of an output (its ref)."""
    return json_reply(request.app.state.work.why(request.path_params["name"]).as_json())


ROUTES = [
    Route("/derive", list_boxes, methods=["GET"]),
    Route("/derive/{box}", derive, methods=["POST"]),
    Route("/why/{name}", why, methods=["GET"]),
]
