"""What a server of configuration and a host say to each other: the documents, their bytes, their signatures.

    POST /fleet/hosts/{host}?digest=…&wait_s=…   a list of Report → 200 Parcel, or 304 when nothing changed for
                 &tree=…                         `wait_s`.  Either says that the reports are on the server's disk
    GET  /fleet/hosts/{host}?digest=…&wait_s=…   200 Signed, or 304: the same without reports and without blobs
    GET  /fleet/hosts/{host}/blobs?not={tree}    the small blobs that are not in that tree, all in one answer: a
                                                 MessagePack list of bytes, which the receiver names by hashing them;
                                                 a shorter way, nothing depends on it
    POST /fleet/hosts/{host}/blobs               a list of refs → those of them that this host may have, as above
    GET  /fleet/hosts/{host}/blobs/{ref}         the bytes of a tree or a file of it; whoever reads checks the hash
    POST /fleet/hosts/{host}/reports             Report → Ack, once the server has it on disk

A change costs a host one question: its answer brings the document together with the blobs it needs (a `Parcel`), and
the next question, which has to be asked anyway, takes along how it went.  The others are for what does not fit.

`Desired` is what a host should be.  It depends on that host's content only, never on the time, so an edit that
concerns other hosts changes not one byte of it; its name is the hash of those bytes.  What travels is `Signed`: the
very bytes that were signed, so nobody has to spell a document a second time to check it.

    - `position` grows by one with every change for a host, a way back included; `release` says which content it is.
      A host takes a document only if its position is higher than the one it has, so an old document that was
      signed once cannot be played to it again.
    - `epoch` is the name of the server's facts.  Another epoch is another server, and is refused until a person
      says `boxwork fleet agent adopt`.
    - Nothing here is compared with a clock: a host whose clock is wrong takes part like any other.
"""

from __future__ import annotations

import fnmatch
import functools
from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeAlias

import msgspec

from boxwork import Ref, errors, ref_of

# The number of this format.  A document of a newer one is refused whole: its fields could mean something else.
FORMAT = 1
# What precedes the document where it is signed, so that this signature says nothing about any other kind of bytes.
TAG_DESIRED = b"boxwork.fleet.desired.1\0"
# A document holds rules and names, not content.  Unit: bytes.
DOCUMENT_BYTES_MAX = 1024 * 1024
# A pack of blobs: each at most, and together at most.  Unit: bytes.  A larger blob costs more to send than to ask for.
PACK_BLOB_BYTES_MAX = 64 * 1024
PACK_BYTES_MAX = 1024 * 1024
# Blobs that are asked for by name in one question: so many, of at most so many bytes together.  Units: blobs, bytes.
# The files of a system are 9,000; one by one they would take longer than all the rest.
LOT_BLOBS_MAX = 500
LOT_BYTES_MAX = 4 * 1024 * 1024
# Blobs that travel with the document: up to so much, because it is kept ready for every host that waits for the same,
# and every one of them has it in its connection's buffer in the same moment.  Unit: bytes.
PARCEL_BYTES_MAX = 64 * 1024
# Reports of one question; a host that was cut off for long sends the others with the next.  Unit: reports.
REPORTS_MAX = 20
# A report tells this many differences; `drift_count` tells how many there are.  Unit: paths.
DRIFT_PATHS_MAX = 100
# How long a question may be held: less than the minute after which proxies cut.  Unit: s.
WAIT_S_MAX = 55.0

SIGNATURE_BYTES = 64
# Signatures beside the first one: a key that goes and one that comes.  Unit: signatures.
SIGNATURES_MAX = 4
KEY_BYTES = 32

HOST_NAME = r"^[a-z0-9]([a-z0-9._-]{0,251}[a-z0-9])?$"
# A secret's name ends up in file names and environment variables of the host.
SECRET_NAME = r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$"

Effect: TypeAlias = Literal["none", "reload", "drain"]
State: TypeAlias = Literal["applied", "failed", "refused", "drifted", "alive"]
DriftKind: TypeAlias = Literal["added", "removed", "changed", "mode"]
Intent: TypeAlias = Literal["accidental", "editing", "accepted"]

Host = Annotated[str, msgspec.Meta(pattern=HOST_NAME)]
Name = Annotated[str, msgspec.Meta(pattern=SECRET_NAME)]
PublicKey = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
Seconds = Annotated[float, msgspec.Meta(gt=0, le=86_400)]


class EffectRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a change of the files that match asks of the host; `*` of the pattern also stands for `/`."""

    path: str
    effect: Effect


class Hook(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A command of the host, run in the directory of the new version without a shell, killed after `deadline_s`."""

    command: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=100)]
    deadline_s: Seconds = 30.0


