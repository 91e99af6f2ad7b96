"""What does a new thumbnail cost, 12 megapixels to 320 pixels in each format, beside Pillow, thumbor and PocketBase?

    one by one    the function, beside what a Python program usually does (`Image.open`, `thumbnail`, `save`)
    served        end to end over HTTP, CPU of the server's process tree for each cold thumbnail of a distinct file,
                  beside thumbor and PocketBase where they are installed (`_media_peers`)
    looks         SSIM against the picture scaled down without loss, and bytes: what a format buys at which quality
    many at once  1,000 distinct 12-megapixel JPEGs asked for at once: the most memory of the server and its workers
    hostile       others' cached thumbnails while a corpus of broken pictures is asked for, beside a quiet server

Rounds are interleaved; medians.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import http.client
import io
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from operator import truediv
from pathlib import Path
from typing import Any

ROUNDS = 7
MANY = 1_000
# Distinct files of the end-to-end comparison, for each format.
SERVED = 12

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


def distinct(folder: Path, count: int) -> list[Path]:
    """Files of the same picture with other bytes behind its end: the same work, none of it remembered."""
    data = photo()
    folder.mkdir(exist_ok=True)
    made = [folder / f"{number:04d}.jpg" for number in range(count)]
    for number, path in enumerate(made):
        path.write_bytes(data + b"%d" % number)
    return made


@contextlib.contextmanager
def served(root: Path, folder: Path, **settings: str) -> Iterator[tuple[int, str, list[str]]]:
    """Boxwork over a folder in a process of its own: its id, its address, the refs by file name."""
    import httpx

    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(root / "data"), str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **{f"BOXWORK_{name.upper()}": value for name, value in settings.items()}},
    )
    assert process.stdout is not None
    try:
        url = process.stdout.readline().strip()
        rows = httpx.get(f"{url}/thumbs/items?count=1000", timeout=60).json()["rows"]
        yield process.pid, url, [ref for ref, _, _ in sorted(rows, key=lambda row: row[1])]
    finally:
        process.terminate()
        process.wait(30)


def tree_cpu_ms(pid: int) -> float:
    import psutil

    root = psutil.Process(pid)
    # with what has ended: the last two of `cpu_times` are those of children that are gone
    return 1e3 * sum(sum(one.cpu_times()[:4]) for one in (root, *root.children(recursive=True)))


def tree_rss(pid: int) -> int:
    import psutil

    root = psutil.Process(pid)
    found = 0
    for one in (root, *root.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            found += one.memory_info().rss
    return found


def asked_cpu_ms(pid: int, urls: list[str]) -> float:
    """CPU of the server for each of the addresses, asked one after the other."""
    import httpx

    before = tree_cpu_ms(pid)
    with httpx.Client(timeout=120) as client:
        for url in urls:
            client.get(url).raise_for_status()
    return (tree_cpu_ms(pid) - before) / len(urls)


def served_beside_peers() -> None:
    from _media_peers import pocketbase, program, thumbor
    from _report import report

    with contextlib.ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        files = distinct(root / "photos", SERVED + 1)
        pid, url, refs = stack.enter_context(served(root, root / "photos"))
        kinds = {"jpg": "jpeg", "webp": "webp", "avif": "avif"}
        ours = {kind: [f"{url}/thumbs/320/{ref}.{kind}" for ref in refs] for kind in kinds}
        for kind in kinds:
            asked_cpu_ms(pid, ours[kind][:1])  # libraries are loaded, and the first does not count
        mine = {kind: asked_cpu_ms(pid, ours[kind][1:]) for kind in kinds}
        if program("thumbor"):
            other, base = stack.enter_context(thumbor(root / "photos", root / "thumbor"))
            for kind, name in kinds.items():
                asks = [f"{base}/unsafe/320x0/filters:format({name})/{path.name}" for path in files]
                asked_cpu_ms(other, asks[:1])
                report(name="edge.thumb_served_12mp", value=mine[kind], unit="ms", peer="thumbor",
                       peer_value=asked_cpu_ms(other, asks[1:]), format=kind)  # fmt: skip
        if program("pocketbase"):
            other, asks = stack.enter_context(pocketbase(files, root))
            asked_cpu_ms(other, asks[:1])
            report(name="edge.thumb_served_12mp", value=mine["jpg"], unit="ms", peer="PocketBase",
                   peer_value=asked_cpu_ms(other, asks[1:]), format="jpg")  # fmt: skip


def ssim(one: Any, two: Any) -> float:
    """Structural similarity of two grey pictures (Wang et al. 2004, windows of 8 x 8, the mean)."""
    import numpy as np
    from scipy.ndimage import uniform_filter

    a, b = (np.asarray(picture.convert("L"), np.float64) for picture in (one, two))
    mean_a, mean_b = uniform_filter(a, 8), uniform_filter(b, 8)
    vary_a, vary_b = uniform_filter(a * a, 8) - mean_a**2, uniform_filter(b * b, 8) - mean_b**2
    both = uniform_filter(a * b, 8) - mean_a * mean_b
    low, high = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    found = (2 * mean_a * mean_b + low) * (2 * both + high)
    return float(np.mean(found / ((mean_a**2 + mean_b**2 + low) * (vary_a + vary_b + high))))


def looks() -> None:
    from _report import report
    from PIL import Image

    from boxwork.packs.thumbs.sample import make_sample
    from boxwork.packs.thumbs.thumbnail import as_pillow, encode, shrink, thumbnail

    found: dict[str, list[tuple[float, int]]] = {}
    with tempfile.TemporaryDirectory() as name:
        make_sample(Path(name), 24)
        for path in sorted(Path(name).rglob("*.jpg")):
            data = path.read_bytes()
            whole = shrink(data, 320, 0, "inside")
            exact = as_pillow(whole)
            made = {kind: thumbnail(data, format=kind) for kind in ("jpg", "webp", "avif")}  # type: ignore[arg-type]
            made |= {f"{kind} best": encode(whole, kind, 0, "best") for kind in ("webp", "avif")}
            for kind, bytes_ in made.items():
                with Image.open(io.BytesIO(bytes_)) as seen:
                    found.setdefault(kind, []).append((ssim(exact, seen), len(bytes_)))
    middle = {kind: [statistics.median(column) for column in zip(*rows, strict=True)] for kind, rows in found.items()}
    for kind, (likeness, size) in middle.items():
        report(name="edge.thumb_ssim", value=likeness, unit="SSIM", peer="jpg", peer_value=middle["jpg"][0],
               format=kind, kilobytes=round(size / 1e3, 2))  # fmt: skip


def many_at_once() -> None:
    import httpx
    from _report import report

    with tempfile.TemporaryDirectory() as name:
        distinct(Path(name) / "photos", MANY)
        with served(Path(name), Path(name) / "photos") as (pid, url, refs):
            before = peak = tree_rss(pid)
            over = threading.Event()

            def watch() -> None:
                nonlocal peak
                while not over.wait(0.01):
                    peak = max(peak, tree_rss(pid))

            watcher = threading.Thread(target=watch)
            watcher.start()
            began = time.perf_counter()
            good = asyncio.run(ask_all(httpx, [f"{url}/thumbs/320/{ref}.webp" for ref in refs]))
            spent = time.perf_counter() - began
            over.set()
            watcher.join()
    report(name="edge.thumb_many_rss", value=peak / 2**20, unit="MiB", peer="idle", peer_value=before / 2**20,
           pictures=good, seconds=round(spent, 2))  # fmt: skip


async def ask_all(httpx: Any, urls: list[str]) -> int:
    """All of them at once, each on a connection of its own; how many were answered well."""
    limits = httpx.Limits(max_connections=len(urls))
    async with httpx.AsyncClient(timeout=900, limits=limits) as client:
        answers = await asyncio.gather(*(client.get(url) for url in urls))
    return sum(answer.status_code == 200 for answer in answers)


# Six clients that ask for what stands on their input, in a process of their own: they must not wait for the same
# interpreter as the one who measures.
ATTACKERS = """
import http.client, sys
from concurrent.futures import ThreadPoolExecutor
port, refs = int(sys.argv[1]), sys.stdin.read().split()
def ask(ref):
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    link.request("GET", f"/thumbs/320/{ref}.webp")
    return link.getresponse().status
