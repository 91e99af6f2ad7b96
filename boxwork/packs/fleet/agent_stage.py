"""Making a version ready on a host: fetch what is lacking, look at all of it, write it down, verify what was written.

Everything about a tree is judged before a byte of it is written outside the store: devices, names that double when
case or Unicode form is ignored, links that leave the tree, sizes.  (A tree cannot spell `..` or an absolute name at
all: `boxwork.tree.decode` refuses such bytes.)  A version is filled in a directory of its own and takes its name with
one rename, so whatever has a name in `versions` is whole.

A version that is a whole system (`Desired.root`) may have what belongs to one: owners, set-id bits, attributes, files
that share an inode, pipes, names that differ in case only, and links that are absolute, for they mean its own root.
The agent follows none of them: it walks by descriptors, and what it writes it writes beside, in a directory whose
parts it has just made.
"""

from __future__ import annotations

import os
import re
import stat
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from boxwork import Ref, Tree, errors, ref_of, tree
from boxwork.packs.fleet.agent_memory import storage_error, sync_directory
from boxwork.packs.fleet.agent_secrets import Secrets, refers
from boxwork.packs.fleet.protocol import LOT_BLOBS_MAX, LOT_BYTES_MAX

_OCTAL = re.compile(r"\\([0-7]{3})")

Fetch = Callable[[Ref, int], Iterable[bytes]]
Gather = Callable[[Sequence[Ref]], dict[Ref, bytes]]

VERSIONS = "versions"
# The directory that is being filled; a killed agent leaves it, and the next one begins it anew.
MAKING = ".making"
# What begins so is being removed.
GONE = ".gone-"
# The list of one directory's names, about 600,000 of them.  Unit: bytes.
DIRECTORY_BYTES_MAX = 64 * 1024 * 1024
# A file in which secrets are looked for is a text that people write.  Unit: bytes.
SECRET_FILE_BYTES_MAX = 4 * 1024 * 1024
# Blobs that are put in one group, and held in memory for that.  Units: bytes, blobs.
GROUP_BYTES = LOT_BYTES_MAX
GROUP_BLOBS = LOT_BLOBS_MAX
# What a running system fills, or what is mounted there: never part of what it should be.
FILLED = frozenset({"dev", "proc", "run", "sys", "tmp"})


