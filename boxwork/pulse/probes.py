"""Active measurements of one path, one round at a time: TCP connect, HTTP, and questions to another agent.

A probe answers with nanoseconds, or raises `Unanswered`.  It knows nothing of schedules and series.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import struct
import sys
import time
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from boxwork.clock import Clock, monotonic_ns
from boxwork.errors import BadInput
from boxwork.pulse import datagram

# How long a probe waits for its answer: beyond it the path is as good as broken.  Unit: seconds.
TIMEOUT_SECONDS = 2.0
# The first bytes of an HTTP answer are what is timed; of the rest no more than this is read.  Unit: bytes.
BODY_BYTES_MAX = 64 * 1024

_SO_TIMESTAMPNS = 35
_TIMESPEC = struct.Struct("@qq")


class Unanswered(Exception):
    """No answer in time, or the other side said no."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a path ends: `kind` is agent, udp, tcp or http."""

    name: str
    kind: str
    host: str
    port: int
    path: str = "/"
    secure: bool = False

    @classmethod
    def parse(cls, text: str) -> Target:
        """`ld4=agent://10.0.0.2:8765`, `cme=tcp://host:port`, `web=https://host/path`, `clock=udp://host:7`.

        Without a scheme it is another agent; without a name the host is the name.
        """
        name, equals, address = text.partition("=")
        if not equals or "://" in name:
            name, address = "", text
        parts = urlsplit(address if "://" in address else f"agent://{address}")
        kind = {"https": "http"}.get(parts.scheme, parts.scheme)
        try:
            port = parts.port or {"http": 80, "https": 443, "agent": 8765, "udp": 7}.get(parts.scheme, 0)
        except ValueError:
            port = 0
        if kind not in ("agent", "udp", "tcp", "http") or not parts.hostname or not port:
            raise BadInput(
                f"{text!r} is not a target; write NAME=agent://host:port, NAME=tcp://host:port, NAME=udp://host:port"
                " or NAME=http://host/path"
            )
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return cls(name or parts.hostname, kind, parts.hostname, port, path, parts.scheme == "https")


@dataclass(frozen=True, slots=True)
class Echo:
    """What a question to an agent brought: the round trip, and each way by the clocks of both ends."""

    round_trip_ns: int
    forward_ns: int | None = None
    backward_ns: int | None = None


class Probe(Protocol):
    def once(self) -> Echo: ...

    def close(self) -> None: ...


def open_probe(target: Target, clock: Clock, *, stream: int = 0) -> Probe:
    if target.kind == "tcp":
        return TcpProbe(target)
    if target.kind == "http":
        return HttpProbe(target)
    return EchoProbe(target, clock, stream)


class TcpProbe:
    """The time until a TCP connection stands: one round trip, and the other side needs nothing of ours."""

    def __init__(self, target: Target) -> None:
        self._target = target

    def once(self) -> Echo:
        try:
            family, kind, protocol, _, address = _resolve(self._target, socket.SOCK_STREAM)
            with socket.socket(family, kind, protocol) as link:
                link.settimeout(TIMEOUT_SECONDS)
                began = monotonic_ns()
                link.connect(address)
                elapsed = monotonic_ns() - began
                # Closed with a reset: thousands of probes must not leave thousands of sockets in TIME_WAIT.
                link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except OSError as reason:
            raise Unanswered(_why(reason)) from reason
        return Echo(elapsed)

    def close(self) -> None:
        """Every round has a connection of its own."""


