"""A directory as a value: what a tree is, how it is spelled, and how it is read.

A tree is a blob.  Its bytes are the line `boxwork-tree 1` and then one record per name, sorted by the bytes of
the name, each closed by NUL (docs/trees.md has the grammar):

    f MODE OWNER SIZE HEX NAME NUL         a regular file and the blob of its bytes
    d MODE OWNER HEX NAME NUL              a directory and the blob of its tree
    l OWNER NAME NUL TARGET NUL            a symbolic link

MODE is four octal digits, OWNER is `uid:gid` or `-`.  Every value has exactly one spelling, so equal directories
have equal refs; times and inodes are not part of the value.  A reader refuses every other spelling: a tree may come
from a stranger, and its names end up in system calls.

A directory of an operating system may hold more, and then its first line is `boxwork-tree 2`:

    c MODE OWNER MAJOR:MINOR NAME NUL      a character device; b is a block device
    p MODE OWNER NAME NUL                  a pipe
    x HEX NAME NUL                         an extended attribute of the entry before it, in order of their names
    h GROUP NUL                            the file before it shares its inode with all others of this group

A directory without such records is spelled as version 1, so one value still has one spelling.  This file is long: it
is one format with its reader, its writer and the comparison.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import msgspec

from boxwork.errors import BadInput, BlobCorrupt, NotFound, TooLarge
from boxwork.keys import ENCODERS, PREFIX, Buffer, Ref, tree_form

HEADER = b"boxwork-tree 1\n"
HEADER_2 = b"boxwork-tree 2\n"
HEADERS = (HEADER, HEADER_2)

# A tree blob is read into memory whole.  Unit: bytes; about 2.5 million names in one directory.
TREE_BYTES_MAX = 256 * 1024 * 1024
# Names on Linux file systems are at most this long (NAME_MAX), link targets less than a page (PATH_MAX).  Unit: bytes.
NAME_BYTES_MAX = 255
TARGET_BYTES_MAX = 4095
# How deep directories may nest: each level keeps one descriptor and one Python frame.  Unit: levels.
DEPTH_MAX = 256
# A checked-out file cannot be larger than this on ext4 with 4 KiB blocks (16 TiB).  Unit: bytes.
FILE_BYTES_MAX = 1 << 44
OWNER_MAX = (1 << 32) - 2  # (uid_t)-1 means "leave it" to chown

# Attributes that one entry may carry, and bytes in one of them: ext4 keeps them all in one block, XFS takes 64 KiB.
ATTRIBUTES_MAX = 64
ATTRIBUTE_BYTES_MAX = 65_536
DEVICE_MAX = (1 << 32) - 1  # of a major or minor number

Kind = Literal["file", "directory", "symlink", "character", "block", "pipe"]
Attributes = tuple[tuple[str, bytes], ...]

_OWNER = rb"(-|\d{1,10}:\d{1,10})"
_HEX = rb"([0-9a-f]{64})"
_NAME = rb"(?!\.{1,2}\Z)([^/\0]{1,255})"
_FILE = re.compile(rb"f ([0-7]{4}) " + _OWNER + rb" (0|[1-9]\d{0,14}) " + _HEX + b" " + _NAME, re.DOTALL).fullmatch
_DIRECTORY = re.compile(rb"d ([0-7]{4}) " + _OWNER + b" " + _HEX + b" " + _NAME, re.DOTALL).fullmatch
_LINK = re.compile(b"l " + _OWNER + b" " + _NAME, re.DOTALL).fullmatch
_DEVICE = re.compile(
    rb"([cb]) ([0-7]{4}) " + _OWNER + rb" (0|[1-9]\d{0,9}):(0|[1-9]\d{0,9}) " + _NAME, re.DOTALL
).fullmatch
_PIPE = re.compile(rb"p ([0-7]{4}) " + _OWNER + b" " + _NAME, re.DOTALL).fullmatch
_ATTRIBUTE = re.compile(rb"x ((?:[0-9a-f]{2})*) ([^\0]{1,255})", re.DOTALL).fullmatch
_GROUP = re.compile(rb"h ([^\0]{1,4095})", re.DOTALL).fullmatch
_DEVICES: dict[bytes, Kind] = {b"c": "character", b"b": "block"}


class Readable(Protocol):
    """All that reading a tree needs of a store."""

    def get(self, ref: Ref) -> bytes: ...


class Keeper(Readable, Protocol):
    """What composing a tree needs of content."""

    def put(self, data: Buffer) -> Ref: ...

    def keep(self, ref: Ref) -> None: ...

    def size(self, ref: Ref) -> int: ...


class TreeEntry(msgspec.Struct, frozen=True, gc=False):
    """One name of a tree.

    `name` carries bytes that are not UTF-8 as surrogates (PEP 383).  `ref` is the blob of a file, the tree of a
    directory, None for all else; `size` counts the bytes of a file; `mode` holds permission bits only.  `device` is
    (major, minor), `attributes` are extended attributes in order of their names, and files of one `group` share one
    inode: its name is the path of the first of them where they were taken in.
    """

    name: str
    kind: Kind
    mode: int = 0
    size: int = 0
    ref: Ref | None = None
    target: str = ""
    uid: int | None = None
    gid: int | None = None
    device: tuple[int, int] | None = None
    attributes: Attributes = ()
    group: str = ""

    @property
    def content(self) -> Ref:
        """The ref of a file or directory; a link has none, and asking for it is the caller's mistake."""
        if self.ref is None:
            what = f"symbolic link to {self.target!r}" if self.kind == "symlink" else self.kind
            raise BadInput(f"{self.name!r} is a {what}: it has no content of its own")
        return self.ref


