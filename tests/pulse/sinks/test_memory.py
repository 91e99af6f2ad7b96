"""The memory keeps the contract of every history."""

from __future__ import annotations

from sink_contract import check_history

from boxwork.pulse.sinks.memory import MemorySink


def test_it_keeps_the_contract() -> None:
    check_history(MemorySink)
