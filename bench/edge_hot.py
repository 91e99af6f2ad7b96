"""What does one cached thumbnail cost: CPU of the server process for each request, beside the same app's long way?

A client on another core asks for one 10 KB answer over 32 kept-alive connections; the server's CPU time (user and
system, all threads) is read before and after.  Rounds are interleaved, the median is reported.  `nginx` serves the
same bytes with sendfile, where it is installed; thumbor and PocketBase (`_media_peers`) answer a thumbnail that they
have kept, of a size near to it.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

ROUNDS = 5
REQUESTS = 20_000
CONNECTIONS = 32
BODY = os.urandom(10_000)

SERVER = """
import sys
from starlette.responses import Response
from starlette.routing import Route
import boxwork
from boxwork.serve.http import asgi
from boxwork.serve.server import Server, bind
BODY = sys.stdin.buffer.read(10_000)
HEADERS = {"content-type": "image/webp", "cache-control": "public, max-age=31536000, immutable", "etag": '"v"',
           "x-content-type-options": "nosniff"}
async def hot(request):
    request.app.state.hot.offer(request.scope["raw_path"], "/hot", '"v"', HEADERS, BODY)
    return Response(BODY, 200, HEADERS)
async def cold(request):
    return Response(BODY, 200, HEADERS)
pack = boxwork.Pack("bench", "For the bench.", routes=lambda work: [Route("/hot", hot), Route("/long", cold)])
with boxwork.open(sys.argv[1], packs=[pack]) as work:
    server = Server(asgi(work), bind("127.0.0.1", 0, 1), work.settings)
    server.run(lambda url: print(url, flush=True))
"""

CHROME = (
    'Host: 127.0.0.1:{port}\r\nConnection: keep-alive\r\nsec-ch-ua-platform: "Linux"\r\nUser-Agent: Mozilla/5.0 (X11; '
    'Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36\r\nsec-ch-ua: "Chromium";v='
    '"156", "Not)A;Brand";v="8"\r\nsec-ch-ua-mobile: ?0\r\nAccept: image/avif,image/webp,image/apng,image/svg+xml,'
    "image/*,*/*;q=0.8\r\nSec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: image\r\nReferer: "
    "http://127.0.0.1:{port}/\r\nAccept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-US,en;q=0.9\r\n\r\n"
)


def cpu_s(processes: list[psutil.Process]) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def ask(port: int, path: str, count: int) -> None:
    request = (f"GET {path} HTTP/1.1\r\n" + CHROME.format(port=port)).encode()
    connections = [socket.create_connection(("127.0.0.1", port)) for _ in range(CONNECTIONS)]
    for connection in connections:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # the first answer tells how long they all are
    connections[0].sendall(request)
    data = b""
    while b"\r\n\r\n" not in data:
        data += connections[0].recv(65536)
    head, _, _ = data.partition(b"\r\n\r\n")
    assert b" 200 " in head, head
    told = re.search(rb"(?i)content-length: *(\d+)", head)
    assert told is not None, head
    length = len(head) + 4 + int(told[1])
    while len(data) < length:
        data += connections[0].recv(65536)
    for _ in range(count // CONNECTIONS):
        # all at once, so that the server finds several readable at a time, as under load
        for connection in connections:
            connection.sendall(request)
        for connection in connections:
            left = length
            while left > 0:
                piece = connection.recv(left)
                assert piece, "the server closed the connection"
                left -= len(piece)
    for connection in connections:
        connection.close()


def measure(processes: list[psutil.Process], port: int, path: str, requests: int = REQUESTS) -> float:
    before = cpu_s(processes)
    ask(port, path, requests)
    return (cpu_s(processes) - before) / requests * 1e6


def nginx(folder: Path) -> tuple[subprocess.Popen[bytes], int] | None:
    command = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if command is None:
        return None
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (folder / "hot").write_bytes(BODY)
    (folder / "nginx.conf").write_text(
        f"daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/log; events {{}}\n"
        f"http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 10000000; types {{ }}\n"
        f"default_type image/webp; server {{ listen 127.0.0.1:{port}; root {folder};\n"
        "location / { add_header Cache-Control 'public, max-age=31536000, immutable'; } } }\n"
    )
    process = subprocess.Popen(
        [command, "-e", str(folder / "log"), "-c", str(folder / "nginx.conf"), "-p", str(folder)]
    )
    time.sleep(0.5)
    return process, port


@contextlib.contextmanager
def media_peers(folder: Path) -> Iterator[dict[str, tuple[list[psutil.Process], int, str]]]:
    """Process, port and path of a kept thumbnail, by peer; those that are installed."""
    from _media_peers import pocketbase, program, thumbor
    from edge_thumbs import photo

    with contextlib.ExitStack() as stack:
        original = folder / "originals" / "photo.jpg"
        original.parent.mkdir()
        original.write_bytes(photo(1633, 1225))
        found = {}
        if program("thumbor"):
            pid, url = stack.enter_context(thumbor(original.parent, folder / "thumbor"))
            found["thumbor"] = (pid, f"{url}/unsafe/320x0/filters:format(webp)/photo.jpg")
        if program("pocketbase"):
            pid, asks = stack.enter_context(pocketbase([original], folder))
            found["PocketBase"] = (pid, asks[0])
        yield {
            name: ([psutil.Process(pid)], int(url.split(":")[2].split("/")[0]), "/" + url.split("/", 3)[3])
            for name, (pid, url) in found.items()
        }


def main() -> None:
    from _report import report

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        ours = subprocess.Popen([sys.executable, "-c", SERVER, str(folder / "data")], stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE)  # fmt: skip
        assert ours.stdin is not None
        assert ours.stdout is not None
        ours.stdin.write(BODY)
        ours.stdin.close()
        port = int(ours.stdout.readline().decode().strip().rsplit(":", 1)[1])
        process = [psutil.Process(ours.pid)]
        other = nginx(folder)
        stack = contextlib.ExitStack()
        media = stack.enter_context(media_peers(folder))
        costs: dict[str, list[float]] = {"hot": [], "long": [], "nginx": [], **{name: [] for name in media}}
        try:
            os.sched_setaffinity(ours.pid, {0})
            os.sched_setaffinity(0, {1})
            ask(port, "/hot", 100)
            for _ in range(ROUNDS):
                costs["hot"].append(measure(process, port, "/hot"))
                costs["long"].append(measure(process, port, "/long"))
                if other is not None:
                    family = [psutil.Process(other[0].pid), *psutil.Process(other[0].pid).children()]
                    costs["nginx"].append(measure(family, other[1], "/hot"))
                for name, (processes, media_port, path) in media.items():
                    costs[name].append(measure(processes, media_port, path, REQUESTS // 31))
        finally:
            stack.close()
            ours.terminate()
            ours.wait(20)
            if other is not None:
                other[0].terminate()
                other[0].wait(20)
    hot = statistics.median(costs["hot"])
    long = statistics.median(costs["long"])
    report(name="edge.hot_cpu", value=hot, unit="us", peer="long way", peer_value=long)
    if costs["nginx"]:
        report(name="edge.hot_cpu", value=hot, unit="us", peer="nginx sendfile",
               peer_value=statistics.median(costs["nginx"]))  # fmt: skip
    for name in media:
        report(name="edge.hot_cpu", value=hot, unit="us", peer=name, peer_value=statistics.median(costs[name]))


if __name__ == "__main__":
    main()