class Tree:
    """A directory as a value: `ref` is its name, `entries` its names; subtrees load when they are asked for.

    Trees are equal when their refs are.  `store` is only where to look.
    """

    __slots__ = ("_entries", "ref", "store")

    def __init__(self, ref: Ref, store: Readable, entries: Mapping[str, TreeEntry] | None = None) -> None:
        self.ref = ref
        self.store = store
        self._entries = entries

    @property
    def entries(self) -> Mapping[str, TreeEntry]:
        """Name → entry, in the order of the names' bytes."""
        if self._entries is None:
            self._entries = {entry.name: entry for entry in decode(self.store.get(self.ref), self.ref)}
        return self._entries

    def subtree(self, entry: TreeEntry) -> Tree:
        if entry.kind != "directory":
            raise BadInput(f"{entry.name!r} is a {entry.kind}, not a directory")
        return Tree(entry.content, self.store)

    def walk(self, prefix: str = "") -> Iterator[tuple[str, TreeEntry]]:
        """Every path below with its entry; a directory comes before what it holds.  Links are not followed."""
        return self._walk(prefix, 0)

    def _walk(self, prefix: str, depth: int) -> Iterator[tuple[str, TreeEntry]]:
        check_depth(depth, prefix)
        for entry in self.entries.values():
            path = prefix + entry.name
            yield path, entry
            if entry.kind == "directory":
                yield from self.subtree(entry)._walk(path + "/", depth + 1)

    def find(self, path: str) -> TreeEntry:
        """The entry at `path`: relative, with `/` between names, links not followed.  Raises `NotFound`."""
        *above, name = path.split("/")
        here: Tree | None = self
        for step in above:
            entry = here.entries.get(step) if here is not None else None
            here = here.subtree(entry) if here is not None and entry is not None and entry.kind == "directory" else None
        found = here.entries.get(name) if here is not None else None
        if found is None:
            raise NotFound(f"there is no {path!r} in the tree {self.ref}", path=path, ref=self.ref)
        return found

    def read(self, path: str) -> bytes:
        """The bytes of the file at `path`."""
        entry = self.find(path)
        if entry.kind != "file":
            raise BadInput(f"{path!r} is a {entry.kind}, not a file", path=path)
        return self.store.get(entry.content)

    def follow(self) -> Iterator[Ref]:
        """The refs this one directory holds on to, one level deep (see `references`)."""
        return references(self.store.get(self.ref), self.ref)

    def __eq__(self, other: object) -> bool:
        return self.ref == other.ref if isinstance(other, Tree) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.ref)

    def __repr__(self) -> str:
        return f"<tree {self.ref}>"


ENCODERS[Tree] = lambda value, out, describe: out.append(tree_form(value.ref.digest))


# --- spelling -----------------------------------------------------------------------------------------------


