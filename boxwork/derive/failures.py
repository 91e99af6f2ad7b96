"""Failures are remembered for a moment, with their reason, and never served as a result.

The row lies under the derivation's key in the cache's `derive.outputs`, so other processes see it and a later success
overwrites it.  Where a digest would stand stands the time until which it counts.
"""

from __future__ import annotations

import threading
import traceback

import msgspec

from boxwork.clock import SECOND_NS, Clock
from boxwork.database import Database
from boxwork.derive.outputs import FAILURE, OUTPUTS, read_row, row_bytes
from boxwork.errors import BoxworkError, DerivationFailed
from boxwork.keys import DIGEST_BYTES

# Exceptions kept so that others in this process get the original as the cause.  Unit: exceptions; each holds on to the
# frames it came through, so few, and no longer than the failure itself.
CAUSES_MAX = 64
# Of a message and a traceback this much is kept.  Unit: characters.
MESSAGE_CHARACTERS_MAX = 500
TRACE_CHARACTERS_MAX = 4000


class Failures:
    """The failures of one data directory.  `ttl_ns` 0 remembers none."""

    def __init__(self, database: Database, clock: Clock, ttl_ns: int) -> None:
        self._database = database
        self._get = database.getter(OUTPUTS)
        self._clock = clock
        self._ttl_ns = ttl_ns
        self._causes: dict[bytes, tuple[int, BaseException]] = {}
        self._lock = threading.Lock()

    def remember(self, name: str, key: bytes, error: Exception) -> BoxworkError:
        """What to raise for this failure.  A refusal that may pass (busy, storage full) is not remembered."""
        if isinstance(error, BoxworkError) and error.retry != "never":
            return error
        cause = error.__cause__ if isinstance(error, DerivationFailed) and error.__cause__ else error
        message = str(error)[:MESSAGE_CHARACTERS_MAX]
        if isinstance(error, DerivationFailed):
            kind, trace = str(error.details.get("error", "DerivationFailed")), str(error.details.get("trace", ""))
            text = message
        else:
            kind = type(error).__name__
            trace = "".join(traceback.format_exception(error))[-TRACE_CHARACTERS_MAX:]
            text = f"{name} failed with {kind}: {message}"
        if self._ttl_ns > 0:
            until = self._clock.now_ns() + self._ttl_ns
            with self._lock:
                self._causes = {k: row for k, row in self._causes.items() if row[0] > until - self._ttl_ns}
                if len(self._causes) < CAUSES_MAX:
                    self._causes[key] = (until, cause)
            reason = msgspec.msgpack.encode([kind, text, trace])
            row = row_bytes(FAILURE, until.to_bytes(DIGEST_BYTES, "big"), reason, b"")
            self._database.update(lambda edit: edit.put(OUTPUTS, key, row))
        return DerivationFailed(text, box=name, error=kind, trace=trace)

    def refuse(self, name: str, key: bytes, raw: bytes | None = None) -> None:
        """Raise the failure remembered under this key, if it still counts.  `raw` is its row, if it was read."""
        raw = self._get(key) if raw is None else raw
        row = None if raw is None else read_row(raw)
        if row is None or row.kind != FAILURE:
            return
        left_ns = int.from_bytes(row.digest, "big") - self._clock.now_ns()
        if not 0 < left_ns <= self._ttl_ns:  # over, or written before the clock was set back
            return
        kind, text, trace = msgspec.msgpack.decode(row.inline or b"")
        with self._lock:
            known = self._causes.get(key)
        raise DerivationFailed(
            f"{text} ({(self._ttl_ns - left_ns) / SECOND_NS:.1f} s ago; it runs again after derive.failure_ttl_s ="
            f" {self._ttl_ns / SECOND_NS:g} s)",
            box=name,
            error=kind,
            trace=trace,
            remembered=True,
        ) from (known[1] if known is not None else None)
