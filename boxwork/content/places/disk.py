"""A place on a local disk: small blobs inline in LMDB, others one read-only file each.

Two tables of one environment: `meta` has a row for every blob (when it was last put, its size, where it lies),
`inline` the bytes of the small ones.  A blob is here if and only if its row is here and, for a file, a file of that
size stands at `<files>/<first two hex digits>/<hex>`.

    1. the bytes go to a file in `tmp`, and to the disk if this place is durable
    2. the file gets its name by a hard link; the directory goes to the disk if this place is durable
    3. one write transaction writes the row; if somebody deleted the name since step 2 it links again
    4. the name in `tmp` goes

Whoever deletes does so inside a write transaction too: row first, then file.  So a row is never committed for a file
that a sweep just took away, and a crash leaves either nothing, or a file without a row (swept later), or a row
without a file (counts as missing, and the next put writes it again).

What is read is not hashed again: the disk is trusted as far as file sizes go, `Verified` trusts nothing, and the
doctor reads everything.
"""

from __future__ import annotations

import itertools
import os
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeAlias

from boxwork.clock import SECOND_NS, Clock
from boxwork.content.places.incoming import Also, Incoming, TemporaryFile, Writer
from boxwork.content.store import as_file, corrupt, make_private, missing, storage_error, unreadable
from boxwork.content.syncing import FileSystem, sync_directory
from boxwork.database import Database, Edit
from boxwork.errors import StorageError
from boxwork.keys import PREFIX, REF_LENGTH, Buffer, Ref, ref_of, ref_of_digest

# Putting a blob that is here already writes nothing if its row says it was put within this time.
# The sweep leaves a multiple of it alone (sweep.MARGIN_NS), so a blob just put cannot go.  Unit: nanoseconds.
TOUCH_NS = 300 * SECOND_NS

# How the files that puts leave in `tmp` when they are killed begin; they are nobody's once no process is open.
TMP_PREFIX = "put-"

# So many files of one `put_many` go to the disk together, with their whole file system: a sync each, and one for each
# of their directories, takes several times as long (here 4 ms and 1.5 ms).  For fewer it would wait for what others
# have written without need.  Unit: files.
TOGETHER_MIN = 8

INLINE, FILE = 0, 1
_row = struct.Struct("<QQB")  # touched_ns, size, INLINE or FILE

Getter: TypeAlias = Callable[[bytes], bytes | None]


class Row(NamedTuple):
    """What `meta` says of one blob."""

    digest: bytes
    touched_ns: int
    size: int
    inline: bool

    @property
    def ref(self) -> Ref:
        return ref_of_digest(self.digest)


