"""The command line of the histograms: `boxwork pulse top | show | export`, and `boxwork agent`.

`commands(source, as_json)` makes the group, `agent` is a plain function; the house wires both.  A source is a
directory of the embedded history (`data/pulse`) or the URL of a Redis.
"""

from __future__ import annotations

import json
import math
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.live import Live
from rich.table import Table

from boxwork.clock import SECOND_NS
from boxwork.errors import BadInput, NotFound, StorageError
from boxwork.pulse import agent as agents
from boxwork.pulse import page
from boxwork.pulse.query import Answer
from boxwork.pulse.recorder import Pulse
from boxwork.pulse.series_name import Pattern
from boxwork.pulse.sinks.sink import SeriesInfo
from boxwork.pulse.watch import Event, Watch

DATA_VARIABLE = "BOXWORK_DATA"
BAR = 40  # columns of the longest bar of `show`
EMPTY_ROWS_MAX = 3  # rows of `show` without a sample that are drawn one by one
FIGURE = 10  # columns of a figure with its unit: "-1.67 MB/s"
# Columns of a terminal from which `top` has room for these figures beside names of 30 columns.
SHOWN = ((110, (0.5, 0.9, 0.99, 0.999), True), (72, (0.5, 0.99), False), (0, (0.99,), False))
ROWS_MAX = 40  # rows of `top` on a terminal; `--json` and `--rows` show more

From = Annotated[str, Parameter(name=["--from"], help="A directory, or redis://host:port; else what the node uses.")]
Last = Annotated[str, Parameter(help="How far back to look: 30s, 15m, 24h, 7d.")]
Json = Annotated[bool, Parameter(negative="")]


def commands(source: str | Callable[[], str] | None = None, *, as_json: bool = False) -> App:
    """The group `pulse`; `source` and `as_json` are what the program was told before it came here.

    A `source` that is to be called is, when a command runs without `--from`.
    """
    app = App(name="pulse", help="Live latency histograms: see them, ask them, take them elsewhere.")
    default = ""
    usual = source or os.path.join(os.environ.get(DATA_VARIABLE, "data"), "pulse")

    def opened(named: str) -> AbstractContextManager[Pulse]:
        return _opened(named or (usual if isinstance(usual, str) else usual()))

    @app.command
    def top(
        pattern: str = "*",
        *,
        last: Last = "60s",
        once: Annotated[bool, Parameter(negative="", help="Print the table and end.")] = False,
        rows: Annotated[int, Parameter(help="The busiest so many; the table says how many there are.")] = ROWS_MAX,
        json: Json = as_json,
        from_: From = default,
    ) -> None:
        """Show every series and its quantiles, again each second, the busiest first."""
        with opened(from_) as pulse:
            if json:
                for info, answer in _answers(pulse, pattern, last):
                    _print_json({"unit": info.unit, **answer.as_json()})
                return
            console = Console()
            if once or not console.is_terminal:
                console.print(_table(pulse, pattern, last, rows, console.width))
                return
            pause = threading.Event()
            first = _table(pulse, pattern, last, rows, console.width)
            try:
                with Live(first, console=console, auto_refresh=False) as live:
                    while not pause.wait(1.0):
                        live.update(_table(pulse, pattern, last, rows, console.width), refresh=True)
            except KeyboardInterrupt:
                pass

    @app.command
    def show(pattern: str, *, last: Last = "1h", json: Json = as_json, from_: From = default) -> None:
        """Show one distribution: quantiles, coverage and the shape."""
        with opened(from_) as pulse:
            answer = pulse.query(pattern, last_seconds=duration(last))
            if not answer.series:
                raise NotFound(f"no series matches {pattern!r}; `boxwork pulse top` lists them")
            if json:
                _print_json(answer.as_json())
            else:
                unit = next(info.unit for info in pulse.catalog() if info.name == answer.series[0])
                Console(highlight=False).print(describe(answer, unit), markup=False)

    @app.command
    def watch(*rules: str, once: Json = False, json: Json = as_json, from_: From = default) -> int:
        """Print what fires and clears, a line each; with `--once` judge now and answer 1 if anything is wrong.

        A rule reads `p99(path{dst=cme}) > 250us over 30s for 10s`; the node itself watches those of `pulse.watch`.
        """
        if not rules:
            raise BadInput("name a rule to watch: boxwork pulse watch 'p99(http) > 250ms over 5m'")
        with opened(from_) as pulse:
            watching = Watch(pulse, *rules)
            if once:
                return _judged(watching, json)
            pause = threading.Event()
            try:
                while True:
                    for event in watching.look():
                        if json:
                            _print_json(event.as_json())
                        else:
                            at = datetime.fromtimestamp(event.at_ns / SECOND_NS).astimezone()
                            print(f"{at:%H:%M:%S} {event.kind} {_line(event, watching)}", flush=True)
                    pause.wait(1.0)
            except KeyboardInterrupt:
                return 0

    @app.command
    def export(
        pattern: str,
        *,
        last: Last = "1h",
        format: Annotated[str, Parameter(help="json, csv or blobs.")] = "json",
        out: Annotated[Path | None, Parameter(help="A file; without it standard output.")] = None,
        from_: From = default,
    ) -> None:
        """Write intervals of matching series: json (a line each), csv (quantiles), or blobs (the stored format)."""
        if format not in ("json", "csv", "blobs"):
            raise BadInput(f"--format {format!r} is not known; there are json, csv and blobs")
        with opened(from_) as pulse:
            if not pulse.reader.matching(Pattern.parse(pattern)):
                raise NotFound(f"no series matches {pattern!r}; `boxwork pulse top` lists them")
            target = out.open("wb") if out is not None else sys.stdout.buffer
            try:
                for chunk in exported(pulse, pattern, duration(last), format):
                    target.write(chunk)
                target.flush()
            finally:
                if out is not None:
                    target.close()

    return app


