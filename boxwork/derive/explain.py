"""Why an output is what it is, and why a call was a miss.

Every row of `derive.outputs` ends with an explain record (MessagePack, some 200 bytes): the box, its fingerprint,
every input, time, duration, worker.  A fingerprint's parts are stored once, in `derive.fingerprints`.  Two small
tables lead to the records, see `indexes`.

Inputs of up to `FORM_BYTES_KEPT` bytes together are kept as they go into the key; else each by itself, whole up to that
size, and of a longer one the digest of its form and a few words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol, TypeAlias

import msgspec

from boxwork.clock import MILLISECOND_NS, SECOND_NS
from boxwork.database import Database
from boxwork.derive.canonical_text import named_forms, text_of_form
from boxwork.derive.indexes import PRODUCERS, RECENT, ring_prefix
from boxwork.derive.outputs import FAILURE, OUTPUTS, read_row
from boxwork.errors import BadInput, NotFound
from boxwork.keys import DIGEST_BYTES, PREFIX, Ref, part_digest, ref_of_digest

FINGERPRINTS = "derive.fingerprints"

RECORD_VERSION = 1
# Inputs up to this size are kept whole, so that `why` can show them and `audit` can run the call again.
# Unit: bytes of canonical form; chosen so that a record of three such inputs stays below 400 bytes.
FORM_BYTES_KEPT = 96
# How deep and how wide `why` follows where outputs came from.  Unit: levels; outputs.
LINEAGE_DEPTH_MAX = 32
LINEAGE_OUTPUTS_MAX = 1000

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode

Part: TypeAlias = tuple[str, bytes]


class Fingerprinted(Protocol):
    """What is needed of a fingerprint."""

    @property
    def digest(self) -> bytes: ...
    @property
    def parts(self) -> Sequence[Part]: ...


@dataclass(frozen=True, slots=True)
class Whole:
    """A fingerprint together with what its box declares."""

    digest: bytes
    parts: tuple[Part, ...]
    files: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    ambient: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Input:
    """One input of a call.  `form` is whole, or (`shown` is not empty) the digest of a longer one."""

    name: str
    form: bytes
    shown: str = ""

    @property
    def text(self) -> str:
        """The value in a few words."""
        return self.shown or text_of_form(self.form)

    @property
    def ref(self) -> Ref | None:
        """The blob this input is, if it is one."""
        whole = not self.shown and self.form[:1] in (b"b", b"t") and len(self.form) == DIGEST_BYTES + 1
        return ref_of_digest(self.form[1:]) if whole else None


@dataclass(frozen=True, slots=True)
class Record:
    """What is remembered of one run."""

    key: bytes
    box: str
    name: str
    fingerprint: bytes
    inputs: tuple[Input, ...]
    time_ns: int
    duration_ns: int
    worker: str
    output: Ref
    output_type: str
    output_bytes: int
    refs: tuple[Ref, ...] = ()
    sources: tuple[Ref, ...] = ()
    used: tuple[bytes, ...] = ()


def input_rows(grouped: Iterable[tuple[str, bytes]], describe: Callable[[str], str]) -> list[list[Any]]:
    """Inputs as they stand in a record.  `describe` says a long one in a few words."""
    rows: list[list[Any]] = []
    for name, form in grouped:
        if len(form) <= FORM_BYTES_KEPT:
            rows.append([name, form])
        else:
            rows.append([name, part_digest("input", form), describe(name) or "…"])
    return rows


def record_bytes(
    box: str,
    name: str,
    fingerprint: bytes,
    inputs: bytes | list[list[Any]],
    time_ns: int,
    duration_ns: int,
    worker: str,
    output_type: str,
    output_bytes: int,
    refs: Sequence[bytes],
    sources: Sequence[bytes],
    used: Sequence[bytes],
) -> bytes:
    return _encode(
        (
            RECORD_VERSION,
            box,
            name,
            fingerprint,
            inputs,
            time_ns,
            duration_ns,
            worker,
            output_type,
            output_bytes,
            refs,
            sources,
            used,
        )
    )


def read_record(key: bytes, output: bytes, raw: bytes) -> Record | None:
    """The record, or None if this version cannot read it."""
    try:
        version, box, name, fingerprint, inputs, time_ns, duration_ns, worker, kind, size, refs, sources, used = (
            _decode(raw)
        )
    except (msgspec.DecodeError, ValueError, TypeError):
        return None
    if version != RECORD_VERSION:
        return None
    return Record(
        key,
        box,
        name,
        fingerprint,
        _inputs(inputs),
        time_ns,
        duration_ns,
        worker,
        ref_of_digest(output),
        kind,
        size,
        tuple(map(ref_of_digest, refs)),
        tuple(map(ref_of_digest, sources)),
        tuple(used),
    )


def _inputs(rows: bytes | list[list[Any]]) -> tuple[Input, ...]:
    if isinstance(rows, bytes):
        return tuple(Input(name, form) for name, form in named_forms(rows))
    return tuple(Input(*row) for row in rows)


def parts_bytes(fingerprint: Fingerprinted) -> bytes:
    return _encode([[name, digest] for name, digest in fingerprint.parts])


# --- asking -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Difference:
    """One component in which two calls differ: `what` names it, `before` and `after` show it where they can."""

    what: str
    before: str = ""
    after: str = ""

    def __str__(self) -> str:
        if self.before or self.after:
            return f"{self.what} {self.before or 'none'} → {self.after or 'none'}"
        return self.what


@dataclass(frozen=True, slots=True)
class Miss:
    """Why a call was not remembered: how it differs from the nearest earlier call of the same box."""

    record: Record
    nearest: Record | None
    differences: tuple[Difference, ...]

    def __str__(self) -> str:
        if self.nearest is None:
            return f"{self.record.name}: the first call of this box that is remembered"
        if not self.differences:
            return f"{self.record.name}: the same call was remembered, but its output or its row is gone"
        return f"{self.record.name}: " + ", ".join(map(str, self.differences))


@dataclass(frozen=True, slots=True)
class Why:
    """Where an output came from.  `lineage` are the outputs it was derived from, theirs below them."""

    record: Record
    parts: tuple[Part, ...]
    miss: Miss
    lineage: tuple[Why, ...] = field(default=())

    @property
    def versions(self) -> tuple[str, ...]:
        """Packages and Python, with their versions."""
        return tuple(name for name, _ in self.parts if name.startswith(("package ", "python ")))

    @property
    def files(self) -> tuple[str, ...]:
        """Declared files of the box, and the files among its inputs."""
        declared = [name for name, _ in self.parts if name.startswith("file ")]
        given = [
            f"{entry.name}: {entry.text}"
            for entry in self.record.inputs
            if entry.form.startswith(b"x") and entry.text.startswith("file ")
        ]
        return (*declared, *given)

    def as_json(self) -> dict[str, Any]:
        """The one shape in which this leaves the process, on the command line and over HTTP."""
        record, versions = self.record, self.versions
        return {
            "key": record.key.hex(),
            "box": record.box,
            "name": record.name,
            "output": {"ref": record.output, "type": record.output_type, "bytes": record.output_bytes},
            "inputs": {entry.name: entry.text for entry in record.inputs},
            "files": list(self.files),
            "versions": list(versions),
            "code": [name for name, _ in self.parts if name not in versions],
            "at": datetime.fromtimestamp(record.time_ns / SECOND_NS, UTC).isoformat(timespec="milliseconds"),
            "duration_ms": record.duration_ns / MILLISECOND_NS,
            "worker": record.worker,
            "miss": str(self.miss),
            "lineage": [below.as_json() for below in self.lineage],
        }


class Explainer:
    """Answers from the rows of the given environments."""

    def __init__(self, databases: Sequence[Database]) -> None:
        self._databases = databases

    def record(self, key: bytes) -> Record | None:
        """What is remembered under this key."""
        for database in self._databases:
            raw = database.get(OUTPUTS, key)
            row = None if raw is None else read_row(raw)
            if row is not None and row.kind != FAILURE:
                return read_record(key, row.digest, row.record)
        return None

    def producer(self, ref: Ref) -> Record | None:
        """The last run whose output this blob was."""
        for database in self._databases:
            key = database.get(PRODUCERS, ref.digest)
            record = None if key is None else self.record(key)
            if record is not None and record.output == ref:
                return record
        return None

    def parts(self, fingerprint: bytes) -> tuple[Part, ...]:
        for database in self._databases:
            raw = database.get(FINGERPRINTS, fingerprint)
            if raw is not None:
                return tuple((name, digest) for name, digest in _decode(raw))
        return ()

    def find(self, key_or_ref: str | bytes) -> Record:
        """The record of a key (32 bytes, or 64 hexadecimal digits) or of an output's ref."""
        if isinstance(key_or_ref, bytes):
            found = self.record(key_or_ref)
        else:
            digest = _digest_of(key_or_ref)
            found = None if key_or_ref.startswith(PREFIX) else self.record(digest)
            found = found or self.producer(ref_of_digest(digest))
        if found is None:
            self._tell_failure(key_or_ref)
            shown = key_or_ref.hex() if isinstance(key_or_ref, bytes) else key_or_ref
            raise NotFound(
                f"no derivation is remembered under {shown}, and no remembered one has that output: it was"
                " put by hand, or its row was forgotten or evicted",
                key=shown,
            )
        return found

    def _tell_failure(self, key_or_ref: str | bytes) -> None:
        """Raise `NotFound` with the reason if what stands under this key is a failure."""
        key = key_or_ref if isinstance(key_or_ref, bytes) else _digest_of(key_or_ref)
        for database in self._databases:
            raw = database.get(OUTPUTS, key)
            row = None if raw is None else read_row(raw)
            if row is not None and row.kind == FAILURE:
                _, text, _ = _decode(row.inline or b"")
                raise NotFound(f"there is no output under {key.hex()}: {text}", key=key.hex())

    def why(self, key_or_ref: str | bytes) -> Why:
        """Function, inputs, versions, duration, lineage.  Raises `NotFound`."""
        return self._why(self.find(key_or_ref), 0, set())

    def _why(self, record: Record, depth: int, seen: set[bytes]) -> Why:
        seen.add(record.key)
        lineage = []
        for earlier in self._earlier(record):
            if earlier.key not in seen and depth < LINEAGE_DEPTH_MAX and len(seen) < LINEAGE_OUTPUTS_MAX:
                lineage.append(self._why(earlier, depth + 1, seen))
        return Why(record, self.parts(record.fingerprint), self.miss(record), tuple(lineage))

    def _earlier(self, record: Record) -> Iterator[Record]:
        named = [*(entry.ref for entry in record.inputs), *record.sources]
        for ref in named:
            found = None if ref is None else self.producer(ref)
            if found is not None:
                yield found
        for key in record.used:
            found = self.record(key)
            if found is not None:
                yield found

    def recent(self, box: str) -> list[Record]:
        """The last runs of a box that are still remembered, newest first."""
        found: dict[bytes, int] = {}
        for database in self._databases:
            with database.view() as view:
                for _, row in view.scan(RECENT, ring_prefix(box)):
                    found[row[8:]] = int.from_bytes(row[:8], "big")
        records = (self.record(key) for key in sorted(found, key=lambda key: found[key], reverse=True))
        return [record for record in records if record is not None]

    def miss(self, record: Record) -> Miss:
        """How this call differs from the nearest earlier one: the fewest differences, then the latest."""
        nearest: Record | None = None
        fewest: tuple[Difference, ...] = ()
        for earlier in self.recent(record.box):
            if earlier.key == record.key or earlier.time_ns > record.time_ns:
                continue
            found = tuple(self.differences(earlier, record))
            if nearest is None or len(found) < len(fewest):
                nearest, fewest = earlier, found
        return Miss(record, nearest, fewest)

    def differences(self, before: Record, after: Record) -> Iterator[Difference]:
        """What differs between two calls: parts of the code first, then inputs."""
        if before.fingerprint != after.fingerprint:
            yield from part_differences(self.parts(before.fingerprint), self.parts(after.fingerprint))
        old = {entry.name: entry for entry in before.inputs}
        new = {entry.name: entry for entry in after.inputs}
        for name in sorted(old.keys() | new.keys()):
            was, now = old.get(name), new.get(name)
            if was is None or now is None or was.form != now.form:
                yield Difference(f"argument {name}", was.text if was else "", now.text if now else "")