class DiskPlace:
    """One class of blobs in one directory and one environment.

    `durable` decides whether files and directories are synced; the environment must be opened alike.  The caller
    owns the environment.  Its tables are `meta` and `inline`.
    """

    def __init__(
        self,
        files: Path,
        tmp: Path,
        database: Database,
        clock: Clock,
        *,
        name: str,
        durable: bool,
        inline_bytes_max: int,
        meta: str = "blobs",
        inline: str = "bytes",
    ) -> None:
        self.name = name
        self.files = files
        self.tmp = tmp
        self.database = database
        self.durable = durable
        self.wrote_file: Callable[[], None] = _nothing
        self._clock = clock
        self._inline_bytes_max = inline_bytes_max
        self._meta, self._inline = meta, inline
        self._prefix = f"{os.fspath(files)}/"
        self._tmp_prefix = f"{os.fspath(tmp)}/{TMP_PREFIX}{os.getpid()}-{clock.token(6)}-"
        self._tmp_count = itertools.count()
        self._shards: set[str] = set()
        self.inline_bytes: Getter = database.getter(inline)
        self._row_of: Getter = database.getter(meta)
        for directory in (files, tmp):
            make_private(directory)

    # --- writing

    def put(self, data: Buffer, *, durable: bool = True, also: Also | None = None) -> Ref:
        """As `Store.put`; `also` runs in the same write transaction (a pin, an output row)."""
        ref = ref_of(data)
        digest = ref.digest
        if self._known(digest, also):
            return ref
        size = _size(data)
        if size <= self._inline_bytes_max:
            self._keep([Incoming(digest, size, data=bytes(data))], also)
        else:
            with TemporaryFile(self._tmp_name, self.durable) as file:
                file.write(data)
                self._keep([file.finish(digest, size)], also)
        return ref

    def put_many(self, blobs: Sequence[Buffer], *, durable: bool = True) -> list[Ref]:
        """Keep all of them in one transaction, which is one sync for all the small ones and, if they are many, one
        for the others.
        """
        refs = [ref_of(data) for data in blobs]
        fresh: dict[bytes, Buffer] = {}
        for ref, data in zip(refs, blobs, strict=True):
            digest = ref.digest
            if digest not in fresh and not self._known(digest, None):
                fresh[digest] = data
        if fresh:
            files = sum(_size(data) > self._inline_bytes_max for data in fresh.values())
            if self.durable and files >= TOGETHER_MIN:
                with self._file_system() as together:
                    self._keep_many(fresh, together)
            else:
                self._keep_many(fresh, None)
        return refs

    def _keep_many(self, fresh: dict[bytes, Buffer], together: FileSystem | None) -> None:
        files: list[TemporaryFile] = []
        incoming: list[Incoming] = []
        try:
            for digest, data in fresh.items():
                size = _size(data)
                if size <= self._inline_bytes_max:
                    incoming.append(Incoming(digest, size, data=bytes(data)))
                else:
                    file = TemporaryFile(self._tmp_name, self.durable and together is None)
                    files.append(file)
                    file.write(data)
                    incoming.append(file.finish(digest, size))
            if together is not None:
                self._sync_together(together)  # the bytes are on disk before a name says that they are
            self._keep(incoming, None, together)
        finally:
            for file in files:
                file.remove()

    def _file_system(self) -> FileSystem:
        try:
            return FileSystem(self.tmp)
        except OSError as reason:
            raise storage_error(self.tmp, reason) from reason

    def _sync_together(self, together: FileSystem) -> None:
        try:
            together.sync()
        except OSError as reason:
            raise storage_error(self.tmp, reason) from reason

    def put_stream(
        self, chunks: Iterable[Buffer], *, durable: bool = True, expect: Ref | None = None, also: Also | None = None
    ) -> Ref:
        with self.writer() as writer:
            for chunk in chunks:
                writer.write(chunk)
            return writer.commit(expect, also)

    def writer(self) -> Writer:
        """A blob in pieces, for a caller who gets them one by one."""
        return Writer(TemporaryFile(self._tmp_name, self.durable), self._inline_bytes_max, self._take)

    def touch(self, digests: Iterable[bytes], also: Also | None = None) -> list[bytes]:
        """Mark them as just used, which keeps them from the next sweep; the answer is those that are not here.

        With `also`, it runs in the same transaction if nothing is missing.
        """
        found, absent, stale = [], [], []
        oldest = self._clock.now_ns() - TOUCH_NS
        for digest in digests:
            row = self._present(digest)
            if row is None:
                absent.append(digest)
                continue
            found.append(digest)
            if row.touched_ns < oldest:
                stale.append(digest)
        if not stale and also is None:
            return absent

        def operation(edit: Edit) -> list[bytes]:
            now, gone = self._clock.now_ns(), []
            for digest in found if also is not None else stale:
                raw = edit.get(self._meta, digest)
                if raw is None:
                    gone.append(digest)
                else:
                    _, size, kind = _row.unpack(raw)
                    edit.put(self._meta, digest, _row.pack(now, size, kind))
            if also is not None and not gone and not absent:
                also(edit, found)
            return gone

        return absent + self.database.update(operation)

    def delete(self, ref: Ref) -> bool:
        digest = digest_of(ref)
        if self._row_of(digest) is None:
            return False
        return self.database.update(lambda edit: self.remove(edit, digest))

    def remove(self, edit: Edit, digest: bytes) -> bool:
        """Delete one blob inside the caller's write transaction."""
        raw = edit.get(self._meta, digest)
        if raw is None:
            return False
        edit.delete(self._meta, digest)
        if _row.unpack(raw)[2] == INLINE:
            edit.delete(self._inline, digest)
        else:
            self.unlink(digest)
        return True

    def unlink(self, digest: bytes) -> bool:
        path = self.path(digest)
        try:
            os.unlink(path)
        except FileNotFoundError:
            return False
        except OSError as reason:
            raise storage_error(path, reason) from reason
        return True

    # --- reading

    def get(self, ref: Ref) -> bytes:
        digest = digest_of(ref)
        data = self.inline_bytes(digest)
        return data if data is not None else self.file_bytes(digest)

    def file_bytes(self, digest: bytes) -> bytes:
        """The bytes of a blob that is not inline."""
        fd, size = self._open(digest)
        try:
            data = os.read(fd, size)
            while len(data) < size:  # one read gives at most 2 GiB
                more = os.read(fd, size - len(data))
                if not more:
                    raise corrupt(ref_of_digest(digest), self.name, f"it ends after {len(data)} of {size} bytes")
                data += more
        except OSError as reason:
            raise unreadable(self.path(digest), reason) from reason
        finally:
            os.close(fd)
        return data

    def open(self, ref: Ref) -> BinaryIO:
        digest = digest_of(ref)
        data = self.inline_bytes(digest)
        if data is not None:
            return as_file(data)
        fd, _ = self._open(digest)
        return os.fdopen(fd, "rb")

    def size(self, ref: Ref) -> int:
        row = self._present(digest_of(ref))
        if row is None:
            raise missing(ref)
        return row.size

    def has(self, ref: Ref) -> bool:
        return self._present(digest_of(ref)) is not None

    def file_path(self, ref: Ref) -> Path | None:
        """The read-only file of a blob, to link to or to send; None if it is inline or not here."""
        digest = digest_of(ref)
        row = self._present(digest)
        return None if row is None or row.inline else Path(self.path(digest))

    def refs(self) -> Iterator[Ref]:
        return (row.ref for row in self.rows())

    def rows(self, after: bytes = b"") -> Iterator[Row]:
        """Every row in order of digests, from many short snapshots; what comes or goes meanwhile may be in it."""
        for digest, raw in self.database.walk(self._meta, after=after):
            touched_ns, size, kind = _row.unpack(raw)
            yield Row(digest, touched_ns, size, kind == INLINE)

    def row(self, digest: bytes, edit: Edit | None = None) -> Row | None:
        """The row of one blob, as of now or as the transaction sees it; it does not look at the file."""
        raw = self._row_of(digest) if edit is None else edit.get(self._meta, digest)
        if raw is None:
            return None
        touched_ns, size, kind = _row.unpack(raw)
        return Row(digest, touched_ns, size, kind == INLINE)

    def path(self, digest: bytes) -> str:
        name = digest.hex()
        return f"{self._prefix}{name[:2]}/{name}"

    def close(self) -> None:
        """Nothing of its own is open, the environment is closed by its owner; from now on every use is refused."""
        self.inline_bytes = self._row_of = self._refuse

    def _refuse(self, digest: bytes) -> bytes | None:
        raise StorageError(f"{self.files} is closed in this process: open it again", path=str(self.files))

    # --- inside

    def _tmp_name(self) -> str:
        return f"{self._tmp_prefix}{next(self._tmp_count)}"

    def _open(self, digest: bytes) -> tuple[int, int]:
        raw = self._row_of(digest)
        if raw is None:
            raise missing(ref_of_digest(digest))
        size: int = _row.unpack(raw)[1]
        path = self.path(digest)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise missing(ref_of_digest(digest)) from None
        except OSError as reason:
            raise unreadable(path, reason) from reason
        found = os.fstat(fd).st_size
        if found != size:
            os.close(fd)
            raise corrupt(ref_of_digest(digest), self.name, f"{found} bytes where {size} were put")
        return fd, size

    def _present(self, digest: bytes) -> Row | None:
        row = self.row(digest)
        if row is None or row.inline:
            return row
        return row if self._file_size(digest) == row.size else None

    def _known(self, digest: bytes, also: Also | None) -> bool:
        """Is it here already, so that a put writes no bytes but at most its row."""
        return self._row_of(digest) is not None and not self.touch((digest,), also)

    def _take(self, ref: Ref, incoming: Callable[[], Incoming], also: Also | None) -> None:
        if not self._known(ref.digest, also):
            self._keep([incoming()], also)

    def _file_size(self, digest: bytes) -> int | None:
        try:
            return os.stat(self.path(digest)).st_size
        except FileNotFoundError:
            return None
        except OSError as reason:
            raise unreadable(self.path(digest), reason) from reason

    def _keep(self, incoming: list[Incoming], also: Also | None, together: FileSystem | None = None) -> None:
        files = [blob for blob in incoming if blob.path]
        for blob in files:
            self._link(blob)
        if files:
            self.wrote_file()
            if together is not None:
                self._sync_together(together)
            elif self.durable:
                for shard in {blob.digest[:1] for blob in files}:
                    _sync_directory(f"{self._prefix}{shard.hex()}")

        def operation(edit: Edit) -> None:
            now = self._clock.now_ns()
            for blob in incoming:
                if not blob.path:
                    edit.put(self._inline, blob.digest, blob.data)
                    edit.put(self._meta, blob.digest, _row.pack(now, blob.size, INLINE))
                    continue
                if self._file_size(blob.digest) != blob.size:
                    self._link(blob)
                    if self.durable:
                        _sync_directory(os.path.dirname(self.path(blob.digest)))
                edit.put(self._meta, blob.digest, _row.pack(now, blob.size, FILE))
            if also is not None:
                also(edit, [blob.digest for blob in incoming])

        self.database.update(operation)

    def _link(self, blob: Incoming) -> None:
        """Give the file its name.  A file of another size under that name is damage, and is replaced."""
        path = self.path(blob.digest)
        shard = os.path.dirname(path)
        try:
            if shard not in self._shards:
                os.makedirs(shard, mode=0o700, exist_ok=True)
                if self.durable:
                    _sync_directory(self._prefix)
                self._shards.add(shard)
            try:
                os.link(blob.path, path)
            except FileExistsError:
                if self._file_size(blob.digest) != blob.size:
                    spare = self._tmp_name()
                    os.link(blob.path, spare)
                    os.replace(spare, path)
        except OSError as reason:
            self._shards.discard(shard)
            raise storage_error(path, reason) from reason


def digest_of(ref: str) -> bytes:
    """The 32 bytes a ref spells; `BadRef` if it is none."""
    try:
        digest = bytes.fromhex(ref[7:])
    except ValueError:
        digest = b""
    # The length of the text is looked at too, because fromhex skips white space.
    if len(digest) != 32 or len(ref) != REF_LENGTH or not ref.startswith(PREFIX):
        return Ref.parse(str(ref)).digest
    return digest


def _size(data: Buffer) -> int:
    return data.nbytes if isinstance(data, memoryview) else len(data)


def _sync_directory(path: str) -> None:
    try:
        sync_directory(path)
    except OSError as reason:
        raise storage_error(path, reason) from reason


def _nothing() -> None:
    pass