def agent(
    *targets: str,
    site: Annotated[str, Parameter(help="What this end of the paths is called.")],
    to: Annotated[str | None, Parameter(help="Where the histograms go: a directory, or redis://host:port.")] = None,
    host: Annotated[str, Parameter(help="The address to answer and to listen on.")] = "0.0.0.0",
    port: Annotated[int, Parameter(help="The UDP port where other agents are answered.")] = 8765,
    listen: Annotated[int | None, Parameter(help="The UDP port of measured datagrams and statsd.")] = None,
    every: Annotated[float, Parameter(help="Seconds between two questions to a target.")] = agents.PERIOD_SECONDS,
    json: Json = False,
) -> None:
    """Measure the paths from this site: NAME=agent://host:port, NAME=tcp://…, NAME=udp://…, NAME=http://….

    Without `--to` the histograms stay in memory; `--to data/pulse` shows them on the pages of the node there.
    """
    console = Console()
    live = Live(console=console, auto_refresh=False) if console.is_terminal and not json else None

    def report(running: agents.Agent) -> None:
        lines = running.lines()
        if live is not None:
            live.update(_paths(running, lines), refresh=True)
            return
        for line in lines:
            _print_json(
                {
                    "src": line.src,
                    "dst": line.dst,
                    "probe": line.probe,
                    "count": line.count,
                    "lost": line.lost,
                    "p50_ms": _finite(line.p50_ms),
                    "p99_ms": _finite(line.p99_ms),
                    "coverage": line.coverage,
                    **({"failure": line.failure} if line.failure else {}),
                }
            )

    stop = threading.Event()
    # A service manager asks by SIGTERM: the open interval is written, then the agent ends.
    before = signal.signal(signal.SIGTERM, lambda number, frame: stop.set())
    if live is not None:
        live.start()
    try:
        agents.run_agent(
            site,
            list(targets),
            sink=to,
            host=host,
            port=port,
            measured_port=listen,
            period_seconds=every,
            report=report,
            stop=stop,
        )
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, before)
        if live is not None:
            live.stop()


