"""Where a miss runs: in the calling thread, a pool thread, a spawned process, or a sandbox.

A process or sandbox worker imports the box by `module:qualname`; it is started fresh (never forked), gets its inputs
as packed values, reads blobs through its parent, and refuses if its own fingerprint of the box is another one.  So a
box of `__main__`, a notebook, a lambda or a nested function cannot go there: it runs inline or in a thread.

Limits and cancellation hold only in these workers: a Python thread cannot be stopped from outside.  In place of any
kind stands whatever `concurrent.futures.Executor` the user gives.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import astuple, dataclass
from typing import Any, BinaryIO, TypeAlias

import msgspec

from boxwork.box import Derivation, Terms
from boxwork.derive.handles import File, Readable, Stat
from boxwork.derive.inputs import handles_in
from boxwork.derive.outputs import Encoded
from boxwork.derive.packing import Packer
from boxwork.derive.processes import IDLE_NICE, ProcessPool, Stop
from boxwork.derive.sandbox import sandbox_prefix
from boxwork.derive.turns import ask_for_turns, ask_for_turns_of_all
from boxwork.errors import BadInput, DerivationError, DerivationFailed, InputChanged, UnsupportedType
from boxwork.keys import Ref, ref_of_digest, ref_of_file
from boxwork.settings import Setting

Answer: TypeAlias = "list[Any]"

# Once there are workers, turns in this process are shorter than theirs (1 to 3 ms), so that it goes before them when it
# wakes up; else it waits for the end of a worker's turn, up to 4 ms, however nice that is.  The shortest there are for
# who answers; longer ones for threads that see to flights and hold the interpreter's lock meanwhile.  Unit: ns.
# Source: docs/decisions/0048.
TURN_NS = 100_000
THREAD_TURN_NS = 250_000


def worker_settings() -> tuple[Setting, ...]:
    return (
        Setting(
            "derive.threads",
            8,
            "threads",
            "threads that run boxes nobody waits for in place: enough to keep a few disks and cores busy, few enough"
            " that each gets its share of the GIL",
        ),
        Setting(
            "derive.processes",
            0,
            "processes",
            "spawned workers, and sandboxes at one time; each holds its imported libraries in memory; 0 is one a"
            " processor, and two on a machine with one",
        ),
        Setting(
            "derive.worker_idle_s",
            60.0,
            "s",
            "an idle worker is kept so long: the next job saves its start (0.3 s), and then its memory is free again",
        ),
        Setting(
            "derive.worker_nice",
            10,
            "steps",
            "how much nicer than this process its workers are (nice(1), 0 to 19): they get what answering leaves over,"
            " and a tenth of a busy processor; 20 is SCHED_IDLE: they give way at once, and get what nobody else wants",
        ),
        Setting(
            "derive.worker_start_s_max",
            60.0,
            "s",
            "how long a worker may take to start and import the box; a cold import of a large library takes 10 s",
        ),
    )


@dataclass(frozen=True, slots=True)
class Job:
    """One run: the box with what its function receives, and the fingerprint the caller knows it by."""

    box: Derivation[..., Any]
    args: Sequence[Any]
    named: dict[str, Any]
    fingerprint: Any


class RemoteTraceback(Exception):
    """The traceback of an exception in a worker, as text: the cause of the `DerivationFailed` it became."""

    def __str__(self) -> str:
        return "\n" + str(self.args[0])


class Workers:
    """The workers of one node; each kind starts when it is first needed."""

    def __init__(
        self, settings: Mapping[str, Any], executors: Mapping[str, Executor], store: Readable, fingerprinter: object
    ) -> None:
        for kind in executors:
            if kind not in ("thread", "process", "sandbox"):
                raise BadInput(f"executors={{{kind!r}: …}}: an executor stands for thread, process or sandbox workers")
        self._executors = executors
        self._threads_max = int(settings["derive.threads"])
        self._processes_max = int(settings["derive.processes"]) or max(os.cpu_count() or 1, 2)
        self._nice = int(settings["derive.worker_nice"])
        if not 0 <= self._nice <= IDLE_NICE:
            raise BadInput(f"derive.worker_nice = {self._nice}: 0 to 19 as for nice(1), or {IDLE_NICE} for SCHED_IDLE")
        self._idle_s = float(settings["derive.worker_idle_s"])
        self._start_s_max = float(settings["derive.worker_start_s_max"])
        self._run_s_max = float(settings["derive.wait_s_max"])  # nobody waits longer, so nothing runs longer
        self._store = store
        made = type(fingerprinter)
        # A worker makes its own fingerprinter, which must tell project code from packages by the same folders.
        roots = [str(root) for root in getattr(fingerprinter, "project_roots", ())]
        self._fingerprinter = (f"{made.__module__}:{made.__qualname__}", roots)
        self._lock = threading.Lock()
        self._threads: ThreadPoolExecutor | None = None
        self._pools: dict[str, ProcessPool] = {}
        self._flight_threads: list[int] = []

    @property
    def threads(self) -> Executor:
        """Where flights run that have no thread of their own."""
        given = self._executors.get("thread")
        if given is not None:
            return given
        with self._lock:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(self._threads_max, "boxwork-derive", self._begin_thread)
            return self._threads

    def _begin_thread(self) -> None:
        self._flight_threads.append(threading.get_native_id())
        if self._pools:
            ask_for_turns(THREAD_TURN_NS)

    def reads(self, kind: str) -> bool:
        """Do workers of this kind read by themselves what only has a name yet?"""
        return kind in ("process", "sandbox") and kind not in self._executors

    def run(
        self, kind: str, job: Job, can_stop: Callable[[Stop | None], None], abandoned: Callable[[], bool]
    ) -> tuple[Encoded, int]:
        """Run the job in a worker of this kind: the encoded output and its duration in nanoseconds.

        `can_stop` is told what ends the worker.  Raises `DerivationFailed` for what the box did, `DerivationCancelled`
        when it was stopped, `DerivationError` when the worker sees other code.
        """
        given = self._executors.get(kind)
        if given is not None:
            return _encoded(job, self._run_given(given, job))
        packer = Packer()
        frame = self._frame(job, packer)
        held = {blob.ref: blob.data for blob in packer.blobs if blob.data is not None}
        granted = set(packer.refs)
        files = [str(file.path.resolve()) for file in handles_in((job.args, job.named)) if isinstance(file, File)]
        files += job.box.terms.files
        pool = self._pool(kind)
        lent = _Lent(self._store)

        def read(digest: bytes) -> bytes | BinaryIO:
            ref = ref_of_digest(digest)
            if ref in packer.later:
                return lent.bytes_of(ref)
            if ref not in granted:
                raise BadInput(f"{job.box.name} asked its parent for {ref}, which is none of its inputs")
            data = held.get(ref)
            data = self._store.get(ref) if data is None else data
            granted.update(_named_by(data, ref))
            return data

        limit = job.box.terms.timeout_s or self._run_s_max
        with lent:
            for attempt in (1, 2):
                prefix = sandbox_prefix(files, job.box.terms.env) if kind == "sandbox" else None
                answer = pool.run(job.box.name, frame, read, limit, can_stop, abandoned, prefix)
                # A worker that has been up for a while may hold code from before an edit: a fresh one imports it anew.
                if answer[0] != "skew" or attempt == 2:
                    lent.refuse_changes(job.box.name)
                    return _encoded(job, answer)
                pool.retire_all()
        raise AssertionError  # the loop always returns

    def _run_given(self, executor: Executor, job: Job) -> Answer:
        from boxwork.derive.worker_main import run_packed

        packer = Packer()
        packed = self._frame(job, packer)
        blobs = {ref.digest: blob.read() for blob in packer.blobs for ref in (blob.ref,)}
        future = executor.submit(run_packed, packed, blobs)
        limit = job.box.terms.timeout_s or self._run_s_max
        try:
            answer: Answer = future.result(limit)
        except FutureTimeout:
            future.cancel()
            raise DerivationFailed(
                f"{job.box.name} took longer than its timeout_s = {limit:g} s", box=job.box.name, error="Timeout"
            ) from None
        return answer

    def _frame(self, job: Job, packer: Packer) -> bytes:
        module, qualname = importable(job.box)
        try:
            args, named = packer.pack(job.args), packer.pack(job.named)
        except UnsupportedType as reason:
            raise UnsupportedType(
                f"{job.box.name} cannot run in a {job.box.terms.worker}: {reason.message}; use worker='thread'"
            ) from None
        return msgspec.msgpack.encode(
            {
                "module": module,
                "qualname": qualname,
                "name": job.box.name,
                "terms": _terms(job.box.terms),
                "fingerprint": job.fingerprint.digest,
                "parts": list(job.fingerprint.parts),
                "fingerprinter": self._fingerprinter,
                "args": args,
                "named": named,
                "memory_bytes_max": job.box.terms.memory_bytes_max,
            }
        )

    def _pool(self, kind: str) -> ProcessPool:
        with self._lock:
            pool = self._pools.get(kind)
            if pool is None:
                ask_for_turns_of_all(TURN_NS)
                for thread in self._flight_threads:
                    ask_for_turns(THREAD_TURN_NS, thread)
                pool = self._pools[kind] = ProcessPool(
                    self._processes_max,
                    self._start_s_max,
                    reuse=kind == "process",
                    nice=self._nice,
                    idle_s=self._idle_s,
                )
            return pool

    def close(self) -> None:
        with self._lock:
            threads, self._threads = self._threads, None
            pools, self._pools = self._pools, {}
        for pool in pools.values():
            pool.close()
        if threads is not None:
            threads.shutdown(wait=True, cancel_futures=True)


class _Lent:
    """Files that a worker reads in place of us.  Who writes to one meanwhile is found out at the end."""

    def __init__(self, store: Readable) -> None:
        self._store = store
        self._files: list[tuple[Ref, BinaryIO, Stat]] = []

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None:
        for _ref, file, _before in self._files:
            file.close()

    def bytes_of(self, ref: Ref) -> bytes | BinaryIO:
        """An open file, or the bytes where there is none."""
        file = self._store.open(ref)
        try:
            before = Stat.of(os.fstat(file.fileno()))
        except OSError:  # io.UnsupportedOperation is one
            with file:
                return file.read()
        self._files.append((ref, file, before))
        return file

    def refuse_changes(self, name: str) -> None:
        for ref, file, before in self._files:
            if Stat.of(os.fstat(file.fileno())) != before and ref_of_file(file) != ref:
                raise InputChanged(
                    f"{name}: a file changed while it was read; the output was not stored, ask again", box=name, ref=ref
                )


@functools.lru_cache(maxsize=256)
def _terms(terms: Terms) -> tuple[Any, ...]:
    return astuple(terms)  # copies deeply, 0.1 ms


def importable(box: Derivation[..., Any]) -> tuple[str, str]:
    """Module and qualified name by which a worker finds the box.  Raises `BadInput` with what to do."""
    function = box.function
    module, qualname = getattr(function, "__module__", None) or "", getattr(function, "__qualname__", "")
    advice = "move it to the top of a module that can be imported, or use worker='thread'"
    kind = box.terms.worker
    if module == "__main__" or not module:
        raise BadInput(
            f"{box.name} stands in the script or notebook that runs, which a {kind} cannot import: {advice}",
            box=box.name,
        )
    if "<" in qualname or not qualname:
        raise BadInput(
            f"{box.name} is {qualname or 'an object without a name'}, which a {kind} cannot import: {advice}",
            box=box.name,
        )
    found: Any = sys.modules.get(module)
    for name in qualname.split("."):
        found = getattr(found, name, None)
    if found is not box and found is not function and getattr(found, "function", None) is not function:
        raise BadInput(f"{module}:{qualname} is not the box {box.name} but {found!r}: {advice}", box=box.name)
    return module, qualname


def _named_by(data: bytes, ref: Ref) -> list[Ref]:
    """What a granted blob leads to: the entries of a tree."""
    from boxwork.content.tree_value import is_tree, references

    return list(references(data, ref)) if is_tree(data) else []


def _encoded(job: Job, answer: Answer) -> tuple[Encoded, int]:
    name = job.box.name
    if answer[0] == "done":
        _, kind, data, digest, refs, type_name, duration_ns = answer
        return Encoded(kind, data, ref_of_digest(digest), tuple(map(ref_of_digest, refs)), type_name), duration_ns
    if answer[0] == "failed":
        _, kind, message, trace = answer
        raise DerivationFailed(
            f"{name} failed with {kind}: {message}", box=name, error=kind, trace=trace
        ) from RemoteTraceback(trace)
    if answer[0] == "skew":
        raise DerivationError(
            f"the worker sees another {name} than its caller ({answer[1]}): the code was edited or patched after this"
            " process imported it; restart this process, or run the box with worker='thread'",
            box=name,
        )
    raise UnsupportedType(f"{name}: {answer[1]}", box=name)
