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


@dataclass(slots=True)
class HotAnswer:
    """`whole` is the 200 after its first line: headers, empty line, body; `unchanged` the same of the 304.

    `asked` is set by whoever answers with it, and keeps it from going the next time that something has to.
    """

    etag: bytes
    whole: bytes
    unchanged: bytes
    record_whole: Callable[[int], None]
    record_unchanged: Callable[[int], None]
    asked: bool = False


class HotAnswers:
    """`GET path` (raw bytes, no query) → answer.  Used on the event loop only.

    The oldest go first, but what was asked for since it was last looked at stays: the second chance of clock paging.
    It is as good as the least recently used for a set of pictures, and an answer need not move in an order.

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
        begin = b"GET " + path
        if self.admits is None or len(body) > self.item_bytes_max or begin in self.answers:
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
        if len(answer.whole) > self.bytes_max:
            return
        self.bytes_held += len(answer.whole)
        while self.bytes_held > self.bytes_max:
            oldest, held = self.answers.popitem(last=False)
            if held.asked:
                held.asked = False
                self.answers[oldest] = held
            else:
                self.bytes_held -= len(held.whole)
        self.answers[begin] = answer

    def get(self, path: bytes) -> HotAnswer | None:
        """The answer to `GET path`."""
        return self.answers.get(b"GET " + path)

    def drop(self) -> None:
        """Forget all: after a change of who may read what."""
        self.answers.clear()
        self.bytes_held = 0
