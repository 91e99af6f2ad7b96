"""Does a monitor look at 200 checks on time, and what does that cost?

150 checks over HTTP against a small service in a process of its own, 50 plugins as processes, all every ten seconds
for a minute, in a node that is served.  Late is from the time a check was meant for until it began.  Each result is
kept as an observation, and its figures go to pulse, as in use.  Then the storm: the service ends, and it is measured
how long until one incident has all 150.
"""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import boxwork
from bench._report import report
from boxwork.testing.served import served

HTTP, PLUGINS, EVERY_S = 150, 50, 10
SECONDS = 60

SERVICE = """
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200)
        self.send_header("content-length", "7")
        self.end_headers()
        self.wfile.write(b"welcome")
    def log_message(self, *said): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""


def book(port: int) -> str:
    lines = ["[defaults]", f"every_s = {EVERY_S}", "attempts = 2", "retry_s = 1", "[tickets]", "gather_s = 15"]
    for n in range(HTTP):
        lines += [f"[checks.web-{n}]", f'http = "http://127.0.0.1:{port}/{n}"', 'body = "welcome"']
    for n in range(PLUGINS):
        lines += [f"[checks.plugin-{n}]", f'plugin = ["/bin/echo", "LOAD OK | load1=0.{n};5;10;0;"]']
    return "\n".join(lines)


def cpu_s() -> tuple[float, float]:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime, children.ru_utime + children.ru_stime


def main() -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen([sys.executable, "-c", SERVICE], stdout=subprocess.PIPE, text=True) as service,
        contextlib.ExitStack() as ending,
    ):
        ending.callback(service.kill)
        assert service.stdout is not None
        path = Path(folder) / "monitor.toml"
        path.write_text(book(int(service.stdout.readline())))
        work = ending.enter_context(boxwork.open(Path(folder) / "data", settings={"monitor.book": str(path)}))
        ending.enter_context(served(work))
        monitor = work.part("monitor")
        late = work.pulse.series("monitor.late")
        while late.count < HTTP + PLUGINS:
            time.sleep(0.1)
        before, count, began = cpu_s(), late.count, time.monotonic()
        time.sleep(SECONDS)
        own, children = (now - then for now, then in zip(cpu_s(), before, strict=True))
        seconds, looked = time.monotonic() - began, late.count - count
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        report(name="monitor.looks", value=looked / seconds, unit="/s")
        report(name="monitor.late.p50", value=late.p50_ms, unit="ms")
        report(name="monitor.late.p99", value=late.p99_ms, unit="ms")
        report(name="monitor.cpu.node", value=100 * own / seconds, unit="%")
        report(name="monitor.cpu.plugins", value=100 * children / seconds, unit="%")
        report(name="monitor.memory", value=pages * os.sysconf("SC_PAGE_SIZE") / 2**20, unit="MiB")
        assert monitor.rounds.rhythm.missed == 0, "looks were missed"
        service.kill()
        ended = time.monotonic()
        while not any(len(one.bad) == HTTP for one in monitor.mirror.going()):
            assert time.monotonic() - ended < 60, "the storm did not come about"
            time.sleep(0.05)
        going = [one for one in monitor.mirror.going() if not one.is_over]
        assert len(going) == 1, [one.title for one in going]
        report(name="monitor.storm", value=time.monotonic() - ended, unit="s")


if __name__ == "__main__":
    main()
