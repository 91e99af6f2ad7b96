"""What goes over the socket between the owner of the facts and another process of the same machine.

A message is four bytes of length (big-endian) and a MessagePack map.  One connection carries one question at a time;
values are those of the facts, in the form in which the log keeps them, so that what arrives is of the type that was
sent.  An error crosses as its code, message and details; what a function raised itself, as its type and text.
"""

from __future__ import annotations

import builtins
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from boxwork import errors
from boxwork.errors import BoxworkError, FormatError, StateError, TooLarge
from boxwork.settings import MiB
from boxwork.state.values import ANY_DECODER, as_stored, encode_stored, freeze, thaw

# The version of these messages.  A question of another version is refused, and says so.
PROTOCOL = 1
# Below the data directory.
SOCKET = Path("run") / "node.sock"
# One message.  Unit: bytes.  Reason: a fact has at most 4 MiB, and a call a few of them; more is somebody's mistake.
MESSAGE_BYTES_MAX = 64 * MiB
# The kernel's limit of an address, with its zero byte.  Unit: bytes.  Source: unix(7).
_ADDRESS_BYTES_MAX = 108

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(dict[str, Any]).decode
_LENGTH_BYTES = 4


class Left(ConnectionError):
    """The other side has gone."""


def send(connection: socket.socket, message: dict[str, Any]) -> None:
    """Raises `TooLarge` before anything is sent, `Left` if nobody is there to hear it."""
    body = _encode(message)
    if len(body) > MESSAGE_BYTES_MAX:
        raise TooLarge(
            f"a call of {len(body):,} bytes cannot be handed to the owner of the facts; the limit is"
            f" {MESSAGE_BYTES_MAX:,}: keep big bytes in content, and hand in their ref"
        )
    try:
        connection.sendall(len(body).to_bytes(_LENGTH_BYTES, "big") + body)
    except (BrokenPipeError, ConnectionError) as reason:
        raise Left(str(reason)) from reason


def receive(connection: socket.socket) -> dict[str, Any]:
    """The next message.  Raises `Left` at the end, `TimeoutError`, `FormatError` for what is no message."""
    size = int.from_bytes(_exactly(connection, _LENGTH_BYTES), "big")
    if size > MESSAGE_BYTES_MAX:
        raise FormatError(f"a message of {size:,} bytes was announced; the limit is {MESSAGE_BYTES_MAX:,}")
    try:
        return _decode(_exactly(connection, size))
    except msgspec.DecodeError as reason:
        raise FormatError(f"what came over the socket is no message: {reason}") from reason


def _exactly(connection: socket.socket, size: int) -> bytearray:
    data = bytearray(size)
    with memoryview(data) as view:
        at = 0
        while at < size:
            try:
                count = connection.recv_into(view[at:])
            except ConnectionError as reason:
                raise Left(str(reason)) from reason
            if not count:
                raise Left("the connection ended")
            at += count
    return data


@contextmanager
def address_of(path: Path) -> Iterator[str]:
    """`path` as the address of a socket, also where it is longer than an address can be."""
    if len(os.fsencode(path)) < _ADDRESS_BYTES_MAX:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


# --- values


def packed(value: Any) -> bytes:
    """Raises `UnsupportedType` for what could be no fact either."""
    return encode_stored(freeze(value))


def unpacked(raw: bytes) -> Any:
    return thaw(as_stored(ANY_DECODER.decode(raw)))


# --- errors


def _classes(kind: type[BoxworkError]) -> Iterator[type[BoxworkError]]:
    yield kind
    for below in kind.__subclasses__():
        if below.__module__ == errors.__name__:
            yield from _classes(below)


_BY_CODE = {kind.code: kind for kind in _classes(BoxworkError)}


def error_out(error: BaseException) -> dict[str, Any]:
    """What is sent of an error."""
    if isinstance(error, BoxworkError):
        told = error.as_json()
        try:
            details = packed(told["details"])
        except BoxworkError:  # details that are no values: an error must not fail because of its decoration
            details = packed({"text": repr(told["details"])[:1000]})
        return {"code": told["error"], "message": error.message, "details": details}
    try:
        arguments = packed(error.args)
    except BoxworkError:
        arguments = packed((str(error),))
    return {"raised": type(error).__name__, "message": str(error), "arguments": arguments}


def error_in(told: dict[str, Any]) -> BaseException:
    """The error that was sent: of its own class, or, if the function raised a class of its own, a `StateError`."""
    message = str(told.get("message", ""))
    if "code" in told:
        return _BY_CODE.get(told["code"], StateError)(message, **unpacked(told["details"]))
    name = str(told.get("raised", ""))
    kind = getattr(builtins, name, None)
    if isinstance(kind, type) and issubclass(kind, Exception):
        try:
            return kind(*unpacked(told["arguments"]))
        except TypeError:  # one whose arguments are no longer what it takes
            pass
    return StateError(f"the transaction raised {name}: {message}", raised=name)
