"""Spawned worker processes: one conversation over a socket pair each, at most so many at a time.

    parent → worker   a job                      worker → parent   ["running"], ["get", digest] …, then one answer
    parent → worker   the bytes, for each "get", or an open file that holds them

The time limit of a box begins with "running": what comes before, starting and importing, has a limit of its own.

A message is its length in 8 bytes and a body.  A worker dies with its parent in two ways that back each other up:
the kernel kills it (PR_SET_PDEATHSIG), and its socket ends.  The first counts the *thread* that started it as the
parent, so workers are started by one thread that lives as long as the pool.

Workers are nicer to others than the parent is: what answers people goes before what is computed for them.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO, TypeAlias

import msgspec

from boxwork.clock import SECOND_NS, monotonic_ns
from boxwork.errors import Busy, DerivationCancelled, DerivationError, DerivationFailed

Stop: TypeAlias = Callable[[], object]

LENGTH = struct.Struct("<Q")
# Added to a length: the bytes are not in the message but in the file whose descriptor came with it.
IN_FILE = 1 << 63
# A job or an answer is held in memory whole.  Unit: bytes; larger outputs should be trees or several blobs.
MESSAGE_BYTES_MAX = 4 << 30
# Up to this size a message is copied behind its length, to be sent by one call.  Unit: bytes.
TOGETHER_BYTES_MAX = 64 * 1024
# A closed worker gets this long to end by itself.  Unit: seconds; it only has to notice that its socket ended.
END_S_MAX = 2.0
# How long a job waits for a free worker.  Unit: seconds; as long as an hour's transcription, like derive.wait_s_max.
FREE_S_MAX = 3600.0

# As nice as this is SCHED_IDLE, whose threads give way at once and get what nobody else wants; nice(1) ends before it.
IDLE_NICE = 20

# The last argument is how nice the worker ends up: `nice` has seen to it already where there is such a program.
_START = (
    "import json,os,sys; sys.path[:]=json.loads(sys.argv[2]); goal=int(sys.argv[3]); "
    "os.setpriority(os.PRIO_PROCESS,0,min(goal,19)); "
    f"goal<{IDLE_NICE} or os.sched_setscheduler(0,os.SCHED_IDLE,os.sched_param(0)); "
    "from boxwork.derive.worker_main import main; main(int(sys.argv[1]))"
)


class ProcessPool:
    """Workers that are kept (`reuse`) until nothing has come for `idle_s`, or used for one job each."""

    def __init__(
        self, workers_max: int, start_s_max: float, *, reuse: bool, nice: int = 0, idle_s: float = FREE_S_MAX
    ) -> None:
        self._free = threading.BoundedSemaphore(max(workers_max, 1))
        self._start_s_max = start_s_max
        self._reuse = reuse
        self._nice = nice
        self._idle_s = idle_s
        self._idle: list[_Worker] = []  # the one that has been idle longest is the first
        self._reaper: threading.Timer | None = None
        self._all: set[_Worker] = set()
        self._lock = threading.Lock()
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="boxwork-starter")
        self._closed = False

    def run(
        self,
        name: str,
        job: bytes,
        read: Callable[[bytes], bytes | BinaryIO],
        limit_s: float,
        can_stop: Callable[[Stop | None], None],
        abandoned: Callable[[], bool],
        prefix: list[str] | None,
    ) -> list[Any]:
        """The worker's answer.  A worker that dies, or is stopped, takes nobody with it.

        When somebody else killed it (an operator, or the kernel that ran out of memory), the job runs once more.
        """
        if not self._free.acquire(timeout=FREE_S_MAX):
            raise Busy(f"no worker became free for {name} within {FREE_S_MAX:g} s: raise derive.processes")
        try:
            if abandoned():
                raise DerivationCancelled(f"everybody who waited for {name} has left", box=name)
            for may_repeat in (True, False):
                worker = self._take(prefix)
                keep = False
                can_stop(worker.kill)
                try:
                    answer = worker.converse(name, job, read, self._start_s_max, limit_s)
                    keep = self._reuse and answer[0] in ("done", "failed", "refused") and answer[1] != "MemoryError"
                    return answer
                except _Ended:
                    if self._closed:  # no failure of the box: another process may take it over at once
                        raise DerivationCancelled(f"{name} was stopped because its node closes", box=name) from None
                    if abandoned():
                        raise DerivationCancelled(
                            f"everybody who waited for {name} has left; its worker was stopped", box=name
                        ) from None
                    ending = worker.ending()
                    if not (may_repeat and ending == "SIGKILL"):
                        raise DerivationFailed(
                            f"the worker of {name} was ended by {ending}", box=name, error=ending
                        ) from None
                finally:
                    can_stop(None)
                    self._give_back(worker, keep)
            raise AssertionError  # the second turn returns or raises
        finally:
            self._free.release()

    def retire_all(self) -> None:
        """End the idle workers: the next job gets one that imports everything anew."""
        with self._lock:
            idle, self._idle = self._idle, []
        for worker in idle:
            self._end(worker)

    def close(self) -> None:
        self._closed = True
        with self._lock:
            workers, self._idle = list(self._all), []
            if self._reaper is not None:
                self._reaper.cancel()
        for worker in workers:
            worker.kill()
            self._end(worker)
        self._starter.shutdown(wait=True)

    def _take(self, prefix: list[str] | None) -> _Worker:
        while prefix is None:
            with self._lock:
                if not self._idle:
                    break
                worker = self._idle.pop()
            if worker.alive:
                return worker
            self._end(worker)
        worker = self._starter.submit(_Worker, prefix or [], self._nice).result(self._start_s_max)
        with self._lock:
            self._all.add(worker)
        return worker

    def _give_back(self, worker: _Worker, keep: bool) -> None:
        if keep and not self._closed:
            worker.idle_since_ns = monotonic_ns()
            with self._lock:
                self._idle.append(worker)
                if self._reaper is None:
                    self._reap_after(self._idle_s)
        else:
            self._end(worker)

    def _reap_after(self, pause_s: float) -> None:
        self._reaper = threading.Timer(pause_s, self._reap)
        self._reaper.daemon = True
        self._reaper.start()

    def _reap(self) -> None:
        """End the workers that have been idle for long enough; look again when the next one may be."""
        idle_ns = round(self._idle_s * SECOND_NS)
        with self._lock:
            now_ns = monotonic_ns()
            old = [worker for worker in self._idle if now_ns - worker.idle_since_ns >= idle_ns]
            self._idle = [worker for worker in self._idle if worker not in old]
            self._reaper = None
            if self._idle and not self._closed:
                self._reap_after((self._idle[0].idle_since_ns + idle_ns - now_ns) / SECOND_NS)
        for worker in old:
            self._end(worker)

    def _end(self, worker: _Worker) -> None:
        worker.end()
        with self._lock:
            self._all.discard(worker)


class _Ended(Exception):
    """The worker is gone before it answered."""


class _Worker:
    """One process and our end of its socket."""

    idle_since_ns = 0

    def __init__(self, prefix: list[str], nice: int) -> None:
        ours, theirs = socket.socketpair()
        flags = ["-O"] * sys.flags.optimize
        own = os.getpriority(os.PRIO_PROCESS, 0)
        goal = IDLE_NICE if nice >= IDLE_NICE else min(own + nice, 19)
        told = [str(theirs.fileno()), json.dumps(sys.path), str(goal)]
        command = [*_nicely(goal - own), *prefix, sys.executable, *flags, "-c", _START, *told]
        try:
            self._process = subprocess.Popen(
                command, pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL, stdout=2, close_fds=True
            )
        except OSError as reason:
            ours.close()
            raise DerivationError(f"a worker could not be started: {command[0]}: {reason.strerror}") from reason
        finally:
            theirs.close()
        self._socket = ours
        self._ahead = bytearray()

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    def converse(
        self, name: str, job: bytes, read: Callable[[bytes], bytes | BinaryIO], start_s_max: float, limit_s: float
    ) -> list[Any]:
        limit, what = start_s_max, "to be imported in a worker than derive.worker_start_s_max"
        deadline = monotonic_ns() + round(limit * SECOND_NS)
        try:
            self._socket.settimeout(limit)
            send(self._socket, job)
            while True:
                self._socket.settimeout(max((deadline - monotonic_ns()) / SECOND_NS, 0.001))
                message: list[Any] = msgspec.msgpack.decode(receive(self._socket, self._ahead))
                if message[0] == "running":
                    limit, what = limit_s, "than its timeout_s"
                    deadline = monotonic_ns() + round(limit * SECOND_NS)
                elif message[0] == "get":
                    answer(self._socket, read(message[1]))
                else:
                    return message
        except TimeoutError:
            self.kill()
            raise DerivationFailed(
                f"{name} took longer {what} = {limit:g} s and was stopped", box=name, error="Timeout"
            ) from None
        except (EOFError, OSError):
            raise _Ended from None
        except BaseException:
            self.kill()  # in the middle of a conversation it is of no more use
            raise

    def ending(self) -> str:
        """How the process ended, in a word: a signal's name or an exit code."""
        try:
            code = self._process.wait(END_S_MAX)
        except subprocess.TimeoutExpired:
            return "closing its socket"
        number = -code if code < 0 else code - 128  # a sandbox reports its child's signal as 128 + n
        with contextlib.suppress(ValueError):
            return signal.Signals(number).name
        return f"exit code {code}"

    def end(self) -> None:
        self._socket.close()
        try:
            self._process.wait(END_S_MAX)
        except subprocess.TimeoutExpired:
            self.kill()
            self._process.wait()


