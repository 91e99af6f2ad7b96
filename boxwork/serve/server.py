"""Runs the application: finds a port, says where, stops within a deadline.

uvicorn does the serving; this file owns the socket, so that the port is known (and taken) before anything is said.
"""

from __future__ import annotations

import errno
import gc
import logging
import os
import signal
import socket
import ssl
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from boxwork.errors import BadInput, Busy, StorageError, Timeout
from boxwork.serve.guard import Guard, loopback_only
from boxwork.serve.http import Edge, asgi
from boxwork.settings import Settings

log = logging.getLogger("boxwork.serve")

# Connections the kernel holds for us while the loop is busy.  Unit: connections.  Source: uvicorn's default.
BACKLOG = 2048

# How long a thread may keep the interpreter while others wait.  Unit: s.  Source: measured on a busy machine, commits
# of 256 callers in one event loop: against Python's 0.005 TPC-C-lite and SmallBank get 1.8 times as many answers,
# likes 1.2; with 16 callers 2.0, 1.4, and likes 0.6 (their batches get smaller).  0.0001 was half as fast as this.
SWITCH_INTERVAL_S = 0.0005

# Objects made before the collector looks for cycles among the youngest.  A request makes a few hundred that are gone
# when it is answered; Python's 700 has it look twice a request, and through everything that was kept since the start
# again and again.  Unit: objects.  Source: measured, a change for 5,000 waiting hosts (bench/fleet.py): 1.5 of 4.7 s of
# CPU time were the collector's with 700, 0.1 with this.
COLLECT_AFTER = 20_000


def tune() -> None:
    """Set the interpreter as it serves, once everything is loaded."""
    # What was loaded up to here stays: the collector need not look at it again (2 to 3 µs a request).
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER, *gc.get_threshold()[1:])
    sys.setswitchinterval(SWITCH_INTERVAL_S)


def bind(host: str, port: int, tried_max: int) -> socket.socket:
    """A listening socket on `port` or the next free one; port 0 lets the system choose."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    last = port
    for last in range(port, min(port + tried_max, 65536)) if port else (0,):
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            # After a restart the old connections linger in TIME_WAIT; another listener is still refused.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, last))
            listener.listen(BACKLOG)
            listener.setblocking(False)
            return listener
        except OSError as fault:
            listener.close()
            if fault.errno == errno.EACCES:
                raise StorageError(f"port {last} of {host} is reserved for root: take one above 1023") from fault
            if fault.errno != errno.EADDRINUSE:
                raise StorageError(f"cannot listen on {host}, port {last}: {fault.strerror}") from fault
    raise Busy(f"the ports {port} to {last} of {host} are all taken (setting serve.ports_tried_max)")


def certificate_of(settings: Settings) -> dict[str, str]:
    """uvicorn's arguments for https; none for http.  Raises `BadInput` for files that are no certificate and key."""
    certificate = settings.text("serve.certificate")
    if not certificate:
        return {}
    key = settings.text("serve.certificate_key") or certificate
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except (OSError, ValueError) as fault:
        raise BadInput(
            f"serve.certificate={certificate} and serve.certificate_key={key} are no certificate with its key in PEM,"
            f" without a passphrase: {fault}"
        ) from None
    return {"ssl_certfile": certificate, "ssl_keyfile": key}


def url_of(listener: socket.socket, scheme: str = "http") -> str:
    host, port = listener.getsockname()[:2]
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


