"""What goes over the socket between the owner of the facts and another process of the same machine.

A message is four bytes of length (big-endian) and MessagePack.  Values are those of the facts, in the form in which
the log keeps them, so that what arrives is of the type that was sent.  An error crosses as its code, message and
details; what a function raised itself, as its type and text.

Many calls may be under way on one connection.  A message is told by its first byte:

    1         calls of single transactions: the keys of a map, each a `Call`
    2         answers to some of them, in any order: `Answers`
    others    a map: a question of which there are few, `{"protocol": 2, "number": …, "ask": …, …}`, answered by a map
              with the same number.  `use` gives a transaction a number for this connection, and has no answer.

Who is taken in hears `{"hello": 2, …}` before anything else, and need not wait for it.  An owner that closes answers
what it has begun; of the rest it says `{"gone": [numbers]}`.
"""

from __future__ import annotations

import builtins
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from boxwork import errors
from boxwork.errors import BoxworkError, FormatError, StateError, TooLarge
from boxwork.settings import MiB
from boxwork.state.values import (
    ANY_DECODER,
    DECODER_HOOK,
    SMALL,
    VALUE_BYTES_MAX,
    Packed,
    as_stored,
    encode_stored,
    freeze,
    thaw,
)

# The version of these messages.  A question of another version is refused, and says so.
PROTOCOL = 2
# Below the data directory.
SOCKET = Path("run") / "node.sock"
# One message.  Unit: bytes.  Reason: a fact has at most 4 MiB, and a call a few of them; more is somebody's mistake.
MESSAGE_BYTES_MAX = 64 * MiB
# The kernel's limit of an address, with its zero byte.  Unit: bytes.  Source: unix(7).
_ADDRESS_BYTES_MAX = 108
# What is asked of the kernel at once.  Unit: bytes.  Reason: a few hundred calls; for more it is asked again.
READ_BYTES = 64 * 1024

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(dict[str, Any]).decode
LENGTH_BYTES = 4
_CALLS, _ANSWERS = b"\x01", b"\x02"  # no map begins so
CALLS, ANSWERS = _CALLS[0], _ANSWERS[0]


# Its number, the number that `use` gave the transaction, the row; and once, who and lane, where one of them is said.
# They are the keys of a map because a decoder makes tuples of arrays there, all the way down, as rows have them.
Call: TypeAlias = "tuple[int, int, tuple[Any, ...], tuple[str, str, str] | None]"


class Answers(msgspec.Struct, array_like=True, gc=False):
    """What became of some calls that stand in one entry, or of some that stand in none.

    answered   number, index in the entry, answer
    mute       number, index: it was committed, but its answer is of a type that cannot be sent
    failed     number, the error as `error_out` made it
    """

    epoch: int
    version: int
    digest: bytes
    answered: list[tuple[int, int, Any]]
    mute: list[tuple[int, int]]
    failed: list[tuple[int, dict[str, Any]]]


_CALLS_TYPE: Any = dict[tuple[int, int, tuple[Any, ...], tuple[str, str, str] | None], None]
# How a time begins that MessagePack knows by itself, in its three lengths: no hook hears of it.  Source: its
# specification, "Timestamp extension type".
_TIMES = (b"\xd6\xff", b"\xd7\xff", b"\x0c\xff")
_decode_answers = msgspec.msgpack.Decoder(Answers, ext_hook=DECODER_HOOK).decode


class Left(ConnectionError):
    """The other side has gone."""


# --- messages


def framed(body: bytes) -> bytes:
    """Raises `TooLarge`."""
    if len(body) > MESSAGE_BYTES_MAX:
        raise TooLarge(
            f"a call of {len(body):,} bytes cannot be handed to the owner of the facts; the limit is"
            f" {MESSAGE_BYTES_MAX:,}: keep big bytes in content, and hand in their ref"
        )
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


def question(message: dict[str, Any]) -> bytes:
    """A map as a message."""
    return framed(_encode(message))


def as_map(body: bytes) -> dict[str, Any]:
    """Raises `FormatError`."""
    try:
        return _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as reason:
        raise FormatError(f"what came over the socket is no message: {reason}") from reason


def calls_out(calls: dict[Call, None]) -> bytes:
    """Calls as a message; their rows hold stored values.  Raises `TooLarge`."""
    try:
        body = encode_stored(calls)
    except OverflowError:  # an int beyond 64 bits, which no key of a dict can spell: the map by hand
        body = b"\xdf" + len(calls).to_bytes(4, "big") + b"".join(encode_stored(call) + b"\xc0" for call in calls)
    return framed(_CALLS + body)


