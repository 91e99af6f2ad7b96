"""What do requests to the registry cost, beside Debian's docker-registry, for the same client on the same machine?

Every round asks each side once, in turns; medians count.  CPU is what the server's process took for a request.  A push
here is on disk when it is answered (`fdatasync`); docker-registry leaves it to the page cache.  Reach: HEAD 0.5 ms,
push of a small blob 2.5 ms.

    python bench/oci.py [--rounds 300]      needs docker-registry, skopeo
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import http.client
import itertools
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from _report import report

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.serve.wire.images import OCI_MANIFEST, Image

chance = random.Random(1)
SERVE = """
import sys, time, boxwork
from boxwork.serve.http import asgi
from boxwork.serve.server import serve
with boxwork.open(sys.argv[1]) as work:
    serve(work, host="127.0.0.1", port=int(sys.argv[2]))
"""


class Side:
    """One server, and one connection to it that stays open."""

    def __init__(self, name: str, command: list[str], port: int) -> None:
        self.name, self.port = name, port
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        ends = time.monotonic() + 20
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if time.monotonic() > ends:
                raise SystemExit(f"{name} did not start")
            time.sleep(0.05)
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)

    def ask(self, method: str, target: str, body: bytes | None = None, **headers: str) -> http.client.HTTPResponse:
        self.connection.request(method, target, body, {name.replace("_", "-"): text for name, text in headers.items()})
        answer = self.connection.getresponse()
        answer.body = answer.read()  # type: ignore[attr-defined]
        if answer.status >= 400:
            raise SystemExit(f"{self.name}: {method} {target[:80]} answered {answer.status}")
        return answer

    def begin(self) -> str:
        return _target(self.ask("POST", "/v2/bench/app/blobs/uploads/", b"").headers["location"])

    def push(self, data: bytes, *, chunked: bool) -> str:
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        location = self.begin()
        if chunked:
            location = _target(
                self.ask("PATCH", location, data, content_type="application/octet-stream").headers["location"]
            )
        joint = "&" if "?" in location else "?"
        self.ask("PUT", f"{location}{joint}digest={digest}", b"" if chunked else data)
        return digest

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(15)


def _target(location: str) -> str:
    parts = urlsplit(location)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def sides(folder: Path) -> Iterator[list[Side]]:
    ours, theirs = free_port(), free_port()
    (folder / "registry.yml").write_text(
        f"version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n"
        f"storage: {{filesystem: {{rootdirectory: {folder / 'registry'}}}, cache: {{blobdescriptor: inmemory}}}}\n"
        f"http: {{addr: '127.0.0.1:{theirs}'}}\n"
    )
    both = [
        Side("boxwork", [sys.executable, "-c", SERVE, str(folder / "data"), str(ours)], ours),
        Side("docker-registry", ["docker-registry", "serve", str(folder / "registry.yml")], theirs),
    ]
    try:
        yield both
    finally:
        for side in both:
            side.stop()


def measure(question: str, both: list[Side], rounds: int, call: Callable[[Side, int], object]) -> None:
    times: dict[str, list[int]] = {side.name: [] for side in both}
    cpu = {side.name: -side.cpu_s() for side in both}
    for number in range(rounds):
        for side in both if number % 2 else both[::-1]:
            begin = time.perf_counter_ns()
            call(side, number)
            times[side.name].append(time.perf_counter_ns() - begin)
    for side in both:
        cpu[side.name] += side.cpu_s()
    ours, peer = (statistics.median(times[side.name]) / 1e6 for side in both)
    report(
        name=f"registry: {question}", value=ours, unit="ms", peer="docker-registry", peer_value=peer,
        p99_ms=round(sorted(times["boxwork"])[int(rounds * 0.99)] / 1e6, 3),
        cpu_ms=round(cpu["boxwork"] / rounds * 1000, 3), peer_cpu_ms=round(cpu["docker-registry"] / rounds * 1000, 3),
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--record", action="store_true")
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as name, sides(Path(name)) as both:
        image = Image({"hello": chance.randbytes(8 << 20)})
        for side in both:
            for data in (image.layer, image.config):
                side.push(data, chunked=True)
            side.ask("PUT", "/v2/bench/app/manifests/v1", image.manifest, content_type=OCI_MANIFEST)
        small = chance.randbytes(4096)
        kept = {side.name: side.push(small, chunked=False) for side in both}
        blob = f"/v2/bench/app/blobs/{kept['boxwork']}"
        layer = f"/v2/bench/app/blobs/sha256:{hashlib.sha256(image.layer).hexdigest()}"
        tag = "/v2/bench/app/manifests/v1"
        measure("HEAD of a blob", both, rounds, lambda side, _: side.ask("HEAD", blob))
        measure("HEAD of a tag", both, rounds, lambda side, _: side.ask("HEAD", tag, accept=OCI_MANIFEST))
        measure("GET of a manifest", both, rounds, lambda side, _: side.ask("GET", tag, accept=OCI_MANIFEST))
        measure("GET of 4 KiB", both, rounds, lambda side, _: side.ask("GET", blob))
        measure("GET of 8 MiB", both, rounds // 10, lambda side, _: side.ask("GET", layer))
        fresh = (chance.randbytes(4096) for _ in itertools.count())
        lots = [next(fresh) for _ in range(rounds)]
        measure("push of 4 KiB, POST and PUT", both, rounds, lambda side, at: side.push(lots[at], chunked=False))
        large = [chance.randbytes(1 << 20) for _ in range(rounds // 5)]
        measure("push of 1 MiB, POST, PATCH and PUT", both, rounds // 5,
                lambda side, at: side.push(large[at], chunked=True))  # fmt: skip
        skopeo(both, Path(name))


def skopeo(both: list[Side], folder: Path) -> None:
    images = [
        Image({"hello": chance.randbytes(8 << 20)}).write_layout(folder / f"layout{number}") for number in range(5)
    ]

    def push(side: Side, at: int) -> None:
        run("copy", "--dest-tls-verify=false", f"oci:{images[at]}", f"docker://127.0.0.1:{side.port}/bench/sk:v{at}")

    def pull(side: Side, at: int) -> None:
        run("copy", "--src-tls-verify=false", f"docker://127.0.0.1:{side.port}/bench/sk:v{at}",
            f"oci:{folder}/back-{side.name}-{at}:v")  # fmt: skip

    def run(*words: str) -> None:
        subprocess.run(["skopeo", "--insecure-policy", *words], check=True, capture_output=True, timeout=60)

    measure("skopeo pushes an image of 8 MiB", both, len(images), push)
    measure("skopeo pulls it", both, len(images), pull)


if __name__ == "__main__":
    main()
