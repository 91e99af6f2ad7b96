"""What do a put and a get cost, small and large, durable and not, beside a raw file, diskcache and SeaweedFS?

Every round measures each side once, one after the other, so that a busy machine is busy for all; the medians are
compared.  "Raw file" hashes the bytes, writes them to a temporary name and renames it, syncing file and directory in
the durable class: the least that could be called a store.

    python bench/put_get.py [--rounds 15] [--no-seaweedfs] [--directory DIR]
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import itertools
import os
import random
import statistics
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import diskcache
from _report import report

from boxwork.clock import SystemClock, monotonic_ns
from boxwork.content.content import Content
from boxwork.content.places.s3 import S3Place
from boxwork.keys import ref_of
from boxwork.settings import KiB, MiB
from boxwork.testing.stores import content_settings, seaweedfs

Sides = dict[str, Callable[[], object]]
chance = random.Random(1)


def interleaved(
    rounds: int, sides: Sides, *, per: int = 1, after: Callable[[], object] | None = None
) -> dict[str, float]:
    """The median of each side in microseconds for one of `per` operations."""
    times: dict[str, list[int]] = {name: [] for name in sides}
    order = list(sides.items())
    for _ in range(rounds):
        order.append(order.pop(0))  # nobody always comes right after the one who leaves the disk busy
        for name, side in order:
            start = monotonic_ns()
            side()
            times[name].append(monotonic_ns() - start)
            if after is not None:
                after()
    return {name: statistics.median(each) / 1000 / per for name, each in times.items()}


def tell(question: str, medians: dict[str, float], unit: str = "us") -> None:
    ours = medians.pop("boxwork")
    scale = 1000 if unit == "ms" else 1
    for peer, value in medians.items():
        report(name=question, value=ours / scale, unit=unit, peer=peer, peer_value=value / scale)


class RawFiles:
    """The least that could be called a store."""

    def __init__(self, root: Path, durable: bool) -> None:
        root.mkdir()
        self.root, self.durable = root, durable
        self._directory = os.open(root, os.O_RDONLY)

    def put(self, data: bytes) -> str:
        name = hashlib.sha256(data).hexdigest()
        with open(self.root / "tmp", "wb", 0) as file:
            file.write(data)
            if self.durable:
                os.fsync(file.fileno())
        os.rename(self.root / "tmp", self.root / name)
        if self.durable:
            os.fsync(self._directory)
        return name

    def get(self, name: str) -> bytes:
        fd = os.open(f"{self.root}/{name}", os.O_RDONLY)
        try:
            return os.read(fd, os.fstat(fd).st_size)
        finally:
            os.close(fd)


def fresh(size: int) -> Iterator[bytes]:
    """Endless different blobs of one size, cheaply: only the first bytes differ."""
    body = chance.randbytes(size - 8)
    return (number.to_bytes(8) + body for number in itertools.count())


def small(content: Content, root: Path, rounds: int, *, durable: bool) -> None:
    together, kind = 100, "durable" if durable else "cache"
    blobs, raw = fresh(4 * KiB), RawFiles(root / f"raw-{kind}", durable)
    cache = diskcache.Cache(str(root / f"diskcache-{kind}"), sqlite_synchronous=2 if durable else 1)

    def batches(sides: int) -> Callable[[], list[bytes]]:
        """As many lots of new blobs as will be asked for, made before the clock runs."""
        return [list(itertools.islice(blobs, together)) for _ in range(sides * rounds)].pop

    take = batches(3)

    def raw_puts() -> None:
        for data in take():
            raw.put(data)

    def cache_puts() -> None:
        with cache.transact():
            for data in take():
                cache[hashlib.sha256(data).digest()] = data

    tell(
        f"put 4 KiB, {kind}, 100 together",
        interleaved(
            rounds,
            {
                "boxwork": lambda: content.put_many(take(), durable=durable),
                "raw file + SHA-256": raw_puts,
                "diskcache in one transaction": cache_puts,
            },
            per=together,
        ),
    )

    take = batches(2)
    with ThreadPoolExecutor(together) as pool:
        list(pool.map(os.urandom, [1000] * together))  # starts the threads
        tell(
            f"put 4 KiB, {kind}, 100 threads",
            interleaved(
                rounds,
                {
                    "boxwork": lambda: list(pool.map(lambda data: content.put(data, durable=durable), take())),
                    "raw file + SHA-256": raw_puts,
                },
                per=together,
            ),
        )

    take = batches(3)
    tell(
        f"put 4 KiB, {kind}, alone",
        interleaved(
            rounds,
            {
                "boxwork": lambda: content.put(take()[0], durable=durable),
                "raw file + SHA-256": lambda: raw.put(take()[0]),
                "diskcache": lambda: cache.set(os.urandom(8), take()[0]),
            },
        ),
    )

    data = next(blobs)
    ref, name = content.put(data, durable=durable), raw.put(data)
    cache[b"k"] = data
    tell(
        f"get 4 KiB, {kind}",
        interleaved(
            rounds,
            {
                "boxwork": repeated(lambda: content.get(ref)),
                "raw file": repeated(lambda: raw.get(name)),
                "diskcache": repeated(lambda: cache[b"k"]),
            },
            per=1000,
        ),
    )
    cache.close()


def repeated(call: Callable[[], object]) -> Callable[[], object]:
    def run() -> None:
        for _ in range(1000):
            call()

    return run


def large(content: Content, root: Path, rounds: int, *, durable: bool) -> None:
    size, kind = 64 * MiB, "durable" if durable else "cache"
    raw, blobs = RawFiles(root / f"raw-large-{kind}", durable), fresh(size)
    data, kept = [next(blobs) for _ in range(2)], []

    def raw_put() -> None:
        kept.append(raw.put(data[1]))

    def forget() -> None:
        """Every side starts with the disk and the page cache as it found them."""
        while kept:
            os.unlink(raw.root / kept.pop())
        content.delete(ref_of(data[0]))

    tell(
        f"put 64 MiB, {kind}",
        interleaved(
            rounds,
            {"boxwork": lambda: content.put(data[0], durable=durable), "raw file + SHA-256": raw_put},
            after=forget,
        ),
        "ms",
    )
    chunks = [data[0][at : at + MiB] for at in range(0, size, MiB)]
    tell(
        f"put 64 MiB as a stream, {kind}",
        interleaved(
            rounds,
            {"boxwork": lambda: content.put_stream(chunks, durable=durable), "raw file + SHA-256": raw_put},
            after=forget,
        ),
        "ms",
    )
    ref, name = content.put(data[0], durable=durable), raw.put(data[0])
    tell(
        f"get 64 MiB, {kind}",
        interleaved(rounds, {"boxwork": lambda: content.get(ref), "raw file": lambda: raw.get(name)}),
        "ms",
    )
    kept.append(name)
    forget()


def beside_seaweedfs(content: Content, bucket: S3Place, rounds: int) -> None:
    """By itself, because the server goes on writing after it has answered."""
    for size, label, unit in ((4 * KiB, "4 KiB", "us"), (64 * MiB, "64 MiB", "ms")):
        blobs = fresh(size)
        take = [next(blobs) for _ in range(2 * rounds)].pop
        tell(
            f"put {label}, durable, alone",
            interleaved(
                rounds,
                {
                    "boxwork": partial(lambda take: content.put(take()), take),
                    "SeaweedFS S3": partial(lambda take: bucket.put(take()), take),
                },
            ),
            unit,
        )
        ref = bucket.put(content.get(content.put(next(blobs))))
        tell(
            f"get {label}, durable",
            interleaved(rounds, {"boxwork": partial(content.get, ref), "SeaweedFS S3": partial(bucket.get, ref)}),
            unit,
        )


def slope(root: Path, rounds: int) -> None:
    """The get of one of many: does it matter how many there are."""
    medians = []
    for blobs in (5_000, 50_000):
        with contextlib.closing(Content(root / f"slope-{blobs}", content_settings(), SystemClock())) as content:
            source, refs = fresh(4 * KiB), []
            for _ in range(blobs // 1000):
                refs += content.put_many(list(itertools.islice(source, 1000)), durable=False)
            chance.shuffle(refs)

            def gets(refs: list[Any] = refs[:2000], content: Content = content) -> None:
                for ref in refs:
                    content.get(ref)

            medians.append(interleaved(rounds, {"boxwork": gets}, per=2000)["boxwork"])
    report(name="get 4 KiB out of 50,000", value=medians[1], unit="us", peer="out of 5,000", peer_value=medians[0])
    slope = medians[1] / medians[0]
    report(name="get 4 KiB: slope of ten times the blobs", value=slope, unit="x", peer="flat", peer_value=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--no-seaweedfs", action="store_true")
    parser.add_argument("--directory", help="where to measure (a real disk, not a tmpfs)")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="boxwork-put-get-", dir=options.directory)))
        content = stack.enter_context(contextlib.closing(Content(root / "data", content_settings(), SystemClock())))
        for durable in (True, False):
            small(content, root, options.rounds, durable=durable)
            large(content, root, max(3, options.rounds // 2), durable=durable)
        slope(root, options.rounds)
        if not options.no_seaweedfs:
            bucket = S3Place(**stack.enter_context(seaweedfs(root / "seaweedfs")))
            beside_seaweedfs(content, bucket, max(3, options.rounds // 3))


if __name__ == "__main__":
    main()
