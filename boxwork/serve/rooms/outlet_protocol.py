"""uvicorn's WebSocket protocol, showing its transport to the application.

The one addition: `scope["extensions"]["boxwork.outlet"]` is the protocol itself, so that a room can write one shared
byte string to thousands of connections (docs/decisions/0100).
"""

from __future__ import annotations

from typing import Any

from boxwork.serve.rooms.outlets import EXTENSION


def outlet_protocol() -> type[Any] | None:
    """The class for `uvicorn.Config(ws=…)`; None where uvicorn is not built as this expects."""
    try:
        from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
    except ImportError:
        return None
    if not all(hasattr(WebSocketsSansIOProtocol, name) for name in ("handle_connect", "shutdown", "run_asgi")):
        return None

    class OutletProtocol(WebSocketsSansIOProtocol):
        def handle_connect(self, event: Any) -> None:
            super().handle_connect(event)
            # The task that runs the application was made just now and has not begun.
            scope: Any = getattr(self, "scope", None)
            if scope is not None and hasattr(self, "close_sent"):
                scope["extensions"][EXTENSION] = self

    return OutletProtocol
