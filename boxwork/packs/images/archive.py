"""A root as a tar file, and a tar file as a root.

Nothing that makes an operating system work is lost on the way: owners, set-id bits, links of both kinds, devices and
extended attributes (file capabilities).  Times are not kept: every member has the same one, so that equal roots are
equal files.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

from boxwork import Blob, Tree, TreeEntry, derivation, errors, tree
from boxwork.packs.images.recipe import EPOCH_S

# Files put together in one transaction.  Unit: bytes, files.
BATCH_BYTES = 8 * 1024 * 1024
BATCH_FILES = 512
# A file above this is streamed.  Unit: bytes.
STREAM_BYTES_MIN = 4 * 1024 * 1024
# Read and written at a time.  Unit: bytes.
PIECE_BYTES = 1024 * 1024
BLOCK_BYTES = 512
RECORD_BYTES = 10_240  # what tar rounds an archive up to
XATTR = "SCHILY.xattr."  # how tar, and everything since, names extended attributes in a pax header

Path = tuple[str, ...]


@derivation(name="image_tar", worker="thread")
def tar(root: Tree, epoch_s: int = EPOCH_S) -> Blob:
    """A root as one tar file."""
    store = cast(Any, root.store)
    return Blob(store.put_stream(tar_chunks(root, epoch_s), durable=False), store)


# --- writing ------------------------------------------------------------------------------------------------


def tar_chunks(root: Tree, epoch_s: int) -> Iterator[bytes]:
    """The tar file of a root, piece by piece."""
    yield from members(root, root.walk(), epoch_s)


def members(root: Tree, entries: Any, epoch_s: int, deleted: Any = ()) -> Iterator[bytes]:
    """A tar file of these (path, entry) of a root; `deleted` are names of empty files before them (whiteouts)."""
    total = 0
    written: dict[tuple[object, ...], str] = {}
    for name in deleted:
        header = _header(name, TreeEntry(name, "file", 0o644, 0, None, "", 0, 0), epoch_s, "")
        total += len(header)
        yield header
    for path, entry in entries:
        same = (entry.group, entry.ref, entry.mode, entry.uid, entry.gid, entry.attributes)
        first = written.get(same, "") if entry.group else ""
        header = _header(path, entry, epoch_s, first)
        total += len(header)
        yield header
        if entry.kind != "file" or first:
            continue
        if entry.group:
            written[same] = path
        for piece in _content(cast(Any, root.store), entry):
            total += len(piece)
            yield piece
    end = 2 * BLOCK_BYTES
    yield bytes(end + -(total + end) % RECORD_BYTES)


def _content(store: Any, entry: TreeEntry) -> Iterator[bytes]:
    """The bytes of a file, filled up to whole blocks."""
    seen = 0
    if entry.size < STREAM_BYTES_MIN:
        data = store.get(entry.content)
        seen = len(data)
        yield data + bytes(-seen % BLOCK_BYTES)
    else:
        with store.open(entry.content) as file:
            while piece := file.read(PIECE_BYTES):
                seen += len(piece)
                yield piece
        yield bytes(-seen % BLOCK_BYTES)
    if seen != entry.size:
        raise errors.BlobCorrupt(
            f"{entry.name!r} should have {entry.size} bytes, its blob has {seen}", ref=entry.content
        )


_TYPES = {
    "file": tarfile.REGTYPE,
    "directory": tarfile.DIRTYPE,
    "symlink": tarfile.SYMTYPE,
    "character": tarfile.CHRTYPE,
    "block": tarfile.BLKTYPE,
    "pipe": tarfile.FIFOTYPE,
}


def _header(path: str, entry: TreeEntry, epoch_s: int, first: str) -> bytes:
    info = tarfile.TarInfo(path)
    info.type = tarfile.LNKTYPE if first else _TYPES[entry.kind]
    info.mode = 0o777 if entry.kind == "symlink" else entry.mode
    info.uid, info.gid = entry.uid or 0, entry.gid or 0
    info.mtime = epoch_s
    info.linkname = first or entry.target
    if entry.kind == "file" and not first:
        info.size = entry.size
    if entry.device is not None:
        info.devmajor, info.devminor = entry.device
    if entry.attributes and not first:
        info.pax_headers = {XATTR + name: value.decode("utf-8", "surrogateescape") for name, value in entry.attributes}
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def pieces(file: BinaryIO) -> Iterator[bytes]:
    """What is left of a file, in pieces of bounded size."""
    while piece := file.read(PIECE_BYTES):
        yield piece


# --- reading ------------------------------------------------------------------------------------------------


def tree_of_tar(file: BinaryIO, store: Any, *, leave_out: frozenset[str] = frozenset()) -> Tree:
    """The root that a tar file holds; its blobs are put into `store`.  `leave_out` are paths.

    Raises `BadInput` for what is no tar file, or names something outside of it.
    """
    taken = _Taken(store)
    try:
        with tarfile.open(fileobj=file, mode="r|", errorlevel=2) as archive:
            for info in archive:
                path = _path(info.name)
                if not path:
                    continue
                if "/".join(path) not in leave_out:
                    taken.add(path, info, archive)
    except tarfile.TarError as reason:
        raise errors.BadInput(f"this is no whole tar file: {reason}") from reason
    taken.flush()
    return taken.tree()


def _path(name: str) -> Path:
    steps = tuple(step for step in name.split("/") if step not in ("", "."))
    if ".." in steps:
        raise errors.BadInput(f"{name!r} leads out of the archive", path=name)
    return steps


class _Taken:
    """What was read so far: entries by path, and the files whose bytes wait to be put."""

    def __init__(self, store: Any) -> None:
        self.store = store
        self.entries: dict[Path, TreeEntry] = {}
        self.linked: dict[Path, Path] = {}
        self.waiting: list[tuple[Path, TreeEntry, bytes]] = []
        self.waiting_bytes = 0

    def add(self, path: Path, info: tarfile.TarInfo, archive: tarfile.TarFile) -> None:
        attributes = tuple(
            sorted(
                (key.removeprefix(XATTR), value.encode("utf-8", "surrogateescape"))
                for key, value in info.pax_headers.items()
                if key.startswith(XATTR)
            )
        )
        made: dict[str, Any] = {"uid": info.uid, "gid": info.gid, "attributes": attributes}
        mode = info.mode & 0o7777
        if info.islnk():
            self.linked[path] = _path(info.linkname)
        elif info.isdir():
            self.entries[path] = TreeEntry(path[-1], "directory", mode, **made)
        elif info.issym():
            self.entries[path] = TreeEntry(path[-1], "symlink", target=info.linkname, **made)
        elif info.ischr() or info.isblk():
            kind: Any = "character" if info.ischr() else "block"
            self.entries[path] = TreeEntry(path[-1], kind, mode, device=(info.devmajor, info.devminor), **made)
        elif info.isfifo():
            self.entries[path] = TreeEntry(path[-1], "pipe", mode, **made)
        elif info.isreg():
            self._file(path, TreeEntry(path[-1], "file", mode, info.size, **made), archive.extractfile(info))
        else:
            raise errors.BadInput(f"{info.name!r} is of the kind {info.type!r}, which a root does not have")

    def _file(self, path: Path, entry: TreeEntry, content: Any) -> None:
        if entry.size >= STREAM_BYTES_MIN:
            ref = self.store.put_stream(pieces(content), durable=False)
            self.entries[path] = _with(entry, ref=ref)
            return
        data = content.read()
        self.waiting.append((path, entry, data))
        self.waiting_bytes += len(data)
        if len(self.waiting) >= BATCH_FILES or self.waiting_bytes >= BATCH_BYTES:
            self.flush()

    def flush(self) -> None:
        refs = self.store.put_many([data for _, _, data in self.waiting], durable=False)
        for (path, entry, _), ref in zip(self.waiting, refs, strict=True):
            self.entries[path] = _with(entry, ref=ref)
        self.waiting, self.waiting_bytes = [], 0

    def tree(self) -> Tree:
        """Spelled from the leaves up."""
        self._join()
        folders: dict[Path, list[TreeEntry]] = {(): []}
        for path, entry in self.entries.items():
            if entry.kind == "directory":
                folders.setdefault(path, [])
        for path, entry in self.entries.items():
            if entry.kind != "directory":
                self._folder(folders, path[:-1]).append(entry)
        for path in list(folders):
            self._folder(folders, path)
        below: dict[Path, list[TreeEntry]] = {}
        blobs: list[bytes] = []
        root = tree.encode([])
        for path in sorted(folders, key=len, reverse=True):
            root = tree.encode([*folders[path], *below.pop(path, [])])
            blobs.append(root)
            if path:
                entry = self.entries.get(path, TreeEntry(path[-1], "directory", 0o755, uid=0, gid=0))
                ref = _ref(root)
                below.setdefault(path[:-1], []).append(_with(entry, ref=ref))
        self.store.put_many(list(dict.fromkeys(blobs)), durable=False)
        return Tree(_ref(root), self.store)

    def _folder(self, folders: dict[Path, list[TreeEntry]], path: Path) -> list[TreeEntry]:
        """The folder of this path, with all above it, which a tar file need not name."""
        for length in range(len(path)):
            folders.setdefault(path[:length], [])
        return folders.setdefault(path, [])

    def _join(self) -> None:
        """Give files that share an inode the name of the first of them, in the order of a walk."""
        groups: dict[Path, list[Path]] = {}
        for path, first in self.linked.items():
            while first in self.linked:
                first = self.linked[first]
            if first not in self.entries or self.entries[first].kind != "file":
                raise errors.BadInput(f"{'/'.join(path)!r} is a link to {'/'.join(first)!r}, which is not there")
            groups.setdefault(first, [first]).append(path)
        for first, paths in groups.items():
            name = "/".join(min(paths, key=lambda path: [step.encode("utf-8", "surrogateescape") for step in path]))
            for path in paths:
                self.entries[path] = _with(self.entries[first], name=path[-1], group=name)


def _with(entry: TreeEntry, **fields: Any) -> TreeEntry:
    import msgspec

    return msgspec.structs.replace(entry, **fields)


def _ref(data: bytes) -> Any:
    from boxwork import ref_of

    return ref_of(data)
