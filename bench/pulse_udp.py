"""What does a datagram cost the reader, and is every lost one reported?"""

from __future__ import annotations

import ctypes
import socket
import struct
import subprocess
import sys
import threading
import time

import numpy as np
from _report import report

from boxwork.pulse import Pulse, datagram
from boxwork.pulse.udp import UdpListener, _Slots

COUNT = 100_000
DROP_EVERY = 97
# 1,000 small datagrams take 0.8 MB of the kernel's 4 MiB; a pause lets the reader catch up.
BURST, PAUSE = 1_000, 0.004


def send(port: int, kind: str, count: int) -> None:
    """In a process of its own: prepared datagrams by `sendmmsg`, in bursts that the kernel's buffer can hold."""
    link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    link.connect(("127.0.0.1", port))
    slots = _Slots(BURST)
    heads = slots.data[:, :24].view(datagram.HEADER_TYPE)[:, 0]
    length = 24 if kind == "single" else len(datagram.packed(1, 0, [1] * datagram.PACKED_MAX))
    if kind != "single":
        slots.data[:, 24:length] = np.frombuffer(datagram.packed(1, 0, list(range(datagram.PACKED_MAX)))[24:], np.uint8)
    heads["magic"], heads["version"], heads["stream"] = datagram.MAGIC, 1, 1
    heads["kind"] = datagram.SAMPLE if kind == "single" else datagram.PACKED
    for place in range(BURST):
        slots._vectors[place].length = length
        slots.messages[place].header.control_length = 0
        slots.messages[place].header.control = None
    call = ctypes.CDLL(None).sendmmsg
    numbers = np.arange(count)
    if kind == "single":
        numbers = numbers[numbers % DROP_EVERY != 5]
    for start in range(0, len(numbers), BURST):
        part = numbers[start : start + BURST]
        heads["sequence"][: len(part)] = part * (1 if kind == "single" else datagram.PACKED_MAX)
        heads["sent"][: len(part)] = time.time_ns()
        call(link.fileno(), ctypes.byref(slots.messages), len(part), 0)
        time.sleep(PAUSE)
    link.close()


def burst(port: int, kind: str, count: int) -> None:
    subprocess.run([sys.executable, __file__, "--send", str(port), kind, str(count)], check=True, timeout=120)


def thread_cpu(run: object) -> tuple[threading.Thread, list[float]]:
    spent: list[float] = []

    def timed() -> None:
        began = time.thread_time_ns()
        run()  # type: ignore[operator]
        spent.append(time.thread_time_ns() - began)

    thread = threading.Thread(target=timed)
    thread.start()
    return thread, spent


def ours(portable: bool, kind: str, count: int) -> tuple[float, int, int]:
    """CPU of the reading thread for a datagram, and what it counted and missed."""
    pulse = Pulse(threaded=False)
    listener = UdpListener(pulse, portable=portable)
    thread, spent = thread_cpu(listener._read_portable if portable else listener._read_batches)
    burst(listener.port, kind, count)
    time.sleep(0.5)
    listener._stop.set()
    thread.join()
    series = pulse.series("path", stream=1, part="wire")
    result = spent[0] / listener.datagrams, series.count, series.lost
    listener.close()
    pulse.close()
    return result


def plain(count: int) -> float:
    """The loop that everybody writes first."""
    reader = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    reader.bind(("127.0.0.1", 0))
    reader.settimeout(8)
    latencies: list[int] = []
    header = struct.Struct("<HBBIQq")

    def run() -> None:
        try:
            while True:
                data = reader.recv(2048)
                latencies.append(time.time_ns() - header.unpack_from(data)[5])
        except TimeoutError:
            return

    thread, spent = thread_cpu(run)
    burst(reader.getsockname()[1], "single", count)
    thread.join()
    reader.close()
    return spent[0] / len(latencies)


def main() -> None:
    batches, portable, loops, packs = [], [], [], []
    counted = missed = 0
    for _ in range(5):
        loops.append(plain(COUNT))
        cost, counted, missed = ours(False, "single", COUNT)
        batches.append(cost)
        portable.append(ours(True, "single", COUNT)[0])
        packs.append(ours(False, "packed", 20_000)[0] / datagram.PACKED_MAX)
    injected = sum(1 for number in range(COUNT) if number % DROP_EVERY == 5)
    middle = sorted(loops)[2]
    report(
        name="pulse.udp.datagram",
        value=sorted(batches)[2] / 1000,
        unit="us",
        peer="recv loop",
        peer_value=middle / 1000,
    )
    report(
        name="pulse.udp.datagram.portable",
        value=sorted(portable)[2] / 1000,
        unit="us",
        peer="recv loop",
        peer_value=middle / 1000,
    )
    report(name="pulse.udp.packed_sample", value=sorted(packs)[2], unit="ns")
    report(
        name="pulse.udp.loss_reported",
        value=missed,
        unit="samples",
        peer="injected",
        peer_value=injected,
        counted=counted,
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--send"]:
        send(int(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
    else:
        main()
