"""The protocol of sinks; the contract that all of them keep is in `sink_contract.py` of the folder above."""

from __future__ import annotations

from boxwork.pulse.sinks.memory import MemorySink
from boxwork.pulse.sinks.sink import History


def test_a_history_is_told_by_what_it_can_do() -> None:
    class WriteOnly:
        def write(self, rows: object) -> None: ...

        def close(self) -> None: ...

    assert isinstance(MemorySink(), History)
    assert not isinstance(WriteOnly(), History)
