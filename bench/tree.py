"""How long do a commit, a re-commit and a checkout of a directory take, beside OSTree and git?

    python bench/tree.py [--files 16000] [--rounds 3]

The files are made here, the same ones every time: sizes as in a Linux system (log-normal, median 3 KiB, at most
4 MiB), in nested directories.  Then the same with a tenth of them, and the slope between the two.  We are called in
this process; OSTree and git are processes, so their start (about 5 ms) is in their times.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench._report import once_ns, report, slope
from boxwork import database
from boxwork.clock import SystemClock
from boxwork.content import content as content_module
from boxwork.content.content import Content
from boxwork.content.tree import TABLES, checkout, commit, switch
from boxwork.settings import merge

MS = 1e6
FILE_BYTES_MAX = 4 << 20


def make_source(root: Path, files: int, seed: int = 1) -> int:
    """Fill `root`; how many bytes."""
    chance = random.Random(seed)
    directories = [root]
    for number in range(files // 10):
        above = chance.choice(directories[-200:] if chance.random() < 0.7 else directories)
        if len(above.parts) - len(root.parts) > 12:
            above = root
        directories.append(above / f"directory-{number}")
        directories[-1].mkdir(parents=True)
    noise, total = chance.randbytes(2 * FILE_BYTES_MAX), 0
    for number in range(files):
        size = min(int(chance.lognormvariate(8.0, 1.9)), FILE_BYTES_MAX)
        start = chance.randrange(len(noise) - size)
        path = chance.choice(directories) / f"file-{number}.dat"
        path.write_bytes(number.to_bytes(4, "big") + noise[start : start + size])
        path.chmod(0o755 if chance.random() < 0.04 else 0o644)
        total += size + 4
    return total


def run(*command: str | Path) -> None:
    subprocess.run(
        [os.fspath(part) for part in command], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def disk_bytes(*paths: Path) -> int:
    """Bytes that the files below take on disk, each inode once."""
    seen: dict[tuple[int, int], int] = {}
    for path in paths:
        for directory, _, names in os.walk(path):
            for name in names:
                status = os.lstat(os.path.join(directory, name))
                seen[status.st_dev, status.st_ino] = status.st_blocks * 512
    return sum(seen.values())


class Place:
    """Our data directory and the repositories of the peers, over one source."""

    def __init__(self, root: Path, files: int) -> None:
        self.root = root
        self.source = root / "source"
        self.bytes = make_source(self.source, files)
        self.count = 0
        os.sync()
        self.contents: list[Content] = []

    def fresh(self, name: str) -> Path:
        self.count += 1
        return self.root / f"{name}-{self.count}"

    def content(self) -> Content:
        settings = merge([*database.SETTINGS, *content_module.SETTINGS], environment={})
        content = Content(self.fresh("data"), settings, SystemClock(), cache_tables=TABLES)
        self.contents.append(content)
        return content

    def ostree(self, *, fsync: bool) -> Path:
        repository = self.fresh("ostree")
        run("ostree", f"--repo={repository}", "init", "--mode=bare")
        run("ostree", f"--repo={repository}", "config", "set", "core.fsync", str(fsync).lower())
        return repository

    def ostree_commit(self, repository: Path) -> None:
        run("ostree", f"--repo={repository}", "commit", "--branch=b", f"--tree=dir={self.source}")

    def git(self) -> Path:
        repository = self.fresh("git")
        run("git", "init", "--bare", repository)
        return repository

    def git_add(self, repository: Path) -> None:
        run("git", f"--git-dir={repository}", f"--work-tree={self.source}", "add", "--all")

    def close(self) -> None:
        for content in self.contents:
            content.close()


def in_turns(contestants: dict[str, Callable[[int], None]], rounds: int) -> dict[str, float]:
    """Median milliseconds; everybody has a turn in each round."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(rounds):
        for name, function in contestants.items():
            times[name].append(once_ns(lambda function=function, turn=turn: function(turn)) / MS)  # type: ignore[misc]
    return {name: statistics.median(rows) for name, rows in times.items()}


