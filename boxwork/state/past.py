"""The facts as they were before an entry: looked up in the log, from that entry backwards.

An entry holds what it wrote, so the value of a fact before it is what the newest entry before it wrote under that key.
That entry is found by looking for the bytes of the key, which is a search of the processor's speed; the log is not
replayed, and of a million entries only the few that are asked about are ever decoded.
"""

from __future__ import annotations

from typing import Any

from boxwork.errors import BadInput, NotFound
from boxwork.state.batch import HEAD_BYTES, MAGIC, Entry, Head, Record, writes_of
from boxwork.state.logs.disk import SUFFIX
from boxwork.state.logs.files import Files
from boxwork.state.order import Key
from boxwork.state.receipts import Receipt
from boxwork.state.values import ABSENT, DELETED, encode_stored

# Keys that are looked up before all facts are replayed instead.  Unit: keys.  Reason: one that was last written a
# million commits ago takes 50 ms, replaying a million 2 s.
LOOKUPS_MAX = 40


class TooMany(Exception):
    """So much of the past is wanted that it is cheaper to replay it."""


class Past:
    """The facts before the entry of a receipt.  Raises `NotFound` if the log has no such entry."""

    def __init__(self, files: Files, receipt: Receipt) -> None:
        self._files = files
        self._segments = [name for name in files.names() if name.endswith(SUFFIX)]
        self._lookups = 0
        while self._segments and _first_of(self._segments[-1]) > receipt.version:
            self._segments.pop()
        self._data = files.read(self._segments[-1]) if self._segments else b""
        self._loaded = len(self._segments) - 1  # which of the segments is in `_data`
        found = self._entry_of(receipt)
        if found is None:
            raise NotFound(
                f"{receipt} names no entry of this log: is it of another data directory?", version=receipt.version
            )
        self._end, self.record = found  # where the entry begins, in the last of the segments
        self.values = _Looking(self)

    def _entry_of(self, receipt: Receipt) -> tuple[int, Record] | None:
        at = self._data.find(receipt.digest)  # the head of an entry has its own digest, the next one's has it again
        at = self._data.rfind(MAGIC, 0, at) if at >= 0 else at
        head = Head.parse(memoryview(self._data)[at : at + HEAD_BYTES]) if at >= 0 else None
        if head is None or (head.version, head.digest) != (receipt.version, receipt.digest):
            return None
        payload = self._data[at + HEAD_BYTES : at + HEAD_BYTES + head.payload_bytes]
        record = head.record(payload)
        return (at, record) if len(payload) == head.payload_bytes and record.is_sound() else None

    def stored(self, key: Key) -> Any:
        """The stored value, or ABSENT.  Raises `TooMany` for the one too many."""
        self._lookups += 1
        if self._lookups > LOOKUPS_MAX:
            raise TooMany
        form = encode_stored(key)
        for number in range(len(self._segments) - 1, -1, -1):
            is_last = number == len(self._segments) - 1
            value = self._found_in(number, form, key, self._end if is_last else -1)
            if value is not ABSENT:
                return ABSENT if value is DELETED else value
        if _first_of(self._segments[0]) > 1:
            raise BadInput(
                f"what {key!r} was is not in this log: older history was given up (setting state.keep_history)"
            )
        return ABSENT

    def _found_in(self, number: int, form: bytes, key: Key, end: int) -> Any:
        """What the newest entry of a segment, before byte `end`, wrote under `key`; ABSENT: none did."""
        if number != self._loaded:
            self._data, self._loaded = self._files.read(self._segments[number]), number
        data = self._data
        end = len(data) if end < 0 else end
        while (at := data.rfind(form, 0, end)) >= 0:
            end = self._head_before(at)
            if end < 0:
                return ABSENT
            head = Head.parse(memoryview(data)[end : end + HEAD_BYTES])
            assert head is not None
            payload = data[end + HEAD_BYTES : end + HEAD_BYTES + head.payload_bytes]
            value = writes_of(payload).get(key, ABSENT)  # it may have stood in the inputs, or be part of a longer one
            if value is not ABSENT:
                return value
        return ABSENT

    def _head_before(self, at: int) -> int:
        """Where the entry begins that has this byte; -1 if none has."""
        while (at := self._data.rfind(MAGIC, 0, at)) >= 0:
            if Head.parse(memoryview(self._data)[at : at + HEAD_BYTES]) is not None:
                return at
        return -1

    def keys_between(self, prefix: Key, low: bytes, high: bytes) -> list[tuple[bytes, Key]]:
        """Of a range all keys are wanted, and those nobody has in order but who replays."""
        raise TooMany

    def entry(self) -> Entry:
        return Entry.decode(self.record.payload)


class _Looking(dict[Key, Any]):
    """The facts that were looked up; asking for another looks it up."""

    def __init__(self, past: Past) -> None:
        super().__init__()
        self._past = past

    def __missing__(self, key: Key) -> Any:
        value = self[key] = self._past.stored(key)
        return value

    def get(self, key: Key, default: Any = None) -> Any:
        value = self[key]
        return default if value is ABSENT else value

    def __contains__(self, key: object) -> bool:
        return True  # asked before a put, to know whether the key must be checked: what is in a log was


def _first_of(segment: str) -> int:
    return int(segment.removesuffix(SUFFIX))
