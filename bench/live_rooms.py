"""How long until 5,000 people in one room see a comment, at 200 comments a second, beside `send_text` to each?

One node, one process, one room.  Comments are calls of members over their sockets, so a delivery's time goes from the
moment a member sends until another's socket has it: transaction, sync, log, frame and all.  The peer is a Starlette
application under the same uvicorn that keeps nothing and sends what comes to everybody, one `send_text` after the
other, as the documentation of many frameworks shows it.  Clients are in processes of their own; all of their sockets
are read, and the times of one in fifty.

    python bench/live_rooms.py [--quick]
"""

from __future__ import annotations

import base64
import contextlib
import json
import multiprocessing
import os
import select
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench._report import report

QUICK = "--quick" in sys.argv
MEMBERS = 500 if QUICK else 5000
PER_S = 200
SECONDS = 4 if QUICK else 10
CLIENTS = 2
SPEAKERS = 20  # of each client: 5 comments a second each
SAMPLED = 50


# --- servers


def serve_ours(folder: str) -> None:
    import boxwork
    from boxwork import Pack, Rooms, transaction
    from boxwork.serve.server import Server, asgi, bind

    @transaction
    def say(tx: Any, room: str, text: str) -> int:
        number: int = tx.get(("bench", room, "next"), 0)
        tx.put(("bench", room, "next"), number + 1)
        tx.put(("bench", room, "comment", number), ("0123456789abcdef", "somebody", text))
        return number

    def shows(facts: Any, fields: Any) -> list[Any]:
        return []

    rooms = Rooms("bench/{room}", ("bench", "{room}"), calls=(say,), shows=shows)
    pack = Pack("benchroom", "One room.", inner=(say,), rooms=(rooms,))
    with boxwork.open(folder, packs=(pack,), settings={"live.ping_s": 60.0}) as work:
        server = Server(asgi(work), bind("127.0.0.1", 0, 1), work.settings)
        server.run(lambda url: print(url, flush=True))


def serve_plain(folder: str) -> None:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.routing import WebSocketRoute
    from starlette.websockets import WebSocket, WebSocketDisconnect

    members: set[WebSocket] = set()

    async def visit(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.receive_text()
        members.add(websocket)
        await websocket.send_text('{"kind":"joined"}')
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):
            while True:
                text = json.loads(await websocket.receive_text())["inputs"]["text"]
                told = json.dumps({"kind": "frame", "text": text})
                for member in list(members):
                    await member.send_text(told)
        members.discard(websocket)

    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    app = Starlette(routes=[WebSocketRoute("/rooms/bench/one", visit)])
    config = uvicorn.Config(app, log_config=None, access_log=False, ws_per_message_deflate=False, ws_ping_interval=60)
    uvicorn.Server(config).run(sockets=[listener])


# --- clients


def masked(text: str) -> bytes:
    """One message of a client; a mask of zeros is a mask."""
    data = text.encode()
    head = b"\x81%c" % (0x80 | len(data)) if len(data) < 126 else b"\x81\xfe" + len(data).to_bytes(2, "big")
    return head + b"\0\0\0\0" + data


