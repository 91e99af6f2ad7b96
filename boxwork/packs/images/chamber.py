"""Where a step runs: mmdebstrap in namespaces of its own, without a network, on a file system in memory.

As root everything happens in private mount, process and network namespaces on a tmpfs, which is gone when the step
ends, however it ends; dpkg, which syncs after every file, takes a sixth of the time there (measured: 14 s against
75 s for 89 packages).  Without root mmdebstrap's own `unshare` mode does it on disk.

The log goes to `run/images/<step>.log` of the data directory line by line, where whoever waits can follow it.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from boxwork import Tree, errors
from boxwork.packs.images.archive import tar_chunks, tree_of_tar

# A step that takes longer hangs.  Unit: s.  The longest we know, a desktop with 2,000 packages, takes 20 minutes.
STEP_S_MAX = 3000.0
# The file system in memory may grow to this; what is not used is not taken.  Unit: text for mount(8).
MEMORY = "16g"
# Lines of the log in the message of a failure; all of them are in the log.
LINES_SHOWN = 12
# A step that says more is silenced.  Unit: bytes.
LOG_BYTES_MAX = 16 * 1024 * 1024
# What mmdebstrap takes over from the machine, and what it leaves to find packages here.
LEAVE_OUT = frozenset({"etc/hostname", "etc/resolv.conf", "etc/apt/sources.list", "etc/apt/apt.conf.d/99mmdebstrap"})

_PRIVATE = 'mount -t tmpfs -o "size=$0,mode=755" boxwork "$1" && export TMPDIR="$1" && shift && exec "$@"'


class StepFailed(Exception):
    """A program of a step failed; the message ends with the end of its log."""


def log_path(root: Any, step: str) -> Path:
    """Where the log of a step is written while it runs."""
    return Path(root) / "run" / "images" / f"{step.rpartition(':')[2]}.log"


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder for what a step needs; gone afterwards."""
    folder = tempfile.mkdtemp(prefix="boxwork-images-")
    try:
        os.chmod(folder, 0o755)  # without root, mmdebstrap reads it as another user
        yield Path(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def install(
    store: Any,
    step: str,
    root: Tree | None,
    *,
    options: Sequence[str],
    hook: str,
    epoch_s: int,
    source: str = "",
    folder: Path,
    chrootless: bool = False,
) -> Tree:
    """Run mmdebstrap and take in the root it makes.

    Begins with `root` (or with nothing), runs `hook` at the end, with the root as $1.  `folder` is a scratch folder
    that may hold what `hook` and `source` name.
    """
    command = ["mmdebstrap", f"--mode={_mode(chrootless)}", "--format=tar", *options]
    if root is not None:
        with (folder / "root.tar").open("wb") as file:
            for chunk in tar_chunks(root, epoch_s):
                file.write(chunk)
        command.append(f"--setup-hook=tar-in {folder}/root.tar /")
    (folder / "hook").write_text("set -e\n" + hook)
    command += [f'--customize-hook=sh {folder}/hook "$1"', "", "-", *([source] if source else [])]
    run = _Run(store, step, _private(command, folder), epoch_s)
    return run.result(lambda output: tree_of_tar(output, store, leave_out=LEAVE_OUT))


def _mode(chrootless: bool) -> str:
    if chrootless:
        return "chrootless"
    return "root" if os.geteuid() == 0 else "unshare"


def _private(command: Sequence[str], folder: Path) -> list[str]:
    """The command in namespaces of its own, which end with us."""
    if os.geteuid() != 0:
        return ["setpriv", "--pdeathsig", "KILL", *command]
    (folder / "memory").mkdir()
    inside = ["sh", "-c", _PRIVATE, MEMORY, f"{folder}/memory", *command]
    spaces = ["--mount", "--propagation", "private", "--net", "--ipc", "--pid", "--fork", "--kill-child"]
    return ["setpriv", "--pdeathsig", "KILL", "unshare", *spaces, *inside]


class _Run:
    """One program: its output is read by one thread, its log by another, its end has a limit."""

    def __init__(self, store: Any, step: str, command: list[str], epoch_s: int) -> None:
        self.log = log_path(store.root, step)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        environment = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "SOURCE_DATE_EPOCH": str(epoch_s),
            "LC_ALL": "C.UTF-8",
            "TZ": "UTC",
            "DEBIAN_FRONTEND": "noninteractive",
            "HOME": "/root",
        }
        self.file = self.log.open("wb", buffering=0)
        self.said = 0
        self.late = False
        self.last: list[str] = []
        try:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                start_new_session=True,
            )
        except OSError as reason:
            self.file.close()
            raise StepFailed(
                f"{command[0]} cannot be run: {reason.strerror}; install it ({shlex.join(command[:1])})"
            ) from reason

    def result(self, take: Callable[[BinaryIO], Tree]) -> Tree:
        """What `take` makes of the output, if the program ends well."""
        listener = threading.Thread(target=self._listen, name="boxwork-images-log", daemon=True)
        timer = threading.Timer(STEP_S_MAX, self._stop)
        timer.daemon = True
        listener.start()
        timer.start()
        output: Any = self.process.stdout
        fault: BaseException | None = None
        made: Tree | None = None
        try:
            made = take(output)
            # a tar file may be followed by more zeros than the reader wants
            while output.read(1024 * 1024):
                pass
        except BaseException as reason:
            fault = reason
            self._kill(gently=isinstance(reason, errors.BadInput))
        finally:
            code = self.process.wait()
            timer.cancel()
            listener.join()
            output.close()
            self.file.close()
        if self.late:
            raise StepFailed(f"it took longer than {STEP_S_MAX:g} s\n{self._end()}")
        if code or made is None:
            if fault is not None and not isinstance(fault, errors.BadInput):
                raise fault
            raise StepFailed(f"it ended with code {code}\n{self._end()}") from fault
        return made

    def _listen(self) -> None:
        stream: Any = self.process.stderr
        with stream:
            for line in stream:
                self.last.append(line.decode("utf-8", "replace").rstrip())
                del self.last[:-LINES_SHOWN]
                self.said += len(line)
                if self.said <= LOG_BYTES_MAX:
                    self.file.write(line)

    def _end(self) -> str:
        return "\n".join(self.last) or "it said nothing"

    def _stop(self) -> None:
        self.late = True
        self._kill(gently=False)

    def _kill(self, gently: bool) -> None:
        """End the session; a program whose output was cut off may end by itself and say why."""
        if gently:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(5)
                return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, 9)
