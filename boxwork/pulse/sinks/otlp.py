"""Pushes finished intervals to an OpenTelemetry collector, as delta exponential histograms over HTTP.

Only the finest intervals are sent: the collector makes its own rollups.  Names, labels and units go as they are;
values stay in the unit of the series, because another one would move every bucket.

Source: opentelemetry.io/docs/specs/otlp (OTLP/HTTP), opentelemetry-proto/metrics/v1.
"""

from __future__ import annotations

import http.client
import logging
import ssl
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from boxwork.errors import BadInput, StorageError
from boxwork.pulse import protobuf
from boxwork.pulse.exchange import to_otlp
from boxwork.pulse.sinks.sink import Row
from boxwork.pulse.sinks.spool import Spool
from boxwork.settings import KiB

DELTA = 1  # AggregationTemporality
# A collector that does not answer within this is away.  Unit: seconds.
TIMEOUT_SECONDS = 5.0
# Answers after which the same request may succeed later; others would fail for ever.  Source: the OTLP specification.
RETRYABLE = {429, 502, 503, 504}
# An answer says how many points were refused, and why; no more than this is read.  Unit: bytes.
ANSWER_BYTES_MAX = 64 * KiB

log = logging.getLogger("boxwork.pulse")


class OtlpSink(Spool):
    """`OtlpSink("http://127.0.0.1:4318")`: `/v1/metrics` is added unless the URL has a path."""

    def __init__(
        self, url: str, *, resource: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        self.collector = OtlpStore(url, resource or {"service.name": "boxwork"}, headers or {})
        super().__init__(self.collector)

    @property
    def refused(self) -> int:
        """Points that the collector will never take; `collector.last_refusal` says why."""
        return self.collector.refused

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
        self._context = ssl.create_default_context() if parts.scheme == "https" else None
        try:
            # A collector of one's own has a port for it; one behind https is usually at the port of https.
            self._host, self._port = parts.hostname, parts.port or (443 if self._context else 4318)
        except ValueError as reason:
            raise BadInput(f"{url!r} is not a collector: {reason}") from reason
        self._path = parts.path if parts.path.strip("/") else "/v1/metrics"
        self._path += f"?{parts.query}" if parts.query else ""
        self._resource = dict(resource)
        self._headers = {"Content-Type": "application/x-protobuf", **headers}
        #: Points that the collector did not take and never will, and why it did not take the last ones.
        self.refused = 0
        self.last_refusal = ""

    def write(self, rows: Sequence[Row]) -> None:
        connection = self._connection()
        try:
            connection.request("POST", self._path, export_request(rows, self._resource), self._headers)
            answer = connection.getresponse()
            body = answer.read(ANSWER_BYTES_MAX)
        except (OSError, http.client.HTTPException) as reason:
            raise StorageError(f"the collector {self._host}:{self._port} is away: {reason}") from reason
        finally:
            connection.close()
        if answer.status in RETRYABLE:
            raise StorageError(f"the collector {self._host}:{self._port} answers {answer.status}, later it may not")
        if answer.status >= 300:
            self._refuse(len(rows), f"status {answer.status} {answer.reason}")
        else:
            self._refuse(*_partial_success(body))

    def _connection(self) -> http.client.HTTPConnection:
        if self._context is None:
            return http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT_SECONDS)
        return http.client.HTTPSConnection(self._host, self._port, timeout=TIMEOUT_SECONDS, context=self._context)

    def _refuse(self, points: int, why: str) -> None:
        if not points:
            return
        before, self.refused, self.last_refusal = self.refused, self.refused + points, why
        if before.bit_length() != self.refused.bit_length():  # each doubling: a wrong key must not flood the log
            log.warning("pulse: the collector %s:%d refused %d points: %s", self._host, self._port, self.refused, why)

    def tidy(self) -> None:
        """Nothing to tidy."""

    def close(self) -> None:
        """Every request has a connection of its own."""


def _partial_success(body: bytes) -> tuple[int, str]:
    """How many points a collector refused of a request that it took, and why."""
    try:
        partial = next(
            (value for field, value in protobuf.fields(body) if field == 1 and isinstance(value, bytes)), b""
        )
        found = dict(protobuf.fields(partial))
    except ValueError:  # JSON, or nothing that we know: the request was taken
        return 0, ""
    points, why = found.get(1, 0), found.get(2, b"")
    return (points if isinstance(points, int) else 0), (why.decode(errors="replace") if isinstance(why, bytes) else "")


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
