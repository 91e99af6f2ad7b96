"""Bringing a tree back to disk: `checkout` stages beside the target and swaps, `switch` moves a symbolic link.

Nobody sees half a tree: the staged directory takes its name with one rename (`renameat2` with RENAME_EXCHANGE when
something stands there), and a crash leaves a hidden sibling that the next checkout of the same target removes.
Everything is made relative to descriptors of directories that this code has just made, with names that hold no
slash, so nothing is written through a link or outside the target.

A hard link shares the mode and the bytes of its inode with every other checkout.  Therefore
    - linked files are read-only: the write bits of the tree are dropped;
    - a blob's own file is only shared with files whose mode is 0444 and whose owner is ours; every other
      combination of mode and owner has a copy of its own, kept under blobs/links/MODE[-UID-GID]/ and linked from
      there by all checkouts that want it;
    - a linkable file has a modification time computed from its digest.  Whoever writes through a link (root can)
      moves that time, so a file that was written to is found before it is linked again.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import os
import posixpath
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Literal, Protocol

from boxwork.clock import SECOND_NS
from boxwork.content.staging import staged, take_place
from boxwork.content.store import storage_error
from boxwork.content.syncing import sync_directory, sync_file_system
from boxwork.content.tree_value import Tree, TreeEntry, check_depth, encode_names
from boxwork.errors import BadInput, BlobCorrupt, StorageError
from boxwork.keys import CHUNK_BYTES, PREFIX, Ref, ref_of_file

CopyMode = Literal["hardlink", "copy", "reflink"]
Symlinks = Literal["keep", "inside", "refuse"]
Progress = Callable[[int, int], None]

LINKS = Path("blobs", "links")

# Invented modification times lie in the 17 years from here on: 2001-09-09.  Unit: seconds.
EPOCH_S = 1_000_000_000
EPOCH_SPAN_S = 1 << 29
# Bytes of a blob that are written at once; larger ones are streamed.  Unit: bytes.
WHOLE_BYTES_MAX = 4 * 1024 * 1024
# Names between two calls of `progress`.
PROGRESS_NAMES = 256

# linux/fs.h: _IOW(0x94, 9, int)
_FICLONE = 0x40049409
# This inode, or this file system, takes no (more) hard links.
_NO_LINK = {errno.EMLINK, errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP}
_NO_CLONE = {errno.EOPNOTSUPP, errno.ENOTTY, errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EPERM}
_COUNTER = itertools.count()


class Source(Protocol):
    """What `checkout` needs of content; `root` and `file_path` only for links."""

    def get(self, ref: Ref) -> bytes: ...

    def open(self, ref: Ref) -> BinaryIO: ...


def checkout(
    content: Source,
    tree: Tree | Ref,
    target: str | os.PathLike[str],
    *,
    mode: CopyMode = "hardlink",
    replace: bool = False,
    ownership: bool = False,
    symlinks: Symlinks = "keep",
    mtime_ns: int | None = None,
    durable: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Make `target` a directory that holds the tree; answer with its path.

    mode       "hardlink": read-only files that share their bytes; "copy": files of their own, cloned where the
               file system can; "reflink": cloned, or refused
    replace    a directory that stands there is swapped out in one step and removed; without it that is refused
    ownership  give files to the uid and gid of the tree and set set-id bits; needs root for other people's
    symlinks   "inside" refuses links that point out of the tree, "refuse" refuses all
    mtime_ns   the modification time of copied files; by default one is invented from the digest
    durable    everything is on disk when this returns
    progress   called now and then with (names made, bytes in them)

    Raises `BadInput`, `BlobMissing`, `BlobCorrupt`, `StorageError`; then the target is what it was.
    """
    path = Path(os.path.abspath(target))
    value = tree if isinstance(tree, Tree) else Tree(tree, content)
    _check_target(path, replace)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with staged(path, "checkout") as staging:
            fd = os.open(staging, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                writer = _Writer(content, mode, ownership, symlinks, mtime_ns, progress)
                writer.root_fd = fd
                with contextlib.closing(writer):
                    writer.fill(fd, value, "", 0)
                    os.fchmod(fd, 0o755)
                    writer.tell()
                if durable:
                    sync_file_system(staging)
            finally:
                os.close(fd)
            take_place(staging, path, replace)
            if durable:
                sync_directory(path.parent)
    except OSError as reason:
        raise storage_error(reason.filename or path, reason) from reason
    return path


def switch(link: str | os.PathLike[str], directory: str | os.PathLike[str], *, durable: bool = False) -> str | None:
    """Point the symbolic link at `directory` in one step; answer with what it pointed to, None if it was not there.

    Giving that answer to `switch` again is a rollback.  A relative `directory` is relative to the link's own.
    """
    path = Path(os.path.abspath(link))
    goal = os.fspath(directory)
    if not os.path.isdir(path.parent / goal):
        raise BadInput(f"{goal!r} is no directory: check it out first, then switch {path} to it", path=goal)
    previous: str | None = None
    if path.is_symlink():
        previous = os.readlink(path)
    elif path.exists():
        raise BadInput(f"{path} is not a symbolic link: move it away, then switch", path=str(path))
    spare = path.parent / f".{path.name}.switch-{os.getpid()}-{next(_COUNTER)}"
    try:
        spare.unlink(missing_ok=True)
        os.symlink(goal, spare)
        os.replace(spare, path)
        if durable:
            sync_directory(path.parent)
    except OSError as reason:
        raise storage_error(path, reason) from reason
    return previous


def drop_unused_links(root: Path) -> tuple[int, int]:
    """Remove the linkable copies that no checkout uses any more; how many files, how many bytes."""
    files = freed = 0
    for directory, _, names in os.walk(root / LINKS):
        for name in names:
            path = os.path.join(directory, name)
            with contextlib.suppress(FileNotFoundError):
                status = os.lstat(path)
                if status.st_nlink == 1:
                    os.unlink(path)
                    files, freed = files + 1, freed + status.st_size
    return files, freed


def invented_mtime_ns(ref: Ref) -> int:
    """A modification time out of a digest: equal bytes have equal times, other bytes nearly always another.

    Programs that compare times (make, Python's bytecode, ETags of web servers) then notice a change of content,
    which a constant time would hide.
    """
    return (EPOCH_S + int(ref[len(PREFIX) : len(PREFIX) + 8], 16) % EPOCH_SPAN_S) * SECOND_NS


class _Writer:
    """Fills one staged directory."""

    def __init__(
        self,
        content: Source,
        mode: CopyMode,
        ownership: bool,
        symlinks: Symlinks,
        mtime_ns: int | None,
        progress: Progress | None,
    ) -> None:
        if mode not in ("hardlink", "copy", "reflink"):
            raise BadInput(f"mode={mode!r}: there are hardlink, copy and reflink")
        self._content = content
        self._mode = mode
        self._ownership = ownership
        self._symlinks = symlinks
        self._mtime_ns = mtime_ns
        self._progress = progress
        self._names = 0
        self._bytes = 0
        self._clone = True
        self._uid, self._gid = os.geteuid(), os.getegid()
        self._file_path: Callable[[Ref], Path | None] = getattr(content, "file_path", _nowhere)
        self.root_fd = -1
        self._groups: dict[tuple[object, ...], bytes] = {}
        self._variants: dict[tuple[int, int, int], int] = {}
        self._shards: set[tuple[int, str]] = set()
        self._links: Path | None = None
        if mode == "hardlink":
            root: Any = getattr(content, "root", None)
            if root is None:
                raise BadInput("this store has no directory to link from: use mode='copy'")
            self._links = Path(root) / LINKS

    def close(self) -> None:
        for fd in self._variants.values():
            os.close(fd)
        self._variants.clear()

    def tell(self) -> None:
        if self._progress is not None:
            self._progress(self._names, self._bytes)

    def fill(self, fd: int, tree: Tree, path: str, depth: int) -> None:
        """Make everything the tree holds in the directory open at `fd`."""
        check_depth(depth, path)
        for entry in tree.entries.values():
            if entry.kind == "file":
                if (entry.group and self._links is None) or (entry.attributes and self._ownership):
                    self._grouped(fd, entry, path)
                else:
                    self._file(fd, entry, path)
                self._bytes += entry.size
            elif entry.kind == "directory":
                os.mkdir(entry.name, 0o700, dir_fd=fd)
                below = os.open(entry.name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
                try:
                    self.fill(below, tree.subtree(entry), f"{path}{entry.name}/", depth + 1)
                    self._dress(below, entry, entry.mode)
                finally:
                    os.close(below)
            elif entry.kind == "symlink":
                self._link(fd, entry, path)
            else:
                self._special(fd, entry, path)
            self._names += 1
            if self._names % PROGRESS_NAMES == 0:
                self.tell()

    def _link(self, fd: int, entry: TreeEntry, path: str) -> None:
        if self._symlinks == "refuse" or (self._symlinks == "inside" and leads_out(path, entry.target)):
            raise BadInput(
                f"{path + entry.name!r} is a symbolic link to {entry.target!r}, which"
                f" symlinks={self._symlinks!r} does not allow",
                path=path + entry.name,
            )
        os.symlink(encode_names(entry.target), encode_names(entry.name), dir_fd=fd)
        if self._ownership and entry.uid is not None and entry.gid is not None:
            os.chown(entry.name, entry.uid, entry.gid, dir_fd=fd, follow_symlinks=False)

    def _dress(self, fd: int, entry: TreeEntry, mode: int) -> None:
        """Owner first: a change of owner clears the set-id bits and file capabilities."""
        if self._ownership and entry.uid is not None and entry.gid is not None:
            os.fchown(fd, entry.uid, entry.gid)
            os.fchmod(fd, mode)
        else:
            os.fchmod(fd, mode & 0o777)
        if self._ownership:
            for name, value in entry.attributes:
                os.setxattr(fd, encode_names(name), value)

    def _special(self, fd: int, entry: TreeEntry, path: str) -> None:
        """A device or a pipe.  Devices are a way around every permission, so they need `ownership` and root."""
        if entry.kind == "pipe":
            os.mkfifo(entry.name, 0o600, dir_fd=fd)
        elif not self._ownership or entry.device is None:
            raise BadInput(
                f"{path + entry.name!r} is a {entry.kind} device: check out with ownership=True, as root",
                path=path + entry.name,
            )
        else:
            kind = stat.S_IFCHR if entry.kind == "character" else stat.S_IFBLK
            os.mknod(entry.name, kind | 0o600, os.makedev(*entry.device), dir_fd=fd)
        if self._ownership and entry.uid is not None and entry.gid is not None:
            os.chown(entry.name, entry.uid, entry.gid, dir_fd=fd, follow_symlinks=False)
        # The name was made a moment ago in a directory that nobody else can enter, so it is no link.
        os.chmod(entry.name, entry.mode if self._ownership else entry.mode & 0o777, dir_fd=fd)

    def _grouped(self, fd: int, entry: TreeEntry, path: str) -> None:
        """A file with an inode of its own: it has attributes, or shares with the others of its group only."""
        same = (entry.group, entry.ref, entry.mode, entry.uid, entry.gid, entry.attributes)
        first = self._groups.get(same) if entry.group else None
        if first is not None:
            os.link(first, encode_names(entry.name), src_dir_fd=self.root_fd, dst_dir_fd=fd, follow_symlinks=False)
            return
        mode = entry.mode & (0o7555 if self._links is not None else 0o7777)
        stamp = invented_mtime_ns(entry.content) if self._mtime_ns is None else self._mtime_ns
        self._write(fd, entry, mode, stamp)
        if entry.group:
            self._groups[same] = encode_names(path + entry.name)

    def _file(self, fd: int, entry: TreeEntry, path: str) -> None:
        ref = entry.content
        if self._links is None:
            self._write(fd, entry, entry.mode, invented_mtime_ns(ref) if self._mtime_ns is None else self._mtime_ns)
            return
        mode = entry.mode & (0o7555 if self._ownership else 0o555)
        uid, gid = self._uid, self._gid
        if self._ownership and entry.uid is not None and entry.gid is not None:
            uid, gid = entry.uid, entry.gid
        variant = self._variants.get((mode, uid, gid))
        if variant is None:
            variant = self._open_variant(mode, uid, gid)
        digest = ref[len(PREFIX) :]
        name = f"{digest[:2]}/{digest}"
        stamp = invented_mtime_ns(ref)
        try:
            found = os.stat(name, dir_fd=variant)
            if found.st_mtime_ns == stamp and found.st_size == entry.size and found.st_mode & 0o7777 == mode:
                os.link(name, entry.name, src_dir_fd=variant, dst_dir_fd=fd)
                return
            os.unlink(name, dir_fd=variant)  # written to through a link, or torn by a power cut
        except FileNotFoundError:
            if mode == 0o444 and (uid, gid) == (self._uid, self._gid) and self._share(fd, entry, stamp):
                return
        except OSError as reason:
            if reason.errno not in _NO_LINK:
                raise
            os.unlink(name, dir_fd=variant)  # this inode takes no more links: the next ones get a new one
        self._write(fd, entry, mode, stamp)
        shard = (variant, digest[:2])
        if shard not in self._shards:
            with contextlib.suppress(FileExistsError):
                os.mkdir(shard[1], 0o700, dir_fd=variant)
            self._shards.add(shard)
        # Losing this race, or a file system without hard links, costs another copy the next time and nothing else.
        with contextlib.suppress(OSError):
            os.link(entry.name, name, src_dir_fd=fd, dst_dir_fd=variant, follow_symlinks=False)

    def _open_variant(self, mode: int, uid: int, gid: int) -> int:
        links = self._links
        if links is None:
            raise BadInput("there is no directory to link from: use mode='copy'")
        own = (uid, gid) == (self._uid, self._gid)
        directory = links / (f"{mode:04o}" if own else f"{mode:04o}-{uid}-{gid}")
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._variants[mode, uid, gid] = fd
        return fd

    def _share(self, fd: int, entry: TreeEntry, stamp: int) -> bool:
        """Link the blob's own file, if it is one and it is ours."""
        path = self._file_path(entry.content)
        if path is None:
            return False
        found = os.lstat(path)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != self._uid or found.st_gid != self._gid:
            return False
        if found.st_size != entry.size:
            raise _other_size(entry, found.st_size)
        if stat.S_IMODE(found.st_mode) != 0o444 or found.st_mtime_ns != stamp:
            if found.st_nlink > 1:
                with path.open("rb") as file:
                    if ref_of_file(file) != entry.content:
                        raise BlobCorrupt(
                            f"{path} was written to through a link: run `boxwork doctor`",
                            ref=entry.content,
                            path=str(path),
                        )
            # The directories above are 0700, so this mode opens the blob to nobody.
            os.chmod(path, 0o444)
            os.utime(path, ns=(stamp, stamp))
        try:
            os.link(path, entry.name, dst_dir_fd=fd)
        except OSError as reason:
            if reason.errno not in _NO_LINK:
                raise
            return False
        return True

    def _write(self, fd: int, entry: TreeEntry, mode: int, mtime_ns: int) -> None:
        out = os.open(
            encode_names(entry.name),
            os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC,
            0o600,
            dir_fd=fd,
        )
        try:
            self._fill_file(out, entry)
            self._dress(out, entry, mode)
            os.utime(out, ns=(mtime_ns, mtime_ns))
        finally:
            os.close(out)

    def _fill_file(self, out: int, entry: TreeEntry) -> None:
        path = self._file_path(entry.content) if self._clone else None
        if path is not None and self._try_clone(out, path, entry):
            return
        if self._mode == "reflink" and path is not None:
            raise StorageError(
                f"{path} cannot be cloned: this file system, or the way to another one, has no"
                " reflinks; use mode='copy' or mode='hardlink'",
                path=str(path),
            )
        if entry.size <= WHOLE_BYTES_MAX:
            data = self._content.get(entry.content)
            if len(data) != entry.size:
                raise _other_size(entry, len(data))
            written = os.write(out, data) if data else 0
            while written < len(data):
                written += os.write(out, memoryview(data)[written:])
            return
        total = 0
        with self._content.open(entry.content) as file:
            while chunk := file.read(CHUNK_BYTES):
                total += len(chunk)
                view = memoryview(chunk)
                while view:
                    view = view[os.write(out, view) :]
        if total != entry.size:
            raise _other_size(entry, total)

    def _try_clone(self, out: int, path: Path, entry: TreeEntry) -> bool:
        source = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            size = os.fstat(source).st_size
            if size != entry.size:
                raise _other_size(entry, size)
            fcntl.ioctl(out, _FICLONE, source)
        except OSError as reason:
            if reason.errno not in _NO_CLONE:
                raise
            # It will not work for the next file either: do not ask 16,000 times.
            self._clone = self._mode == "reflink"
            return False
        finally:
            os.close(source)
        return True


def leads_out(path: str, target: str) -> bool:
    """Does a link in the directory `path` (relative to the tree) with this target lead out of the tree."""
    if target.startswith("/"):
        return True
    # Lexical is enough only if no step before a `..` is itself a link, so a target may climb at its start only.
    steps = [step for step in target.split("/") if step not in ("", ".")]
    climbs = len(list(itertools.takewhile(lambda step: step == "..", steps)))
    return ".." in steps[climbs:] or climbs > len(posixpath.normpath(path).split("/")) * bool(path)


def _other_size(entry: TreeEntry, size: int) -> BlobCorrupt:
    return BlobCorrupt(
        f"the tree says that {entry.name!r} has {entry.size} bytes, the blob {entry.ref} has {size}", ref=entry.content
    )


def _nowhere(ref: Ref) -> Path | None:
    return None


def _check_target(path: Path, replace: bool) -> None:
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    except OSError as reason:
        raise storage_error(path, reason) from reason
    if stat.S_ISLNK(found.st_mode):
        raise BadInput(f"{path} is a symbolic link: check out beside it, then `switch` it", path=str(path))
    if not stat.S_ISDIR(found.st_mode):
        raise BadInput(f"{path} is a file: move it away, or choose another target", path=str(path))
    if not replace and os.listdir(path):
        raise BadInput(f"{path} is there already and not empty: pass replace=True to swap it out", path=str(path))
