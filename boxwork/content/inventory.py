"""Photos stay where they are: files that are referenced in place, as a read-only store.

`scan` looks through a folder, digests what is new or changed and remembers every file as an *item*: a stable id, its
path, and what the file system said when it was read.  A blob is read out of its file, and never served under its
name once the file is another one: unchanged facts vouch for it (with git's racy-clean rule, see `tree_index`), else
it is hashed again on the way.

Tables, in the durable database because ids and paths cannot be computed again from bytes:
    inventory_folders   folder digest (8 bytes)                  → path
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
import stat
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

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
    put_row,
    refresh_row,
    remove_row,
    remove_rows,
    unreadable_row,
    version_of,
)
from boxwork.content.inventory_walk import glance, walk, wanted
from boxwork.content.store import missing
from boxwork.content.tree_index import facts_of, is_racy
from boxwork.database import Database, Edit
from boxwork.errors import BadInput, BlobMissing, StorageReadOnly
from boxwork.keys import Buffer, Ref, ref_of, ref_of_digest, ref_of_file

__all__ = ["TABLES", "FolderPlace", "Item", "Page", "Seen"]

# Two threads hash (it leaves the interpreter lock to others) while this one walks; a disk is not faster with more.
READERS = 2
# Files waiting to be hashed: enough to keep both threads busy, little to throw away when the caller leaves.
WINDOW = 64
# Items written in one durable transaction, and told together.
BATCH = 64
# Rows of one page at most; a page is one answer to a browser.
PAGE_ITEMS_MAX = 1_000
# Of a noted reason: a line for a person.  Unit: bytes.
REASON_BYTES_MAX = 500
State = Literal["new", "known", "changed", "gone", "unreadable"]
Progress = Callable[[int, int], None]


class Seen(NamedTuple):
    """What a scan says of one file.  `path` is relative to the folder; `ref` is None if it could not be read."""

    path: str
    ref: Ref | None
    state: State
    reason: str = ""
    id: str = ""


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


class FolderPlace:
    """The files of scanned folders as a store to read from.  Safe from many threads and processes."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._item = database.getter(ITEMS)
        self._folder = database.getter(FOLDERS)
        self._version = database.getter(VERSION)
        self._fault = database.getter(FAULTS)

    # --- looking through a folder

    def scan(
        self,
        directory: str | os.PathLike[str],
        *,
        suffixes: Sequence[str] = (),
        follow: bool = False,
        progress: Progress | None = None,
    ) -> Iterator[Seen]:
        """Take in what is new or changed, forget what is gone; one `Seen` for every file, as soon as it is known.

        suffixes   only names that end so, upper or lower case (`[".jpg", ".png"]`); none means all
        follow     go through symbolic links; a link that leads back to where it lies is told as unreadable
        progress   called with (files looked at, bytes hashed)

        Names that begin with a dot are passed over.  A file that cannot be read is told with the reason and the
        scan goes on; raises `BadInput` only if the folder itself cannot be listed, and then forgets nothing.
        """
        root = os.fsencode(os.path.realpath(directory))
        try:
            os.scandir(root).close()
        except OSError as reason:
            raise BadInput(
                f"{os.fsdecode(root)} cannot be listed: {reason.strerror}; check the path and its permissions",
                path=os.fsdecode(root),
            ) from reason
        folder = folder_key(root)
        if self._folder(folder) != root:
            self._database.update(lambda edit: edit.put(FOLDERS, folder, root))
        return self._scan(root, folder, tuple(suffix.lower().encode() for suffix in suffixes), follow, progress)

    def glance(
        self, directory: str | os.PathLike[str], *, suffixes: Sequence[str] = (), follow: bool = False
    ) -> int | None:
        """A number that stays the same while a scan would find nothing; None if only a scan can tell.

        For whoever watches a folder: take it before a scan, and scan again when it is another one, or None.
        """
        root = os.fsencode(os.path.realpath(directory))
        ends = tuple(suffix.lower().encode() for suffix in suffixes)
        return glance(root, ends, follow, self._clock.now_ns())

    def _scan(
        self, root: bytes, folder: bytes, suffixes: tuple[bytes, ...], follow: bool, progress: Progress | None
    ) -> Iterator[Seen]:
        seen: set[bytes] = set()
        closed: list[bytes] = []  # directories that could not be listed: what lies there is not gone
        batch: list[tuple[State, Row]] = []
        running: deque[Future[tuple[State, Row]]] = deque()
        hidden = dict(self._database.walk(HIDDEN, folder))
        files = hashed = 0
        with contextlib.ExitStack() as stack:
            pool = ThreadPoolExecutor(READERS, "boxwork-inventory")
            stack.callback(pool.shutdown, wait=True, cancel_futures=True)

            def settle(limit: int) -> Iterator[Seen]:
                nonlocal hashed
                while len(running) > limit:
                    state, row = running.popleft().result()
                    hashed += row.size
                    batch.append((state, row))
                    if len(batch) >= BATCH:
                        yield from self._write(folder, batch)

            for path, status, problem in walk(root, suffixes, follow):
                if status is None and problem.startswith("directory: "):
                    closed.append(path + b"/" if path else b"")
                    yield Seen(os.fsdecode(path), None, "unreadable", problem)
                    continue
                files += 1
                key = item_key(folder, path)
                seen.add(key)
                if key in hidden:
                    continue
                raw = self._item(key)
                known = decode(raw) if raw is not None else None
                if status is None:
                    batch.append(("unreadable", Row(path, b"", 0, 0, 0, 0, 0, True, problem)))
                elif known is not None and known.digest and known.is_still(facts_of(status)):
                    yield Seen(os.fsdecode(path), ref_of_digest(known.digest), "known", "", item_id(key).hex())
                else:
                    running.append(pool.submit(self._digest, root, path, known))
                yield from settle(WINDOW)
                if len(batch) >= BATCH:
                    yield from self._write(folder, batch)
                if progress is not None and files % BATCH == 0:
                    progress(files, hashed)
            yield from settle(0)
            yield from self._write(folder, batch)
            yield from self._forget(folder, seen, closed, suffixes)
            if left := [key for key, path in hidden.items() if key not in seen and wanted(path, suffixes)]:
                self._database.update(lambda edit: [edit.delete(HIDDEN, key) for key in left])
            if progress is not None:
                progress(files, hashed)

    def _digest(self, root: bytes, path: bytes, known: Row | None) -> tuple[State, Row]:
        """Read one file, in a thread.  A file that changes meanwhile is racy: the next look reads it again."""
        read_at_ns = self._clock.now_ns()
        try:
            with open(os.open(root + b"/" + path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
                before = os.fstat(file.fileno())
                if not stat.S_ISREG(before.st_mode):
                    return "unreadable", unreadable_row(path, "no regular file any more")
                digest = ref_of_file(file).digest
                after = os.fstat(file.fileno())
        except OSError as reason:
            return "unreadable", unreadable_row(path, reason.strerror or str(reason))
        facts = facts_of(after)
        if facts != facts_of(before):
            return "unreadable", unreadable_row(path, "it changed while it was read; the next scan tries again")
        row = Row(path, digest, *facts, is_racy(facts.mtime_ns, facts.ctime_ns, read_at_ns), "")
        if known is None or not known.digest:
            return "new", row
        return "known" if known.digest == digest else "changed", row

    def _write(self, folder: bytes, batch: list[tuple[State, Row]]) -> Iterator[Seen]:
        """Remember a batch, then tell it: who hears of a ref can read it."""
        rows, batch[:] = batch[:], []
        if not rows:
            return

        def write(edit: Edit) -> None:
            for _, row in rows:
                put_row(edit, item_key(folder, row.path), row)

        self._database.update(write)
        for state, row in rows:
            ref = ref_of_digest(row.digest) if row.digest else None
            yield Seen(os.fsdecode(row.path), ref, state, row.reason, item_id(item_key(folder, row.path)).hex())

    def _forget(
        self, folder: bytes, seen: set[bytes], closed: list[bytes], suffixes: tuple[bytes, ...]
    ) -> Iterator[Seen]:
        gone: list[tuple[bytes, Row]] = []
        for key, raw in self._database.walk(ITEMS, folder):
            if key not in seen:
                row = decode(raw)
                if wanted(row.path, suffixes) and not row.path.startswith(tuple(closed)):
                    gone.append((key, row))
        for start in range(0, len(gone), BATCH):
            part = gone[start : start + BATCH]
            self._database.update(functools.partial(remove_rows, [key for key, _ in part]))
            for key, row in part:
                ref = ref_of_digest(row.digest) if row.digest else None
                yield Seen(os.fsdecode(row.path), ref, "gone", "", item_id(key).hex())

    def forget(self, directory: str | os.PathLike[str]) -> int:
        """Take a folder out of the inventory; its files stay where they are.  How many items it had."""
        folder = folder_key(os.fsencode(os.path.realpath(directory)))
        count = sum(1 for _ in self._forget(folder, set(), [], ()))
        hidden = [key for key, _ in self._database.walk(HIDDEN, folder)]

        def remove(edit: Edit) -> None:
            edit.delete(FOLDERS, folder)
            for key in hidden:
                edit.delete(HIDDEN, key)

        self._database.update(remove)
        return count

    def take(self, directory: str | os.PathLike[str], path: str) -> Seen:
        """Take in one file of a folder, as a scan does; also one that was hidden.  `path` is relative to the folder."""
        root, name = os.fsencode(os.path.realpath(directory)), os.fsencode(path)
        folder = folder_key(root)
        key = item_key(folder, name)
        raw = self._item(key)
        state, row = self._digest(root, name, None if raw is None else decode(raw))

        def write(edit: Edit) -> None:
            edit.put(FOLDERS, folder, root)
            edit.delete(HIDDEN, key)

        self._database.update(write)
        return next(self._write(folder, [(state, row)]))

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
        digest, text = ref.digest, reason.encode()[:REASON_BYTES_MAX]
        if (self._fault(digest) or b"") == text:
            return

        def write(edit: Edit) -> None:
            bump(edit)
            edit.put(FAULTS, digest, text) if text else edit.delete(FAULTS, digest)

        self._database.update(write)

    # --- listing

    def folders(self) -> list[Path]:
        """Every folder that was scanned."""
        return sorted(Path(os.fsdecode(path)) for _, path in self._database.walk(FOLDERS))

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
        prefix = folder_key(os.fsencode(os.path.realpath(folder))) if folder else b""
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
        """Where the files lie that had these bytes when they were last looked at."""
        return [Path(os.fsdecode(path)) for path, _, _ in self._candidates(ref)]

    # --- as a store

    def get(self, ref: Ref) -> bytes:
        """All bytes.  Raises `BlobMissing` if no file has them any more, with what became of the last one."""
        with self.open(ref) as file:
            before = facts_of(os.fstat(file.fileno()))
            data = file.read()
            if facts_of(os.fstat(file.fileno())) != before and ref_of(data) != ref:
                raise _left(ref, os.fspath(file.name), "it changed while it was read")
        return data

    def open(self, ref: Ref) -> BinaryIO:
        """The file itself, verified when it is opened.  Who writes to it in place meanwhile is seen by the reader."""
        problem = None
        for path, key, row in self._candidates(ref):
            try:
                file = os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb")
            except OSError as reason:
                problem = problem or _left(ref, os.fsdecode(path), reason.strerror or str(reason))
                continue
            try:
                if self._is_good(file, ref, key, row):
                    return file
            except OSError as reason:
                problem = problem or _left(ref, os.fsdecode(path), reason.strerror or str(reason))
            else:
                problem = problem or _left(ref, os.fsdecode(path), "the file has other bytes now")
            file.close()
        raise problem or missing(ref)

    def _is_good(self, file: BinaryIO, ref: Ref, key: bytes, row: Row) -> bool:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            return False
        if row.is_still(facts_of(status)):
            return True
        if status.st_size != row.size:
            return False
        read_at_ns = self._clock.now_ns()
        if ref_of_file(file) != ref:
            return False
        file.seek(0)
        facts = facts_of(status)
        if facts_of(os.fstat(file.fileno())) == facts:
            racy = is_racy(facts.mtime_ns, facts.ctime_ns, read_at_ns)
            fresh = Row(row.path, row.digest, *facts, racy, "")
            if fresh != row:
                self._database.update(lambda edit: refresh_row(edit, key, row, fresh))
        return True

    def size(self, ref: Ref) -> int:
        with self.open(ref) as file:
            return os.fstat(file.fileno()).st_size

    def has(self, ref: Ref) -> bool:
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
        """The database is closed by its owner."""

    def _candidates(self, ref: Ref) -> list[tuple[bytes, bytes, Row]]:
        digest = Ref.parse(str(ref)).digest
        found = []
        with self._database.view() as view:
            for ref_key, _ in view.scan(REFS, digest):
                key = view.get(IDS, ref_key[32:])
                raw = None if key is None else view.get(ITEMS, key)
                root = None if key is None else view.get(FOLDERS, key[:8])
                if key is not None and raw is not None and root is not None:
                    row = decode(raw)
                    found.append((root + b"/" + row.path, key, row))
        return found


def _left(ref: Ref, path: str, why: str) -> BlobMissing:
    return BlobMissing(
        f"{ref} was {path!r}: {why}; scan its folder again, or bring the file back", ref=str(ref), path=path
    )


def _read_only() -> StorageReadOnly:
    return StorageReadOnly("files in place are only read: put to the content store instead")
