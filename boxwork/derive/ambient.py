"""What a key takes from the machine at every call: declared files, declared variables, time zone and locale."""

from __future__ import annotations

import locale
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from boxwork import keys
from boxwork.derive.handles import DIGESTS, FileDigests
from boxwork.errors import BadInput

Declared = tuple[tuple[str, bytes], ...]

_LOCALTIME = Path("/etc/localtime")


class Ambient:
    """Digests of what is outside the code.  A file is hashed again only when `stat` says that it may differ."""

    def __init__(self, digests: FileDigests = DIGESTS) -> None:
        self._digests = digests

    def digests(self, files: Iterable[str], env: Iterable[str], ambient: Iterable[str]) -> Declared:
        """("file x", …), ("env TZ", …), ("time zone", …) in this order."""
        found = [(f"file {path}", self.file(path)) for path in files]
        found += [(f"env {name}", variable(name)) for name in env]
        found += [(name, _READERS[name](self)) for name in ambient]
        return tuple(found)

    def file(self, path: str) -> bytes:
        """The digest of a file, or of all files of a directory.  A missing one is a state like any other."""
        try:
            if os.path.isdir(path):
                return self._directory(path)
            return self._digests.ref(Path(path)).digest
        except BadInput:
            if os.path.lexists(path):
                raise
            return keys.part_digest("file", b"missing")

    def _directory(self, path: str) -> bytes:
        rows = []
        for folder, folders, names in os.walk(path):
            folders.sort()
            for name in sorted(names):
                full = os.path.join(folder, name)
                rows.append(keys.text_form(os.path.relpath(full, path)) + self.file(full))
        return keys.part_digest("directory", b"".join(rows))

    def zone(self) -> bytes:
        """The zone the C library uses: TZ, or the machine's file."""
        named = os.environ.get("TZ")
        machine = self.file(str(_LOCALTIME)) if named is None else b""
        return keys.part_digest("zone", repr((named, time.tzname, time.timezone, time.altzone)).encode() + machine)

    def locale(self) -> bytes:
        return keys.part_digest("locale", f"{locale.setlocale(locale.LC_ALL)}|{locale.getencoding()}".encode())


def variable(name: str) -> bytes:
    """The digest of an environment variable; unset differs from empty."""
    value = os.environ.get(name)
    return keys.part_digest("env", b"unset" if value is None else keys.text_form(value))


_READERS: dict[str, Callable[[Ambient], bytes]] = {"time zone": Ambient.zone, "locale": Ambient.locale}
