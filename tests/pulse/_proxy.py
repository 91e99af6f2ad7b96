"""Delays what passes through it: datagrams by a fixed time each way, TCP by a pause before the first byte."""

from __future__ import annotations

import contextlib
import heapq
import select
import socket
import statistics
import sys
import threading
import time

from boxwork.pulse.probes import kernel_time_ns, stamp


class DelayingProxy:
    """A UDP relay on loopback that holds each datagram for `forth` or `back` seconds; every nth one is dropped."""

    def __init__(
        self,
        port: int,
        forth: float,
        back: float,
        drop_every: int = 0,
        *,
        host: str = "127.0.0.1",
        listen: tuple[str, int] = ("127.0.0.1", 0),
    ) -> None:
        self.inside = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.inside.bind(listen)
        self.outside = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.outside.connect((host, port))
        for link in (self.inside, self.outside):
            stamp(link)
        # How long each datagram was really held, from the kernel's time of arrival until it was sent on: a busy
        # machine wakes the proxy late, and what it injects is what it injects.
        self.held: dict[str, list[int]] = {"forth": [], "back": []}
        self.port = self.inside.getsockname()[1]
        self.forth, self.back, self.drop_every = forth, back, drop_every
        self.dropped = self.seen = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        waiting: list[tuple[float, int, bytes, object, int]] = []
        asker: object = None
        number = 0
        while not self._stop.is_set():
            pause = min(0.05, max(0.0, waiting[0][0] - time.monotonic())) if waiting else 0.05
            # select wakes up to a millisecond late; the last bit is waited for by looking.
            ready, _, _ = select.select([self.inside, self.outside], [], [], max(0.0, pause - 0.001))
            for link in ready:
                number += 1
                if link is self.outside:
                    with contextlib.suppress(ConnectionRefusedError):  # the agent behind it is not there yet
                        answer, control, _, _ = self.outside.recvmsg(2048, 64)
                        came = kernel_time_ns(control, time.time_ns())
                        heapq.heappush(waiting, (time.monotonic() + self.back, number, answer, asker, came))
                else:
                    data, control, _, asker = self.inside.recvmsg(2048, 64)
                    came = kernel_time_ns(control, time.time_ns())
                    self.seen += 1
                    if self.drop_every and self.seen % self.drop_every == 0:
                        self.dropped += 1
                        continue
                    heapq.heappush(waiting, (time.monotonic() + self.forth, number, data, None, came))
            while waiting and waiting[0][0] <= time.monotonic():
                _, _, data, to, came = heapq.heappop(waiting)
                with contextlib.suppress(OSError):
                    if to is None:
                        self.outside.send(data)
                    else:
                        self.inside.sendto(data, to)  # type: ignore[arg-type]
                self.held["forth" if to is None else "back"].append(time.time_ns() - came)

    def held_ms(self, way: str) -> float:
        """The median of what was really injected; `both` is of the sums, there and back of one question.

        The sum of two medians is another figure: what was sent on late forth need not be late back.
        """
        if way == "both":  # answers come in the order of their questions
            return statistics.median(map(sum, zip(self.held["forth"], self.held["back"], strict=False))) / 1e6
        return statistics.median(self.held[way]) / 1e6

    def close(self) -> None:
        self._stop.set()
        self._thread.join(5)
        self.inside.close()
        self.outside.close()


if __name__ == "__main__":  # in a process of its own: listen host, port, target host, port, forth and back in seconds
    given = sys.argv[1:]
    proxy = DelayingProxy(
        int(given[3]), float(given[4]), float(given[5]), host=given[2], listen=(given[0], int(given[1]))
    )
    sys.stdin.readline()  # asked what it did
    print(proxy.held_ms("forth"), proxy.held_ms("both"), flush=True)
