"""What a row of `derive.outputs` answers: a value, or a ref whose bytes are there.  `MISSING` is no hit."""

from __future__ import annotations

from typing import Any

from boxwork.content.content import Content
from boxwork.derive.asks import Ask, Plan
from boxwork.derive.explain import read_record
from boxwork.derive.outputs import BLOB, FAILURE, HEAD, HEAD_BYTES, NAMING, NOT_INLINE, REF, TREE, named_value, read_row
from boxwork.derive.packing import Unreadable
from boxwork.errors import BlobMissing
from boxwork.keys import Ref, checksum, ref_of_digest

MISSING: Any = object()

_NAMES = (REF, BLOB, TREE)
# One in so many hits tells content that the blob is in use, which matters to eviction.  Unit: hits; telling it costs
# 3 us when it was told within five minutes, and a write else.
TOUCH_HITS = 64


class Answers:
    """Reads answers out of rows."""

    def __init__(self, content: Content) -> None:
        self._content = content

    def of(self, ask: Ask, raw: bytes) -> Any:
        """What this call wants of the row: its value or its ref; `MISSING` if the row does not have it."""
        if ask.value:
            return self.value(ask.plan, raw)
        ref = self.ref(ask.plan, raw)
        return MISSING if ref is None else ref

    def value(self, plan: Plan, raw: bytes) -> Any:
        """The value a row remembers; `MISSING` if it is none, or damaged, or its blob is gone."""
        kind, crc, digest, length = HEAD.unpack_from(raw)
        if kind == FAILURE:
            return MISSING
        end = HEAD_BYTES if length == NOT_INLINE else HEAD_BYTES + length
        if checksum(kind + raw[5:end]) != crc or (kind == NAMING and not self._names_stand(raw[end:])):
            return MISSING
        try:
            if length != NOT_INLINE:
                return plan.codec.decode(kind, raw[HEAD_BYTES:end])
            ref = ref_of_digest(digest)
            self._touch(plan, ref)
            if kind in _NAMES:
                return named_value(kind, ref, self._content) if self._content.has(ref) else MISSING
            return plan.codec.decode(kind, self._content.get(ref))
        except (BlobMissing, Unreadable):
            return MISSING

    def ref(self, plan: Plan, raw: bytes) -> Ref | None:
        """The ref a row remembers, if its bytes are there; a small output that went missing is put back."""
        row = read_row(raw)
        if row is None or row.kind == FAILURE or (row.kind == NAMING and not self._names_stand(row.record)):
            return None
        ref = ref_of_digest(row.digest)
        # A small output lies inline in its place too; asking for it there is five times faster than asking everybody.
        if (row.inline is not None and plan.place.inline_bytes(row.digest) is not None) or self._content.has(ref):
            self._touch(plan, ref)
            return ref
        return plan.place.put(row.inline) if row.inline is not None else None

    def _touch(self, plan: Plan, ref: Ref) -> None:
        plan.hits += 1
        if plan.hits % TOUCH_HITS == 0:
            self._content.touch((ref,))

    def _names_stand(self, record: bytes) -> bool:
        """Are all blobs here that an output names."""
        found = read_record(b"", b"", record)
        return found is not None and all(map(self._content.has, found.refs))
