"""A folder as a source: one file a host, `web1.toml` or `web1.json`; what git or an editor keeps."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

import msgspec

from boxwork.packs.fleet.sources.source import Limits, Reading, SourceFailed
from boxwork.packs.fleet.table import ROWS_MAX, Raw

SUFFIXES = (".toml", ".json")


class Folder:
    """The files directly in one folder.  Hidden ones (an editor's) are not hosts."""

    def __init__(self, path: str, limits: Limits) -> None:
        self.path = Path(path).expanduser()
        self.limits = limits
        self._seen: list[tuple[str, int, int, int]] = []

    def read(self) -> Reading:
        try:
            seen = self._stats()
            if seen == self._seen:
                return Reading(unchanged=True)
            files = [(name, (self.path / name).read_bytes()) for name, *_ in seen]
        except OSError as fault:
            raise SourceFailed(f"{self.path} cannot be read: {fault.strerror}") from None
        rows = tuple(Raw(name, {"host": Path(name).stem, **parsed(name, data)}) for name, data in files)
        self._seen = seen
        return Reading(msgspec.json.encode([(name, data.decode("utf-8", "replace")) for name, data in files]), rows)

    def _stats(self) -> list[tuple[str, int, int, int]]:
        found, total = [], 0
        with os.scandir(self.path) as entries:
            for entry in entries:
                if entry.name.startswith(".") or not entry.name.endswith(SUFFIXES) or not entry.is_file():
                    continue
                stat = entry.stat()
                total += stat.st_size
                found.append((entry.name, stat.st_size, stat.st_mtime_ns, stat.st_ino))
        if total > self.limits.bytes_max or len(found) > ROWS_MAX:
            raise SourceFailed(
                f"{self.path} has {len(found):,} files with {total:,} bytes; at most {ROWS_MAX:,} and"
                f" {self.limits.bytes_max:,} are read (setting fleet.source_bytes_max)"
            )
        return sorted(found)


def parsed(name: str, data: bytes) -> dict[str, Any]:
    """One host's values.  Raises `SourceFailed` with the file's name."""
    try:
        value = tomllib.loads(data.decode("utf-8")) if name.endswith(".toml") else msgspec.json.decode(data)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.DecodeError) as fault:
        raise SourceFailed(f"{name}: {fault}") from None
    if not isinstance(value, dict):
        raise SourceFailed(f"{name}: a host is a table of values, not {type(value).__name__}")
    return value
