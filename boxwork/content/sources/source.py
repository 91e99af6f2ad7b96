"""What an inventory asks of the place its items lie in, and how such a place is addressed.

A source is told apart by its *address*, which is what the inventory writes down:

    /srv/photos                                                 a folder
    s3://bucket/prefix?endpoint=http://127.0.0.1:8333           a bucket, or the part of it below a prefix
    mongodb://127.0.0.1:27017/shop.products?field=photo         the documents of a collection

An address never holds credentials: it stands in rows, in logs and on the command line.  They come from the
environment, and an address that has some is refused without being repeated.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple, Protocol
from urllib.parse import urlsplit

from boxwork.clock import Clock
from boxwork.content.inventory_rows import Row
from boxwork.content.sources.recent import Recent
from boxwork.content.tree_index import Facts
from boxwork.errors import BadInput, BlobMissing
from boxwork.keys import Ref, part_digest

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
# Facts of what tells its size only when it is read.
SIZE_UNKNOWN = -1
# Who counts is asked whether to go on so often.  Unit: items.
COUNTED = 1000


class Listed(NamedTuple):
    """One item as the source lists it.  `facts` is None if it cannot be looked at, `problem` then says why.

    `held` is what the source has in hand of it and need not ask for again: its own, given back to `digest`.
    """

    path: bytes
    facts: Facts | None
    problem: str = ""
    held: Any = None


class Look(NamedTuple):
    """What a look at a source has found since the one before.

    mark    to be handed to the next look
    within  the parts to scan, as prefixes of paths; empty: nothing has changed; None: only a whole scan can tell
    """

    mark: object
    within: tuple[bytes, ...] | None


Known = Callable[[bytes], list[Row]]  # prefix of paths → what the inventory knows there


class Source(Protocol):
    """Items that lie somewhere and stay there.  Safe from many threads; nothing is ever written to it.

    Raises `BadInput` if it cannot be listed at all, `StorageError` if it does not answer: an item is only told as
    unreadable when the source is there and the item is the problem.
    """

    address: str
    # How many items are read at once.
    readers: int
    # How much may have been read before it is told; 0: as much as there is.  Unit: bytes.
    ahead_bytes_max: int

    @property
    def looks_are_cheap(self) -> bool:
        """May it be looked at every `inventory.rescan_s`, or does a look cost as much as a listing over the network."""
        ...

    def check(self) -> None:
        """Raise if it cannot be listed."""
        ...

    def listing(
        self, suffixes: tuple[bytes, ...], follow: bool, known: Known, within: Sequence[bytes]
    ) -> Iterator[Listed]:
        """All items, or those below the prefixes `within`.

        With a `problem` that begins with "directory: " the path is one that could not be listed.  `known` may save it
        from asking for what has not changed.
        """
        ...

    def count(self, suffixes: tuple[bytes, ...], follow: bool) -> Iterator[int]:
        """How many items a listing would have, for who shows how far a scan is: more and more, the last is all.

        It may be off by what is passed over, or counted by the server.
        """
        ...

    def digest(self, path: bytes, held: Any = None) -> Row:
        """Read one item whole: its row, or one with the reason why it cannot be read.  `held` came with the list."""
        ...

    def open(self, row: Row, ref: Ref) -> tuple[BinaryIO, Row]:
        """The bytes as a seekable file, verified, and the row as it is now.  Raises `BlobMissing`."""
        ...

    def look(self, mark: object, suffixes: tuple[bytes, ...], follow: bool) -> Look:
        """What has changed since the look that gave `mark`; None asks for the first mark."""
        ...

    def close(self) -> None:
        """Let go of connections; it connects again when it is asked again."""
        ...


def is_address(text: str) -> bool:
    return _SCHEME.match(text) is not None


def address_of(given: str | os.PathLike[str]) -> str:
    """The one spelling of an address.  Raises `BadInput` for a kind there is not, and for one with credentials."""
    text = os.fspath(given)
    if not is_address(text):
        return os.path.realpath(text)
    scheme = text.partition("://")[0].lower()
    if "@" in urlsplit(text).netloc:
        raise BadInput(
            f"this {scheme} address has credentials in it, where everybody can read them: leave them out and set "
            + ("MONGODB_USERNAME and MONGODB_PASSWORD" if scheme.startswith("mongodb") else "AWS_ACCESS_KEY_ID and"
            " AWS_SECRET_ACCESS_KEY") + " in the environment"
        )  # fmt: skip
    if scheme == "s3":
        from boxwork.content.sources.bucket import BucketAddress

        return str(BucketAddress.parse(text))
    if scheme in ("mongodb", "mongodb+srv"):
        from boxwork.content.sources.collection import CollectionAddress

        return str(CollectionAddress.parse(text))
    raise BadInput(
        f"{scheme}:// is no source: give a folder, s3://bucket/prefix, or"
        " mongodb://host/database.collection?field=photo",
        address=text,
    )


def open_source(address: str, clock: Clock, recent: Recent) -> Source:
    """The source at an address; it connects when it is first asked."""
    if address.startswith("s3://"):
        from boxwork.content.sources.bucket import Bucket, BucketAddress

        return Bucket(BucketAddress.parse(address), recent)
    if address.startswith("mongodb"):
        from boxwork.content.sources.collection import Collection, CollectionAddress

        return Collection(CollectionAddress.parse(address), clock, recent)
    from boxwork.content.sources.folder import Folder

    return Folder(address, clock)


def counted(items: Iterable[object]) -> Iterator[int]:
    """How many there are so far, a thousand at a time, and at the end."""
    number = 0
    for number, _ in enumerate(items, 1):
        if number % COUNTED == 0:
            yield number
    yield number


def left(ref: Ref, path: str, why: str) -> BlobMissing:
    return BlobMissing(
        f"{ref} was {path!r}: {why}; scan its folder again, or bring the file back", ref=str(ref), path=path
    )


def stamp(*parts: str) -> int:
    """Texts that tell two contents apart (an ETag, a version) as a number that fits into `Facts`."""
    body = "\0".join(parts).encode("utf-8", "surrogatepass")
    return int.from_bytes(part_digest("inventory stamp", body)[:8], "big") >> 1