class Hooks(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """drain → packages → (the version changes) → resume, where something must change that runs; otherwise reload.

    health  asked after every change until it says 0, at most until its deadline; without it every version is healthy
    """

    reload: Hook | None = None
    drain: Hook | None = None
    packages: Hook | None = None
    resume: Hook | None = None
    health: Hook | None = None


class Root(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The system that a version stands on: its tree, and the name of its package set (equal sets, equal names)."""

    tree: str
    packages: str


class Desired(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What one host should be.

    root  there if `tree` is a whole system: then owners, set-id bits, attributes and absolute links are part of it
    keys  the public keys that are believed from this document on, instead of those before; absent: as before
    """

    format: int = FORMAT
    host: Host
    epoch: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    position: Count
    release: Count
    rollback: bool = False
    tree: str
    effects: tuple[EffectRule, ...] = ()
    packages: tuple[str, ...] = ()
    hooks: Hooks = Hooks()
    secrets: tuple[Name, ...] = ()
    root: Root | msgspec.UnsetType = msgspec.UNSET
    keys: tuple[PublicKey, ...] | msgspec.UnsetType = msgspec.UNSET

    @property
    def is_system(self) -> bool:
        return isinstance(self.root, Root)

    @property
    def package_set(self) -> tuple[str, ...]:
        """What two versions are compared by: a host is drained where this differs."""
        return (*self.packages, self.root.packages) if isinstance(self.root, Root) else self.packages

    def effect_of(self, path: str) -> Effect:
        """The last rule that matches decides, so general rules stand first; without one, nothing need be told."""
        found: Effect = "none"
        for rule in self.effects:
            if fnmatch.fnmatchcase(path, rule.path):
                found = rule.effect
        return found


class Signed(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A document as it travels: its bytes (JSON, as text) and the ed25519 signature over them, in hexadecimal.

    `also` has the signatures by further keys, while a key is being changed: whoever believes one of them is served.
    """

    document: str
    signature: str
    also: Annotated[tuple[str, ...], msgspec.Meta(max_length=SIGNATURES_MAX)] = ()

    @property
    def digest(self) -> str:
        """The name of the document: what a host says it has, and what the server's ETag is."""
        return str(ref_of(self.document.encode()))


class Parcel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A signed document and the blobs of its tree, if they are few and small; MessagePack.

    `blobs` is the field's own bytes: a list that was spelled once for all hosts that lack the same.
    """

    signed: Signed
    blobs: msgspec.Raw = msgspec.Raw(b"\x90")


class Drift(msgspec.Struct, frozen=True, omit_defaults=True):
    """One path on a host that is not as its version has it.  Never what is in it."""

    path: str
    kind: DriftKind
    intent: Intent = "accidental"
    found_ns: int = 0


class Report(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a host tells: which version it runs, how it came there, and what was wrong with the one it was given.

    state        applied   it runs `position` since now
                 failed    it took `wanted`, was not healthy with it and went back: `position` runs
                 refused   it never touched `wanted`: a bad signature, a bad tree, no space …
                 drifted   what lies on its disk differs, or does so no longer
                 alive     nothing happened
    digest       of the document that runs; `wanted` of the one this is about, if it is another
    code, reason the error's stable name and what a person reads; no secret ever stands there
    downtime_ms  how long the host was drained for this change; `saved_ms` how long a drain that was not needed would
                 have taken: the last one this host went through, 0 before the first.  Totals beside them.
    """

    format: int = FORMAT
    host: Host
    epoch: str = ""
    position: int = 0
    release: int = 0
    tree: str = ""
    digest: str = ""
    state: State = "alive"
    wanted: str = ""
    wanted_position: int = 0
    healthy: bool = True
    code: str = ""
    reason: str = ""
    effect: Effect = "none"
    drift: tuple[Drift, ...] = ()
    drift_count: int = 0
    stage_ms: float = 0.0
    switch_ms: float = 0.0
    health_ms: float = 0.0
    downtime_ms: float = 0.0
    saved_ms: float = 0.0
    saved_total_ms: float = 0.0
    drains: int = 0
    drains_avoided: int = 0
    at_ns: int = 0
    agent: str = ""


class Ack(msgspec.Struct, frozen=True):
    """The report is on the server's disk."""

    ok: bool = True


_desired = msgspec.json.Decoder(Desired)
_signed = msgspec.json.Decoder(Signed)
_report = msgspec.json.Decoder(Report)
_reports = msgspec.json.Decoder(Annotated[list[Report], msgspec.Meta(max_length=REPORTS_MAX)])
_parcel = msgspec.msgpack.Decoder(Parcel)
_blobs = msgspec.msgpack.Decoder(list[bytes])
_lot = msgspec.json.Decoder(Annotated[list[str], msgspec.Meta(max_length=LOT_BLOBS_MAX)])


def canonical(desired: Desired) -> bytes:
    """The bytes that are signed and whose hash is the document's name: JSON with sorted keys."""
    return msgspec.json.encode(desired, order="sorted", enc_hook=_spell)


def _spell(value: object) -> str:
    if isinstance(value, Ref):
        return str(value)
    raise errors.BadInput(f"{value!r} cannot stand in a document")


def digest_of(desired: Desired) -> Ref:
    return ref_of(canonical(desired))


def new_key() -> bytes:
    """A private key: 32 bytes to keep in a file with mode 0600."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.generate().private_bytes_raw()


def public_key(private: bytes) -> bytes:
    """The public key that belongs to it: what hosts are given, as 64 hexadecimal digits."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


@functools.lru_cache(maxsize=4)  # taking a key apart costs as much as signing with it, and a fleet has one
def _signer(private: bytes) -> Any:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(private)


def sign(private: bytes | Sequence[bytes], desired: Desired) -> Signed:
    """The document as it travels, signed by one key or by each of several."""
    document = canonical(desired)
    keys = (private,) if isinstance(private, bytes) else private
    first, *also = (_signer(key).sign(TAG_DESIRED + document).hex() for key in keys)
    return Signed(document.decode(), first, tuple(also))


def verify(public: bytes | Sequence[bytes], signed: Signed) -> Desired:
    """The document, once it has been found signed by this key, or by one of these; nothing of it is read before that.

    Raises `Forbidden` for a signature that is not by such a key, `BadInput` for a document that cannot be used,
    `FormatError` for one of another format.
    """
    keys = (public,) if isinstance(public, bytes) else tuple(public)
    if not any(_is_by(key, signed) for key in keys):
        raise errors.Forbidden(
            f"the signature of {signed.digest} is not by the key {', '.join(f'{key.hex()[:16]}…' for key in keys)}: it"
            " was changed on its way, or another server signed it",
            digest=signed.digest,
        )
    return read_document(signed)


def _is_by(key: bytes, signed: Signed) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    document = TAG_DESIRED + signed.document.encode()
    for signature in (signed.signature, *signed.also):
        try:
            Ed25519PublicKey.from_public_bytes(key).verify(bytes.fromhex(signature), document)
            return True
        except (InvalidSignature, ValueError):
            continue
    return False


def read_document(signed: Signed) -> Desired:
    """The document in it, whoever signed it: for what was verified before and kept."""
    document = signed.document.encode()
    _check_format(document)
    try:
        desired = _desired.decode(document)
        Ref.parse(desired.tree)
    except (msgspec.ValidationError, errors.BadRef) as reason:
        raise errors.BadInput(f"the document {signed.digest} cannot be used: {reason}", digest=signed.digest) from None
    return desired


def read_signed(body: bytes) -> Signed:
    """An answer's body as a signed document; who signed it is `verify`'s question."""
    if len(body) > DOCUMENT_BYTES_MAX:
        raise errors.TooLarge(f"a document of {len(body)} bytes; at most {DOCUMENT_BYTES_MAX} are read")
    try:
        return _signed.decode(body)
    except msgspec.DecodeError as reason:
        raise errors.BadInput(f"this is no signed document: {reason}; it begins with {body[:60]!r}") from None


def read_parcel(body: bytes) -> tuple[Signed, list[bytes]]:
    """An answer's body as a document and blobs that nobody has named yet."""
    if len(body) > DOCUMENT_BYTES_MAX + 2 * PARCEL_BYTES_MAX:
        raise errors.TooLarge(f"a parcel of {len(body)} bytes; at most {DOCUMENT_BYTES_MAX + 2 * PARCEL_BYTES_MAX}")
    try:
        parcel = _parcel.decode(body)
        return parcel.signed, _blobs.decode(parcel.blobs)
    except msgspec.DecodeError as reason:
        raise errors.BadInput(f"this is no signed document with blobs: {reason}; it begins {body[:60]!r}") from None


def read_reports(body: bytes) -> list[Report]:
    """Reports as they came in; an empty body is none."""
    try:
        return _reports.decode(body) if body else []
    except msgspec.DecodeError as reason:
        raise errors.BadInput(f"this is no list of at most {REPORTS_MAX} reports: {reason}") from None


def read_lot(body: bytes) -> list[Ref]:
    """The refs that a host asks for at once."""
    try:
        return [Ref.parse(ref) for ref in _lot.decode(body)]
    except (msgspec.DecodeError, errors.BadRef) as reason:
        raise errors.BadInput(f"this is no list of at most {LOT_BLOBS_MAX} refs: {reason}") from None


def read_report(body: bytes | str) -> Report:
    """A report as it came in."""
    try:
        return _report.decode(body)
    except msgspec.DecodeError as reason:
        raise errors.BadInput(f"this is no report: {reason}") from None


def _check_format(document: bytes) -> None:
    class Head(msgspec.Struct):
        format: int

    try:
        number = msgspec.json.decode(document, type=Head).format
    except msgspec.DecodeError as reason:
        raise errors.BadInput(f"this is no document of a fleet: {reason}") from None
    if number != FORMAT:
        raise errors.FormatError(
            f"the document has the format {number}, this agent reads {FORMAT}: bring the older of the two up to date",
            format=number,
        )
