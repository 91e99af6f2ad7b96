"""What every sink that can be asked must do; each sink's tests call it with a way to open a fresh one."""

from __future__ import annotations

from collections.abc import Callable

from _clock import HOUR_START_NS

from boxwork.clock import SECOND_NS
from boxwork.pulse.histogram import Histogram
from boxwork.pulse.interval import Interval, ladder
from boxwork.pulse.series_name import SeriesName
from boxwork.pulse.sinks.sink import History, Request, Row, SeriesInfo

Flush = Callable[[History], None]


def info(name: str = "path", **labels: str) -> SeriesInfo:
    return SeriesInfo(SeriesName.of(name, labels), "ns", ladder(SECOND_NS))


def row(series: SeriesInfo, slot: int, *samples: int, epoch: int = 1, width_ns: int = SECOND_NS) -> Row:
    interval = Interval(HOUR_START_NS + slot * width_ns, width_ns, epoch, Histogram(samples), covered_ns=width_ns)
    return Row(series, interval, interval.to_bytes())


def read(sink: History, series: SeriesInfo, low: int, high: int, width_ns: int = SECOND_NS) -> list[bytes]:
    request = Request(series.name, width_ns, HOUR_START_NS + low * width_ns, HOUR_START_NS + high * width_ns)
    return sorted(sink.read([request])[0])


def check_history(open_sink: Callable[[], History], flush: Flush = lambda sink: None) -> None:
    """Rows come back, once each; ranges are half open; epochs stay apart; strangers are silent."""
    sink = open_sink()
    one, two = info(src="ny4", dst="cme"), info(src="odd {}=,*% 名", dst="ld4")
    rows = [row(one, slot, slot + 1, 1000) for slot in range(30)]
    sink.write(rows)
    sink.write([row(two, 3, -5)])
    flush(sink)
    assert sorted(r.blob for r in rows[5:20]) == read(sink, one, 5, 20)
    assert [row(two, 3, -5).blob] == read(sink, two, 0, 30)
    assert [] == read(sink, two, 4, 30)

    sink.write(rows[7:9])  # the same again changes nothing
    sink.write([row(one, 7, 99, epoch=2)])  # another run of the same slot stands beside it
    sink.write([row(one, 8, 77)])  # a row of equal slot and epoch replaces
    flush(sink)
    assert sorted([rows[7].blob, row(one, 7, 99, epoch=2).blob, row(one, 8, 77).blob]) == read(sink, one, 7, 9)

    sink.write([row(one, 0, 5, width_ns=10 * SECOND_NS)])
    flush(sink)
    assert [row(one, 0, 5, width_ns=10 * SECOND_NS).blob] == read(sink, one, 0, 1, 10 * SECOND_NS)
    assert rows[0].blob in read(sink, one, 0, 1)

    assert [] == read(sink, info("stranger"), 0, 100)
    asked = [Request(s.name, SECOND_NS, HOUR_START_NS, HOUR_START_NS + 2 * SECOND_NS) for s in (one, info("no"), two)]
    assert [2, 0, 0] == [len(found) for found in sink.read(asked)]
    assert {one.name: one, two.name: two} == {found.name: found for found in sink.catalog()}
    sink.close()
    sink.close()