class HttpProbe:
    """The time from the request to the first byte of the answer, on a connection that stays open."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._connection: http.client.HTTPConnection | None = None
        self._context: ssl.SSLContext | None = None

    def once(self) -> Echo:
        try:
            if self._connection is None:
                self._connection = self._connect()
                self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            began = monotonic_ns()
            self._connection.request("GET", self._target.path, headers={"User-Agent": "boxwork-agent"})
            answer = self._connection.getresponse()
            elapsed = monotonic_ns() - began
            rest = answer.read(BODY_BYTES_MAX)
            if answer.will_close or len(rest) == BODY_BYTES_MAX:
                self.close()
            if answer.status >= 500:
                raise Unanswered(f"status {answer.status}")
        except (OSError, http.client.HTTPException) as reason:
            self.close()
            raise Unanswered(_why(reason)) from reason
        return Echo(elapsed)

    def _connect(self) -> http.client.HTTPConnection:
        host, port = self._target.host, self._target.port
        connection: http.client.HTTPConnection
        if self._target.secure:
            # Reading the certificates of the system takes 30 ms of a core: once, not at every attempt.
            self._context = self._context or ssl.create_default_context()
            connection = http.client.HTTPSConnection(host, port, timeout=TIMEOUT_SECONDS, context=self._context)
        else:
            connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_SECONDS)
        connection.connect()
        return connection

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


@dataclass(slots=True)
class _Asked:
    sent_ns: int
    began: int
    late_ns: int


class EchoProbe:
    """Questions by UDP to another agent, or to any echo service (`udp://`, RFC 862).

    Several may be under way: on a path longer than the period the next question does not wait for the last answer.
    """

    def __init__(self, target: Target, clock: Clock, stream: int) -> None:
        self._target = target
        self._clock = clock
        self._stream = stream
        self._sequence = 0
        self._socket: socket.socket | None = None
        self._asked: dict[int, _Asked] = {}

    def once(self) -> Echo:
        """Ask, and wait for the answer."""
        self.ask()
        deadline = monotonic_ns() + round(TIMEOUT_SECONDS * 1e9)
        while (now := monotonic_ns()) < deadline:
            echo = self.collect((deadline - now) / 1e9)
            if echo is not None:
                return echo
        raise Unanswered(f"no answer in {TIMEOUT_SECONDS:g} s")

    def ask(self, late_ns: int = 0) -> None:
        """Send a question; `late_ns` is how long after its intended time, and becomes part of the latency."""
        self._sequence += 1
        sent_ns, began = self._clock.now_ns(), monotonic_ns()
        question = datagram.HEADER.pack(
            datagram.MAGIC, datagram.VERSION, datagram.ASK, self._stream, self._sequence, sent_ns
        )
        self._asked[self._sequence] = _Asked(sent_ns, began, late_ns)
        try:
            self._open().send(question)
        except OSError as reason:
            self.close()
            raise Unanswered(_why(reason)) from reason

    def overdue(self) -> int:
        """How many questions have waited too long; they are forgotten, and a late answer is ignored."""
        limit = monotonic_ns() - round(TIMEOUT_SECONDS * 1e9)
        late = [sequence for sequence, asked in self._asked.items() if asked.began < limit]
        for sequence in late:
            del self._asked[sequence]
        return len(late)

    def collect(self, timeout_seconds: float) -> Echo | None:
        """The next answer, or nothing within the time."""
        link = self._socket
        if link is None:  # nothing was asked, or nobody could be: `ask` opens it
            time.sleep(max(0.0, timeout_seconds))
            return None
        try:
            link.settimeout(max(1e-4, timeout_seconds))
            answer, control, _, _ = link.recvmsg(256, 64)
        except TimeoutError:
            return None
        except OSError as reason:
            self.close()
            raise Unanswered(_why(reason)) from reason
        now, now_ns = monotonic_ns(), self._clock.now_ns()
        if len(answer) < datagram.HEADER.size:
            return None
        magic, _, kind, stream, sequence, _ = datagram.HEADER.unpack_from(answer)
        asked = self._asked.pop(sequence, None) if magic == datagram.MAGIC and stream == self._stream else None
        if asked is None:
            return None
        # The kernel had it earlier than this thread woke up; that time belongs to us and not to the path.
        waited = max(0, now_ns - kernel_time_ns(control, now_ns))
        elapsed = now - asked.began
        round_trip = elapsed - waited if waited < elapsed else elapsed
        if kind != datagram.ANSWER or len(answer) < datagram.HEADER.size + datagram.TIMES.size:
            return Echo(round_trip + asked.late_ns)
        arrived, left = datagram.TIMES.unpack_from(answer, datagram.HEADER.size)
        held = max(0, left - arrived)
        return Echo(max(0, round_trip - held) + asked.late_ns, arrived - asked.sent_ns, now_ns - waited - left)

    def _open(self) -> socket.socket:
        if self._socket is None:
            family, kind, protocol, _, address = _resolve(self._target, socket.SOCK_DGRAM)
            self._socket = socket.socket(family, kind, protocol)
            stamp(self._socket)
            self._socket.connect(address)
        return self._socket

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class Responder:
    """Answers the questions of other agents: when they came, and when the answer left."""

    def __init__(self, host: str, port: int, clock: Clock) -> None:
        self._clock = clock
        self.answered = 0
        self.socket = datagram.listening(host, port)
        stamp(self.socket)
        self.port: int = self.socket.getsockname()[1]

    def serve_once(self, timeout_seconds: float) -> bool:
        """Answer one question; False if none came.

        An answer is never longer than 1.7 times its question, and goes to no one who has not asked.
        """
        self.socket.settimeout(timeout_seconds)
        try:
            question, control, _, sender = self.socket.recvmsg(256, 64)
            if len(question) != datagram.HEADER.size:
                return True
            magic, version, kind, stream, sequence, sent = datagram.HEADER.unpack(question)
            if (magic, version, kind) != (datagram.MAGIC, datagram.VERSION, datagram.ASK):
                return True
            arrived = kernel_time_ns(control, self._clock.now_ns())
            head = datagram.HEADER.pack(magic, version, datagram.ANSWER, stream, sequence, sent)
            self.socket.sendto(head + datagram.TIMES.pack(arrived, self._clock.now_ns()), sender)
            self.answered += 1
        except TimeoutError:
            return False
        except OSError:  # the asker is gone: an ICMP error of the answer before
            return True
        return True

    def close(self) -> None:
        self.socket.close()


def stamp(link: socket.socket) -> None:
    """Ask the kernel to say when datagrams came, where it can."""
    if sys.platform.startswith("linux"):
        with contextlib.suppress(OSError):
            link.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)


def kernel_time_ns(control: list[tuple[int, int, bytes]], otherwise_ns: int) -> int:
    for level, kind, data in control:
        if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS and len(data) >= _TIMESPEC.size:
            seconds, nanoseconds = _TIMESPEC.unpack_from(data)
            return int(seconds) * 1_000_000_000 + int(nanoseconds)
    return otherwise_ns


def _why(reason: Exception) -> str:
    """What a person wants to read of it: `Connection refused`, not `[Errno 111] …`."""
    if isinstance(reason, TimeoutError):
        return f"no answer in {TIMEOUT_SECONDS:g} s"
    if isinstance(reason, ssl.SSLCertVerificationError):
        return f"its certificate is refused: {reason.verify_message}"
    return (reason.strerror if isinstance(reason, OSError) else "") or str(reason) or type(reason).__name__


def _resolve(target: Target, kind: socket.SocketKind) -> tuple[socket.AddressFamily, int, int, str, tuple[object, ...]]:
    """The first address; a name is resolved at every opening, because venues move."""
    found = socket.getaddrinfo(target.host, target.port, type=kind)
    if not found:
        raise OSError(f"{target.host} has no address")
    family, found_kind, protocol, canonical, address = found[0]
    return family, found_kind, protocol, canonical, tuple(address)
