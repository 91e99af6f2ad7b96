"""How items of the inventory are written: their rows, their keys, their ids."""

from __future__ import annotations

import msgspec

from boxwork.content.tree_index import Facts
from boxwork.database import Edit
from boxwork.keys import part_digest

FOLDERS = "inventory_folders"
ITEMS = "inventory_items"
IDS = "inventory_ids"
REFS = "inventory_refs"
VERSION = "inventory_version"
HIDDEN = "inventory_hidden"
FAULTS = "inventory_faults"
TABLES = (FOLDERS, ITEMS, IDS, REFS, VERSION, HIDDEN, FAULTS)

VERSION_KEY = b"items"

# LMDB's keys have at most 511 bytes; a longer path is cut here and a digest of the whole is added.  Unit: bytes.
PATH_KEY_BYTES_MAX = 480


class Row(msgspec.Struct, array_like=True, frozen=True):
    path: bytes
    digest: bytes  # empty if the file could not be read
    size: int
    mtime_ns: int
    ctime_ns: int
    ino: int
    dev: int
    racy: bool
    reason: str

    def looks_like(self, other: Row) -> bool:
        """Would a list show the two alike."""
        return (self.digest, self.size, self.mtime_ns, self.reason) == (
            other.digest,
            other.size,
            other.mtime_ns,
            other.reason,
        )

    def facts(self) -> Facts:
        return Facts(self.size, self.mtime_ns, self.ctime_ns, self.ino, self.dev)

    def is_still(self, facts: Facts) -> bool:
        """A size below 0 is one that the source does not tell."""
        size = self.size if facts.size < 0 else facts.size
        return not self.racy and (size, *facts[1:]) == (self.size, self.mtime_ns, self.ctime_ns, self.ino, self.dev)


_pack = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Row).decode


def folder_key(root: bytes) -> bytes:
    return part_digest("inventory folder", root)[:8]


def item_key(folder: bytes, path: bytes) -> bytes:
    """Items sort by their path; a NUL, which no path has, sets the digest of a long one apart."""
    if len(path) <= PATH_KEY_BYTES_MAX - 8:
        return folder + path
    return folder + path[: PATH_KEY_BYTES_MAX - 8] + b"\0" + part_digest("inventory path", path)[:16]


def item_id(key: bytes) -> bytes:
    return part_digest("inventory item", key)[:16]


def version_of(raw: bytes | None) -> int:
    return int.from_bytes(raw or b"", "big")


def bump(edit: Edit) -> None:
    """Say that a list of the items would look different now; in the transaction that makes it so."""
    edit.put(VERSION, VERSION_KEY, (version_of(edit.get(VERSION, VERSION_KEY)) + 1).to_bytes(8, "big"))


def put_row(edit: Edit, key: bytes, row: Row) -> None:
    raw = edit.get(ITEMS, key)
    packed = _pack(row)
    if raw == packed:
        return
    if raw is None or not decode(raw).looks_like(row):
        bump(edit)
    if raw is not None and (digest := decode(raw).digest) != row.digest and digest:
        edit.delete(FAULTS, digest)
    _drop_row(edit, key, raw)
    identity = item_id(key)
    edit.put(ITEMS, key, packed)
    edit.put(IDS, identity, key)
    if row.digest:
        edit.put(REFS, row.digest + identity, b"")


def remove_row(edit: Edit, key: bytes) -> None:
    raw = edit.get(ITEMS, key)
    if raw is not None:
        bump(edit)
        if digest := decode(raw).digest:
            edit.delete(FAULTS, digest)
        _drop_row(edit, key, raw)


def _drop_row(edit: Edit, key: bytes, raw: bytes | None) -> None:
    if raw is None:
        return
    digest, identity = decode(raw).digest, item_id(key)
    edit.delete(ITEMS, key)
    edit.delete(IDS, identity)
    if digest:
        edit.delete(REFS, digest + identity)


def remove_rows(keys: list[bytes], edit: Edit) -> None:
    for key in keys:
        remove_row(edit, key)


def refresh_row(edit: Edit, key: bytes, expected: Row, fresh: Row) -> None:
    raw = edit.get(ITEMS, key)
    if raw is not None and decode(raw) == expected:
        edit.put(ITEMS, key, _pack(fresh))


def unreadable_row(path: bytes, reason: str) -> Row:
    return Row(path, b"", 0, 0, 0, 0, 0, True, reason)
