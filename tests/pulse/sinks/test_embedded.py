"""The embedded history: contract, other processes, sealing, expiry, a pulse on top."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from _busy import in_one_of_three
from _clock import HOUR_START_NS, fake_clock
from sink_contract import check_history, info, read, row

from boxwork.clock import SECOND_NS
from boxwork.pulse import Pulse
from boxwork.pulse.interval import DAY_NS, HOUR_NS, MINUTE_NS, Interval
from boxwork.pulse.sinks.embedded import EmbeddedSink, EmbeddedStore


def flush(sink: object) -> None:
    assert isinstance(sink, EmbeddedSink)
    assert sink.flush()


def test_it_keeps_the_contract(tmp_path: Path) -> None:
    check_history(lambda: EmbeddedSink(tmp_path / "pulse"), flush)


def test_it_keeps_the_contract_before_anything_is_flushed(tmp_path: Path) -> None:
    check_history(lambda: EmbeddedSink(tmp_path / "pulse"))


def test_rows_are_there_after_opening_again(tmp_path: Path) -> None:
    sink = EmbeddedSink(tmp_path)
    sink.write([row(info(), 1, 5)])
    sink.close()
    again = EmbeddedSink(tmp_path)
    assert [row(info(), 1, 5).blob] == read(again, info(), 0, 9)
    assert [info()] == again.catalog()
    again.close()


def test_another_process_shares_the_history(tmp_path: Path) -> None:
    ours = EmbeddedSink(tmp_path)
    ours.write([row(info(who="us"), 1, 5)])
    assert ours.flush()
    code = (
        "import sys; from boxwork.pulse import Pulse\n"
        "with Pulse(sys.argv[1]) as pulse:\n"
        "    pulse.series('path', who='them').record(7)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=60)
    theirs = next(found for found in ours.catalog() if found.name.label("who") == "them")
    assert {"us", "them"} == {found.name.label("who") for found in ours.catalog()}
    pulse = Pulse(ours, threaded=False)
    assert 1 == pulse.query(theirs.name, last_seconds=60).histogram.count
    pulse.close()


def test_old_chunks_are_sealed_and_read_the_same(tmp_path: Path) -> None:
    clock = fake_clock()
    store = EmbeddedStore(tmp_path, clock)
    rows = [row(info(), slot, slot - 50, slot) for slot in range(0, 3600, 7)]
    store.write([*rows, row(info(), 7, 3, epoch=2), row(info(), 7200, 1)])
    before = read(store, info(), 0, 7200)
    assert 0 == store.seal(HOUR_START_NS + HOUR_NS)
    assert 1 == store.seal(HOUR_START_NS + 2 * HOUR_NS)
    assert (2, 1) == (store.database.count("tiles"), store.database.count("rows"))
    assert before == read(store, info(), 0, 7200)
    assert sorted([row(info(), 7, 3, epoch=2).blob, row(info(), 7, -43, 7).blob]) == read(store, info(), 5, 9)
    store.write([row(info(), 8, 99)])  # a late row joins the tile it belongs to
    assert 1 == store.seal(HOUR_START_NS + 2 * HOUR_NS + 20 * MINUTE_NS)
    assert sorted([*before, row(info(), 8, 99).blob]) == read(store, info(), 0, 7200)
    assert 1 == store.database.count("rows")
    store.close()


def test_what_is_older_than_its_width_is_kept_goes(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path, fake_clock())
    store.write([row(info(), slot, 1) for slot in range(5)])
    store.write([row(info(), 0, 1, width_ns=HOUR_NS)])
    store.seal(HOUR_START_NS + 2 * HOUR_NS)
    store.write([row(info(), slot, 1) for slot in range(7200, 7205)])
    assert 0 == store.expire(HOUR_START_NS + DAY_NS)
    assert 1 == store.expire(HOUR_START_NS + DAY_NS + HOUR_NS)
    assert 5 == store.expire(HOUR_START_NS + 2 * DAY_NS)
    assert [row(info(), 0, 1, width_ns=HOUR_NS).blob] == read(store, info(), 0, 1, HOUR_NS)
    store.close()


def test_a_pulse_on_a_directory_answers_after_a_restart(tmp_path: Path) -> None:
    for _ in range(2):
        with Pulse(str(tmp_path)) as pulse:
            pulse.series("f").record(5)
    with Pulse(str(tmp_path)) as pulse:
        answer = pulse.query("f", last_seconds=60)
        assert (2, 2) == (answer.histogram.count, answer.coverage.runs)


def test_a_pulse_killed_loses_at_most_the_open_interval(tmp_path: Path) -> None:
    folders = iter("abc")
    in_one_of_three(lambda: killed(tmp_path / next(folders)))


def killed(folder: Path) -> None:
    code = (
        "import os, sys, time; from boxwork.pulse import Pulse\n"
        "pulse = Pulse(sys.argv[1], interval_seconds=0.1); record = pulse.series('f').record\n"
        "deadline = time.monotonic() + 1.5\n"
        "while time.monotonic() < deadline: record(7); time.sleep(0.001)\n"
        "print(pulse.series('f').count, flush=True); os.kill(os.getpid(), 9)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, timeout=60)
    recorded = int(ran.stdout)
    with Pulse(str(folder)) as pulse:
        answer = pulse.query("f", last_seconds=60)
        assert recorded * 0.8 <= answer.histogram.count <= recorded
        assert answer.coverage.gap_ns > 0


@pytest.mark.parametrize("count", [1, 400])
def test_many_series_in_one_transaction_get_numbers_of_their_own(tmp_path: Path, count: int) -> None:
    store = EmbeddedStore(tmp_path, fake_clock())
    store.write([row(info(n=str(number)), 0, number + 1) for number in range(count)])
    for number in range(0, count, 37):
        (blob,) = read(store, info(n=str(number)), 0, 1)
        assert number + 1 == Interval.from_bytes(blob).histogram.maximum
    assert SECOND_NS in store.catalog()[0].widths
    store.close()
