"""What was seen: bytes or a value, with its kind, its source and its time.

An observation is recorded once and never changes.  The next one of the same kind and source is the next version;
versions count arrivals, while every question is answered by the time of the observation, so what arrives late is
found where it belongs.  Saying the same again (kind, source, time and bytes) says nothing new.

Three tables.  A *line* is one kind from one source; its digest stands for both.
    observation_lines     kind digest, line digest            → kind, source, versions given out
    observations          line digest, time, version          → the observation
    observation_times     kind digest, time, line, version    → nothing: the order of one kind over all sources
and `observation_kinds` has the retention of a kind.  Bytes and rows are committed together.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable, Iterator
from typing import Any, Literal

import msgspec

from boxwork.clock import Clock
from boxwork.content.content import Content
from boxwork.database import Edit, View
from boxwork.errors import BadInput, UnsupportedType
from boxwork.keys import Ref, part_digest, ref_of_digest, text_form

LINES = "observation_lines"
ROWS = "observations"
TIMES = "observation_times"
KINDS = "observation_kinds"
TABLES = (LINES, ROWS, TIMES, KINDS)

# A kind, a source or a person is a name, not a document.  Unit: characters.
NAME_MAX = 1_000
# Rows removed in one transaction by `expire`: the write lock is held for a few milliseconds.  Unit: rows.
EXPIRE_BATCH = 1_000
# What `history` answers when not told otherwise: a page of a screen, many times over.  Unit: observations.
HISTORY_LIMIT = 1_000

Encoding = Literal["bytes", "msgpack"]

# Times are signed; adding 2^63 makes them sort as unsigned bytes.
_stamp = struct.Struct(">Q")
_SHIFT = 1 << 63
_NS_MAX = _SHIFT - 1
_version = struct.Struct(">Q")


class Observation(msgspec.Struct, frozen=True):
    """One thing seen.  `at_ns` is when it was seen, `recorded_at_ns` when it came here."""

    kind: str
    source: str
    at_ns: int
    version: int
    ref: Ref
    who: str = ""
    encoding: Encoding = "bytes"
    recorded_at_ns: int = 0


class _Line(msgspec.Struct, array_like=True):
    kind: str
    source: str
    versions: int


class _Row(msgspec.Struct, array_like=True):
    digest: bytes
    who: str
    encoding: Encoding
    recorded_at_ns: int


class _Kind(msgspec.Struct, array_like=True):
    kind: str
    keep_ns: int
    keep_latest: bool


_pack = msgspec.msgpack.Encoder(order="deterministic").encode
_line = msgspec.msgpack.Decoder(_Line).decode
_row = msgspec.msgpack.Decoder(_Row).decode
_kind = msgspec.msgpack.Decoder(_Kind).decode


class Observations:
    """The observations of one data directory.  Safe from many threads and processes."""

    def __init__(self, content: Content, clock: Clock) -> None:
        self._content = content
        self._clock = clock
        self._database = content.durable_db
        content.add_roots(self.roots)

    def observe(self, kind: str, value: Any, *, source: str, at: int | None = None, who: str = "") -> Observation:
        """Record what was seen: bytes as they are, a `Ref` to what is kept already, anything else as MessagePack.

        `at` is in nanoseconds since 1970 (default: now).  Raises `UnsupportedType` for a value that is not plain.
        """
        for name, text in (("kind", kind), ("source", source), ("who", who)):
            if len(text) > NAME_MAX or (not text and name != "who"):
                raise BadInput(f"{name}={text[:40]!r}: give 1 to {NAME_MAX} characters")
        now = self._clock.now_ns()
        at_ns = now if at is None else at
        if not -_SHIFT <= at_ns <= _NS_MAX:
            raise BadInput(f"at={at_ns} is no time in nanoseconds since 1970")
        encoding: Encoding = "bytes"
        if not isinstance(value, (Ref, bytes, bytearray, memoryview)):
            value, encoding = encode_value(value), "msgpack"
        kind_id, line_id = _digests(kind, source)
        stamp = _stamp.pack(at_ns + _SHIFT)
        made: list[Observation] = []

        def record(edit: Edit, digests: list[bytes]) -> None:
            row = _Row(digests[0], who, encoding, now)
            made[:] = [_record(edit, kind, source, kind_id, line_id, stamp, row)]

        # Bytes and row go in one group commit; a ref is only marked as used.
        if not isinstance(value, Ref):
            self._content.durable.put(value, also=record)
        elif self._content.has(value):
            self._content.touch([value])
            self._database.update(lambda edit: record(edit, [value.digest]))
        else:
            raise BadInput(f"{value} is not here: put it before observing it", ref=value)
        return made[0]

    def latest(self, kind: str, source: str, *, at: int | None = None) -> Observation | None:
        """The newest by its own time; with `at`, the newest that was seen at `at` or before."""
        _, line_id = _digests(kind, source)
        last = line_id + _stamp.pack(min(_NS_MAX if at is None else at, _NS_MAX) + _SHIFT) + b"\xff" * 8
        with self._database.view() as view:
            for key, raw in view.scan(ROWS, line_id, start=last, reverse=True):
                return _observation(kind, source, key, _row(raw))
        return None

    def history(
        self,
        kind: str,
        source: str | None = None,
        *,
        since: int | None = None,
        until: int | None = None,
        limit: int = HISTORY_LIMIT,
        newest_first: bool = False,
    ) -> list[Observation]:
        """At most `limit` observations with `since <= at_ns < until`, in the order of their times."""
        first = _stamp.pack(max(-_SHIFT, -_SHIFT if since is None else since) + _SHIFT)
        last = _stamp.pack(min(_NS_MAX, _NS_MAX if until is None else until) + _SHIFT)
        kind_id, line_id = _digests(kind, source or "")
        prefix, table = (kind_id, TIMES) if source is None else (line_id, ROWS)
        found: list[Observation] = []
        lines: dict[bytes, str] = {} if source is None else {line_id: source}
        with self._database.view() as view:
            start = first if not newest_first else last if until is not None else b"\xff" * 64
            for key, raw in view.scan(table, prefix, start=prefix + start, reverse=newest_first):
                stamp = key[len(prefix) : len(prefix) + 8]
                if stamp < first or (until is not None and stamp >= last):
                    break
                if len(found) >= limit:
                    break
                if source is None:
                    line_id = key[len(kind_id) + 8 : -8]
                    row_key = line_id + stamp + key[-8:]
                    raw = view.get(ROWS, row_key) or b""
                    key = row_key
                    if line_id not in lines:
                        lines[line_id] = _line(view.get(LINES, kind_id + line_id) or b"").source
                found.append(_observation(kind, lines[line_id], key, _row(raw)))
        return found

    def sources(self, kind: str) -> Iterator[str]:
        """Every source of this kind."""
        kind_id, _ = _digests(kind, "")
        for _, raw in self._database.walk(LINES, kind_id):
            yield _line(raw).source

    def kinds(self) -> list[str]:
        """Every kind that was ever observed, in order."""
        return sorted({_line(raw).kind for _, raw in self._database.walk(LINES)})

    def value(self, observation: Observation) -> Any:
        """What was seen: the bytes, or the plain value that they encode."""
        data = self._content.get(observation.ref)
        return data if observation.encoding == "bytes" else msgspec.msgpack.decode(data)

    # --- retention

    def retain(self, kind: str, keep_ns: int, *, keep_latest: bool = True) -> None:
        """Observations of this kind end `keep_ns` after their time; 0 keeps them for ever, which is the default.

        With `keep_latest` the newest of each source stays, however old.
        """
        if keep_ns < 0:
            raise BadInput(f"keep_ns={keep_ns}: give nanoseconds, or 0 for ever")
        kind_id, _ = _digests(kind, "")
        row = _pack(_Kind(kind, keep_ns, keep_latest))
        self._database.update(lambda edit: edit.put(KINDS, kind_id, row))

    def expire(self) -> int:
        """Forget what is past its retention; how many observations.  Their bytes go with a later `gc`."""
        now, gone = self._clock.now_ns(), 0
        for kind_id, raw in self._database.walk(KINDS):
            rule = _kind(raw)
            if rule.keep_ns:
                end = _stamp.pack(max(-_SHIFT, now - rule.keep_ns) + _SHIFT)
                gone += self._expire_kind(kind_id, end, rule.keep_latest)
        return gone

    def _expire_kind(self, kind_id: bytes, end: bytes, keep_latest: bool) -> int:
        gone, after = 0, b""
        while True:
            batch: list[bytes] = []
            for key, _ in itertools.islice(self._database.walk(TIMES, kind_id, after=after), EXPIRE_BATCH):
                if key[len(kind_id) : len(kind_id) + 8] >= end:
                    break
                batch.append(key)
            if not batch:
                return gone
            gone += self._database.update(_expiry(batch, len(kind_id), keep_latest))
            after = batch[-1]

    # --- for gc

    def roots(self) -> Iterator[tuple[str, Ref]]:
        """(why, ref) of everything observed that is still kept."""
        names: dict[bytes, str] = {}
        for key, raw in self._database.walk(LINES):
            line = _line(raw)
            names[key[32:]] = f"observation {line.kind} of {line.source}"
        for key, raw in self._database.walk(ROWS):
            yield names.get(key[:32], "observation"), ref_of_digest(_row(raw).digest)


def _record(edit: Edit, kind: str, source: str, kind_id: bytes, line_id: bytes, stamp: bytes, row: _Row) -> Observation:
    for key, raw in edit.scan(ROWS, line_id + stamp):
        known = _row(raw)
        if known.digest == row.digest:
            return _observation(kind, source, key, known)
    raw_line = edit.get(LINES, kind_id + line_id)
    line = _line(raw_line) if raw_line is not None else _Line(kind, source, 0)
    line.versions += 1
    version = _version.pack(line.versions)
    edit.put(LINES, kind_id + line_id, _pack(line))
    edit.put(ROWS, line_id + stamp + version, _pack(row))
    edit.put(TIMES, kind_id + stamp + line_id + version, b"")
    return _observation(kind, source, line_id + stamp + version, row)


def encode_value(value: Any) -> bytes:
    """A plain value as MessagePack; equal values give equal bytes."""
    try:
        return _pack(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as reason:
        raise UnsupportedType(
            f"a {type(value).__name__} cannot be observed ({reason}): give bytes, numbers, texts, lists, dicts,"
            " dataclasses or msgspec structs"
        ) from None


def _expiry(batch: list[bytes], at: int, keep_latest: bool) -> Callable[[Edit], int]:
    def remove(edit: Edit) -> int:
        count = 0
        for key in batch:
            stamp, line_id, version = key[at : at + 8], key[at + 8 : -8], key[-8:]
            row_key = line_id + stamp + version
            if keep_latest and _newest(edit, line_id) == row_key:
                continue
            edit.delete(ROWS, row_key)
            count += edit.delete(TIMES, key)
        return count

    return remove


def _newest(view: View, line_id: bytes) -> bytes | None:
    for key, _ in view.scan(ROWS, line_id, reverse=True):
        return key
    return None


def _digests(kind: str, source: str) -> tuple[bytes, bytes]:
    form = text_form(kind)
    return part_digest("observation kind", form), part_digest("observation line", form + text_form(source))


def _observation(kind: str, source: str, key: bytes, row: _Row) -> Observation:
    at_ns: int = _stamp.unpack(key[32:40])[0] - _SHIFT
    version: int = _version.unpack(key[40:48])[0]
    return Observation(
        kind, source, at_ns, version, ref_of_digest(row.digest), row.who, row.encoding, row.recorded_at_ns
    )
