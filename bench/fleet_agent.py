"""What does the agent of a host cost: finding drift, switching, staging, memory, idling?

    python -m bench fleet_agent [--files 16000] [--rounds 9] [--idle-s 60]

The version is that of bench/tree.py: 16,000 files as in a Linux system.  Drift is one file written in place; beside it
stands what one does without a stat index, `sha256sum --check` over the same files.  A switch is `rollback` between two
versions that differ in one file, as the command does it, without hooks.  Memory and idling are those of the real
process against a server that holds every question; beside its memory stands a Python that does nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec

from bench._report import interleaved, quantile, report
from bench.tree import make_source
from boxwork import Ref, open_content, tree
from boxwork.packs.fleet.agent import Agent
from boxwork.packs.fleet.agent_client import Client
from boxwork.packs.fleet.agent_hand import Hand
from boxwork.packs.fleet.agent_settings import AgentSettings
from boxwork.packs.fleet.protocol import Desired, Parcel, Report, Signed, new_key, public_key, sign

MS = 1e6


class Shelf(Client):
    """A server in this process: what is measured is the host, not the wire."""

    def __init__(self, content: Any) -> None:
        super().__init__(["http://127.0.0.1:1"], "bench")
        self.content = content
        self.signed: Signed | None = None

    def ask(
        self, digest: str, wait_s: float, reports: Sequence[Report] = (), tree: str = ""
    ) -> tuple[Signed | None, dict[Ref, bytes]]:
        return self.signed, {}

    def blob(self, ref: Ref, bytes_max: int) -> Iterator[bytes]:
        yield self.content.get(ref)

    def lot(self, refs: Sequence[Ref]) -> dict[Ref, bytes]:
        """As many of these as one answer takes."""
        return {ref: self.content.get(ref) for ref in refs}

    def pack(self, have: str) -> dict[Ref, bytes]:
        return {}

    def report(self, report: Report) -> None:
        pass


class Bench:
    """A host with two versions of a tree of that many files."""

    def __init__(self, place: Path, files: int) -> None:
        self.place, self.files, self.root = place, files, place / "host"
        self.private = new_key()
        self.source = place / "source"
        make_source(self.source, files)
        self.content = open_content(place / "server")
        self.shelf = Shelf(self.content)
        settings = AgentSettings({"drift_s": 3600.0}, environment={})
        self.agent = Agent(self.root, "bench", public_key(self.private), self.shelf, settings)
        self.agent.start()
        self.refs: list[Ref] = []

    def say(self, position: int) -> float:
        """One more version; milliseconds from the document to the version that runs."""
        self.refs.append(tree.commit(self.content, self.source).ref)
        desired = Desired(host="bench", epoch="e", position=position, release=position, tree=str(self.refs[-1]))
        self.shelf.signed = sign(self.private, desired)
        begin = time.perf_counter_ns()
        self.agent.step()
        took = (time.perf_counter_ns() - begin) / MS
        assert self.agent.ledger.read().running.startswith(f"{position}-"), self.agent.ledger.read().refused
        return took

    def stage(self) -> None:
        first = self.say(1)
        (self.source / "one-more.conf").write_bytes(b"port = 80\n")
        second = self.say(2)
        report(name="fleet.stage_first", value=first, unit="ms", files=self.files)
        report(name="fleet.stage_one_file_changed", value=second, unit="ms", files=self.files)

    def drift(self, rounds: int) -> None:
        current = self.root / "current"
        sums = self.place / "sums"
        names = sorted(str(path.relative_to(self.source)) for path in self.source.rglob("*") if path.is_file())
        listed = "\0".join(names).encode()
        made = subprocess.run(["xargs", "-0", "sha256sum"], cwd=self.source, input=listed, stdout=-1, check=True)
        sums.write_bytes(made.stdout)
        victim = max((current / name for name in names), key=lambda path: path.name)
        count = 0
        self.agent.look()
        self.agent.look()

        def ours() -> None:
            nonlocal count
            count += 1
            victim.write_bytes(b"drifted %d" % count)
            begin, spent = time.perf_counter_ns(), time.process_time_ns()
            found = self.agent.look()
            looks.append((time.perf_counter_ns() - begin) / MS)
            processor.append((time.process_time_ns() - spent) / MS)
            assert [str(victim.relative_to(current))] == [drift.path for drift in found]

        def peer() -> None:
            done = subprocess.run(
                ["sha256sum", "--check", "--quiet", sums], cwd=current, capture_output=True, check=False
            )
            assert b"FAILED" in done.stdout

        looks: list[float] = []
        processor: list[float] = []
        times = interleaved({"ours": ours, "sha256sum": peer}, rounds=rounds)
        report(
            name="fleet.drift_1_in_16000",
            value=quantile(looks[1:], 0.5),
            unit="ms",
            peer="sha256sum --check",
            peer_value=times["sha256sum"] / MS,
            files=self.files,
            slowest_ms=max(looks[1:]),
            processor_ms=quantile(processor[1:], 0.5),
        )
        shutil.copy2(self.source / victim.relative_to(current), victim)
        self.agent.look()

    def switch(self, rounds: int) -> None:
        hand = Hand(self.root, content=self.agent.content)
        switches, whole = [], []
        for turn in range(2 * rounds):
            begin = time.perf_counter_ns()
            found = hand.rollback(1 + turn % 2)
            whole.append((time.perf_counter_ns() - begin) / MS)
            switches.append(found.switch_ms)
            assert "applied" == found.state
        report(name="fleet.rollback_switch", value=quantile(switches, 0.5), unit="ms", slowest_ms=max(switches))
        report(
            name="fleet.rollback_whole", value=quantile(whole, 0.5), unit="ms", files=self.files, includes="stat check"
        )

    def close(self) -> None:
        self.agent.close()
        self.content.close()


def idle(bench: Bench, idle_s: float) -> None:
    """The real process, with nothing to do but to ask and to look once a minute."""
    assert bench.shelf.signed is not None
    answers, digest = msgspec.msgpack.encode(Parcel(bench.shelf.signed)), bench.shelf.signed.digest

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            query = parse_qs(urlsplit(self.path).query)
            same = query["digest"][0] == digest
            if same:
                time.sleep(float(query["wait_s"][0]))
            self.send_response(304 if same else 200)
            self.send_header("Content-Length", "0" if same else str(len(answers)))
            self.end_headers()
            if not same:
                self.wfile.write(answers)

        def log_message(self, *arguments: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.daemon_threads = True
        threading.Thread(target=http.serve_forever, daemon=True).start()
        orders = {
            "servers": [f"http://127.0.0.1:{http.server_address[1]}"],
            "host": "bench",
            "root": str(bench.root),
            "key": public_key(bench.private).hex(),
        }
        command = [sys.executable, "-m", "boxwork.packs.fleet.agent_process", json.dumps(orders)]
        sleeper = [sys.executable, "-c", "import time; time.sleep(3600)"]
        with (
            _ended(subprocess.Popen(command, stderr=subprocess.DEVNULL)) as agent,
            _ended(subprocess.Popen(sleeper)) as bare,
        ):
            time.sleep(8)
            before = _cpu_s(agent.pid)
            time.sleep(idle_s)
            spent = _cpu_s(agent.pid) - before
            report(
                name="fleet.agent_memory",
                value=_kib(agent.pid, "Pss") / 1024,
                unit="MiB",
                peer="a Python that sleeps",
                peer_value=_kib(bare.pid, "Pss") / 1024,
                rss_mib=_kib(agent.pid, "Rss") / 1024,
            )
            report(name="fleet.agent_idle", value=100 * spent / idle_s, unit="% of a core", seconds=idle_s)
        http.shutdown()


@contextlib.contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _kib(pid: int, what: str) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(what + ":"):
            return float(line.split()[1])
    return 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=16_000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--idle-s", type=float, default=60.0)
    parser.add_argument("--record", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="boxwork-fleet-") as place:
        bench = Bench(Path(place), given.files)
        try:
            bench.stage()
            bench.drift(given.rounds)
            bench.switch(given.rounds)
        finally:
            bench.close()
        idle(bench, given.idle_s)


if __name__ == "__main__":
    main()
