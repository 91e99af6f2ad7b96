"""A tree in the node's own store as a source: the files of a folder, as they were put there under a name.

`tree:hosts` is what is pinned as `hosts`, so `boxwork pin REF hosts` moves the whole fleet's rows in one step, and
back; `tree:sha256:…` never moves.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from boxwork import Ref, errors
from boxwork.packs.fleet.sources.folder import SUFFIXES, parsed
from boxwork.packs.fleet.sources.source import Limits, Reading, SourceFailed
from boxwork.packs.fleet.table import ROWS_MAX, Raw


class StoredTree:
    """The files directly in one tree; hidden ones are not hosts, as in a folder."""

    def __init__(self, name: str, limits: Limits, work: Any) -> None:
        self.name = name
        self.limits = limits
        self.work = work
        self._seen: Ref | None = None

    def read(self) -> Reading:
        ref = self._ref()
        if ref == self._seen:
            return Reading(unchanged=True)
        try:
            entries = [
                entry
                for entry in self.work.tree(ref).entries.values()
                if entry.kind == "file" and entry.name.endswith(SUFFIXES) and not entry.name.startswith(".")
            ]
            total = sum(entry.size for entry in entries)
            if total > self.limits.bytes_max or len(entries) > ROWS_MAX:
                raise SourceFailed(
                    f"the tree {ref} has {len(entries):,} files with {total:,} bytes; at most {ROWS_MAX:,} and"
                    f" {self.limits.bytes_max:,} are read (setting fleet.source_bytes_max)"
                )
            files = [(entry.name, self.work.get(entry.content)) for entry in entries]
        except (errors.BlobMissing, errors.BlobCorrupt) as fault:
            raise SourceFailed(f"the tree {self.name} cannot be read: {fault.message}") from None
        rows = tuple(Raw(name, {"host": Path(name).stem, **parsed(name, data)}) for name, data in files)
        self._seen = ref
        return Reading(msgspec.json.encode([(name, data.decode("utf-8", "replace")) for name, data in files]), rows)

    def _ref(self) -> Ref:
        if self.name.startswith("sha256:"):
            return Ref.parse(self.name)
        found: Ref | None = next((ref for name, ref in self.work.pins(self.name) if name == self.name), None)
        if found is None:
            raise SourceFailed(
                f"nothing is pinned as {self.name!r}: `boxwork put FOLDER`, then `boxwork pin REF {self.name}`"
            )
        return found