@functools.cache
def _nice_program() -> str | None:
    return shutil.which("nice")


def _nicely(steps: int) -> list[str]:
    """What a worker is started through: loading the interpreter takes 50 ms of CPU, which are to be nice ones too.

    Without the program `nice` it is nice from its first statement on.
    """
    program = _nice_program() if steps > 0 else None
    return [program, "-n", str(min(steps, 19))] if program else []


def send(sock: socket.socket, body: bytes) -> None:
    """One message.  Whoever calls gives up the interpreter's lock, and waits for it again: once, where it is short."""
    if len(body) <= TOGETHER_BYTES_MAX:
        sock.sendall(LENGTH.pack(len(body)) + body)
    else:
        sock.sendall(LENGTH.pack(len(body)))
        sock.sendall(body)


def answer(sock: socket.socket, body: bytes | BinaryIO) -> None:
    """What a "get" is answered with; a file goes as its descriptor, so that only the worker reads it."""
    if isinstance(body, bytes):
        send(sock, body)
    else:
        number = body.fileno()
        socket.send_fds(sock, [LENGTH.pack(IN_FILE | os.fstat(number).st_size)], [number])


def receive_answer(sock: socket.socket) -> bytes:
    """The worker's side of `answer`.  Raises `EOFError` when the parent is gone, or the file ends early."""
    head, numbers, _, _ = socket.recv_fds(sock, LENGTH.size, 1)
    (length,) = LENGTH.unpack(head + _exactly(sock, LENGTH.size - len(head)) if head else _exactly(sock, LENGTH.size))
    if not numbers:
        return bytes(_exactly(sock, length))
    with os.fdopen(numbers[0], "rb", buffering=0) as file:
        length &= ~IN_FILE
        # the descriptor shares its position with the parent's: nobody moves it
        parts = [os.pread(file.fileno(), length, 0)]
        while (done := sum(map(len, parts))) < length:  # one read gives at most 2 GiB
            parts.append(os.pread(file.fileno(), length - done, done))
            if not parts[-1]:
                raise EOFError(f"a file that ends after {done} of {length} bytes")
        return parts[0] if len(parts) == 1 else b"".join(parts)


def receive(sock: socket.socket, ahead: bytearray | None = None) -> bytearray:
    """One message.  Raises `EOFError` when the other side is gone.

    Who has a place for what comes `ahead` of its time reads a short message by one call, and finds the next one there.
    """
    if ahead is None:
        (length,) = LENGTH.unpack(_exactly(sock, LENGTH.size))
        ahead = bytearray()
    else:
        while len(ahead) < LENGTH.size:
            got = sock.recv(TOGETHER_BYTES_MAX)
            if not got:
                raise EOFError
            ahead += got
        (length,) = LENGTH.unpack_from(ahead)
        del ahead[: LENGTH.size]
    if length > MESSAGE_BYTES_MAX:
        raise EOFError(f"a message of {length} bytes")
    data = ahead[:length]
    del ahead[:length]
    return data + _exactly(sock, length - len(data)) if len(data) < length else data


def _exactly(sock: socket.socket, count: int) -> bytearray:
    data = bytearray(count)
    view = memoryview(data)
    while view:
        got = sock.recv_into(view)
        if not got:
            raise EOFError
        view = view[got:]
    return data