def duration(text: str) -> float:
    """Seconds of `30s`, `15m`, `24h`, `7d`, or of a plain number."""
    units = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
    number = text.strip().removeprefix("-")
    unit = units.get(number[-1:])
    try:
        seconds = float(number[:-1]) * unit if unit is not None else float(number)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < 1e10:
        raise BadInput(f"{text!r} is not a duration; write 30s, 15m, 24h or 7d")
    return seconds


def exported(pulse: Pulse, pattern: str, seconds: float, format: str) -> Iterator[bytes]:
    """The lines or blobs of `export`, series after series, in order of time."""
    end = pulse.clock.now_ns()
    start = end - round(seconds * SECOND_NS)
    if format == "csv":
        yield b"series,start_ns,width_ns,count,min,p50,p90,p99,p999,max,lost,covered,state\n"
    for info in pulse.reader.matching(Pattern.parse(pattern)):
        name = str(info.name)
        if format == "blobs":
            data = page.history(pulse, name, start, end, columns_max=1_000_000)
            encoded = name.encode()
            yield len(encoded).to_bytes(4, "little") + encoded + len(data).to_bytes(4, "little") + data
            continue
        found = page.columns(pulse, name, start, end, columns_max=1_000_000)
        for column in found["columns"]:
            if format == "json":
                yield (json.dumps({"series": name, "width_ns": found["width_ns"], **column}) + "\n").encode()
            else:
                quantiles = column["quantiles"] or [""] * len(page.QUANTILES)
                values = [
                    name,
                    column["t"],
                    found["width_ns"],
                    column["count"],
                    column["min"],
                    *quantiles,
                    column["max"],
                    column["lost"],
                    column["covered"],
                    column["state"],
                ]
                cells = ["" if value is None else str(value) for value in values]
                cells[0] = '"' + cells[0].replace('"', '""') + '"'
                yield (",".join(cells) + "\n").encode()


def describe(answer: Answer, unit: str) -> str:
    """A distribution as text: a bar for each octave, quantiles, and what was seen of the time."""
    histogram, coverage = answer.histogram, answer.coverage
    lines = [", ".join(map(str, answer.series[:4])) + (" …" if len(answer.series) > 4 else "")]
    if not histogram.empty:
        values, counts = histogram.cells()
        octaves: dict[int, int] = {}
        for value, count in zip(values.tolist(), counts.tolist(), strict=True):
            magnitude = math.floor(math.log2(abs(value))) if value else -1
            place = magnitude + 1 if value >= 0 else -magnitude - 1
            octaves[place] = octaves.get(place, 0) + count
        longest = max(octaves.values())
        before = min(octaves)
        for place in sorted(octaves):
            # A far outlier would push the rest off the screen: of many empty octaves only their number is said.
            empty = range(before + 1, place)
            if len(empty) > EMPTY_ROWS_MAX:
                lines.append(f"{'⋮':>10} {f'{len(empty)} octaves without a sample':<{BAR}}".rstrip())
            for row in (*(empty if len(empty) <= EMPTY_ROWS_MAX else ()), place):
                low = 0.0 if row == 0 else math.copysign(2.0 ** (abs(row) - 1), row)
                count = octaves.get(row, 0)
                lines.append(f"{amount(low, unit):>10} {'█' * math.ceil(BAR * count / longest):<{BAR}} {count}")
            before = place
        shares = (0.5, 0.9, 0.99, 0.999)
        for share, value in zip(shares, histogram.quantiles(shares), strict=True):
            lines.append(f"p{share * 100:g}".rjust(10) + f" {amount(value, unit)}")
        lines.append(f"{'min':>10} {amount(histogram.minimum, unit)}")
        lines.append(f"{'max':>10} {amount(histogram.maximum, unit)}")
        if histogram.negative_fraction:
            lines.append(f"{'below 0':>10} {histogram.negative_fraction:.2%}: the clocks of the two ends disagree")
    lines.append(f"{'samples':>10} {histogram.count}")
    lines.append(f"{'lost':>10} {coverage.lost}")
    lines.append(
        f"{'seen':>10} {_share(coverage.ratio)} of the time: {_span(coverage.silent_ns)} silent, "
        f"{_span(coverage.gap_ns)} not there"
    )
    if coverage.clock_steps:
        lines.append(f"{'clock':>10} stepped {coverage.clock_steps} times")
    if len(answer.series) > 1:
        lines.append(f"{'series':>10} {len(answer.series)}, their samples and times added up")
    return "\n".join(lines)


