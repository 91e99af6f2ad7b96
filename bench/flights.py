"""How many times does a box run when 4 processes with 64 threads each ask for one key, and when its runner is killed?

The same stampede on diskcache.memoize and joblib.Memory beside us.  Then: how long after `kill -9` of the process that
runs a box does a waiting process begin to run it, median and worst of many; the waiters poll a byte-range lock.

    python bench/flights.py [--kills 20]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _report import report

PROCESSES, THREADS = 4, 64

COUNT = """
import os, time
def work(counter, seconds):
    fd = os.open(counter, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(fd, b"%d %d\\n" % (os.getpid(), time.monotonic_ns()))
    os.close(fd)
    time.sleep(seconds)
    return b"done"
"""

CALLERS = {
    "boxwork": """
from bench.memo import open_deriver
from boxwork.box import derivation
from pathlib import Path
box = derivation(work)
deriver = open_deriver(Path(root))
class Plain:
    def __init__(self): self.seen = {}
    def of(self, box): return self
    def declared(self, box): return ()
    def describe_class(self, kind): return b""
    digest, parts, files, env, ambient = b"f" * 32, (), (), (), ()
deriver._asks._fingerprint = Plain().of  # a box that counts its runs reads the clock and a file, which is refused else
call = lambda: deriver.call(box, {"counter": counter, "seconds": seconds})
""",
    "diskcache": """
import diskcache
kept = diskcache.Cache(root).memoize()(work)
call = lambda: kept(counter, seconds)
""",
    "joblib": """
import joblib
kept = joblib.Memory(root, verbose=0).cache(work)
call = lambda: kept(counter, seconds)
""",
}

STAMPEDE = """
import sys, threading
sys.path[:0] = {paths!r}
root, counter, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
{function}
{caller}
ready = threading.Barrier({threads} + 1)
def ask():
    ready.wait()
    call()
threads = [threading.Thread(target=ask) for _ in range({threads})]
for thread in threads: thread.start()
print("ready", flush=True)
sys.stdin.readline()
ready.wait()
for thread in threads: thread.join()
"""


def start(caller: str, folder: Path, seconds: float, threads: int) -> subprocess.Popen[bytes]:
    bench = Path(__file__).resolve().parent
    script = folder / f"calls_{caller}.py"  # a file, because joblib asks a function where it stands
    script.write_text(
        STAMPEDE.format(paths=[str(bench.parent), str(bench)], function=COUNT, caller=CALLERS[caller], threads=threads)
    )
    command = [sys.executable, "-W", "ignore", str(script), str(folder / "store"), str(folder / "runs"), str(seconds)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    if process.stdout.readline() != b"ready\n":
        raise RuntimeError(f"{caller} did not start")
    return process


def go(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.write(b"\n")
    process.stdin.flush()


def stampede(caller: str) -> int:
    """Runs of one key that `PROCESSES` x `THREADS` callers ask for at once."""
    with tempfile.TemporaryDirectory() as name:
        processes = [start(caller, Path(name), 0.3, THREADS) for _ in range(PROCESSES)]
        for process in processes:
            go(process)
        for process in processes:
            process.communicate(timeout=300)
        return Path(name, "runs").read_bytes().count(b"\n")


def takeover() -> float:
    """Milliseconds from `kill -9` of the runner until the waiting process runs the box."""
    with tempfile.TemporaryDirectory() as name:
        counter = Path(name, "runs")
        processes = {process.pid: process for process in (start("boxwork", Path(name), 0.4, 1) for _ in range(2))}
        for process in processes.values():
            go(process)
        while not counter.exists() or not counter.read_bytes().endswith(b"\n"):
            time.sleep(0.001)
        time.sleep(0.1)
        runner = int(counter.read_bytes().split()[0])
        os.kill(runner, 9)
        killed = time.monotonic_ns()
        for process in processes.values():
            process.communicate(timeout=60)
        began = int(counter.read_bytes().split(b"\n")[1].split()[1])
        return (began - killed) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=20)
    options, _ = parser.parse_known_args()
    ours = stampede("boxwork")
    for peer in ("diskcache", "joblib"):
        report(
            name="flights.runs_of_one_key",
            value=ours,
            unit="runs",
            peer=peer,
            peer_value=stampede(peer),
            callers=PROCESSES * THREADS,
        )
    times = [takeover() for _ in range(options.kills)]
    report(
        name="flights.takeover",
        value=statistics.median(times),
        unit="ms",
        worst=round(max(times), 2),
        kills=options.kills,
    )


if __name__ == "__main__":
    main()