def measure(root: Path, files: int, rounds: int) -> dict[str, float]:
    place = Place(root, files)
    size: dict[str, Any] = {"files": files, "source_bytes": place.bytes}
    ours: dict[str, float] = {}
    with contextlib.closing(place):

        def tell(name: str, times: dict[str, float], own: str, *peers: str, **more: object) -> None:
            ours[name] = times[own]
            for peer in peers or ("",):
                report(
                    name=f"tree.{name}",
                    value=times[own],
                    unit="ms",
                    peer=peer,
                    peer_value=times.get(peer),
                    **size,
                    **more,
                )

        cold = in_turns(
            {
                "durable": lambda turn: drop(commit(place.content(), place.source)),
                "cache": lambda turn: drop(commit(place.content(), place.source, durable=False)),
                "ostree (fsync)": lambda turn: place.ostree_commit(place.ostree(fsync=True)),
                "ostree (no fsync)": lambda turn: place.ostree_commit(place.ostree(fsync=False)),
                "git add": lambda turn: place.git_add(place.git()),
            },
            min(rounds, 3),
        )
        tell("cold.durable", cold, "durable", "ostree (fsync)", "git add")
        tell("cold.cache", cold, "cache", "ostree (no fsync)", "git add")

        content, late = place.content(), place.content()
        repository, git = place.ostree(fsync=False), place.git()
        tree = commit(content, place.source)
        place.ostree_commit(repository)
        place.git_add(git)
        again = in_turns(
            {
                "ours": lambda turn: drop(commit(content, place.source)),
                "ostree": lambda turn: place.ostree_commit(repository),
                "git add": lambda turn: place.git_add(git),
            },
            rounds,
        )
        tell("recommit", again, "ours", "ostree", "git add")
        commit(late, place.source)
        renewed = []
        for _ in range(rounds):
            age(late)
            renewed.append(once_ns(lambda: commit(late, place.source)) / MS)
        tell("recommit.marks_renewed", {"ours": statistics.median(renewed)}, "ours")

        victim = next(path for path in sorted(place.source.rglob("*.dat")))

        def touched(function: Callable[[], object]) -> Callable[[int], None]:
            def one(turn: int) -> None:
                victim.write_bytes(b"%d" % turn + os.urandom(100))
                function()

            return one

        changed = in_turns(
            {
                "ours": touched(lambda: commit(content, place.source)),
                "ostree": touched(lambda: place.ostree_commit(repository)),
                "git add": touched(lambda: place.git_add(git)),
            },
            rounds,
        )
        tell("one_file_changed", changed, "ours", "ostree", "git add")

        tree = commit(content, place.source)
        place.ostree_commit(repository)
        first = once_ns(lambda: checkout(content, tree, place.fresh("out"))) / MS
        report(name="tree.checkout.link_first", value=first, unit="ms", **size)
        out = in_turns(
            {
                "link": lambda turn: drop(checkout(content, tree, place.fresh("out"))),
                "copy": lambda turn: drop(checkout(content, tree, place.fresh("out"), mode="copy")),
                "ostree checkout -H": lambda turn: run(
                    "ostree", f"--repo={repository}", "checkout", "-H", "b", place.fresh("out")
                ),
                "cp -al": lambda turn: run("cp", "-al", place.source, place.fresh("out")),
                "cp -a": lambda turn: run("cp", "-a", place.source, place.fresh("out")),
            },
            rounds,
        )
        tell("checkout.link", out, "link", "ostree checkout -H", "cp -al")
        tell("checkout.copy", out, "copy", "cp -a")

        versions = [checkout(content, tree, place.fresh("version")) for _ in range(2)]
        link = place.root / "current"
        moves = in_turns({"switch": lambda turn: drop(switch(link, versions[turn % 2]))}, 9)
        tell("switch", moves, "switch")
    return ours


def ten_versions(root: Path, files: int) -> None:
    """Bytes on disk of ten versions, in each of which one file in a hundred differs."""
    place = Place(root, files)
    with contextlib.closing(place):
        content, repository = place.content(), place.ostree(fsync=False)
        paths = sorted(place.source.rglob("*.dat"))
        chance = random.Random(2)
        trees, copies = [], 0
        for version in range(10):
            for path in chance.sample(paths, len(paths) // 100):
                data = path.read_bytes()
                path.write_bytes(b"%d" % version + data[1:])
            trees.append(commit(content, place.source))
            place.ostree_commit(repository)
            copies += disk_bytes(place.source)
        size: dict[str, Any] = {"files": files, "source_bytes": place.bytes}
        stored = disk_bytes(content.root / "durable", content.root / "blobs")
        report(
            name="tree.ten_versions.stored", value=stored, unit="bytes", peer="full copies", peer_value=copies, **size
        )
        report(
            name="tree.ten_versions.stored",
            value=stored,
            unit="bytes",
            peer="ostree",
            peer_value=disk_bytes(repository),
            **size,
        )
        for tree in trees:
            checkout(content, tree, place.fresh("version"))
            run("ostree", f"--repo={repository}", "checkout", "-H", "b", place.fresh("ostree-version"))
        with_checkouts = disk_bytes(content.root / "durable", content.root / "blobs")
        report(
            name="tree.ten_versions.stored_and_checked_out",
            value=with_checkouts,
            unit="bytes",
            peer="ostree",
            peer_value=disk_bytes(repository),
            **size,
        )


def age(content: Content) -> None:
    """Make every blob's mark of use older than five minutes: the next re-commit renews them all."""
    old = bytes(8)

    def rewrite(edit: database.Edit) -> None:
        for key, row in list(edit.scan("blobs")):
            edit.put("blobs", key, old + row[8:])

    content.durable_db.update(rewrite)


def drop(value: object) -> None:
    """The result is of no interest."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=16_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--record", action="store_true", help="keep the lines in bench/history.jsonl")
    options = parser.parse_args()
    for tool in ("ostree", "git"):
        if shutil.which(tool) is None:
            raise SystemExit(f"there is no `{tool}` here, and it is what this bench compares with")
    results = []
    for files in (options.files // 10, options.files):
        with tempfile.TemporaryDirectory(prefix="boxwork-bench-") as root:
            results.append(measure(Path(root), files, options.rounds))
    for name in results[0]:
        report(name=f"tree.{name}.slope", value=slope(results[0][name], results[1][name]), unit="exponent")
    with tempfile.TemporaryDirectory(prefix="boxwork-bench-") as root:
        ten_versions(Path(root), options.files // 4)


if __name__ == "__main__":
    main()
