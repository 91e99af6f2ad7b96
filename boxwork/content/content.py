"""The bytes of one data directory: a durable class, a cache class, pins, and further places behind them.

`durable` is for what nobody could bring back: it is synced before a put returns.  `cache` is for what can be
computed again: it is not synced, survives `kill -9`, and is dropped after a power cut.  A read asks durable, then
cache, then the added places in the order they came.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeAlias, TypeVar

from boxwork.clock import Clock, monotonic_ns
from boxwork.content.places.disk import TMP_PREFIX, DiskPlace, Getter, digest_of
from boxwork.content.places.incoming import Also, Writer
from boxwork.content.places.session import Session
from boxwork.content.store import Store, missing
from boxwork.database import Database, Edit
from boxwork.errors import BadInput, BlobCorrupt, BlobMissing, StorageError
from boxwork.keys import Buffer, Ref, ref_of_digest
from boxwork.settings import GiB, KiB, MiB, Setting, Settings

SETTINGS = (
    Setting(
        "content.inline_bytes_max",
        32 * KiB,
        "bytes",
        "blobs up to this size lie in LMDB: a group of durable puts costs 68 us each instead of 440 us, a get 2.4 us"
        " instead of 7; above 64 KiB files are as fast, and can be sent and linked (bench/put_get.py)",
    ),
    Setting(
        "content.gc_grace_s",
        14 * 24 * 3600,
        "s",
        "how long a blob stays that nothing refers to any more: two weeks forgive a mistake and a holiday",
    ),
    Setting(
        "content.cache_bytes_max",
        20 * GiB,
        "bytes",
        "quota of the cache class; what was cheapest to compute per byte and longest unused goes first",
    ),
    Setting(
        "inventory.rescan_s",
        5.0,
        "s",
        "how often `boxwork up` looks whether its folders have changed; longer by itself when a look takes long;"
        " 0 does not look",
    ),
    Setting(
        "inventory.rescan_remote_s",
        60.0,
        "s",
        "the same for what has to be listed over the network: buckets, and collections without change streams;"
        " 100,000 objects are 100 requests a look, which some providers charge for",
    ),
)

# LMDB's longest key is 511 bytes; some are left for the layers above.  Unit: bytes of UTF-8.
PIN_NAME_BYTES_MAX = 400

DURABLE_TABLES = ("blobs", "bytes", "pins")
CACHE_TABLES = ("blobs", "bytes")

T = TypeVar("T")

Root: TypeAlias = tuple[str, Ref]  # why it stays, and what stays
RootProvider: TypeAlias = Callable[[], Iterable[Root]]
Follower: TypeAlias = Callable[[Ref], Iterable[Ref]]


class Recorder(Protocol):
    """The part of `pulse.Pulse` that is needed here."""

    def series(self, name: str, /, **labels: Any) -> Any: ...


class Content:
    """Opens `root`/durable and `root`/cache, their files under `root`/blobs, and `root`/tmp and `root`/run.

    Safe from many threads and many processes.  `durable_tables` and `cache_tables` are tables of the layers above.
    """

    def __init__(
        self,
        root: Path,
        settings: Settings,
        clock: Clock,
        pulse: Recorder | None = None,
        *,
        durable_tables: Sequence[str] = (),
        cache_tables: Sequence[str] = (),
    ) -> None:
        self.root = root
        self.settings = settings
        self.clock = clock
        self._session = Session(root, (root / "cache", root / "blobs" / "cache"), TMP_PREFIX)
        map_bytes = settings.integer("database.map_bytes")
        inline = settings.integer("content.inline_bytes_max")
        self._opened: list[Database] = []
        self.places: list[Store] = []
        try:
            self.durable_db = self._open(root / "durable", (*DURABLE_TABLES, *durable_tables), True, map_bytes)
            self.cache_db = self._open(root / "cache", (*CACHE_TABLES, *cache_tables), False, map_bytes)
            self.durable = DiskPlace(
                root / "blobs" / "durable",
                root / "tmp",
                self.durable_db,
                clock,
                name="durable",
                durable=True,
                inline_bytes_max=inline,
            )
            self.cache = DiskPlace(
                root / "blobs" / "cache",
                root / "tmp",
                self.cache_db,
                clock,
                name="cache",
                durable=False,
                inline_bytes_max=inline,
            )
        except BaseException:
            self.close()
            raise
        self.cache.wrote_file = self._session.wrote_file
        self.places += [self.durable, self.cache]
        self._durable_inline: Getter = self.durable.inline_bytes
        self._cache_inline: Getter = self.cache.inline_bytes
        self._record_get = _recorder(pulse, "store.get")
        self._record_put = _recorder(pulse, "store.put")
        self.root_providers: list[RootProvider] = [self._pinned]
        self.followers: list[Follower] = []
        self._closing = threading.Lock()

    def _open(self, path: Path, tables: Sequence[str], durable: bool, map_bytes: int) -> Database:
        database = Database(path, tables, durable=durable, map_bytes=map_bytes)
        self._opened.append(database)
        return database

    @property
    def cache_was_dropped(self) -> bool:
        """Did the machine go down without closing, so that the cache started empty."""
        return self._session.dropped

    # --- writing

    def put(self, data: Buffer, *, durable: bool = True, pin: str | None = None) -> Ref:
        """Keep `data`; with `pin` it is kept and pinned in one transaction.  A pinned blob is durable."""
        start = monotonic_ns()
        if pin is not None:
            ref = self.durable.put(data, also=_pin_as(pin))
        else:
            ref = (self.durable if durable else self.cache).put(data)
        self._record_put(monotonic_ns() - start)
        return ref

    def put_many(self, blobs: Sequence[Buffer], *, durable: bool = True) -> list[Ref]:
        """Keep all of them with one commit; all or none become visible."""
        start = monotonic_ns()
        refs = (self.durable if durable else self.cache).put_many(blobs)
        self._record_put(monotonic_ns() - start)
        return refs

    def put_stream(
        self, chunks: Iterable[Buffer], *, durable: bool = True, expect: Ref | None = None, pin: str | None = None
    ) -> Ref:
        """As `Store.put_stream`; `pin` as in `put`."""
        start = monotonic_ns()
        if pin is not None:
            ref = self.durable.put_stream(chunks, expect=expect, also=_pin_as(pin))
        else:
            ref = (self.durable if durable else self.cache).put_stream(chunks, expect=expect)
        self._record_put(monotonic_ns() - start)
        return ref

    def writer(self) -> Writer:
        """A durable blob in pieces, for a caller who gets them one by one; the caller closes it."""
        return self.durable.writer()

    def keep(self, ref: Ref) -> None:
        """Make what may be only in the cache, or in a file of somebody else's, durable.  Raises `BlobMissing`."""
        if self.durable.touch((ref.digest,)):
            with self.open(ref) as file:
                self.durable.put_stream(iter(lambda: file.read(MiB), b""), expect=ref)

    def touch(self, refs: Iterable[Ref]) -> list[Ref]:
        """Say that these are in use, which keeps them from a sweep that runs now; the answer: those not here."""
        absent = self.durable.touch(map(digest_of, refs))
        if absent:
            absent = self.cache.touch(absent)
        return [ref for ref in map(ref_of_digest, absent) if not any(place.has(ref) for place in self.places[2:])]

    def delete(self, ref: Ref) -> bool:
        """Forget the bytes in both classes at once, whatever refers to them.  For erasure; else let `gc` decide."""
        return any([self.durable.delete(ref), self.cache.delete(ref)])

    # --- reading

    def get(self, ref: Ref) -> bytes:
        """All bytes."""
        start = monotonic_ns()
        digest = digest_of(ref)
        data = self._durable_inline(digest)
        if data is None:
            data = self._cache_inline(digest)
            if data is None:
                data = self._first(ref, lambda place: place.get(ref))
        self._record_get(monotonic_ns() - start)
        return data

    def open(self, ref: Ref) -> BinaryIO:
        """A real file where the blob is one; it stays readable after the blob was deleted."""
        return self._first(ref, lambda place: place.open(ref))

    def size(self, ref: Ref) -> int:
        return self._first(ref, lambda place: place.size(ref))

    def has(self, ref: Ref) -> bool:
        return any(place.has(ref) for place in self.places)

    def file_path(self, ref: Ref) -> Path | None:
        """The read-only file that holds the blob, to link to or to send; None if it is inline or elsewhere."""
        return self.durable.file_path(ref) or self.cache.file_path(ref)

    def refs(self) -> Iterator[Ref]:
        """Every name in the two classes; what is in both comes twice."""
        for place in (self.durable, self.cache):
            yield from place.refs()

    def _first(self, ref: Ref, read: Callable[[Store], T]) -> T:
        """What the first place answers that can.  A place that fails does not hide the next one."""
        failure: BlobCorrupt | StorageError | None = None
        for place in self.places:
            try:
                return read(place)
            except BlobMissing:
                continue
            except (BlobCorrupt, StorageError) as error:
                failure = failure or error
        raise failure or missing(ref)

    # --- pins

    def pin(self, ref: Ref, name: str) -> None:
        """Keep `ref` under `name` until `unpin`; a name that stood for another blob moves.

        What is only in the cache becomes durable.  Raises `BlobMissing` if it is nowhere.
        """
        also, digest = _pin_as(name), digest_of(ref)
        if not self.durable.touch((digest,), also):
            return
        if self.cache.has(ref):
            with self.cache.open(ref) as file:
                self.durable.put_stream(iter(lambda: file.read(MiB), b""), expect=ref, also=also)
        elif any(place.has(ref) for place in self.places[2:]):
            self.durable_db.update(lambda edit: also(edit, [digest]))
        else:
            raise missing(ref)

    def unpin(self, name: str) -> bool:
        """Forget the name; False if there was none.  The bytes go with a later `gc`."""
        key = _pin_key(name)
        return self.durable_db.update(lambda edit: edit.delete("pins", key))

    def pinned(self, name: str) -> Ref | None:
        """What stands under this name."""
        digest = self.durable_db.get("pins", _pin_key(name))
        return None if digest is None else ref_of_digest(digest)

    def pins(self, prefix: str = "") -> Iterator[tuple[str, Ref]]:
        """(name, ref) in order of names."""
        for key, digest in self.durable_db.walk("pins", prefix.encode()):
            yield key.decode(), ref_of_digest(digest)

    # --- what stays

    def add_place(self, store: Store) -> None:
        """A further place to read from.  It is never written to, swept or evicted, and closed by its owner."""
        self.places.append(store)

    def add_roots(self, provider: RootProvider) -> None:
        """`provider()` yields (why, ref) for what a sweep must keep.  It is called while others write."""
        self.root_providers.append(provider)

    def add_follower(self, follow: Follower) -> None:
        """`follow(ref)` yields the refs inside a blob that is kept (a tree's entries); none if it is not its kind."""
        self.followers.append(follow)

    def _pinned(self) -> Iterator[Root]:
        return ((f"pin {name}", ref) for name, ref in self.pins())

    # --- the end

    def close(self) -> None:
        """Close the environments; twice is once.  Nobody may be reading or writing any more."""
        opened, self._opened = self._opened, []
        self._session.close(opened[-1].sync if opened else lambda: None)
        self._let_go(opened)

    def close_in_child(self) -> None:
        """After a fork, in the child: let go of everything without touching what is the parent's."""
        opened, self._opened = self._opened, []
        self._session.close_in_child()
        self._let_go(opened)

    def _let_go(self, opened: list[Database]) -> None:
        for place in self.places[:2]:
            place.close()
        self._durable_inline = self._cache_inline = self._refuse
        for database in opened:
            database.close()

    def _refuse(self, digest: bytes) -> bytes | None:
        raise StorageError(f"{self.root} is closed in this process: open it again", path=str(self.root))


def _pin_key(name: str) -> bytes:
    key = name.encode()
    if not 0 < len(key) <= PIN_NAME_BYTES_MAX:
        raise BadInput(
            f"the pin name {name[:40]!r} has {len(key)} bytes: give it 1 to {PIN_NAME_BYTES_MAX}", name=name[:80]
        )
    return key


def _pin_as(name: str) -> Also:
    key = _pin_key(name)

    def also(edit: Edit, digests: list[bytes]) -> None:
        edit.put("pins", key, digests[0])

    return also


def _recorder(pulse: Recorder | None, hop: str) -> Callable[[int], Any]:
    return _ignore if pulse is None else pulse.series(hop, place="disk").record


def _ignore(duration_ns: int) -> None:
    pass