def part_differences(before: Iterable[Part], after: Iterable[Part]) -> Iterator[Difference]:
    """Changed, new and gone parts of two fingerprints; a version that moved is told as one change."""
    old, new = dict(before), dict(after)
    gone = {_without_version(name): name for name in old.keys() - new.keys()}
    for name in sorted(new):
        if name in old:
            if old[name] != new[name]:
                yield Difference(f"{name} changed")
            continue
        earlier = gone.pop(_without_version(name), None)
        if earlier is not None and earlier != name:
            yield Difference(_without_version(name), earlier.rpartition(" ")[2], name.rpartition(" ")[2])
        else:
            yield Difference(f"{name} is new")
    for name in sorted(gone.values()):
        yield Difference(f"{name} is gone")


def _without_version(name: str) -> str:
    """`package numpy 2.4.6` → `package numpy`; other names as they are."""
    return name.rpartition(" ")[0] if name.startswith(("package ", "python ")) else name


def _digest_of(text: str) -> bytes:
    bare = text[len(PREFIX) :] if text.startswith(PREFIX) else text
    try:
        digest = bytes.fromhex(bare)
    except ValueError:
        digest = b""
    if len(digest) != DIGEST_BYTES:
        raise BadInput(f"{text[:80]!r} is neither a key (64 hexadecimal digits) nor a ref (sha256: and 64 digits)")
    return digest