def join(port: int) -> socket.socket:
    line = socket.create_connection(("127.0.0.1", port), timeout=30)
    key = base64.b64encode(os.urandom(16)).decode()
    line.sendall(
        f"GET /rooms/bench/one HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    data = b""
    while b"\r\n\r\n" not in data:
        data += line.recv(4096)
    assert b" 101 " in data, data
    line.sendall(masked('{"hello": {}}'))
    while b"joined" not in data:
        data += line.recv(4096)
    line.setblocking(False)
    return line


def client(port: int, members: int, go: Any, ready: Any, results: Any) -> None:
    lines = [join(port) for _ in range(members)]
    ready.release()
    go.wait(120)
    poll = select.epoll()
    by_number = {line.fileno(): (line, number % SAMPLED == 0) for number, line in enumerate(lines)}
    for number in by_number:
        poll.register(number, select.EPOLLIN)
    began = time.perf_counter()
    sent = 0
    count = frames = 0
    took: list[float] = []
    marks = dict.fromkeys(by_number, b"")
    padding = "x" * 80
    while (now := time.perf_counter()) < began + SECONDS + 3:
        due = int(min(now - began, SECONDS) * PER_S / CLIENTS)
        while sent < due:
            text = f"at {time.perf_counter_ns()} {padding}"
            message = json.dumps({"call": "say", "id": f"{sent}", "inputs": {"text": text}})
            with contextlib.suppress(BlockingIOError):
                lines[sent % SPEAKERS].send(masked(message))
            sent += 1
        for number, _ in poll.poll(0.005):
            line, is_sampled = by_number[number]
            try:
                data = line.recv(1 << 18)
            except OSError:
                continue
            count += len(data)
            if is_sampled:
                at = time.perf_counter_ns()
                whole = marks[number] + data
                *told, rest = whole.split(padding.encode())
                marks[number] = rest[-200:]
                for piece in told:
                    frames += 1
                    took.append((at - int(piece.rsplit(b"at ", 1)[1])) / 1e6)
    results.put((sent, count, frames, took, sum(sampled for _, sampled in by_number.values())))


def memory_mb(pid: int) -> float:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.split("VmRSS:")[1].split()[0]) / 1024


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run(kind: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, f"--serve={kind}", folder]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            try:
                port = int(server.stdout.readline().rsplit(":", 1)[1])
                empty = memory_mb(server.pid)
                context = multiprocessing.get_context("spawn")
                go, ready, results = context.Event(), context.Semaphore(0), context.Queue()
                share = MEMBERS // CLIENTS
                clients = [
                    context.Process(target=client, args=(port, share, go, ready, results)) for _ in range(CLIENTS)
                ]
                for one in clients:
                    one.start()
                for _ in clients:
                    assert ready.acquire(timeout=100), "the clients are not in the room"
                time.sleep(2)  # the count of who is here settles
                full, before = memory_mb(server.pid), cpu_s(server.pid)
                go.set()
                told = [results.get(timeout=SECONDS + 60) for _ in clients]
                used, peak = cpu_s(server.pid) - before, memory_mb(server.pid)
            finally:
                server.kill()
                for one in clients:
                    one.join(5)
    took = sorted(value for one in told for value in one[3])
    sent, frames, sampled = (sum(one[place] for one in told) for place in (0, 2, 4))
    return {
        "sent": sent,
        "delivered_part": frames / (sent * sampled),
        "p50": statistics.median(took),
        "p99": took[int(len(took) * 0.99)],
        "per_s": frames / sampled * MEMBERS / (SECONDS + 3),
        "memory_mb": full - empty,
        "peak_mb": peak - empty,
        "cpu_us": used / max(1, frames / sampled * MEMBERS) * 1e6,
    }


def main() -> None:
    ours, plain = run("ours"), run("plain")
    more = {
        "members": MEMBERS, "comments_per_s": PER_S,
        **{f"ours_{name}": round(value, 3) for name, value in ours.items()},
        **{f"plain_{name}": round(value, 3) for name, value in plain.items()},
    }  # fmt: skip
    peer = "send_text to each"
    report(name="live.rooms.p50", value=ours["p50"], unit="ms", peer=peer, peer_value=plain["p50"], **more)
    report(name="live.rooms.p99", value=ours["p99"], unit="ms", peer=peer, peer_value=plain["p99"])
    report(name="live.rooms.deliveries", value=ours["per_s"], unit="/s", peer=peer, peer_value=plain["per_s"])
    report(name="live.rooms.cpu", value=ours["cpu_us"], unit="us", peer=peer, peer_value=plain["cpu_us"])
    report(name="live.rooms.memory", value=ours["memory_mb"], unit="MB", peer=peer, peer_value=plain["memory_mb"])


if __name__ == "__main__":
    kind = next((one.partition("=")[2] for one in sys.argv if one.startswith("--serve=")), "")
    if kind:
        {"ours": serve_ours, "plain": serve_plain}[kind](sys.argv[-1])
    else:
        main()
