"""What does it take to take in 100,000 photos of a bucket, of a collection and of a folder, and to look at them again?

SeaweedFS for S3, nx-27017 for MongoDB, this machine's disk; the same JPEGs in each, all with bytes of their own.  Each
step is a process of its own on a data directory that stays:

    first      nothing is known: every item is read and hashed.  `first page` is when a gallery of 100 can be shown.
               The peer reads and hashes the same bytes with the same number of threads and keeps nothing.
    stopped    a first scan that is killed (SIGKILL) half way, and another that ends it: how many it had to read again
    second     nothing has changed
    changed    one in a hundred has other bytes
    look       what the running server does to see whether anything has changed

Requests are counted where they leave (obstore's calls and pages, pymongo's commands).

`python bench/edge_sources.py [items] [bucket collection folder]`
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ITEMS = int(sys.argv[1]) if len(sys.argv) > 1 and sys.argv[1].isdigit() else 100_000
KINDS = [word for word in sys.argv[1:] if word in ("bucket", "collection", "folder")] or [
    "bucket", "collection", "folder",
]  # fmt: skip
DRAWN = 200
PAGE = 100
CHANGED_PART = 100  # one in so many

STEP = """
import json, os, re, signal, sys, time
import boxwork
data, source, what, limit = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
requests = {"lists": 0, "reads": 0}
if source.startswith("s3://"):
    import obstore
    def counted_list(*args, real=obstore.list, **options):
        for page in real(*args, **options):
            requests["lists"] += 1
            yield page
    def counted_get(*args, real=obstore.get, **options):
        requests["reads"] += 1
        return real(*args, **options)
    obstore.list, obstore.get = counted_list, counted_get
elif source.startswith("mongodb"):
    from pymongo import monitoring
    class Counted(monitoring.CommandListener):
        def started(self, event):
            if event.command_name in ("find", "getMore"):
                requests["lists" if event.command_name == "getMore" else "reads"] += 1
        def succeeded(self, event): pass
        def failed(self, event): pass
    monitoring.register(Counted())
with boxwork.open(data) as work:
    began, cpu = time.perf_counter(), time.process_time()
    told = {}
    page_s = None
    if what == "look":
        work.inventory.look(source, suffixes=(".jpg",))
    else:
        for count, seen in enumerate(work.inventory.scan(source, suffixes=(".jpg",)), 1):
            told[seen.state] = told.get(seen.state, 0) + 1
            if page_s is None and count >= 100:
                page_s = time.perf_counter() - began
            if count == limit:
                os.kill(os.getpid(), signal.SIGKILL)
    most = re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())
    print(json.dumps({"s": time.perf_counter() - began, "cpu_s": time.process_time() - cpu, "page_s": page_s,
                      "told": told, "mib": int(most[1]) / 1024, **requests}))
