"""Ready-made answers for what never changes.

An endpoint that has answered something public and immutable leaves the answer here; the next request for the same
path is answered by `serve.hot_protocol` from these bytes, before any application code runs.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

Recorder: TypeAlias = Callable[[str, str, int], Callable[[int], None]]
Admits: TypeAlias = Callable[[str, str], bool]


@dataclass(frozen=True, slots=True)
class HotAnswer:
    """`whole` is the 200 after its first line: headers, empty line, body; `unchanged` the same of the 304."""

    etag: bytes
    whole: bytes
    unchanged: bytes
    record_whole: Callable[[int], None]
    record_unchanged: Callable[[int], None]


class HotAnswers:
    """Path (raw bytes, no query) → answer; the least recently used go first.  Used on the event loop only.

    `admits(peer, host)` says whether somebody may have what is public; None turns the hot path off.
    """

    def __init__(self, bytes_max: int, item_bytes_max: int, recorder: Recorder, admits: Admits | None) -> None:
        self.bytes_max = bytes_max
        self.item_bytes_max = item_bytes_max
        self.recorder = recorder
        self.admits = admits
        self.bytes_held = 0
        self.answers: OrderedDict[bytes, HotAnswer] = OrderedDict()

    def offer(self, path: bytes, route: str, etag: str, headers: Mapping[str, str], body: bytes) -> None:
        """Keep the answer to `GET path` ready.  Only for what anybody may have, for ever."""
        if self.admits is None or len(body) > self.item_bytes_max or path in self.answers:
            return
        lines = [f"{name}: {value}\r\n" for name, value in headers.items() if name.lower() != "content-length"]
        entity = "".join(line for line in lines if not line.lower().startswith("content-type:"))
        answer = HotAnswer(
            etag.encode("latin-1"),
            f"{''.join(lines)}content-length: {len(body)}\r\n\r\n".encode("latin-1") + body,
            f"{entity}\r\n".encode("latin-1"),
            self.recorder(route, "GET", 200),
            self.recorder(route, "GET", 304),
        )
        self.answers[path] = answer
        self.bytes_held += len(answer.whole)
        while self.bytes_held > self.bytes_max:
            _, oldest = self.answers.popitem(last=False)
            self.bytes_held -= len(oldest.whole)

    def get(self, path: bytes) -> HotAnswer | None:
        answer = self.answers.get(path)
        if answer is not None:
            self.answers.move_to_end(path)
        return answer

    def drop(self) -> None:
        """Forget all: after a change of who may read what."""
        self.answers.clear()
        self.bytes_held = 0
