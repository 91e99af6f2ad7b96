"""The page that Prometheus scrapes: native histograms as protobuf, classic ones as text.

Prometheus wants counters that grow from the start of the process, so the page is made of the totals, not of
intervals.  Native histograms are the same buckets (schema 6); the classic ones have four an octave, because each
bucket is a time series there.  `lost` is a counter of its own: a gap in the samples must not look like silence.

Sources: prometheus.io/docs/instrumenting/exposition_formats, client_model/metrics.proto.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from boxwork.pulse import protobuf
from boxwork.pulse.buckets import upper_bound
from boxwork.pulse.exchange import to_prometheus
from boxwork.pulse.histogram import Histogram
from boxwork.pulse.recorder import Pulse
from boxwork.pulse.sinks.sink import SeriesInfo

PROTOBUF = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
TEXT = "text/plain; version=0.0.4; charset=utf-8"
# Buckets an octave on the text page: 2**2, an error of 8.6 %, 40 lines for a usual latency.  Unit: scale.
CLASSIC_SCALE = 2

_COUNTER, _HISTOGRAM = 0, 4  # MetricType
_UNIT_NAMES = {"ns": "nanoseconds", "ppm": "ppm", "bytes": "bytes", "bytes/s": "bytes_per_second"}

_Labels = tuple[tuple[str, str], ...]
_Family = list[tuple[_Labels, Histogram]]


def metrics(pulse: Pulse, accept: str = "", *, namespace: str = "boxwork") -> tuple[str, bytes]:
    """Content type and body for a scrape whose `Accept` header is given."""
    families: dict[str, _Family] = {}
    lost: list[tuple[_Labels, int]] = []
    for info, total, missing in pulse.aggregator.totals():
        families.setdefault(metric_name(info, namespace), []).append((_labels(info), total))
        lost.append(((("series", str(info.name)),), missing))
    if "application/vnd.google.protobuf" in accept:
        return PROTOBUF, _protobuf_page(families, f"{namespace}_pulse_lost", lost)
    return TEXT, _text_page(families, f"{namespace}_pulse_lost", lost)


def metric_name(info: SeriesInfo, namespace: str) -> str:
    """`derive.run` in nanoseconds → `boxwork_derive_run_nanoseconds`."""
    unit = _UNIT_NAMES.get(info.unit, info.unit)
    return _word("_".join(part for part in (namespace, info.name.name, unit) if part))


def vmrange(pulse: Pulse, *, namespace: str = "boxwork") -> str:
    """The totals as VictoriaMetrics' own histograms, for its import API; it knows no values below zero."""
    lines = []
    for info, total, _ in pulse.aggregator.totals():
        name, labels = metric_name(info, namespace), _labels(info)
        indices, counts = total.positive.sparse()
        for index, count in zip(indices.tolist(), counts.tolist(), strict=True):
            low, high = upper_bound(index - 1, total.scale), upper_bound(index, total.scale)
            bounds = (*labels, ("vmrange", f"{low:.9g}...{high:.9g}"))
            lines.append(f"{name}_bucket{_text_labels(bounds)} {count}")
        lines.append(f"{name}_sum{_text_labels(labels)} {total.sum}")
        lines.append(f"{name}_count{_text_labels(labels)} {total.count}")
    return "\n".join(lines) + "\n"


# --- protobuf


def _protobuf_page(families: Mapping[str, _Family], lost_name: str, lost: Iterable[tuple[_Labels, int]]) -> bytes:
    page = []
    for name, series in families.items():
        page.append(
            _family(
                name,
                _HISTOGRAM,
                (protobuf.message(4, _pairs(labels), protobuf.message(7, _native(total))) for labels, total in series),
            )
        )
    page.append(
        _family(
            f"{lost_name}_total",
            _COUNTER,
            (
                protobuf.message(4, _pairs(labels), protobuf.message(3, protobuf.double(1, float(count))))
                for labels, count in lost
            ),
        )
    )
    return b"".join(page)


def _family(name: str, kind: int, series: Iterable[bytes]) -> bytes:
    body = b"".join((protobuf.text(1, name), protobuf.number(3, kind), *series))
    return protobuf.varint(len(body)) + body


def _pairs(labels: _Labels) -> bytes:
    return b"".join(protobuf.message(1, protobuf.text(1, _word(key)), protobuf.text(2, value)) for key, value in labels)


def _native(total: Histogram) -> bytes:
    native = to_prometheus(total)
    parts = [
        protobuf.number(1, native.count),
        protobuf.double(2, native.sum),
        protobuf.signed(5, native.schema),
        protobuf.double(6, native.zero_threshold),
        protobuf.number(7, native.zero_count),
    ]
    for span_field, delta_field, spans, deltas in (
        (9, 10, native.negative_spans, native.negative_deltas),
        (12, 13, native.positive_spans, native.positive_deltas),
    ):
        parts += [
            protobuf.message(span_field, protobuf.signed(1, gap), protobuf.number(2, length)) for gap, length in spans
        ]
        if deltas:
            parts.append(protobuf.packed_signed(delta_field, deltas))
    if not native.positive_spans and not native.negative_spans:
        # A span of no length says "native" where there is no bucket to say it.
        parts.append(protobuf.message(12, protobuf.signed(1, 0), protobuf.number(2, 0)))
    return b"".join(parts)


# --- text


def _text_page(families: Mapping[str, _Family], lost_name: str, lost: Iterable[tuple[_Labels, int]]) -> bytes:
    lines = []
    for name, series in families.items():
        lines.append(f"# TYPE {name} histogram")
        for labels, total in series:
            for bound, count in classic(total):
                lines.append(f"{name}_bucket{_text_labels((*labels, ('le', bound)))} {count}")
            lines.append(f"{name}_sum{_text_labels(labels)} {total.sum}")
            lines.append(f"{name}_count{_text_labels(labels)} {total.count}")
    lines.append(f"# TYPE {lost_name}_total counter")
    lines += [f"{lost_name}_total{_text_labels(labels)} {count}" for labels, count in lost]
    return ("\n".join(lines) + "\n").encode()


def classic(total: Histogram) -> list[tuple[str, int]]:
    """Cumulative counts at the upper bound of each occupied bucket, then `+Inf`."""
    coarse = total.downscaled(CLASSIC_SCALE) if total.scale > CLASSIC_SCALE else total
    scale = coarse.scale
    steps: list[tuple[float, int]] = []
    below, below_counts = coarse.negative.sparse()
    # The bucket of magnitudes (a, b] holds the values [-b, -a): -a itself counts one bucket later.
    steps += [
        (-upper_bound(index - 1, scale), count)
        for index, count in zip(below.tolist()[::-1], below_counts.tolist()[::-1], strict=True)
    ]
    if coarse.zero:
        steps.append((0.0, coarse.zero))
    above, above_counts = coarse.positive.sparse()
    steps += [
        (upper_bound(index, scale), count) for index, count in zip(above.tolist(), above_counts.tolist(), strict=True)
    ]
    lines, running = [], 0
    for bound, count in steps:
        running += count
        lines.append((f"{bound:.9g}", running))
    return [*lines, ("+Inf", running)]


def _labels(info: SeriesInfo) -> _Labels:
    return info.name.labels


def _text_labels(labels: _Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{_word(key)}="{_escaped(value)}"' for key, value in labels) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _word(text: str) -> str:
    word = re.sub(r"[^a-zA-Z0-9_]", "_", text)
    return f"_{word}" if word[:1].isdigit() else word
