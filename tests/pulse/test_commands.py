"""The commands on a real history, as a person and as a script would call them."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import socket
from pathlib import Path

import pytest

from boxwork.errors import BadInput, NotFound, StorageError
from boxwork.pulse import Pulse
from boxwork.pulse.commands import agent, amount, commands, describe, duration, exported
from boxwork.pulse.interval import Interval


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("pulse")
    with Pulse(str(path)) as pulse:
        for value in range(1, 1001):
            pulse.series("derive.run", box="shout").record(value * 1000)
        pulse.series("path", dst="cme").record(-5000)
        pulse.series("path", dst="cme").record(0)
    return str(path)


def run(*arguments: str, source: str, as_json: bool = False) -> None:
    commands(source, as_json=as_json)(list(arguments), exit_on_error=False, result_action="return_value")


def test_top_lists_the_busiest_first(source: str, capsys: pytest.CaptureFixture[str]) -> None:
    run("top", "--once", source=source)
    text = capsys.readouterr().out
    assert text.index("derive.run") < text.index("path{")
    assert "990 us" in text or "0.99 ms" in text or "988 us" in text


@pytest.mark.parametrize("columns", [60, 80, 130])
def test_top_has_room_for_names_whatever_the_terminal(
    source: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    with Pulse(source, threaded=False) as pulse:
        for name, unit in (("machine.load", "tasks/1000"), ("machine.network", "bytes/s"), ("drops", "datagrams/s")):
            pulse.series(name, unit=unit).record(123_456_789)
    run("top", "--once", source=source)
    lines = capsys.readouterr().out.splitlines()
    assert columns >= max(map(len, lines))
    for name in ("machine.load", "machine.network", "drops", "derive.run{box=shout}"):
        assert [line for line in lines if name in line], name


def test_top_breaks_a_long_name_behind_a_comma(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with Pulse(str(tmp_path / "pulse"), threaded=False) as pulse:
        pulse.series("path", src="ny4", dst="ld4", probe="agent").record(1)
    run("top", "--once", source=str(tmp_path / "pulse"))
    words = capsys.readouterr().out.split()
    assert {"path{dst=ld4,probe=agent,", "src=ny4}"} <= set(words)


def test_show_says_how_many_octaves_are_empty_instead_of_drawing_them(capsys: pytest.CaptureFixture[str]) -> None:
    with Pulse(threaded=False) as pulse:
        for value in (0, 1_000_000, 5_000_000):
            pulse.series("one").record(value)
        pulse.series("one", more="yes").record(7)
        text = describe(pulse.query("one"), "ns")
    assert "16 octaves without a sample" in text
    assert 20 > text.count("\n")
    assert "series 2, their samples and times added up" in text


def test_top_for_scripts_is_a_line_of_json_for_each_series(source: str, capsys: pytest.CaptureFixture[str]) -> None:
    run("top", "derive*", source=source, as_json=True)
    (line,) = capsys.readouterr().out.splitlines()
    assert 1000 == json.loads(line)["count"]


def test_show_draws_the_shape_and_says_what_was_seen(source: str, capsys: pytest.CaptureFixture[str]) -> None:
    run("show", "path", source=source)
    text = capsys.readouterr().out
    assert "50.00%: the clocks of the two ends disagree" in text
    assert "samples 2" in text
    assert "less than 0.1 % of the time: 0 s silent, 59 min 59 s not there" in text or "60 min not there" in text
    assert max(map(len, text.splitlines())) <= 80
    run("show", "derive.run", "--json", source=source)
    assert 1_000_000 == json.loads(capsys.readouterr().out)["max"]
    for command in ("show", "export"):
        with pytest.raises(NotFound, match="nobody"):
            run(command, "nobody", source=source)
    run("top", "nobody", "--once", source=source)
    assert "no series matches 'nobody'" in capsys.readouterr().out


def test_export_writes_lines_tables_and_blobs(source: str, tmp_path: Path) -> None:
    pulse = Pulse(source, threaded=False)
    lines = [json.loads(line) for line in b"".join(exported(pulse, "derive.run", 60, "json")).splitlines()]
    assert 1000 == sum(line["count"] for line in lines)
    rows = list(csv.DictReader(io.StringIO(b"".join(exported(pulse, "*", 60, "csv")).decode())))
    assert 1002 == sum(int(row["count"]) for row in rows if row["series"].startswith(("derive", "path")))
    assert {"derive.run{box=shout}", "path{dst=cme}"} <= {row["series"] for row in rows}
    pulse.close()
    run("export", "path", "--format", "blobs", "--out", str(tmp_path / "out"), source=source)
    data = (tmp_path / "out").read_bytes()
    length = int.from_bytes(data[:4], "little")
    assert b"path{dst=cme}" == data[4 : 4 + length]
    first = data[4 + length + 4 + 8 :]
    assert 2 == Interval.from_bytes(first[4 : 4 + int.from_bytes(first[:4], "little")]).histogram.count
    with pytest.raises(BadInput, match="json, csv and blobs"):
        run("export", "path", "--format", "xml", source=source)


def test_watch_once_is_a_check_for_a_script(source: str, capsys: pytest.CaptureFixture[str]) -> None:
    answer = commands(source)(
        ["watch", "--once", "slow: p99(derive.run) > 1us over 1h", "p50(derive.run) > 1s over 1h", "lost(nobody) > 0"],
        exit_on_error=False,
        result_action="return_value",
    )
    lines = capsys.readouterr().out.splitlines()
    assert 1 == answer
    assert ["wrong", "right", "no data"] == [line[:7].strip() for line in lines]
    assert "slow: 990 us" in lines[0] or "slow: 98" in lines[0] or "slow: 99" in lines[0]
    assert 0 == commands(source)(
        ["watch", "--once", "--json", "p50(derive.run) > 1s over 1h"], exit_on_error=False, result_action="return_value"
    )
    assert "right" == json.loads(capsys.readouterr().out)["state"]
    with pytest.raises(BadInput, match="name a rule"):
        run("watch", source=source)


@pytest.mark.servers
def test_a_server_that_is_away_is_an_error_and_no_empty_table() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        with pytest.raises(StorageError, match="does not answer"):
            run("top", "--once", source=f"redis://127.0.0.1:{nobody.getsockname()[1]}")


def test_a_source_that_is_not_there_is_named_and_not_made(tmp_path: Path) -> None:
    missing = tmp_path / "nothing"
    with pytest.raises(BadInput, match="--from"):
        run("top", source=str(missing))
    assert not missing.exists()


@pytest.mark.parametrize(("text", "seconds"), [("30s", 30), ("15m", 900), ("-24h", 86400), ("7d", 604800), ("5", 5)])
def test_durations_are_read(text: str, seconds: float) -> None:
    assert seconds == duration(text)


@pytest.mark.parametrize("text", ["", "s", "0", "5y", "nan"])
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(BadInput, match="30s"):
        duration(text)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (1234, "ns", "1.23 us"),
        (-2.5e6, "ns", "-2.5 ms"),
        (3, "ns", "3 ns"),
        (2e9, "ns", "2 s"),
        (250_000, "ppm", "25 %"),
        (3 * 2**20, "bytes", "3 MiB"),
        (2048, "bytes/s", "2.05 kB/s"),
        (12, "bytes/s", "12 B/s"),
        (5, "tasks", "5 tasks"),
        (float("nan"), "ns", "–"),
    ],
)
def test_amounts_have_the_unit_that_fits(value: float, unit: str, text: str) -> None:
    assert text == amount(value, unit)


def test_an_empty_answer_can_be_described() -> None:
    assert "samples 0" in describe(Pulse(threaded=False).query("nobody", last_seconds=1), "ns")


def test_the_agent_command_prints_paths_until_it_is_asked_to_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from boxwork.pulse import agent as agents

    plain = agents.run_agent

    def twice(site: str, targets: list[str], **options: object) -> None:
        report = options.pop("report")

        def counted(running: agents.Agent) -> None:
            report(running)  # type: ignore[operator]
            if running.lines():
                os.kill(os.getpid(), signal.SIGTERM)  # as a service manager does

        plain(site, targets, report=counted, report_seconds=0.2, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(agents, "run_agent", twice)
    agent("self=udp://127.0.0.1:9", site="ny4", host="127.0.0.1", port=0, json=True)
    assert {"src": "ny4", "dst": "self"}.items() <= json.loads(capsys.readouterr().out.splitlines()[0]).items()
