"""One batch while it is made: jobs in, a serial order and one merged write set out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import compress
from typing import TYPE_CHECKING, Any

from boxwork.errors import BoxworkError, Refused, TransactionAborted
from boxwork.state.batch import Answer, Batch, Note, digest_of_answers, encode_entry, encode_inputs
from boxwork.state.job import Job, Lost, as_answer
from boxwork.state.lanes.serial import SerialRun
from boxwork.state.lanes.snapshot import Attempt, SnapshotRun, changes_of
from boxwork.state.order import Key
from boxwork.state.tx import SerialTx
from boxwork.state.values import freeze, thaw

if TYPE_CHECKING:
    from boxwork.state.sequencer import Sequencer


class Builder:
    """Runs the jobs of one batch.  `seen` are the changes of the batches in flight; it is changed here."""

    def __init__(self, machine: Sequencer, version: int, seen: dict[Key, Any], tracked: bool) -> None:
        self._machine = machine
        self._facts = machine.facts
        self._version = version
        self._before = dict(seen)
        self._writes: dict[Key, Any] = {} if seen else seen
        self.authors: dict[Key, str] = {}
        self._now_ns, self._seed = machine.clock.now_ns(), machine.new_seed()
        tx = SerialTx(machine.facts, machine.facts.data, seen, self._now_ns, self._seed)
        self._serial = SerialRun(tx, seen, self._writes, self.authors if tracked else None, machine.unsure)
        self.done: list[Job] = []
        self._order: list[tuple[Job, list[int] | None]] = []  # committed rows in serial order; None: all that did
        self._count = 0  # committed calls so far: the index of the next one
        self._draws: dict[int, Any] = {}  # index -> where its chance came from, if not from its own index
        self._answers: list[Answer] = []
        self._notes: list[Note] = []

    def run(self, jobs: Sequence[Job]) -> None:
        attempts: list[Job] = []
        serial: list[Job] = []
        for job in jobs:
            if job.keys is not None:
                self._machine.ask(job)
            elif job.once and self._is_answered(job):
                continue
            elif job.lane == "snapshot" and (job.tx is not None or not self._machine.reservations):
                attempts.append(job)
            else:
                serial.append(job)
        if attempts:
            self._run_attempts(attempts)
        for job in serial:
            if job.tx is not None:
                self._validate(job)
            elif not job.unchanged or self._still_unchanged(job):
                self._run_serial(job, is_last=job is serial[-1])

    def batch(self, granted: list[Job]) -> Batch:
        """What came of it."""
        batch = Batch(self._version, self._writes, self.done, granted=granted, now_ns=self._now_ns)
        if not self._writes and not self._answers:
            for job in self.done:
                job.first, job.indexes = -1, None
            return batch
        groups, answers = self._groups()
        inputs = b""
        if self._machine.keep_inputs:
            draws = [self._draws.get(index, index) for index in range(self._count)] if self._draws else None
            inputs = encode_inputs(groups, draws)
        answered = digest_of_answers(answers) if self._machine.keep_inputs else b""
        batch.answers = self._answers
        batch.payload = encode_entry(
            self._now_ns, self._seed, self._writes, inputs, answered, self._answers, self._notes
        )
        return batch

    def _groups(self) -> tuple[list[tuple[str, list[Sequence[Any]]]], list[Any]]:
        """The committed inputs in serial order, in runs of one transaction, and what they returned."""
        groups: list[tuple[str, list[Sequence[Any]]]] = []
        answers: list[Any] = []
        for job, chosen in self._order:
            places = chosen
            if chosen is not None:
                answers += [job.answers[place] for place in chosen]
            elif not job.errors:
                answers += job.answers
            else:
                stands = bytearray(b"\1") * len(job.rows)
                for place in job.errors:
                    stands[place] = 0
                places = list(compress(range(len(job.rows)), stands))
                answers += compress(job.answers, stands)
            runs = job.runs(places)
            if runs and groups and groups[-1][0] == runs[0][0] and len(groups[-1][1]) < 64:
                runs[0] = (runs[0][0], [*groups.pop()[1], *runs[0][1]])
            groups += runs
        return groups, answers

    # --- the serial lane

    def _run_serial(self, job: Job, *, is_last: bool) -> None:
        lane = self._machine.counters[job.lane]
        job.first = self._count
        by_name = job.is_mixed and self._serial.authors is not None  # somebody asks who wrote what
        if not (job.once or job.thaws or by_name or self._machine.reservations):
            self._serial.repeated = 0
            self._count = self._serial.run_rows(job, self._count, is_last=is_last)
            lane.executions += len(job.rows) + self._serial.repeated
            lane.reruns += self._serial.repeated
        else:
            for index in range(len(job.rows)):
                if not self._run_row(job, index):
                    return
                if len(job.answers) <= index:  # it waits for a reservation, and so does the rest of the job
                    break
        self._order.append((job, None))
        self._finish(job)

    def _run_row(self, job: Job, index: int) -> bool:
        """Run one row with everything that may be asked of it; False if the whole job waits."""
        machine, lane = self._machine, self._machine.counters[job.lane]
        if index == 0 and job.touched and machine.reservations.forbids(job.touched) is not None:
            machine.defer(job)  # another reservation has come since: run it when it can stand, which is once more
            return False
        lane.executions += 1
        try:
            answer, changes = self._serial.run_one(job.call, job.arguments(index), self._count)
            kept = freeze(answer) if job.once else None
        except BaseException as error:
            job.errors[index] = as_answer(error)
            job.answers.append(error)
            return True
        if machine.reservations and machine.reservations.forbids(changes) is not None:
            lane.reruns += 1
            if index == 0:
                job.clear()
            waiting = job if index == 0 else job.rest(index)
            waiting.touched = frozenset(changes)
            machine.defer(waiting)
            return waiting is not job
        self._serial.take(changes, job.label_of(index))
        job.answers.append(answer)
        if job.once:
            self._answers.append(Answer(job.once, self._count, kept))
        self._count += 1
        return True

    def _is_answered(self, job: Job) -> bool:
        """Was this idempotency id answered before, or is it being answered?"""
        earlier = self._machine.answers.get(job.once)
        if earlier is not None:
            job.answers = [thaw(earlier.stored)]
            job.receipt_at, job.first = (earlier.epoch, earlier.version, earlier.digest), earlier.index
            self._machine.answered(job)
            return True
        return self._machine.is_duplicate(job)

    def _still_unchanged(self, job: Job) -> bool:
        """The precondition of an intent: what it was decided on is still so."""
        for key in job.unchanged:
            version = self._changed(key, job.since)
            if version or not self._facts.remembers(job.since):
                who = self.authors.get(key) or self._machine.author(key)
                job.answers.append(None)
                job.errors[0] = Refused(
                    f"{key!r} was changed by {who} after version {job.since}, on which this was decided: read it again"
                    " and decide again",
                    reason="changed",
                    key=list(map(str, key)),
                    changed_by=who,
                    version=version,
                )
                self._finish(job)
                return False
        return True

    def _changed(self, key: Key, since: int) -> int:
        """The version that changed `key` after `since`, this batch included; 0 if none did."""
        if key in self._writes:
            return self._version
        if key in self._before:
            return self._version - 1
        return self._facts.changed_since(since, key)

    # --- attempts that ran elsewhere

    def _stale(self, job: Job, *, this_batch: bool) -> Lost | None:
        """What of an attempt's reads has changed since its version."""
        tx = job.tx
        assert tx is not None
        for key in tx.reads:
            if (
                key in self._before
                or (this_batch and key in self._writes)
                or self._facts.changed_since(tx.read_at(key), key)
            ):
                return self._lost(key)
        for prefix in tx.scans:
            size = len(prefix)
            changed: Iterable[Key] = [*self._before, *self._writes] if this_batch else self._before
            for key in changed:
                if key[:size] == prefix:
                    return self._lost(key)
            found = self._facts.prefix_changed_since(tx.scanned_at(prefix), prefix)
            if found is not None:
                return self._lost(found[1])
        if not self._facts.remembers(tx.version):
            return Lost((), "nobody can say: whoever asked has let go of the snapshot")
        return None

    def _lost(self, key: Key) -> Lost:
        return Lost(key, self.authors.get(key) or self._machine.author(key))

    def _validate(self, job: Job) -> None:
        """An attempt of the lanes `locking` and `occ`: it stands if nothing it read has changed since."""
        tx = job.tx
        assert tx is not None
        stale = self._stale(job, this_batch=True)
        if stale is not None:
            self._machine.counters[job.lane].aborts += 1
            job.errors[0] = TransactionAborted(
                f"{stale.key!r} was changed by {stale.rival} after this transaction had read it: run it again",
                key=list(map(str, stale.key)),
                changed_by=stale.rival,
            )
            job.first = -1
            self.done.append(job)
            return
        if self._machine.reservations.forbids(tx.touched()) is not None:
            self._machine.defer(job)
            return
        try:
            changes = changes_of(tx, self._stored)
        except BoxworkError as error:
            job.errors[0] = error
            self._finish(job)
            return
        self._serial.take(changes, job.label)
        self._commit_elsewhere(job)

    def _stored(self, key: Key) -> Any:
        seen = self._serial.seen
        return seen[key] if key in seen else self._facts.stored(key)

    def _commit_elsewhere(self, job: Job) -> None:
        """The changes of an attempt that ran elsewhere are in the batch: give it the next index."""
        tx = job.tx
        assert tx is not None
        index = job.first = self._count
        self._count += 1
        self._draws[index] = [tx.place, tx.seed, tx.now_ns]
        if job.losses:
            self._notes.append(Note(index, job.losses + 1, job.lost_ns, job.rivals))
        if job.once:
            self._answers.append(Answer(job.once, index, freeze(job.answers[0])))
        self._order.append((job, [0]))
        self._finish(job)

    # --- the snapshot lane

    def _run_attempts(self, jobs: list[Job]) -> None:
        """Who ran elsewhere and whose reads still stand, and who runs now, are placed together."""
        machine = self._machine
        lane = machine.counters["snapshot"]
        jobs.sort(key=lambda job: -job.losses)  # who has lost before comes first; equals stay in order of arrival
        run = SnapshotRun(self._facts, self._before, self._version - 1, self._now_ns, self._seed, machine.clock)
        here: list[Job] = []
        for job in jobs:
            if job.tx is None:
                if job.unchanged and not self._still_unchanged(job):
                    continue
                lane.executions += len(job.rows)
                job.indexes = {}
                here.append(job)
                for index in range(len(job.rows)):
                    run.execute(job, index)
                continue
            stale = self._stale(job, this_batch=False)
            if stale is not None:
                self._lose(job, stale)
            elif (forbidden := machine.reservations.forbids(job.tx.touched(), job.reservation)) is not None:
                if job.reservation:  # who holds something must not wait: two of them could wait for each other
                    self._lose(job, Lost(forbidden, "a reservation"))
                else:
                    machine.defer(job)
            else:
                run.enter(job)
        kept, lost = run.place(machine.rule, self._stored, self._serial.take)
        for attempt in kept:
            if attempt.elsewhere:
                self._commit_elsewhere(attempt.job)
            else:
                self._commit_here(attempt, attempt.job.answers[attempt.index], attempt.tx.drawn)
        for attempt in lost:
            rival = attempt.rival.job.label if attempt.rival is not None else "those before it (bound)"
            if attempt.elsewhere:
                self._lose(attempt.job, Lost(attempt.rival_key, rival))
            else:
                self._run_again(attempt, rival)
        for job in here:
            self._finish(job)

    def _run_again(self, attempt: Attempt, rival: str) -> None:
        """Run what found no place serially on top of what was placed: now it cannot lose."""
        job, lane = attempt.job, self._machine.counters["snapshot"]
        lane.executions += 1
        lane.reruns += 1
        lane.lost_ns += attempt.ran_ns
        try:
            answer, changes = self._serial.run_one(job.call, job.arguments(attempt.index), attempt.tx.place)
            if job.once:
                freeze(answer)
        except BaseException as error:
            job.errors[attempt.index] = job.answers[attempt.index] = error
            return
        self._serial.take(changes, job.label)
        self._notes.append(Note(self._count, 2, attempt.ran_ns, [(attempt.rival_key, rival)]))
        self._commit_here(attempt, answer, self._serial.tx.drawn)

    def _commit_here(self, attempt: Attempt, answer: Any, drawn: int) -> None:
        job, index = attempt.job, self._count
        self._count += 1
        if drawn:
            self._draws[index] = attempt.tx.place
        job.answers[attempt.index] = answer
        assert job.indexes is not None
        job.indexes[attempt.index] = index
        if job.once:
            self._answers.append(Answer(job.once, index, freeze(answer)))
        self._order.append((job, [attempt.index]))

    def _lose(self, job: Job, lost: Lost) -> None:
        job.lost = lost
        self.done.append(job)

    def _finish(self, job: Job) -> None:
        """All that can be said about a job is said."""
        lane = self._machine.counters[job.lane]
        refusals = job.refusals
        lane.commits += len(job.rows) - len(job.errors)
        lane.refusals += refusals
        lane.failures += len(job.errors) - refusals
        self.done.append(job)
