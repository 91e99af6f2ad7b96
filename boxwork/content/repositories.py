"""Repositories: tags that point to manifests, and manifests that say what belongs to an image.

The bytes are blobs as any others.  Here stands what is not in their names: which manifests a repository has and of
which media type, what its tags point to, and what each manifest holds, so that a sweep keeps all that a tag reaches:
the manifest, what it holds, and what refers to it (signatures, bills of materials).  A manifest that no tag reaches is
a blob that nothing refers to: it goes after `content.gc_grace_s`.

Tables, in the durable database:
    repository_manifests   repository, NUL, digest                    → media type, size, digest of the subject
    repository_tags        repository, NUL, tag                       → digest
    repository_contents    digest of a manifest                       → digests of what it holds
    repository_referrers   digest of the subject, repository, NUL, digest → nothing
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import NamedTuple

import msgspec

from boxwork.content.content import Content, Root
from boxwork.content.store import missing
from boxwork.database import Database, Edit
from boxwork.errors import BadInput, BlobMissing, NotFound, TooLarge
from boxwork.keys import Ref, ref_of, ref_of_digest

MANIFESTS = "repository_manifests"
TAGS = "repository_tags"
CONTENTS = "repository_contents"
REFERRERS = "repository_referrers"
TABLES = (MANIFESTS, TAGS, CONTENTS, REFERRERS)

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
IMAGES = frozenset((OCI_MANIFEST, DOCKER_MANIFEST))
INDEXES = frozenset((OCI_INDEX, DOCKER_LIST))

# The OCI distribution specification 1.1 asks registries to take at least this much.  Unit: bytes.
MANIFEST_BYTES_MAX = 4 * 1024 * 1024
# With a tag (128) and a NUL it fits into a key of LMDB (511).  Source: the specification's advice.  Unit: characters.
NAME_LENGTH_MAX = 255
# Of where a list goes on, which a stranger may send: so that it stays a key of LMDB.  Unit: bytes.
AFTER_BYTES_MAX = 200

_NAME = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


class Descriptor(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What a manifest says of one thing that it holds, or a list of referrers of one of them."""

    media_type: str
    digest: str
    size: int
    artifact_type: str = ""
    annotations: dict[str, str] | None = None
    urls: list[str] | None = None


class Manifest(msgspec.Struct, frozen=True, rename="camel"):
    """The part of a manifest or index that decides what belongs to it."""

    schema_version: int
    media_type: str = ""
    artifact_type: str = ""
    config: Descriptor | None = None
    layers: list[Descriptor] | None = None
    manifests: list[Descriptor] | None = None
    subject: Descriptor | None = None
    annotations: dict[str, str] | None = None


class Named(NamedTuple):
    """A manifest in a repository: its name, its media type as it was pushed, its size in bytes."""

    ref: Ref
    media_type: str
    size: int


class _Row(msgspec.Struct, array_like=True, frozen=True):
    media_type: str
    size: int
    subject: bytes = b""  # digest of what it is about


_pack = msgspec.msgpack.Encoder().encode
_row = msgspec.msgpack.Decoder(_Row).decode
_digests = msgspec.msgpack.Decoder(list[bytes]).decode
_manifest = msgspec.json.Decoder(Manifest).decode


def check_name(name: str) -> str:
    """`name` if a repository may be called so.  Raises `BadInput`."""
    if len(name) > NAME_LENGTH_MAX or not _NAME.fullmatch(name):
        raise BadInput(
            f"{name[:80]!r} is no name of a repository: lower-case letters and digits, with . _ - between them, and /"
            f" between parts, up to {NAME_LENGTH_MAX} characters",
            oci="NAME_INVALID",
        )
    return name


def check_tag(tag: str) -> str:
    """`tag` if it may be one.  Raises `BadInput`."""
    if not _TAG.fullmatch(tag):
        raise BadInput(
            f"{tag[:80]!r} is no tag: letters, digits, _ . - and up to 128 of them, not beginning with . or -",
            oci="TAG_INVALID",
        )
    return tag


