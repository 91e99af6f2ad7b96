"""Bytes on their way in: hashed while they come, in memory while they are few."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from typing import BinaryIO

from boxwork.content.store import as_file, storage_error
from boxwork.keys import RefHasher
from boxwork.settings import MiB

# More than this lies in an unlinked file.  Unit: bytes.  Reason: 8 readers at once stay under 100 MB.
MEMORY_BYTES_MAX = 12 * MiB


def fetched(pieces: Iterable[bytes]) -> tuple[BinaryIO, bytes]:
    """What the pieces add up to as a file at its start, and its digest.  The caller closes the file."""
    hasher = RefHasher()
    kept: list[bytes] = []
    held = 0
    copy = None
    try:
        for piece in pieces:
            hasher.update(piece)
            if copy is not None:
                copy.write(piece)
                continue
            kept.append(piece)
            held += len(piece)
            if held > MEMORY_BYTES_MAX:
                copy = tempfile.TemporaryFile(prefix="boxwork-")  # noqa: SIM115 - the caller closes it
                copy.writelines(kept)
                kept.clear()
    except OSError as reason:
        if copy is None:
            raise
        copy.close()
        raise storage_error(tempfile.gettempdir(), reason) from reason
    except BaseException:
        if copy is not None:
            copy.close()
        raise
    if copy is None:
        return as_file(b"".join(kept)), hasher.ref().digest
    with copy:
        copy.seek(0)
        return os.fdopen(os.dup(copy.fileno()), "rb"), hasher.ref().digest
