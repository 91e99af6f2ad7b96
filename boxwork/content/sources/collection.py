"""A MongoDB collection as a source: each document has a picture, or a field that says where it is (`documents`).

    mongodb://127.0.0.1:27017/shop.products?field=photo&name=title&version=updated&folder=/srv/media

    field     where the picture is, dotted (`images.main`); the only one that must be there
    name      the field that people know it by
    version   a field that changes whenever the picture does: bytes that are known are then not fetched to compare
    folder    where the paths in the field begin
    bucket    an s3:// address: texts in the field are keys in it
    gridfs    the GridFS bucket, if it is not `fs`
    hosts     from which http(s) addresses are fetched, with commas

The other options are those of pymongo that concern the connection.  MONGODB_USERNAME and MONGODB_PASSWORD are taken
from the environment.  Changes come by change stream where the server has them (replica sets, sharded clusters),
else the collection is looked through.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO
from urllib.parse import parse_qsl, urlencode, urlsplit

from boxwork.clock import Clock
from boxwork.content.inventory_rows import Row, unreadable_row
from boxwork.content.sources.documents import Document, Picture, identity_of, pictures, spelled, value_at
from boxwork.content.sources.fetching import Fetching, NotThere
from boxwork.content.sources.recent import AHEAD_BYTES_MAX, Recent
from boxwork.content.sources.source import Known, Listed, Look, address_of, left, stamp
from boxwork.content.sources.spool import fetched
from boxwork.content.store import as_file
from boxwork.errors import BadInput, StorageError
from boxwork.keys import Ref

# Unit: milliseconds.  A server that is not found in 5 s is not there; one answer may carry 48 MB of pictures.
SELECTION_MS, CONNECT_MS, ANSWER_MS = 5_000, 3_000, 60_000
# Documents asked for at a time.  Unit: documents; the server ends a batch at 16 MB by itself.
BATCH = 500
# How long a look waits for a change to come in.  Unit: milliseconds.
STREAM_WAIT_MS = 50
# Changed documents of one look; with more, looking through the whole is no dearer.  Unit: documents.
CHANGES_MAX = 5_000
OPTIONS = ("field", "name", "version", "folder", "bucket", "gridfs", "hosts")
CONNECTION_OPTIONS = (
    "authSource", "authMechanism", "directConnection", "readPreference", "replicaSet", "retryReads", "tls", "tlsCAFile",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class CollectionAddress:
    """What a `mongodb://` address says."""

    server: str  # scheme and hosts
    database: str
    collection: str
    options: dict[str, str] = field(default_factory=dict)
    connection: dict[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> CollectionAddress:
        parts = urlsplit(text)
        database, _, collection = parts.path.lstrip("/").partition(".")
        given = dict(parse_qsl(parts.query))
        options = {name: given.pop(name) for name in OPTIONS if given.get(name)}
        connection = {name: given.pop(name) for name in CONNECTION_OPTIONS if given.get(name)}
        if not (parts.netloc and database and collection and options.get("field")):
            raise BadInput(
                f"{text[:200]!r} names no collection and field: write mongodb://host/database.collection?field=photo"
            )
        if given:
            raise BadInput(
                f"{next(iter(given))!r} is no option here; there are {', '.join(OPTIONS + CONNECTION_OPTIONS)}"
            )
        if "bucket" in options:
            if not options["bucket"].startswith("s3://"):
                raise BadInput(f"bucket is {options['bucket']!r}; it has to be an address, s3://bucket/prefix")
            options["bucket"] = address_of(options["bucket"])
        if "folder" in options:
            options["folder"] = os.path.realpath(os.path.expanduser(options["folder"]))
        return cls(f"{parts.scheme}://{parts.netloc}", database, collection, options, connection)

    def __str__(self) -> str:
        return f"{self.server}/{self.database}.{self.collection}?" + urlencode(
            self.options | self.connection, safe=":/,."
        )

    @property
    def uri(self) -> str:
        """What pymongo is given, still without credentials."""
        return f"{self.server}/" + ("?" + urlencode(self.connection) if self.connection else "")


class Collection:
    """The documents of one collection, each with the pictures its field names."""

    # Most of the time of a reader is spent waiting for the network.
    readers = 8
    ahead_bytes_max = AHEAD_BYTES_MAX

    def __init__(self, place: CollectionAddress, clock: Clock, recent: Recent) -> None:
        self.place = place
        self.address = str(place)
        self._recent = recent
        self._lock = threading.Lock()
        self._connecting = threading.Lock()
        self._client: Any = None
        self._fetching: Fetching | None = None
        self._stream: Any = None
        self._has_no_stream = False
        self._epoch: object = None

    @property
    def looks_are_cheap(self) -> bool:
        return self._stream is not None

    def close(self) -> None:
        with self._lock:
            self._drop_stream()
            if self._client is not None:
                self._client.close()
                self._client = None

    def check(self) -> None:
        with self._errors():
            self._documents().find_one({}, {"_id": 1})

    # --- listing

    def listing(
        self, suffixes: tuple[bytes, ...], follow: bool, known: Known, within: Sequence[bytes]
    ) -> Iterator[Listed]:
        """`suffixes` is not asked: the field is declared to hold pictures."""
        wanted: dict[str, Any] = {}
        if within:
            wanted = {"_id": {"$in": [identity_of(prefix.decode().partition("/")[0]) for prefix in within]}}
        with self._errors():
            if "version" not in self.place.options:
                for document in self._find(wanted):
                    yield from self._listed(document)
                return
            asked: list[Any] = []
            for document in self._documents().find(
                wanted, {"_id": 1, self.place.options["version"]: 1}, batch_size=BATCH
            ):
                rows = self._unchanged(document, known)
                yield from rows
                if not rows:
                    asked.append(document["_id"])
                if len(asked) >= BATCH:
                    for found in self._find({"_id": {"$in": asked}}):
                        yield from self._listed(found)
                    asked.clear()
            for found in self._find({"_id": {"$in": asked}}) if asked else ():
                yield from self._listed(found)

    def count(self, suffixes: tuple[bytes, ...], follow: bool) -> Iterator[int]:
        """Documents, which the server knows without looking; one may have no picture, or several."""
        with self._errors():
            yield self._documents().estimated_document_count()

    def _unchanged(self, document: Document, known: Known) -> list[Listed]:
        """What is known of a document whose version is as it was; nothing if it has to be asked for."""
        version = value_at(document, self.place.options["version"])
        rows = [] if version is None else known(f"{spelled(document['_id'])}/".encode())
        if not rows or any(not row.digest or row.ino != stamp(repr(version)) for row in rows):
            return []
        return [Listed(row.path, row.facts()) for row in rows]

    def _listed(self, document: Document) -> Iterator[Listed]:
        for picture in self._pictures(document):
            try:
                facts = self._fetch().facts(picture.value, picture.facts)
            except NotThere as reason:
                yield Listed(picture.path, None, str(reason))
            else:
                yield Listed(picture.path, facts, "", picture)

    def _pictures(self, document: Document) -> Iterator[Picture]:
        options = self.place.options
        return pictures(document, options["field"], options.get("name", ""), options.get("version", ""))

    def _find(self, wanted: dict[str, Any]) -> Iterator[Document]:
        shown = {"_id": 1} | {
            self.place.options[name]: 1 for name in ("field", "name", "version") if name in self.place.options
        }
        found: Iterator[Document] = self._documents().find(wanted, shown, batch_size=BATCH)
        return found

    # --- reading

    def digest(self, path: bytes, held: Picture | None = None) -> Row:
        """`held` is what the list had: bytes in the document came with it, and are not asked for again."""
        with self._errors():
            picture = self._picture(path) if held is None else held
            if picture is None:
                return unreadable_row(path, "its document has changed; the next scan tries again")
            try:
                facts = self._fetch().facts(picture.value, picture.facts)
                file, digest = fetched(self._fetch().pieces(picture.value))
            except NotThere as reason:
                return unreadable_row(path, str(reason))
        with file:
            data = file.read(self._recent.one_bytes_max + 1)
            size = file.seek(0, os.SEEK_END)
        self._recent.keep(digest, data)
        return Row(path, digest, size, *facts[1:], False, "")

    def open(self, row: Row, ref: Ref) -> tuple[BinaryIO, Row]:
        if (kept := self._recent.find(ref.digest)) is not None:
            return as_file(kept), row
        where = f"{os.fsdecode(row.path)} in {self.place.database}.{self.place.collection}"
        with self._errors():
            picture = self._picture(row.path)
            if picture is None:
                raise left(ref, where, "its document has changed")
            try:
                file, digest = fetched(self._fetch().pieces(picture.value))
            except NotThere as reason:
                raise left(ref, where, str(reason)) from None
        if digest != ref.digest:
            file.close()
            raise left(ref, where, "it has other bytes now")
        self._recent.keep(digest, file.read(self._recent.one_bytes_max + 1))
        file.seek(0)
        return file, row

    def _picture(self, path: bytes) -> Picture | None:
        identity = identity_of(path.decode().partition("/")[0])
        for document in self._find({"_id": identity}):
            return next((picture for picture in self._pictures(document) if picture.path == path), None)
        return None

    # --- watching

    def look(self, mark: object, suffixes: tuple[bytes, ...], follow: bool) -> Look:
        with self._lock, self._errors():
            if self._stream is None and not self._has_no_stream:
                self._open_stream()
            if self._stream is not None:
                # what came before the stream began, only a scan can tell
                found = self._changes() if mark is self._epoch else None
                return Look(self._epoch, found)
        total = sum(
            hash((listed.path, listed.facts, listed.problem)) for listed in self.listing((), False, _nothing, ())
        )
        return Look(total, () if total == mark else None)

    def _open_stream(self) -> None:
        from pymongo.errors import OperationFailure

        try:
            self._stream = self._documents().watch(max_await_time_ms=STREAM_WAIT_MS)
            self._epoch = object()
        except OperationFailure:  # a single server has no change streams, and not everybody may open one
            self._has_no_stream = True

    def _changes(self) -> tuple[bytes, ...] | None:
        """The prefixes of the documents that changed; None if they are too many, or the stream has ended."""
        from pymongo.errors import PyMongoError

        found: dict[bytes, None] = {}
        try:
            for _ in range(CHANGES_MAX):
                event = self._stream.try_next()
                if event is None:
                    if self._stream.alive:
                        return tuple(found)
                    break
                if "documentKey" not in event:  # dropped, renamed
                    break
                found[f"{spelled(event['documentKey']['_id'])}/".encode()] = None
        except PyMongoError:
            self._drop_stream()
            raise
        self._drop_stream()
        return None

    def _drop_stream(self) -> None:
        from pymongo.errors import PyMongoError

        if self._stream is not None:
            with contextlib.suppress(PyMongoError):
                self._stream.close()
            self._stream = None

    # --- the server

    def _documents(self) -> Any:
        return self._database()[self.place.collection]

    def _database(self) -> Any:
        with self._connecting:
            if self._client is None:
                self._client = client_of(self.place)
            return self._client[self.place.database]

    def _fetch(self) -> Fetching:
        if self._fetching is None:
            self._fetching = Fetching(self._database(), self.place.options)
        return self._fetching

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        from pymongo.errors import ConfigurationError, OperationFailure, PyMongoError

        where = f"{self.place.server}/{self.place.database}.{self.place.collection}"
        try:
            yield
        except (ConfigurationError, OperationFailure) as reason:
            raise BadInput(
                f"{where} refuses: {_short(reason)}; check MONGODB_USERNAME, MONGODB_PASSWORD and the options of the"
                " address",
                place=where,
            ) from reason
        except PyMongoError as reason:
            raise StorageError(
                f"{where} does not answer: check the address and whether the server runs ({_short(reason)})",
                place=where,
            ) from reason


def client_of(place: CollectionAddress) -> Any:
    """pymongo's client; it connects when it is first asked something."""
    try:
        import pymongo
    except ImportError:
        raise BadInput("mongodb:// needs pymongo: pip install 'boxwork[mongodb]'") from None
    given: dict[str, Any] = {
        "username": os.environ.get("MONGODB_USERNAME"), "password": os.environ.get("MONGODB_PASSWORD"),
    }  # fmt: skip
    return pymongo.MongoClient(
        place.uri,
        appname="boxwork",
        serverSelectionTimeoutMS=SELECTION_MS,
        connectTimeoutMS=CONNECT_MS,
        socketTimeoutMS=ANSWER_MS,
        **{name: value for name, value in given.items() if value},
    )


def _nothing(prefix: bytes) -> list[Row]:
    return []


def _short(reason: Exception) -> str:
    return next(itertools.chain(str(reason).splitlines()), type(reason).__name__)[:300]
