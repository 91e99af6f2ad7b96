"""What does a datagram cost the reader, and is every lost one reported?

The sender is a process of its own and sends what any program would: bursts, to one socket, nothing coalesced.  Each
reader is one thread of this process and its time of the processor is counted, the kernel's work for it included.
Readers take turns, and the medians of the rounds count.
"""

from __future__ import annotations

import contextlib
import ctypes
import socket
import statistics
import struct
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from _report import report

from boxwork.pulse import Pulse, datagram
from boxwork.pulse.slots import Slots
from boxwork.pulse.udp import RECEIVE_BUFFER_BYTES, UdpListener

ROUNDS = 9
SINGLE, PACKED = 40_000, 10_000
# Every 97th datagram gets a number and is not sent.
DROP_EVERY, DROPPED = 97, 5
# 1,000 small datagrams take 0.8 MB of the kernel's 4 MiB; a pause lets the reader catch up.
BURST, PAUSE_S = 1_000, 0.004
# A reader that has everything shall end soon after; one that lost something, after this.
SILENCE_S = 0.3
# By then a reader has emptied the kernel's buffer.
CAUGHT_UP_S = 0.1


# --- the sender


def send() -> None:
    """For each line `PORT KIND COUNT`: that many prepared datagrams, in bursts that the kernel's buffer can hold."""
    call = ctypes.CDLL(None).sendmmsg
    _say("ready")
    for line in sys.stdin:
        port, kind, count = line.split()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
            link.connect(("127.0.0.1", int(port)))
            _send(call, link, kind == "packed", int(count))
        _say("sent")


def _say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def _send(call: Callable[..., int], link: socket.socket, packed: bool, count: int) -> None:
    whole = datagram.packed(1, 0, list(range(datagram.PACKED_MAX))) if packed else datagram.sample(1, 0, 0)
    slots = Slots(BURST, len(whole))
    slots.heads[:] = np.frombuffer(whole, np.uint8)
    heads = slots.heads[:, : datagram.HEADER.size].view(datagram.HEADER_TYPE)[:, 0]
    slots.without_control()
    numbers = np.arange(count)
    if not packed:
        numbers = numbers[numbers % DROP_EVERY != DROPPED]
    for start in range(0, len(numbers), BURST):
        part = numbers[start : start + BURST]
        heads["sequence"][: len(part)] = part * (datagram.PACKED_MAX if packed else 1)
        heads["sent"][: len(part)] = time.time_ns()
        call(link.fileno(), ctypes.byref(slots.messages), len(part), 0)
        time.sleep(PAUSE_S)
    # A stream goes on: only the next datagram tells that the last ones before it are missing.
    time.sleep(CAUGHT_UP_S)
    heads["sequence"][0] = count * (datagram.PACKED_MAX if packed else 1)
    call(link.fileno(), ctypes.byref(slots.messages), 1, 0)


class Sender:
    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--send"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._hear("ready")  # a reader that hears nothing for `SILENCE_S` believes that all was sent

    def send(self, port: int, kind: str, count: int) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{port} {kind} {count}\n")
        self.process.stdin.flush()
        self._hear("sent")

    def _hear(self, word: str) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == f"{word}\n"

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(10)


# --- the readers


class Counted(threading.Thread):
    """A thread that knows what it cost."""

    def __init__(self, run: Callable[[], None]) -> None:
        super().__init__(daemon=True)
        self._run_it, self.cpu_ns = run, 0
        self.start()

    def run(self) -> None:
        began = time.thread_time_ns()
        self._run_it()
        self.cpu_ns = time.thread_time_ns() - began


def plain(sender: Sender) -> float:
    """The loop that everybody writes first: no batches, no time stamp of the kernel, no account of losses."""
    reader = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for option in (socket.SO_RCVBUF, getattr(socket, "SO_RCVBUFFORCE", 33)):
        with contextlib.suppress(OSError):
            reader.setsockopt(socket.SOL_SOCKET, option, RECEIVE_BUFFER_BYTES)
    reader.bind(("127.0.0.1", 0))
    reader.settimeout(SILENCE_S)
    latencies: list[int] = []
    header = struct.Struct("<HBBIQq")

    def run() -> None:
        with contextlib.suppress(TimeoutError):
            while True:
                data = reader.recv(2048)
                latencies.append(time.time_ns() - header.unpack_from(data)[5])

    thread = Counted(run)
    sender.send(reader.getsockname()[1], "single", SINGLE)
    thread.join()
    reader.close()
    return thread.cpu_ns / len(latencies)


