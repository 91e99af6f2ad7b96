"""A place in an S3 bucket (SeaweedFS, or any other that knows conditional PUT), through obstore.

One object for each blob: `<prefix>/<first two hex digits>/<hex>`.  A put is conditional (`If-None-Match: *`), so two
writers of one blob do no harm and an object is never overwritten; a very large one goes in parts, where overwriting
the same bytes is the same.  `open` fetches the whole blob first, into memory or into an unlinked file, because what
was opened must stay readable after a delete.
"""

from __future__ import annotations

import datetime
import itertools
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from boxwork.content.places.disk import digest_of
from boxwork.content.store import as_file, missing, storage_error, unexpected
from boxwork.errors import BadInput, StorageError, StorageReadOnly
from boxwork.keys import Buffer, Ref, RefHasher, ref_of, ref_of_digest
from boxwork.settings import MiB

if TYPE_CHECKING:
    from obstore.store import S3Store

# A connection that is not there after this is not coming.  Unit: seconds.
CONNECT_S = 3
# One request, with up to PARTS_FROM_BYTES on the way: 64 MiB at 3 MiB/s.  Unit: seconds.
REQUEST_S = 30
# Retries of one request, and when they end.  Unit: count, seconds.  Reason: a caller would rather hear of it.
RETRIES, RETRIES_S = 3, 15
# Blobs above this go in parts.  Unit: bytes.  Reason: with REQUEST_S, and half of it is lost when a request breaks.
PARTS_FROM_BYTES = 64 * MiB
# Blobs above this are asked for before they are sent.  Unit: bytes.  Reason: a HEAD costs as much as sending so much.
ASK_FROM_BYTES = 1 * MiB
# Streams and opened blobs up to this size stay in memory.  Unit: bytes.
MEMORY_BYTES_MAX = 8 * MiB


