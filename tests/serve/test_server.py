from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from boxwork.errors import Busy, StorageError
from boxwork.serve.http import asgi
from boxwork.serve.server import Server, bind, url_of

# A node with a box that takes a while, served until a signal; it says when it is ready and when it has closed.
SCRIPT = """
import sys, time
import boxwork
from boxwork.serve.server import serve

@boxwork.derivation
def slow(seconds: float) -> bytes:
    print("running", flush=True)
    time.sleep(seconds)
    return b"done"

with boxwork.open(sys.argv[1], packs=[boxwork.Pack("slow", "For the test.", boxes=(slow,))],
                  settings={"serve.stop_s_max": 1.0}) as work:
    serve(work, port=0, ready=lambda url: print(url, flush=True))
print("closed", flush=True)
"""


def start(tmp_path: Path) -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "data")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def test_the_next_free_port_is_taken() -> None:
    with bind("127.0.0.1", 0, 1) as first:
        port = first.getsockname()[1]
        try:
            with bind("127.0.0.1", port, 20) as second:
                assert port < second.getsockname()[1] < port + 20
        except Busy:
            pytest.skip("twenty ports in a row were taken by others")
        with pytest.raises(Busy, match="ports_tried_max"):
            bind("127.0.0.1", port, 1)


def test_a_port_or_address_that_cannot_be_had_says_why() -> None:
    with pytest.raises(StorageError, match="cannot listen"):
        bind("192.0.2.1", 0, 1)


def test_the_address_of_ipv6_has_brackets() -> None:
    try:
        listener = bind("::1", 0, 1)
    except StorageError:
        pytest.skip("no IPv6 here")
    with listener:
        assert url_of(listener).startswith("http://[::1]:")


def test_sigterm_finishes_what_runs_and_closes_the_node(tmp_path: Path) -> None:
    process, url = start(tmp_path)
    with socket.create_connection(("127.0.0.1", int(url.rsplit(":", 1)[1])), timeout=10) as raw:
        body = b'{"seconds":0.5}'
        raw.sendall(
            b"POST /derive/slow HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "running\n"
        process.send_signal(signal.SIGTERM)
        assert b" 200 " in raw.recv(4096)
    out, _ = process.communicate(timeout=20)
    assert "closed" in out
    assert process.returncode == 0


def test_what_takes_too_long_is_cut_at_the_deadline(tmp_path: Path) -> None:
    process, url = start(tmp_path)
    with socket.create_connection(("127.0.0.1", int(url.rsplit(":", 1)[1])), timeout=20) as raw:
        body = b'{"seconds":4}'
        raw.sendall(
            b"POST /derive/slow HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "running\n"
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        raw.recv(4096)
        assert time.monotonic() - began < 3.5
    process.communicate(timeout=20)


def test_a_server_starts_and_stops_beside_the_caller(work: Any) -> None:
    server = Server(asgi(work), bind("127.0.0.1", 0, 1), work.settings)
    url = server.start()
    assert httpx.get(f"{url}/healthz").json()["status"] == "ok"
    server.stop()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/healthz")
