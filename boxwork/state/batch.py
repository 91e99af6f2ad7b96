"""A batch, and its form in the log: an entry.

What is replicated is the effect (the merged write set).  Beside it stand the inputs, so that anybody can run the
transactions again and compare: what they wrote, and what they answered.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from boxwork.errors import BoxworkError, FormatError
from boxwork.keys import answers_digest, checksum, entry_digest
from boxwork.state.order import Key
from boxwork.state.values import ANY_DECODER, PLAIN, WRITES_DECODER, Packed, all_plain, as_stored, encode_stored, freeze

if TYPE_CHECKING:
    from boxwork.state.job import Job

FORMAT = 1

# The head of an entry on disk: what can be known of it before its payload is read.
#   magic, payload bytes, version, epoch, the version that was durable when this one was written
#   then the digest of the entry before, its own digest, and a checksum over all of that
_FIXED = struct.Struct(">4sIQQQ")
MAGIC = b"BWE1"
HEAD_BYTES = _FIXED.size + 32 + 32 + 4

# One entry.  Unit: bytes.  Reason: it is read into memory at recovery; a batch is cut long before.
ENTRY_BYTES_MAX = 1 << 30


@dataclass(frozen=True, slots=True)
class Record:
    """One sealed entry: what a log keeps."""

    version: int
    epoch: int
    durable: int
    previous: bytes
    digest: bytes
    payload: bytes

    @classmethod
    def seal(cls, version: int, epoch: int, durable: int, previous: bytes, payload: bytes) -> Record:
        fixed = _FIXED.pack(MAGIC, len(payload), version, epoch, durable)
        return cls(version, epoch, durable, previous, entry_digest(previous, fixed, payload), payload)

    def head(self) -> bytes:
        fixed = _FIXED.pack(MAGIC, len(self.payload), self.version, self.epoch, self.durable)
        body = fixed + self.previous + self.digest
        return body + checksum(body).to_bytes(4, "big")

    def is_sound(self) -> bool:
        """Does the digest fit the content?"""
        fixed = _FIXED.pack(MAGIC, len(self.payload), self.version, self.epoch, self.durable)
        return entry_digest(self.previous, fixed, self.payload) == self.digest


@dataclass(frozen=True, slots=True)
class Head:
    """A head that was read and whose checksum fits."""

    payload_bytes: int
    version: int
    epoch: int
    durable: int
    previous: bytes
    digest: bytes

    @classmethod
    def parse(cls, raw: bytes | memoryview) -> Head | None:
        """None if these are not the bytes of a head."""
        if len(raw) < HEAD_BYTES or bytes(raw[:4]) != MAGIC:
            return None
        body = bytes(raw[: HEAD_BYTES - 4])
        if checksum(body) != int.from_bytes(raw[HEAD_BYTES - 4 : HEAD_BYTES], "big"):
            return None
        _, size, version, epoch, durable = _FIXED.unpack(body[: _FIXED.size])
        return cls(size, version, epoch, durable, body[_FIXED.size : _FIXED.size + 32], body[_FIXED.size + 32 :])

    def record(self, payload: bytes) -> Record:
        return Record(self.version, self.epoch, self.durable, self.previous, self.digest, payload)


@dataclass(slots=True)
class Input:
    """One committed call: which transaction, with what, and where its chance came from.

    drawn: its place for `draw` in the batch's seed; with `seed` and `now_ns` of its own if it ran before the batch
    was cut (slow transactions do).
    """

    name: str
    row: Sequence[Any]
    drawn: int
    seed: bytes = b""
    now_ns: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a transaction with an idempotency id returned, and where it was committed."""

    once: str
    index: int
    stored: Any


@dataclass(slots=True)
class Note:
    """What happened to one transaction on its way, if anything did."""

    index: int
    runs: int
    lost_ns: int
    rivals: list[tuple[Key, str]] = field(default_factory=list)  # key, name of the rival


@dataclass(slots=True, eq=False)
class Batch:
    """What one cut made.  Without a payload there is no entry: it only waits for what it has read to be durable."""

    version: int
    writes: dict[Key, Any]
    jobs: list[Job]
    granted: list[Job]
    now_ns: int
    payload: bytes = b""
    answers: list[Answer] = field(default_factory=list)
    authors: dict[Key, str] = field(default_factory=dict)  # who wrote each key, if somebody asks
    generation: int = 0
    record: Record | None = None


