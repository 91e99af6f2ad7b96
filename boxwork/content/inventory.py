"""Photos stay where they are: files that are referenced in place, as a read-only store.

`scan` looks through a source (a folder, a bucket, a collection: `sources`), digests what is new or changed and
remembers everything in it as an *item*: a stable id, its path, and what the source said when it was read.  A blob is
read out of its file, and never served under its name once the file is another one: unchanged facts vouch for it
(with git's racy-clean rule, see `tree_index`), else it is hashed again on the way; what comes over the network is
always hashed.

Tables, in the durable database because ids and paths cannot be computed again from bytes:
    inventory_folders   folder digest (8 bytes)                  → path, or the address of a source
    inventory_items     folder digest, relative path             → item: the order in which items are listed
    inventory_ids       item id (16 bytes)                       → key of the item
    inventory_refs      digest, item id                          → nothing
    inventory_version   "items"                                  → how often a list of the items has changed
    inventory_hidden    folder digest, relative path             → relative path, of what was taken out by hand
    inventory_faults    digest                                   → why these bytes could not be used
"""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from boxwork.clock import Clock
from boxwork.content.inventory_rows import (
    FAULTS,
    FOLDERS,
    HIDDEN,
    IDS,
    ITEMS,
    PATH_KEY_BYTES_MAX,
    REFS,
    TABLES,
    VERSION,
    VERSION_KEY,
    Row,
    bump,
    decode,
    folder_key,
    item_id,
    item_key,
    refresh_row,
    remove_row,
    version_of,
)
from boxwork.content.inventory_scan import Progress, Scan, Seen, forget, read, write
from boxwork.content.sources.recent import Recent
from boxwork.content.sources.source import Look, Source, address_of, is_address, left, open_source
from boxwork.content.store import missing
from boxwork.content.tree_index import facts_of
from boxwork.database import Database, Edit
from boxwork.errors import BadInput, BlobMissing, StorageError, StorageReadOnly
from boxwork.keys import Buffer, Ref, ref_of, ref_of_digest

__all__ = ["TABLES", "Inventory", "Item", "Page", "Seen"]

# Rows of one page at most; a page is one answer to a browser.
PAGE_ITEMS_MAX = 1_000
# Of a noted reason: a line for a person.  Unit: bytes.
REASON_BYTES_MAX = 500


class Item(NamedTuple):
    """One file of the inventory.  `name` is the path as people may read it, `path` as the system wants it.

    `reason` says why it cannot be shown: without a `ref` it could not be read, with one its bytes could not be used.
    """

    id: str
    folder: str
    path: str
    ref: Ref | None
    size: int
    mtime_ns: int
    reason: str

    @property
    def name(self) -> str:
        return self.path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


class Page(NamedTuple):
    """Some items in order; `next` is the cursor of those that follow, empty at the end."""

    items: list[Item]
    next: str


