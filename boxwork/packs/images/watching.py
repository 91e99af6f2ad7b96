"""A build as it runs, line by line: for the terminal, and as events for the page."""

from __future__ import annotations

import threading
from pathlib import Path
from types import TracebackType
from typing import Any

from boxwork.packs.images.chamber import log_path
from boxwork.packs.images.progress import build_of, log_of

# Of a log told at once.  Unit: bytes.
CHUNK_BYTES = 64 * 1024
# Between two looks.  Unit: s.  A person does not notice it; a look costs 30 us.
LOOK_S = 0.1
OVER = ("done", "unchanged", "failed")
SIGNS = {"waiting": "·", "running": "…", "built": "✓", "remembered": "=", "failed": "✗"}


class Watcher:
    """Follows one build: `look()` gives what is new since the last look, as (kind, data) events."""

    def __init__(self, work: Any, id: str) -> None:
        self.work = work
        self.id = id
        self.over = False
        self._record: dict[str, Any] | None = None
        self._offsets: dict[str, int] = {}
        self._states: dict[int, str] = {}

    def look(self) -> list[tuple[str, dict[str, Any]]]:
        record = build_of(self.work, self.id)
        if record is None:
            self.over = True
            return [("gone", {"id": self.id})]
        events: list[tuple[str, dict[str, Any]]] = []
        for at, step in enumerate(record["steps"]):
            before = self._states.get(at)
            if step["state"] in ("running", "built", "failed") and before not in ("built", "failed"):
                events += [("log", {"step": at, "text": text}) for text in self._news(step, record["state"])]
            self._states[at] = step["state"]
        if record != self._record:
            events.insert(0, ("build", record))
            self._record = record
        # The logs were read after the record said that it is over, so nothing is missing.
        self.over = record["state"] in OVER
        return events

    def _news(self, step: dict[str, Any], state: str) -> list[str]:
        path: Path = log_path(self.work.content.root, step["id"])
        offset = self._offsets.get(step["id"], 0)
        try:
            with path.open("rb") as file:
                file.seek(offset)
                data = file.read()
        except OSError:
            data = log_of(self.work, step["id"])[offset:] if state in OVER else b""
        self._offsets[step["id"]] = offset + len(data)
        return [data[at : at + CHUNK_BYTES].decode("utf-8", "replace") for at in range(0, len(data), CHUNK_BYTES)]


class Narrator:
    """Tells a build on a terminal while another thread runs it: `with narrator: build(on_start=narrator.follow)`."""

    def __init__(self, work: Any, output: Any, ended: threading.Event) -> None:
        self.work = work
        self.output = output
        self.ended = ended
        self._thread: threading.Thread | None = None
        self._told: dict[int, str] = {}

    def follow(self, id: str) -> None:
        self._thread = threading.Thread(target=self._tell, args=(Watcher(self.work, id),), daemon=True)
        self._thread.start()

    def __enter__(self) -> Narrator:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ended.set()
        if self._thread is not None:
            self._thread.join(5)

    def _tell(self, watcher: Watcher) -> None:
        while not watcher.over:
            last = self.ended.wait(LOOK_S)
            for kind, data in watcher.look():
                self._say(kind, data)
            if last:
                return

    def _say(self, kind: str, data: dict[str, Any]) -> None:
        if kind == "log":
            self.output.say("  " + data["text"].rstrip("\n").replace("\n", "\n  "))
        for at, step in enumerate(data.get("steps", ()) if kind == "build" else ()):
            if step["state"] != "waiting" and self._told.get(at) != step["state"]:
                self._told[at] = step["state"]
                took = f"  {step['ns'] / 1e9:.1f} s" if step["state"] == "built" else ""
                self.output.say(f"{SIGNS[step['state']]} {step['kind']}: {step['title']}{took}")
