"""What does a new thumbnail cost: CPU for 12 megapixels to 320 pixels in each format, beside plain Pillow?

The peer is what a Python program usually does: `Image.open`, `thumbnail`, `save` with the library's own defaults.
Rounds are interleaved, medians of CPU time of the process.  Then 200 distinct 12-megapixel JPEGs are asked for at
once, over HTTP, from a server of its own: `rss` is the most memory that server ever had.
"""

from __future__ import annotations

import functools
import io
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROUNDS = 7
MANY = 200

SERVER = """
import sys
import boxwork
from boxwork.serve.server import serve
with boxwork.open(sys.argv[1]) as work:
    list(work.inventory.scan(sys.argv[2]))
    serve(work, port=0, ready=lambda url: print(url, flush=True))
"""


def photo(width: int = 4000, height: int = 3000, **options: object) -> bytes:
    """Something like a photograph: smooth areas, edges, grain; 2 to 3 MB."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(5)
    coarse = Image.fromarray(rng.integers(0, 255, (30, 40, 3), dtype=np.uint8))
    picture = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.float32)
    picture = picture + rng.normal(0, 5, (height, width, 1)).astype(np.float32)
    out = io.BytesIO()
    Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8)).save(out, "JPEG", quality=85, **options)
    return out.getvalue()


def usual(data: bytes, kind: str) -> bytes:
    from PIL import Image

    picture = Image.open(io.BytesIO(data))
    picture.thumbnail((320, 320))
    out = io.BytesIO()
    picture.save(out, kind)
    return out.getvalue()


def cost_ms(call: Callable[[], object]) -> float:
    began = time.process_time()
    call()
    return (time.process_time() - began) * 1e3


def one_by_one() -> None:
    from _report import report

    from boxwork.packs.thumbs.thumbnail import thumbnail

    plain, progressive = photo(), photo(progressive=True)
    cases = {
        "jpg": ("JPEG", plain),
        "webp": ("WEBP", plain), "avif": ("AVIF", plain), "webp progressive": ("WEBP", progressive),
    }  # fmt: skip
    ours: dict[str, list[float]] = {name: [] for name in cases}
    theirs: dict[str, list[float]] = {name: [] for name in cases}
    for name, (kind, data) in cases.items():  # libraries are loaded, and the first run does not count
        thumbnail(data, format=name.split()[0])  # type: ignore[arg-type]
        usual(data, kind)
    for _ in range(ROUNDS):
        for name, (kind, data) in cases.items():
            ours[name].append(cost_ms(functools.partial(thumbnail, data, format=name.split()[0])))
            theirs[name].append(cost_ms(functools.partial(usual, data, kind)))
    for name in cases:
        report(name="edge.thumb_cold_12mp", value=statistics.median(ours[name]), unit="ms", peer="Pillow's defaults",
               peer_value=statistics.median(theirs[name]), format=name)  # fmt: skip


def many_at_once() -> None:
    import httpx
    import psutil
    from _report import report

    data = photo()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "photos"
        folder.mkdir()
        for number in range(MANY):
            (folder / f"{number}.jpg").write_bytes(data + b"%d" % number)  # other bytes behind the end, same work
        process = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(Path(name) / "data"), str(folder)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        refs = [row[0] for row in httpx.get(f"{url}/thumbs/items?count=1000").json()["rows"]]
        seen = psutil.Process(process.pid)
        before = peak = seen.memory_info().rss
        over = threading.Event()

        def watch() -> None:
            nonlocal peak
            while not over.wait(0.01):
                peak = max(peak, seen.memory_info().rss)

        watcher = threading.Thread(target=watch)
        watcher.start()
        with (
            httpx.Client(timeout=300, limits=httpx.Limits(max_connections=MANY)) as client,
            ThreadPoolExecutor(MANY) as pool,
        ):
            began = time.perf_counter()
            good = sum(pool.map(lambda ref: client.get(f"{url}/thumbs/320/{ref}.webp").status_code == 200, refs))
            spent = time.perf_counter() - began
        over.set()
        watcher.join()
        process.terminate()
        process.wait(30)
    report(name="edge.thumb_many_rss", value=peak / 1e6, unit="MB", peer="idle", peer_value=before / 1e6,
           pictures=good, seconds=round(spent, 2))  # fmt: skip


if __name__ == "__main__":
    one_by_one()
    many_at_once()