with ThreadPoolExecutor(6) as pool:
    print(*sorted(set(pool.map(ask, refs))))
"""


def p99_ms(port: int, path: str, goes_on: Callable[[], bool]) -> float:
    """Of one client on one connection, 2 ms between answer and question, at least 500 times."""
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    spent: list[float] = []
    while len(spent) < 500 or goes_on():
        began = time.perf_counter()
        link.request("GET", path)
        answer = link.getresponse()
        answer.read()
        spent.append((time.perf_counter() - began) * 1e3)
        assert answer.status == 200, answer.status
        time.sleep(0.002)
    return statistics.quantiles(spent, n=100)[98]


def hostile_once(broken_per_s: str) -> tuple[float, float, set[int]]:
    """p99 while the corpus is asked for, p99 before, and what the corpus was answered with.  A server of its own."""
    import httpx

    from tests.packs.thumbs.test_hostile import corpus

    with tempfile.TemporaryDirectory() as name:
        distinct(Path(name) / "photos", 1)
        with served(Path(name), Path(name) / "photos", thumbs_broken_per_s=broken_per_s) as (_, url, refs):
            with httpx.Client(timeout=60) as client:
                bad = [client.post(f"{url}/blobs", content=data).json()["ref"][7:] for _, data in corpus()]
                path = f"/thumbs/320/{refs[0]}.webp"
                client.get(url + path).raise_for_status()
            port = int(url.rsplit(":", 1)[1])
            quiet = p99_ms(port, path, lambda: False)
            attack = [sys.executable, "-c", ATTACKERS, str(port)]
            with subprocess.Popen(attack, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as attackers:
                assert attackers.stdin is not None
                assert attackers.stdout is not None
                attackers.stdin.write("\n".join(bad))
                attackers.stdin.close()
                loaded = p99_ms(port, path, lambda: attackers.poll() is None)
                return loaded, quiet, {int(status) for status in attackers.stdout.read().split()}


def hostile() -> None:
    """As it is set, and without a limit to how fast one is told of broken pictures: the attackers never wait."""
    from _report import report

    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    limits = {"edge.hostile_p99": "10", "edge.hostile_p99_no_limit": "0"}
    for name, per_s in limits.items():
        loaded, quiet, statuses = zip(*(hostile_once(per_s) for _ in range(ROUNDS)), strict=True)
        report(name=name, value=statistics.median(loaded), unit="ms", peer="quiet", peer_value=statistics.median(quiet),
               ratio_of_rounds=round(statistics.median(map(truediv, loaded, quiet)), 2),
               rounds=[round(ms, 2) for ms in loaded], quiet_rounds=[round(ms, 2) for ms in quiet],
               statuses=sorted(set().union(*statuses)))  # fmt: skip


if __name__ == "__main__":
    one_by_one()
    served_beside_peers()
    looks()
    many_at_once()
    hostile()
