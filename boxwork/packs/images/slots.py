"""Two slots of one machine, and which of them starts: A/B, with a boot count that survives everything.

    <data>/images/machines/NAME/
        STATE      which slot is good, which is on trial and how often it was tried; replaced in one step, synced
        LOCK       held while somebody boots
        a/ b/      a version each, checked out: kernel, initrd, root.squashfs, boot.json
        log/       what the last boots wrote to their console

A version comes into the slot that is not in use and is on trial.  The count goes up, on disk, *before* each boot of
it: whoever is killed in the middle finds it used up.  A verdict makes it the good one, or ends the trial; the slot of
the good one is never written to, so going back is a word in STATE.

Invariants:  `good` was healthy when it was last booted, or is empty;  `trial` != `good`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from boxwork import Ref, Tree, errors, ref_of_file

SLOTS = ("a", "b")
# Boots that are remembered, with their consoles, and versions that were refused, with the reason.
HISTORY_MAX = 20


class Boot(msgspec.Struct, frozen=True):
    """One boot that is over: of which version in which slot, what came of it, how long it took."""

    number: int
    slot: str
    version: str
    verdict: str  # "healthy", "sick", "down" or "silent"
    reason: str
    at_ns: int
    duration_ms: int
    log: str


class State(msgspec.Struct):
    """What STATE holds.  A slot is "" where there is none."""

    versions: dict[str, str] = {}
    good: str = ""
    trial: str = ""
    tries: int = 0
    boots: int = 0
    refused: dict[str, str] = {}
    history: list[Boot] = []


class Slots:
    """The slots of one machine.  Used under `locked`, by one process at a time; `state` alone may be read any time."""

    def __init__(self, work: Any, name: str) -> None:
        if not name or not name.replace("-", "").replace("_", "").isalnum() or len(name) > 100:
            raise errors.BadInput(f"a machine is called by letters, digits, - and _, not {name[:40]!r}")
        self.work = work
        self.name = name
        self.folder: Path = work.node.root / "images" / "machines" / name

    @contextlib.contextmanager
    def locked(self) -> Iterator[Slots]:
        """Raises `Busy` when somebody else boots this machine."""
        (self.folder / "log").mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(self.folder / "LOCK", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise errors.Busy(f"the machine {self.name} is being booted by another process: wait for it") from None
            yield self
        finally:
            os.close(lock)

    # --- what is so

    def state(self) -> State:
        try:
            return msgspec.json.decode((self.folder / "STATE").read_bytes(), type=State)
        except FileNotFoundError:
            return State()
        except msgspec.DecodeError as fault:
            raise errors.FormatError(
                f"{self.folder / 'STATE'} is damaged ({fault}): remove it, and give the machine a version again"
            ) from fault

    def version(self, slot: str) -> Tree:
        """The tree that belongs into this slot."""
        tree: Tree = self.work.tree(self.state().versions[slot])
        return tree

    def next(self, tries_max: int) -> str:
        """The slot to start now: the one on trial while it has tries left, else the good one; "" if there is none."""
        state = self.state()
        return state.trial if state.trial and state.tries < tries_max else state.good

    def console(self, boot: Boot, bytes_max: int) -> str:
        """The end of what a machine wrote to its console, without what a terminal would make of it."""
        try:
            with (self.folder / "log" / boot.log).open("rb") as file:
                file.seek(0, os.SEEK_END)
                file.seek(max(0, file.tell() - bytes_max))
                text = file.read().decode("utf-8", "replace")
        except OSError:
            return ""
        return "".join(letter for letter in text.replace("\r\n", "\n") if letter == "\n" or letter.isprintable())

    # --- changes, each one replacement of STATE

    def install(self, version: Tree, *, again: bool = False) -> None:
        """Put a version on trial, in the slot that is not in use.

        Nothing happens if it is the good one, or on trial already (the count goes on), or was refused before; with
        `again` what was refused gets another trial.
        """
        state, ref = self.state(), str(version.ref)
        if state.good and state.versions.get(state.good) == ref:
            if state.trial:
                self._reject(state, "another version was wanted before its trial was over")
            return
        if state.trial and state.versions[state.trial] == ref:
            return
        if ref in state.refused and not again:
            return
        slot = next(slot for slot in SLOTS if slot != state.good)
        # First of all nothing is on trial and the slot is empty: a crash in the middle must not start half a version.
        state.trial, state.tries = "", 0
        state.versions.pop(slot, None)
        self._write(state)
        self.work.pin(version.ref, self._pin(slot))
        self.work.checkout(version, self.folder / slot, replace=True, durable=True)
        state.versions[slot], state.trial = ref, slot
        state.refused.pop(ref, None)
        self._write(state)

    def count(self, slot: str) -> int:
        """About to start this slot: the number of this boot.  A trial has one try less, whatever happens now."""
        state = self.state()
        state.boots += 1
        if slot == state.trial:
            state.tries += 1
        self._write(state)
        return state.boots

    def record(self, boot: Boot) -> None:
        """A boot is over.  Healthy makes its slot the good one; a version on trial that says it is sick is refused."""
        state = self.state()
        state.history = [*state.history, boot][-HISTORY_MAX:]
        if boot.slot == state.trial and boot.verdict == "healthy":
            state.good, state.trial, state.tries = boot.slot, "", 0
        if boot.slot == state.trial and boot.verdict == "sick":
            self._reject(state, boot.reason)
        else:
            self._write(state)
        kept = {each.log for each in state.history}
        for path in (self.folder / "log").iterdir():
            if path.name not in kept:
                path.unlink(missing_ok=True)

    def reject(self, reason: str) -> None:
        """The version on trial is refused: the good one starts from now on."""
        self._reject(self.state(), reason)

    def back(self) -> str:
        """Put what was good before on trial: how a person goes back.  Which version it is."""
        state = self.state()
        other = next(slot for slot in SLOTS if slot != state.good)
        if not state.good or other not in state.versions:
            raise errors.NotFound(f"the machine {self.name} has no version that was good before this one")
        state.trial, state.tries = other, 0
        self._write(state)
        return state.versions[other]

    def _reject(self, state: State, reason: str) -> None:
        version = state.versions.pop(state.trial)
        state.refused = dict([*state.refused.items(), (version, reason)][-HISTORY_MAX:])
        slot, state.trial, state.tries = state.trial, "", 0
        self._write(state)
        self.work.unpin(self._pin(slot))

    def _pin(self, slot: str) -> str:
        return f"images/machine/{self.name}/{slot}"

    # --- is it what it was

    def mend(self, slot: str) -> bool:
        """Is the slot, byte for byte, the version it should be; if it was not, it is taken from the store again."""
        version = self.version(slot)
        if self.is_intact(slot):
            return True
        self.work.checkout(version, self.folder / slot, replace=True, durable=True, mode="copy")
        if not self.is_intact(slot):
            raise errors.BlobCorrupt(f"slot {slot} of {self.name} cannot be made {version.ref}: `boxwork doctor`")
        return False

    def is_intact(self, slot: str) -> bool:
        """Every file of the slot hashed again: is it what the version says."""
        return all(_measured(self.folder / slot / path) == entry.ref for path, entry in self.version(slot).walk())

    def _write(self, state: State) -> None:
        path, spare = self.folder / "STATE", self.folder / f".STATE.{os.getpid()}"
        with open(os.open(spare, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(state)))
            file.flush()
            os.fsync(file.fileno())
        os.replace(spare, path)
        folder = os.open(self.folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def machines(work: Any) -> list[str]:
    """The names of all machines, in order."""
    folder: Path = work.node.root / "images" / "machines"
    return sorted(path.parent.name for path in folder.glob("*/STATE"))


def _measured(path: Path) -> Ref | None:
    file: BinaryIO
    try:
        with path.open("rb") as file:
            return ref_of_file(file)
    except OSError:
        return None