@dataclass(slots=True)
class Entry:
    """The content of an entry.

    groups   the inputs in serial order, in runs of calls of one transaction; None if they were not kept
    draws    for each call where its chance came from; None: each from its own index
    """

    now_ns: int
    seed: bytes
    writes: dict[Key, Any]
    groups: list[tuple[str, list[Sequence[Any]]]] | None = None
    draws: list[Any] | None = None
    answers_digest: bytes = b""
    answers: list[Answer] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)

    @classmethod
    def decode(cls, payload: bytes, *, inputs: bool = True) -> Entry:
        """Without `inputs` as if they had not been kept: for who wants the effect: 0.5 to 0.8 of the price."""
        try:
            parts = _PARTS.decode(payload)
            if parts[0] != FORMAT:
                raise FormatError(f"an entry has the format {parts[0]}, this version reads {FORMAT}")
            _, now_ns, seed, writes_raw, inputs_raw, answered, answers, notes = parts
            writes = _as_writes(writes_raw)
            groups = draws = None
            if inputs_raw and inputs:
                groups, draws = ANY_DECODER.decode(inputs_raw)
            return cls(
                now_ns,
                seed,
                writes,
                groups,
                draws,
                answered,
                [Answer(once, index, as_stored(ANY_DECODER.decode(raw))) for once, index, raw in answers],
                [Note(i, runs, lost, [(tuple(k), n) for k, n in rivals]) for i, runs, lost, rivals in notes],
            )
        except (msgspec.DecodeError, ValueError, TypeError) as reason:
            raise FormatError(f"an entry cannot be read: {reason}") from reason

    @property
    def count(self) -> int:
        """How many calls it records."""
        return sum(len(rows) for _, rows in self.groups or ())

    @property
    def inputs(self) -> list[Input] | None:
        """Its calls one by one."""
        if self.groups is None:
            return None
        inputs = [Input(name, as_stored(row), 0) for name, rows in self.groups for row in rows]
        for index, each in enumerate(inputs):
            drawn = index if self.draws is None else self.draws[index]
            if isinstance(drawn, list):
                each.drawn, each.seed, each.now_ns = drawn
            else:
                each.drawn = drawn
        return inputs


_PARTS = msgspec.msgpack.Decoder(list[Any])
_WRITES_ONLY = msgspec.msgpack.Decoder(
    tuple[int, int, bytes, bytes, msgspec.Raw, msgspec.Raw, msgspec.Raw, msgspec.Raw]
)


def writes_of(payload: bytes) -> dict[Key, Any]:
    """What an entry wrote, for who wants no more of it: a third of the price of `Entry.decode`."""
    try:
        parts = _WRITES_ONLY.decode(payload)
        if parts[0] != FORMAT:
            raise FormatError(f"an entry has the format {parts[0]}, this version reads {FORMAT}")
        return _as_writes(parts[3])
    except (msgspec.DecodeError, ValueError, TypeError) as reason:
        raise FormatError(f"an entry cannot be read: {reason}") from reason


def _as_writes(raw: bytes) -> dict[Key, Any]:
    writes: dict[Key, Any] = WRITES_DECODER.decode(raw)
    if list in set(map(type, writes.values())):
        return {key: as_stored(value) if value.__class__ is list else value for key, value in writes.items()}
    return writes


_encode = msgspec.msgpack.Encoder().encode


def encode_entry(
    now_ns: int,
    seed: bytes,
    writes: dict[Key, Any],
    inputs: bytes,
    answered: bytes,
    answers: Iterable[Answer] = (),
    notes: Iterable[Note] = (),
) -> bytes:
    """The payload of an entry; `inputs` from `encode_inputs`."""
    return _encode(
        (
            FORMAT,
            now_ns,
            seed,
            encode_stored(writes),
            inputs,
            answered,
            [(a.once, a.index, encode_stored(a.stored)) for a in answers],
            [(n.index, n.runs, n.lost_ns, n.rivals) for n in notes],
        )
    )


def encode_inputs(groups: list[tuple[str, list[Sequence[Any]]]], draws: list[Any] | None) -> bytes:
    """Inputs in order, as (name, rows) for each run of calls of one transaction.  Rows hold stored values."""
    return encode_stored((groups, draws))


def stored_rows(rows: list[tuple[Any, ...]]) -> tuple[list[tuple[Any, ...]], bool]:
    """Rows of inputs as they are recorded, and whether some must be thawed before each run.

    What could be changed by the function is packed here, so that a second run sees the same inputs as the first.
    """
    if all_plain(rows):
        return rows, False
    frozen = [tuple(map(freeze, row)) for row in rows]
    return frozen, any(part.__class__ is Packed for row in frozen for part in row)


def digest_of_answers(answers: Sequence[Any]) -> bytes:
    """The digest of what was returned, in order; empty if something returned has no stored form."""
    try:
        # Most functions that change something return nothing: then one loop is enough that looks at no type.
        says_nothing = bool(answers) and answers[0] is None and answers.count(None) == len(answers)
        if not says_nothing and not PLAIN.issuperset(map(type, answers)):
            answers = [freeze(answer) for answer in answers]
        return answers_digest(encode_stored(answers))
    except (BoxworkError, UnicodeEncodeError, RecursionError):
        return b""
