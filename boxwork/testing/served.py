"""A node behind a real server, for the length of a `with`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from starlette.types import ASGIApp

from boxwork.serve.http import asgi
from boxwork.serve.server import Server, bind


@contextlib.contextmanager
def served(work: Any, app: ASGIApp | None = None, **options: Any) -> Iterator[Server]:
    """Serve `work`, or `app` around it, on a free port of the loopback, in a thread of this process.

    `options` are those of `boxwork.serve.http.asgi`.  Raises what `Server` raises, `Timeout` if it does not start.
    """
    server = Server(app or asgi(work, **options), bind("127.0.0.1", 0, 1), work.settings)
    server.start()
    try:
        yield server
    finally:
        server.stop()
