"""What each lane has done, by one set of definitions.

commit      a transaction whose effect stands (or that only read)
execution   a run of a function, whatever became of it
re-run      a run that we repeated: its caller notices nothing
abort       a run that the caller must repeat
refusal     a precondition or a bound did not hold: an answer, not a failure
failure     the function raised something else
wait        a transaction that had to wait for a lock or a reservation
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

LANES = ("serial", "snapshot", "locking", "occ")


@dataclass(slots=True)
class LaneCounters:
    commits: int = 0
    executions: int = 0
    reruns: int = 0
    aborts: int = 0
    refusals: int = 0
    failures: int = 0
    waits: int = 0
    wait_ns: int = 0
    lost_ns: int = 0  # time spent in runs that were repeated


class Counters:
    """The counters of a node.  Written by its threads without a lock: a lost count is allowed, a stop is not."""

    def __init__(self) -> None:
        self.lanes = {name: LaneCounters() for name in LANES}
        self.batches = 0
        self.rows = 0
        self.bytes = 0

    def __getitem__(self, lane: str) -> LaneCounters:
        return self.lanes[lane]

    def numbers(self) -> dict[str, object]:
        return {
            "batches": self.batches,
            "rows": self.rows,
            "bytes": self.bytes,
            "lanes": {name: asdict(lane) for name, lane in self.lanes.items()},
        }