"""


def drawn() -> list[bytes]:
    """Real JPEGs, 320 x 240, about 8 KB: the bench asks what an item costs, not what a megabyte does."""
    import numpy as np
    from PIL import Image

    found = []
    for at in range(DRAWN):
        rng = np.random.default_rng(at)
        coarse = Image.fromarray(rng.integers(0, 255, (12, 16, 3), dtype=np.uint8))
        out = io.BytesIO()
        coarse.resize((320, 240), Image.Resampling.BICUBIC).save(out, "JPEG", quality=90)
        found.append(out.getvalue())
    return found


class Photos:
    """Number → a JPEG with bytes of its own: what comes behind the end of the picture is not looked at."""

    def __init__(self) -> None:
        self.drawn = drawn()

    def __call__(self, at: int, again: int = 0) -> bytes:
        return self.drawn[at % DRAWN] + b"%08d%02d" % (at, again)


def name(at: int) -> str:
    return f"{at // 1000:03d}/{at:06d}.jpg"


@contextlib.contextmanager
def bucket(folder: Path, photos: Photos) -> Iterator[tuple[str, Callable[[int], None], Callable[[], Any]]]:
    """An address, how to change every so-manieth item, and the floor: the bytes read and hashed, nothing kept."""
    import obstore

    from boxwork.content.sources.bucket import BucketAddress, store_of
    from boxwork.keys import ref_of
    from boxwork.testing.stores import seaweedfs

    with seaweedfs(folder / "seaweedfs") as server:
        os.environ |= {
            "AWS_ACCESS_KEY_ID": server["access_key_id"], "AWS_SECRET_ACCESS_KEY": server["secret_access_key"],
        }  # fmt: skip
        address = f"s3://{server['bucket']}/shop?endpoint={server['endpoint']}"
        store = store_of(BucketAddress.parse(address))

        def put(numbers: range, again: int = 0) -> None:
            with ThreadPoolExecutor(16) as pool:
                list(pool.map(lambda at: obstore.put(store, name(at), photos(at, again)), numbers))

        def read(meta: Any) -> None:
            ref_of(bytes(obstore.get(store, meta["path"]).bytes()))

        def floor() -> None:
            with ThreadPoolExecutor(8) as pool:
                for page in obstore.list(store, chunk_size=1000):
                    list(pool.map(read, page))

        put(range(ITEMS))
        yield address, lambda part: put(range(0, ITEMS, part), 1), floor


@contextlib.contextmanager
def collection(folder: Path, photos: Photos) -> Iterator[tuple[str, Callable[[int], None], Callable[[], Any]]]:
    import pymongo

    from boxwork.keys import ref_of
    from boxwork.testing.mongodb import mongodb

    with mongodb(folder / "mongodb") as address, pymongo.MongoClient[dict[str, Any]](address) as client:
        products = client.shop.products
        for start in range(0, ITEMS, 1000):
            products.insert_many(
                {"_id": at, "title": name(at), "photo": photos(at), "updated": 0}
                for at in range(start, min(start + 1000, ITEMS))
            )

        def change(part: int) -> None:
            for at in range(0, ITEMS, part):
                products.update_one({"_id": at}, {"$set": {"photo": photos(at, 1), "updated": 1}})

        def floor() -> None:
            for document in products.find({}, {"photo": 1}, batch_size=500):
                ref_of(document["photo"])

        yield f"{address}/shop.products?field=photo&name=title&version=updated", change, floor


@contextlib.contextmanager
def files(folder: Path, photos: Photos) -> Iterator[tuple[str, Callable[[int], None], Callable[[], Any]]]:
    from boxwork.keys import ref_of

    root = folder / "photos"

    def put(numbers: range, again: int = 0) -> None:
        for at in numbers:
            path = root / name(at)
            if at % 1000 == 0:
                path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(photos(at, again))

    def floor() -> None:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda path: ref_of(path.read_bytes()), root.rglob("*.jpg")))

    put(range(ITEMS))
    time.sleep(0.1)  # what was written in this very tick of the clock may still change unseen
    yield str(root), lambda part: put(range(0, ITEMS, part), 1), floor


def step(data: Path, source: str, what: str, stop_at: int = 0) -> dict[str, Any]:
    """One step in a process of its own; empty if it was killed half way, as wanted."""
    done = subprocess.run(
        [sys.executable, "-c", STEP, str(data), source, what, str(stop_at)],
        stdout=subprocess.PIPE, cwd=Path(__file__).resolve().parents[1], check=not stop_at,
    )  # fmt: skip
    found: dict[str, Any] = {} if stop_at else json.loads(done.stdout)
    return found


def main() -> None:
    from _report import report

    makers = {"bucket": bucket, "collection": collection, "folder": files}
    photos = Photos()
    for kind in KINDS:
        with tempfile.TemporaryDirectory(prefix="boxwork-bench-") as made:
            folder = Path(made)
            with makers[kind](folder, photos) as (source, change, floor):

                def tell(what: str, found: dict[str, Any], kind: str = kind, **more: Any) -> None:
                    report(name=f"edge.sources_{kind}_{what}", value=found["s"], unit="s", items=ITEMS,
                           cpu_s=round(found["cpu_s"], 2), mib=round(found["mib"]), lists=found["lists"],
                           reads=found["reads"], told=found["told"], **more)  # fmt: skip

                began = time.perf_counter()
                floor()
                spent = time.perf_counter() - began
                first = step(folder / "data", source, "scan")
                tell("first", first, peer="reading and hashing alone", peer_value=spent,
                     first_page_s=round(first["page_s"], 3))  # fmt: skip
                tell("second", step(folder / "data", source, "scan"))
                tell("look", step(folder / "data", source, "look"))
                change(CHANGED_PART)
                tell("changed", step(folder / "data", source, "scan"))
                step(folder / "other", source, "scan", ITEMS // 2)
                tell("after_kill", step(folder / "other", source, "scan"))
                shutil.rmtree(folder / "data")


if __name__ == "__main__":
    main()
