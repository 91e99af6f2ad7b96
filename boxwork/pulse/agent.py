"""A site's agent: probes its targets on a schedule, answers other agents, listens for measured datagrams.

    agent = run_agent("ny4", ["ld4=agent://10.0.0.2:8765", "cme=tcp://venue:443"], sink="redis://…", stop=event)

Series, all in nanoseconds:

    path{src=ny4,dst=ld4,probe=agent}      round trip, from the intended time if the prober itself was late
    path.oneway{src=ny4,dst=ld4}           by the clocks of both ends: may be negative, carries the clock's error
    path.oneway{src=ld4,dst=ny4}           the way back, measured here

A question without an answer is a lost sample, never a made-up one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from boxwork.clock import MILLISECOND_NS, Clock, SystemClock
from boxwork.errors import BadInput
from boxwork.pulse.clock_quality import kernel_error_us
from boxwork.pulse.probes import EchoProbe, Probe, Responder, Target, Unanswered, open_probe
from boxwork.pulse.query import Reader
from boxwork.pulse.recorder import Pace, Pulse, Series
from boxwork.pulse.series_name import SeriesName
from boxwork.pulse.sinks.memory import MemorySink
from boxwork.pulse.sinks.sink import Row, Sink
from boxwork.pulse.udp import Path, UdpListener
from boxwork.settings import MiB

PATHS = ("path", "path.oneway")

# Five questions a second and target: p99 within a minute rests on 300 samples, at 24 bytes each.  Unit: seconds.
PERIOD_SECONDS = 0.2
# A prober that wakes up this late was held up by more than the scheduler: the delay belongs to the latency.
LATE_NS = 5 * MILLISECOND_NS
# A venue that takes more than half the period this often in a row is far away, not stalled: it is asked half as often,
# because a round that waits for the last one would measure its own waiting.  Unit: rounds, nanoseconds.
SLOW_ROUNDS = 5
PERIOD_NS_MAX = 10_000 * MILLISECOND_NS
# Each target has a thread, mostly asleep.  Unit: targets.
TARGETS_MAX = 256
# Beyond these a question is no measurement: a thread cannot ask more often, and nobody waits longer.  Unit: seconds.
PERIOD_SECONDS_MIN, PERIOD_SECONDS_MAX = 0.001, 3600.0
# What the table shows of the last minute, kept here: 256 targets with three series each take 24 MB.
OWN_BYTES_MAX = 32 * MiB
# How often a thread looks whether it shall end.  Unit: seconds.
PATIENCE_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class PathLine:
    """One path as a table shows it; NaN in the quantiles means no answer yet."""

    src: str
    dst: str
    probe: str
    count: int
    lost: int
    p50_ms: float
    p99_ms: float
    coverage: float
    failure: str = ""


class Agent:
    """Probes and answers until it is closed."""

    def __init__(
        self,
        site: str,
        targets: Sequence[Target | str] = (),
        *,
        pulse: Pulse,
        host: str = "0.0.0.0",
        port: int = 8765,
        measured_port: int | None = None,
        period_seconds: float = PERIOD_SECONDS,
        streams: dict[int, Path] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.site = site
        self.pulse = pulse
        self.targets = [Target.parse(target) if isinstance(target, str) else target for target in targets][:TARGETS_MAX]
        self._clock = clock or SystemClock()
        if not PERIOD_SECONDS_MIN <= period_seconds <= PERIOD_SECONDS_MAX:
            raise BadInput(
                f"{period_seconds:g} s between two questions: write {PERIOD_SECONDS_MIN:g} … {PERIOD_SECONDS_MAX:g} s"
            )
        self._period = period_seconds
        self._stop = threading.Event()
        self.responder = Responder(host, port, self._clock)
        self.port = self.responder.port
        self.listener = UdpListener(pulse, host, measured_port, paths=streams) if measured_port is not None else None
        self._threads: list[threading.Thread] = []
        #: Why the last question to a target had no answer.
        self.failures: dict[str, str] = {}
        self._own = MemorySink(bytes_max=OWN_BYTES_MAX)
        self._reader = Reader(self._own, pulse.aggregator)
        self._stop_listening = pulse.listen(self._keep)

    def start(self) -> Agent:
        if self.listener is not None:
            self.listener.start()
        self._threads = [threading.Thread(target=self._answer, name="boxwork-agent-answer", daemon=True)]
        for number, target in enumerate(self.targets):
            self._threads.append(
                threading.Thread(
                    target=self._probe, args=(target, number), name=f"boxwork-agent-{target.name}", daemon=True
                )
            )
        for thread in self._threads:
            thread.start()
        return self

    def close(self) -> None:
        self._stop.set()
        self._stop_listening()
        for thread in self._threads:
            thread.join(5.0)
        self.responder.close()
        if self.listener is not None:
            self.listener.close()

    def __enter__(self) -> Agent:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def lines(self, last_seconds: float = 60.0) -> list[PathLine]:
        """Every path that is measured here, for a table: not what others have put into a history that is shared."""
        end = self._clock.now_ns()
        infos = [info for info in self.pulse.aggregator.infos() if info.name.name in PATHS]
        if not infos:
            return []
        lines = []
        for answer in self._reader.query_each(infos, end - round(last_seconds * 1e9), end):
            (name,) = answer.series
            histogram = answer.histogram
            middle, high = histogram.quantiles((0.5, 0.99))
            lines.append(
                PathLine(
                    name.label("src"),
                    name.label("dst"),
                    _kind(name),
                    histogram.count,
                    answer.coverage.lost,
                    middle / 1e6,
                    high / 1e6,
                    answer.coverage.ratio,
                    self.failures.get(name.label("dst"), "") if name.label("src") == self.site else "",
                )
            )
        return sorted(lines, key=lambda line: (line.src, line.dst, line.probe))

    def _keep(self, rows: Sequence[Row]) -> None:
        self._own.write([row for row in rows if row.series.name.name in PATHS])

    # --- the threads

    def _answer(self) -> None:
        while not self._stop.is_set():
            self.responder.serve_once(PATIENCE_SECONDS)

    def _probe(self, target: Target, number: int) -> None:
        series = self.pulse.series("path", src=self.site, dst=target.name, probe=target.kind)
        pace = Pace(series, round(self._period * 1e9))
        if target.kind in ("agent", "udp"):
            self._converse(EchoProbe(target, self._clock, number), target, series, pace)
        else:
            self._visit(open_probe(target, self._clock), target, series, pace)

    def _converse(self, probe: EchoProbe, target: Target, series: Series, pace: Pace) -> None:
        """Questions leave on their schedule and answers are taken as they come."""
        ways: tuple[Series, Series] | None = None
        while not self._stop.is_set():
            intended = pace.next()
            try:
                while (left := pace.wait_seconds(intended)) > 0 and not self._stop.is_set():
                    echo = probe.collect(min(left, PATIENCE_SECONDS))
                    if echo is None:
                        continue
                    self.failures.pop(target.name, None)
                    series.record(echo.round_trip_ns)
                    if echo.forward_ns is not None and echo.backward_ns is not None:
                        ways = ways or (
                            self.pulse.series("path.oneway", src=self.site, dst=target.name),
                            self.pulse.series("path.oneway", src=target.name, dst=self.site),
                        )
                        ways[0].record(echo.forward_ns)
                        ways[1].record(echo.backward_ns)
            except Unanswered as reason:  # an ICMP error: whoever was asked is not there
                self.failures[target.name] = str(reason)
                self._stop.wait(pace.wait_seconds(intended))
            if self._stop.is_set():
                break
            try:
                probe.ask(_lateness(pace, intended))
            except Unanswered as reason:  # unreachable, or a name without an address: it becomes overdue
                self.failures[target.name] = str(reason)
            overdue = probe.overdue()
            if overdue:
                self.failures.setdefault(target.name, "no answer in time")
                series.lose(overdue)
        probe.close()

    def _visit(self, probe: Probe, target: Target, series: Series, pace: Pace) -> None:
        """One round after the other: a connection that is slow delays the next one, and that shows."""
        slow = 0
        while not self._stop.is_set():
            intended = pace.next()
            if self._stop.wait(pace.wait_seconds(intended)):
                break
            late = _lateness(pace, intended)
            try:
                elapsed = probe.once().round_trip_ns
            except Unanswered as reason:
                self.failures[target.name] = str(reason)
                series.lose(1)
                continue
            self.failures.pop(target.name, None)
            series.record(elapsed + late)
            slow = slow + 1 if elapsed > pace.period_ns // 2 else 0
            if slow == SLOW_ROUNDS and pace.period_ns < PERIOD_NS_MAX:
                pace.period_ns, slow = pace.period_ns * 2, 0
        probe.close()


def _lateness(pace: Pace, intended_ns: int) -> int:
    late = pace.now_ns() - intended_ns
    return late if late > LATE_NS else 0


def run_agent(
    site: str,
    targets: Sequence[Target | str] = (),
    *,
    sink: Sink | str | None = None,
    host: str = "0.0.0.0",
    port: int = 8765,
    measured_port: int | None = None,
    period_seconds: float = PERIOD_SECONDS,
    interval_seconds: float = 1.0,
    stop: threading.Event | None = None,
    report: Callable[[Agent], object] | None = None,
    report_seconds: float = 1.0,
    streams: dict[int, Path] | None = None,
) -> None:
    """Run an agent until `stop` is set (or the caller is interrupted); `report(agent)` is called once a second."""
    ending = stop or threading.Event()
    sinks = () if sink is None else (sink,)
    parsed = [Target.parse(target) if isinstance(target, str) else target for target in targets]
    pulse = Pulse(*sinks, writer=site, interval_seconds=interval_seconds, clock_error_us=kernel_error_us())
    with (
        pulse,
        Agent(
            site,
            parsed,
            pulse=pulse,
            host=host,
            port=port,
            measured_port=measured_port,
            period_seconds=period_seconds,
            streams=streams,
        ) as agent,
    ):
        while not ending.wait(report_seconds):
            if report is not None:
                report(agent)


def _kind(name: SeriesName) -> str:
    if name.name == "path.oneway":
        return "oneway"
    return name.label("probe") or name.label("part") or "measured"
