"""Connections as outlets of a room: uvicorn's own transport where we have it, ASGI's `send` where we do not.

Through the transport one byte string is shared by all members and a write costs 3 µs; through `send` each member's
message is framed again, which costs 10 to 25 (research/edge.md 2d), so that is for other servers than ours.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import Any

from starlette.types import Scope, Send
from starlette.websockets import WebSocketDisconnect

from boxwork.live.fanout import Parcel

# The name of the extension under which `outlet_protocol` shows its transport to the application.
EXTENSION = "boxwork.outlet"


class TransportOutlet:
    """Through the transport below uvicorn's protocol.  Only whole messages are written, so they cannot mix with its
    pings and closes."""

    def __init__(self, protocol: Any) -> None:
        self.protocol = protocol
        self.closed = False

    def unsent(self) -> int:
        size: int = self.protocol.transport.get_write_buffer_size()
        return size

    def write(self, parcel: Parcel) -> None:
        protocol = self.protocol
        if not protocol.close_sent and not protocol.transport.is_closing():
            protocol.transport.write(parcel.message)

    async def run(self) -> None:
        """Nothing to do: the transport sends by itself."""

    def close(self) -> None:
        self.closed = True
        self.protocol.transport.close()


class SendOutlet:
    """Through ASGI's `send`, one message after another; `run` does it."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._waiting: deque[Parcel] = deque()
        self._bytes = 0
        self._came = asyncio.Event()
        self.closed = False

    def unsent(self) -> int:
        return self._bytes

    def write(self, parcel: Parcel) -> None:
        if not self.closed:
            self._waiting.append(parcel)
            self._bytes += len(parcel.text)
            self._came.set()

    async def send(self, parcel: Parcel) -> None:
        await self._send({"type": "websocket.send", "text": parcel.text.decode()})

    async def run(self) -> None:
        # The other side is gone, or was told goodbye: whoever receives hears it as well.
        with contextlib.suppress(OSError, WebSocketDisconnect, RuntimeError):
            while not self.closed:
                await self._came.wait()
                self._came.clear()
                while self._waiting:
                    parcel = self._waiting.popleft()
                    await self.send(parcel)
                    self._bytes -= len(parcel.text)
            await self._send({"type": "websocket.close", "code": 1013, "reason": "come back"})

    def close(self) -> None:
        self.closed = True
        self._came.set()


def outlet_of(scope: Scope, send: Send) -> TransportOutlet | SendOutlet:
    protocol = scope.get("extensions", {}).get(EXTENSION)
    return SendOutlet(send) if protocol is None else TransportOutlet(protocol)
