"""Blobs on their way in: an upload is opened, gets its pieces in order, and is closed under its digest.

An upload lives in this process.  After a restart its client is told that it is unknown, and begins again, as the
specification has it; what it had sent goes with the other leftovers in `tmp`.
"""

from __future__ import annotations

from boxwork.clock import SECOND_NS, Clock
from boxwork.content.content import Content
from boxwork.content.places.incoming import Writer
from boxwork.errors import Busy, NotFound
from boxwork.settings import Settings


class Upload:
    """One blob on its way.  `taken` while a request writes to it: there is one writer at a time."""

    __slots__ = ("id", "repository", "seen_ns", "taken", "writer")

    def __init__(self, identity: str, repository: str, writer: Writer, now_ns: int) -> None:
        self.id = identity
        self.repository = repository
        self.writer = writer
        self.seen_ns = now_ns
        self.taken = False


class Uploads:
    """All that are open; used from the event loop only, writers do their work in threads."""

    def __init__(self, content: Content, clock: Clock, settings: Settings) -> None:
        self._content = content
        self._clock = clock
        self.open_max = settings.integer("serve.push_open_max")
        self.idle_s_max = settings.number("serve.push_idle_s_max")
        self._open: dict[str, Upload] = {}

    def __len__(self) -> int:
        return len(self._open)

    def begin(self, repository: str) -> Upload:
        """A new one.  Raises `Busy` when there are too many."""
        self.expire()
        if len(self._open) >= self.open_max:
            raise Busy(
                f"{self.open_max} blobs are on their way in (setting serve.push_open_max); abandoned ones are dropped"
                f" after {self.idle_s_max:g} s (setting serve.push_idle_s_max)"
            )
        upload = Upload(self._clock.token(16), repository, self._content.writer(), self._clock.monotonic_ns())
        self._open[upload.id] = upload
        return upload

    def find(self, repository: str, identity: str) -> Upload:
        """The open one of this id, in this repository.  Raises `NotFound`."""
        upload = self._open.get(identity)
        if upload is None or upload.repository != repository:
            raise NotFound(
                f"no upload {identity[:40]!r} is open in {repository}: it was closed, was idle for"
                f" {self.idle_s_max:g} s, or the server was started anew; begin again",
                oci="BLOB_UPLOAD_UNKNOWN",
            )
        return upload

    def take(self, upload: Upload) -> None:
        """From here to `leave` it is this caller's alone.  Raises `Busy`."""
        if upload.taken:
            raise Busy(f"another request is writing to the upload {upload.id}")
        upload.taken = True

    def leave(self, upload: Upload) -> None:
        upload.taken = False
        upload.seen_ns = self._clock.monotonic_ns()

    def end(self, upload: Upload) -> None:
        """Forget it and what has come of it; what was committed stays."""
        self._open.pop(upload.id, None)
        upload.writer.close()

    def expire(self) -> int:
        """Drop those that nobody has written to for too long; how many."""
        oldest = self._clock.monotonic_ns() - int(self.idle_s_max * SECOND_NS)
        idle = [upload for upload in self._open.values() if not upload.taken and upload.seen_ns < oldest]
        for upload in idle:
            self.end(upload)
        return len(idle)
