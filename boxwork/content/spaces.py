"""Who may read: `public`, and private spaces with grants, keys and erasure.

A blob that was put into a private space can be had through that space only, and only by a principal with the right
to.  Its ref is the digest of what is stored (ciphertext, or salted bytes), so knowing a file does not tell its ref,
and the same file elsewhere is another blob.

What a stranger learns: nothing.  To a principal without any right a private space answers as if it did not exist,
for every ref alike (`NotFound`).  `Forbidden` is only said to somebody who has another right in the space.

Rights: `read`, `write` (put and delete; it does not include reading), `own` (everything, and granting).

Tables:
    spaces           name                            → how it seals, its salt
    space_grants     space digest, principal digest  → principal and rights
    space_blobs      digest of a blob                → space, subject, key, size
    space_erasures   key id                          → when, by whom and why
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Literal

import msgspec

from boxwork.clock import Clock
from boxwork.content.content import Content
from boxwork.content.sealing import SALT_BYTES, Salted, Sealed, Sealer
from boxwork.content.subject_keys import Erasure, SubjectKey, SubjectKeys, subject_digest
from boxwork.database import Edit
from boxwork.errors import BadInput, Forbidden, NotFound, StorageError
from boxwork.keys import Buffer, Ref, part_digest, ref_of_digest, text_form

SPACES = "spaces"
GRANTS = "space_grants"
BLOBS = "space_blobs"
ERASURES = "space_erasures"
TABLES = (SPACES, GRANTS, BLOBS, ERASURES)

PUBLIC = "public"
Right = Literal["read", "write", "own"]
RIGHTS: dict[str, int] = {"read": 1, "write": 2, "own": 4}

# LMDB's longest key is 511 bytes.  Unit: bytes of UTF-8.
NAME_BYTES_MAX = 200


class _Space(msgspec.Struct, array_like=True):
    encrypted: bool
    salt: bytes
    created_at_ns: int


class _Grant(msgspec.Struct, array_like=True):
    principal: str
    rights: int


class _Blob(msgspec.Struct, array_like=True):
    space: str
    subject: bytes
    key_id: bytes
    size: int


class _Erased(msgspec.Struct, array_like=True):
    space: str
    subject: bytes
    at_ns: int
    who: str
    reason: str


_pack = msgspec.msgpack.Encoder().encode
_space = msgspec.msgpack.Decoder(_Space).decode
_grant = msgspec.msgpack.Decoder(_Grant).decode
_blob = msgspec.msgpack.Decoder(_Blob).decode
_erased = msgspec.msgpack.Decoder(_Erased).decode


class Spaces:
    """The spaces of one data directory.  Safe from many threads and processes."""

    def __init__(self, content: Content, keys: Path, clock: Clock) -> None:
        self.content = content
        self.clock = clock
        self.keys = SubjectKeys(keys, clock)
        self._database = content.durable_db
        self._blob_row = self._database.getter(BLOBS)
        content.add_roots(self.roots)
        self._reapply()

    def create(self, name: str, *, owner: str, encrypted: bool = True) -> Space:
        """A new private space that `owner` owns.  Raises `BadInput` if the name is taken."""
        if name == PUBLIC or not 0 < len(name.encode()) <= NAME_BYTES_MAX:
            raise BadInput(f"a space cannot be called {name[:40]!r}: give it 1 to {NAME_BYTES_MAX} bytes, not {PUBLIC}")
        row = _Space(encrypted, bytes.fromhex(self.clock.token(SALT_BYTES)), self.clock.now_ns())
        if encrypted:
            Sealed(self._probe())  # the library is missing: say so now, not at the first put

        def make(edit: Edit) -> bool:
            if not edit.put(SPACES, name.encode(), _pack(row), overwrite=False):
                return False
            edit.put(GRANTS, _grant_key(name, owner), _pack(_Grant(owner, RIGHTS["own"])))
            return True

        if not self._database.update(make):
            raise BadInput(f"there is a space {name!r} already: choose another name", space=name)
        return Space(self, name, row)

    def space(self, name: str) -> Space:
        """The private space of this name.  Raises `NotFound`."""
        raw = self._database.get(SPACES, name.encode()) if name else None
        if raw is None:
            raise _no_space(name)
        return Space(self, name, _space(raw))

    def names(self) -> Iterator[str]:
        for key, _ in self._database.walk(SPACES):
            yield key.decode()

    def may(self, principal: str, space: str, right: Right) -> bool:
        """Has the principal this right.  Everybody may read `public`; the empty principal is a stranger."""
        wanted = _mask((right,)) | RIGHTS["own"]
        return (space == PUBLIC and right == "read") or bool(self.rights(principal, space) & wanted)

    def rights(self, principal: str, space: str) -> int:
        raw = self._database.get(GRANTS, _grant_key(space, principal)) if principal else None
        return 0 if raw is None else _grant(raw).rights

    def is_public(self, ref: Ref) -> bool:
        """May this ref be asked for outside every space.  True for what is not here at all: that tells nothing."""
        return self._blob_row(ref.digest) is None

    def roots(self) -> Iterator[tuple[str, Ref]]:
        """(why, ref) of every private blob whose key is not forgotten."""
        erased = {key for key, _ in self._database.walk(ERASURES)}
        for digest, raw in self._database.walk(BLOBS):
            row = _blob(raw)
            if row.key_id not in erased:
                yield f"space {row.space}", ref_of_digest(digest)

    def _reapply(self) -> None:
        """Rows and list of erasures name the same keys, and none of those keys exists: also after a restore."""
        listed = {erasure.key_id: erasure for erasure in self.keys.erasures()}
        known = {key: _erased(raw) for key, raw in self._database.walk(ERASURES)}
        for key_id, row in known.items():
            if key_id not in listed:
                self.keys.note_erasure(Erasure(key_id, row.subject, row.at_ns))
            self.keys.destroy(row.subject, key_id)
        for key_id, erasure in listed.items():
            if key_id not in known:
                row = _Erased("", erasure.subject, erasure.at_ns, "", "erased before this copy was restored")
                self._put_erasure(key_id, row)
                self.keys.destroy(erasure.subject, key_id)

    def _put_erasure(self, key_id: bytes, row: _Erased) -> None:
        self._database.update(lambda edit: edit.put(ERASURES, key_id, _pack(row)))

    @staticmethod
    def _probe() -> SubjectKey:
        return SubjectKey(bytes(16), bytes(range(64)))


class Space:
    """One private space.  Every call names the principal on whose behalf it is made."""

    def __init__(self, spaces: Spaces, name: str, row: _Space) -> None:
        self.name = name
        self.encrypted = row.encrypted
        self._spaces = spaces
        self._salt = row.salt
        self._content = spaces.content
        self._database = spaces.content.durable_db

    # --- grants

    def grant(self, principal: str, *rights: Right, by: str) -> None:
        """Give these rights, beside those the principal has; `by` must own the space."""
        self._require(by, "own")
        if not principal:
            raise BadInput("a right is given to somebody: the empty principal is a stranger")
        mask = _mask(rights)
        key = _grant_key(self.name, principal)

        def give(edit: Edit) -> None:
            raw = edit.get(GRANTS, key)
            had = 0 if raw is None else _grant(raw).rights
            edit.put(GRANTS, key, _pack(_Grant(principal, had | mask)))

        self._database.update(give)

    def revoke(self, principal: str, *rights: Right, by: str) -> None:
        """Take these rights back, or all when none is named.  The last owner stays."""
        self._require(by, "own")
        mask = _mask(rights) if rights else sum(RIGHTS.values())
        key, prefix = _grant_key(self.name, principal), _grant_key(self.name, "")[:16]

        def take(edit: Edit) -> bool:
            raw = edit.get(GRANTS, key)
            if raw is None:
                return True
            left = _grant(raw).rights & ~mask
            owners = [k for k, value in edit.scan(GRANTS, prefix) if _grant(value).rights & RIGHTS["own"]]
            if owners == [key] and not left & RIGHTS["own"]:
                return False
            if left:
                edit.put(GRANTS, key, _pack(_Grant(principal, left)))
            else:
                edit.delete(GRANTS, key)
            return True

        if not self._database.update(take):
            raise BadInput(f"{principal!r} is the last owner of {self.name!r}: let somebody else own it first")

    def grants(self, *, principal: str) -> list[tuple[str, tuple[str, ...]]]:
        """Who has which rights; told to owners."""
        self._require(principal, "own")
        rows = (_grant(raw) for _, raw in self._database.walk(GRANTS, _grant_key(self.name, "")[:16]))
        return sorted((row.principal, tuple(name for name, bit in RIGHTS.items() if row.rights & bit)) for row in rows)

    # --- blobs

    def put(self, data: Buffer, *, principal: str, subject: str = "") -> Ref:
        """Keep bytes about `subject` (default: the space itself), sealed with that subject's key."""
        return self.put_stream([data], principal=principal, subject=subject)

    def put_stream(self, chunks: Iterable[Buffer], *, principal: str, subject: str = "") -> Ref:
        """As `put`, for a stream, in bounded memory."""
        self._require(principal, "write")
        digest = subject_digest(self.name, subject)
        sealer, key_id = self._sealer_for(digest)
        size = 0

        def counted() -> Iterator[Buffer]:
            nonlocal size
            for chunk in chunks:
                size += len(chunk)
                yield chunk

        def enter(edit: Edit, digests: list[bytes]) -> None:
            if key_id and edit.get(ERASURES, key_id) is not None:
                raise _erased_error(self.name, edit.get(ERASURES, key_id) or b"")
            edit.put(BLOBS, digests[0], _pack(_Blob(self.name, digest, key_id, size)))

        return self._content.durable.put_stream(sealer.seal(counted()), also=enter)

    def get(self, ref: Ref, *, principal: str) -> bytes:
        """All bytes.  Raises `NotFound` if it is not here, not for this principal, or its subject was erased."""
        with self.open(ref, principal=principal) as file:
            return file.read()

    def open(self, ref: Ref, *, principal: str) -> BinaryIO:
        """A seekable file over the bytes; altered bytes raise `BlobCorrupt` when they are read."""
        row = self._row(ref, principal, "read")
        sealer = self._sealer_of(row)
        file = self._content.open(ref)
        try:
            return sealer.open(file)
        except BaseException:
            file.close()
            raise

    def size(self, ref: Ref, *, principal: str) -> int:
        """Bytes before sealing."""
        return self._row(ref, principal, "read").size

    def has(self, ref: Ref, *, principal: str) -> bool:
        """Is it here, for this principal."""
        try:
            self._row(ref, principal, "read")
        except NotFound:
            return False
        return True

    def refs(self, *, principal: str, subject: str | None = None) -> Iterator[Ref]:
        """Every blob of the space, or of one subject, that can still be read."""
        self._require(principal, "read")
        wanted = None if subject is None else subject_digest(self.name, subject)
        for digest, raw in self._database.walk(BLOBS):
            row = _blob(raw)
            if row.space == self.name and wanted in (None, row.subject) and self._erasure(row) is None:
                yield ref_of_digest(digest)

    def delete(self, ref: Ref, *, principal: str) -> bool:
        """Forget one blob at once; False if it was not here."""
        self._require(principal, "write")
        raw = self._database.get(BLOBS, Ref.parse(ref).digest)
        if raw is None or _blob(raw).space != self.name:
            return False
        self._content.delete(ref)
        return self._database.update(lambda edit: edit.delete(BLOBS, ref.digest))

    # --- erasure

    def erase(self, subject: str, *, by: str, reason: str) -> bool:
        """Forget the subject's key: nothing sealed with it can be read again, here or in any copy of the blobs.

        False if there is no such key.  The decision is on disk first, so a crash in between is finished when the
        directory is opened the next time.  Backups hold keys of their own: see docs/spaces.md.
        """
        self._require(by, "own")
        if not self.encrypted:
            raise BadInput(f"{self.name!r} is not encrypted, so there is no key to forget: delete its blobs instead")
        digest = subject_digest(self.name, subject)
        key = self._spaces.keys.find(digest)
        if key is None:
            return False
        now = self._spaces.clock.now_ns()
        self._spaces._put_erasure(key.id, _Erased(self.name, digest, now, by, reason))
        self._spaces.keys.note_erasure(Erasure(key.id, digest, now))
        self._spaces.keys.destroy(digest, key.id)
        return True

    # --- inside

    def _require(self, principal: str, right: Right) -> None:
        if self._spaces.may(principal, self.name, right):
            return
        if self._spaces.rights(principal, self.name):
            raise Forbidden(
                f"{principal!r} may not {right} in the space {self.name!r}: ask an owner for the right",
                space=self.name,
                right=right,
            )
        raise _no_space(self.name)

    def _row(self, ref: Ref, principal: str, right: Right) -> _Blob:
        raw = self._database.get(BLOBS, Ref.parse(ref).digest)
        self._require(principal, right)
        row = None if raw is None else _blob(raw)
        if row is None or row.space != self.name:
            raise NotFound(f"there is no {ref} in the space {self.name!r}", ref=str(ref), space=self.name)
        if (erased := self._erasure(row)) is not None:
            raise _erased_error(self.name, erased)
        return row

    def _erasure(self, row: _Blob) -> bytes | None:
        return self._database.get(ERASURES, row.key_id) if row.key_id else None

    def _sealer_for(self, subject: bytes) -> tuple[Sealer, bytes]:
        if not self.encrypted:
            return Salted(self._salt), b""
        key = self._spaces.keys.make(subject)
        return Sealed(key), key.id

    def _sealer_of(self, row: _Blob) -> Sealer:
        if not row.key_id:
            return Salted(self._salt)
        key = self._spaces.keys.find(row.subject)
        if key is None or key.id != row.key_id:
            if (erased := self._erasure(row)) is not None:
                raise _erased_error(self.name, erased)
            path = self._spaces.keys.directory / row.subject.hex()
            raise StorageError(
                f"the key {row.key_id.hex()} is not in {path}: restore the keys of this directory", path=str(path)
            )
        return Sealed(key)


def _mask(rights: Iterable[str]) -> int:
    mask = 0
    for right in rights:
        if right not in RIGHTS:
            raise BadInput(f"there is no right {right!r}: there are {', '.join(RIGHTS)}")
        mask |= RIGHTS[right]
    return mask


def _grant_key(space: str, principal: str) -> bytes:
    return part_digest("space", text_form(space))[:16] + part_digest("principal", text_form(principal))[:16]


def _no_space(name: str) -> NotFound:
    return NotFound(
        f"there is no space {name[:80]!r}, or not for you: check its name, or ask its owner for a grant",
        space=name[:80],
    )


def _erased_error(space: str, raw: bytes) -> NotFound:
    row = _erased(raw)
    return NotFound(
        f"it was erased in the space {space!r} ({row.reason}): its key is forgotten, nobody can read it",
        space=space,
        erased_at_ns=row.at_ns,
        reason=row.reason,
    )
