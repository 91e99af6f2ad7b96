"""An S3 bucket as a source: objects are told apart by their ETag.

    s3://bucket/prefix?endpoint=http://127.0.0.1:8333&region=us-east-1

Credentials, and whatever the address does not say, are looked for as every AWS client does: AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION, AWS_ENDPOINT_URL, instance roles.
"""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from boxwork.clock import SECOND_NS
from boxwork.content.inventory_rows import Row, unreadable_row
from boxwork.content.inventory_walk import wanted
from boxwork.content.sources.recent import AHEAD_BYTES_MAX, Recent
from boxwork.content.sources.source import Known, Listed, Look, counted, left, stamp
from boxwork.content.sources.spool import fetched
from boxwork.content.store import as_file
from boxwork.content.tree_index import Facts
from boxwork.errors import BadInput, StorageError
from boxwork.keys import Ref
from boxwork.settings import MiB

if TYPE_CHECKING:
    from obstore.store import S3Store

# A connection that is not there after this is not coming.  Unit: seconds.
CONNECT_S = 3
# One request, with one piece of an object or one page of the list.  Unit: seconds.
REQUEST_S = 60
# Retries of one request, and when they end.  Unit: count, seconds.  Reason: a person waits for the picture.
RETRIES, RETRIES_S = 3, 15
# Objects in one page of the list; S3's own limit.  Unit: objects.
PAGE_OBJECTS = 1000
OPTIONS = ("endpoint", "region")


@dataclass(frozen=True, slots=True)
class BucketAddress:
    """What an `s3://` address says."""

    bucket: str
    prefix: str = ""
    endpoint: str = ""
    region: str = ""

    @classmethod
    def parse(cls, text: str) -> BucketAddress:
        parts = urlsplit(text)
        options = dict(parse_qsl(parts.query))
        unknown = sorted(options.keys() - set(OPTIONS))
        if unknown:
            raise BadInput(f"{unknown[0]!r} is no option of s3://; there are {', '.join(OPTIONS)}", option=unknown[0])
        endpoint = options.get("endpoint", "").rstrip("/")
        if endpoint and not re.fullmatch(r"https?://[^/\s?#@]+(/[^\s?#]*)?", endpoint):
            raise BadInput(f"{endpoint!r} is not an endpoint: give it as http://host:port or https://host")
        if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]", parts.netloc):
            raise BadInput(f"{parts.netloc!r} is no bucket: give it as s3://bucket or s3://bucket/prefix")
        return cls(parts.netloc, unquote(parts.path).strip("/"), endpoint, options.get("region", ""))

    def __str__(self) -> str:
        options = {name: value for name in OPTIONS if (value := getattr(self, name))}
        path = "/" + quote(self.prefix) if self.prefix else ""
        return f"s3://{self.bucket}{path}" + ("?" + urlencode(options, safe=":/") if options else "")


