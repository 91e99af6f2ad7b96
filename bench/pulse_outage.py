"""How many samples does a killed Redis cost?  `--seconds 60` for the long run; 5 by default."""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from pathlib import Path

from _report import report

from boxwork.pulse import Pulse
from boxwork.pulse.sinks.redis import RedisSink

sys.path.append(str(Path(__file__).resolve().parent.parent))  # for the server of the tests
from tests.pulse._valkey import Server

SERIES, PER_SECOND = 50, 70_000


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--seconds", type=float, default=5.0)
    away = options.parse_known_args()[0].seconds
    with tempfile.TemporaryDirectory() as directory:
        server = Server(Path(directory))
        sink = RedisSink(server.url, writer="bench")
        pulse = Pulse(sink, interval_seconds=0.2)
        records = [pulse.series("path", n=number).record for number in range(SERIES)]
        stop, recorded = threading.Event(), [0]

        def record() -> None:
            due = time.perf_counter()
            while not stop.is_set():
                for append in records:
                    for value in range(1000, 1014):
                        append(value)
                recorded[0] += SERIES * 14
                due += SERIES * 14 / PER_SECOND
                stop.wait(max(0.0, due - time.perf_counter()))

        thread = threading.Thread(target=record)
        thread.start()
        time.sleep(2)
        server.kill()
        time.sleep(away)
        waiting, held = sink.waiting, sink.bytes_held
        server.start()
        began = time.perf_counter()
        while sink.waiting > 2 * SERIES and time.perf_counter() - began < 60:
            time.sleep(0.01)
        drained = time.perf_counter() - began
        time.sleep(1)
        stop.set()
        thread.join()
        pulse.close()
        reader = Pulse(RedisSink(server.url, writer="reader"), threaded=False)
        stored = reader.query("path", last_seconds=away + 60).histogram.count
        reader.close()
        server.kill()
    report(
        name="pulse.outage.lost",
        value=recorded[0] - stored,
        unit="samples",
        peer="recorded",
        peer_value=recorded[0],
        seconds=away,
        rows_waiting=waiting,
        bytes_waiting=held,
    )
    report(name="pulse.outage.drained", value=drained, unit="s")


if __name__ == "__main__":
    main()
