"""The inside of a worker process: imports the box, checks that it is the caller's, runs it, answers.

It reads blobs through its parent and writes nothing: what it computed goes back as bytes and is stored there.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import os
import resource
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from typing import Any, BinaryIO

import msgspec

from boxwork.box import Derivation, Terms
from boxwork.clock import monotonic_ns
from boxwork.derive.explain import part_differences
from boxwork.derive.inputs import annotations_of
from boxwork.derive.outputs import OutputCodec
from boxwork.derive.packing import Unpacker
from boxwork.derive.processes import receive, receive_answer, send
from boxwork.derive.turns import ask_for_turns
from boxwork.errors import BlobMissing, BoxworkError
from boxwork.keys import Ref, ref_of_digest

PR_SET_PDEATHSIG = 1  # prctl(2)
# Of a message and a traceback this much goes back.  Unit: characters.
MESSAGE_CHARACTERS_MAX = 500
TRACE_CHARACTERS_MAX = 4000


class ReadThrough:
    """A store over a function that answers with bytes: the parent's end of the socket, or what came with the job."""

    def __init__(self, read: Callable[[bytes], bytes]) -> None:
        self._read = read

    def get(self, ref: Ref) -> bytes:
        return self._read(ref.digest)

    def open(self, ref: Ref) -> BinaryIO:
        import io

        return io.BytesIO(self.get(ref))

    def size(self, ref: Ref) -> int:
        return len(self.get(ref))


def main(descriptor: int) -> None:
    """Answer jobs until the parent goes."""
    _die_with_parent()
    ask_for_turns(0)  # its parent's are short, and inherited
    sock = socket.socket(fileno=descriptor)

    def read(digest: bytes) -> bytes:
        send(sock, msgspec.msgpack.encode(["get", digest]))
        return receive_answer(sock)

    def running() -> None:
        send(sock, msgspec.msgpack.encode(["running"]))

    while True:
        try:
            job = receive(sock)
        except (EOFError, OSError):
            os._exit(0)
        send(sock, msgspec.msgpack.encode(answer(bytes(job), ReadThrough(read), running)))


def run_packed(job: bytes, blobs: dict[bytes, bytes]) -> list[Any]:
    """One job in somebody else's executor; blobs come with it."""

    def read(digest: bytes) -> bytes:
        if digest not in blobs:
            raise BlobMissing(
                f"{ref_of_digest(digest)} did not come with the job: in a foreign executor a box reads"
                " only the blobs it was given, no trees",
                ref=ref_of_digest(digest),
            )
        return blobs[digest]

    return answer(job, ReadThrough(read), lambda: None)


def answer(raw: bytes, store: ReadThrough, running: Callable[[], None]) -> list[Any]:
    """Run one job: ["done", …], ["failed", …], ["skew", …] or ["refused", …].  `running` is told when it begins."""
    job = msgspec.msgpack.decode(raw)
    try:
        box = _find(job)
        skew = _skew(box, job)
        if skew:
            return ["skew", skew]
        unpacker = Unpacker(_class_named, store)
        args, named = unpacker.unpack(job["args"]), unpacker.unpack(job["named"])
        codec = OutputCodec(_returned_by(box.function), store)
    except BoxworkError as error:
        return ["refused", error.message]
    except Exception as error:
        return ["refused", f"a worker could not make ready: {type(error).__name__}: {error}"]
    memory = job["memory_bytes_max"]
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    running()
    started = monotonic_ns()
    try:
        if memory:
            resource.setrlimit(resource.RLIMIT_AS, (_address_space() + memory, hard))
        value = box.function(*args, **named)
        duration = monotonic_ns() - started
    except BaseException as error:  # also SystemExit: a box that calls exit() has failed, not ended its worker
        if memory:
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        trace = "".join(traceback.format_exception(error))[-TRACE_CHARACTERS_MAX:]
        return ["failed", type(error).__name__, str(error)[:MESSAGE_CHARACTERS_MAX], trace]
    if memory:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    try:
        kind, data, ref, refs, type_name = codec.encode(value)
    except BoxworkError as error:
        return ["refused", error.message]
    return ["done", kind, data, ref.digest, [each.digest for each in refs], type_name, duration]


@functools.cache
def _returned_by(function: Callable[..., Any]) -> Any:
    return annotations_of(function).get("return")  # 0.2 ms


def _find(job: dict[str, Any]) -> Derivation[..., Any]:
    found: Any = importlib.import_module(job["module"])
    for name in job["qualname"].split("."):
        found = getattr(found, name)
    if isinstance(found, Derivation):
        return found
    terms: list[Any] = [tuple(field) if isinstance(field, list) else field for field in job["terms"]]
    return Derivation(found, job["name"], Terms(*terms))


def _skew(box: Derivation[..., Any], job: dict[str, Any]) -> str:
    """How the box seen here differs from the caller's; empty if it does not."""
    seen = _fingerprinter(*job["fingerprinter"][:1], *job["fingerprinter"][1]).of(box)
    if seen.digest == job["fingerprint"]:
        return ""
    before = [(name, bytes(digest)) for name, digest in job["parts"]]
    return ", ".join(map(str, part_differences(before, seen.parts))) or "its fingerprint"


@functools.cache
def _fingerprinter(name: str, *roots: str) -> Any:
    module, _, qualname = name.partition(":")
    kind = getattr(importlib.import_module(module), qualname)
    return kind(roots) if roots else kind()


def _class_named(name: str) -> type:
    """A class of the caller's inputs, which are trusted: they come from our own parent."""
    module, _, qualname = name.partition(":")
    found: Any = importlib.import_module(module)
    for part in qualname.split("."):
        found = getattr(found, part)
    return found  # type: ignore[no-any-return]


def _address_space() -> int:
    """Bytes of address space in use: the limit of a run comes on top of what the interpreter has taken."""
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer; it closes the socket
