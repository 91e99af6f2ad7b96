"""Files that were sent: written beside where they belong, given their name when they are whole, never overwriting."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from boxwork.content.store import storage_error
from boxwork.errors import BadInput, StorageError

# Below the data directory.
DIRECTORY = "uploads"
# File systems take 255; some is left for a number.  Unit: bytes of UTF-8.
NAME_BYTES_MAX = 200
# "sea.jpg", "sea (2).jpg", …: then somebody is sending the same name for ever.  Unit: names.
NAMES_TRIED_MAX = 10_000


def plain_name(given: str, suffixes: Sequence[str]) -> str:
    """`given` as the name of a file: without folders, not hidden, of a kind that some pack can use."""
    name = given.replace("\\", "/").rsplit("/", 1)[-1].strip().lstrip(".")
    if not name.isprintable() or len(name.encode("utf-8", "replace")) > NAME_BYTES_MAX:
        raise BadInput(f"?name= has up to {NAME_BYTES_MAX} bytes that can be printed, not {given[:80]!r}")
    if not name.lower().endswith(tuple(suffixes)):
        raise BadInput(f"?name={given[:80]!r} has to end in one of {', '.join(suffixes) or '(no pack takes files)'}")
    return name


def keep(folder: Path, name: str, pieces: Iterable[bytes], token: str) -> str:
    """Write the pieces to a file of the folder; under which name.  Nothing is left of what breaks off."""
    unfinished = folder / f".{token}"  # names with a dot are passed over by whoever looks into the folder
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        try:
            with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
                for piece in pieces:
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
            return _link(unfinished, folder, name)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as reason:
        raise storage_error(folder, reason) from reason


def _link(unfinished: Path, folder: Path, name: str) -> str:
    stem, dot, suffix = name.rpartition(".")
    for number in range(1, NAMES_TRIED_MAX):
        free = name if number == 1 else f"{stem} ({number}){dot}{suffix}"
        try:
            os.link(unfinished, folder / free)
        except FileExistsError:
            continue
        directory = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
        return free
    raise StorageError(f"{folder} has {NAMES_TRIED_MAX:,} files called {name!r}: give it another name")