class Inventory:
    """The items of scanned sources as a store to read from.  Safe from many threads and processes."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._item = database.getter(ITEMS)
        self._folder = database.getter(FOLDERS)
        self._version = database.getter(VERSION)
        self._fault = database.getter(FAULTS)
        self._recent = Recent()
        self._sources: dict[bytes, Source] = {}
        self._lock = threading.Lock()

    # --- looking through a source

    def scan(
        self,
        source: str | os.PathLike[str],
        *,
        suffixes: Sequence[str] = (),
        follow: bool = False,
        progress: Progress | None = None,
        within: Sequence[bytes] = (),
    ) -> Iterator[Seen]:
        """Take in what is new or changed, forget what is gone; one `Seen` for every file, as soon as it is known.

        source     a folder, or an address: s3://bucket/prefix, mongodb://host/database.collection?field=photo
        suffixes   only names that end so, upper or lower case (`[".jpg", ".png"]`); none means all
        follow     go through symbolic links; a link that leads back to where it lies is told as unreadable
        progress   called with (files looked at, bytes hashed)
        within     only these parts of it, as `look` named them

        Names that begin with a dot are passed over.  A file that cannot be read is told with the reason and the
        scan goes on; raises `BadInput` only if the source itself cannot be listed, `StorageError` if it does not
        answer, and then forgets nothing.
        """
        root = _root(source)
        opened = self._source(root)
        opened.check()
        folder = folder_key(root)
        if self._folder(folder) != root:
            self._database.update(lambda edit: edit.put(FOLDERS, folder, root))
        ends = tuple(suffix.lower().encode() for suffix in suffixes)
        return Scan(self._database, opened, folder, ends, follow, tuple(within)).run(progress)

    def expected(
        self, source: str | os.PathLike[str], *, suffixes: Sequence[str] = (), follow: bool = False
    ) -> Iterator[int]:
        """How many items a scan will come by, for who shows how far it is: more and more, the last is all of them.

        It lists the source by itself (of a collection, it asks the server); raises what `scan` raises.
        """
        ends = tuple(suffix.lower().encode() for suffix in suffixes)
        return self._source(_root(source)).count(ends, follow)

    def look(
        self, source: str | os.PathLike[str], mark: object = None, *, suffixes: Sequence[str] = (), follow: bool = False
    ) -> Look:
        """Whether a scan would find something since the look that gave `mark`, for less than a scan costs.

        For whoever watches a source: take the first mark before a scan, so that nothing falls between the two.
        """
        ends = tuple(suffix.lower().encode() for suffix in suffixes)
        return self._source(_root(source)).look(mark, ends, follow)

    def looks_are_cheap(self, source: str | os.PathLike[str]) -> bool:
        """May `look` be called every few seconds, or does it list the whole source over the network."""
        return self._source(_root(source)).looks_are_cheap

    def _source(self, root: bytes) -> Source:
        with self._lock:
            found = self._sources.get(root)
            if found is None:
                found = self._sources[root] = open_source(os.fsdecode(root), self._clock, self._recent)
            return found

    def forget(self, source: str | os.PathLike[str]) -> int:
        """Take a source out of the inventory; what is in it stays where it is.  How many items it had."""
        folder = folder_key(_root(source))
        count = sum(1 for _ in forget(self._database, folder))
        hidden = [key for key, _ in self._database.walk(HIDDEN, folder)]

        def remove(edit: Edit) -> None:
            edit.delete(FOLDERS, folder)
            for key in hidden:
                edit.delete(HIDDEN, key)

        self._database.update(remove)
        return count

    def take(self, source: str | os.PathLike[str], path: str) -> Seen:
        """Take in one file of a source, as a scan does; also one that was hidden.  `path` is as items have it."""
        root, name = _root(source), os.fsencode(path)
        folder = folder_key(root)
        key = item_key(folder, name)
        raw = self._item(key)
        change = read(self._source(root), name, None if raw is None else decode(raw))

        def show(edit: Edit) -> None:
            edit.put(FOLDERS, folder, root)
            edit.delete(HIDDEN, key)

        self._database.update(show)
        return next(write(self._database, folder, [change]))

    def hide(self, identity: str) -> Item | None:
        """Take one item out; its file stays where it is, and scans pass it over until `take` or `forget`."""
        item = self.item(identity)
        if item is not None:
            path = os.fsencode(item.path)
            key = item_key(folder_key(os.fsencode(item.folder)), path)

            def remove(edit: Edit) -> None:
                remove_row(edit, key)
                edit.put(HIDDEN, key, path)

            self._database.update(remove)
        return item

    def note(self, ref: Ref, reason: str) -> None:
        """Remember why bytes that can be read cannot be used, a picture that is broken; "" when they can after all.

        Only lists show it: whoever asks for the picture is answered by trying again.
        """
        self.note_all({ref: reason})

    def note_all(self, reasons: Mapping[Ref, str]) -> None:
        """The same of several, as one change."""
        texts = {ref.digest: reason.encode()[:REASON_BYTES_MAX] for ref, reason in reasons.items()}
        changed = {digest: text for digest, text in texts.items() if (self._fault(digest) or b"") != text}
        if not changed:
            return

        def write(edit: Edit) -> None:
            bump(edit)
            for digest, text in changed.items():
                edit.put(FAULTS, digest, text) if text else edit.delete(FAULTS, digest)

        self._database.update(write)

    # --- listing

    def sources(self) -> list[str]:
        """The address of every source that was scanned; of a folder that is its path."""
        return sorted(os.fsdecode(address) for _, address in self._database.walk(FOLDERS))

    def folders(self) -> list[Path]:
        """Those of them that are folders of this machine."""
        return [Path(address) for address in self.sources() if not is_address(address)]

    def count(self) -> int:
        """How many items there are, unreadable ones included."""
        return self._database.count(ITEMS)

    def version(self) -> int:
        """Another number whenever `items` would answer differently, by whichever process; it takes 2 us to ask."""
        return version_of(self._version(VERSION_KEY))

    def item(self, identity: str) -> Item | None:
        """The item with this id."""
        try:
            key = self._database.get(IDS, bytes.fromhex(identity)) if len(identity) == 32 else None
        except ValueError:
            key = None
        raw = None if key is None else self._item(key)
        return None if key is None or raw is None else self._as_item(key, decode(raw))

    def items(
        self, *, after: str = "", limit: int = 100, contains: str = "", folder: str = "", faulty: bool = False
    ) -> Page:
        """A page of items in order of folder and path: those after the cursor, and whose path contains the text.

        Upper and lower case are the same.  `faulty` wants only what has a reason not to be shown.  A cursor stays
        good while items come and go.
        """
        try:
            start = bytes.fromhex(after)
        except ValueError:
            raise BadInput(f"{after[:40]!r} is no cursor: pass `next` of the page before") from None
        prefix = folder_key(_root(folder)) if folder else b""
        needle = contains.casefold()
        limit = max(1, min(limit, PAGE_ITEMS_MAX))
        found: list[Item] = []
        last = b""
        for key, raw in self._database.walk(ITEMS, prefix, after=start):
            if len(found) == limit:
                return Page(found, last.hex())
            if needle:
                path = key[8:] if len(key) < PATH_KEY_BYTES_MAX else decode(raw).path
                if needle not in path.decode("utf-8", "replace").casefold():
                    continue
            item = self._as_item(key, decode(raw))
            if faulty and not item.reason:
                continue
            found.append(item)
            last = key
        return Page(found, "")

    def _as_item(self, key: bytes, row: Row) -> Item:
        root = self._folder(key[:8]) or b""
        ref = ref_of_digest(row.digest) if row.digest else None
        reason = row.reason or (self._fault(row.digest) or b"").decode("utf-8", "replace")
        return Item(item_id(key).hex(), os.fsdecode(root), os.fsdecode(row.path), ref, row.size, row.mtime_ns, reason)

    def paths(self, ref: Ref) -> list[Path]:
        """Where the files lie that had these bytes when they were last looked at; those of folders."""
        return [
            Path(os.fsdecode(root + b"/" + row.path))
            for root, _, row in self._candidates(ref)
            if not is_address(os.fsdecode(root))
        ]

    # --- as a store

    def get(self, ref: Ref) -> bytes:
        """All bytes.  Raises `BlobMissing` if nothing has them any more, with what became of the last one."""
        with self.open(ref) as file:
            number = _number_of(file)
            before = None if number is None else facts_of(os.fstat(number))
            data = file.read()
            if number is not None and facts_of(os.fstat(number)) != before and ref_of(data) != ref:
                raise left(ref, os.fspath(file.name), "it changed while it was read")
        return data

    def open(self, ref: Ref) -> BinaryIO:
        """The file itself, verified when it is opened.  Who writes to it in place meanwhile is seen by the reader."""
        problem: BlobMissing | StorageError | BadInput | None = None
        for root, key, row in self._candidates(ref):
            try:
                file, fresh = self._source(root).open(row, ref)
            except (BlobMissing, StorageError, BadInput) as reason:
                problem = problem or reason
                continue
            if fresh != row:
                self._database.update(functools.partial(refresh_row, key=key, expected=row, fresh=fresh))
            return file
        if isinstance(problem, BadInput):  # of the source, not of who asks for the picture
            raise StorageError(problem.message, **problem.details) from problem
        raise problem or missing(ref)

    def size(self, ref: Ref) -> int:
        """How many bytes.  What lies elsewhere is not asked: the same bytes have the same number of them."""
        for root, _, row in self._candidates(ref):
            if is_address(os.fsdecode(root)):
                return row.size
        with self.open(ref) as file:
            return file.seek(0, os.SEEK_END)

    def has(self, ref: Ref) -> bool:
        """Is it here; what lies elsewhere was there when it was last looked at."""
        if any(is_address(os.fsdecode(root)) for root, _, _ in self._candidates(ref)):
            return True
        with contextlib.suppress(BlobMissing), self.open(ref):
            return True
        return False

    def refs(self) -> Iterator[Ref]:
        last = b""
        for key, _ in self._database.walk(REFS):
            if key[:32] != last:
                last = key[:32]
                yield ref_of_digest(last)

    def put(self, data: Buffer, *, durable: bool = True) -> Ref:
        raise _read_only()

    def put_stream(self, chunks: Iterable[Buffer], *, durable: bool = True, expect: Ref | None = None) -> Ref:
        raise _read_only()

    def delete(self, ref: Ref) -> bool:
        """False for what is not here; files in place are not ours to delete."""
        if not self._candidates(ref):
            return False
        raise _read_only()

    def close(self) -> None:
        """Let go of the connections to sources; the database is closed by its owner."""
        with self._lock:
            sources, self._sources = self._sources, {}
        for source in sources.values():
            source.close()

    def _candidates(self, ref: Ref) -> list[tuple[bytes, bytes, Row]]:
        """(address, key, row) of every item that had these bytes, files of this machine first."""
        digest = Ref.parse(str(ref)).digest
        found = []
        with self._database.view() as view:
            for ref_key, _ in view.scan(REFS, digest):
                key = view.get(IDS, ref_key[32:])
                raw = None if key is None else view.get(ITEMS, key)
                root = None if key is None else view.get(FOLDERS, key[:8])
                if key is not None and raw is not None and root is not None:
                    found.append((root, key, decode(raw)))
        return sorted(found, key=lambda one: is_address(os.fsdecode(one[0])))


def _root(source: str | os.PathLike[str]) -> bytes:
    return os.fsencode(address_of(source))


def _number_of(file: BinaryIO) -> int | None:
    """The descriptor of a file on disk; None for one in memory."""
    try:
        return file.fileno()
    except OSError:
        return None


def _read_only() -> StorageReadOnly:
    return StorageReadOnly("files in place are only read: put to the content store instead")
