"""Which machines may ask: each host has a token of its own, which opens its own addresses and no others.

A token is the fleet's signature over the host's name, so the server keeps no list of them.  Good are those by a key in
use, and those by a retired one until its grace is over; a host fetches the next one by itself (`agent_token`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote

# What precedes a name where it is signed, so that a token is never a document's signature.
TAG = b"boxwork.fleet.host.1\0"
PREFIX = "/fleet/hosts/"
# Tokens that were found right, so that a signature is checked once a host.  Unit: hosts.
KNOWN_MAX = 20_000


class Right(NamedTuple):
    """A token that was found right: among which keys, and until when (None: as long as those are the keys)."""

    token: str
    keys: Mapping[str, int | None]
    until_ns: int | None


def token_of(private: bytes, host: str) -> str:
    """What `host` shows as `Authorization: Bearer …`."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(private).sign(TAG + host.encode()).hex()


def is_by(public: bytes, host: str, token: str) -> bool:
    """Is it a token of `host`, made with the private half of this key."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(public).verify(bytes.fromhex(token), TAG + host.encode())
    except (InvalidSignature, ValueError):
        return False
    return True


def door_of(work: Any) -> Callable[[Any], bool]:
    """Does this connection ask for a host's own address with that host's token."""
    known: dict[str, Right] = {}

    def door(connection: Any) -> bool:
        path: str = connection.scope["path"].removeprefix(connection.scope.get("root_path", ""))
        if not path.startswith(PREFIX):
            return False
        # Every request of every pack comes by here, so the headers are looked through as they are.
        given = next((value for name, value in connection.scope["headers"] if name == b"authorization"), b"")
        if not given.startswith(b"Bearer "):
            return False
        host = unquote(path[len(PREFIX) :].split("/", 1)[0])
        token = given.removeprefix(b"Bearer ").strip().decode("latin-1")
        keys, now_ns = work.part("fleet").keyring.token_keys, work.clock.now_ns()
        seen = known.get(host)
        if seen is None or seen.token != token or seen.keys is not keys:
            by = next((key for key in keys if is_by(bytes.fromhex(key), host, token)), None)
            if by is None:
                return False
            seen = Right(token, keys, keys[by])
            if len(known) < KNOWN_MAX or host in known:
                known[host] = seen
        return seen.until_ns is None or now_ns < seen.until_ns

    return door
