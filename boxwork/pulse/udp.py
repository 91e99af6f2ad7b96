"""Listens for measured datagrams: one thread that reads in batches and hands arrays on.

Two latencies are kept apart.  `wire` is from the sender's clock to the moment the kernel had the datagram
(SO_TIMESTAMPNS); `reader` is from there until this program saw it.  Under load the second is a thousand times the
first, and without the kernel's time stamp they cannot be told apart.

On Linux `recvmmsg` fetches up to 256 datagrams in one call; elsewhere, and when asked, a loop of `recv_into`.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import socket
import struct
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from boxwork.clock import MILLISECOND_NS, Clock, monotonic_ns
from boxwork.pulse import datagram
from boxwork.pulse.recorder import Pulse, Series
from boxwork.settings import MiB

# Datagrams fetched at once: 256 is where the cost of the call is spread thin enough (bench/pulse_udp.py).
BATCH = 256
# Room for one datagram; longer ones are cut by the kernel and refused.  Unit: bytes.
DATAGRAM_BYTES = 2048  # more than any length below, so that a stream and a length make one number
# What the kernel may hold for us: 4 MiB are 10,000 small datagrams, the usual limit of net.core.rmem_max.
RECEIVE_BUFFER_BYTES = 4 * MiB
# The reader looks up this often to see whether it shall end.  Unit: microseconds.
PATIENCE_US = 200_000
# A hole is booked as lost when it is still there after this, so that reordered datagrams are no loss.  Unit: ns.
SETTLE_NS = 100 * MILLISECOND_NS
# A sequence that falls back further than this is a sender that started again.  Unit: samples.
RESTART_BEHIND = 1 << 16
# Streams beyond these are refused: each has two series.  Unit: streams.
STREAMS_MAX = 4096

_SO_TIMESTAMPNS = 35  # source: asm-generic/socket.h; the same on x86-64 and arm64
_MSG_WAITFORONE = 0x10000
_CONTROL_BYTES = 64
_TIMEVAL = struct.Struct("@ll")

Times: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Path:
    """What a stream number stands for; without one a stream is `path{stream=<number>}`."""

    src: str
    dst: str
    name: str = "path"


@dataclass(slots=True)
class _Stream:
    wire: Series
    reader: Series
    first: int | None = None
    next: int = 0
    received: int = 0
    booked: int = 0
    missing_before: int = 0

    def arrived(self, low: int, high: int, count: int) -> None:
        """`count` samples between the sequences `low` and `high` (exclusive)."""
        if self.first is None or low < self.next - RESTART_BEHIND:
            self.settle(True)
            self.first, self.next, self.received, self.booked, self.missing_before = low, low, 0, 0, 0
        self.first = min(self.first, low)
        self.next = max(self.next, high)
        self.received += count

    def settle(self, now: bool = False) -> None:
        """Book as lost what was missing at the last look and still is."""
        if self.first is None:
            return
        missing = self.next - self.first - self.received
        certain = missing if now else min(missing, self.missing_before)
        if certain > self.booked:
            self.wire.lose(certain - self.booked)
            self.booked = certain
        self.missing_before = missing


class UdpListener:
    """Reads a UDP port into a pulse.  `start` binds and reads in a thread; `close` ends it."""

    def __init__(
        self,
        pulse: Pulse,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        paths: Mapping[int, Path] | None = None,
        portable: bool = False,
        clock: Clock | None = None,
    ) -> None:
        self.pulse = pulse
        self.paths = dict(paths or {})
        self.datagrams = 0
        self.refused = 0
        self.kernel_stamps = False
        self._now = (clock or pulse.clock).now_ns
        self._streams: dict[int, _Stream] = {}
        self._statsd: dict[tuple[str, tuple[tuple[str, str], ...]], Series] = {}
        self._settled_ns = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.bind((host, port))
        self.port: int = self.socket.getsockname()[1]
        self._enlarge()
        self._portable = portable or not sys.platform.startswith("linux") or struct.calcsize("P") != 8

    def _enlarge(self) -> None:
        for option in (getattr(socket, "SO_RCVBUFFORCE", 33), socket.SO_RCVBUF):  # the first needs a privilege
            with contextlib.suppress(OSError):
                self.socket.setsockopt(socket.SOL_SOCKET, option, RECEIVE_BUFFER_BYTES)
                return

    def start(self) -> UdpListener:
        target = self._read_portable if self._portable else self._read_batches
        self._thread = threading.Thread(target=target, name="boxwork-pulse-udp", daemon=True)
        self._thread.start()
        return self

    def close(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(5.0)
            self._thread = None
        self.socket.close()

    def __enter__(self) -> UdpListener:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- reading

    def _read_batches(self) -> None:
        slots = _Slots(BATCH)
        with contextlib.suppress(OSError):
            self.socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            self.kernel_stamps = True
        timeout = _TIMEVAL.pack(0, PATIENCE_US)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeout)
        receive = ctypes.CDLL(None, use_errno=True).recvmmsg
        number, vector = self.socket.fileno(), ctypes.byref(slots.messages)
        while not self._stop.is_set():
            count = receive(number, vector, BATCH, _MSG_WAITFORONE, None)
            now = self._now()
            if count < 0:
                reason = ctypes.get_errno()
                if reason in (errno.EAGAIN, errno.EINTR):
                    self._settle()
                    continue
                if not self._stop.is_set():
                    self.pulse.aggregator._fault("the UDP reader", OSError(reason, os.strerror(reason)))
                break
            self.take(slots.data[:count], slots.lengths(count), slots.received(count, now), now)
            slots.reset(count)
            self._settle_now_and_then()
        self._settle(True)

    def _read_portable(self) -> None:
        data = np.zeros((BATCH, DATAGRAM_BYTES), np.uint8)
        views = [memoryview(row) for row in data]  # type: ignore[arg-type]
        lengths = np.zeros(BATCH, np.int64)
        received = np.zeros(BATCH, np.int64)
        self.socket.settimeout(PATIENCE_US / 1e6)
        read, now_ns = self.socket.recv_into, self._now
        while not self._stop.is_set():
            count = 0
            try:
                lengths[0] = read(views[0])
                received[0] = now_ns()
                count = 1
                self.socket.setblocking(False)
                while count < BATCH:
                    lengths[count] = read(views[count])
                    received[count] = now_ns()
                    count += 1
            except TimeoutError:
                self._settle()
            except BlockingIOError:
                pass
            except OSError:
                if self._stop.is_set():
                    break
            finally:
                with contextlib.suppress(OSError):
                    self.socket.settimeout(PATIENCE_US / 1e6)
            if count:
                self.take(data[:count], lengths[:count], received[:count], now_ns())
                self._settle_now_and_then()
        self._settle(True)

    # --- understanding

    def take(self, data: npt.NDArray[np.uint8], lengths: Times, received: Times, now_ns: int) -> None:
        """Record a batch: a row of `data` for each datagram, its length and its time of arrival."""
        self._understand(data, lengths, received, now_ns)
        self.datagrams += len(data)

    def _understand(self, data: npt.NDArray[np.uint8], lengths: Times, received: Times, now_ns: int) -> None:
        heads = data[:, : datagram.HEADER.size].view(datagram.HEADER_TYPE)[:, 0]
        single = data[:, :4].view("<u4")[:, 0] == datagram.SAMPLE_MARK
        if single.all() and lengths.min() >= datagram.HEADER.size:
            self._take_single(heads, received, now_ns)
            return
        ours = (heads["magic"] == datagram.MAGIC) & (heads["version"] == datagram.VERSION)
        ours &= lengths >= datagram.HEADER.size
        single &= ours
        if single.any():
            self._take_single(heads[single], received[single], now_ns)
        packed = ours & (heads["kind"] == datagram.PACKED) & (lengths % 8 == 0) & (lengths > datagram.HEADER.size)
        if packed.any():
            # Usually all of a batch are of one stream and one length, and then one array for all of them.
            groups = heads["stream"].astype(np.int64) * DATAGRAM_BYTES + lengths
            for group in np.unique(groups[packed]).tolist():
                self._take_packed(
                    data, heads, received, np.flatnonzero(packed & (groups == group)), now_ns, group % DATAGRAM_BYTES
                )
        self.refused += int((ours & ~single & ~packed).sum())
        for place in np.flatnonzero(~ours).tolist():
            self._take_text(data[place, : lengths[place]].tobytes())

    def _take_single(self, heads: npt.NDArray[Any], received: Times, now_ns: int) -> None:
        streams = heads["stream"]
        first = int(streams[0])
        if (streams == first).all():
            self._take_stream(first, heads, received, now_ns)
            return
        for number in np.unique(streams).tolist():
            mine = streams == number
            self._take_stream(number, heads[mine], received[mine], now_ns)

    def _take_stream(self, number: int, heads: npt.NDArray[Any], received: Times, now_ns: int) -> None:
        stream = self._stream(number)
        if stream is None:
            self.refused += len(heads)
            return
        sequences = heads["sequence"]
        count = len(sequences)
        low, high = int(sequences[0]), int(sequences[-1]) + 1
        if high - low != count:  # a hole, or out of order
            low, high = int(sequences.min()), int(sequences.max()) + 1
        stream.arrived(low, high, count)
        stream.wire.record_array(received - heads["sent"])
        stream.reader.record_array(now_ns - received)

    def _take_packed(
        self,
        data: npt.NDArray[np.uint8],
        heads: npt.NDArray[Any],
        received: Times,
        places: npt.NDArray[np.int64],
        now_ns: int,
        length: int,
    ) -> None:
        """Packed datagrams of one stream and one length."""
        stream = self._stream(int(heads["stream"][places[0]]))
        if stream is None:
            self.refused += len(places)
            return
        rows = data if len(places) == len(data) else data[places]
        # A copy, because the buffer is used again.
        samples = np.ascontiguousarray(rows[:, datagram.HEADER.size : length]).view("<i8").reshape(-1)
        sequences = heads["sequence"][places]
        each = (length - datagram.HEADER.size) // 8
        stream.arrived(int(sequences.min()), int(sequences.max()) + each, len(samples))
        stream.wire.record_array(samples)
        stream.reader.record_array(now_ns - received[places])

    def _take_text(self, text: bytes) -> None:
        for line in datagram.statsd(text):
            if line is None:
                self.refused += 1
                continue
            key = (line.name, tuple(line.labels.items()))
            series = self._statsd.get(key)
            if series is None:
                labels: dict[str, Any] = {k: v for k, v in line.labels.items() if k not in ("unit", "interval_seconds")}
                series = self.pulse.series(line.name, **labels)
                if len(self._statsd) < self.pulse.series_max:
                    self._statsd[key] = series
            for _ in range(line.repeat):
                series.record(line.nanoseconds)

    def _stream(self, number: int) -> _Stream | None:
        stream = self._streams.get(number)
        if stream is None and len(self._streams) < STREAMS_MAX:
            path = self.paths.get(number)
            name = path.name if path is not None else "path"
            labels = {"src": path.src, "dst": path.dst} if path is not None else {"stream": str(number)}
            wire = self.pulse.series(name, part="wire", **labels)  # type: ignore[arg-type]
            reader = self.pulse.series(name, part="reader", **labels)  # type: ignore[arg-type]
            stream = self._streams[number] = _Stream(wire, reader)
        return stream

    def _settle_now_and_then(self) -> None:
        now = monotonic_ns()
        if now - self._settled_ns > SETTLE_NS:
            self._settled_ns = now
            self._settle()

    def _settle(self, now: bool = False) -> None:
        """What was missing at the last look and still is, is lost."""
        for stream in self._streams.values():
            stream.settle(now)


class _Vector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Header(ctypes.Structure):
    """`struct msghdr` of 64-bit Linux."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("vector", ctypes.POINTER(_Vector)),
        ("vector_length", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Message(ctypes.Structure):
    """`struct mmsghdr`."""

    _fields_ = (("header", _Header), ("length", ctypes.c_uint32))


class _Slots:
    """Memory for one `recvmmsg`, made once, seen by the kernel as structures and by NumPy as arrays."""

    def __init__(self, count: int) -> None:
        self.data = np.zeros((count, DATAGRAM_BYTES), np.uint8)
        self._control = np.zeros((count, _CONTROL_BYTES), np.uint8)
        self._vectors = (_Vector * count)()
        self.messages = (_Message * count)()
        for place in range(count):
            self._vectors[place].base = self.data[place].ctypes.data
            self._vectors[place].length = DATAGRAM_BYTES
            header = self.messages[place].header
            header.vector = ctypes.pointer(self._vectors[place])
            header.vector_length = 1
            header.control = self._control[place].ctypes.data
            header.control_length = _CONTROL_BYTES
        size, at = ctypes.sizeof(_Message), _Header.control_length.offset
        raw = np.frombuffer(memoryview(self.messages).cast("B"), np.uint8).reshape(count, size)
        self._lengths = raw[:, _Message.length.offset : _Message.length.offset + 4].view(np.uint32)[:, 0]
        self._control_lengths = raw[:, at : at + 8].view(np.uint64)[:, 0]
        # struct cmsghdr: u64 length, i32 level, i32 type, then struct timespec
        self._types = self._control[:, 12:16].view(np.int32)[:, 0]
        self._seconds = self._control[:, 16:24].view(np.int64)[:, 0]
        self._nanoseconds = self._control[:, 24:32].view(np.int64)[:, 0]

    def lengths(self, count: int) -> Times:
        return self._lengths[:count].astype(np.int64)

    def received(self, count: int, now_ns: int) -> Times:
        """When the kernel had each datagram; now, where it does not say."""
        stamped = (self._control_lengths[:count] >= 32) & (self._types[:count] == _SO_TIMESTAMPNS)
        times: Times = self._seconds[:count] * 1_000_000_000 + self._nanoseconds[:count]
        return times if stamped.all() else np.where(stamped, times, now_ns)

    def reset(self, count: int) -> None:
        self._control_lengths[:count] = _CONTROL_BYTES
