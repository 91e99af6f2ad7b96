"""The scrape page, read by the parser of others."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from _clock import fake_clock

from boxwork.pulse import Pulse
from boxwork.pulse.sinks.prometheus import PROTOBUF, TEXT, classic, metrics, vmrange


@pytest.fixture
def pulse() -> Pulse:
    pulse = Pulse(clock=fake_clock(), threaded=False)
    for value in range(1, 1001):
        pulse.series("derive.run", box='sh"out').record(value * 1000)
    pulse.series("path", dst="cme").record(-500)
    pulse.series("path", dst="cme").record(0)
    pulse.series("path", dst="ld4").lose(3)
    return pulse


def test_the_text_page_is_read_by_the_prometheus_client(pulse: Pulse) -> None:
    parser = pytest.importorskip("prometheus_client.parser")
    kind, page = metrics(pulse, "text/plain")
    assert TEXT == kind
    families = {family.name: family for family in parser.text_string_to_metric_families(page.decode())}
    run = families["boxwork_derive_run_nanoseconds"]
    assert "histogram" == run.type
    samples = {sample.labels.get("le", sample.name): sample for sample in run.samples}
    assert 1000 == samples["+Inf"].value == samples["boxwork_derive_run_nanoseconds_count"].value
    assert 500_500_000 == samples["boxwork_derive_run_nanoseconds_sum"].value
    assert 'sh"out' == samples["+Inf"].labels["box"]
    lost = (
        {sample.labels["series"]: sample.value for sample in families["boxwork_pulse_lost_samples"].samples}
        if ("boxwork_pulse_lost_samples" in families)
        else {sample.labels["series"]: sample.value for sample in families["boxwork_pulse_lost"].samples}
    )
    assert 3 == lost["path{dst=ld4}"]


def test_classic_buckets_are_cumulative_and_hold_what_they_say(pulse: Pulse) -> None:
    steps = classic(pulse.series("derive.run", box='sh"out').histogram)
    counts = [count for _, count in steps]
    assert sorted(counts) == counts
    for bound, count in steps[:-1]:
        assert sum(value * 1000 <= float(bound) * (1 + 1e-8) for value in range(1, 1001)) == count
    assert [("-430.538965", 1), ("0", 2), ("+Inf", 2)] == classic(pulse.series("path", dst="cme").histogram)


def test_the_protobuf_page_has_the_native_buckets(pulse: Pulse) -> None:
    kind, page = metrics(pulse, "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily,text/plain")
    assert PROTOBUF == kind
    families = dict(_families(page))
    assert {"boxwork_derive_run_nanoseconds", "boxwork_path_nanoseconds", "boxwork_pulse_lost_total"} == set(families)
    metric = families["boxwork_derive_run_nanoseconds"][4][0]
    histogram = _fields(_fields(metric)[7][0])
    assert (1000, 12) == (histogram[1][0], histogram[5][0])  # zigzag of schema 6
    spans = [_fields(span) for span in histogram[12]]
    deltas = _zigzags(histogram[13][0])
    assert sum(span[2][0] for span in spans) == len(deltas)
    running, total = 0, 0
    for delta in deltas:
        running += delta
        total += running
    assert 1000 == total
    assert len(page) < 3 * 2048
    assert "boxwork_pulse_lost_total" in families


def test_victoria_metrics_gets_ranges(pulse: Pulse) -> None:
    text = vmrange(pulse)
    counts = [int(line.rpartition(" ")[2]) for line in text.splitlines() if "derive_run" in line and "vmrange" in line]
    assert 1000 == sum(counts)
    assert re.search(r'vmrange="[0-9.e+]+\.\.\.[0-9.e+]+"', text)


# --- real servers: Debian's packages, unpacked and not installed


def unpacked(package: str, directory: Path) -> Path:
    """The program of a Debian package."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        pytest.skip("needs apt-get and dpkg-deb")
    found = subprocess.run(["apt-get", "download", package], cwd=directory, capture_output=True, text=True, timeout=100)
    archives = list(directory.glob(f"{package}_*.deb"))
    if not archives:
        pytest.skip(f"apt-get cannot download {package}: {found.stderr[-200:]}")
    subprocess.run(["dpkg-deb", "-x", str(archives[0]), str(directory)], check=True, timeout=100)
    return directory / "usr" / "bin" / package


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ask(port: int, query: str) -> float | None:
    url = f"http://127.0.0.1:{port}/api/v1/query?" + urllib.parse.urlencode({"query": query})
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            result = json.load(answer)["data"]["result"]
    except OSError:
        return None
    return float(result[0]["value"][1]) if result else None


