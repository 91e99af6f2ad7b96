"""The scans of one node: taken in, listed, and what is derived of them.

A scan that was sent is an observation (kind `scan`, its name as the source): bytes and row are on disk before anybody
is told so.  One in a folder of the inventory stays where it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from boxwork import Ref, errors
from boxwork.packs.scans.converting import PROFILES, scan_report, scan_to_glb
from boxwork.packs.scans.measuring import measures_table, scan_measures
from boxwork.packs.scans.package import SUFFIXES, kind_of
from boxwork.packs.scans.picture import scan_view

KIND = "scan"
# In the list; older ones are reached by their address.  Unit: scans.
LISTED_MAX = 1000
NAME_MAX = 200
HEAD_BYTES = 64


@dataclass(frozen=True, slots=True)
class Scan:
    ref: Ref
    name: str
    bytes: int
    at_ns: int
    where: str  # "sent", or the folder it lies in


class Shelf:
    """Safe from many threads."""

    def __init__(self, work: Any) -> None:
        self.work = work

    def close(self) -> None:
        """There is nothing to close."""

    @property
    def bytes_max(self) -> int:
        most: int = self.work.settings.integer("scans.bytes_max")
        return most

    def take(self, source: Any, name: str, who: str = "") -> Scan:
        """Keep a scan.  Raises `BadInput` if it is none, `TooLarge`; when it returns the scan is on disk."""
        name = plain_name(name)
        ref = self.work.put(source)
        size = self.work.size(ref)
        if size > self.bytes_max:
            raise errors.TooLarge(f"{name} has {size:,} bytes; at most {self.bytes_max:,} (setting scans.bytes_max)")
        with self.work.open(ref) as file:
            head = file.read(HEAD_BYTES)
        try:
            kind_of(head)
        except ValueError as fault:
            raise errors.BadInput(f"{name}: {fault}") from None
        seen = self.work.observe(KIND, ref, source=name, who=who)
        return Scan(ref, name, size, seen.at_ns, "sent")

    def listed(self) -> list[Scan]:
        """The newest first, each once."""
        found: dict[Ref, Scan] = {}
        for seen in self.work.history(KIND, limit=LISTED_MAX, newest_first=True):
            if seen.ref not in found and self.work.has(seen.ref):
                found[seen.ref] = Scan(seen.ref, seen.source, self.work.size(seen.ref), seen.at_ns, "sent")
        cursor = ""
        while len(found) < LISTED_MAX:
            page = self.work.inventory.items(after=cursor, limit=1000)
            for item in page.items:
                if item.ref is not None and item.path.lower().endswith(SUFFIXES) and item.ref not in found:
                    found[item.ref] = Scan(item.ref, item.name, item.size, item.mtime_ns, item.folder)
            if not page.next:
                break
            cursor = page.next
        return sorted(found.values(), key=lambda scan: -scan.at_ns)[:LISTED_MAX]

    def about(self, ref: Ref) -> Scan:
        """One scan; of one that nobody listed what its blob says."""
        for scan in self.listed():
            if scan.ref == ref:
                return scan
        return Scan(ref, f"{ref.hex[:12]}.usd", self.work.size(ref), 0, "a blob")

    def sensor(self) -> dict[str, float]:
        """How good the scanner is, as set."""
        settings = self.work.settings
        return {
            "reading_sd_m": settings.number("scans.reading_sd_m"),
            "relative_sd": settings.number("scans.relative_sd"),
        }

    # --- derived, each remembered

    def glb(self, ref: Ref, profile: str = "gltf") -> Ref:
        """Raises what the box raises; `BlobMissing`."""
        if profile not in PROFILES:
            raise errors.BadInput(f"profile={profile[:40]!r}: gltf or unity, please")
        made: Ref = self.work.derive(scan_to_glb, scan=ref, profile=profile)
        return made

    def report(self, ref: Ref, profile: str = "gltf") -> Ref:
        made: Ref = self.work.derive(scan_report, glb=self.glb(ref, profile))
        return made

    def measures(self, ref: Ref) -> Ref:
        made: Ref = self.work.derive(scan_measures, scan=ref, **self.sensor())
        return made

    def table(self, ref: Ref) -> Ref:
        made: Ref = self.work.derive(measures_table, measures=self.measures(ref))
        return made

    def view(self, ref: Ref) -> Ref:
        made: Ref = self.work.derive(scan_view, scan=ref)
        return made

    def lineage(self, made: Ref) -> dict[str, Any]:
        """How an output came about."""
        record = self.work.why(made).record
        return {
            "ref": made,
            "bytes": self.work.size(made),
            "box": record.name,
            "duration_ms": record.duration_ns / 1_000_000,
            "key": record.key.hex(),
            "inputs": {entry.name: entry.text for entry in record.inputs},
        }


def plain_name(name: str) -> str:
    """The last part of a path, printable and not too long.  Raises `BadInput` for a name that has none."""
    plain = "".join(one for one in name.replace("\\", "/").rsplit("/", 1)[-1] if one.isprintable()).strip()
    if not plain:
        raise errors.BadInput(f"name={name[:40]!r}: give the scan a name, as flat.usdz")
    return plain[:NAME_MAX]
