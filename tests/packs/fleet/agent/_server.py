"""A server of configuration that lies on demand: speaks the protocol over a real socket, and breaks it as told.

The real one is tried with the agent in test_walk.py; this one is for what a real one never says.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec

from boxwork import Ref, open_content, tree
from boxwork.packs.fleet.protocol import (
    Desired,
    EffectRule,
    Hook,
    Hooks,
    Parcel,
    Report,
    Signed,
    new_key,
    public_key,
    read_lot,
    read_report,
    read_reports,
    sign,
)

EPOCH = "epoch-1"


class Server:
    """Holds what one host shall be; `say` decides the next version."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.content = open_content(directory / "content")
        self.private = new_key()
        self.key = public_key(self.private)
        self.signed: Signed | None = None
        self.reports: list[Report] = []
        self.asked: list[str] = []
        self.blobs_sent: list[str] = []
        self.tamper: Callable[[Ref, bytes], bytes] = lambda ref, data: data
        self.pack: bytes | None = None
        self.lots: list[list[Ref]] | None = None
        self.parcel = b"\x90"
        self.reports_status = 200
        self.position = 0
        self._changed = threading.Condition()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *arguments: Any) -> None:
                pass

            def do_GET(self) -> None:
                if server.away:
                    self.close_connection = True
                else:
                    server.get(self)

            def do_POST(self) -> None:
                if server.away:
                    self.close_connection = True
                    return
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.path.endswith("/blobs"):
                    server.send_lot(self, body)
                    return
                if server.reports_status != 200 and body != b"[]":
                    answer(self, server.reports_status, b"no")
                    return
                said = [read_report(body)] if self.path.endswith("/reports") else read_reports(body)
                with server._changed:
                    server.reports += said
                    server._changed.notify_all()
                if self.path.endswith("/reports"):
                    answer(self, 200, b'{"ok":true}')
                else:
                    server.get(self)

        self._handler = Handler
        self.come(0)
        self.url = f"http://127.0.0.1:{self.port}"

    def come(self, port: int) -> None:
        self.away = False
        self._http = ThreadingHTTPServer(("127.0.0.1", port), self._handler)
        self._http.daemon_threads = True
        self.port = self._http.server_address[1]
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def go(self) -> None:
        """Nobody listens any more, until `come(server.port)`; connections that are open are cut."""
        self.away = True
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(5)

    def close(self) -> None:
        self.go()
        self.content.close()

    def get(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        if parts.path.endswith("/blobs"):
            if self.pack is None:
                answer(handler, 404, b"{}")
            else:
                answer(handler, 200, self.pack)
            return
        if "/blobs/" in parts.path:
            ref = Ref.parse(parts.path.rpartition("/")[2])
            self.blobs_sent.append(ref)
            answer(handler, 200, self.tamper(ref, self.content.get(ref)))
            return
        query = parse_qs(parts.query)
        digest = query.get("digest", [""])[0]
        self.asked.append(digest)
        with self._changed:
            self._changed.wait_for(lambda: self.signed and self.signed.digest != digest, float(query["wait_s"][0]))
            if self.signed is None:
                answer(handler, 404, b"{}")
            elif self.signed.digest == digest:
                answer(handler, 304, b"")
            else:
                answer(handler, 200, msgspec.msgpack.encode(Parcel(self.signed, msgspec.Raw(self.parcel))))

    def send_lot(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        """Many blobs in one answer, if this server does that."""
        if self.lots is None:
            answer(handler, 404, b"{}")
        else:
            refs = read_lot(body)
            self.lots.append(refs)
            answer(handler, 200, msgspec.msgpack.encode([self.tamper(ref, self.content.get(ref)) for ref in refs]))

    def tree_of(self, files: dict[str, bytes | str]) -> Ref:
        """A tree with these files; a text is the target of a symbolic link."""
        folder = self.directory / f"tree-{len(list(self.directory.iterdir()))}"
        for name, data in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(data, str):
                path.symlink_to(data)
            else:
                path.write_bytes(data)
        folder.mkdir(exist_ok=True)
        return tree.commit(self.content, folder).ref

    def desired(self, files: dict[str, bytes | str] | Ref, **fields: Any) -> Desired:
        self.position += 1
        ref = files if isinstance(files, Ref) else self.tree_of(files)
        fields = {"position": self.position, "release": self.position, "host": "web1", "epoch": EPOCH, **fields}
        return Desired(tree=ref, **fields)

    def say(self, desired: Desired) -> Desired:
        self.send(sign(self.private, desired))
        return desired

    def send(self, signed: Signed) -> None:
        with self._changed:
            self.signed = signed
            self._changed.notify_all()

    def wait_for_report(self, found: Callable[[Report], bool], timeout_s: float = 20.0) -> Report:
        with self._changed:
            assert self._changed.wait_for(lambda: any(map(found, self.reports)), timeout_s), self.reports
            return next(report for report in self.reports if found(report))


def answer(handler: BaseHTTPRequestHandler, status: int, body: bytes) -> None:
    try:
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)
    except (BrokenPipeError, ConnectionResetError):
        handler.close_connection = True


def shell(script: str, deadline_s: float = 10.0) -> Hook:
    return Hook(("/bin/sh", "-c", script), deadline_s)


def logging_hooks(log: Path, health: str = "true") -> Hooks:
    """Hooks that write down that they ran; health is this script, in the directory of the version."""
    return Hooks(
        reload=shell(f"echo reload >> {log}"),
        drain=shell(f"echo drain >> {log}"),
        packages=shell(f'echo "packages $BOXWORK_FLEET_PACKAGES" >> {log}'),
        resume=shell(f"echo resume >> {log}"),
        health=shell(health, 1.0),
    )


RULES = (EffectRule("etc/*", "reload"), EffectRule("etc/kernel.conf", "drain"))
