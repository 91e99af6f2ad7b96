"""From nothing to three hosts that move between versions, and leave a bad one by themselves.  Needs root.

Each host is a network namespace with an address of its own and a real service in it; the server runs outside and is
reached over the wire, with a token for each host.  `--keep` leaves it all running, to be watched in a browser.

    version 1   the first; the service starts
    version 2   another greeting in the sheet: the hosts reload, nobody is drained
    version 3   a bad template: the first host is not healthy with it and goes back; the rollout stops and reverts
    by hand     the network of a host is cut; it runs on, and goes back to version 1 in milliseconds
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

HOSTS = ("web1", "web2", "web3")
RELEASE = Path(__file__).parent / "release"
BOXWORK = [str(Path(sys.executable).with_name("boxwork"))]
# How long one step may take on a slow machine.  Unit: s.
PATIENCE_S = 90.0


class Walk:
    """The server, the hosts and their wires; `close` takes all of it away again."""

    def __init__(self, place: Path, port: int, second: int) -> None:
        self.place = place
        self.port = port
        self.second = second  # the addresses are 10.117.<second>.*
        self.processes: list[subprocess.Popen[bytes]] = []
        self.spaces: list[str] = []
        self.wires: list[str] = []

    # --- what a person types

    def boxwork(self, *words: str, space: str = "", within_s: float = PATIENCE_S) -> str:
        """One command, in words as they are typed; in a host's namespace if one is named."""
        common = ["--data", str(self.place / "data"), "--set", f"serve.port={self.port}"]
        there = ["ip", "netns", "exec", space] if space else []
        done = subprocess.run(
            [*there, *BOXWORK, *common, *words], capture_output=True, text=True, timeout=within_s, check=False
        )
        if done.returncode:
            raise SystemExit(f"boxwork {' '.join(words)}\n{done.stdout}{done.stderr}")
        return done.stdout.strip()

    def publish(self, folder: Path, reason: str) -> None:
        self.boxwork("fleet", "publish", str(folder), "--reason", reason, "--roll-out")

    # --- what stands around it

    def start_server(self, rows: str) -> None:
        (self.place / "hosts.csv").write_text(rows)
        settings = {
            "fleet.source": f"csv:{self.place / 'hosts.csv'}",
            "fleet.source_poll_s": "0.5",
            "fleet.plan": "linear",
            "fleet.first_share": "0.3",
            "fleet.growth": "0.34",
            "fleet.bake_s": "0.5",
        }
        flags = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
        command = [*BOXWORK, "--data", str(self.place / "data"), *flags]
        self.spawn([*command, "up", "--no-sample", "--host", "0.0.0.0", "--port", str(self.port)], "server")
        until("the server answers", lambda: self.get("/healthz") is not None)

    def start_host(self, number: int, host: str) -> None:
        """A namespace with a wire to the server, and an agent in it."""
        space, wire = f"bw{self.second}-{host}", f"bw{self.second}v{number}"
        outside, inside = f"10.117.{self.second}.{4 * number + 1}", f"10.117.{self.second}.{4 * number + 2}"
        ip("netns", "add", space)
        self.spaces.append(space)
        ip("link", "add", wire, "type", "veth", "peer", "name", "eth0", "netns", space)
        self.wires.append(wire)
        ip("addr", "add", f"{outside}/30", "dev", wire)
        ip("link", "set", wire, "up")
        for words in (f"addr add {inside}/30 dev eth0", "link set eth0 up", "link set lo up"):
            ip("-n", space, *words.split())
        token = self.place / f"{host}.token"
        token.write_text(self.boxwork("fleet", "token", host).split()[-1])
        token.chmod(0o600)
        key = json.loads(self.get("/fleet/key") or "{}")["public_key"]
        agent = ["fleet", "agent", "--server", f"http://{outside}:{self.port}", "--host", host, "--key", key]
        agent += ["--root", str(self.root(host)), "--token-file", str(token), "--drift-s", "5"]
        self.spawn(["ip", "netns", "exec", space, *BOXWORK, *agent], host)

    def spawn(self, command: list[str], name: str) -> None:
        with (self.place / f"{name}.log").open("ab") as log:
            self.processes.append(subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL))

    def close(self) -> None:
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            process.kill()
        for space in self.spaces:
            found = subprocess.run(["ip", "netns", "pids", space], capture_output=True, text=True, check=False)
            for pid in found.stdout.split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            subprocess.run(["ip", "netns", "delete", space], check=False)
        for wire in self.wires:  # the kernel takes it away with its namespace, but not at once
            subprocess.run(["ip", "link", "delete", wire], check=False, stderr=subprocess.DEVNULL)

    # --- what can be seen

    def root(self, host: str) -> Path:
        return self.place / host

    def get(self, path: str) -> bytes | None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return bytes(answer.read())
        except OSError:
            return None

    def greeting(self, number: int) -> str:
        """What a visitor of the host reads: asked over the wire, from outside."""
        address = f"http://10.117.{self.second}.{4 * number + 2}:8080/"
        try:
            with urllib.request.urlopen(address, timeout=2) as answer:
                return answer.read().decode()
        except OSError as reason:
            return str(reason)

    def all_say(self, text: str) -> Callable[[], bool]:
        return lambda: all(self.greeting(number) == text for number in range(len(HOSTS)))

    def status(self, host: str) -> dict[str, object]:
        return dict(json.loads(self.boxwork("--json", "fleet", "agent", "status", "--root", str(self.root(host)))))

    def log(self, host: str) -> str:
        return (self.place / f"{host}.log").read_text()


