"""Who may come in, until sign-on is built: only this machine.

A guard is an async function of the request that raises `Forbidden`; `asgi(work, guard=…)` takes another one.
The default looks at four things, because "it listens on 127.0.0.1" is not enough: the address of the peer (a
proxy or `--host 0.0.0.0` may bring strangers), the Host header (a foreign page can rebind its own name to
127.0.0.1), for what changes something, where the page stands that sent it (any page may post to localhost), and
whether a page of another site embeds what is here.
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Awaitable, Callable
from typing import TypeAlias
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from boxwork.errors import Forbidden

Guard: TypeAlias = Callable[[HTTPConnection], Awaitable[None]]

_READS = frozenset({"GET", "HEAD", "OPTIONS"})


@functools.lru_cache(maxsize=4096)  # asked twice for every request, and parsing an address takes 10 µs
def is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost" or address.endswith(".localhost")


def host_name(netloc: str) -> str:
    """The host in `host[:port]`, without the brackets of IPv6."""
    try:
        return (urlsplit(f"//{netloc}").hostname or "").rstrip(".")
    except ValueError:
        return ""


@functools.lru_cache(maxsize=4096)  # asked for every hot answer; parsing two addresses takes 4 µs, as much as the rest
def local_peer(peer: str, host: str) -> bool:
    """The part of `loopback_only` that concerns reading something public: who asks, and by which name."""
    return is_loopback(peer) and is_loopback(host_name(host))


async def loopback_only(connection: HTTPConnection) -> None:
    """Peers on this machine, that call it by a local name, and whose page stands here too."""
    client = connection.client
    if client is None or not is_loopback(client.host):
        raise Forbidden(
            f"only this machine may come in, not {client.host if client else 'an unknown address'};"
            " give asgi(work, guard=…) a guard of your own, or reach it through ssh -L"
        )
    host = connection.headers.get("host", "")
    if not is_loopback(host_name(host)):
        raise Forbidden(f"this server goes by localhost or 127.0.0.1, not by {host[:80]!r}", host=host[:80])
    headers = connection.headers
    if connection.scope.get("method", "GET") in _READS and connection.scope["type"] == "http":
        # A link from anywhere may lead here, but a foreign page may not embed what is here: whether a picture loads
        # would tell it whether this person has that picture.
        if headers.get("sec-fetch-site") == "cross-site" and headers.get("sec-fetch-mode") != "navigate":
            raise Forbidden("a page of another site may not embed what is here")
        return
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != host:
        raise Forbidden(f"a page of {origin[:80]!r} may not change anything here", origin=origin[:80])
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise Forbidden("a page of another site may not change anything here")


async def anyone(connection: HTTPConnection) -> None:
    """No check: for an application that mounts this one behind its own."""