class Repositories:
    """Safe from many threads and processes.  `is_public` says of a blob whether it may leave by a public door."""

    def __init__(self, content: Content, is_public: Callable[[Ref], bool]) -> None:
        self._content = content
        self._is_public = is_public
        self._database: Database = content.durable_db
        self._tag = self._database.getter(TAGS)
        self._manifest = self._database.getter(MANIFESTS)
        self._contents = self._database.getter(CONTENTS)
        content.add_roots(self.roots)
        content.add_follower(self.follow)

    # --- writing

    def publish(self, repository: str, reference: str, manifest: bytes, media_type: str = OCI_MANIFEST) -> Named:
        """Take a manifest in, under a tag or under its own name (`sha256:…`); a tag that stood elsewhere moves.

        What it holds must be here already and becomes durable; when this returns, so is the tag.  Raises `BadInput`
        for what is no manifest, `BlobMissing` for what it holds and is not here.
        """
        name, ref = check_name(repository).encode(), ref_of(manifest)
        tag = None
        if not reference.startswith("sha256:"):
            tag = check_tag(reference).encode()
        elif Ref.parse(reference) != ref:
            raise BadInput(f"the manifest is {ref}, not {reference}", oci="DIGEST_INVALID")
        parsed = parse(manifest, media_type)
        held = list(self._held(repository, parsed))
        for each in held:
            self._content.keep(each)
        gone = self._content.touch(held)  # from here a sweep lets them be until the row below names them
        if gone:
            raise missing(gone[0])

        subject = b"" if parsed.subject is None else Ref.parse(parsed.subject.digest).digest

        def also(edit: Edit, digests: list[bytes]) -> None:
            edit.put(MANIFESTS, _key(name, ref.digest), _pack(_Row(media_type, len(manifest), subject)))
            edit.put(CONTENTS, ref.digest, _pack([each.digest for each in held]))
            if subject:
                edit.put(REFERRERS, subject + _key(name, ref.digest), b"")
            if tag is not None:
                edit.put(TAGS, _key(name, tag), ref.digest)

        self._content.durable.put(manifest, also=also)
        return Named(ref, media_type, len(manifest))

    def _held(self, repository: str, manifest: Manifest) -> Iterator[Ref]:
        for each in [manifest.config, *(manifest.layers or ()), *(manifest.manifests or ())]:
            if each is None:
                continue
            ref = Ref.parse(each.digest)
            try:
                if not self._is_public(ref):
                    raise missing(ref)
                size = self._content.size(ref)
            except BlobMissing:
                if each.urls:  # a layer that lies elsewhere on purpose: nobody pushes those
                    continue
                raise
            if size != each.size:
                raise _invalid(f"{ref} has {size:,} bytes, and the manifest says {each.size:,}")
            yield ref
        for each in manifest.manifests or ():
            if self._manifest(_key(repository.encode(), Ref.parse(each.digest).digest)) is None:
                raise BlobMissing(f"the manifest {each.digest} is not in {repository}: push it first", ref=each.digest)

    def delete(self, repository: str, reference: str) -> bool:
        """Forget a tag, or by its name a manifest with all its tags; False if there was none.

        The bytes go with a later `gc`, unless something else refers to them.
        """
        name = check_name(repository).encode()
        if not reference.startswith("sha256:"):
            key = _key(name, check_tag(reference).encode())
            return self._database.update(lambda edit: edit.delete(TAGS, key))
        return self._database.update(partial(_drop, key=_key(name, Ref.parse(reference).digest)))

    # --- reading

    def find(self, repository: str, reference: str) -> Named:
        """The manifest under a tag or name.  Raises `NotFound`."""
        name, digest = check_name(repository).encode(), None
        if reference.startswith("sha256:"):
            digest = Ref.parse(reference).digest
        elif _TAG.fullmatch(reference):
            digest = self._tag(_key(name, reference.encode()))
        raw = None if digest is None else self._manifest(_key(name, digest))
        if digest is None or raw is None or not self._content.has(ref_of_digest(digest)):
            raise NotFound(f"{repository} has no manifest {reference[:140]!r}", oci="MANIFEST_UNKNOWN")
        row = _row(raw)
        return Named(ref_of_digest(digest), row.media_type, row.size)

    def tags(self, repository: str, after: str = "", limit: int = 1000) -> list[str]:
        """Up to `limit` tags in order, from the one after `after`.  Raises `NotFound` for an unknown repository."""
        prefix = check_name(repository).encode() + b"\0"
        with self._database.view() as view:
            start = prefix + after.encode()[:AFTER_BYTES_MAX] + b"\0" if after else prefix
            found = [key[len(prefix) :].decode() for key, _ in islice(view.scan(TAGS, prefix, start=start), limit)]
            if not found and next(view.scan(MANIFESTS, prefix), None) is None:
                raise NotFound(f"there is no repository {repository[:80]!r}", oci="NAME_UNKNOWN")
        return found

    def names(self, after: str = "", limit: int = 1000) -> list[str]:
        """Up to `limit` names of repositories in order, from the one after `after`."""
        found: list[str] = []
        with self._database.view() as view:
            start = after.encode()[:AFTER_BYTES_MAX] + b"\1" if after else b""
            while len(found) < limit:
                first = next(view.scan(MANIFESTS, start=start), None)
                if first is None:
                    break
                name = first[0].partition(b"\0")[0]
                found.append(name.decode())
                start = name + b"\1"
        return found

    def referrers(self, repository: str, subject: Ref, after: str = "", limit: int = 1000) -> list[Descriptor]:
        """Manifests of this repository that say that they are about `subject`, in order of their digests."""
        prefix = subject.digest + _key(check_name(repository).encode(), b"")
        start = prefix + Ref.parse(after).digest + b"\0" if after else None
        with self._database.view() as view:
            digests = [key[-32:] for key, _ in islice(view.scan(REFERRERS, prefix, start=start), limit)]
        return [told for digest in digests if (told := self._described(repository, digest)) is not None]

    def _described(self, repository: str, digest: bytes) -> Descriptor | None:
        try:
            named = self.find(repository, ref_of_digest(digest))
            manifest = _manifest(self._content.get(named.ref))
        except NotFound:
            return None
        kind = manifest.artifact_type or (manifest.config.media_type if manifest.config else "")
        return Descriptor(named.media_type, named.ref, named.size, kind, manifest.annotations)

    # --- what stays

    def roots(self) -> Iterator[Root]:
        """(why, ref) of what each tag points to.  What was erased by hand keeps nothing."""
        for key, digest in self._database.walk(TAGS):
            name, _, tag = key.partition(b"\0")
            if self._content.has(ref_of_digest(digest)):
                yield f"tag {name.decode()}:{tag.decode()}", ref_of_digest(digest)

    def follow(self, ref: Ref) -> Iterable[Ref]:
        """What a manifest holds, and the manifests that are about it; nothing of what is no manifest."""
        digest = ref.digest
        raw = self._contents(digest)  # asked for every blob that a sweep marks: one read, 1 us
        if raw is None:
            return ()
        with self._database.view() as view:
            about = [key[-32:] for key, _ in view.scan(REFERRERS, digest)]
        return [each for each in map(ref_of_digest, (*_digests(raw), *about)) if self._content.has(each)]

    def trim(self) -> int:
        """Forget the rows of manifests whose bytes a sweep has taken; how many there were."""

        def drop(edit: Edit, key: bytes) -> bool:
            there = self._content.durable.row(key[-32:], edit) is not None  # published again meanwhile
            return not there and _drop(edit, key)

        gone = 0
        for key, _ in self._database.walk(MANIFESTS):
            if not self._content.has(ref_of_digest(key[-32:])):
                gone += self._database.update(partial(drop, key=key))
        return gone


