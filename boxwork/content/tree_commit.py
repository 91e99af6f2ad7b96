"""Taking a directory in: `commit` turns what lies on disk into a tree.

Three passes.  The walk compares every name with the stat index and notes what has to be read; meanwhile two
threads read those files in batches and put them; at the end the trees are spelled from the leaves up, and only
directories in which something differs are spelled at all.

Directories are walked by descriptor and without following links, so a rename meanwhile cannot lead outside.
"""

from __future__ import annotations

import fnmatch
import os
import re
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from boxwork.clock import Clock, SystemClock
from boxwork.content.tree_index import ROW_VERSION, Row, Status, TreeIndex
from boxwork.content.tree_reader import ATTEMPTS_MAX, VANISHED_SIZE, Folder, Keeper, Progress, Reader, unreadable
from boxwork.content.tree_system import complete
from boxwork.content.tree_value import (
    HEADER,
    NAME_BYTES_MAX,
    Tree,
    check_depth,
    decode_names,
    directory_record,
    encode_names,
    file_record,
    link_record,
)
from boxwork.errors import BadInput, Busy
from boxwork.keys import ref_of, ref_of_digest

Modes = Literal["exact", "executable"]
Special = Literal["refuse", "skip"]
Ignore = Callable[[str, bool], bool]

# Tree blobs put in one group commit.
TREES_PER_PUT = 1_000

_DIRECTORY = stat.S_IFDIR
_REGULAR = stat.S_IFREG
_LINK = stat.S_IFLNK
_NO_CONTENT = b""


def commit(
    content: Keeper,
    directory: str | os.PathLike[str],
    *,
    index: TreeIndex | None = None,
    ignore: Ignore | Sequence[str] = (),
    follow: bool = False,
    ownership: bool = False,
    modes: Modes = "exact",
    special: Special = "refuse",
    whole: bool = False,
    durable: bool = True,
    clock: Clock | None = None,
    progress: Progress | None = None,
) -> Tree:
    """Take in `directory` as it is now and answer with its tree.

    ignore     names or paths to leave out: glob patterns (one with a `/` is matched against the path), or a
               function of (relative path, is it a directory)
    follow     take in what symbolic links point to, in their place
    ownership  make uid, gid, set-id and sticky bits part of the value; otherwise only the nine permission bits are
    modes      "executable" keeps only whether a file can be run (0755 or 0644), as git does
    special    sockets, devices and pipes: refuse the directory, or skip them
    whole      make all that an operating system keeps part of the value: `ownership`, extended attributes, shared
               inodes, devices and pipes (`tree_system`); without it attributes and sharing are not looked at
    durable    the blobs are on disk when this returns
    progress   called now and then with (names seen, files read, bytes read)

    Raises `BadInput` for what cannot be taken in, `Busy` when a file never holds still.
    """
    path = Path(directory)
    if whole:
        if follow:
            raise BadInput("whole=True keeps links as they are: commit with follow=False")
        pass_over = ignore if callable(ignore) else _patterns(ignore)
        plain = commit(
            content, path, index=index, ignore=pass_over or (), ownership=True, modes=modes, special="skip",
            durable=durable, clock=clock, progress=progress,
        )  # fmt: skip
        return complete(content, path, plain, ignore=pass_over, special=special, durable=durable)
    if index is None:
        database = getattr(content, "cache_db", None)
        index = TreeIndex(database)
    variant = ownership | (modes == "executable") << 1 | follow << 2
    pass_over = ignore if callable(ignore) else _patterns(ignore)
    now = clock or getattr(content, "clock", None) or SystemClock()
    distrusted: set[bytes] = set()
    for _ in range(ATTEMPTS_MAX):
        reader = Reader(content, durable, now, follow, progress)
        walk = _Walk(index, variant, pass_over, follow, special, reader, distrusted)
        try:
            walk.visit(_open_root(path), str(path), "", 0, ())
            reader.finish()
        except OSError as reason:
            raise unreadable(reason.filename or str(path), reason) from reason
        finally:
            reader.close()
            for folder in walk.folders:
                folder.close()
        # What the index knows may have been swept since; what is touched here is safe from a sweep that runs now.
        kept = [folder.row.tree for folder in walk.folders if folder.same and folder.row is not None]
        absent = {ref.digest for ref in content.touch(map(ref_of_digest, {*walk.reused, *kept}))}
        distrusted |= absent.intersection(walk.reused)
        if not distrusted.intersection(walk.reused):
            return _assemble(content, index, walk.folders, absent, ownership, modes, durable)
    raise Busy(f"blobs of {path} are deleted as fast as they are put: let the sweep end first", path=str(path))


