"""Stores that go wrong on purpose."""

from __future__ import annotations

import os
import pickle
import resource
import signal
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO

from boxwork.content.store import Store, as_file
from boxwork.errors import StorageError
from boxwork.keys import Buffer, Ref

Fault = Callable[[str, Ref | None], None]


class FaultyStore:
    """A store in front of another that can flip bits, cut bytes off, fail, or be slow.

    flip        refs whose bytes come with one bit turned
    cut         refs whose bytes come without the last one
    fail        called with the verb and the ref before each operation; it raises to let that operation fail
    delay_s     seconds that each operation takes longer
    """

    def __init__(self, inner: Store, *, fail: Fault | None = None, delay_s: float = 0.0) -> None:
        self.inner = inner
        self.flip: set[Ref] = set()
        self.cut: set[Ref] = set()
        self.fail = fail
        self.delay_s = delay_s
        self.calls: list[str] = []

    def put(self, data: Buffer, *, durable: bool = True) -> Ref:
        self._before("put", None)
        return self.inner.put(data, durable=durable)

    def put_stream(self, chunks: Iterable[Buffer], *, durable: bool = True, expect: Ref | None = None) -> Ref:
        self._before("put_stream", expect)
        return self.inner.put_stream(chunks, durable=durable, expect=expect)

    def get(self, ref: Ref) -> bytes:
        self._before("get", ref)
        return self._spoil(ref, self.inner.get(ref))

    def open(self, ref: Ref) -> BinaryIO:
        self._before("open", ref)
        if ref in self.flip or ref in self.cut:
            return as_file(self._spoil(ref, self.inner.get(ref)))
        return self.inner.open(ref)

    def size(self, ref: Ref) -> int:
        self._before("size", ref)
        return self.inner.size(ref)

    def has(self, ref: Ref) -> bool:
        self._before("has", ref)
        return self.inner.has(ref)

    def delete(self, ref: Ref) -> bool:
        self._before("delete", ref)
        return self.inner.delete(ref)

    def refs(self) -> Iterator[Ref]:
        self._before("refs", None)
        return self.inner.refs()

    def close(self) -> None:
        self.inner.close()

    def _before(self, verb: str, ref: Ref | None) -> None:
        self.calls.append(verb)
        if self.delay_s:
            time.sleep(self.delay_s)
        if self.fail is not None:
            self.fail(verb, ref)

    def _spoil(self, ref: Ref, data: bytes) -> bytes:
        if ref in self.flip and data:
            middle = len(data) // 2
            data = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
        return data[:-1] if ref in self.cut else data


def failing(*verbs: str, error: Exception | None = None) -> Fault:
    """A fault that lets these verbs fail, always."""

    def fail(verb: str, ref: Ref | None) -> None:
        if verb in verbs:
            raise error or StorageError(f"{verb} fails on purpose")

    return fail


def failing_every(turn: int, error: Exception | None = None) -> Fault:
    """A fault that lets every `turn`-th operation fail."""
    count = 0

    def fail(verb: str, ref: Ref | None) -> None:
        nonlocal count
        count += 1
        if count % turn == 0:
            raise error or StorageError(f"{verb} fails on purpose, being operation {count}")

    return fail


# --- a process that really fails ----------------------------------------------------------------------------------

# The user that owns nothing, on every Linux.
NOBODY = 65534


def in_child(function: Callable[[], Any], *, as_nobody: bool = False, file_bytes_max: int | None = None) -> Any:
    """What `function` returns in a forked child, or the exception it raises there (raised here again).

    `as_nobody` drops root's rights, which ignore modes; for other users it changes nothing.  `file_bytes_max` lets the
    writing of a file beyond that size fail, as a full disk would (the error is EFBIG instead of ENOSPC).
    """
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside threads: the child runs one function
        child = os.fork()
    if child == 0:
        os.close(read)
        try:
            if file_bytes_max is not None:
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes_max, file_bytes_max))
            if as_nobody and os.getuid() == 0:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            answer = True, function()
        except BaseException as failure:
            answer = False, failure
        with os.fdopen(write, "wb") as pipe:
            try:
                pipe.write(pickle.dumps(answer))
            except Exception as failure:
                pipe.write(pickle.dumps((False, RuntimeError(f"{answer!r}: {failure!r}"))))
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    if not said:
        raise RuntimeError("the child died without an answer")
    good, value = pickle.loads(said)
    if good:
        return value
    raise value
