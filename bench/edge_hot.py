"""What does one cached thumbnail cost: CPU of the server process for each request, beside the same app's long way?

A client on another core asks for 500 answers of 10 KB, one after another, over 32 kept-alive connections: a page of
pictures never asks for the same one twice, and 5 MB are not in the processor's nearest cache.  The server's CPU time
(user and system, all threads) is read before and after.  Every server is kept on the first core: one that shares the
client's finds all 32 requests waiting each time, which is cheaper for it and is not what a network does.  Rounds are
short and interleaved, so that what else runs falls on all alike, and the median is reported.

`nginx` serves the same bytes with sendfile, where it is installed, once as it usually is set up and once with its files
kept open between requests, its best; thumbor and PocketBase (`_media_peers`) answer a thumbnail that they have kept,
of a size near to it.
"""

from __future__ import annotations

import contextlib
import itertools
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

ROUNDS = 25
REQUESTS = 3_200
# Of what takes fifty times as long: the same share of the time.
REQUESTS_SLOW = 320
PATHS = [f"/hot/{at:03d}" for at in range(500)]
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
pack = boxwork.Pack("bench", "For the bench.", routes=lambda work: [Route("/hot/{at}", hot), Route("/long", cold)])
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


def cpu_ns(processes: list[psutil.Process]) -> int:
    """CPU time of the processes, ended threads included, by the scheduler's clock: /proc only counts hundredths."""
    # the clock of a process, as `clock_getcpuclockid` makes it: see MAKE_PROCESS_CPUCLOCK in the kernel
    return sum(time.clock_gettime_ns(~process.pid << 3 | 2) for process in processes)


def on_the_first_core(processes: list[psutil.Process]) -> None:
    for process in processes:
        for thread in process.threads():
            os.sched_setaffinity(thread.id, {0})


def ask(port: int, paths: list[str], count: int) -> None:
    headers = " HTTP/1.1\r\n" + CHROME.format(port=port)
    requests = itertools.cycle([f"GET {path}{headers}".encode() for path in paths])
    connections = [socket.create_connection(("127.0.0.1", port)) for _ in range(CONNECTIONS)]
    for connection in connections:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # the first answer tells how long they all are
    connections[0].sendall(next(requests))
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
            connection.sendall(next(requests))
        for connection in connections:
            left = length
            while left > 0:
                piece = connection.recv(left)
                assert piece, "the server closed the connection"
                left -= len(piece)
    for connection in connections:
        connection.close()


def measure(processes: list[psutil.Process], port: int, paths: list[str], requests: int) -> float:
    before_ns = cpu_ns(processes)
    ask(port, paths, requests)
    return (cpu_ns(processes) - before_ns) / requests / 1e3


def nginx(folder: Path) -> tuple[subprocess.Popen[bytes], dict[str, int]] | None:
    """The process, and the port of each way to set it up."""
    command = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if command is None:
        return None
    ports = {}
    for way in ("nginx sendfile", "nginx, file kept open"):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            ports[way] = probe.getsockname()[1]
    usual, kept = ports.values()
    (folder / "hot").mkdir()
    for path in PATHS:
        (folder / path[1:]).write_bytes(BODY)
    location = "location / { add_header Cache-Control 'public, max-age=31536000, immutable'; }"
    (folder / "nginx.conf").write_text(
        f"daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/log; events {{}}\n"
        f"http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 10000000; types {{ }}\n"
        f"default_type image/webp; root {folder};\n"
        f"server {{ listen 127.0.0.1:{usual}; {location} }}\n"
        f"server {{ listen 127.0.0.1:{kept}; open_file_cache max=1000; {location} }} }}\n"
    )
    process = subprocess.Popen(
        [command, "-e", str(folder / "log"), "-c", str(folder / "nginx.conf"), "-p", str(folder)]
    )
    time.sleep(0.5)
    return process, ports


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
        costs: dict[str, list[float]] = {}
        try:
            servers = {"hot": (process, port, PATHS, REQUESTS), "long": (process, port, ["/long"], REQUESTS_SLOW)}
            if other is not None:
                worker = psutil.Process(other[0].pid).children()
                servers |= {way: (worker, at, PATHS, REQUESTS) for way, at in other[1].items()}
            servers |= {name: (*peer, [path], REQUESTS_SLOW) for name, (*peer, path) in media.items()}
            cores = os.sched_getaffinity(0)
            os.sched_setaffinity(0, {1})
            for processes, at, paths, _ in servers.values():
                for start in range(0, len(paths), CONNECTIONS):  # whoever has a hot path finds them on it from now on
                    ask(at, paths[start:], CONNECTIONS)
                on_the_first_core(processes)
            for _ in range(ROUNDS):
                for name, (processes, at, paths, requests) in servers.items():
                    costs.setdefault(name, []).append(measure(processes, at, paths, requests))
            os.sched_setaffinity(0, cores)
        finally:
            stack.close()
            ours.terminate()
            ours.wait(20)
            if other is not None:
                other[0].terminate()
                other[0].wait(20)
    hot = statistics.median(costs.pop("hot"))
    for name, found in costs.items():
        report(name="edge.hot_cpu", value=hot, unit="us", peer={"long": "long way"}.get(name, name),
               peer_value=statistics.median(found))  # fmt: skip


if __name__ == "__main__":
    main()
