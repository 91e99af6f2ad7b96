"""Signed links: whoever has one may read what it points to, until it expires; for people without an account.

    /thumbs/320/<ref>.webp?key=6f0c21aa&until=1767225600&signature=4be0…

The signature covers path and query, so nothing in it can be changed.  It is made with the newest key of a ring, the
file `keys/LINKS` (0600): a line for each key with its id, the key and when it was made.  `rotate` adds a key, and
links of the ones before stay good; `rotate(forget=True)` ends them all at once.

    POST /links        {"path": "/thumbs/320/….webp", "seconds": 86400}   the link; at this machine only
    POST /links/keys   {"forget": false}                                  a new key signs from now on

With `serve.signed_links`, strangers may come in by such a link and no other way.
"""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path
from typing import Any, NamedTuple

import anyio
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from boxwork.clock import SECOND_NS, Clock
from boxwork.content.store import storage_error
from boxwork.content.syncing import sync_directory
from boxwork.errors import BadInput, Forbidden, FormatError
from boxwork.keys import is_signed, link_signature
from boxwork.serve.bodies import json_reply, read_json
from boxwork.serve.guard import Guard, local_peer, loopback_only

FILE = "LINKS"
HEAD = "boxwork-links 1\n"
KEY_BYTES = 32
ID_BYTES = 4
# The longest life of a link.  Unit: seconds.  Reason: a key that was replaced a year ago can be dropped.
LIFE_S_MAX = 366 * 24 * 3600
# What is signed is an address.  Unit: characters.
TARGET_LENGTH_MAX = 2000

_LINE = re.compile(r"([0-9a-f]{8}) ([0-9a-f]{64}) (\d{1,12})")
_SIGNED = re.compile(r"(?:(.*)&)?key=([0-9a-f]{8})&until=([1-9]\d{0,11})&signature=([0-9a-f]{32})", re.ASCII)


class LinkKey(NamedTuple):
    id: str
    key: bytes
    made_s: int

    def __repr__(self) -> str:
        return f"LinkKey(id={self.id})"