def _drop(edit: Edit, key: bytes) -> bool:
    """Forget a manifest of one repository, with its tags; False if there was none."""
    raw = edit.get(MANIFESTS, key)
    if raw is None:
        return False
    digest, subject = key[-32:], _row(raw).subject
    for tag, value in list(edit.scan(TAGS, key[:-32])):
        if value == digest:
            edit.delete(TAGS, tag)
    if subject:
        edit.delete(REFERRERS, subject + key)
    return edit.delete(MANIFESTS, key)


def parse(data: bytes, media_type: str) -> Manifest:
    """A manifest or index of this media type.  Raises `BadInput`, `TooLarge`."""
    if len(data) > MANIFEST_BYTES_MAX:
        raise TooLarge(f"the manifest has {len(data):,} bytes; the limit is {MANIFEST_BYTES_MAX:,}", oci="SIZE_INVALID")
    if media_type not in IMAGES | INDEXES:
        known = ", ".join(sorted(IMAGES | INDEXES))
        raise _invalid(f"a manifest of the media type {media_type[:80]!r} is not known here; known: {known}")
    try:
        manifest = _manifest(data)
        for each in (manifest.config, manifest.subject, *(manifest.layers or ()), *(manifest.manifests or ())):
            if each is not None:
                Ref.parse(each.digest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, BadInput) as fault:
        raise _invalid(f"the body is no manifest: {fault}") from None
    if manifest.schema_version != 2:
        raise _invalid(f"schemaVersion is {manifest.schema_version}, not 2")
    # A document that is an image to one reader and an index to another is how one digest meant two things
    # (CVE-2021-41190): the body must say what the header says, and have the fields of that kind only.
    if manifest.media_type not in ("", media_type):
        raise _invalid(f"the header says {media_type}, the body {manifest.media_type[:80]!r}")
    if media_type in IMAGES and (manifest.config is None or manifest.manifests is not None):
        raise _invalid("an image has a config and layers, and no manifests")
    if media_type in INDEXES and (manifest.config is not None or manifest.layers is not None):
        raise _invalid("an index has manifests, and neither config nor layers")
    return manifest


def _invalid(message: str) -> BadInput:
    return BadInput(message, oci="MANIFEST_INVALID")


def _key(name: bytes, rest: bytes) -> bytes:
    return name + b"\0" + rest
