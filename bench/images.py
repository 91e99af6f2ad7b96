"""How long do rebuilds of an operating system image take, and what do ten versions take on disk?

    python bench/images.py [--debs .cache/debs] [--versions 10] [--rounds 3]

A root of Debian's essential packages, out of packages that `tools/essential-debs` fetched.  Beside us run mmdebstrap
alone on the same packages, buildah with a layer a step on the same root (what a Dockerfile does), and OSTree as the
store of ten versions, of which each changes one package's worth of files.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boxwork
from bench._report import once_ns, report
from bench.tree import disk_bytes
from boxwork.packs.images.recipe import Recipe, parse

S = 1e9
MS = 1e6
EPOCH_S = "1735689600"


def recipe(debs: Path, motd: str = "one", name: str = "bench", files: dict[str, str] | None = None) -> Recipe:
    rules = {"/etc/motd": motd, **(files or {})}
    text = f'[base]\nvariant = "essential"\nsuite = "bench"\nsources = "deb [trusted=yes] copy:{debs} ./"\n'
    text += "".join(f"[files.{json.dumps(path)}]\ntext = {json.dumps(content)}\n" for path, content in rules.items())
    return parse(text, name)


def run(*command: str | Path, **more: Any) -> str:
    told = [os.fspath(part) for part in command]
    return subprocess.run(told, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, **more).stdout


def mmdebstrap(debs: Path, target: Path) -> None:
    """The tool alone, as one would call it: to a tar file, on this file system."""
    environment = {**os.environ, "SOURCE_DATE_EPOCH": EPOCH_S}
    run("mmdebstrap", "--variant=essential", "", target, f"deb [trusted=yes] copy:{debs} ./", env=environment)


class Buildah:
    """A Dockerfile of two steps: the root, and a file in it.  Layers are remembered by it as it does by itself."""

    def __init__(self, folder: Path, tar: Path) -> None:
        self.folder = folder
        self.folder.mkdir()
        shutil.copy(tar, folder / "root.tar")
        self.options = ("--root", folder / "storage", "--runroot", folder / "run", "--storage-driver", "overlay")

    def build(self, motd: str) -> None:
        (self.folder / "motd").write_text(motd)
        (self.folder / "Dockerfile").write_text("FROM scratch\nADD root.tar /\nCOPY motd /etc/motd\n")
        run("buildah", *self.options, "build", "--layers", "--isolation", "chroot", "-t", "bench", self.folder)


def rounds(count: int, action: Callable[[int], None]) -> float:
    return statistics.median(once_ns(lambda at=at: action(at)) for at in range(count))  # type: ignore[misc]


def measure_builds(place: Path, debs: Path, count: int) -> None:
    with boxwork.open(place / "data") as work:
        builder = work.part("images").builder
        first = once_ns(lambda: builder.build(recipe(debs)))
        alone = once_ns(lambda: mmdebstrap(debs, place / "root.tar"))
        report(name="images.first", value=first / S, unit="s", peer="mmdebstrap alone", peer_value=alone / S)
        peer = Buildah(place / "buildah", place / "root.tar")
        peer_first = once_ns(lambda: peer.build("one"))
        report(
            name="images.first_buildah",
            value=first / S,
            unit="s",
            peer="buildah, root.tar made before",
            peer_value=peer_first / S,
        )
        builder.build(recipe(debs))
        same = rounds(5, lambda at: _expect(builder.build(recipe(debs)).new, False))
        peer_same = rounds(count, lambda at: peer.build("one"))
        report(
            name="images.unchanged",
            value=same / MS,
            unit="ms",
            peer="buildah --layers",
            peer_value=peer_same / MS,
            reach_ms=100,
        )
        report(
            name="images.unchanged_mmdebstrap",
            value=same / MS,
            unit="ms",
            peer="mmdebstrap alone",
            peer_value=alone / MS,
        )
        one = rounds(count, lambda at: _expect(builder.build(recipe(debs, f"motd {at}")).new, True))
        peer_one = rounds(count, lambda at: peer.build(f"motd {at}"))
        report(
            name="images.one_file",
            value=one / S,
            unit="s",
            peer="buildah --layers",
            peer_value=peer_one / S,
            reach_s=1.5,
        )
        both = once_ns(lambda: _together(place, debs))
        two = once_ns(lambda: _peers_together(place, debs))
        report(name="images.two_at_once", value=both / S, unit="s", peer="mmdebstrap twice at once", peer_value=two / S)


def _expect(found: object, wanted: object) -> None:
    if found != wanted:
        raise SystemExit(f"the build came to {found!r}, not {wanted!r}: this would measure something else")


def _together(place: Path, debs: Path) -> None:
    """Two images with a common prefix, by two threads, in a fresh node; how often the prefix was built is counted."""
    with boxwork.open(place / "fresh") as work:
        builder = work.part("images").builder
        threads = [
            threading.Thread(target=builder.build, args=(recipe(debs, name, name),)) for name in ("left", "right")
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        built = [row for _, row in work.node.deriver.rows() if row.kind == b"t"]
        report(name="images.prefix_built", value=len(built) - 2, unit="times", reach=1)


def _peers_together(place: Path, debs: Path) -> None:
    threads = [threading.Thread(target=mmdebstrap, args=(debs, place / f"{name}.tar")) for name in ("left", "right")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def measure_storage(place: Path, debs: Path, versions: int) -> None:
    """Ten versions, each with 200 files of 8 KiB replaced, as an update of a package would: bytes on disk."""
    repository, copies = place / "ostree", 0
    run("ostree", "init", f"--repo={repository}", "--mode=bare")
    commits: list[float] = []
    with boxwork.open(place / "stored") as work:
        shop = work.part("images")
        target = place / "root"
        for number in range(versions):
            files = {f"/usr/lib/product/file-{at}": f"{number} {at} " + "x" * 8000 for at in range(200)}
            built = shop.builder.build(recipe(debs, files=files))
            work.checkout(built.tree, target, mode="copy", ownership=True, replace=True)
            copies += disk_bytes(target)
            shutil.rmtree(target / "dev")  # OSTree keeps no devices
            commits.append(
                once_ns(
                    lambda: run("ostree", f"--repo={repository}", "commit", "--branch=bench", f"--tree=dir={target}")
                )
            )
        _expect(len(list(work.pins("images/bench/tree/"))), versions)
        _measure_moving(place, work, shop, target)
        content = work.content
        held = sum(
            content.durable.row(ref.digest).size
            for ref in _reached(work, [ref for _, ref in work.pins("images/bench/")])
        )
    ours = disk_bytes(place / "stored" / "durable", place / "stored" / "blobs" / "durable")
    report(
        name="images.ten_versions", value=ours / 1e6, unit="MB", peer="full copies", peer_value=copies / 1e6,
        share=round(ours / copies, 4), reach_share=0.25, content_mb=round(held / 1e6, 1),
    )  # fmt: skip
    theirs = disk_bytes(repository)
    report(
        name="images.ten_versions_ostree", value=ours / 1e6, unit="MB", peer="ostree", peer_value=theirs / 1e6,
        share=round(ours / theirs, 4), reach_share=1.1,
    )  # fmt: skip


def _reached(work: Any, roots: list[Any]) -> set[Any]:
    found: set[Any] = set()
    for ref in roots:
        found.add(ref)
        if not work.get(ref).startswith(b"boxwork-tree"):
            continue
        for _, entry in work.tree(ref).walk():
            if entry.ref is not None:
                found.add(entry.ref)
    return found


def _measure_moving(place: Path, work: Any, shop: Any, target: Path) -> None:
    """Switching a link between two checked-out versions, and the decision to go back."""
    from boxwork import tree

    link, sides = place / "current", [place / "v1", place / "v2"]
    for side, number in zip(sides, (1, 2), strict=True):
        work.checkout(shop.catalog.version("bench", number)["tree"], side, ownership=True)
    tree.switch(link, sides[0])
    switched = rounds(21, lambda at: tree.switch(link, sides[at % 2]))
    report(name="images.switch", value=switched / MS, unit="ms", reach_ms=5)
    back = rounds(21, lambda at: shop.builder.rollback("bench", 1 + at % 2))
    report(name="images.rollback", value=back / MS, unit="ms", reach_ms=5, about="signature verified, decision on disk")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--debs", type=Path, default=Path(".cache/debs"))
    parser.add_argument("--versions", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=["builds", "storage"], help="half of it")
    parser.add_argument("--record", action="store_true", help="keep the results in bench/history.jsonl")
    arguments = parser.parse_args()
    missing = [program for program in ("mmdebstrap", "buildah", "ostree") if shutil.which(program) is None]
    if missing or not (arguments.debs / "Packages").exists():
        raise SystemExit(f"missing: {', '.join(missing) or 'packages, see tools/essential-debs'}")
    with tempfile.TemporaryDirectory() as folder:
        place, debs = Path(folder), arguments.debs.resolve()
        if arguments.only != "storage":
            measure_builds(place, debs, arguments.rounds)
        if arguments.only != "builds":
            measure_storage(place, debs, arguments.versions)


if __name__ == "__main__":
    main()