class Server:
    """One application on one socket.  `run` blocks until a signal; `start`/`stop` run it beside the caller."""

    def __init__(self, app: ASGIApp, listener: socket.socket, settings: Settings) -> None:
        self.listener = listener
        certificate: dict[str, Any] = certificate_of(settings)
        self.url = url_of(listener, "https" if certificate else "http")
        self.stop_s_max = settings.number("serve.stop_s_max")
        protocol: Any = "auto"
        sockets: Any = "auto"
        if isinstance(app, Edge):
            from boxwork.serve.held_protocol import held_protocol
            from boxwork.serve.hot_protocol import hot_protocol
            from boxwork.serve.rooms.outlet_protocol import outlet_protocol

            hot = hot_protocol(
                app.state.hot,
                app.clock.token(4),
                head_s_max=settings.number("serve.head_s_max"),
                head_bytes_max=settings.integer("serve.head_bytes_max"),
            )
            protocol = held_protocol(hot, app.state.held, app.clock.token(4)) if hot else "auto"
            sockets = outlet_protocol() or "auto"
        config = uvicorn.Config(
            app,
            http=protocol,
            ws=sockets,
            ws_max_size=settings.integer("live.message_bytes_max"),
            ws_ping_interval=settings.number("live.ping_s"),
            ws_ping_timeout=settings.number("live.pong_s"),
            ws_per_message_deflate=False,  # one byte string is shared by all members of a room
            log_config=None,  # boxwork.journal owns the handlers
            access_log=False,  # every request is in the series `http`, and in the log at level debug
            server_header=False,
            timeout_keep_alive=int(settings.number("serve.keep_alive_s")),
            timeout_graceful_shutdown=int(self.stop_s_max),
            backlog=BACKLOG,
            **certificate,
        )
        self.uvicorn = _Announcing(config)
        if isinstance(app, Edge):
            self.uvicorn.leaving = app.leave
        self._thread: threading.Thread | None = None

    def run(self, ready: Callable[[str], None] | None = None) -> None:
        """Serve until SIGTERM or SIGINT, then finish what runs, within `serve.stop_s_max`."""
        self.uvicorn.ready = (lambda: ready(self.url)) if ready else None
        self.uvicorn.run(sockets=[self.listener])

    def start(self, wait_s: float = 10.0) -> str:
        """Serve in a thread of this process; answers with the URL once requests are taken."""
        started = threading.Event()
        self.uvicorn.ready = started.set
        self._thread = threading.Thread(target=self._run_in_thread, name="boxwork-serve", daemon=True)
        self._thread.start()
        if not started.wait(wait_s):
            raise Timeout(f"the server did not start within {wait_s:g} s; the log says why")
        return self.url

    def _run_in_thread(self) -> None:
        self.uvicorn.run(sockets=[self.listener])

    def stop(self) -> None:
        """End what `start` began; returns when it has ended."""
        self.uvicorn.leave()
        if self._thread is not None:
            self._thread.join(self.stop_s_max + 2)  # 2 s: uvicorn looks at the flag ten times a second
        self.listener.close()


class _Announcing(uvicorn.Server):
    """Says when requests are taken: uvicorn itself only writes a log line."""

    ready: Callable[[], None] | None = None
    leaving: Callable[[], None] | None = None

    def leave(self) -> None:
        """No new requests; those that never end by themselves are told to."""
        self.should_exit = True
        if self.leaving is not None:
            self.leaving()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal asks, a second SIGINT insists.

        uvicorn would raise the signal again when it is done, and that one kills the process before the node is
        closed; here `run` simply returns.
        """
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.leave()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.started:
            tune()
            if self.ready is not None:
                self.ready()


def serve(
    work: Any,
    *,
    host: str | None = None,
    port: int | None = None,
    ready: Callable[[str], None] | None = None,
    guard: Guard = loopback_only,
) -> None:
    """Serve the node until a signal.  `ready` is called with the URL once requests are taken."""
    settings: Settings = work.settings
    wanted = settings.integer("serve.port") if port is None else port
    listener = bind(host or settings.text("serve.host"), wanted, settings.integer("serve.ports_tried_max"))
    server = Server(asgi(work, guard=guard), listener, settings)
    if wanted and listener.getsockname()[1] != wanted:
        log.info("port %d is taken; using the next free one", wanted)
    log.info("serving", extra={"url": server.url, "pid": os.getpid()})
    try:
        server.run(ready)
    finally:
        listener.close()
