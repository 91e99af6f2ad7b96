"""What an operating system keeps of a directory beyond names, bytes and modes, read into a tree.

Extended attributes, files that share an inode, devices and pipes: few files have any of them, and asking costs a
system call for each file, so `commit(whole=True)` does it in a pass of its own over the tree that it took in.  What
cannot be part of a tree is refused by its path; nothing is lost in silence.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from typing import Any, Literal, Protocol

import msgspec

from boxwork.content.tree_reader import unreadable
from boxwork.content.tree_value import ATTRIBUTE_BYTES_MAX, Attributes, Kind, Tree, TreeEntry, encode
from boxwork.errors import BadInput
from boxwork.keys import Ref, ref_of

# Attributes that belong to a file: a user's, what a program may do, who else may read it.  All others (SELinux labels,
# IMA, the overlay's notes) belong to the machine or the file system on which it lies.
KEPT = ("user.", "security.capability", "system.posix_acl_")
_NO_ATTRIBUTES = (errno.ENOTSUP, errno.ENODATA)
_SPECIAL: dict[int, Kind] = {stat.S_IFCHR: "character", stat.S_IFBLK: "block", stat.S_IFIFO: "pipe"}
# Tree blobs put in one group commit.
TREES_PER_PUT = 1_000


class Keeper(Protocol):
    """What completing a tree needs of content."""

    def get(self, ref: Ref) -> bytes: ...

    def put_many(self, blobs: Any, *, durable: bool = True) -> list[Ref]: ...


def complete(
    content: Keeper,
    directory: str | os.PathLike[str],
    tree: Tree,
    *,
    ignore: Callable[[str, bool], bool] | None,
    special: Literal["refuse", "skip"],
    durable: bool,
) -> Tree:
    """The tree of this directory with all that `commit` left out.  Names that came meanwhile are not in it."""
    seen = _Seen(ignore, special)
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    seen.look(fd, os.fspath(directory), tree, "")
    groups = {path: sorted(paths, key=os.fsencode)[0] for paths in seen.shared.values() if len(paths) > 1
              for path in paths}  # fmt: skip
    fresh: dict[Ref, bytes] = {}
    ref = seen.spell(tree, "", groups, fresh)
    blobs = list(fresh.values())
    for start in range(0, len(blobs), TREES_PER_PUT):
        content.put_many(blobs[start : start + TREES_PER_PUT], durable=durable)
    return Tree(ref, content)


def attributes_of(path: str | os.PathLike[str], called: str = "") -> Attributes:
    """The attributes of a file that are kept, in order of their names; a link's are its own.

    `called` is what an error calls the file, if the way to it is another.
    """
    called = called or os.fspath(path)
    try:
        names = [name for name in os.listxattr(path, follow_symlinks=False) if name.startswith(KEPT)]
        found = [(name, os.getxattr(path, name, follow_symlinks=False)) for name in names]
    except OSError as reason:
        if reason.errno in _NO_ATTRIBUTES:
            return ()
        raise unreadable(called, reason) from reason
    for name, value in found:
        if len(value) > ATTRIBUTE_BYTES_MAX:
            raise BadInput(
                f"{called!r} has an attribute {name!r} of {len(value)} bytes; a tree takes"
                f" {ATTRIBUTE_BYTES_MAX}: shorten it, or remove it with setfattr -x",
                path=called,
            )
    return tuple(sorted(found, key=lambda each: os.fsencode(each[0])))


class _Seen:
    """What a walk found: by path, the attributes and special files; by inode, the paths that share it."""

    def __init__(self, ignore: Callable[[str, bool], bool] | None, special: Literal["refuse", "skip"]) -> None:
        self.ignore = ignore
        self.special = special
        self.attributes: dict[str, Attributes] = {}
        self.added: dict[str, list[TreeEntry]] = {}
        self.shared: dict[tuple[int, int], list[str]] = {}

    def look(self, fd: int, place: str, tree: Tree, prefix: str) -> None:
        """Look at the directory open at `fd` (this call owns it) and everything below."""
        try:
            with os.scandir(fd) as found:
                for each in found:
                    try:
                        status = each.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        continue  # what vanishes meanwhile was not there
                    if self.ignore is None or not self.ignore(prefix + each.name, stat.S_ISDIR(status.st_mode)):
                        self._one(fd, place, tree, prefix, each.name, status)
        except OSError as reason:
            raise unreadable(reason.filename or place, reason) from reason
        finally:
            os.close(fd)

    def _one(self, fd: int, place: str, tree: Tree, prefix: str, name: str, status: os.stat_result) -> None:
        path, kind = prefix + name, stat.S_IFMT(status.st_mode)
        if kind in _SPECIAL or kind == stat.S_IFSOCK:
            self._add(place, prefix, name, status, kind)
            return
        entry = tree.entries.get(name)
        if entry is None:
            return
        # By the descriptor, so that a directory swapped for a link meanwhile leads nowhere.
        if attributes := attributes_of(f"/proc/self/fd/{fd}/{name}", f"{place}/{name}"):
            self.attributes[path] = attributes
        if entry.kind == "file" and status.st_nlink > 1:
            self.shared.setdefault((status.st_dev, status.st_ino), []).append(path)
        if entry.kind == "directory" and kind == stat.S_IFDIR:
            below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
            self.look(below, f"{place}/{name}", tree.subtree(entry), f"{path}/")

    def _add(self, place: str, prefix: str, name: str, status: os.stat_result, kind: int) -> None:
        if kind == stat.S_IFSOCK:
            if self.special == "refuse":
                raise BadInput(
                    f"{place + '/' + name!r} is a socket, which is nothing without its process: ignore it, or commit"
                    " with special='skip'",
                    path=f"{place}/{name}",
                )
            return
        device = None if kind == stat.S_IFIFO else (os.major(status.st_rdev), os.minor(status.st_rdev))
        self.added.setdefault(prefix, []).append(
            TreeEntry(
                name, _SPECIAL[kind], stat.S_IMODE(status.st_mode), uid=status.st_uid, gid=status.st_gid, device=device
            )
        )

    def spell(self, tree: Tree, prefix: str, groups: dict[str, str], fresh: dict[Ref, bytes]) -> Ref:
        """The tree with what was found in it; directories in which nothing was found keep their name."""
        entries = list(self.added.get(prefix, ()))
        changed = bool(entries)
        for entry in tree.entries.values():
            path = prefix + entry.name
            now = entry
            if entry.kind == "directory":
                now = msgspec.structs.replace(now, ref=self.spell(tree.subtree(entry), f"{path}/", groups, fresh))
            if path in self.attributes or path in groups:
                now = msgspec.structs.replace(now, attributes=self.attributes.get(path, ()), group=groups.get(path, ""))
            changed = changed or now != entry
            entries.append(now)
        if not changed:
            return tree.ref
        data = encode(entries)
        ref = ref_of(data)
        fresh[ref] = data
        return ref
