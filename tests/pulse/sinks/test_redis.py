"""The shared history against a real server: contract, layout, outage, restart without its data, other writers."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from _clock import HOUR_START_NS, fake_clock
from _valkey import Server
from sink_contract import check_history, info, read, row

from boxwork.clock import SECOND_NS
from boxwork.errors import BadInput
from boxwork.pulse import Pulse
from boxwork.pulse.interval import DAY_NS, HOUR_NS, MINUTE_NS
from boxwork.pulse.sinks.redis import RedisSink, RedisStore, chunking

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("valkey"))
    yield running
    running.kill()


@pytest.fixture(autouse=True)
def empty(server: Server) -> None:
    import redis

    with redis.Redis(port=server.port) as client:
        client.flushall()


def flushed(sink: object) -> None:
    assert isinstance(sink, RedisSink)
    assert sink.flush()
    sink.store._known_at = -(2**62)  # type: ignore[attr-defined]
    sink.store._runs.clear()  # type: ignore[attr-defined]


def test_it_keeps_the_contract(server: Server) -> None:
    check_history(lambda: RedisSink(server.url), flushed)


def test_the_layout_is_one_blob_in_a_hash_for_each_chunk_and_expires(server: Server) -> None:
    import redis

    sink = RedisSink(server.url, writer="ny4-1")
    sink.write([row(info(), slot, 5) for slot in range(650)])
    sink.write([row(info(), 0, 5, width_ns=HOUR_NS)])
    assert sink.flush()
    with redis.Redis(port=server.port) as client:
        chunk = HOUR_START_NS // (10 * MINUTE_NS)
        assert 600 == client.hlen(f"pulse:{{path@ny4-1}}:1000:{chunk}:1")
        assert row(info(), 607, 5).blob == client.hget(f"pulse:{{path@ny4-1}}:1000:{chunk + 1}:1", "7")
        assert DAY_NS // SECOND_NS < client.ttl(f"pulse:{{path@ny4-1}}:1000:{chunk}:1") <= (DAY_NS // SECOND_NS) + 600
        hours = f"pulse:{{path@ny4-1}}:3600000:{HOUR_START_NS // (30 * DAY_NS)}:1"
        assert -1 == client.ttl(hours)
        assert {b"path@ny4-1"} == set(client.hgetall("pulse:series"))
    sink.close()


def test_writers_on_two_hosts_are_summed(server: Server) -> None:
    clock = fake_clock()
    for writer in ("ny4-1", "ny4-2"):
        pulse = Pulse(RedisSink(server.url, writer=writer, clock=clock), clock=clock, threaded=False)
        clock.token(4)
        pulse.series("path", src="ny4").record(7)
        clock.advance(SECOND_NS)
        pulse.tick()
        pulse.close()
    reader = Pulse(RedisSink(server.url, writer="page", clock=clock), clock=clock, threaded=False)
    answer = reader.query("path", HOUR_START_NS, HOUR_START_NS + 2 * SECOND_NS)
    assert (2, 2) == (answer.histogram.count, answer.coverage.runs)
    reader.close()


@pytest.mark.parametrize("options", [(), ("--appendonly", "yes", "--appendfsync", "everysec")])
def test_a_killed_server_costs_no_sample(tmp_path: Path, options: tuple[str, ...]) -> None:
    server = Server(tmp_path, *options)
    sink = RedisSink(server.url, writer="agent")
    pulse = Pulse(sink, interval_seconds=0.1)
    stop = threading.Event()
    recorded = [0] * 5

    def record(place: int) -> None:
        append = pulse.series("path", n=place).record
        while not stop.is_set():
            for value in range(200):
                append(value)
            recorded[place] += 200
            stop.wait(0.005)

    threads = [threading.Thread(target=record, args=(place,)) for place in range(5)]
    for thread in threads:
        thread.start()
    time.sleep(1.0)
    server.kill()
    time.sleep(3.0)
    assert sink.waiting > 50
    server.start()  # without persistence it comes back empty
    deadline = time.monotonic() + 20
    while sink.waiting > 20 and time.monotonic() < deadline:
        time.sleep(0.05)
    stop.set()
    for thread in threads:
        thread.join()
    pulse.close()
    assert sink.dropped == 0
    assert sink.store.replayed > 0  # type: ignore[attr-defined]
    reader = Pulse(RedisSink(server.url, writer="page"), threaded=False)
    answer = reader.query("path", last_seconds=60)
    assert sum(recorded) == answer.histogram.count
    reader.close()
    server.kill()


def test_reading_answers_with_what_waits_while_the_server_is_away(tmp_path: Path) -> None:
    server = Server(tmp_path)
    server.kill()
    sink = RedisSink(server.url)
    sink.write([row(info(), 3, 5)])
    assert [row(info(), 3, 5).blob] == read(sink, info(), 0, 9)
    assert [info()] == sink.catalog()
    sink.close()
    assert 1 == sink.dropped


def test_a_chunk_is_made_for_each_width() -> None:
    assert (10 * MINUTE_NS, DAY_NS) == chunking(SECOND_NS // 10)
    assert (30 * DAY_NS, 0) == chunking(HOUR_NS)
    with pytest.raises(BadInput):
        chunking(2 * HOUR_NS)
    with pytest.raises(BadInput, match="'@'"):
        RedisStore("redis://127.0.0.1", "a@b", "pulse", fake_clock(), 1)