def walk(one: Walk) -> None:
    """The walk itself; every claim it prints was looked at first."""
    one.start_server(sheet("hello from version 1"))
    say("the server runs; three hosts are started, each in a network namespace of its own")
    for number, host in enumerate(HOSTS):
        one.start_host(number, host)

    one.publish(RELEASE, "the first version")
    until("version 1 runs everywhere", one.all_say("hello from version 1"))

    (one.place / "hosts.csv").write_text(sheet("hello from version 2"))
    until("version 2 runs everywhere: somebody edited the sheet", one.all_say("hello from version 2"))
    for host in HOSTS:
        found = one.status(host)
        assert found["drains"] == 0, found
        assert found["drains_avoided"], found
    say("nobody was drained for it: what changed only needs a reload")
    until("the rollout is over", lambda: "running" not in one.boxwork("fleet", "rollout", "status"))

    bad = one.place / "bad"
    shutil.copytree(RELEASE, bad)
    (bad / "etc/greeter.json.j2").write_text('{"greeting": "{{ greeting }}", "port": {{ port }}\n')
    one.publish(bad, "version 3, with a brace too few")
    say("version 3 is published: a brace is missing in a template, so its service is not healthy")
    until("the first host took it and went back by itself", lambda: any("went back" in one.log(h) for h in HOSTS))
    until("all hosts say what version 2 says, still", one.all_say("hello from version 2"))
    took = [host for host in HOSTS if "not healthy" in one.log(host)]
    assert len(took) == 1, f"the rollout did not stop at the first host: {took}"
    say(f"only {took[0]} ever saw version 3; the rollout stopped there")

    ip("-n", one.spaces[0], "link", "set", "eth0", "down")
    by_hand = ("--json", "fleet", "agent", "rollback", "1", "--root", str(one.root(HOSTS[0])))
    answer = one.boxwork(*by_hand, space=one.spaces[0])
    ip("-n", one.spaces[0], "link", "set", "eth0", "up")
    took_ms = json.loads(answer)["switch_ms"]
    until(
        f"web1, cut off from the network, went back to version 1 by hand, in {took_ms:.2f} ms",
        lambda: one.greeting(0) == "hello from version 1",
    )


def told(one: Walk) -> str:
    """What a person can do with it while it is kept."""
    data = f"{BOXWORK[0]} --data {one.place / 'data'} --set serve.port={one.port}"
    return f"""
  it goes on running; Ctrl-C ends it and takes everything away.  Meanwhile:

  watch it            http://127.0.0.1:{one.port}/fleet
  visit a host        curl http://10.117.{one.second}.2:8080/    (web1; .6 is web2, .10 web3)
  edit the sheet      {one.place / "hosts.csv"}
  ask the server      {data} fleet status
  ask a host          {BOXWORK[0]} fleet agent status --root {one.root("web2")}
  spoil a host        echo oops > {one.root("web2")}/current/etc/greeter.json    (drift: shown within 5 s)"""


def sheet(greeting: str) -> str:
    return "host,greeting,port\n" + "".join(f"{host},{greeting},8080\n" for host in HOSTS)


def until(what: str, true: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not true():
        if time.monotonic() > end:
            raise SystemExit(f"not within {PATIENCE_S:g} s: {what}")
        time.sleep(0.2)
    say(what)


def say(text: str) -> None:
    print(f"  {text}", flush=True)


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


@contextlib.contextmanager
def prepared(port: int, second: int, kind: type[Walk] = Walk) -> Iterator[Walk]:
    """A walk in a directory that goes away with it."""
    with tempfile.TemporaryDirectory(prefix="boxwork-fleet-") as place:
        one = kind(Path(place), port, second)
        try:
            yield one
        except BaseException:
            for log in sorted(Path(place).glob("*.log")):
                tail = re.sub(r"^", f"{log.stem}: ", "\n".join(log.read_text().splitlines()[-15:]), flags=re.MULTILINE)
                print(tail, file=sys.stderr)
            raise
        finally:
            one.close()


def arguments(about: str | None) -> argparse.Namespace:
    """What both walks are told on the command line."""
    parser = argparse.ArgumentParser(description=about.split("\n")[0] if about else "")
    parser.add_argument("--port", type=int, default=8077)
    parser.add_argument("--second", type=int, default=77, help="the hosts' addresses are 10.117.<second>.*")
    parser.add_argument("--keep", action="store_true", help="leave it running until Ctrl-C")
    return parser.parse_args()


def stay(text: str) -> None:
    """Leave it running, and say what to do with it, until Ctrl-C."""
    print(text, flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        signal.pause()


def main() -> None:
    given = arguments(__doc__)
    if os.geteuid():
        raise SystemExit("network namespaces need root: run it with sudo, or in a container with CAP_NET_ADMIN")
    with prepared(given.port, given.second) as one:
        walk(one)
        if given.keep:
            stay(told(one))


if __name__ == "__main__":
    main()
