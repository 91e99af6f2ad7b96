"""Listens for measured datagrams: one thread that reads in batches and hands arrays on.

Two latencies are kept apart.  `wire` is from the sender's clock to the moment the kernel had the datagram
(SO_TIMESTAMPNS); `reader` is from there until this program saw it.  Under load the second is a thousand times the
first, and without the kernel's time stamp they cannot be told apart.

On Linux `recvmmsg` fetches up to 1,024 datagrams in one call; elsewhere, and when asked, a loop of `recv_into`.
Waking up for each datagram would cost more than reading it, so while many come the reader lets them gather in the
kernel for up to 4 ms: their time of arrival is the kernel's, and only `reader` shows the pause.
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
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from boxwork.clock import MILLISECOND_NS, SECOND_NS, Clock, monotonic_ns
from boxwork.pulse import datagram
from boxwork.pulse.recorder import Pulse, Series
from boxwork.pulse.slots import SO_TIMESTAMPNS, Slots, Times
from boxwork.settings import MiB

# Datagrams fetched at once, the most that the call allows: a batch costs 45 us beside what each of its datagrams
# costs (bench/pulse_udp.py).  The portable reader pays for each in the interpreter and gains nothing from more.
BATCH, BATCH_PORTABLE = 1024, 256
# How long datagrams may gather in the kernel.  A page is drawn every 100 ms at most.  Unit: nanoseconds.
GATHER_NS_MAX = 4 * MILLISECOND_NS
# … but no longer than half the time in which a million a second, more than a core reads, would fill the kernel's
# buffer: 0.25 ms where only the usual 208 KiB are allowed.  Unit: bytes of that buffer for a small datagram.
GATHER_BYTES = 832
# Room for one datagram; longer ones are cut by the kernel and refused.  Unit: bytes.
DATAGRAM_BYTES = 2048
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

_MSG_WAITFORONE = 0x10000
# source: asm-generic/socket.h and linux/sock_diag.h: nine u32, the last says how many datagrams found no room.
_SO_MEMINFO, _MEMINFO, _MEMINFO_DROPS = 55, struct.Struct("@9I"), 8
_TIMEVAL = struct.Struct("@ll")

Bytes: TypeAlias = npt.NDArray[np.uint8]
Lengths: TypeAlias = npt.NDArray[np.uint32] | npt.NDArray[np.int64]


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
        self._dropped = 0
        self.kernel_stamps = False
        self._now = (clock or pulse.clock).now_ns
        self._streams: dict[int, _Stream] = {}
        self._statsd: dict[tuple[str, tuple[tuple[str, str], ...]], Series] = {}
        self._settled_ns = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.socket = datagram.listening(host, port)
        self.port: int = self.socket.getsockname()[1]
        self._enlarge()
        self._portable = portable or not sys.platform.startswith("linux") or struct.calcsize("P") != 8

    def _enlarge(self) -> None:
        for option in (getattr(socket, "SO_RCVBUFFORCE", 33), socket.SO_RCVBUF):  # the first needs a privilege
            with contextlib.suppress(OSError):
                self.socket.setsockopt(socket.SOL_SOCKET, option, RECEIVE_BUFFER_BYTES)
                return

    @property
    def dropped(self) -> int:
        """Datagrams that this host had received and its kernel had no room for: our loss, not the network's.

        They are among the lost of their streams as soon as a later one arrives; for statsd, which has no sequence,
        this is all that is known.  0 where the kernel does not tell.
        """
        try:
            told = self.socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
            self._dropped = int(_MEMINFO.unpack(told)[_MEMINFO_DROPS])
        except (OSError, struct.error):  # not Linux, or closed: what was known last
            pass
        return self._dropped

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
        self._dropped = self.dropped
        self.socket.close()

    def __enter__(self) -> UdpListener:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- reading

    def _read_batches(self) -> None:
        slots = Slots(BATCH, datagram.HEADER.size, DATAGRAM_BYTES - datagram.HEADER.size)
        with contextlib.suppress(OSError):
            self.socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
            self.kernel_stamps = True
        timeout = _TIMEVAL.pack(0, PATIENCE_US)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeout)
        receive = ctypes.CDLL(None, use_errno=True).recvmmsg
        number, vector = self.socket.fileno(), ctypes.byref(slots.messages)
        gather_ns = self._gather_ns() if self.kernel_stamps else 0
        before = 0
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
            heads, rests = slots.heads[:count], slots.rests[:count]
            self.take(heads, rests, slots.lengths(count), slots.received(count, now), now)
            self._settle_now_and_then()
            woken, before = before, monotonic_ns()
            if count < BATCH and before - woken < 2 * gather_ns:
                time.sleep(gather_ns / SECOND_NS)
        self._settle(True)

    def _gather_ns(self) -> int:
        """How long datagrams may gather: bounded by what the kernel's buffer holds."""
        datagrams = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // GATHER_BYTES
        return min(GATHER_NS_MAX, datagrams * SECOND_NS // 1_000_000 // 2)

    def _read_portable(self) -> None:
        data = np.zeros((BATCH_PORTABLE, DATAGRAM_BYTES), np.uint8)
        views = [memoryview(row) for row in data]  # type: ignore[arg-type]
        lengths = np.zeros(BATCH_PORTABLE, np.int64)
        received = np.zeros(BATCH_PORTABLE, np.int64)
        self.socket.settimeout(PATIENCE_US / 1e6)
        read, now_ns = self.socket.recv_into, self._now
        while not self._stop.is_set():
            count = 0
            try:
                lengths[0] = read(views[0])
                received[0] = now_ns()
                count = 1
                self.socket.setblocking(False)
                while count < BATCH_PORTABLE:
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
                heads, rests = data[:count, : datagram.HEADER.size], data[:count, datagram.HEADER.size :]
                self.take(heads, rests, lengths[:count], received[:count], now_ns())
                self._settle_now_and_then()
        self._settle(True)

    # --- understanding

    def take(self, heads: Bytes, rests: Bytes, lengths: Lengths, received: Times, now_ns: int) -> None:
        """Record a batch: of each datagram the first 24 bytes, the rest, the length and the time of arrival."""
        self._understand(heads, rests, lengths, received, now_ns)
        self.datagrams += len(heads)

    def _understand(self, first: Bytes, rests: Bytes, lengths: Lengths, received: Times, now_ns: int) -> None:
        # Three numbers are a header: its first is equal in all samples of one stream, and usually there is but one.
        words = first.view("<u8")
        mark = int(words[0, 0])
        # Compared as bytes: a seventh of what it costs to compare numbers that do not stand side by side.
        if (
            mark & 0xFFFFFFFF == datagram.SAMPLE_MARK
            and lengths.min() >= datagram.HEADER.size
            and words[:, 0].tobytes() == words[0, 0].tobytes() * len(words)
        ):
            self._take_stream(mark >> 32, words[:, 1], words[:, 2].view("<i8"), received, now_ns)
            return
        heads = first.view(datagram.HEADER_TYPE)[:, 0]
        ours = (heads["magic"] == datagram.MAGIC) & (heads["version"] == datagram.VERSION)
        ours &= lengths >= datagram.HEADER.size
        single = ours & (heads["kind"] == datagram.SAMPLE)
        if single.any():
            self._take_single(heads[single], received[single], now_ns)
        packed = ours & (heads["kind"] == datagram.PACKED) & (lengths % 8 == 0) & (lengths > datagram.HEADER.size)
        if packed.any():
            for number in np.unique(heads["stream"][packed]).tolist():
                mine = np.flatnonzero(packed & (heads["stream"] == number))
                self._take_packed(number, rests, lengths, heads["sequence"], received, mine, now_ns)
        self.refused += int((ours & ~single & ~packed).sum())
        for place in np.flatnonzero(~ours).tolist():
            self._take_text((first[place].tobytes() + rests[place].tobytes())[: lengths[place]])

    def _take_single(self, heads: npt.NDArray[Any], received: Times, now_ns: int) -> None:
        streams = heads["stream"]
        for number in np.unique(streams).tolist():
            mine = streams == number
            of_one = heads[mine]
            self._take_stream(number, of_one["sequence"], of_one["sent"], received[mine], now_ns)

    def _take_stream(
        self, number: int, sequences: npt.NDArray[np.uint64], sent: Times, received: Times, now_ns: int
    ) -> None:
        stream = self._stream(number)
        count = len(sequences)
        if stream is None:
            self.refused += count
            return
        low, high = int(sequences[0]), int(sequences[-1]) + 1
        if high - low != count:  # a hole, or out of order
            low, high = int(sequences.min()), int(sequences.max()) + 1
        stream.arrived(low, high, count)
        stream.wire.record_array(received - sent)
        stream.reader.record_array(now_ns - received)

    def _take_packed(
        self,
        number: int,
        rests: Bytes,
        lengths: Lengths,
        sequences: npt.NDArray[np.uint64],
        received: Times,
        places: npt.NDArray[np.int64],
        now_ns: int,
    ) -> None:
        """The packed datagrams of one stream: usually all are of one length, and then one array for all of them."""
        stream = self._stream(number)
        if stream is None:
            self.refused += len(places)
            return
        samples = (lengths[places] - datagram.HEADER.size) // 8
        # All at once: a part of a batch may be further behind another than a sender that started again.
        ends = sequences[places] + samples.astype(np.uint64)
        stream.arrived(int(sequences[places].min()), int(ends.max()), int(samples.sum()))
        for each in np.unique(samples).tolist():
            rows = rests[places[samples == each], : 8 * each]
            stream.wire.record_array(rows.view("<i8").reshape(-1))
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
