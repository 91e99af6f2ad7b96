"""Opening a scan: what kind of file it is, whether it may be opened at all, and the stage in it.

A USDZ is a ZIP whose entries are stored as they are, so nothing in it can unpack to more than it weighs; an entry
that is compressed is refused, as USD itself does.  A lone layer may name files beside itself; there are none, because
it is opened in a folder of its own, and one that reaches for a file of this machine by its path is refused.
"""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
import zipfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

# Unit: bytes.  A phone's room has 1 to 50 MB; a building with textures some hundreds.
SCAN_BYTES_MAX = 512 * 1024 * 1024
# Unit: files in one package.  An app that writes one layer for each wall makes some hundreds.
ENTRIES_MAX = 10_000
# Unit: characters of the path of a file in a package.
ENTRY_NAME_MAX = 512
# What the package may hold; everything else in it is left alone and reported.
LAYER_SUFFIXES = (".usda", ".usdc", ".usd")
SUFFIXES = (".usdz", *LAYER_SUFFIXES)

NEEDED = "scans need usd-core, pygltflib, mapbox-earcut and pillow: pip install 'boxwork[scans]'"


def kind_of(scan: bytes) -> str:
    """`usdz`, `usdc` or `usda`, by the first bytes.  Raises `ValueError` for everything else."""
    if not scan:
        raise ValueError("the scan is empty: it has no bytes")
    if len(scan) > SCAN_BYTES_MAX:
        raise ValueError(f"the scan has {len(scan):,} bytes; at most {SCAN_BYTES_MAX:,} are read")
    if scan.startswith(b"PXR-USDC"):
        return "usdc"
    if scan.startswith(b"#usda"):
        return "usda"
    if scan.startswith(b"PK"):
        return "usdz"
    raise ValueError(f"not a USD scan (USDZ, USDC or USDA): it begins with {scan[:12]!r} ({len(scan):,} bytes)")


def checked_entries(scan: bytes) -> dict[str, tuple[int, int]]:
    """The files of a USDZ: name → (first byte, size).  Raises `ValueError` that names the entry that is wrong."""
    try:
        with zipfile.ZipFile(io.BytesIO(scan)) as package:
            infos = package.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError) as fault:
        raise ValueError(f"the USDZ is no readable ZIP package: {fault}") from None
    if not infos:
        raise ValueError("the USDZ is an empty package")
    if len(infos) > ENTRIES_MAX:
        raise ValueError(f"the USDZ has {len(infos):,} entries; at most {ENTRIES_MAX:,} are read")
    found: dict[str, tuple[int, int]] = {}
    for info in infos:
        name = info.filename
        shown = repr(name[:80])
        parts = name.replace("\\", "/").split("/")
        if name.startswith(("/", "\\")) or ".." in parts or "\0" in name or ":" in parts[0]:
            raise ValueError(f"the entry {shown} of the USDZ leads out of the package")
        if len(name) > ENTRY_NAME_MAX:
            raise ValueError(f"the entry {shown} of the USDZ has a name of {len(name)} characters")
        if info.is_dir():
            continue
        if info.flag_bits & 1:
            raise ValueError(f"the entry {shown} of the USDZ is encrypted")
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise ValueError(
                f"the entry {shown} of the USDZ is compressed, which USDZ does not allow: pack it again with usdzip"
                " or `zip -0`"
            )
        if name in found:
            raise ValueError(f"the entry {shown} is twice in the USDZ")
        head = scan[info.header_offset : info.header_offset + 30]
        begin = info.header_offset + 30 + int.from_bytes(head[26:28], "little") + int.from_bytes(head[28:30], "little")
        if len(head) < 30 or head[:4] != b"PK\x03\x04" or begin + info.file_size > len(scan):
            raise ValueError(f"the entry {shown} of the USDZ reaches beyond the end of the file: it is cut off")
        found[name] = (begin, info.file_size)
    if not found:
        raise ValueError("the USDZ holds folders only")
    spans = sorted(found.values())
    for (begin, size), (after, _) in pairwise(spans):
        if begin + size > after:
            raise ValueError("entries of the USDZ lie over one another")
    first = next(iter(found))
    if not first.lower().endswith(LAYER_SUFFIXES):
        raise ValueError(f"the first file of a USDZ is its scene (.usdc, .usda or .usd); here it is {first[:80]!r}")
    return found


class Opened:
    """A stage and the files that came with it."""

    def __init__(self, stage: Any, kind: str, scan: bytes, entries: dict[str, tuple[int, int]], path: str) -> None:
        self.stage = stage
        self.kind = kind
        self.scan = scan
        self.entries = entries
        self.path = path  # of the file on disk: packages name what is in them as path[entry]

    def entry_of(self, resolved: str) -> str:
        """The name in the package of what USD resolved a reference to; empty if it is not in it."""
        if not resolved.startswith(self.path + "[") or not resolved.endswith("]"):
            return ""
        return resolved[len(self.path) + 1 : -1]

    def bytes_of(self, resolved: str) -> bytes | None:
        """What the package holds under a resolved reference; None if it is not in it."""
        span = self.entries.get(self.entry_of(resolved))
        return None if span is None else self.scan[span[0] : span[0] + span[1]]


@contextlib.contextmanager
def opened(scan: bytes) -> Iterator[Opened]:
    """The scan as an open stage.  Raises `ValueError` that says what is wrong with the file."""
    try:
        from pxr import Sdf, Tf, Usd
    except ImportError:
        raise ValueError(NEEDED) from None

    kind = kind_of(scan)
    entries = checked_entries(scan) if kind == "usdz" else {}
    with tempfile.TemporaryDirectory(prefix="boxwork-scan-") as folder:
        path = os.path.realpath(Path(folder) / f"scan.{kind}")
        Path(path).write_bytes(scan)
        try:
            stage = Usd.Stage.Open(path, Usd.Stage.LoadAll)
        except Tf.ErrorException as fault:
            raise ValueError(f"the {kind.upper()} cannot be read: {reason_of(fault, folder)}") from None
        if stage is None:
            raise ValueError(f"the {kind.upper()} cannot be read")
        for layer in stage.GetUsedLayers():
            where = layer.realPath
            if not layer.anonymous and where != path and not where.startswith(path + "["):
                raise ValueError("the scan takes in a file from outside of itself; it is not read. Pack it as one USDZ")
        try:
            yield Opened(stage, kind, scan, entries, path)
        except Tf.ErrorException as fault:
            raise ValueError(f"the {kind.upper()} cannot be read: {reason_of(fault, folder)}") from None
        finally:
            del stage
            Sdf.Layer.ReloadLayers(set())  # lets go of what nobody holds any more


def reason_of(fault: Exception, folder: str) -> str:
    """The first thing USD says, in one line and without the path of the temporary file."""
    text = str(fault).replace(folder + os.sep, "")
    lines = [line.strip(" \t-") for line in text.splitlines() if line.strip()]
    said = next((line for line in lines if "Error in" in line or "error" in line.lower()), lines[0] if lines else "?")
    return said.split(": ", 1)[-1][:300]
