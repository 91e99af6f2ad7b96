"""Request bodies in, JSON out: always limited in size and in patience."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from boxwork.errors import BadInput, BoxworkError, Timeout, TooLarge

# Pieces of an upload are gathered up to this size before they go to the thread that hashes and writes: one
# hand-over costs about 100 µs, hashing 1 MiB about 600.  Unit: bytes.
GATHER_BYTES = 1024 * 1024


class ClientLeft(Exception):
    """The other side hung up in the middle of its body; there is nobody to answer."""


class Body:
    """The body of one request, read at most once."""

    def __init__(self, request: Request, bytes_max: int, idle_s_max: float, setting: str = "") -> None:
        """`setting`: what names the limit, if a setting does."""
        self.request = request
        self.bytes_max = bytes_max
        self.idle_s_max = idle_s_max
        self.setting = setting
        self.read_bytes = 0
        self.more = True
        declared = request.headers.get("content-length", "")
        self.declared_bytes = int(declared) if declared.isascii() and declared.isdigit() else None
        if self.declared_bytes is not None and self.declared_bytes > bytes_max:
            raise self._too_large(self.declared_bytes)

    async def piece(self) -> bytes:
        """About `GATHER_BYTES`, or what is left; empty at the end."""
        pieces: list[bytes] = []
        gathered = 0
        while self.more and gathered < GATHER_BYTES:
            try:
                message = await asyncio.wait_for(self.request.receive(), self.idle_s_max)
            except TimeoutError:
                raise Timeout(
                    f"no byte of the body came for {self.idle_s_max:g} s (setting serve.body_idle_s_max);"
                    f" {self.read_bytes} bytes had come"
                ) from None
            if message["type"] == "http.disconnect":
                raise ClientLeft
            data = message.get("body", b"")
            self.more = message.get("more_body", False)
            gathered += len(data)
            self.read_bytes += len(data)
            if self.read_bytes > self.bytes_max:
                raise self._too_large(self.read_bytes)
            pieces.append(data)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def whole(self) -> bytes:
        pieces = []
        while piece := await self.piece():
            pieces.append(piece)
        return b"".join(pieces)

    def from_thread(self, loop: asyncio.AbstractEventLoop) -> Iterator[bytes]:
        """The pieces, for a blocking reader in another thread: it pulls, so nothing piles up in between."""
        while piece := asyncio.run_coroutine_threadsafe(self.piece(), loop).result():
            yield piece

    def _too_large(self, size: int) -> TooLarge:
        named = f" (setting {self.setting})" if self.setting else ""
        return TooLarge(
            f"the body has at least {size:,} bytes; the limit is {self.bytes_max:,}{named}", bytes_max=self.bytes_max
        )


def body_of(request: Request, setting: str = "serve.body_bytes_max") -> Body:
    """The body under the limit that `setting` names."""
    settings = request.app.state.work.settings
    return Body(request, settings.integer(setting), settings.number("serve.body_idle_s_max"), setting)


async def whole_body(request: Request, bytes_max: int) -> bytes:
    """A small body, for routes that have a limit of their own.  Raises `TooLarge`, `Timeout`."""
    return await Body(request, bytes_max, request.app.state.work.settings.number("serve.body_idle_s_max")).whole()


async def read_json(request: Request) -> Any:
    """The body as JSON.  Raises `BadInput`, `TooLarge`, `Timeout`."""
    data = await body_of(request).whole()
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as fault:
        raise BadInput(f"the body is not JSON: {fault}") from None


def json_reply(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """`value` as JSON; it may change at any time, so nobody keeps it unless `headers` says otherwise."""
    return Response(
        msgspec.json.encode(value, enc_hook=str),
        status,
        {"cache-control": "no-store", **(headers or {})},
        media_type="application/json",
    )


def error_reply(error: BoxworkError, request: str) -> Response:
    """The one shape in which an error leaves the process; the request's id is in it for the log."""
    headers = {"retry-after": "1"} if error.retry == "later" else {}
    if error.status == 405:  # HTTP wants the list in the head too
        headers["allow"] = str(error.details.get("allow", ""))
    told = {**error.as_json(), "request": request}
    try:
        return json_reply(told, error.status, headers)
    except (TypeError, ValueError):  # details that are no JSON: an error must not fail because of its decoration
        return json_reply({**told, "details": {"text": repr(error.details)}}, error.status, headers)