class S3Place:
    """The blobs of one prefix of one bucket.

    Without keys obstore looks for them as every AWS client does (environment, instance role).  `endpoint` is for
    servers other than AWS, `http://127.0.0.1:8333`.  `spool` is where long blobs lie while they are on their way.
    """

    def __init__(
        self,
        bucket: str,
        *,
        prefix: str = "",
        endpoint: str | None = None,
        region: str = "us-east-1",
        access_key_id: str | None = None,
        secret_access_key: str | None = None,
        spool: Path | None = None,
    ) -> None:
        try:
            from obstore.store import S3Store
        except ImportError:
            raise BadInput("the S3 place needs obstore: pip install 'boxwork[s3]'") from None
        if endpoint is not None and not re.fullmatch(r"https?://[^/\s?#]+(/[^\s?#]*)?", endpoint):
            raise BadInput(f"{endpoint!r} is not an endpoint: give it as http://host:port or https://host")
        self._where = f"s3://{bucket}/{prefix}" + (f" at {endpoint}" if endpoint else "")
        self._spool = None if spool is None else os.fspath(spool)
        options: dict[str, Any] = {"region": region}
        if endpoint is not None:
            options["endpoint"] = endpoint
        if access_key_id is not None:
            options |= {"access_key_id": access_key_id, "secret_access_key": secret_access_key or ""}
        client = {
            "connect_timeout": datetime.timedelta(seconds=CONNECT_S),
            "timeout": datetime.timedelta(seconds=REQUEST_S),
            "allow_http": bool(endpoint and endpoint.startswith("http://")),
        }
        retries = {"max_retries": RETRIES, "retry_timeout": datetime.timedelta(seconds=RETRIES_S)}
        try:
            self._store: S3Store = S3Store(
                bucket,
                prefix=prefix or None,
                client_options=client,  # type: ignore[arg-type]
                retry_config=retries,  # type: ignore[arg-type]
                **options,
            )
        except Exception as reason:  # obstore raises its own base error for a bad name and for a bad option
            raise BadInput(f"{self._where} is not a bucket: {_short(reason)}") from reason

    # --- writing

    def put(self, data: Buffer, *, durable: bool = True) -> Ref:
        ref = ref_of(data)
        blob = bytes(data)
        if len(blob) < ASK_FROM_BYTES or not self.has(ref):
            self._send(ref, blob, len(blob))
        return ref

    def put_stream(self, chunks: Iterable[Buffer], *, durable: bool = True, expect: Ref | None = None) -> Ref:
        hasher = RefHasher()
        with tempfile.SpooledTemporaryFile(MEMORY_BYTES_MAX, dir=self._spool, prefix="put-s3-") as spool:
            for chunk in chunks:
                hasher.update(chunk)
                try:
                    spool.write(chunk)
                except OSError as reason:
                    raise storage_error(self._spool or tempfile.gettempdir(), reason) from reason
            ref = hasher.ref()
            if expect is not None and ref != expect:
                raise unexpected(ref, expect)
            if hasher.size < ASK_FROM_BYTES or not self.has(ref):
                spool.seek(0)
                if hasher.size <= PARTS_FROM_BYTES:
                    self._send(ref, spool.read(), hasher.size)
                else:
                    self._send(ref, spool, hasher.size)
        return ref

    def _send(self, ref: Ref, data: Any, size: int) -> None:
        import obstore
        from obstore.exceptions import AlreadyExistsError, BaseError

        parts = size > PARTS_FROM_BYTES
        try:
            obstore.put(self._store, _key(ref), data, mode="overwrite" if parts else "create", use_multipart=parts)
        except AlreadyExistsError:
            return
        except (BaseError, OSError) as reason:
            raise self._error(reason) from reason

    def delete(self, ref: Ref) -> bool:
        import obstore
        from obstore.exceptions import BaseError

        if not self.has(ref):
            return False
        try:
            obstore.delete(self._store, _key(ref))
        except FileNotFoundError:
            return False
        except (BaseError, OSError) as reason:
            raise self._error(reason) from reason
        return True

    # --- reading

    def get(self, ref: Ref) -> bytes:
        return b"".join(self._fetch(ref))

    def open(self, ref: Ref) -> BinaryIO:
        chunks, head = self._fetch(ref), b""
        for chunk in chunks:
            head += chunk
            if len(head) > MEMORY_BYTES_MAX:
                break
        else:
            return as_file(head)
        try:
            with tempfile.TemporaryFile(dir=self._spool, prefix="put-s3-") as copy:
                for chunk in itertools.chain([head], chunks):
                    copy.write(chunk)
                copy.seek(0)
                return os.fdopen(os.dup(copy.fileno()), "rb")
        except OSError as reason:
            raise storage_error(self._spool or tempfile.gettempdir(), reason) from reason

    def size(self, ref: Ref) -> int:
        import obstore
        from obstore.exceptions import BaseError

        key = _key(ref)
        try:
            return int(obstore.head(self._store, key)["size"])
        except FileNotFoundError as reason:
            raise self._missing(ref, reason) from None
        except (BaseError, OSError) as reason:
            raise self._error(reason) from reason

    def has(self, ref: Ref) -> bool:
        import obstore
        from obstore.exceptions import BaseError

        key = _key(ref)
        try:
            obstore.head(self._store, key)
        except FileNotFoundError:
            return False
        except (BaseError, OSError) as reason:
            raise self._error(reason) from reason
        return True

    def refs(self) -> Iterator[Ref]:
        """The names of the objects that are spelled like ours; others under the prefix are not."""
        import obstore
        from obstore.exceptions import BaseError

        try:
            for page in obstore.list(self._store):
                for item in page:
                    shard, _, name = item["path"].rpartition("/")
                    if len(name) == 64 and shard.rpartition("/")[2] == name[:2]:
                        yield ref_of_digest(bytes.fromhex(name))
        except (BaseError, OSError) as reason:
            raise self._error(reason) from reason

    def close(self) -> None:
        """The connections belong to obstore, which closes them when the place is dropped."""

    def _fetch(self, ref: Ref) -> Iterator[bytes]:
        import obstore
        from obstore.exceptions import BaseError

        key = _key(ref)
        try:
            for chunk in obstore.get(self._store, key).stream(min_chunk_size=MiB):
                yield bytes(chunk)
        except FileNotFoundError as reason:
            raise self._missing(ref, reason) from None
        except (BaseError, OSError) as reason:
            raise self._error(reason) from reason

    # --- errors

    def _missing(self, ref: Ref, reason: Exception) -> Exception:
        return self._error(reason) if "NoSuchBucket" in str(reason) else missing(ref)

    def _error(self, reason: Exception) -> StorageError:
        from obstore.exceptions import PermissionDeniedError, UnauthenticatedError

        text = str(reason)
        if "NoSuchBucket" in text:
            return StorageError(f"{self._where}: there is no such bucket; make it first", place=self._where)
        if isinstance(reason, (PermissionDeniedError, UnauthenticatedError)) or "403 Forbidden" in text:
            return StorageReadOnly(
                f"{self._where} refuses these credentials: check access_key_id, secret_access_key and the policy"
                f" ({_short(reason)})",
                place=self._where,
            )
        return StorageError(
            f"{self._where} did not answer as it should: check the endpoint and whether the server runs"
            f" ({_short(reason)})",
            place=self._where,
        )


def _key(ref: Ref) -> str:
    name = digest_of(ref).hex()
    return f"{name[:2]}/{name}"


def _short(reason: Exception) -> str:
    """The first line of what obstore says: the rest is its own debug view."""
    return str(reason).partition("\n")[0][:300]