def _share(share: float) -> str:
    """A percentage that says 0 or 100 only of nothing and of all."""
    if 0 < share < 0.001:
        return "less than 0.1 %"
    return f"{min(share, 0.999) if share < 1 else 1:.1%}"


def _span(ns: int) -> str:
    seconds = round(ns / SECOND_NS)
    for unit, below, name in ((86400, 3600, "d"), (3600, 60, "h"), (60, 1, "min")):
        if seconds >= 2 * unit:
            rest = seconds % unit // below
            small = {3600: "h", 60: "min", 1: "s"}[below]
            return f"{seconds // unit} {name}" + (f" {rest} {small}" if rest else "")
    return f"{seconds} s"


def amount(value: float, unit: str) -> str:
    """A figure with three digits in the unit that fits."""
    if math.isnan(value):
        return "–"
    if unit == "ns":
        for limit, name in ((1e9, "s"), (1e6, "ms"), (1e3, "us")):
            if abs(value) >= limit:
                return f"{value / limit:.3g} {name}"
        return f"{value:.3g} ns"
    if unit == "ppm":
        return f"{value / 1e4:.3g} %"
    if unit == "tasks/1000":  # the load, which the kernel gives with two decimals
        return f"{value / 1e3:.3g}"
    if unit == "datagrams/s":
        return f"{value:.3g} /s"
    if unit == "bytes/s":  # of a line or a disk, in the units that are written on it, as on the pages
        for limit, name in ((1e9, "GB/s"), (1e6, "MB/s"), (1e3, "kB/s")):
            if abs(value) >= limit:
                return f"{value / limit:.3g} {name}"
        return f"{value:.3g} B/s"
    if unit.startswith("bytes"):
        for limit, name in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
            if abs(value) >= limit:
                return f"{value / limit:.3g} {name}{unit.removeprefix('bytes')}"
        return f"{value:.3g} B{unit.removeprefix('bytes')}"
    return f"{value:.3g} {unit}".rstrip()


def _judged(watching: Watch, as_json: bool) -> int:
    """Say how each rule stands now, whatever its `for`; 1 if one is broken."""
    watching.look()
    broken = 0
    for rule in watching.rules():
        wrong = rule["condition"] in ("firing", "pending")
        broken += wrong
        word = "wrong" if wrong else "no data" if rule["value"] is None else "right"
        if as_json:
            _print_json({"rule": rule["rule"], "state": word, "value": rule["value"], "threshold": rule["threshold"]})
        else:
            print(f"{word:7} {rule['rule']}: {_shown(rule)}")
    return 1 if broken else 0


def _line(event: Event, watching: Watch) -> str:
    unit = next((rule["unit"] for rule in watching.rules() if rule["rule"] == event.rule.name), "")
    return f"{event.rule.name}: {_shown({**event.rule.as_json(), 'value': event.value, 'unit': unit})}"


def _shown(rule: dict[str, Any]) -> str:
    value = rule["value"]
    if value is None:
        return "no samples" if rule["series"] else "no such series"
    if rule["kind"] in ("share", "coverage", "negative"):
        return f"{value:.3%}"
    return amount(value, rule["unit"])


@contextmanager
def _opened(source: str) -> Iterator[Pulse]:
    if "://" not in source and not Path(source).is_dir():
        raise BadInput(f"there is no history in {source!r}: name one with --from DIR or --from redis://host:port")
    pulse = Pulse(source, threaded=False)
    try:
        pulse.catalog()  # an answer that is empty because nobody answered must not look like one
        failure = getattr(pulse.history, "last_failure", "")
        if failure:
            raise StorageError(f"{source} does not answer: {failure}", source=source)
        yield pulse
    finally:
        pulse.close()


