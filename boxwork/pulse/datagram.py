"""The datagrams that carry measurements, as values: a header of 24 bytes, little endian.

    u16 magic 0x50B0 · u8 version=1 · u8 kind · u32 stream · u64 sequence · i64 sent ns (wall clock of the sender)

SAMPLE (kind 1) is the header alone: its latency is the time of arrival less `sent`.  PACKED (kind 2) is followed by
latencies the sender has measured itself, i64 each.  ASK and ANSWER (kinds 3 and 4) are probes between agents; an
answer is followed by two i64, when the question arrived and when the answer left.

`sequence` counts samples: that of a datagram is the number of samples of its stream before it, so a hole tells how
many were lost.  A stream has one sender.  Everything that does not begin with the magic is statsd text.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from boxwork.errors import BadInput

MAGIC, VERSION = 0x50B0, 1
SAMPLE, PACKED, ASK, ANSWER = 1, 2, 3, 4
HEADER = struct.Struct("<HBBIQq")
TIMES = struct.Struct("<qq")
# The same for whole batches.
HEADER_TYPE = np.dtype(
    [("magic", "<u2"), ("version", "u1"), ("kind", "u1"), ("stream", "<u4"), ("sequence", "<u8"), ("sent", "<i8")]
)
# The first four bytes of every SAMPLE, as one number.
SAMPLE_MARK = MAGIC | VERSION << 16 | SAMPLE << 24
# A packed datagram stays within the usual 1,500 bytes of an Ethernet frame.  Unit: samples.
PACKED_MAX = 170
# A sample rate of `|@0.0001` would count one line ten thousand times; more is a mistake.  Unit: samples.
REPEAT_MAX = 10_000


def sample(stream: int, sequence: int, sent_ns: int) -> bytes:
    """The 24 bytes to send at `sent_ns`."""
    return HEADER.pack(MAGIC, VERSION, SAMPLE, stream, sequence, sent_ns)


def packed(stream: int, sequence: int, latencies: Sequence[int], sent_ns: int = 0) -> bytes:
    """Up to `PACKED_MAX` latencies in one datagram; `sequence` is that of the first."""
    if not 0 < len(latencies) <= PACKED_MAX:
        raise ValueError(f"a packed datagram holds 1 … {PACKED_MAX} samples, not {len(latencies)}")
    return HEADER.pack(MAGIC, VERSION, PACKED, stream, sequence, sent_ns) + np.asarray(latencies, "<i8").tobytes()


_REMEDIES = {
    errno.EADDRINUSE: "another program listens there; choose another port",
    errno.EADDRNOTAVAIL: "that is not an address of this host; 0.0.0.0 is all of them",
    errno.EACCES: "ports below 1024 need a privilege; choose a higher one",
}


def listening(host: str, port: int) -> socket.socket:
    """A UDP socket at an address of this host; `BadInput` says why there is none."""
    if not 0 <= port <= 65535:
        raise BadInput(f"there is no port {port}: write 1 … 65535, or 0 for any that is free")
    link = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    try:
        link.bind((host, port))
    except OSError as reason:
        link.close()
        remedy = _REMEDIES.get(reason.errno or 0, "name an address of this host and a free port")
        raise BadInput(f"cannot listen on UDP {host}, port {port}: {remedy}", host=host, port=port) from reason
    return link


class StatsdLine(NamedTuple):
    """One measurement of a statsd text: `repeat` is how many samples it stands for."""

    name: str
    labels: dict[str, str]
    nanoseconds: int
    repeat: int


def statsd(text: bytes) -> Iterator[StatsdLine | None]:
    """The timings of a statsd or dogstatsd datagram; None for each line that is none.

    `name:320|ms|@0.1|#tag:value`: `ms` are milliseconds; `h` and `d` (histogram, distribution) count as they are.
    """
    for line in text.split(b"\n"):
        if line.strip():
            yield _statsd_line(line)


def _statsd_line(line: bytes) -> StatsdLine | None:
    name, colon, rest = line.partition(b":")
    amount, bar, rest = rest.partition(b"|")
    kind, *extras = rest.strip().split(b"|")
    if not (name and colon and bar) or kind not in (b"ms", b"h", b"d"):
        return None
    repeat, labels = 1, {}
    try:
        value = float(amount)
        for extra in extras:
            if extra.startswith(b"@"):
                repeat = max(1, min(REPEAT_MAX, round(1 / float(extra[1:]))))
            elif extra.startswith(b"#"):
                for tag in extra[1:].decode().split(","):
                    key, _, label = tag.partition(":")
                    if key:
                        labels[key] = label
        return StatsdLine(name.decode(), labels, round(value * 1e6) if kind == b"ms" else round(value), repeat)
    except (ValueError, OverflowError, ZeroDivisionError):
        return None
