"""How far a build is, told to whoever looks: one small file, renamed into place at every change.

A build may run in one process and be watched from another, so it is told through `run/images/builds/ID.json`; the
logs of its steps lie beside (see chamber.py).  What is over is kept as an observation.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from pathlib import Path
from typing import Any

from boxwork.packs.images.chamber import LOG_BYTES_MAX, log_path

BUILD = "images.build"
LOG = "images.log"
# A build that is over stays in its file for those who watch it.  Unit: s.
KEPT_S = 3600
# Builds shown of the past.
SHOWN = 50


class Build:
    """One build while it runs.  Used by one thread."""

    def __init__(self, work: Any, name: str, reason: str, who: str) -> None:
        self.work = work
        self.id = work.clock.token(4)
        self.record: dict[str, Any] = {
            "id": self.id, "name": name, "reason": reason, "who": who, "state": "resolving", "steps": [],
            "began_ns": work.clock.now_ns(), "ended_ns": 0, "message": "", "number": 0,
        }  # fmt: skip
        self.folder = builds_folder(work)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._sweep()
        self.save()

    def plan(self, steps: list[dict[str, Any]]) -> None:
        """What is ahead: rows of kind, title, id."""
        self.record.update(state="building", steps=[{**step, "state": "waiting", "ns": 0} for step in steps])
        self.save()

    def step(self, at: int, state: str, ns: int = 0) -> None:
        self.record["steps"][at].update(state=state, ns=ns)
        self.save()

    def end(self, state: str, message: str = "", number: int = 0) -> None:
        """It is over: `done`, `unchanged` or `failed`.  Its record and its logs become observations."""
        self.record.update(state=state, message=message, number=number, ended_ns=self.work.clock.now_ns())
        for step in self.record["steps"]:
            if step["state"] in ("built", "failed"):
                self._keep_log(step["id"])
        self.work.observe(BUILD, json.dumps(self.record).encode(), source=self.record["name"], who=self.record["who"])
        self.save()

    def _keep_log(self, step: str) -> None:
        with contextlib.suppress(OSError):
            data = log_path(self.work.content.root, step).read_bytes()[:LOG_BYTES_MAX]
            if data:
                self.work.observe(LOG, data, source=step)

    def save(self) -> None:
        path = self.folder / f"{self.id}.json"
        spare = self.folder / f".{self.id}-{threading.get_ident()}"
        spare.write_text(json.dumps(self.record))
        os.replace(spare, path)

    def _sweep(self) -> None:
        oldest = self.record["began_ns"] / 1e9 - KEPT_S
        for path in (*self.folder.glob("*.json"), *self.folder.parent.glob("*.log")):
            with contextlib.suppress(OSError):
                if path.stat().st_mtime < oldest:
                    path.unlink()


def builds_folder(work: Any) -> Path:
    return Path(work.content.root) / "run" / "images" / "builds"


def running(work: Any) -> list[dict[str, Any]]:
    """The records of builds that run or have just ended, the newest first."""
    found = []
    for path in builds_folder(work).glob("*.json"):
        with contextlib.suppress(OSError, ValueError):
            found.append(json.loads(path.read_text()))
    return sorted(found, key=lambda record: -int(record["began_ns"]))


def build_of(work: Any, id: str) -> dict[str, Any] | None:
    """The record of a build by its id, running or kept; None if nobody knows it."""
    if not (id.isalnum() and len(id) <= 32):
        return None
    with contextlib.suppress(OSError, ValueError):
        record: dict[str, Any] = json.loads((builds_folder(work) / f"{id}.json").read_text())
        return record
    return next((record for record in past(work) if record["id"] == id), None)


def past(work: Any, name: str | None = None) -> list[dict[str, Any]]:
    """Builds that are over, the newest first."""
    found = []
    for seen in work.history(BUILD, name, newest_first=True, limit=SHOWN):
        with contextlib.suppress(ValueError):
            found.append(json.loads(work.get(seen.ref)))
    return found


def log_of(work: Any, step: str) -> bytes:
    """What a step said when it was last built here; empty if that is not known."""
    with contextlib.suppress(OSError):
        return log_path(work.content.root, step).read_bytes()
    seen = work.latest(LOG, step)
    data: bytes = work.get(seen.ref) if seen is not None and work.has(seen.ref) else b""
    return data