def eventually(port: int, query: str, seconds: float = 40) -> float:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = ask(port, query)
        if value is not None and value == value:
            return value
        time.sleep(0.2)
    raise TimeoutError(query)


def measured() -> tuple[Pulse, np.ndarray]:
    pulse = Pulse(threaded=False)
    values = np.int64(np.random.default_rng(3).lognormal(11, 0.6, 50_000))
    pulse.series("path", dst="cme").record_array(values)
    return pulse, np.sort(values)


@pytest.mark.servers
def test_a_real_prometheus_reads_the_native_histogram(tmp_path: Path) -> None:
    program = unpacked("prometheus", tmp_path)
    pulse, ordered = measured()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            kind, page = metrics(pulse, self.headers.get("Accept", ""))
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    port = free_port()
    (tmp_path / "prometheus.yml").write_text(
        "global: {scrape_interval: 500ms}\nscrape_configs:\n- job_name: pulse\n  static_configs:\n"
        f"  - targets: ['127.0.0.1:{server.server_port}']\n"
    )
    process = subprocess.Popen(
        [
            str(program),
            f"--config.file={tmp_path}/prometheus.yml",
            f"--storage.tsdb.path={tmp_path}/data",
            f"--web.listen-address=127.0.0.1:{port}",
            "--enable-feature=native-histograms",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for share in (0.5, 0.9, 0.99, 0.999):
            found = eventually(port, f'histogram_quantile({share}, boxwork_path_nanoseconds{{dst="cme"}})')
            assert float(ordered[int(share * len(ordered)) - 1]) == pytest.approx(found, rel=0.01)
        assert len(ordered) == eventually(port, 'histogram_count(boxwork_path_nanoseconds{dst="cme"})')
    finally:
        process.kill()
        process.wait(10)
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.servers
def test_a_real_victoria_metrics_reads_the_ranges(tmp_path: Path) -> None:
    program = unpacked("victoria-metrics", tmp_path)
    pulse, ordered = measured()
    port = free_port()
    process = subprocess.Popen(
        [
            str(program),
            f"-storageDataPath={tmp_path}/data",
            f"-httpListenAddr=127.0.0.1:{port}",
            "-search.latencyOffset=0s",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        eventually(port, "1")
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/api/v1/import/prometheus", vmrange(pulse).encode(), method="POST"
        )
        urllib.request.urlopen(request, timeout=10).close()
        for share in (0.5, 0.9, 0.99, 0.999):
            found = eventually(port, f"histogram_quantile({share}, boxwork_path_nanoseconds_bucket)")
            assert float(ordered[int(share * len(ordered)) - 1]) == pytest.approx(found, rel=0.01)
    finally:
        process.kill()
        process.wait(10)


# --- reading protobuf


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _fields(data: bytes) -> dict[int, list]:  # type: ignore[type-arg]
    found: dict[int, list] = {}  # type: ignore[type-arg]
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        value: object
        if tag & 7 == 0:
            value, at = _varint(data, at)
        elif tag & 7 == 1:
            value, at = data[at : at + 8], at + 8
        else:
            length, at = _varint(data, at)
            value, at = data[at : at + length], at + length
        found.setdefault(tag >> 3, []).append(value)
    return found


def _families(page: bytes) -> list[tuple[str, dict[int, list]]]:  # type: ignore[type-arg]
    found, at = [], 0
    while at < len(page):
        length, at = _varint(page, at)
        family = _fields(page[at : at + length])
        found.append((family[1][0].decode(), family))
        at += length
    return found


def _zigzags(data: bytes) -> list[int]:
    values, at = [], 0
    while at < len(data):
        value, at = _varint(data, at)
        values.append((value >> 1) ^ -(value & 1))
    return values