class Forgetful(UdpListener):
    """Fetches as ours does, and looks at nothing: the kernel's part of the cost, and that of waking up."""

    def take(self, heads: Any, *_: object) -> None:
        self.datagrams += len(heads)


def ours(
    sender: Sender, kind: str, portable: bool = False, make: type[UdpListener] = UdpListener
) -> tuple[float, int, int]:
    """CPU of the reading thread for a datagram, the samples missed, and those that found the kernel's buffer full."""
    pulse = Pulse(threaded=False)
    listener = make(pulse, portable=portable)
    thread = Counted(listener._read_portable if portable else listener._read_batches)
    sender.send(listener.port, kind, SINGLE if kind == "single" else PACKED)
    time.sleep(SILENCE_S)
    listener._stop.set()
    thread.join()
    series = pulse.series("path", stream=1, part="wire")
    result = thread.cpu_ns / listener.datagrams, series.lost, listener.dropped
    listener.close()
    pulse.close()
    return result


@contextlib.contextmanager
def busy_aggregator() -> Iterator[None]:
    """Half a core of aggregating in this process: 500 series, 100 samples each in every interval of 100 ms."""
    pulse = Pulse(interval_seconds=0.1)
    samples = np.arange(1, 101) * 10_007
    several = [pulse.series("busy", number=number) for number in range(500)]

    def fill() -> None:
        for series in several:
            series.record_array(samples)

    stop = pulse.every(0.1, fill)
    yield
    stop()
    pulse.close()


def main() -> None:
    costs: dict[str, list[float]] = defaultdict(list)
    errors: list[int] = []
    missed: list[int] = []
    drops: list[int] = []
    injected = sum(1 for number in range(SINGLE) if number % DROP_EVERY == DROPPED)

    def losing() -> float:
        cost, lost, dropped = ours(sender, "single")
        missed.append(lost)
        drops.append(dropped)
        errors.append(lost - injected - dropped)
        return cost

    sender = Sender()
    for _ in range(ROUNDS):
        costs["plain"].append(plain(sender))
        costs["batches"].append(losing())
        costs["bare"].append(ours(sender, "single", make=Forgetful)[0])
        costs["portable"].append(ours(sender, "single", portable=True)[0])
        costs["packed"].append(ours(sender, "packed")[0] / datagram.PACKED_MAX)
        with busy_aggregator():
            costs["busy plain"].append(plain(sender))
            costs["busy"].append(losing())
    sender.close()
    middle = {name: statistics.median(values) / 1000 for name, values in costs.items()}
    for name, key, peer in (
        ("pulse.udp.datagram", "batches", "plain"),
        ("pulse.udp.datagram.busy", "busy", "busy plain"),
        ("pulse.udp.datagram.not_understood", "bare", "plain"),
        ("pulse.udp.datagram.portable", "portable", "plain"),
    ):
        low, high = min(costs[key]) / 1000, max(costs[key]) / 1000
        report(
            name=name,
            value=middle[key],
            unit="us",
            peer="recv loop",
            peer_value=middle[peer],
            rounds=ROUNDS,
            spread=f"{low:.2f} … {high:.2f}",
        )
    report(name="pulse.udp.packed_sample", value=middle["packed"] * 1000, unit="ns", rounds=ROUNDS)
    report(
        name="pulse.udp.loss_reported",
        value=statistics.median(missed),
        unit="samples",
        peer="injected",
        peer_value=injected,
        rounds=len(missed),
        dropped_by_the_kernel_at_most=max(drops),
        furthest_from_injected_and_dropped_by_the_kernel=max(errors, key=abs),
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--send"]:
        send()
    else:
        main()
