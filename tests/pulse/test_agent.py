"""Two agents and a venue: paths appear within seconds, delays are the injected ones, loss is loss."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from _busy import in_one_of_three
from _proxy import DelayingProxy

from boxwork.errors import BadInput
from boxwork.pulse import Pulse
from boxwork.pulse.agent import Agent, PathLine, run_agent
from boxwork.pulse.recorder import Pace
from boxwork.pulse.sinks.memory import MemorySink


def eventually(condition: Callable[[], object], seconds: float = 15.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def line(agent: Agent, src: str, dst: str, probe: str) -> PathLine | None:
    return next((one for one in agent.lines() if (one.src, one.dst, one.probe) == (src, dst, probe)), None)


# Agents and proxy share one interpreter in this test; on a busy machine each waits its turn.  Unit: ms.
LATE_MS = 2.0


def test_a_delay_between_two_sites_is_reported_within_two_percent() -> None:
    in_one_of_three(delayed)


def delayed() -> None:
    with (
        Pulse(interval_seconds=0.1) as one,
        Pulse(interval_seconds=0.1) as two,
        Agent("ld4", pulse=two, host="127.0.0.1", port=0) as far,
    ):
        proxy = DelayingProxy(far.port, 0.030, 0.050)
        with Agent(
            "ny4", [f"ld4=127.0.0.1:{proxy.port}"], pulse=one, host="127.0.0.1", port=0, period_seconds=0.02
        ) as near:
            assert eventually(lambda: one.series("path", src="ny4", dst="ld4", probe="agent").count >= 20)
            trip = line(near, "ny4", "ld4", "agent")
            there, back = line(near, "ny4", "ld4", "oneway"), line(near, "ld4", "ny4", "oneway")
        proxy.close()
    assert trip is not None
    assert there is not None
    assert back is not None
    forth_ms, back_ms, both_ms = proxy.held_ms("forth"), proxy.held_ms("back"), proxy.held_ms("both")
    assert forth_ms >= 29
    # 2 %, and what three threads of one interpreter may wake late; the test in namespaces has processes and no slack.
    assert both_ms == pytest.approx(trip.p50_ms, rel=0.02, abs=LATE_MS)
    assert forth_ms == pytest.approx(there.p50_ms, rel=0.02, abs=LATE_MS)
    assert back_ms == pytest.approx(back.p50_ms, rel=0.02, abs=LATE_MS)


def test_a_question_that_is_dropped_is_a_lost_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    from boxwork.pulse import agent as agents
    from boxwork.pulse import probes

    missed: list[int] = []

    class Counting(Pace):
        """A prober that a busy machine stops for longer than its period loses slots, which are lost samples too."""

        def next(self) -> int:
            before = self.series.lost
            intended = super().next()
            missed.append(self.series.lost - before)
            return intended

    monkeypatch.setattr(probes, "TIMEOUT_SECONDS", 0.5)
    monkeypatch.setattr(agents, "Pace", Counting)
    with Pulse() as one, Pulse() as two, Agent("b", pulse=two, host="127.0.0.1", port=0) as far:
        proxy = DelayingProxy(far.port, 0, 0, drop_every=4)
        with Agent("a", [f"b=127.0.0.1:{proxy.port}"], pulse=one, host="127.0.0.1", port=0, period_seconds=0.1):
            series = one.series("path", src="a", dst="b", probe="agent")
            assert eventually(lambda: series.lost - sum(missed) >= 3)
        proxy.close()
        lost = series.lost - sum(missed)
        assert 3 <= lost <= proxy.dropped
        # what was asked within the last half second has neither an answer nor a verdict
        assert proxy.seen - 8 <= series.count + lost <= proxy.seen


def test_a_venue_without_an_agent_and_one_that_is_away() -> None:
    with socket.socket() as venue, socket.socket() as closed, Pulse() as pulse:
        venue.bind(("127.0.0.1", 0))
        venue.listen()
        closed.bind(("127.0.0.1", 0))
        targets = [f"cme=tcp://127.0.0.1:{venue.getsockname()[1]}", f"away=tcp://127.0.0.1:{closed.getsockname()[1]}"]
        with Agent("ny4", targets, pulse=pulse, host="127.0.0.1", port=0, period_seconds=0.05) as agent:
            assert eventually(lambda: pulse.series("path", src="ny4", dst="cme", probe="tcp").count >= 3)
            assert eventually(lambda: pulse.series("path", src="ny4", dst="away", probe="tcp").lost >= 3)
            assert ["away"] == list(agent.failures)


def test_a_name_without_an_address_loses_every_question(monkeypatch: pytest.MonkeyPatch) -> None:
    from boxwork.pulse import probes

    def nobody(*_: object, **__: object) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(probes, "TIMEOUT_SECONDS", 0.1)
    monkeypatch.setattr(socket, "getaddrinfo", nobody)
    with (
        Pulse() as pulse,
        Agent("a", ["b=agent://b.invalid"], pulse=pulse, host="127.0.0.1", port=0, period_seconds=0.02) as agent,
    ):
        series = pulse.series("path", src="a", dst="b", probe="agent")
        assert eventually(lambda: series.lost >= 20)
        assert "Name or service not known" == agent.failures["b"]
        assert eventually(lambda: line(agent, "a", "b", "agent") is not None)
        shown = line(agent, "a", "b", "agent")
        assert shown is not None
        assert "Name or service not known" == shown.failure


def test_an_agent_shows_what_it_measures_and_not_the_whole_history() -> None:
    shared = MemorySink()
    with Pulse(shared) as others, Pulse(shared) as pulse:
        others.series("path", src="far", dst="away", probe="tcp").record(1)
        others.tick()
        with Agent("a", ["b=udp://127.0.0.1:9"], pulse=pulse, host="127.0.0.1", port=0) as agent:
            assert eventually(lambda: agent.lines())
            assert {"a"} == {line.src for line in agent.lines()}


@pytest.mark.parametrize("seconds", [0, -1, 1e6, float("nan")])
def test_a_period_that_is_none_is_refused_before_anything_starts(seconds: float) -> None:
    with Pulse() as pulse, pytest.raises(BadInput, match="between two questions: write 0.001 … 3600 s"):
        Agent("a", pulse=pulse, host="127.0.0.1", port=0, period_seconds=seconds)


def test_run_agent_reports_until_it_is_stopped() -> None:
    stop, reported = threading.Event(), threading.Event()
    seen: list[list[PathLine]] = []

    def report(agent: Agent) -> None:
        seen.append(agent.lines())
        if seen[-1] and seen[-1][0].count:
            reported.set()

    with Pulse() as pulse, Agent("b", pulse=pulse, host="127.0.0.1", port=0) as other:
        thread = threading.Thread(
            target=run_agent,
            args=("a", [f"b=127.0.0.1:{other.port}"]),
            kwargs={
                "host": "127.0.0.1",
                "port": 0,
                "measured_port": 0,
                "stop": stop,
                "report": report,
                "report_seconds": 0.1,
            },
        )
        began = time.monotonic()
        thread.start()
        assert reported.wait(5)  # the issue: a path shows within five seconds
        assert time.monotonic() - began < 5
        stop.set()
        thread.join(10)
        assert not thread.is_alive()


# Three sites as network namespaces; what lies between two of them, in seconds there and back.
DELAYS = {("a", "b"): (0.020, 0.030), ("b", "c"): (0.030, 0.050), ("c", "a"): (0.050, 0.070)}


@pytest.fixture
def sites() -> Iterator[dict[str, str]]:
    """The address of each site; the host reaches them all, they reach only the host."""
    if os.geteuid() or shutil.which("ip") is None:
        pytest.skip("needs root and `ip`")
    tag = f"bw{os.getpid() % 1000}"
    addresses = {}

    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True, capture_output=True, timeout=20)

    try:
        for number, site in enumerate("abc"):
            space, host, inner = f"{tag}{site}", f"{tag}{site}0", f"{tag}{site}1"
            ip("netns", "add", space)
            ip("link", "add", host, "type", "veth", "peer", "name", inner, "netns", space)
            ip("addr", "add", f"10.213.{number}.1/24", "dev", host)
            ip("link", "set", host, "up")
            ip("-n", space, "addr", "add", f"10.213.{number}.2/24", "dev", inner)
            ip("-n", space, "link", "set", inner, "up")
            ip("-n", space, "link", "set", "lo", "up")
            addresses[site] = space
        yield addresses
    finally:
        for site in "abc":
            subprocess.run(["ip", "netns", "del", f"{tag}{site}"], capture_output=True, timeout=20, check=False)


@pytest.mark.servers
def test_three_sites_report_the_injected_delays_within_two_percent(sites: dict[str, str]) -> None:
    # Six processes on two processors may be woken late, which no agent can know; a wrong report is wrong each time.
    slips: list[str] = []
    for _ in range(3):
        slips = [
            f"{src} to {dst}, {probe}: {injected} ms injected, {reported} ms reported"
            for src, dst, probe, injected, reported in measured(sites)
            if reported != pytest.approx(injected, rel=0.02)
        ]
        if not slips:
            return
    assert slips == []


def measured(sites: dict[str, str]) -> list[tuple[str, str, str, float, float]]:
    """Source, destination, probe, and the delay that was injected and the one that was reported, in ms."""
    told: list[tuple[str, str, str, float, float]] = []
    code = (
        "import sys; from boxwork.pulse.commands import agent\n"
        "agent(*sys.argv[2:], site=sys.argv[1], every=0.05, json=True)"
    )
    numbers = {site: number for number, site in enumerate("abc")}
    running: list[subprocess.Popen[str]] = []
    proxies: list[subprocess.Popen[str]] = []
    agents: dict[str, subprocess.Popen[str]] = {}
    try:
        for place, ((src, dst), (forth, back)) in enumerate(DELAYS.items()):
            proxies.append(
                subprocess.Popen(
                    [
                        sys.executable,
                        str(Path(__file__).parent / "_proxy.py"),
                        f"10.213.{numbers[src]}.1",
                        str(9000 + place),
                        f"10.213.{numbers[dst]}.2",
                        "8765",
                        str(forth),
                        str(back),
                    ],
                    text=True,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                )
            )
            running.append(proxies[-1])
        for src in "abc":
            targets = [
                f"{dst}=10.213.{numbers[one]}.1:{9000 + place}" for place, (one, dst) in enumerate(DELAYS) if one == src
            ]
            agents[src] = subprocess.Popen(
                ["ip", "netns", "exec", sites[src], sys.executable, "-c", code, src, *targets],
                stdout=subprocess.PIPE,
                text=True,
            )
            running.append(agents[src])
        for (src, dst), proxy in zip(DELAYS, proxies, strict=True):
            found: dict[str, float] = {}
            deadline = time.monotonic() + 40
            for text in agents[src].stdout or ():
                line = json.loads(text)
                if line["probe"] in ("agent", "oneway") and line["count"] >= 60 and src == line["src"]:
                    found[line["probe"]] = line["p50_ms"]
                if len(found) == 2 or time.monotonic() > deadline:
                    break
            there, both = map(float, proxy.communicate("\n", timeout=20)[0].split())
            assert there >= 1000 * DELAYS[src, dst][0]
            told.append((src, dst, "agent", both, found["agent"]))
            told.append((src, dst, "oneway", there, found["oneway"]))
        return told
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait(10)
            for pipe in (process.stdin, process.stdout):
                if pipe is not None and not pipe.closed:
                    pipe.close()
