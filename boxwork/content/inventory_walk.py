"""Which files lie in a folder: a walk that goes on whatever it meets."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from boxwork.content.tree_index import facts_of, is_racy


def wanted(path: bytes, suffixes: tuple[bytes, ...]) -> bool:
    return not suffixes or path.lower().endswith(suffixes)


def walk(root: bytes, suffixes: tuple[bytes, ...], follow: bool) -> Iterator[tuple[bytes, os.stat_result | None, str]]:
    """(relative path, status, "") of every file, or (path, None, why) of what cannot be looked at."""
    waiting: list[tuple[bytes, tuple[tuple[int, int], ...]]] = [(b"", ())]
    while waiting:
        directory, above = waiting.pop()
        try:
            here = os.stat(root + b"/" + directory)
            identity = (here.st_dev, here.st_ino)
            if identity in above:
                yield directory, None, "directory: a link that leads back to where it lies"
                continue
            with os.scandir(root + b"/" + directory) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as reason:
            yield directory, None, f"directory: {reason.strerror or reason}"
            continue
        below: list[tuple[bytes, tuple[tuple[int, int], ...]]] = []
        for entry in found:
            if entry.name.startswith(b"."):
                continue
            path = directory + b"/" + entry.name if directory else entry.name
            try:
                status = entry.stat(follow_symlinks=follow)
            except OSError as reason:
                if wanted(path, suffixes):
                    yield path, None, "a link to nothing" if entry.is_symlink() else reason.strerror or str(reason)
                continue
            if stat.S_ISDIR(status.st_mode):
                below.append((path, (*above, identity)))
            elif wanted(path, suffixes):
                if stat.S_ISREG(status.st_mode):
                    yield path, status, ""
                elif stat.S_ISLNK(status.st_mode):
                    yield path, None, "a symbolic link: scan with follow=True to go through it"
                else:
                    yield path, None, "no regular file"
        waiting.extend(reversed(below))


def glance(root: bytes, suffixes: tuple[bytes, ...], follow: bool, now_ns: int) -> int | None:
    """A number that is another one when anything in the folder is: nothing is opened and no table asked.

    3.5 us a file, less than half of what a scan takes that finds nothing.  None while a file is so young that it
    could change once more without looking different (`tree_index`): then only reading it tells.  The number means
    something in this process only.
    """
    total = 0
    for path, status, problem in walk(root, suffixes, follow):
        if status is None:
            total += hash((path, problem))
        elif is_racy(status.st_mtime_ns, status.st_ctime_ns, now_ns):
            return None
        else:
            total += hash((path, facts_of(status)))
    return total
