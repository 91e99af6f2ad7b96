"""An image in the forms others read: a squashfs file system, a tar file, an OCI image layout on disk."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import msgspec

from boxwork import Blob, Ref, Tree, TreeEntry, derivation, errors
from boxwork.packs.images import oci
from boxwork.packs.images.archive import members, pieces, tar
from boxwork.packs.images.builder import is_whole
from boxwork.packs.images.chamber import scratch
from boxwork.packs.images.recipe import EPOCH_S

FORMS = ("tar", "squashfs", "oci")
# A root of 10 GB takes some minutes.  Unit: s.
PACK_S_MAX = 1800
# Attributes that squashfs has no way to hold (its format knows user, trusted and security): access lists, of which
# Debian has one, on /var/log/journal, and systemd sets it again at each start.
NOT_IN_SQUASHFS = "system."
# Level 3 of zstd: 40 MB/s and more on one core, within 6 % of level 15 on a root of Debian.
COMPRESSION = ("--compressor", "zstd", "--comp-extra", "level=3")


@derivation(name="image_squashfs", worker="thread", ignores=["subprocess", "os", "scratch", "pathlib.Path"])
def squashfs(root: Tree, tools: str, epoch_s: int = EPOCH_S) -> Blob:
    """A root as a squashfs file system: the same bytes every time.  `tools` is the version of tar2sqfs.

    Not mksquashfs, whose version in Debian 12 writes other metadata each time it reads the same tar file.
    """
    store = cast(Any, root.store)
    with scratch() as folder:
        made = folder / "root.squashfs"
        command = ["tar2sqfs", "--no-skip", "--quiet", "--force", *COMPRESSION]
        # The root itself is in no tar file of ours.
        command += ["--defaults", f"mtime={epoch_s},uid=0,gid=0,mode=0755", str(made)]
        with (folder / "said").open("wb") as said:
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=said, stderr=said)
        try:
            stream: Any = process.stdin
            with contextlib.suppress(BrokenPipeError), stream:  # if it ends early, what it says is the reason
                for piece in members(root, _fitting(root), epoch_s):
                    stream.write(piece)
            process.wait(PACK_S_MAX)
        finally:
            process.kill()
            process.wait()
        if process.returncode or not made.exists():
            said_text = (folder / "said").read_text(errors="replace")[:400]
            raise ValueError(f"tar2sqfs ended with {process.returncode}: {said_text}")
        with made.open("rb") as file:
            return Blob(store.put_stream(pieces(file), durable=False), store)


def _fitting(root: Tree) -> Iterator[tuple[str, TreeEntry]]:
    """What is in a root, without the attributes that squashfs cannot hold."""
    for path, entry in root.walk():
        if any(name.startswith(NOT_IN_SQUASHFS) for name, _ in entry.attributes):
            kept = tuple(each for each in entry.attributes if not each[0].startswith(NOT_IN_SQUASHFS))
            entry = msgspec.structs.replace(entry, attributes=kept)
        yield path, entry


def squashfs_tools() -> str:
    """The version of tar2sqfs.  Raises `BadInput` if it is not installed."""
    if shutil.which("tar2sqfs") is None:
        raise errors.BadInput("tar2sqfs is missing: apt-get install squashfs-tools-ng")
    said = subprocess.run(["tar2sqfs", "--version"], capture_output=True, text=True, timeout=30).stdout
    return said.split("\n", 1)[0]


def oci_image(work: Any, version: dict[str, Any]) -> dict[str, Any]:
    """The OCI content of a version: see `oci.image`."""
    import json

    about = json.loads(work.get(version["set"]))["steps"]
    architecture = str(about[0]["architecture"])
    roots = [(f"{step['kind']}: {step['title']}", work.tree(step["tree"])) for step in version["steps"]]
    # What the cache let go of a step is in the layer of the step after it; the version itself is always whole.
    here = [(title, root) for title, root in roots[:-1] if is_whole(work, root)] + roots[-1:]
    return oci.image(work, here, name=version["name"], architecture=architecture, epoch_s=int(about[0]["epoch_s"]))


def export(work: Any, version: dict[str, Any], form: str, target: Path) -> Path:
    """Write a version to `target`: a file, or for `oci` a directory that skopeo and podman read as `oci:TARGET`."""
    if form not in FORMS:
        raise errors.BadInput(f"an image is exported as {', '.join(FORMS)}, not {form!r}")
    try:
        if form == "oci":
            tag = str(version["number"])
            for path, data in oci.layout(work, oci_image(work, version), tag):
                file = target / path
                file.parent.mkdir(parents=True, exist_ok=True)
                _write(file, [data] if isinstance(data, bytes) else _pieces(work, data))
            return target
        root = work.tree(version["tree"])
        ref = work.derive(tar, root=root) if form == "tar" else work.derive(squashfs, root=root, tools=squashfs_tools())
        _write(target, _pieces(work, ref))
    except OSError as reason:
        raise errors.BadInput(f"{target} cannot be written: {reason.strerror}", path=str(target)) from reason
    return target


def _pieces(work: Any, ref: Ref) -> Iterator[bytes]:
    with work.open(ref) as file:
        yield from pieces(file)


def _write(path: Path, pieces: Any) -> None:
    spare = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with spare.open("wb") as file:
            for piece in pieces:
                file.write(piece)
        os.replace(spare, path)
    finally:
        spare.unlink(missing_ok=True)
