"""The bytes behind the value of a document's field, wherever it says they are."""

from __future__ import annotations

import http.client
import os
import stat
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from boxwork.content.sources.bucket import BucketAddress, first_line, is_refused, store_of
from boxwork.content.sources.documents import is_bytes
from boxwork.content.sources.source import stamp
from boxwork.content.tree_index import Facts
from boxwork.errors import StorageError
from boxwork.settings import MiB

# Of one piece on its way in.  Unit: bytes.
PIECE_BYTES = 1 * MiB
# A web server that says nothing for so long is not asked further.  Unit: seconds.
WEB_S = 20
# What is fetched from a web server at most.  Unit: bytes.  Reason: pictures are decoded up to 256 MiB.
WEB_BYTES_MAX = 256 * MiB


class NotThere(Exception):
    """Why there are no bytes behind a value, for the list of faults."""


class Fetching:
    """Over one database and the options of an address."""

    def __init__(self, database: Any, options: Mapping[str, str]) -> None:
        self._database = database
        self._field = options["field"]
        self._folder = options.get("folder", "")
        self._bucket = options.get("bucket", "")
        self._gridfs = options.get("gridfs", "fs")
        self._hosts = frozenset(filter(None, options.get("hosts", "").split(",")))
        self._store: Any = None

    def facts(self, value: Any, facts: Facts) -> Facts:
        """The facts of the document, and of the file if it is one here.  Raises `NotThere` if it leads nowhere."""
        from bson import ObjectId

        if is_bytes(value) or isinstance(value, ObjectId):
            return facts
        if not isinstance(value, str):
            raise NotThere(
                f"{self._field} is a {type(value).__name__}, not a picture, a path, an address or a GridFS id"
            )
        if value.startswith("s3://") or (self._bucket and "://" not in value):
            self._key(value)
        elif "://" in value:
            self._allow(value)
        else:
            return facts._replace(ino=stamp(str(facts.ino), repr(self._stat(value))))
        return facts

    def pieces(self, value: Any) -> Iterator[bytes]:
        """The bytes.  Raises `NotThere`, or what the server behind raises when it does not answer."""
        if is_bytes(value):
            yield bytes(value)
        elif not isinstance(value, str):
            yield from self._of_gridfs(value)
        elif value.startswith("s3://") or (self._bucket and "://" not in value):
            yield from self._of_bucket(self._key(value))
        elif "://" in value:
            yield from self._of_web(value)
        else:
            with open(self._path(value), "rb") as file:
                while piece := file.read(PIECE_BYTES):
                    yield piece

    # --- files here

    def _path(self, value: str) -> str:
        """No document leads out of the folder."""
        if not self._folder:
            raise NotThere("it is a path, and the address names no folder (&folder=/srv/media)")
        if "\0" in value:
            raise NotThere("it is no path")
        path = os.path.realpath(os.path.join(self._folder, value))
        if not path.startswith(self._folder.rstrip("/") + "/"):
            raise NotThere(f"{value[:200]!r} leads out of the folder of the address")
        return path

    def _stat(self, value: str) -> tuple[int, ...]:
        try:
            found = os.stat(self._path(value))
        except OSError as reason:
            raise NotThere(f"{value[:200]!r}: {reason.strerror or reason}") from None
        if not stat.S_ISREG(found.st_mode):
            raise NotThere(f"{value[:200]!r} is no regular file")
        return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino

    # --- elsewhere

    def _key(self, value: str) -> str:
        """The key below the prefix of the bucket that the address names: a document cannot make us read another."""
        if not self._bucket:
            raise NotThere("it is in S3, and the address names no bucket (&bucket=s3://bucket/prefix)")
        if not value.startswith("s3://"):
            return value.lstrip("/")
        place = BucketAddress.parse(self._bucket)
        home = "/".join(filter(None, (f"s3://{place.bucket}", place.prefix))) + "/"
        if not value.startswith(home):
            raise NotThere(f"{value[:200]!r} is not in the bucket of the address")
        return value.removeprefix(home)

    def _allow(self, value: str) -> None:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https"):
            raise NotThere(f"{value[:200]!r} is no address that can be fetched")
        if parts.netloc not in self._hosts:
            raise NotThere(f"{parts.netloc[:100]} is not among the hosts of the address (&hosts=cdn.example.com)")

    def _of_gridfs(self, identity: Any) -> Iterator[bytes]:
        from gridfs import GridFSBucket
        from gridfs.errors import CorruptGridFile, NoFile

        try:
            with GridFSBucket(self._database, bucket_name=self._gridfs).open_download_stream(identity) as file:
                while piece := file.read(PIECE_BYTES):
                    yield piece
        except NoFile:
            raise NotThere(f"GridFS {self._gridfs!r} has no file {identity}") from None
        except CorruptGridFile as reason:
            raise NotThere(f"the GridFS file {identity} is broken: {reason}") from None

    def _of_bucket(self, key: str) -> Iterator[bytes]:
        import obstore
        from obstore.exceptions import BaseError

        place = BucketAddress.parse(self._bucket)
        if self._store is None:
            self._store = store_of(place)
        try:
            for piece in obstore.get(self._store, key).stream(min_chunk_size=PIECE_BYTES):
                yield bytes(piece)
        except FileNotFoundError:
            raise NotThere(f"there is no object {key[:200]!r} in s3://{place.bucket}") from None
        except (BaseError, OSError) as reason:
            if is_refused(reason):
                raise NotThere(f"s3://{place.bucket} does not give {key[:200]!r} out") from None
            raise StorageError(f"s3://{place.bucket} does not answer as it should ({first_line(reason)})") from reason

    def _of_web(self, value: str) -> Iterator[bytes]:
        """No redirect is followed: it could lead to a host that is not allowed."""
        self._allow(value)
        parts = urlsplit(value)
        make = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = make(parts.netloc, timeout=WEB_S)
        try:
            connection.request("GET", parts.path + (f"?{parts.query}" if parts.query else ""))
            answer = connection.getresponse()
            if answer.status != 200:
                raise NotThere(f"{parts.netloc} answers {answer.status} {answer.reason}")
            left = WEB_BYTES_MAX
            while piece := answer.read(PIECE_BYTES):
                left -= len(piece)
                if left < 0:
                    raise NotThere(f"{parts.netloc} sends more than {WEB_BYTES_MAX:,} bytes")
                yield piece
        except (OSError, http.client.HTTPException) as reason:
            raise NotThere(f"{parts.netloc}: {reason}") from None
        finally:
            connection.close()
