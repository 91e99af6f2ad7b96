"""Memory for `recvmmsg` and `sendmmsg`: made once, seen by the kernel as structures and by NumPy as arrays."""

from __future__ import annotations

import ctypes
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from boxwork.clock import SECOND_NS

Times: TypeAlias = npt.NDArray[np.int64]

SO_TIMESTAMPNS = 35  # source: asm-generic/socket.h; the same on x86-64 and arm64
# Room for one control message, that with the time of arrival.  No other is asked for, so what comes back is this
# number again, and nothing has to be made ready for the next call.  Unit: bytes.
CONTROL_BYTES = 32


class Vector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class Header(ctypes.Structure):
    """`struct msghdr` of 64-bit Linux."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("vector", ctypes.POINTER(Vector)),
        ("vector_length", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class Message(ctypes.Structure):
    """`struct mmsghdr`."""

    _fields_ = (("header", Header), ("length", ctypes.c_uint32))


class Slots:
    """Room for `count` datagrams: of each the first `head` bytes, and apart from them up to `rest` more.

    The heads of a batch stand side by side.  Rows with room for whole datagrams would put each on a page of its own,
    and in so few sets of the processor's cache that a batch pushes itself out: 5 to 8 % more for a datagram.
    """

    def __init__(self, count: int, head: int, rest: int = 0) -> None:
        self.heads = np.zeros((count, head), np.uint8)
        self.rests = np.zeros((count, rest), np.uint8)
        self._control = np.zeros((count, CONTROL_BYTES), np.uint8)
        parts = [self.heads, self.rests] if rest else [self.heads]
        self._vectors = (Vector * (count * len(parts)))()
        #: What the system call is given; each message points at its rows of `heads`, `rests` and the control buffers.
        self.messages = (Message * count)()
        vectors = np.frombuffer(memoryview(self._vectors).cast("B"), np.uint64).reshape(count, len(parts), 2)
        for place, part in enumerate(parts):
            vectors[:, place, 0] = _addresses(part)
            vectors[:, place, 1] = part.shape[1]
        each = ctypes.sizeof(Message)
        raw = np.frombuffer(memoryview(self.messages).cast("B"), np.uint8).reshape(count, each)
        _field(raw, Header.vector, np.uint64)[:] = _addresses(vectors)
        _field(raw, Header.vector_length, np.uint64)[:] = len(parts)
        _field(raw, Header.control, np.uint64)[:] = _addresses(self._control)
        self._lengths = _field(raw, Message.length, np.uint32)
        self._control_lengths = _field(raw, Header.control_length, np.uint64)
        # struct cmsghdr: u64 length, i32 level, i32 type, then struct timespec: seconds and nanoseconds
        self._times = self._control[:, 16:32].view(np.int64)
        self._control_lengths[:] = CONTROL_BYTES

    def lengths(self, count: int) -> npt.NDArray[np.uint32]:
        """How long the first `count` datagrams are; a view, true until the next call."""
        return self._lengths[:count]

    def received(self, count: int, now_ns: int) -> Times:
        """When the kernel had each datagram; now, where it does not say.  To be asked once between two calls."""
        # By columns: a product of integer matrices takes twice as long.
        times: Times = self._times[:count, 0] * SECOND_NS
        times += self._times[:count, 1]
        lengths = self._control_lengths[:count]
        if lengths.min() == CONTROL_BYTES:
            return times
        times[lengths < CONTROL_BYTES] = now_ns
        lengths[:] = CONTROL_BYTES
        return times

    def without_control(self) -> None:
        """As a sender wants it: no control messages."""
        self._control_lengths[:] = 0


def _addresses(rows: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
    return rows.ctypes.data + np.uint64(rows.strides[0]) * np.arange(len(rows), dtype=np.uint64)


def _field(raw: npt.NDArray[np.uint8], field: Any, kind: type[np.generic]) -> npt.NDArray[Any]:
    """One field of all messages; a header stands at the beginning of its message."""
    at: int = field.offset
    return raw[:, at : at + np.dtype(kind).itemsize].view(kind)[:, 0]
