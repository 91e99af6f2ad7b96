"""The spool: nothing waits for a sink that is away, and counts go last."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from _clock import HOUR_START_NS, fake_clock
from sink_contract import check_history, info, read, row

from boxwork.clock import SECOND_NS
from boxwork.pulse import Pulse
from boxwork.pulse import interval as marks
from boxwork.pulse.interval import Interval
from boxwork.pulse.sinks import spool as spool_module
from boxwork.pulse.sinks.memory import MemorySink
from boxwork.pulse.sinks.sink import Row, SeriesInfo
from boxwork.pulse.sinks.spool import HistorySpool


class Away(MemorySink):
    """A history that can be told to fail."""

    def __init__(self, away: bool = True) -> None:
        super().__init__()
        self.away = away
        self.tidied = 0

    def write(self, rows: Sequence[Row]) -> None:
        if self.away:
            raise ConnectionError("nobody there")
        super().write(rows)

    def tidy(self) -> None:
        self.tidied += 1


def test_it_keeps_the_contract_while_the_store_is_there_and_while_it_is_away() -> None:
    check_history(lambda: HistorySpool(Away(False)), lambda sink: sink.flush() and None)  # type: ignore[attr-defined]
    check_history(lambda: HistorySpool(Away()))


def test_what_waited_is_handed_over_when_the_store_comes_back() -> None:
    store = Away()
    spool = HistorySpool(store)
    spool.write([row(info(), slot, 5) for slot in range(2500)])
    assert not spool.flush(0.01)
    assert 2500 == spool.waiting
    store.away = False
    assert spool.flush()
    assert (0, 0, 2500 - 900 - 1) == (spool.waiting, spool.bytes_held, 2500 - len(read(store, info(), 0, 2500)))
    spool.close()


class Hanging(Away):
    """A history that fails late when it is asked."""

    asked = 0

    def catalog(self) -> list[SeriesInfo]:
        self.asked += 1
        if self.away:
            raise TimeoutError("no answer")
        return super().catalog()


def test_a_history_that_hangs_does_not_hold_up_everybody_who_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_module, "SLOW_NS", -1)  # each failure counts as a slow one
    store = Hanging()
    spool = HistorySpool(store)
    for _ in range(5):
        assert [] == spool.catalog()
    assert (1, "no answer") == (store.asked, spool.away)
    spool.write([row(info(), 0, 5)])
    assert [info()] == spool.catalog()  # what waits is still an answer
    assert not spool.hand_over()
    assert (1, "nobody there") == (store.asked, spool.away)
    store.away = False
    assert spool.flush()  # the thread that writes found out: now it is asked again
    assert [info()] == spool.catalog()
    assert (2, "") == (store.asked, spool.away)
    spool.close()


def test_a_full_spool_keeps_every_count_and_gives_up_resolution() -> None:
    clock, spool = fake_clock(), HistorySpool(Away(), bytes_max=100_000)
    pulse = Pulse(spool, clock=clock, threaded=False)
    series = pulse.series("path")
    for second in range(1200):
        series.record(second + 1)
        clock.advance(SECOND_NS)
        pulse.tick()
    assert spool.bytes_held <= 100_000
    assert spool.coalesced > 500
    assert 0 == spool.dropped
    answer = pulse.query("path", HOUR_START_NS, clock.now_ns())
    assert (1200, sum(range(1, 1201)), 1.0) == (answer.histogram.count, answer.histogram.sum, answer.coverage.ratio)
    tens = pulse.reader.columns(series.name, 10 * SECOND_NS, HOUR_START_NS, clock.now_ns())
    minutes = pulse.reader.columns(series.name, 60 * SECOND_NS, HOUR_START_NS, clock.now_ns())
    assert any(column.flags & marks.COALESCED for column in (*tens, *minutes))
    spool._closing = True


def test_when_even_the_coarsest_do_not_fit_the_loss_is_counted() -> None:
    spool = HistorySpool(Away(), bytes_max=5_000)
    hours = [row(info(), slot, 1, width_ns=marks.HOUR_NS) for slot in range(50)]
    spool.write(hours)
    assert spool.bytes_held <= 5_000
    assert 50 == spool.dropped + spool.waiting
    found = [Interval.from_bytes(blob).start_ns for blob in read(spool, info(), 0, 50, marks.HOUR_NS)]
    assert hours[-1].interval.start_ns in found
    spool._closing = True


def test_close_gives_up_in_time_and_says_what_was_left() -> None:
    spool = HistorySpool(Away())
    spool.write([row(info(), 0, 1)])
    spool.close()
    assert (1, True) == (spool.dropped, spool.failures > 0)
    spool.write([row(info(), 1, 1)])
    assert 2 == spool.dropped
