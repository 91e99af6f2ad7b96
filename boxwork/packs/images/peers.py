"""Other nodes that may have built a step already: they are asked before it runs.

    what has this key? → a root, signed by a key that this node trusts → only its blobs that are missing here

Two lies are possible.  Other bytes than a name promises: every blob is hashed before it is kept.  Another root than
the step makes: an answer counts only if it is signed by one of `images.peer_keys`, so whoever is named there is
trusted to build, and nobody else is, whatever address it has.  A peer that lies, is late or is gone costs a warning,
and the step runs here.
"""

from __future__ import annotations

import http.client
import logging
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

import msgspec

from boxwork import Ref, Setting, errors, ref_of, tree
from boxwork.packs.images.described import BLOBS_MAX
from boxwork.packs.images.signing import Signer, is_signed

log = logging.getLogger("boxwork.images")

LIMITS = (
    Setting(
        "images.peers",
        "",
        "",
        "addresses of nodes that are asked for a step before it runs here, with blanks between: http://build:8080",
    ),
    Setting(
        "images.peer_keys",
        "",
        "",
        "public keys of the nodes whose answers are believed, with blanks between; `boxwork images key` prints one",
    ),
    Setting(
        "images.peer_answer_s_max", 10.0, "s", "how long a peer may take for a piece of an answer, before the step runs"
    ),
)

# Blobs in one answer, and their bytes together: one answer takes 50 ms on a fast line, and memory for one.
PACK_BLOBS_MAX, PACK_BYTES_MAX = BLOBS_MAX, 8 * 1024 * 1024
# A larger blob comes by itself, as a stream.  Unit: bytes.
LARGE_BYTES = 2 * 1024 * 1024
# What a peer says of one key.  Unit: bytes.
ANSWER_BYTES_MAX = 4096
# A tree is read whole: this is about 80,000 names in one directory.  Unit: bytes.
TREE_BYTES_MAX = 8 * 1024 * 1024
# One peer may be asked for a tree of at most so many blobs: the largest desktop we know has 300,000 files.
BLOBS_MAX = 1_000_000
PIECE_BYTES = 256 * 1024


class Answer(msgspec.Struct, frozen=True):
    """What a peer says a step made: the signature is over `statement`."""

    tree: str
    signature: str
    key: str


def statement(key: bytes, root: Ref) -> bytes:
    """What is signed: the step with this key makes this root."""
    return f"boxwork-image-step 1\n{key.hex()}\n{root}\n".encode()


# --- asking


class Peers:
    """The other nodes, as one builder asks them.  Safe from many threads: each question has its own connection."""

    def __init__(self, work: Any) -> None:
        self.content = work.content
        self.addresses = work.settings.text("images.peers").split()
        self.keys = work.settings.text("images.peer_keys").split()
        self.answer_s_max = work.settings.number("images.peer_answer_s_max")
        if self.addresses and not self.keys:
            raise errors.BadInput("images.peers names nodes, images.peer_keys no key: say whose answers are believed")
        for address in self.addresses:
            if urlsplit(address).scheme not in ("http", "https") or not urlsplit(address).hostname:
                raise errors.BadInput(f"{address!r} in images.peers is no address: write http://HOST:PORT")

    def find(self, key: bytes) -> Ref | None:
        """The root of the step with this key, all of it here now; None if no peer has it that is believed."""
        for address in self.addresses:
            try:
                with _Line(address, self.answer_s_max) as line:
                    root = self._believed(line, key)
                    if root is not None:
                        self._fetch(line, root)
                        return root
            except errors.BoxworkError as fault:
                log.warning("the peer %s is of no help with step %s: %s", address, key.hex()[:12], fault.message)
        return None

    def _believed(self, line: _Line, key: bytes) -> Ref | None:
        raw = line.ask("GET", f"/images/steps/{key.hex()}", ANSWER_BYTES_MAX)
        if raw is None:
            return None
        try:
            answer = msgspec.json.decode(raw, type=Answer)
            root = Ref.parse(answer.tree)
        except (msgspec.DecodeError, errors.BadRef) as reason:
            raise errors.FormatError(f"its answer is none: {reason}") from reason
        if not any(is_signed(statement(key, root), answer.signature, trusted) for trusted in self.keys):
            raise errors.Forbidden(f"its answer is signed by {answer.key[:12]}…, which images.peer_keys does not name")
        return root

    def _fetch(self, line: _Line, root: Ref) -> None:
        """Bring in what is missing, trees before what they hold, and keep it the other way round."""
        spelled: dict[Ref, bytes] = {}
        sizes: dict[Ref, int] = {}
        level, count = [root], 0
        while level:
            absent = self.content.touch(level)
            for ref, data in line.pack(absent, dict.fromkeys(absent, 0)):
                spelled[ref] = data
            below: dict[Ref, None] = {}
            for ref in level:
                for entry in tree.decode(spelled.get(ref) or self.content.get(ref), ref):
                    if entry.kind == "directory":
                        below[entry.content] = None
                    elif entry.kind == "file":
                        sizes[entry.content] = entry.size
            count += len(level)
            if count + len(sizes) > BLOBS_MAX:
                raise errors.TooLarge(f"{root} has more than {BLOBS_MAX} blobs")
            level = list(below)
        absent = self.content.touch(list(sizes))
        small = [ref for ref in absent if sizes[ref] <= LARGE_BYTES]
        batch: list[bytes] = []
        for _, data in line.pack(small, sizes):
            batch.append(data)
            if len(batch) >= PACK_BLOBS_MAX:
                self.content.put_many(batch, durable=False)
                batch = []
        self.content.put_many(batch, durable=False)
        for ref in absent:
            if sizes[ref] > LARGE_BYTES:
                self.content.put_stream(line.stream(ref, sizes[ref]), durable=False, expect=ref)
        self.content.put_many(list(spelled.values())[::-1], durable=False)