class CallReader:
    """Reads calls, for one thread.

    is_plain  False if a row that was read since somebody set it may be other than plain (`boxwork.state.values`):
              MessagePack spells nothing but plain values, and what it is told to spell otherwise
    """

    __slots__ = ("_decode", "is_plain")

    def __init__(self) -> None:
        self.is_plain = True
        self._decode = msgspec.msgpack.Decoder(_CALLS_TYPE, ext_hook=self._meet).decode

    def _meet(self, code: int, data: memoryview) -> Any:
        self.is_plain = False
        return DECODER_HOOK(code, data)

    def calls_in(self, body: bytes) -> dict[Call, None]:
        """Raises `FormatError`."""
        if len(body) > VALUE_BYTES_MAX or (b"\xff" in body and any(time in body for time in _TIMES)):
            self.is_plain = False
        try:
            return self._decode(memoryview(body)[1:])  # type: ignore[no-any-return]
        except Exception as reason:  # whatever a stranger's bytes do to the hook of the decoder
            raise FormatError(f"what came over the socket is no call: {reason}") from reason


def answers_out(answers: tuple[Any, ...]) -> bytes:
    """The fields of `Answers` as a message; answers are stored values.  Raises `TooLarge`."""
    return framed(_ANSWERS + encode_stored(answers))


def answers_in(body: bytes) -> Answers:
    """Raises `FormatError`."""
    try:
        return _decode_answers(memoryview(body)[1:])
    except Exception as reason:
        raise FormatError(f"what came over the socket is no answer: {reason}") from reason


class Inbox:
    """Bytes as they come, messages as they are whole.

    wants: so much is worth asking the kernel for
    """

    __slots__ = ("_kept", "_missing", "wants")

    def __init__(self) -> None:
        self._kept = bytearray()
        self._missing = 0  # so many bytes at least until the next message is whole
        self.wants = READ_BYTES

    def take(self, data: bytes) -> Sequence[bytes]:
        """The messages that are whole with `data`.  Raises `FormatError` for a length over the limit, or of nothing."""
        if self._kept:
            self._kept += data
            if len(data) < self._missing:
                self._missing -= len(data)
                return ()
            data, self._kept = bytes(self._kept), bytearray()
            self.wants = READ_BYTES
        elif len(data) == LENGTH_BYTES + int.from_bytes(data[:LENGTH_BYTES], "big") > LENGTH_BYTES:
            return (data[LENGTH_BYTES:],)  # the usual case
        at, size = 0, len(data)
        whole: list[bytes] = []
        while size - at >= LENGTH_BYTES:
            length = int.from_bytes(data[at : at + LENGTH_BYTES], "big")
            if not 0 < length <= MESSAGE_BYTES_MAX:
                raise FormatError(f"a message of {length:,} bytes was announced; the limit is {MESSAGE_BYTES_MAX:,}")
            begin = at + LENGTH_BYTES
            if size - begin < length:
                self._keep(data[at:], length - (size - begin))
                return whole
            at = begin + length
            whole.append(data[begin:at])
        if at < size:
            self._keep(data[at:], LENGTH_BYTES - (size - at))
        return whole

    def _keep(self, data: bytes, missing: int) -> None:
        self._kept += data
        self._missing = missing
        self.wants = min(max(missing, READ_BYTES), MiB)


def connect(path: Path, timeout_s: float) -> socket.socket:
    """Raises `OSError`."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout_s)
        with address_of(path) as address:
            connection.connect(address)
    except BaseException:
        connection.close()
        raise
    return connection


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


def _details_out(details: dict[str, Any]) -> bytes:
    if SMALL.issuperset(map(type, details.values())):  # those of most refusals: what `packed` makes, in less time
        try:
            return encode_stored(Packed(_encode(details)))
        except OverflowError:
            pass
    return packed(details)


def error_out(error: BaseException) -> dict[str, Any]:
    """What is sent of an error."""
    if isinstance(error, BoxworkError):
        details = error.details
        try:
            raw = _details_out(details)
        except BoxworkError:  # details that are no values: an error must not fail because of its decoration
            raw = packed({"text": repr(details)[:1000]})
        return {"code": error.code, "message": error.message, "details": raw}
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
