"""The contract of every `Log`, as a class of tests: subclass it, say how to make one, and let pytest run it.

class TestMyLog(LogContract):
    @pytest.fixture
    def log(self, tmp_path):
        with contextlib.closing(MyLog(tmp_path)) as log:
            yield log

    def reopened(self, log):  # leave it out for a log that keeps nothing
        log.close()
        return MyLog(log.path)
"""

from __future__ import annotations

from typing import Any

import pytest

from boxwork.clock import SystemClock
from boxwork.errors import StateError
from boxwork.keys import LOG_ROOT
from boxwork.settings import merge
from boxwork.state.batch import Record, encode_entry
from boxwork.state.engine import SETTINGS, Engine
from boxwork.state.log import Log
from boxwork.state.verify import verify
from boxwork.transactions import transaction


def chain(
    count: int, size: int = 20, start: int = 1, previous: bytes = LOG_ROOT, durable: int | None = None, epoch: int = 1
) -> list[Record]:
    """Entries as the sequencer makes them, each chained to the one before."""
    records = []
    for version in range(start, start + count):
        payload = encode_entry(version, b"seed", {("k", version): "v" * size}, b"", b"")
        record = Record.seal(version, epoch, version - 1 if durable is None else durable, previous, payload)
        previous = record.digest
        records.append(record)
    return records


@transaction
def press(tx: Any, name: str) -> Any:
    tx.add((name,), 1)
    return tx.get((name,))


class LogContract:
    """What the engine relies on.  A log of your own passes when these do."""

    def reopened(self, log: Log) -> Log | None:
        """The same log, as it is found after its process has ended; None if it does not outlive it."""
        return None

    def test_what_was_appended_is_read_in_order(self, log: Log) -> None:
        assert [] == list(log.recover(0, LOG_ROOT))
        records = chain(12)
        log.append(records[:1])
        log.append(records[1:7])
        log.append(records[7:])
        log.append([])
        assert records == list(log.read())
        assert records[5:] == list(log.read(5))
        assert [] == list(log.read(12))
        assert 1 == log.first()

    def test_an_empty_log_has_no_first_entry(self, log: Log) -> None:
        assert [] == list(log.recover(0, LOG_ROOT))
        assert 0 == log.first()
        assert [] == list(log.read())

    def test_reading_goes_on_while_it_is_appended_to(self, log: Log) -> None:
        list(log.recover(0, LOG_ROOT))
        records = chain(6)
        log.append(records[:3])
        reading = log.read()
        assert records[0] == next(reading)
        log.append(records[3:])
        rest = list(reading)
        assert records[1:3] == rest[:2], "what was there when it began is read whole"
        assert records == list(log.read())

    def test_trimming_forgets_nothing_after_the_version(self, log: Log) -> None:
        list(log.recover(0, LOG_ROOT))
        records = chain(12)
        for record in records:
            log.append([record])
        log.trim(8)
        assert records[8:] == list(log.read(8))
        assert 1 <= log.first() <= 9

    def test_an_entry_that_does_not_follow_the_last_one_is_never_part_of_it(self, log: Log) -> None:
        list(log.recover(0, LOG_ROOT))
        records = chain(3)
        log.append(records)
        with pytest.raises(BaseException, match=r"follow|chain|fenced|digest"):
            log.append(chain(1, start=4, previous=b"\7" * 32))
        assert records == list(log.read())

    def test_it_is_there_again_and_goes_on(self, log: Log) -> None:
        list(log.recover(0, LOG_ROOT))
        records = chain(5)
        log.append(records[:4])
        again = self.reopened(log)
        if again is None:
            return
        try:
            assert records[1:4] == list(again.recover(1, records[0].digest))
            again.append(records[4:])
            assert records == list(again.read())
        finally:
            again.close()

    def test_a_node_runs_on_it_and_its_log_can_be_verified(self, log: Log) -> None:
        settings = merge(SETTINGS, environment={})
        with Engine(log, SystemClock(), settings) as engine:
            receipts = [engine.commit(press, "a", receipt=True)[1] for _ in range(5)]
            engine.commit_many(press, [("b",)] * 100)
            report = verify(engine.records(), receipts=receipts, boxes={press.name: press})
            assert (True, 105) == (report.is_sound, report.replayed)
        with pytest.raises(StateError):
            engine.commit(press, "a")

    def test_closing_twice_is_closing_once(self, log: Log) -> None:
        list(log.recover(0, LOG_ROOT))
        log.close()
        log.close()
