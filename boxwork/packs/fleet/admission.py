"""Which machines may ask: each host has a token of its own, which opens its own addresses and no others.

A token is the fleet's signature over the host's name, so the server keeps no list of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from boxwork.packs.fleet import protocol

# What precedes a name where it is signed, so that a token is never a document's signature.
TAG = b"boxwork.fleet.host.1\0"
PREFIX = "/fleet/hosts/"
# Tokens that were found right, so that a signature is checked once a host.  Unit: hosts.
KNOWN_MAX = 20_000


def token_of(private: bytes, host: str) -> str:
    """What `host` shows as `Authorization: Bearer …`."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(private).sign(TAG + host.encode()).hex()


def door_of(work: Any) -> Callable[[Any], bool]:
    """Does this connection ask for a host's own address with that host's token."""
    known: dict[str, str] = {}

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
        if known.get(host) == token:
            return True
        if not _is_right(work.part("fleet").private_key, host, token):
            return False
        if len(known) < KNOWN_MAX:
            known[host] = token
        return True

    return door


def _is_right(private: bytes, host: str, token: str) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        key = Ed25519PublicKey.from_public_bytes(protocol.public_key(private))
        key.verify(bytes.fromhex(token), TAG + host.encode())
    except (InvalidSignature, ValueError):
        return False
    return True