class Stage:
    """Fetches and checks out versions under `root`/versions."""

    def __init__(self, root: Path, content: Any, secrets: Secrets, bytes_max: int, names_max: int) -> None:
        self.versions = root / VERSIONS
        self._content = content
        self._secrets = secrets
        self._bytes_max = bytes_max
        self._names_max = names_max

    def fetch(self, ref: Ref, fetch: Fetch, gather: Gather, *, system: bool) -> int:
        """Get the blobs of this tree that are not here yet; how many came.

        `gather` answers with as many of some blobs as come in one answer, `fetch` with one.

        Raises `BlobCorrupt` for bytes that are not what their name promises, `BadInput` or `TooLarge` for a tree
        that no host should hold, `StorageFull` when there is no room.
        """
        walk = _Walk(self._bytes_max, self._names_max, system)
        fetched = 0
        files: dict[Ref, int] = {}
        level: list[tuple[str, Ref]] = [("", ref)]
        while level:
            lacking = dict.fromkeys(here for _, here in level if not self._content.has(here))
            # Durable: what a later version differs in is asked of the trees, also after a power cut.
            self._take([(here, DIRECTORY_BYTES_MAX) for here in lacking], fetch, gather, durable=True)
            fetched += len(lacking)
            below: list[tuple[str, Ref]] = []
            for prefix, here in level:
                for entry in walk.directory(prefix, tree.decode(self._content.get(here), here)):
                    if entry.kind == "directory":
                        below.append((f"{prefix}{entry.name}/", entry.content))
                    elif entry.kind == "file" and files.setdefault(entry.content, entry.size) != entry.size:
                        raise errors.BlobCorrupt(f"the tree {ref} gives one blob two sizes: {entry.content}", ref=ref)
            level = below
        wanted = [(blob, size) for blob, size in files.items() if not self._content.has(blob)]
        self._take(wanted, fetch, gather, durable=False)
        return fetched + len(wanted)

    def _take(self, wanted: Sequence[tuple[Ref, int]], fetch: Fetch, gather: Gather, *, durable: bool) -> None:
        """Get these blobs, each at most so long; small ones are asked for and put in groups, one sync for each."""
        small = []
        for ref, bytes_max in wanted:
            if bytes_max > GROUP_BYTES and not durable:  # a list of names is read whole in any case
                self._content.put_stream(fetch(ref, bytes_max), durable=durable, expect=ref)
            else:
                small.append((ref, bytes_max))
        for group in _groups(small):
            here = gather([ref for ref, _ in group])
            blobs: list[bytes] = []
            held = 0
            for ref, bytes_max in group:
                data = here.pop(ref, None) or b"".join(fetch(ref, bytes_max))
                if (found := ref_of(data)) != ref:
                    raise errors.BlobCorrupt(f"the server sent {found} where {ref} was asked for", ref=ref)
                blobs.append(data)
                held += len(data)
                if held >= GROUP_BYTES:  # lists of names may be longer than anybody said
                    self._content.put_many(blobs, durable=durable)
                    blobs, held = [], 0
            if blobs:
                self._content.put_many(blobs, durable=durable)

    def make(self, name: str, ref: Ref, secrets: Sequence[str], *, system: bool) -> list[str]:
        """Write the tree down as `versions/<name>`; the answer is which files hold secrets.

        What stands under that name already is replaced in one step.
        """
        making = self.versions / MAKING
        value = Tree(ref, self._content)
        try:
            self.versions.mkdir(mode=0o755, parents=True, exist_ok=True)
            if self.versions.is_symlink():
                raise errors.StorageError(
                    f"{self.versions} is a symbolic link: nothing is written through it, remove it"
                )
            if making.is_symlink() or making.is_file():
                making.unlink()
            tree.checkout(
                self._content, value, making, mode="copy", replace=True, durable=True,
                symlinks="keep" if system else "inside", ownership=system,
            )  # fmt: skip
            filled = self._fill(making, value, tuple(secrets), system) if secrets else []
            found = actual(self._content, making, filled, system=system)
            if differences(value, found, filled, system=system):
                raise errors.StorageError(f"what was written to {making} is not what was asked for: is the disk ill?")
            self._take_name(making, self.versions / name)
        except OSError as reason:
            raise storage_error(making, reason) from reason
        return filled

    def _take_name(self, making: Path, place: Path) -> None:
        # A version that lies there already has drifted; it may be the one that runs, so it is swapped whole.
        check_unmounted(place)
        tree.take_place(making, place, replace=True)
        if making.exists():
            tree.remove(making)
        sync_directory(self.versions)

    def _fill(self, directory: Path, value: Tree, secrets: tuple[str, ...], system: bool) -> list[str]:
        """Put the secrets in; only files that ask for one are written again."""
        filled = []
        for path, entry in value.walk():
            if entry.kind != "file" or entry.size > SECRET_FILE_BYTES_MAX:
                continue
            data = self._content.get(entry.content)
            if not refers(data, secrets):
                continue
            self._content.put(data)  # durable: drift of this file is judged by filling it again
            target = directory / path
            spare = target.with_name(f".{target.name[:200]}.secret")
            fd = os.open(spare, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            with os.fdopen(fd, "wb") as file:
                if system and entry.uid is not None and entry.gid is not None:
                    os.fchown(fd, entry.uid, entry.gid)
                os.fchmod(fd, 0o600 | (entry.mode & stat.S_IXUSR))
                file.write(self._secrets.fill(data, secrets))
                file.flush()
                os.fsync(fd)
            os.replace(spare, target)
            filled.append(path)
        return filled

    def keep_only(self, names: Iterable[str]) -> list[str]:
        """Remove every other version; the answer is which went.

        One in which something is mounted stays, and is told with `StorageError` when the others are gone.
        """
        wanted = set(names)
        gone = []
        mounted: errors.StorageError | None = None
        try:
            for entry in list(os.scandir(self.versions)):
                if entry.name in wanted or (entry.name.startswith(".") and not entry.name.startswith(GONE)):
                    continue
                place = Path(entry.path)
                try:
                    check_unmounted(place)
                except errors.StorageError as reason:
                    mounted = reason
                    continue
                dead = place
                if not entry.name.startswith(GONE):
                    # First out of the way, so that what is half removed has no version's name.
                    dead = self.versions / f"{GONE}{entry.name}"
                    if os.path.lexists(dead):
                        check_unmounted(dead)
                        tree.remove(dead)
                    os.rename(place, dead)
                    gone.append(entry.name)
                tree.remove(dead)
        except FileNotFoundError:
            pass
        except OSError as reason:
            raise storage_error(self.versions, reason) from reason
        if mounted is not None:
            raise mounted
        return gone


def check_unmounted(directory: Path) -> None:
    """Raises `StorageError` if something is mounted below: to remove the directory would empty what is mounted.

    Only what this process sees counts: a service with mounts of its own keeps them to itself.
    """
    place = os.path.realpath(directory)
    try:
        lines = Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return  # no /proc, as in few containers: then nothing is known
    for line in lines:
        # proc(5): the fifth field is the mount point, with blanks and backslashes as octal numbers.
        found = _OCTAL.sub(lambda match: chr(int(match[1], 8)), line.split(" ")[4])
        if found == place or found.startswith(place + "/"):
            raise errors.StorageError(
                f"something is mounted at {found}: nothing is removed there, `umount` it first; a service whose mounts"
                " are its own (`unshare --mount`) is in nobody's way",
                path=found,
            )


class _Walk:
    """What is true of the whole tree as it is walked: how much there is of it, and that nothing plays games."""

    def __init__(self, bytes_max: int, names_max: int, system: bool) -> None:
        self._system = system
        self._bytes_left, self._names_left = bytes_max, names_max
        self._bytes_max, self._names_max = bytes_max, names_max

    def directory(self, prefix: str, entries: Sequence[Any]) -> Iterator[Any]:
        """The entries of one directory, each once it was looked at."""
        if prefix.count("/") > tree.DEPTH_MAX:
            raise errors.TooLarge(f"directories nest deeper than {tree.DEPTH_MAX} levels at {prefix[:200]!r}")
        seen: dict[str, str] = {}
        for entry in entries:
            path = prefix + entry.name
            self._names_left -= 1
            self._bytes_left -= entry.size
            if self._names_left < 0 or self._bytes_left < 0:
                raise errors.TooLarge(
                    f"this version has more than {self._names_max} names or {self._bytes_max} bytes: see the settings"
                    " fleet.tree_names_max and fleet.tree_bytes_max",
                    path=path,
                )
            if reason := self._fault(prefix, entry):
                raise errors.BadInput(f"{path!r} is {reason}", path=path)
            if self._system:
                yield entry
                continue
            folded = unicodedata.normalize("NFC", entry.name).casefold()
            if (twin := seen.setdefault(folded, entry.name)) != entry.name:
                raise errors.BadInput(
                    f"{path!r} and {prefix + twin!r} are one name where case or Unicode form is ignored: rename one",
                    path=path,
                )
            yield entry

    def _fault(self, prefix: str, entry: Any) -> str:
        """What keeps an entry off a host; empty if nothing does."""
        if entry.kind in ("character", "block"):
            return "a device: a version has none, the host's own /dev does"
        if self._system:
            return ""
        if entry.kind == "pipe" or entry.attributes or entry.group or entry.uid is not None or entry.mode & 0o7000:
            return f"a {entry.kind} as only a whole system has it: give the release a root"
        if entry.kind == "symlink" and tree.leads_out(prefix.rstrip("/"), entry.target):
            return f"a symbolic link to {entry.target!r}, which leads out of the version"
        return ""


def _groups(wanted: Sequence[tuple[Ref, int]]) -> Iterator[list[tuple[Ref, int]]]:
    """Blobs as they fit into one answer.  A list of names has no known size, and is small nearly always."""
    group: list[tuple[Ref, int]] = []
    held = 0
    for ref, size in wanted:
        known = size if size <= GROUP_BYTES else 0
        if group and (held + known > GROUP_BYTES or len(group) == GROUP_BLOBS):
            yield group
            group, held = [], 0
        group.append((ref, size))
        held += known
    if group:
        yield group


class _Glance:
    """A store for a look that keeps nothing: what the stat index knows is not looked up in the store again.

    Half of a look's time would go there.  Its answer can be compared; a part of it that was swept meanwhile raises
    `BlobMissing` when it is read, and then one looks again, whole.
    """

    def __init__(self, content: Any) -> None:
        self._content = content

    def __getattr__(self, name: str) -> Any:
        return getattr(self._content, name)

    def touch(self, refs: Iterable[Ref]) -> list[Ref]:
        return []


def actual(content: Any, directory: Path, apart: Sequence[str], *, system: bool, whole: bool = True) -> Tree:
    """The tree of what lies there now, by the stat index; `apart` are paths that are looked at otherwise.

    Of a system, owners, attributes and shared inodes are looked at too, and what it fills while it runs is not.
    `whole` says that every blob of it is in the store afterwards, for who wants to keep it.
    """
    skipped = frozenset(apart)

    def ignore(path: str, _: bool) -> bool:
        return path in skipped or (system and path.partition("/")[0] in FILLED and "/" in path)

    store = content if whole else _Glance(content)
    found = tree.commit(store, directory, ignore=ignore if skipped or system else (), special="skip", whole=system,
                        durable=False)  # fmt: skip
    return Tree(found.ref, content)


def differences(expected: Tree, found: Tree, apart: Sequence[str], *, system: bool) -> list[tree.Change]:
    """How they differ, path by path, without the paths that are looked at otherwise."""
    if expected == found:
        return []
    skipped = frozenset(apart)
    changes = [change for change in tree.diff(expected, found) if change.path not in skipped]
    if not system:
        return changes
    sharing = _Sharing(expected, found)
    return [
        change
        for change in changes
        if not (change.path.partition("/")[0] in FILLED and "/" in change.path) and not sharing.alone(change)
    ]


class _Sharing:
    """Tells files that share an inode with the same others, although that inode is called otherwise.

    A system's inodes have the name that they had where it was built; a file of the release in the place of one of
    them leaves the others as they are.
    """

    def __init__(self, expected: Tree, found: Tree) -> None:
        self._trees = expected, found
        self._sets: list[dict[str, frozenset[str]]] = []

    def alone(self, change: tree.Change) -> bool:
        """Is the name of its inode all that differs."""
        was, now = change.before, change.after
        if was is None or now is None or was.group == now.group or _ungrouped(was) != _ungrouped(now):
            return False
        if not self._sets:
            self._sets = [_shared(one) for one in self._trees]
        before, after = (one.get(change.path) for one in self._sets)
        return before == after


def _ungrouped(entry: Any) -> Any:
    return msgspec.structs.replace(entry, group="")


def _shared(value: Tree) -> dict[str, frozenset[str]]:
    """By path: the paths that share its inode.  A file that shares with nobody has none."""
    groups: dict[tuple[Any, ...], list[str]] = {}
    for path, entry in value.walk():
        if entry.group:
            same = (entry.group, entry.ref, entry.mode, entry.uid, entry.gid, entry.attributes)
            groups.setdefault(same, []).append(path)
    return {path: frozenset(paths) for paths in groups.values() if len(paths) > 1 for path in paths}
