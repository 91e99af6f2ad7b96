"""Pushes finished intervals to an OpenTelemetry collector, as delta exponential histograms over HTTP.

Only the finest intervals are sent: the collector makes its own rollups.  Names, labels and units go as they are;
values stay in the unit of the series, because another one would move every bucket.

Source: opentelemetry.io/docs/specs/otlp (OTLP/HTTP), opentelemetry-proto/metrics/v1.
"""

from __future__ import annotations

import http.client
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from boxwork.errors import BadInput, StorageError
from boxwork.pulse import protobuf
from boxwork.pulse.exchange import to_otlp
from boxwork.pulse.sinks.sink import Row
from boxwork.pulse.sinks.spool import Spool

DELTA = 1  # AggregationTemporality
# A collector that does not answer within this is away.  Unit: seconds.
TIMEOUT_SECONDS = 5.0
# Answers after which the same request may succeed later; others would fail for ever.  Source: the OTLP specification.
RETRYABLE = {429, 502, 503, 504}


class OtlpSink(Spool):
    """`OtlpSink("http://127.0.0.1:4318")`: `/v1/metrics` is added unless the URL has a path."""

    def __init__(
        self, url: str, *, resource: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        self.collector = OtlpStore(url, resource or {"service.name": "boxwork"}, headers or {})
        super().__init__(self.collector)

    def write(self, rows: Sequence[Row]) -> None:
        super().write(
            [row for row in rows if row.interval.width_ns == row.series.widths[0] and not row.interval.histogram.empty]
        )


class OtlpStore:
    """One collector."""

    def __init__(self, url: str, resource: Mapping[str, str], headers: Mapping[str, str]) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise BadInput(f"{url!r} is not a collector: write http://host:4318")
        self._secure = parts.scheme == "https"
        self._host, self._port = parts.hostname, parts.port or 4318
        self._path = parts.path if parts.path.strip("/") else "/v1/metrics"
        self._resource = dict(resource)
        self._headers = {"Content-Type": "application/x-protobuf", **headers}
        self.refused = 0

    def write(self, rows: Sequence[Row]) -> None:
        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        connection = kind(self._host, self._port, timeout=TIMEOUT_SECONDS)
        try:
            connection.request("POST", self._path, export_request(rows, self._resource), self._headers)
            answer = connection.getresponse()
            answer.read(1 << 16)
        except (OSError, http.client.HTTPException) as reason:
            raise StorageError(f"the collector {self._host}:{self._port} is away: {reason}") from reason
        finally:
            connection.close()
        if answer.status in RETRYABLE:
            raise StorageError(f"the collector {self._host}:{self._port} answers {answer.status}, later it may not")
        if answer.status >= 300:
            self.refused += len(rows)

    def tidy(self) -> None:
        """Nothing to tidy."""

    def close(self) -> None:
        """Every request has a connection of its own."""


def export_request(rows: Sequence[Row], resource: Mapping[str, str]) -> bytes:
    """An ExportMetricsServiceRequest with one data point for each row."""
    by_name: dict[tuple[str, str], list[bytes]] = {}
    for row in rows:
        by_name.setdefault((row.series.name.name, row.series.unit), []).append(_data_point(row))
    metrics = [
        protobuf.message(
            2, protobuf.text(1, name), protobuf.text(3, unit), protobuf.message(10, *points, protobuf.number(2, DELTA))
        )
        for (name, unit), points in by_name.items()
    ]
    scope = protobuf.message(1, protobuf.text(1, "boxwork.pulse"))
    return protobuf.message(
        1,
        protobuf.message(1, *(_attribute(1, key, value) for key, value in resource.items())),
        protobuf.message(2, scope, *metrics),
    )


def _data_point(row: Row) -> bytes:
    interval = row.interval
    point = to_otlp(interval.histogram)
    parts = [_attribute(1, key, value) for key, value in row.series.name.labels]
    parts += [
        protobuf.fixed64(2, interval.start_ns),
        protobuf.fixed64(3, interval.end_ns),
        protobuf.fixed64(4, point.count),
        protobuf.double(5, point.sum),
        protobuf.signed(6, point.scale),
        protobuf.fixed64(7, point.zero_count),
    ]
    sides = ((8, point.positive_offset, point.positive), (9, point.negative_offset, point.negative))
    for field, offset, counts in sides:
        if counts:
            parts.append(protobuf.message(field, protobuf.signed(1, offset), protobuf.packed(2, counts)))
    if point.minimum is not None and point.maximum is not None:
        parts += [protobuf.double(12, point.minimum), protobuf.double(13, point.maximum)]
    return protobuf.message(1, *parts)


def _attribute(field: int, key: str, value: str) -> bytes:
    return protobuf.message(field, protobuf.text(1, key), protobuf.message(2, protobuf.text(1, value)))
