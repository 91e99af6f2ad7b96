"""Facts from what a disk has: the newest checkpoint, then the entries of the log after it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from boxwork.errors import BadInput, BlobMissing
from boxwork.state import checkpoint as checkpoints
from boxwork.state.batch import Entry
from boxwork.state.log import Log
from boxwork.state.sequencer import Sequencer

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
        entry = Entry.decode(record.payload)
        facts.apply(record.version, entry.writes, record.digest)
        machine.answers.keep(entry.answers, record.version, record.epoch, record.digest, entry.now_ns)
        machine.epoch = record.epoch
        entries += 1
        payload_bytes += len(record.payload)
    machine.executed = facts.version
    return Recovered(found.version if found is not None else 0, entries, payload_bytes)