class _Line:
    """One connection to one peer.  What comes back is a stranger's until it was hashed."""

    def __init__(self, address: str, answer_s_max: float) -> None:
        parts = urlsplit(address)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self.prefix = parts.path.rstrip("/")
        self.connection = kind(parts.hostname or "", parts.port, timeout=answer_s_max)

    def __enter__(self) -> _Line:
        return self

    def __exit__(self, *exception: object) -> None:
        self.connection.close()

    def ask(self, method: str, path: str, bytes_max: int, body: bytes | None = None) -> bytes | None:
        """The body of an answer; None for 404.  Raises `StorageError` if there is none."""
        answer = self._answer(method, path, body)
        try:
            data = answer.read(bytes_max + 1)
            if len(data) > bytes_max:
                raise errors.TooLarge(f"its answer to {path} has more than {bytes_max} bytes")
            if answer.status == 404:
                return None
            self._expect(answer, path)
        except (OSError, http.client.HTTPException) as reason:
            raise errors.StorageError(f"it broke off: {reason or type(reason).__name__}") from reason
        return data

    def pack(self, refs: list[Ref], sizes: dict[Ref, int]) -> Iterable[tuple[Ref, bytes]]:
        """These blobs, in this order, several in one answer.  Raises `BlobCorrupt` for bytes that are not theirs."""
        for asked in _batches(refs, sizes):
            body = msgspec.json.encode([str(ref) for ref in asked])
            raw = self.ask("POST", "/images/peers/blobs", 2 * max(PACK_BYTES_MAX, TREE_BYTES_MAX), body)
            try:
                found = {ref_of(data): data for data in msgspec.msgpack.decode(raw or b"", type=list[bytes])}
            except msgspec.DecodeError as reason:
                raise errors.FormatError(f"its blobs are none: {reason}") from reason
            for ref in asked:
                if ref not in found:
                    raise errors.BlobCorrupt(f"what it gave for {ref} has another hash, or it gave nothing", ref=ref)
                yield ref, found[ref]

    def stream(self, ref: Ref, size: int) -> Iterable[bytes]:
        path, total = f"/blobs/{ref}", 0
        answer = self._answer("GET", path, None)
        try:
            self._expect(answer, path)
            while piece := answer.read(PIECE_BYTES):
                total += len(piece)
                if total > size:
                    raise errors.BlobCorrupt(f"{ref} is longer than the {size} bytes its tree says", ref=ref)
                yield piece
        except (OSError, http.client.HTTPException) as reason:
            raise errors.StorageError(f"it broke off: {reason or type(reason).__name__}") from reason

    def _answer(self, method: str, path: str, body: bytes | None) -> http.client.HTTPResponse:
        try:
            self.connection.request(method, self.prefix + path, body, {"content-type": "application/json"})
            return self.connection.getresponse()
        except (OSError, http.client.HTTPException) as reason:
            raise errors.StorageError(f"it does not answer: {reason or type(reason).__name__}") from reason

    def _expect(self, answer: http.client.HTTPResponse, path: str) -> None:
        if answer.status != 200:
            raise errors.StorageError(f"it answers {path} with {answer.status}")


def _batches(refs: list[Ref], sizes: dict[Ref, int]) -> Iterable[list[Ref]]:
    batch: list[Ref] = []
    held = 0
    for ref in refs:
        if batch and (len(batch) >= PACK_BLOBS_MAX or held + sizes[ref] > PACK_BYTES_MAX):
            yield batch
            batch, held = [], 0
        batch.append(ref)
        held += sizes[ref]
    if batch:
        yield batch


# --- answering


def answer(work: Any, signer: Signer, key: bytes, boxes: frozenset[str]) -> Answer:
    """What this node knows of a key.  Raises `NotFound` if that is not a root of one of these boxes, whole."""
    from boxwork.packs.images.builder import is_whole

    record = work.node.deriver.why(key.hex()).record
    if record.name not in boxes or record.output_type != "Tree" or not is_whole(work, work.tree(record.output)):
        raise errors.NotFound(f"no step with the key {key.hex()} is remembered here")
    return Answer(str(record.output), signer.sign_bytes(statement(key, record.output)), signer.public())


def packed(content: Any, refs: list[Ref]) -> bytes:
    """Blobs, one after another, until an answer is full; what is not here is left out."""
    found: list[bytes] = []
    held = 0
    for ref in refs:
        try:
            size = content.size(ref)
            if (found and held + size > PACK_BYTES_MAX) or size > max(LARGE_BYTES, TREE_BYTES_MAX):
                break
            found.append(content.get(ref))
            held += size
        except errors.BlobMissing:
            continue
    return msgspec.msgpack.encode(found)
