"""The boot gate: a version becomes the machine's own only after it was booted there and said that it is healthy.

    install → count → boot → healthy?  it is the good one now
                           → not?      try again if tries are left; then start the good one, and say so

Every step is on disk before the next one begins, so `boot` after a crash goes on where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from boxwork import Ref, Tree, errors
from boxwork.packs.images.disk import root_of
from boxwork.packs.images.machine import Machine
from boxwork.packs.images.slots import Boot, Slots

Tell = Callable[[str], None]


@dataclass(slots=True)
class Passage:
    """What came of it: the version that runs, in which slot, and all boots on the way.

    `refused` says why the wished version does not run, if it does not; `mended` that a slot had been damaged and was
    taken from the store again.
    """

    machine: str
    version: Ref | None = None
    slot: str = ""
    refused: str = ""
    mended: bool = False
    boots: list[Boot] = field(default_factory=list)


@contextmanager
def passing(
    work: Any, name: str, version: Tree | None = None, *, again: bool = False, tell: Tell = print
) -> Iterator[tuple[Passage, Machine]]:
    """Bring the machine `name` up, with `version` on trial if one is given; inside the block it runs.

    Raises `Unbootable` if no slot is healthy, `Busy` if somebody else boots it.
    """
    tries_max = work.settings.integer("images.boot_tries_max")
    with Slots(work, name).locked() as slots:
        if version is not None:
            slots.install(version, again=again)
        passage = Passage(name)
        tries_of_good = 0
        while slot := slots.next(tries_max):
            state = slots.state()
            if state.trial and slot != state.trial:
                slots.reject(f"no verdict in {state.tries} of {tries_max} tries")
            if slot != state.trial:
                tries_of_good += 1
                if tries_of_good > tries_max:
                    break
            passage.mended |= not slots.mend(slot)
            with _booted(slots, slot, passage, tell) as (boot, machine):
                if boot.verdict == "healthy":
                    passage.version, passage.slot = Ref.parse(boot.version), slot
                    passage.refused = slots.state().refused.get(str(version.ref), "") if version is not None else ""
                    yield passage, machine
                    return
        if slots.state().trial:
            slots.reject(f"no verdict in {tries_max} of {tries_max} tries")
        said = "; ".join(f"{boot.version[:19]}… {boot.verdict}: {boot.reason}" for boot in passage.boots)
        raise Unbootable(f"no version of the machine {name} is healthy: {said or 'it has none'}", machine=name)


class Unbootable(errors.BoxworkError):
    code = "images.unbootable"
    status = 409


@contextmanager
def _booted(slots: Slots, slot: str, passage: Passage, tell: Tell) -> Iterator[tuple[Boot, Machine]]:
    version = slots.version(slot)
    number = slots.count(slot)
    log = f"{number:06d}-{slot}.log"
    tell(f"boot {number}: slot {slot}, {version.ref}")
    at_ns = slots.work.clock.now_ns()
    with Machine(slots.work, slots.folder / slot, root_of(version), slots.folder / "log" / log) as machine:
        found = machine.outcome()
        boot = Boot(number, slot, str(version.ref), found.verdict, found.reason, at_ns, found.duration_ms, log)
        if boot.verdict != "healthy":
            machine.end()
        slots.record(boot)
        passage.boots.append(boot)
        tell(f"boot {number}: {boot.verdict} after {boot.duration_ms / 1000:.1f} s ({boot.reason})")
        yield boot, machine
