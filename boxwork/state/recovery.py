"""Facts from what a disk has: the newest checkpoint, then the entries of the log after it."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from boxwork.errors import BadInput, BlobMissing
from boxwork.state import checkpoint as checkpoints
from boxwork.state.batch import Entry
from boxwork.state.log import Log
from boxwork.state.sequencer import Sequencer
from boxwork.state.snapshot import Facts

if TYPE_CHECKING:
    from boxwork.content.store import Store
    from boxwork.state.logs.files import Files


@dataclass(frozen=True, slots=True)
class Recovered:
    checkpoint_version: int
    entries: int
    payload_bytes: int


def recover(machine: Sequencer, log: Log, files: Files | None = None, store: Store | None = None) -> Recovered:
    """Bring an empty machine to the newest durable version.  The log is ready to append afterwards."""
    with _collector_waits(machine.facts):
        return _recover(machine, log, files, store)


@contextlib.contextmanager
def _collector_waits(facts: Facts) -> Iterator[None]:
    """What is recovered stays, so the collector of cycles finds nothing in it: it waits, in this process, meanwhile.

    In a process that has frozen what it keeps (`gc.freeze`; `boxwork up` does) the facts are frozen, too: looking
    through a million of them takes 0.05 to 0.15 s, in which nobody else gets a turn, again and again.
    """
    has_frozen, was_enabled = gc.get_freeze_count() > 0, gc.isenabled()
    if has_frozen:
        gc.collect()  # so that no circles of others are frozen with them
    gc.disable()
    try:
        yield
        if has_frozen:
            facts.track()
            gc.freeze()
    finally:
        if was_enabled:
            gc.enable()


def _recover(machine: Sequencer, log: Log, files: Files | None, store: Store | None) -> Recovered:
    facts = machine.facts
    found = checkpoints.find(files) if files is not None else None
    if found is not None:
        if store is None:
            raise BadInput(f"the facts of version {found.version} are in a checkpoint, but no store was given")
        try:
            checkpoints.load(found, store, facts, machine.answers)
            machine.epoch = found.epoch
        except BlobMissing:
            # A backup copies blobs first and the log last, so a checkpoint made meanwhile is not in it.  The log is
            # enough where it goes back to the beginning.
            if log.first() > 1:
                raise
            found = None
    entries = payload_bytes = 0
    for record in log.recover(facts.version, facts.digest):
        entry = Entry.decode(record.payload, inputs=False)
        facts.apply(record.version, entry.writes, record.digest)
        machine.answers.keep(entry.answers, record.version, record.epoch, record.digest, entry.now_ns)
        machine.epoch = record.epoch
        entries += 1
        payload_bytes += len(record.payload)
    machine.executed = facts.version
    return Recovered(found.version if found is not None else 0, entries, payload_bytes)