def _answers(pulse: Pulse, pattern: str, last: str) -> list[tuple[SeriesInfo, Answer]]:
    infos = pulse.reader.matching(Pattern.parse(pattern))
    end = pulse.clock.now_ns()
    answers = pulse.reader.query_each(infos, end - round(duration(last) * SECOND_NS), end) if infos else []
    pairs = zip(infos, answers, strict=True)
    return sorted(pairs, key=lambda pair: (-pair[1].histogram.count, str(pair[0].name)))


def _table(pulse: Pulse, pattern: str, last: str, rows: int, width: int) -> Table:
    """`width` is that of the terminal: on a narrow one the extremes and the quantiles between are left out."""
    shares, with_max = next((shares, with_max) for least, shares, with_max in SHOWN if width >= least)
    table = Table(title=f"{pattern}, last {last}", box=SIMPLE_HEAD, expand=True, padding=(0, 1, 0, 0))
    # Fixed widths for the figures and all the rest for the name: rich would rather take it from the name.
    table.add_column("series", overflow="fold", ratio=1)
    headings = {"per s": 6, **{f"p{share * 100:g}": FIGURE for share in shares}}
    headings |= ({"max": FIGURE} if with_max else {}) | {"lost": 5, "seen": 5}
    for heading, columns in headings.items():
        table.add_column(heading, justify="right", no_wrap=True, width=columns)
    room = width - 4 - sum(columns + 2 for columns in headings.values())  # two between columns, two at each edge
    seconds = duration(last)
    answers = _answers(pulse, pattern, last)
    for info, answer in answers[:rows]:
        histogram, coverage = answer.histogram, answer.coverage
        quantiles = [amount(value, info.unit) for value in histogram.quantiles(shares)]
        if with_max:
            quantiles.append("–" if histogram.empty else amount(histogram.maximum, info.unit))
        table.add_row(
            _folded(str(info.name), room),
            f"{histogram.count / seconds:.3g}",
            *quantiles,
            str(coverage.lost or ""),
            f"{coverage.ratio:.0%}",
        )
    if not answers:
        table.caption = f"no series matches {pattern!r}" if pattern != "*" else "nothing has been recorded yet"
    if len(answers) > rows:
        table.caption = f"{len(answers) - rows} more: --rows {len(answers)}"
    return table


def _folded(name: str, room: int) -> str:
    """A name that is too long is broken behind a comma or brace, if that is of help."""
    lines = [""]
    for part in re.split(r"(?<=[,{])", name):
        if lines[-1] and len(lines[-1]) + len(part) > room:
            lines.append("  ")
        lines[-1] += part
    return "\n".join(lines)


def _paths(running: agents.Agent, lines: list[agents.PathLine]) -> Table:
    listener = running.listener
    listening = f", datagrams on {listener.port}" if listener is not None else ""
    table = Table(title=f"{running.site}, port {running.port}{listening}, last minute")
    for heading in ("from", "to", "by", "answers", "lost", "p50", "p99"):
        table.add_column(heading, justify="left" if heading in ("from", "to", "by") else "right")
    for line in lines:
        table.add_row(
            line.src,
            line.dst,
            line.probe,
            str(line.count),
            str(line.lost or ""),
            amount(line.p50_ms * 1e6, "ns"),
            amount(line.p99_ms * 1e6, "ns"),
        )
    notes = [] if running.targets else ["no targets: it answers other agents"]
    notes += [f"{name}: {reason}" for name, reason in sorted(running.failures.items())]
    if listener is not None and listener.refused:
        notes.append(f"{listener.refused} datagrams or lines refused: neither measured datagrams nor statsd timings")
    if listener is not None and listener.dropped:
        notes.append(
            f"{listener.dropped} datagrams came and were dropped by this host's kernel before they were read:"
            " give the agent more of a core, or raise net.core.rmem_max"
        )
    if notes:
        table.caption = "; ".join(notes)
    return table


def _finite(value: float) -> float | None:
    return None if math.isnan(value) else value


def _print_json(value: dict[str, Any]) -> None:
    print(json.dumps(value), flush=True)