class Bucket:
    """The objects below one prefix of one bucket."""

    # A request waits for the network nearly always.  Source: measured with small objects, 30 ms away: 8 readers read
    # 133 a second, 16 287, 32 400; on the same machine all the same.  Large ones are held up by `ahead_bytes_max`.
    readers = 32
    ahead_bytes_max = AHEAD_BYTES_MAX
    looks_are_cheap = False

    def __init__(self, place: BucketAddress, recent: Recent) -> None:
        self.place = place
        self.address = str(place)
        self._recent = recent
        self._made: S3Store | None = None

    @property
    def _store(self) -> S3Store:
        if self._made is None:
            self._made = store_of(self.place)
        return self._made

    def check(self) -> None:
        import obstore
        from obstore.exceptions import BaseError

        try:
            next(iter(obstore.list(self._store, chunk_size=1)), None)
        except (BaseError, OSError) as reason:
            raise self._error(reason) from reason

    def listing(
        self, suffixes: tuple[bytes, ...], follow: bool, known: Known, within: Sequence[bytes]
    ) -> Iterator[Listed]:
        for path, meta in self._objects(suffixes):
            if not within or path.startswith(tuple(within)):
                yield Listed(path, _facts(meta))

    def _objects(self, suffixes: tuple[bytes, ...]) -> Iterator[tuple[bytes, Any]]:
        import obstore
        from obstore.exceptions import BaseError

        try:
            for page in obstore.list(self._store, chunk_size=PAGE_OBJECTS):
                for meta in page:
                    path = meta["path"].encode()
                    hidden = path.startswith(b".") or b"/." in path
                    if not hidden and not path.endswith(b"/") and wanted(path, suffixes):
                        yield path, meta
        except (BaseError, OSError) as reason:
            raise self._error(reason) from reason

    def count(self, suffixes: tuple[bytes, ...], follow: bool) -> Iterator[int]:
        return counted(self._objects(suffixes))

    def digest(self, path: bytes, held: object = None) -> Row:
        import obstore
        from obstore.exceptions import BaseError

        try:
            found = obstore.get(self._store, path.decode())
            file, digest = fetched(bytes(piece) for piece in found.stream(min_chunk_size=MiB))
        except FileNotFoundError:
            return unreadable_row(path, "it is gone")
        except (BaseError, OSError) as reason:
            if not is_refused(reason):
                self.check()  # raises if it is the server: one object that fails does not end a scan
            return unreadable_row(path, f"the bucket does not give it out: {first_line(reason)}")
        with file:
            facts = _facts(found.meta)
            if facts.size <= self._recent.one_bytes_max:
                self._recent.keep(digest, file.read())
        return Row(path, digest, *facts, not found.meta["e_tag"], "")

    def open(self, row: Row, ref: Ref) -> tuple[BinaryIO, Row]:
        """Fetched whole first, into memory or an unlinked file: what was opened stays readable."""
        import obstore
        from obstore.exceptions import BaseError

        if (kept := self._recent.find(ref.digest)) is not None:
            return as_file(kept), row
        where = f"s3://{self.place.bucket}/{'/'.join(filter(None, (self.place.prefix, os.fsdecode(row.path))))}"
        try:
            found = obstore.get(self._store, row.path.decode())
            file, digest = fetched(bytes(piece) for piece in found.stream(min_chunk_size=MiB))
        except FileNotFoundError:
            raise left(ref, where, "it is gone") from None
        except (BaseError, OSError) as reason:
            raise self._error(reason) from reason
        if digest != ref.digest:
            file.close()
            raise left(ref, where, "the object has other bytes now")
        if row.size <= self._recent.one_bytes_max:
            self._recent.keep(digest, file.read())
            file.seek(0)
        return file, row

    def close(self) -> None:
        """Nothing is held open."""

    def look(self, mark: object, suffixes: tuple[bytes, ...], follow: bool) -> Look:
        """A listing, summed up; with 100,000 objects it is 100 requests."""
        found = 0
        for path, meta in self._objects(suffixes):
            found += hash((path, _facts(meta)))
        return Look(found, () if found == mark else None)

    def _error(self, reason: Exception) -> BadInput | StorageError:
        where = f"s3://{self.place.bucket}" + (f" at {self.place.endpoint}" if self.place.endpoint else "")
        if "NoSuchBucket" in str(reason):
            return BadInput(f"{where}: there is no such bucket; check its name and the endpoint", place=where)
        if is_refused(reason):
            return BadInput(
                f"{where} refuses these credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and check the"
                f" policy ({first_line(reason)})",
                place=where,
            )
        return StorageError(
            f"{where} did not answer as it should: check the endpoint and whether the server runs"
            f" ({first_line(reason)})",
            place=where,
        )


def store_of(place: BucketAddress) -> S3Store:
    """obstore's client for the address."""
    try:
        from obstore.store import S3Store
    except ImportError:
        raise BadInput("s3:// needs obstore: pip install 'boxwork[s3]'") from None
    options: dict[str, Any] = {}
    if place.endpoint:
        options["endpoint"] = place.endpoint
    if place.region:
        options["region"] = place.region
    elif not (os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")):
        options["region"] = "us-east-1"  # servers of one's own do not care, but the client wants one
    named = place.endpoint or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    client = {
        "connect_timeout": datetime.timedelta(seconds=CONNECT_S),
        "timeout": datetime.timedelta(seconds=REQUEST_S),
        "allow_http": named.startswith("http://"),
    }
    retries = {"max_retries": RETRIES, "retry_timeout": datetime.timedelta(seconds=RETRIES_S)}
    try:
        return S3Store(
            place.bucket,
            prefix=place.prefix or None,
            client_options=client,  # type: ignore[arg-type]
            retry_config=retries,  # type: ignore[arg-type]
            **options,
        )
    except Exception as reason:  # obstore raises its own base error for a bad name and for a bad option
        raise BadInput(f"s3://{place.bucket} is not a bucket: {first_line(reason)}") from reason


def is_refused(reason: Exception) -> bool:
    from obstore.exceptions import PermissionDeniedError, UnauthenticatedError

    return isinstance(reason, (PermissionDeniedError, UnauthenticatedError)) or "403 Forbidden" in str(reason)


def _facts(meta: Any) -> Facts:
    """The ETag tells; the time is cut to seconds, because a list knows it finer than an answer does."""
    seconds = int(meta["last_modified"].timestamp())
    tag = (meta["e_tag"] or "").removeprefix("W/").strip('"')
    return Facts(meta["size"], seconds * SECOND_NS, 0, stamp(tag, meta.get("version") or ""), 0)


def first_line(reason: Exception) -> str:
    """The first line of what obstore says: the rest is its own debug view."""
    return str(reason).partition("\n")[0][:300]
