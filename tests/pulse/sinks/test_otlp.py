"""Pushing to a collector: a stub of our own reads the request with the protobuf classes of others."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from _clock import HOUR_START_NS, fake_clock
from sink_contract import info, row

from boxwork.clock import SECOND_NS
from boxwork.errors import BadInput
from boxwork.pulse import Pulse
from boxwork.pulse.sinks.otlp import OtlpSink

service = pytest.importorskip("opentelemetry.proto.collector.metrics.v1.metrics_service_pb2")


class Collector:
    def __init__(self) -> None:
        self.answers: list[int] = []
        self.body = b""
        self.requests: list[object] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = collector.answers.pop(0) if collector.answers else 200
                if status == 200:
                    assert self.path == "/v1/metrics"
                    collector.requests.append(service.ExportMetricsServiceRequest.FromString(body))
                self.send_response(status)
                self.end_headers()
                self.wfile.write(collector.body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.server.shutdown()
    collector.server.server_close()


def test_each_finest_interval_is_a_delta_point_with_its_labels(collector: Collector) -> None:
    clock = fake_clock()
    pulse = Pulse(OtlpSink(collector.url, resource={"service.name": "test"}), clock=clock, threaded=False)
    series = pulse.series("path", src="ny4")
    for value in (-3, 0, 5, 5, 1000):
        series.record(value)
    pulse.series("quiet")
    clock.advance(SECOND_NS)
    pulse.tick()
    pulse.close()
    (request,) = collector.requests
    (resource,) = request.resource_metrics  # type: ignore[attr-defined]
    assert "test" == resource.resource.attributes[0].value.string_value
    (metric,) = resource.scope_metrics[0].metrics
    histogram = metric.exponential_histogram
    (point,) = histogram.data_points
    assert ("path", "ns", 1) == (metric.name, metric.unit, histogram.aggregation_temporality)
    assert (HOUR_START_NS, HOUR_START_NS + SECOND_NS) == (point.start_time_unix_nano, point.time_unix_nano)
    assert (5, 1007.0, 6, 1, -3.0, 1000.0) == (
        point.count,
        point.sum,
        point.scale,
        point.zero_count,
        point.min,
        point.max,
    )
    assert ("src", "ny4") == (point.attributes[0].key, point.attributes[0].value.string_value)
    assert 3 == sum(point.positive.bucket_counts)
    base = 2 ** (2**-point.scale)
    place = list(point.positive.bucket_counts).index(2) + point.positive.offset
    assert base**place < 5 <= base ** (place + 1)


def test_a_busy_collector_is_asked_again_and_a_refusing_one_is_not(collector: Collector) -> None:
    collector.answers = [503, 200, 400]
    sink = OtlpSink(collector.url)
    sink.write([row(info(), 0, 5)])
    deadline = threading.Event()
    for _ in range(500):
        if not sink.waiting:
            break
        deadline.wait(0.01)
    assert 1 == len(collector.requests)
    assert sink.failures == 1
    sink.write([row(info(), 1, 5)])
    assert sink.flush()
    assert (1, 1) == (sink.collector.refused, len(collector.requests))
    sink.close()


def test_what_a_collector_refuses_is_counted_and_said(collector: Collector, caplog: pytest.LogCaptureFixture) -> None:
    said = service.ExportMetricsServiceResponse()
    said.partial_success.rejected_data_points = 1
    said.partial_success.error_message = "delta temporality is not supported"
    collector.body = said.SerializeToString()
    sink = OtlpSink(collector.url)
    sink.write([row(info(), 0, 5), row(info(), 1, 5)])
    assert sink.flush()
    assert (1, "delta temporality is not supported") == (sink.refused, sink.collector.last_refusal)
    collector.answers = [401]
    sink.write([row(info(), 2, 5)])
    assert sink.flush()
    assert (2, "status 401 Unauthorized") == (sink.refused, sink.collector.last_refusal)
    assert [1, 2] == [record.args[2] for record in caplog.records if "refused" in record.message]  # type: ignore[index]
    collector.body = b'{"partialSuccess": {}}'
    sink.write([row(info(), 3, 5)])
    assert sink.flush()
    assert 2 == sink.refused
    sink.close()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://collector", ("collector", 4318, "/v1/metrics")),
        ("https://collector", ("collector", 443, "/v1/metrics")),
        ("https://collector:4318/otlp?tenant=a", ("collector", 4318, "/otlp?tenant=a")),
    ],
)
def test_an_address_is_taken_as_it_is_written(url: str, expected: tuple[str, int, str]) -> None:
    sink = OtlpSink(url)
    assert expected == (sink.collector._host, sink.collector._port, sink.collector._path)
    sink.close()


def test_a_text_that_is_no_address_is_refused() -> None:
    with pytest.raises(BadInput, match="http://host:4318"):
        OtlpSink("collector")
