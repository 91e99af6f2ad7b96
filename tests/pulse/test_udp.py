"""The listener: every datagram counted, every hole found, wire and reader kept apart."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import numpy as np
import pytest

from boxwork.pulse import Pulse, datagram
from boxwork.pulse.recorder import Series
from boxwork.pulse.udp import BATCH, DATAGRAM_BYTES, GATHER_BYTES, GATHER_NS_MAX, Path, UdpListener


@pytest.fixture(params=["batches", "portable"])
def listener(request: pytest.FixtureRequest) -> Iterator[UdpListener]:
    pulse = Pulse(threaded=False)
    with UdpListener(pulse, paths={7: Path("ny4", "cme")}, portable=request.param == "portable") as listener:
        yield listener


def send(listener: UdpListener, *datagrams: bytes) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for place, data in enumerate(datagrams):
            sender.sendto(data, ("127.0.0.1", listener.port))
            if place % 200 == 199:  # let the reader keep up: the kernel's buffer is not what is tested
                arrived(listener, place + 1 - 100)


def arrived(listener: UdpListener, count: int) -> None:
    deadline = time.monotonic() + 10
    while listener.datagrams < count:
        assert time.monotonic() < deadline, f"{listener.datagrams} of {count} datagrams came"
        time.sleep(0.002)


def lost(series: Series, expected: int) -> int:
    deadline = time.monotonic() + 5
    while series.lost != expected and time.monotonic() < deadline:
        time.sleep(0.01)
    return series.lost


def test_loss_reported_is_loss_injected(listener: UdpListener) -> None:
    kept = [number for number in range(3000) if number % 10 != 3 and not 500 <= number < 550]
    send(listener, *(datagram.sample(7, number, time.time_ns()) for number in kept))
    arrived(listener, len(kept))
    wire = listener.pulse.series("path", src="ny4", dst="cme", part="wire")
    assert len(kept) == wire.count
    assert 3000 - len(kept) == lost(wire, 3000 - len(kept))


def test_wire_is_by_the_senders_clock_and_may_be_negative(listener: UdpListener) -> None:
    now = time.time_ns()
    send(listener, datagram.sample(7, 0, now - 50_000_000), datagram.sample(7, 1, now + 3_600_000_000_000))
    arrived(listener, 2)
    wire = listener.pulse.series("path", src="ny4", dst="cme", part="wire").histogram
    reader = listener.pulse.series("path", src="ny4", dst="cme", part="reader").histogram
    assert 50_000_000 <= wire.maximum < 10_000_000_000
    assert -3_600_000_000_000 < wire.minimum < -3_590_000_000_000
    assert (0.5, 2) == (wire.negative_fraction, reader.count)
    assert 0 <= reader.minimum


def test_packed_datagrams_carry_many_samples_and_their_loss(listener: UdpListener) -> None:
    send(listener, datagram.packed(9, 0, list(range(1, 101))), datagram.packed(9, 250, [-5] * 50))
    arrived(listener, 2)
    series = listener.pulse.series("path", stream="9", part="wire")
    assert (150, -5, 100) == (series.count, series.histogram.minimum, series.histogram.maximum)
    assert 150 == lost(series, 150)


def test_statsd_text_is_counted_and_nonsense_refused(listener: UdpListener) -> None:
    send(
        listener,
        b"page:320|ms|#route:/t\npage:1|ms\nhits:1|c",
        b"\x00" * 30,
        b"",
        datagram.sample(7, 0, 0)[:20],
        datagram.packed(9, 0, [1])[:-3],
    )
    arrived(listener, 5)
    assert 1 == listener.pulse.series("page", route="/t").count
    assert 1 == listener.pulse.series("page").count
    assert 4 == listener.refused


def test_batches_have_the_kernels_time_stamp(listener: UdpListener) -> None:
    if not listener._portable:
        send(listener, datagram.sample(7, 0, 0))
        arrived(listener, 1)
        assert listener.kernel_stamps


def rows(*datagrams: bytes) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    data = np.zeros((len(datagrams), DATAGRAM_BYTES), np.uint8)
    for place, one in enumerate(datagrams):
        data[place, : len(one)] = np.frombuffer(one, np.uint8)
    head = datagram.HEADER.size
    lengths = np.array([len(one) for one in datagrams])
    return data[:, :head].copy(), data[:, head:].copy(), lengths, np.zeros(len(datagrams), np.int64)


@pytest.fixture
def quiet() -> Iterator[UdpListener]:
    listener = UdpListener(Pulse(threaded=False))
    yield listener
    listener.close()


def test_reordered_datagrams_are_not_lost(quiet: UdpListener) -> None:
    wire = quiet.pulse.series("path", stream="1", part="wire")
    quiet.take(*rows(datagram.sample(1, 0, 0), datagram.sample(1, 5, 0)), 0)
    quiet._settle()
    quiet.take(*rows(*(datagram.sample(1, number, 0) for number in (2, 1, 4, 3))), 0)
    quiet._settle()
    quiet._settle()
    assert (6, 0) == (wire.count, wire.lost)


def test_a_sender_that_starts_again_is_no_loss(quiet: UdpListener) -> None:
    wire = quiet.pulse.series("path", stream="1", part="wire")
    quiet.take(*rows(datagram.sample(1, 1_000_000, 0), datagram.sample(1, 1_000_002, 0)), 0)
    quiet.take(*rows(datagram.sample(1, 0, 0), datagram.sample(1, 1, 0)), 0)
    quiet._settle(True)
    assert (4, 1) == (wire.count, wire.lost)


def test_streams_of_one_batch_are_kept_apart(quiet: UdpListener) -> None:
    quiet.take(*rows(*(datagram.sample(number % 3, number // 3, 0) for number in range(30))), 0)
    assert [10, 10, 10] == [quiet.pulse.series("path", stream=str(n), part="wire").count for n in range(3)]


def test_a_batch_says_the_same_as_its_datagrams_one_by_one(quiet: UdpListener) -> None:
    kinds = [
        lambda number: datagram.sample(number % 3, 1000 + number * 2, number),
        lambda number: datagram.packed(5, 10 * number, [number] * (number % 4 + 1)),
        lambda number: datagram.sample(1, number, 0)[:20],
        lambda number: b"page:%d|ms" % number,
        lambda number: datagram.HEADER.pack(datagram.MAGIC, 9, datagram.SAMPLE, 1, 0, 0),
    ]
    several = [kinds[number % len(kinds) if number % 7 else 0](number) for number in range(300)]
    alone = UdpListener(Pulse(threaded=False))
    quiet.take(*rows(*several), 0)
    for one in several:
        alone.take(*rows(one), 0)
    for listener in (quiet, alone):
        listener._settle(True)

    def said(listener: UdpListener) -> list[tuple[str, int, int, float]]:
        everything = listener.pulse._series.values()
        return sorted((str(one.name), one.count, one.lost, one.histogram.quantile(0.5)) for one in everything)

    assert said(alone) == said(quiet)
    assert alone.refused == quiet.refused > 0
    alone.close()


def test_a_full_batch_of_two_lengths_is_no_restart(quiet: UdpListener) -> None:
    full = [1] * datagram.PACKED_MAX
    several, sequence = [], 0
    for place in range(BATCH):
        one = full if place % 2 else full[:-1]
        if place % 100 != 50:
            several.append(datagram.packed(1, sequence, one))
        sequence += len(one)
    quiet.take(*rows(*several), 0)
    quiet._settle(True)
    wire = quiet.pulse.series("path", stream="1", part="wire")
    assert sequence == wire.count + wire.lost
    assert 10 * (datagram.PACKED_MAX - 1) == wire.lost


def test_datagrams_gather_only_as_long_as_the_kernels_buffer_allows(quiet: UdpListener) -> None:
    assert 0 < quiet._gather_ns() <= GATHER_NS_MAX
    quiet.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 100_000)
    room = quiet.socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // GATHER_BYTES
    assert quiet._gather_ns() * 1_000_000 <= room * 1_000_000_000 // 2


def test_what_found_the_kernels_buffer_full_is_told_apart(quiet: UdpListener) -> None:
    if quiet._portable:
        pytest.skip("the kernel tells it on Linux")
    quiet.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for number in range(100):
            sender.sendto(datagram.sample(7, number, 0), ("127.0.0.1", quiet.port))
    dropped = quiet.dropped
    assert 0 < dropped < 100
    with quiet:
        arrived(quiet, 100 - dropped)
        send(quiet, datagram.sample(7, 100, 0))
        arrived(quiet, 101 - dropped)
        assert dropped == lost(quiet.pulse.series("path", stream="7", part="wire"), dropped)
    assert dropped == quiet.dropped


def test_a_flood_is_read_in_few_calls() -> None:
    calls: list[int] = []

    class Counting(UdpListener):
        def take(self, heads: np.ndarray, *rest: object) -> None:
            calls.append(len(heads))
            super().take(heads, *rest)  # type: ignore[arg-type]

    with Counting(Pulse(threaded=False)) as listener:
        if not listener._portable:
            send(listener, *(datagram.sample(7, number, 0) for number in range(3000)))
            arrived(listener, 3000)
            assert sum(calls) == 3000
            assert len(calls) < 300