def encode_names(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def decode_names(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def encode(entries: Iterable[TreeEntry]) -> bytes:
    """The one spelling of these entries.  Raises `BadInput` for what cannot be a directory."""
    rows: list[tuple[bytes, bytes]] = []
    header = HEADER
    for entry in entries:
        name = encode_names(entry.name)
        if reason := name_fault(name):
            raise BadInput(f"{entry.name!r} cannot be a name in a tree: {reason}", name=entry.name)
        owner = b"-" if entry.uid is None or entry.gid is None else b"%d:%d" % (entry.uid, entry.gid)
        if entry.kind == "symlink":
            target = encode_names(entry.target)
            if reason := target_fault(target):
                raise BadInput(f"{entry.name!r} cannot link to {entry.target!r}: {reason}", name=entry.name)
            record = link_record(owner, name, target)
        elif entry.kind == "file":
            record = file_record(entry.mode, owner, entry.size, entry.content.hex.encode(), name)
        elif entry.kind == "directory":
            record = directory_record(entry.mode, owner, entry.content.hex.encode(), name)
        else:
            record = special_record(entry, owner, name)
            header = HEADER_2
        if entry.attributes or entry.group:
            record += _more(entry)
            header = HEADER_2
        rows.append((name, record))
    rows.sort()
    for (name, _), (following, _) in itertools.pairwise(rows):
        if name == following:
            raise BadInput(f"{decode_names(name)!r} stands twice in one directory", name=decode_names(name))
    return header + b"".join(record for _, record in rows)


def special_record(entry: TreeEntry, owner: bytes, name: bytes) -> bytes:
    if entry.kind == "pipe":
        return b"p %04o %b %b\0" % (entry.mode, owner, name)
    if entry.device is None or not all(0 <= number <= DEVICE_MAX for number in entry.device):
        raise BadInput(f"{entry.name!r} is a {entry.kind} device without its numbers: {entry.device!r}")
    letter = b"c" if entry.kind == "character" else b"b"
    return b"%b %04o %b %d:%d %b\0" % (letter, entry.mode, owner, *entry.device, name)


def _more(entry: TreeEntry) -> bytes:
    """The records behind an entry: its attributes, and the group of its inode."""
    names = [encode_names(name) for name, _ in entry.attributes]
    if names != sorted(set(names)) or len(names) > ATTRIBUTES_MAX:
        raise BadInput(f"{entry.name!r}: at most {ATTRIBUTES_MAX} attributes, each once, in order of their names")
    parts: list[bytes] = []
    for name, (_, value) in zip(names, entry.attributes, strict=True):
        if not 0 < len(name) <= NAME_BYTES_MAX or b"\0" in name or len(value) > ATTRIBUTE_BYTES_MAX:
            raise BadInput(f"{entry.name!r} cannot have the attribute {name[:40]!r} of {len(value)} bytes")
        parts.append(b"x %b %b\0" % (value.hex().encode(), name))
    if entry.group:
        group = encode_names(entry.group)
        if entry.kind != "file" or target_fault(group):
            raise BadInput(f"{entry.name!r} is a {entry.kind}: only files share an inode, named by a path")
        parts.append(b"h %b\0" % group)
    return b"".join(parts)


def compose(content: Keeper, files: Mapping[str, Ref], *, mode: int = 0o644) -> Tree:
    """A directory of blobs that are here already, as a tree; they become durable with it.  Raises `BlobMissing`."""
    for ref in files.values():
        content.keep(ref)
    entries = [TreeEntry(name, "file", mode, content.size(ref), ref) for name, ref in files.items()]
    return Tree(content.put(encode(entries)), content)


def file_record(mode: int, owner: bytes, size: int, digest_hex: bytes, name: bytes) -> bytes:
    return b"f %04o %b %d %b %b\0" % (mode, owner, size, digest_hex, name)


def directory_record(mode: int, owner: bytes, digest_hex: bytes, name: bytes) -> bytes:
    return b"d %04o %b %b %b\0" % (mode, owner, digest_hex, name)


def link_record(owner: bytes, name: bytes, target: bytes) -> bytes:
    return b"l %b %b\0%b\0" % (owner, name, target)


def is_tree(data: bytes) -> bool:
    """Do these bytes begin like a tree.  Anybody can put such bytes: `decode` says whether they are one."""
    return data.startswith(HEADERS)


def decode(data: bytes, ref: Ref) -> list[TreeEntry]:
    """The entries that these bytes spell.  Raises `BlobCorrupt` for every other spelling, naming the record."""
    return list(_entries(data, ref))


def references(data: bytes, ref: Ref) -> Iterator[Ref]:
    """The refs that a tree's bytes name: what gc must keep with it.  Subtrees are trees again."""
    for entry in _entries(data, ref):
        if entry.ref is not None:
            yield entry.ref


def held_in(data: bytes, ref: Ref) -> list[tuple[Ref, int | None]]:
    """The blobs that a tree's bytes name, each file with its size, each subtree with None.

    For a tree that was read before, by `decode`: a tenth of its price, because names and modes are passed over unread.
    """
    if not data.startswith(HEADERS):
        raise BlobCorrupt(f"{ref} is not a tree: it begins with {data[:20]!r}, not {HEADER!r}", ref=ref)
    found: list[tuple[Ref, int | None]] = []
    records = iter(data[len(HEADER) :].split(b"\0"))
    try:
        for record in records:
            kind = record[:2]
            if kind == b"f ":
                _, _, _, size, digest, _ = record.split(b" ", 5)
                found.append((Ref(PREFIX + digest.decode("ascii")), int(size)))
            elif kind == b"d ":
                _, _, _, digest, _ = record.split(b" ", 4)
                found.append((Ref(PREFIX + digest.decode("ascii")), None))
            elif kind == b"l ":
                next(records)  # its target, which may look like anything
    except (ValueError, StopIteration):
        raise _malformed(ref, f"the record {record[:120]!r}") from None
    return found


def _entries(data: bytes, ref: Ref) -> Iterator[TreeEntry]:
    if not data.startswith(HEADERS):
        raise BlobCorrupt(f"{ref} is not a tree: it begins with {data[:20]!r}, not {HEADER!r}", ref=ref)
    if len(data) > TREE_BYTES_MAX:
        raise TooLarge(f"the tree {ref} has {len(data)} bytes; at most {TREE_BYTES_MAX} are read", ref=ref)
    body = data[len(HEADER) :]
    second = data.startswith(HEADER_2)
    if not body and not second:
        return
    if not body.endswith(b"\0"):
        raise _malformed(ref, "it ends in the middle of a record")
    records = body[:-1].split(b"\0")
    fields = iter(records)
    last = b""
    extended = False
    position = 0  # of the next record
    for record in fields:
        position += 1
        entry = _entry(record, fields, ref, second)
        position += entry.kind == "symlink"
        if second:
            more: list[bytes] = []
            while position < len(records) and records[position].startswith((b"x ", b"h ")):
                more.append(next(fields))
                position += 1
            extended = extended or bool(more) or entry.kind in ("character", "block", "pipe")
            entry = _extend(entry, more, ref) if more else entry
        name = encode_names(entry.name)
        if name <= last:
            raise _malformed(ref, f"the name {name!r} does not come after {last!r}")
        last = name
        yield entry
    if second and not extended:
        raise _malformed(ref, "nothing in it needs version 2, so it is spelled as version 1")


def _entry(record: bytes, fields: Iterator[bytes], ref: Ref, second: bool) -> TreeEntry:
    uid: int | None
    gid: int | None
    if match := _FILE(record):
        mode, owner, size, digest, name = match.groups()
        uid, gid = (None, None) if owner == b"-" else _owner(owner, ref)
        bytes_count = int(size)
        if bytes_count > FILE_BYTES_MAX:
            raise _malformed(ref, f"a file of {bytes_count} bytes")
        return TreeEntry(
            decode_names(name), "file", int(mode, 8), bytes_count, Ref(PREFIX + digest.decode()), "", uid, gid
        )
    if match := _DIRECTORY(record):
        mode, owner, digest, name = match.groups()
        uid, gid = (None, None) if owner == b"-" else _owner(owner, ref)
        return TreeEntry(decode_names(name), "directory", int(mode, 8), 0, Ref(PREFIX + digest.decode()), "", uid, gid)
    if match := _LINK(record):
        owner, name = match.groups()
        uid, gid = (None, None) if owner == b"-" else _owner(owner, ref)
        target = next(fields, b"")
        if reason := target_fault(target):
            raise _malformed(ref, f"the link {name!r}: {reason}")
        return TreeEntry(decode_names(name), "symlink", 0, 0, None, decode_names(target), uid, gid)
    if second and (match := _DEVICE(record)):
        letter, mode, owner, major, minor, name = match.groups()
        uid, gid = (None, None) if owner == b"-" else _owner(owner, ref)
        device = int(major), int(minor)
        if max(device) > DEVICE_MAX:
            raise _malformed(ref, f"the device {device}")
        return TreeEntry(decode_names(name), _DEVICES[letter], int(mode, 8), uid=uid, gid=gid, device=device)
    if second and (match := _PIPE(record)):
        mode, owner, name = match.groups()
        uid, gid = (None, None) if owner == b"-" else _owner(owner, ref)
        return TreeEntry(decode_names(name), "pipe", int(mode, 8), uid=uid, gid=gid)
    reason = name_fault(record.rpartition(b" ")[2])
    raise _malformed(ref, f"the record {record[:120]!r}" + (f": {reason}" if reason else ""))


def _extend(entry: TreeEntry, more: list[bytes], ref: Ref) -> TreeEntry:
    """The entry with what the records behind it say."""
    attributes: list[tuple[str, bytes]] = []
    group, last = b"", b""
    for record in more:
        if group or len(attributes) == ATTRIBUTES_MAX:
            raise _malformed(ref, f"{record[:120]!r} stands behind the last record of {entry.name!r}")
        if match := _ATTRIBUTE(record):
            value, name = match.groups()
            if name <= last or len(value) > 2 * ATTRIBUTE_BYTES_MAX:
                raise _malformed(ref, f"the attribute {name!r} of {entry.name!r}")
            attributes.append((decode_names(name), bytes.fromhex(value.decode())))
            last = name
        elif entry.kind == "file" and (match := _GROUP(record)):
            group = match.group(1)
        else:
            raise _malformed(ref, f"the record {record[:120]!r} behind {entry.name!r}")
    return msgspec.structs.replace(entry, attributes=tuple(attributes), group=decode_names(group))


def name_fault(name: bytes) -> str:
    """What keeps these bytes from being one name in a directory; empty if nothing does."""
    if not name:
        return "it is empty"
    if name in (b".", b".."):
        return "it points out of its place"
    if b"/" in name or b"\0" in name:
        return "a name has no / and no NUL"
    if len(name) > NAME_BYTES_MAX:
        return f"it has {len(name)} bytes, the limit is {NAME_BYTES_MAX}"
    return ""


def target_fault(target: bytes) -> str:
    if not target or b"\0" in target:
        return "a target is not empty and has no NUL"
    if len(target) > TARGET_BYTES_MAX:
        return f"its target has {len(target)} bytes, the limit is {TARGET_BYTES_MAX}"
    return ""


def check_depth(depth: int, path: str) -> None:
    if depth > DEPTH_MAX:
        raise TooLarge(f"directories nest deeper than {DEPTH_MAX} levels at {path[:200]!r}", path=path[:200])


def _owner(raw: bytes, ref: Ref) -> tuple[int, int]:
    uid, _, gid = raw.partition(b":")
    if b"%d:%d" % (int(uid), int(gid)) != raw or max(int(uid), int(gid)) > OWNER_MAX:
        raise _malformed(ref, f"the owner {raw!r}")
    return int(uid), int(gid)


def _malformed(ref: Ref, what: str) -> BlobCorrupt:
    return BlobCorrupt(f"{ref} is not a tree as this version spells it: {what}", ref=ref)


# --- comparing ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Change:
    """How one path differs: `before` is None when it was added, `after` when it was removed."""

    path: str
    before: TreeEntry | None
    after: TreeEntry | None

    @property
    def kind(self) -> Literal["added", "removed", "changed"]:
        if self.before is None:
            return "added"
        return "removed" if self.after is None else "changed"


def diff(before: Tree, after: Tree) -> Iterator[Change]:
    """What changed, path by path, in order.  Equal subtrees are never loaded: the cost is that of the difference.

    A directory that came or went is told with everything in it; one whose mode or owner differs is told itself.
    """
    return _diff(before, after, "", 0)


def _diff(before: Tree | None, after: Tree | None, prefix: str, depth: int) -> Iterator[Change]:
    check_depth(depth, prefix)
    if before is not None and after is not None and before.ref == after.ref:
        return
    old = before.entries if before is not None else {}
    new = after.entries if after is not None else {}
    for name in sorted(old.keys() | new.keys(), key=encode_names):
        was, now = old.get(name), new.get(name)
        if was == now:
            continue
        path = prefix + name
        if was is None or now is None or _outside(was) != _outside(now):
            yield Change(path, was, now)
        yield from _diff(_below(before, was), _below(after, now), path + "/", depth + 1)


def _outside(entry: TreeEntry) -> tuple[object, ...]:
    """What an entry says by itself: for a directory, all but its content, which is told below it."""
    content = None if entry.kind == "directory" else entry.ref
    more = (entry.device, entry.attributes, entry.group)
    return (entry.kind, entry.mode, entry.size, content, entry.target, entry.uid, entry.gid, *more)


def _below(tree: Tree | None, entry: TreeEntry | None) -> Tree | None:
    if tree is None or entry is None or entry.kind != "directory":
        return None
    return tree.subtree(entry)