class Links:
    """Makes and checks links of one data directory.  Safe from many threads; other processes may rotate the keys."""

    def __init__(self, directory: Path, clock: Clock) -> None:
        self.path = directory / FILE
        self._clock = clock
        self._lock = threading.Lock()
        self._ring: tuple[LinkKey, ...] = ()
        self._facts: tuple[int, int, int] | None = None

    def _now_s(self) -> int:
        return self._clock.now_ns() // SECOND_NS

    def sign(self, target: str, seconds: int) -> str:
        """`target` (a path, maybe with a query) as a link that is good for so long.  The first one makes a key."""
        if not 0 < seconds <= LIFE_S_MAX:
            raise BadInput(f"a link is good for 1 to {LIFE_S_MAX} seconds, not {seconds}")
        clean = target.startswith("/") and target.isascii() and target.isprintable() and " " not in target
        if not clean or "#" in target or len(target) > TARGET_LENGTH_MAX:
            raise BadInput(f"{target[:80]!r} is no address of this server: it begins with / and is URL-encoded")
        with self._lock:
            ring = self._read() or self._write((self._made(),))
        newest = ring[-1]
        until_s = self._now_s() + seconds
        joint = "&" if "?" in target else "?"
        return f"{target}{joint}key={newest.id}&until={until_s}&signature={link_signature(newest.key, target, until_s)}"

    def check(self, path: str, query: str) -> None:
        """Raises `Forbidden` unless this is a link that was signed here and is still good.  `path` is URL-encoded."""
        found = _SIGNED.fullmatch(query)
        if found is None:
            raise Forbidden("only this machine may come in, or somebody with a signed link")
        with self._lock:
            keys = {known.id: known.key for known in self._read()}
        key = keys.get(found[2])
        until_s = int(found[3])
        target = path if found[1] is None else f"{path}?{found[1]}"
        if key is None or not is_signed(key, target, until_s, found[4]):
            raise Forbidden("this link was not signed here, has been changed, or its key has been replaced")
        if self._now_s() >= until_s:
            raise Forbidden("this link has expired: ask for a new one")

    def rotate(self, *, forget: bool = False) -> str:
        """A new key signs from now on; its id.  With `forget`, every link there is ends now."""
        with self._lock:
            oldest_s = self._now_s() - LIFE_S_MAX
            ring = self._read()
            # A key's links end a year after the next key was made.
            kept = [key for at, key in enumerate(ring) if at + 1 == len(ring) or ring[at + 1].made_s > oldest_s]
            return self._write((*(() if forget else kept), self._made()))[-1].id

    def _made(self) -> LinkKey:
        return LinkKey(self._clock.token(ID_BYTES), bytes.fromhex(self._clock.token(KEY_BYTES)), self._now_s())

    def _read(self) -> tuple[LinkKey, ...]:
        """The ring, read again when the file is another one: asking costs 2 us."""
        try:
            status = os.stat(self.path)
            facts = (status.st_ino, status.st_mtime_ns, status.st_size)
            if facts != self._facts:
                self._ring = self._parse(self.path.read_text("ascii"))
                self._facts = facts
        except FileNotFoundError:
            self._ring, self._facts = (), None
        except UnicodeDecodeError:
            raise self._damaged() from None
        except OSError as reason:
            raise storage_error(self.path, reason) from reason
        return self._ring

    def _parse(self, text: str) -> tuple[LinkKey, ...]:
        lines = [_LINE.fullmatch(line) for line in text.removeprefix(HEAD).splitlines()]
        if not text.startswith(HEAD) or None in lines:
            raise self._damaged()
        return tuple(LinkKey(line[1], bytes.fromhex(line[2]), int(line[3])) for line in lines if line)

    def _damaged(self) -> FormatError:
        return FormatError(
            f"{self.path} is no ring of keys, or is damaged: restore it, or remove it and all links end",
            path=str(self.path),
        )

    def _write(self, ring: tuple[LinkKey, ...]) -> tuple[LinkKey, ...]:
        unfinished = self.path.with_name(f".{FILE}.{self._clock.token(8)}")
        text = HEAD + "".join(f"{key.id} {key.key.hex()} {key.made_s}\n" for key in ring)
        try:
            self.path.parent.mkdir(mode=0o700, exist_ok=True)
            with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(unfinished, self.path)
            sync_directory(self.path.parent)
        except OSError as reason:
            unfinished.unlink(missing_ok=True)
            raise storage_error(self.path, reason) from reason
        self._facts = None
        return ring


def local_or_signed(links: Links) -> Guard:
    """This machine as ever; anybody else for reading what a signed link points to."""

    async def guard(connection: HTTPConnection) -> None:
        try:
            await loopback_only(connection)
        except Forbidden:
            scope = connection.scope
            if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
                raise
            links.check(scope["raw_path"].decode("latin-1"), scope["query_string"].decode("latin-1"))

    return guard


def _local(request: Request) -> Links:
    if not local_peer(request.client.host if request.client else "", request.headers.get("host", "")):
        raise Forbidden("links are made at this machine")
    links: Links = request.app.state.links
    return links


async def post_link(request: Request) -> Response:
    """`POST /links`: a link that lets anybody read one address, until it expires."""
    links, given = _local(request), await read_json(request)
    path, seconds = (given.get(name) if isinstance(given, dict) else None for name in ("path", "seconds"))
    if not isinstance(path, str) or type(seconds) is not int:
        raise BadInput('say what to sign as {"path": "/blobs/sha256:…", "seconds": 86400}')
    target = request.scope.get("root_path", "") + path
    link = await anyio.to_thread.run_sync(links.sign, target, seconds, limiter=request.app.state.threads)
    return json_reply({"url": link}, 201)


async def post_key(request: Request) -> Response:
    """`POST /links/keys`: a new key signs from now on; with `forget`, every link there is ends now."""
    links, given = _local(request), await read_json(request)
    forget: Any = given.get("forget", False) if isinstance(given, dict) else None
    if not isinstance(forget, bool):
        raise BadInput('say {"forget": false} to keep the links there are, {"forget": true} to end them')
    key = await anyio.to_thread.run_sync(lambda: links.rotate(forget=forget), limiter=request.app.state.threads)
    return json_reply({"key": key}, 201)


ROUTES: list[BaseRoute] = [
    Route("/links", post_link, methods=["POST"]),
    Route("/links/keys", post_key, methods=["POST"]),
]