class _Walk:
    """The first pass.  `folders` fills from the leaves up; `reused` are the blobs taken from the index unread."""

    def __init__(
        self,
        index: TreeIndex,
        variant: int,
        ignore: Ignore | None,
        follow: bool,
        special: Special,
        reader: Reader,
        distrusted: set[bytes],
    ) -> None:
        self._index = index
        self._variant = variant
        self._ignore = ignore
        self._follow = follow
        self._special = special
        self._reader = reader
        self._distrusted = distrusted
        self.folders: list[Folder] = []
        self.reused: list[bytes] = []

    def visit(self, fd: int, path: str, relative: str, depth: int, above: tuple[tuple[int, int], ...]) -> Folder:
        """Look at the directory open at `fd` (this call owns it) and everything below."""
        status = os.fstat(fd)
        here = (status.st_dev, status.st_ino)
        key = self._index.key(*here, self._variant)
        folder = Folder(fd, path, key, self._index.row(key))
        try:
            check_depth(depth, path)
            if here in above:
                raise BadInput(f"{path} leads back to a directory it lies in: commit with follow=False", path=path)
            unread, below = self._list(folder, relative)
            for position in unread:
                self._reader.add(folder, position)
            for position in below:
                name = folder.names[position]
                child = self.visit(
                    self._open(folder, name), f"{path}/{name}", f"{relative}{name}/", depth + 1, (*above, here)
                )
                folder.children.append((position, child))
        except BaseException:
            folder.close()
            raise
        self._reader.release(folder)
        self.folders.append(folder)
        return folder

    def _list(self, folder: Folder, relative: str) -> tuple[list[int], list[int]]:
        """Fill in names, statuses and known contents; which positions must be read, which are directories."""
        known, row, reused, distrusted = {}, folder.row, self.reused, self._distrusted
        if row is not None and row.names:
            known = dict(
                zip(decode_names(row.names).split("\0"), zip(row.statuses, row.contents, strict=True), strict=True)
            )
        names, statuses, contents = folder.names, folder.statuses, folder.contents
        unread: list[int] = []
        below: list[int] = []
        ignore, follow, fd = self._ignore, self._follow, folder.fd
        try:
            entries = os.scandir(fd)
        except OSError as reason:
            raise unreadable(folder.path, reason) from reason
        with entries:
            for entry in entries:
                name = entry.name
                try:
                    status = entry.stat(follow_symlinks=False)
                    if follow and status.st_mode & 0o170000 == _LINK:
                        status = self._follow_link(folder, name)
                    mode = status.st_mode
                    kind = mode & 0o170000
                    content = os.fsencode(os.readlink(name, dir_fd=fd)) if kind == _LINK else _NO_CONTENT
                except FileNotFoundError:
                    continue  # what vanishes meanwhile was not there
                except OSError as reason:
                    raise unreadable(f"{folder.path}/{name}", reason) from reason
                if ignore is not None and ignore(relative + name, kind == _DIRECTORY):
                    continue
                if kind == _REGULAR:
                    facts: Status = (
                        mode,
                        status.st_size,
                        status.st_mtime_ns,
                        status.st_ctime_ns,
                        status.st_ino,
                        status.st_dev,
                        status.st_uid,
                        status.st_gid,
                    )
                else:
                    if kind not in (_DIRECTORY, _LINK):
                        self._refuse_special(folder, name, kind)
                        continue
                    facts = (mode, 0, 0, 0, 0, 0, status.st_uid, status.st_gid)
                seen = known.get(name)
                if seen is None or seen[0] != facts or (kind == _LINK and seen[1] != content):
                    folder.same = False
                elif kind != _LINK:
                    content = seen[1]
                if kind == _DIRECTORY:
                    below.append(len(names))
                elif kind == _REGULAR:
                    if content is _NO_CONTENT or content in distrusted:
                        folder.same = False
                        unread.append(len(names))
                    else:
                        reused.append(content)
                names.append(name)
                statuses.append(facts)
                contents.append(content)
        if len(names) != len(known):
            folder.same = False
        self._reader.seen += len(names)
        return unread, below

    def _follow_link(self, folder: Folder, name: str) -> os.stat_result:
        try:
            return os.stat(name, dir_fd=folder.fd)
        except FileNotFoundError:
            path = f"{folder.path}/{name}"
            raise BadInput(
                f"{path!r} is a link to nothing: commit with follow=False, or ignore it", path=path
            ) from None

    def _refuse_special(self, folder: Folder, name: str, kind: int) -> None:
        if self._special == "refuse":
            path = f"{folder.path}/{name}"
            raise BadInput(
                f"{path!r} is {_special_name(kind)}, which has no content to keep: commit with whole=True"
                " (sockets never), or special='skip', or ignore it",
                path=path,
            )

    def _open(self, folder: Folder, name: str) -> int:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | (0 if self._follow else os.O_NOFOLLOW)
        try:
            return os.open(name, flags, dir_fd=folder.fd)
        except OSError as reason:
            raise unreadable(f"{folder.path}/{name}", reason) from reason


