"""The agent of a host: asks what it should be, becomes that, tells how it went, and looks that it stays so.

It decides from three things only: what a server signed, what `memory.json` says, and what lies on the disk.  No
decision asks the wall clock or needs the network: a host whose servers are away runs its last good version, through
restarts of the agent and of the machine, because `current` is a symbolic link on its own disk.

What it does not take, it says: a document with a wrong signature, for another host, of another epoch, not newer than
the one it has, or two servers that say different things under one position.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from boxwork import Ref, clock, errors, open_content, sweep
from boxwork.packs.fleet.agent_change import CURRENT, Changer, effect_between, pointed_at, report_of
from boxwork.packs.fleet.agent_client import Client, Unreachable
from boxwork.packs.fleet.agent_drift import EVERYTHING, Look, same
from boxwork.packs.fleet.agent_memory import Attempt, Ledger, Memory, Version
from boxwork.packs.fleet.agent_secrets import Secrets
from boxwork.packs.fleet.agent_settings import AgentSettings
from boxwork.packs.fleet.agent_stage import Stage
from boxwork.packs.fleet.agent_token import Token
from boxwork.packs.fleet.protocol import DRIFT_PATHS_MAX, WAIT_S_MAX, Desired, Report, Signed, read_document, verify

# The first pause after a server did not answer.  Unit: s.
BACKOFF_S_MIN = 0.5
# Waits differ by so much from host to host, so that hosts that began together do not ask together.  Unit: parts of 1.
JITTER = 0.2
# Reports of one question.  Unit: reports; a drift report has at most 100 paths, so they stay under the server's limit.
ASKED_WITH_MAX = 10
# Blobs that no version on the host needs stay so long, for the way back and forth.  Unit: s.
UNUSED_S = 24 * 3600.0

# A document that is refused with one of these will be refused again.
FINAL = (errors.BadInput, errors.TooLarge)

Log = Callable[[str, str], None]


class Agent:
    """One host.  `step` is one question and what follows from it; `run` steps until `stop`.

    at      called with the name of each step as it is passed (tests end the process there)
    pause   waits so many seconds, or shorter when the agent is to stop
    """

    def __init__(
        self,
        root: Path,
        host: str,
        key: bytes,
        client: Client,
        settings: AgentSettings,
        *,
        token: Token | None = None,
        now: clock.Clock | None = None,
        log: Log = lambda level, message: None,
        at: Callable[[str], None] = lambda step: None,
        pause: Callable[[float], Any] | None = None,
    ) -> None:
        self.root = root
        self._host = host
        self._key = key
        self._client = client
        self._token = token
        self._settings = settings
        self._clock = now or clock.SystemClock()
        self._log = log
        self._at = at
        self._stop = threading.Event()
        self._pause = pause or self._stop.wait
        self._failures = 0
        self._look_due_ns = 0
        self._refused: dict[str, int] = {}
        self._pack: dict[Ref, bytes] = {}
        self.ledger = Ledger(root, at)
        self._claim = self.ledger.claim()
        try:
            self.content = open_content(root / "store", clock=self._clock)
        except BaseException:
            os.close(self._claim)
            raise
        self.content.add_roots(self._roots)
        self.secrets = Secrets(root / "secrets")
        bytes_max, names_max = settings.integer("fleet.tree_bytes_max"), settings.integer("fleet.tree_names_max")
        self._stage = Stage(root, self.content, self.secrets, bytes_max, names_max)
        self._changer = Changer(self.ledger, self.secrets, self._clock, settings.integer("fleet.tries_max"), at)

    # --- life

    def close(self) -> None:
        self._client.close()
        self.content.close()
        os.close(self._claim)

    def stop(self) -> None:
        """End `run` at the next pause."""
        self._stop.set()

    def start(self) -> None:
        """Before the first question: finish what a killed agent left open, and see that `current` stands."""
        with self.ledger.alone() as memory:
            if memory.host not in ("", self._host):
                raise errors.BadInput(
                    f"{self.root} belongs to the host {memory.host!r}, not {self._host!r}: give each its own --root"
                )
            memory.host = self._host
            report = self._changer.recover(memory)
            if report is not None:
                self._log("warning", f"finished what was begun: {report.state}: {report.reason or 'healthy'}")
            if memory.running and pointed_at(self.root) == "":
                self._changer.point_at(memory.running)
            self.ledger.write(memory)

    def run(self) -> None:
        """Until `stop`."""
        self.start()
        while not self._stop.is_set():
            pause_s = self.step()
            if pause_s:
                self._pause(pause_s)

    def step(self) -> float:
        """One look if it is due, one question, what follows from it; answers how long to pause before the next."""
        try:
            if self._clock.monotonic_ns() >= self._look_due_ns:
                self.look()
            return self._ask()
        except (Unreachable, errors.NotFound) as reason:
            self._client.next_server()
            return self._backoff(reason)
        except errors.BoxworkError as reason:
            return self._backoff(reason)

    # --- asking

    def _ask(self) -> float:
        memory = self.ledger.read()
        if memory.attempt is not None:  # the last one was cut off where it could not even be undone
            self.start()
        self._keep_token(memory)
        wait_s, start_ns = self._wait_s(), self._clock.monotonic_ns()
        signed = self._question(memory, wait_s)
        self._at("asked")
        if signed is None:
            self._failures = 0
            # A server that does not wait is not asked in a circle.
            early = self._clock.monotonic_ns() - start_ns < wait_s / 2 * clock.SECOND_NS
            return BACKOFF_S_MIN if early else 0.0
        desired, refusal = self._judge(signed)
        if refusal is not None:
            self._tell_refused(signed, desired, refusal)
            self._client.next_server()
            return self._backoff(refusal)
        if desired is None:
            return BACKOFF_S_MIN
        try:
            self._become(signed, desired)
        except errors.BoxworkError as reason:
            if not isinstance(reason, Unreachable):
                self._tell_refused(signed, desired, reason)
            self._client.next_server()
            return self._backoff(reason)
        self._failures = 0
        return 0.0  # the next question takes along how it went

    def _keep_token(self, memory: Memory) -> None:
        """Show the newest token, and have one by the newest key; the one before is good for a while."""
        if self._token is None:
            return
        try:
            if self._token.keep(memory.believed(self._key), self._client):
                self._log("info", "the server's key was changed: this host has a token by the new one")
        except errors.BoxworkError as reason:
            self._log("warning", f"no token by the server's new key yet: {reason.message}")

    def _question(self, memory: Memory, wait_s: float) -> Signed | None:
        """One question that takes along the reports that wait; what came with the answer lies in `_pack`."""
        waiting = memory.reports[:ASKED_WITH_MAX]
        running = memory.versions.get(memory.running)
        tree = running.tree if running else ""
        try:
            signed, self._pack = self._client.ask(memory.judged, wait_s, waiting, tree)
        except errors.BoxworkError as reason:
            if not waiting or "status" not in reason.details:
                raise
            # It answered, but not to this: to be heard is wanted, to know what to be is needed.
            try:
                self.deliver()  # one by one, so that one which no server takes holds up no other
            except errors.BoxworkError as why:
                self._log("warning", f"a report waits: {self._redact(why.message)}")
            signed, self._pack = self._client.ask(memory.judged, wait_s, (), tree)
            return signed
        if waiting:
            self._at("reported")
            self._forget(waiting)
        return signed

    def _judge(self, signed: Signed) -> tuple[Desired | None, errors.BoxworkError | None]:
        """The document if it is to be taken; or why not; or neither, when it is the one we have."""
        memory = self.ledger.read()
        try:
            desired = verify(memory.believed(self._key), signed)
        except errors.BoxworkError as reason:
            return None, reason
        if desired.host != self._host:
            return desired, errors.Forbidden(f"this document is for the host {desired.host!r}, not {self._host!r}")
        if memory.epoch and desired.epoch != memory.epoch:
            return desired, errors.Forbidden(
                f"{self._client.server} has the epoch {desired.epoch!r}, this host follows {memory.epoch!r}: if another"
                f" server is right now, say `boxwork fleet agent adopt {desired.epoch}`",
                epoch=desired.epoch,
            )
        if desired.position == memory.position and memory.judged not in ("", signed.digest):
            return desired, errors.Forbidden(
                f"two servers disagree: {self._client.server} says {signed.digest[:19]} for position"
                f" {desired.position}, this host has {memory.judged[:19]} for it; it stays as it is"
            )
        if desired.position < memory.position:
            return desired, errors.Forbidden(
                f"{self._client.server} is behind: it says position {desired.position}, this host has had"
                f" {memory.position}; a way back has a higher position"
            )
        if signed.digest == memory.judged:
            return None, None
        return desired, None

    def _wait_s(self) -> float:
        wait_s = min(self._settings.number("fleet.wait_s"), WAIT_S_MAX)
        if self._settings.number("fleet.drift_s") > 0:
            until_s = (self._look_due_ns - self._clock.monotonic_ns()) / clock.SECOND_NS
            wait_s = min(wait_s, max(0.0, until_s))
        return wait_s * (1 - JITTER * self._chance())

    def _backoff(self, reason: errors.BoxworkError) -> float:
        """Longer with each failure, up to a limit, and different on every host."""
        longest = min(self._settings.number("fleet.backoff_s_max"), BACKOFF_S_MIN * 2.0 ** min(self._failures, 20))
        self._failures += 1
        if self._failures in (1, 2, 4) or self._failures % 16 == 0:
            self._log("warning", f"{self._redact(reason.message)} (time {self._failures}); the version stays as it is")
        return longest * (0.5 + 0.5 * self._chance())

    def _chance(self) -> float:
        return int(self._clock.token(4), 16) / 0xFFFFFFFF

    # --- becoming

    def _become(self, signed: Signed, desired: Desired) -> None:
        """Stage, note, change, settle."""
        start = clock.monotonic_ns()
        if desired.is_system and os.geteuid() != 0:
            raise errors.BadInput(
                "this version is a whole system, and only root can give its files their owners: run the agent as root"
            )
        tree_ref = Ref.parse(desired.tree)
        name = f"{desired.release}-{tree_ref.hex[:12]}"
        if tree_ref not in self._pack and not self.content.has(tree_ref):  # it was too much for one answer
            memory = self.ledger.read()
            running = memory.versions.get(memory.running)
            self._pack = self._client.pack(running.tree if running else "")
        try:
            fetched = self._stage.fetch(tree_ref, self._blob, self._gather, system=desired.is_system)
        finally:
            self._pack = {}
        self._at("fetched")
        with self.ledger.alone() as memory:
            before = memory.versions.get(memory.running) if memory.running else None
            version = self._ready(memory, name, signed, desired)
            self._at("staged")
            stage_ms = (clock.monotonic_ns() - start) / clock.MILLISECOND_NS
            self._log(
                "info", f"position {desired.position}, release {desired.release}: {fetched} blobs fetched, staged"
            )
            effect = effect_between(self.content, before, version)
            memory.versions[name] = version
            memory.epoch, memory.position, memory.judged = desired.epoch, desired.position, signed.digest
            memory.refused = ""
            if desired.keys is not msgspec.UNSET:  # a key that was believed says which are from now on
                memory.anchor, memory.keys = self._key.hex(), list(desired.keys)
            attempt = Attempt(
                to=name, before=before.name if before else "", effect=effect, by="server", stage_ms=stage_ms
            )
            report = self._changer.begin(memory, attempt)
            self._log("info" if report.state == "applied" else "error", _spell(report))
            self._prune(memory)
        self._look_due_ns = 0

    def _blob(self, ref: Ref, bytes_max: int) -> Iterable[bytes]:
        self._at("blob")
        data = self._pack.get(ref)  # named by its own hash, so it is what was asked for
        return self._client.blob(ref, bytes_max) if data is None else (data,)

    def _gather(self, refs: Sequence[Ref]) -> dict[Ref, bytes]:
        """These blobs, as far as they came with the document or come in one answer."""
        here = {ref: data for ref in refs if (data := self._pack.get(ref)) is not None}
        lacking = [ref for ref in refs if ref not in here]
        return here | self._client.lot(lacking) if len(lacking) > 1 else here

    def _ready(self, memory: Memory, name: str, signed: Signed, desired: Desired) -> Version:
        """The version as it lies on the disk; made if it does not, or not as it should."""
        known = memory.versions.get(name)
        if known is not None and known.tree == desired.tree:
            trial = msgspec.structs.replace(memory, running=name, accepted="", edit_until_ns=0)
            if not [
                d for d in Look(self.root, self.content, self.secrets, trial, self._clock).found if d.path != "current"
            ]:
                return msgspec.structs.replace(known, signed=signed, position=desired.position, release=desired.release)
        secret_files = self._stage.make(name, Ref.parse(desired.tree), desired.secrets, system=desired.is_system)
        good = known.good if known is not None else False
        return Version(
            name=name,
            position=desired.position,
            release=desired.release,
            tree=desired.tree,
            signed=signed,
            secret_files=secret_files,
            good=good,
        )

    def _lies_ready(self, memory: Memory, name: str) -> bool:
        """Is this version on the disk as it should be.  Of the one that runs, that is drift's question."""
        if name == memory.running:
            return True
        trial = msgspec.structs.replace(memory, running=name, accepted="", edit_until_ns=0)
        found = Look(self.root, self.content, self.secrets, trial, self._clock).found
        return all(drift.path == CURRENT for drift in found)

    def _prune(self, memory: Memory) -> None:
        """Keep the newest versions and what runs; the blobs of the others go a day later."""
        newest = sorted(memory.versions.values(), key=lambda one: one.position, reverse=True)
        keep = {version.name for version in newest[: max(2, self._settings.integer("fleet.versions_max"))]} | {
            memory.running
        }
        gone = [name for name in memory.versions if name not in keep]
        for name in gone:
            del memory.versions[name]
        if gone:
            self.ledger.write(memory)
        try:
            if self._stage.keep_only(keep):
                sweep(self.content, grace_s=UNUSED_S)
        except errors.BoxworkError as reason:
            self._log("warning", f"what is no longer needed could not be removed: {reason.message}")

    def _roots(self) -> Any:
        for version in self.ledger.read().versions.values():
            yield f"version {version.name}", Ref.parse(version.tree)
        accepted = self.ledger.read().accepted
        if accepted:
            yield "accepted", Ref.parse(accepted)

    # --- telling

    def _tell_refused(self, signed: Signed, desired: Desired | None, reason: errors.BoxworkError) -> None:
        """Once for each document and reason, not with every question."""
        self._log("error", f"not taken: {self._redact(reason.message)}")
        seen = hash((signed.digest, reason.code))
        if self._refused.setdefault(signed.digest, 0) == seen:
            return
        if len(self._refused) > 100:
            self._refused.clear()
        self._refused[signed.digest] = seen
        with self.ledger.alone() as memory:
            memory.refused = self._redact(reason.message)
            if desired is not None and isinstance(reason, FINAL) and desired.position > memory.position:
                # It will be no better the next time: not asked for again.
                memory.position, memory.judged, memory.epoch = desired.position, signed.digest, desired.epoch
            report = report_of(memory, "refused", self._clock, code=reason.code, reason=memory.refused)
            position = desired.position if desired is not None else 0
            report = msgspec.structs.replace(report, wanted=signed.digest, wanted_position=position)
            memory.tell(report)
            try:
                self.ledger.write(memory)
            except errors.StorageError:  # no room even for that: at least the server hears why
                self._client.report(report)
                return
        try:
            self.deliver()
        except errors.BoxworkError:
            return  # it stays in the queue

    def deliver(self) -> None:
        """Hand over the reports that wait; each goes from the queue once a server has it on disk."""
        while True:
            waiting = self.ledger.read().reports
            if not waiting:
                return
            first = waiting[0]
            try:
                self._client.report(first)
            except errors.BadInput as reason:  # it never will be: the next ones are not kept behind it
                self._log("error", f"a report was refused and is dropped: {reason.message}")
            self._at("reported")
            self._forget([first])

    def _forget(self, told: Sequence[Report]) -> None:
        """These reports are on a server's disk."""
        with self.ledger.alone() as memory:
            kept = [report for report in memory.reports if report not in told]
            if len(kept) < len(memory.reports):
                memory.reports = kept
                self.ledger.write(memory)

    def _redact(self, text: str) -> str:
        memory = self.ledger.read()
        names: tuple[str, ...] = ()
        for version in memory.versions.values():
            names += read_document(version.signed).secrets
        return self.secrets.redact(text, tuple(dict.fromkeys(names)))

    # --- staying so

    def look(self) -> list[Any]:
        """Look for drift now; report what is new, undo it where that is wanted.  Answers what differs."""
        drift_s = self._settings.number("fleet.drift_s")
        self._look_due_ns = self._clock.monotonic_ns() + int(max(drift_s, 1.0) * clock.SECOND_NS)
        if drift_s <= 0:
            return []
        with self.ledger.alone() as memory:
            look = Look(self.root, self.content, self.secrets, memory, self._clock)
            self._at("looked")
            if not same(memory.drift, look.found):
                memory.drift = look.found[:DRIFT_PATHS_MAX]
                report = report_of(memory, "drifted", self._clock, reason=_spell_drift(look))
                memory.tell(msgspec.structs.replace(report, drift_count=len(look.found)))
                self.ledger.write(memory)
                self._log("warning" if look.accidental else "info", _spell_drift(look))
            if look.accidental and self._settings.text("fleet.drift_action") == "revert":
                self._revert(memory, look)
            return look.found

    def _revert(self, memory: Memory, look: Look) -> None:
        """Put back what the version (or what was accepted) says, in one exchange, and tell what runs."""
        version = memory.version(memory.running)
        right = Ref.parse(memory.accepted or version.tree)
        paths = [drift.path for drift in look.accidental]
        if paths != [CURRENT]:
            document = read_document(version.signed)
            # What a power cut took from the store.
            self._stage.fetch(right, self._blob, self._gather, system=document.is_system)
            self._stage.make(version.name, right, document.secrets, system=document.is_system)
        self._changer.point_at(version.name)
        self._at("reverted")
        desired = read_document(version.signed)
        if EVERYTHING in paths or any(desired.effect_of(path) != "none" for path in paths):
            self._changer.reload(version)
        memory.drift = [drift for drift in look.found if drift.intent == "accepted"]
        reason = f"reverted: {', '.join(paths[:5])}{' …' if len(paths) > 5 else ''}"
        memory.tell(report_of(memory, "drifted", self._clock, reason=reason))
        self.ledger.write(memory)
        self._log("info", reason)


def _spell(report: Report) -> str:
    took = f"stage {report.stage_ms:.0f} ms, switch {report.switch_ms:.1f} ms"
    if report.state == "applied":
        saved = f", {report.saved_ms:.0f} ms of downtime saved" if report.saved_ms else ""
        down = f", {report.downtime_ms:.0f} ms down" if report.downtime_ms else ""
        return f"release {report.release} runs ({report.effect}; {took}{down}{saved})"
    return f"release {report.release} runs on: {report.reason}"


def _spell_drift(look: Look) -> str:
    if not look.found:
        return "no drift any more"
    first = ", ".join(f"{d.path} {d.kind} ({d.intent})" for d in look.found[:5])
    return f"{len(look.found)} paths differ: {first}{' …' if len(look.found) > 5 else ''}"
