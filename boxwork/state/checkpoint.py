"""Checkpoints: all facts at a version as one blob, so that recovery need not read the whole log.

Made in the background from a snapshot while commits go on.  The blob lies in a content store; which one counts is
said by the small file `checkpoint` beside the log, replaced at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from boxwork.errors import FormatError
from boxwork.keys import Ref
from boxwork.state.answers import Answers, Kept
from boxwork.state.order import Key
from boxwork.state.snapshot import Facts, Snapshot
from boxwork.state.values import ABSENT, ANY_DECODER, WRITES_DECODER, as_stored, encode_stored

if TYPE_CHECKING:
    from boxwork.content.store import Store
    from boxwork.state.logs.files import Files

POINTER = "checkpoint"
FORMAT = 1
# Facts in one piece of the blob.  Unit: facts.  Reason: about a millisecond of encoding, so that commits get a turn.
PIECE = 4096

# What keeps the blob from being swept, and lets it go: pin(ref, name), unpin(name).
Pin = Callable[[Ref, str], None]


def pin_name(version: int | Literal[""] = "") -> str:
    """The name under which a checkpoint is pinned; without a version, how all these names begin."""
    return f"state.checkpoint.{version}"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    version: int
    digest: bytes
    epoch: int
    ref: Ref
    facts: int


def write(
    snapshot: Snapshot, facts: Facts, answers: Answers, epoch: int, store: Store, files: Files, pin: Pin | None = None
) -> Checkpoint:
    """Write a checkpoint of the snapshot; the caller closes the snapshot.

    Answers that came after the snapshot may be in it: they are found again in the log and are the same.
    """
    count = 0

    def pieces() -> Iterator[bytes]:
        nonlocal count
        yield _piece([FORMAT, snapshot.version, snapshot.digest, epoch])
        keys = facts.all_keys()
        for at in range(0, len(keys), PIECE):
            rows = {key: value for key in keys[at : at + PIECE] if (value := snapshot.stored(key)) is not ABSENT}
            count += len(rows)
            yield _sized(encode_stored(rows))
        yield _piece(None)
        kept = [
            (once, k.stored, k.index, k.version, k.epoch, k.digest, k.at_ns)
            for once, k in answers.rows()
            if k.version <= snapshot.version
        ]
        for at in range(0, len(kept), PIECE):
            yield _piece(kept[at : at + PIECE])

    ref = store.put_stream(pieces(), durable=True)
    made = Checkpoint(snapshot.version, snapshot.digest, epoch, ref, count)
    if pin is not None:
        pin(ref, pin_name(made.version))
    files.replace(
        POINTER,
        msgspec.json.encode(
            {
                "format": FORMAT,
                "version": made.version,
                "digest": made.digest.hex(),
                "epoch": epoch,
                "ref": str(ref),
                "facts": count,
            }
        ),
    )
    return made


def find(files: Files) -> Checkpoint | None:
    """The newest checkpoint, if there is one."""
    try:
        raw = files.read(POINTER)
    except FileNotFoundError:
        return None
    try:
        row = msgspec.json.decode(raw)
        digest, ref = bytes.fromhex(row["digest"]), Ref.parse(row["ref"])
        return Checkpoint(row["version"], digest, row["epoch"], ref, row["facts"])
    except (msgspec.DecodeError, KeyError, ValueError) as reason:
        raise FormatError(f"the file {POINTER!r} beside the log cannot be read: {reason}") from reason


def load(checkpoint: Checkpoint, store: Store, facts: Facts, answers: Answers) -> None:
    """Fill facts and answers from a checkpoint.  The store checks the bytes against their name."""
    data = memoryview(store.get(checkpoint.ref))
    pieces = _split(data)
    head = ANY_DECODER.decode(next(pieces))
    if head[0] != FORMAT:
        raise FormatError(f"checkpoint {checkpoint.ref} has the format {head[0]}, this version reads {FORMAT}")
    rows: dict[Key, Any] = {}
    nil = encode_stored(None)
    for piece in pieces:
        if piece == nil:
            break
        part = WRITES_DECODER.decode(piece)
        for key, value in part.items():
            if value.__class__ is list:
                part[key] = as_stored(value)
        rows.update(part)
    kept: list[tuple[str, Kept]] = []
    for piece in pieces:
        for once, stored, index, version, epoch, digest, at_ns in ANY_DECODER.decode(piece):
            kept.append((once, Kept(as_stored(stored), index, version, epoch, digest, at_ns)))
    facts.load(checkpoint.version, checkpoint.digest, rows.items())
    answers.load(kept)


def _piece(value: Any) -> bytes:
    return _sized(encode_stored(value))


def _sized(payload: bytes) -> bytes:
    return len(payload).to_bytes(4, "big") + payload


def _split(data: memoryview) -> Iterator[memoryview]:
    at = 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if at + 4 + size > len(data):
            raise FormatError("the checkpoint ends in the middle of a piece")
        yield data[at + 4 : at + 4 + size]
        at += 4 + size