def _assemble(
    content: Keeper,
    index: TreeIndex,
    folders: list[Folder],
    absent: set[bytes],
    ownership: bool,
    modes: Modes,
    durable: bool,
) -> Tree:
    """The third pass: spell the trees from the leaves up, put the new ones, remember what was seen."""
    fresh: dict[bytes, bytes] = {}
    rows: list[tuple[bytes, Row]] = []
    for folder in folders:
        row, same = folder.row, folder.same
        for position, child in folder.children:
            same = same and folder.contents[position] == child.tree
            folder.contents[position] = child.tree
        if same and row is not None and row.tree not in absent:
            folder.tree = row.tree
            continue
        names, data, statuses, contents = _spell(folder, ownership, modes)
        folder.tree = ref_of(data).digest
        fresh[folder.tree] = data
        rows.append((folder.key, Row(ROW_VERSION, folder.tree, b"\0".join(names), statuses, contents)))
    trees = list(fresh.values())  # from the leaves up, so that a crash leaves no tree without its subtrees
    for start in range(0, len(trees), TREES_PER_PUT):
        content.put_many(list(trees[start : start + TREES_PER_PUT]), durable=durable)
    index.store(rows)
    return Tree(ref_of_digest(folders[-1].tree), content)


def _spell(folder: Folder, ownership: bool, modes: Modes) -> tuple[list[bytes], bytes, list[Status], list[bytes]]:
    found = sorted(
        (encode_names(name), status, held)
        for name, status, held in zip(folder.names, folder.statuses, folder.contents, strict=True)
        if status[1] != VANISHED_SIZE
    )
    parts = [HEADER]
    mask = 0o7777 if ownership else 0o777
    for name, status, held in found:
        if len(name) > NAME_BYTES_MAX:
            raise BadInput(
                f"{folder.path}/{decode_names(name)!r} has a name of {len(name)} bytes; the limit is {NAME_BYTES_MAX}",
                path=folder.path,
            )
        kind = status[0] & 0o170000
        owner = b"%d:%d" % (status[6], status[7]) if ownership else b"-"
        mode = status[0] & mask
        if modes == "executable":
            mode = 0o755 if kind == _DIRECTORY or mode & 0o111 else 0o644
        if kind == _REGULAR:
            parts.append(file_record(mode, owner, status[1], held.hex().encode(), name))
        elif kind == _DIRECTORY:
            parts.append(directory_record(mode, owner, held.hex().encode(), name))
        else:
            parts.append(link_record(owner, name, held))
    return [name for name, _, _ in found], b"".join(parts), [s for _, s, _ in found], [h for _, _, h in found]


def _patterns(patterns: Sequence[str]) -> Ignore | None:
    if isinstance(patterns, str):
        raise BadInput(f"ignore={patterns!r}: give a list of patterns, ignore=[{patterns!r}]")
    if not patterns:
        return None
    by_name = [fnmatch.translate(pattern.rstrip("/")) for pattern in patterns if "/" not in pattern.rstrip("/")]
    by_path = [fnmatch.translate(pattern.strip("/")) for pattern in patterns if "/" in pattern.rstrip("/")]
    name_matches = re.compile("|".join(by_name)).match if by_name else None
    path_matches = re.compile("|".join(by_path)).match if by_path else None

    def ignore(path: str, directory: bool) -> bool:
        if name_matches is not None and name_matches(path.rpartition("/")[2]):
            return True
        return path_matches is not None and path_matches(path) is not None

    return ignore


def _open_root(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except NotADirectoryError as reason:
        raise BadInput(f"{path} is not a directory: put a single file with `put`", path=str(path)) from reason
    except OSError as reason:
        raise unreadable(str(path), reason) from reason


def _special_name(kind: int) -> str:
    names = {
        stat.S_IFSOCK: "a socket",
        stat.S_IFIFO: "a pipe",
        stat.S_IFBLK: "a block device",
        stat.S_IFCHR: "a character device",
    }
    return names.get(kind, "no regular file")
