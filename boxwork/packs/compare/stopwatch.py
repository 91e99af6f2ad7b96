"""How long a training took.  That is no output of a box, which would never be the same twice: it is an observation.

The box runs in a worker process, which writes nothing to the node.  So it leaves the times in a small file of the
user's own folder for temporary files, under a name made of its inputs; who asked for the training takes them from
there and observes them.  If the file is lost, times are unknown, and nothing else is.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from boxwork import clock, ref_of

TIMES = "compare.times"
# A file of times is a few hundred bytes; a longer one is not ours.
TIMES_BYTES_MAX = 64 * 1024
# Times that nobody took (who asked has left, or an audit ran the box) go after this.  Unit: s.
KEPT_S = 24 * 3600
# Of warnings of a library this many are kept, each so long.
SAID_MAX, SAID_CHARACTERS_MAX = 5, 300


class Stopwatch:
    """Laps in nanoseconds."""

    def __init__(self) -> None:
        self.laps: dict[str, int] = {}
        self._began_ns = clock.monotonic_ns()

    def lap(self, name: str) -> None:
        now_ns = clock.monotonic_ns()
        self.laps[name] = now_ns - self._began_ns
        self._began_ns = now_ns


def run_of(kind: str, cleaned: Any, part: Any, params: Any, seed: int) -> str:
    """The name of a run: the same for the box, and for who asks for it."""
    text = json.dumps([kind, str(cleaned), str(ref_of(part.tobytes())), [list(pair) for pair in params], seed])
    return str(ref_of(text.encode())).removeprefix("sha256:")


def tell(run: str, laps: dict[str, int], said: list[str]) -> None:
    """In the box: leave the times.  Measuring never raises."""
    with contextlib.suppress(OSError):
        folder = _folder()
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.stat().st_uid == os.getuid():
            short = [text[:SAID_CHARACTERS_MAX] for text in said[:SAID_MAX]]
            spare = folder / f".{run}-{os.getpid()}"
            spare.write_text(json.dumps({**laps, "said": short}))
            os.replace(spare, folder / run)


def take(run: str) -> dict[str, Any] | None:
    """Take the times of a run, once; None if there are none."""
    path = _folder() / run
    with contextlib.suppress(OSError, ValueError):
        if path.stat().st_uid != os.getuid() or path.stat().st_size > TIMES_BYTES_MAX:
            return None
        found = json.loads(path.read_text())
        path.unlink()
        _sweep(path.parent, before_s=clock.SystemClock().now_ns() / 1e9 - KEPT_S)
        return found if isinstance(found, dict) else None
    return None


def _sweep(folder: Path, before_s: float) -> None:
    for path in folder.iterdir():
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < before_s:
                path.unlink()


def _folder() -> Path:
    return Path(tempfile.gettempdir()) / f"boxwork-compare-{os.getuid()}"
