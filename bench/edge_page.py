"""How soon is a page of 10,000 pictures painted, and how does it scroll: the gallery beside two plain pages?

Real Chromium, throttled by the DevTools protocol to 20 Mbit/s with 40 ms of latency, a fresh context each time,
1280 x 900.  The peers are one HTML page with 10,000 `<img loading=lazy>` of the originals, and the same of our
thumbnails.  Every picture has bytes of its own.  So that the bench is set up in minutes, the first 200 have 2
megapixels (those are what any of the pages loads before it is scrolled) and the others 0.3, of which 100 are drawn and
told apart by what comes behind the picture; and of more than 10,000 the first 5,000 have their thumbnails before the
warm rounds, twice what any page comes by.

    painted   ms until every picture on the first screen is decoded and shown
    instant   share of the cells that came into view while scrolling 24,000 px at 4,000 px/s and showed their picture
              within 50 ms; a cell that never did counts against it

`python bench/edge_page.py [items] [rounds]`
"""

from __future__ import annotations

import functools
import io
import shutil
import statistics
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from boxwork.testing.chromium import CHROMIUM_FLAGS

ITEMS = int(sys.argv[1]) if len(sys.argv) > 1 and sys.argv[1].isdigit() else 10_000
ROUNDS = int(sys.argv[2]) if len(sys.argv) > 2 and sys.argv[2].isdigit() else 3
LARGE = 200
DRAWN = 100
# Have their thumbnails before the warm rounds.
PREPARED = ITEMS if ITEMS <= 10_000 else 5_000
MBIT_S, LATENCY_MS = 20, 40
SPEED, DISTANCE = 4_000, 24_000

PAINTED = """() => {
  const all = [...document.querySelectorAll('.cell img, img.plain')].filter(i => {
    const b = i.getBoundingClientRect(); return b.bottom > 0 && b.top < innerHeight && b.width > 0; });
  return all.length > 10 && all.every(i => i.complete && i.naturalWidth > 0) ? performance.now() : false;
}"""
WATCH = """() => {
  window.seen = new Map();
  const grid = document.querySelector('photo-grid');
  const look = () => {
    const now = performance.now();
    const shown = new Set();
    const cells = grid ? document.querySelectorAll('.cell') : document.querySelectorAll('img.plain');
    for (const cell of cells) {
      const b = cell.getBoundingClientRect();
      if (b.bottom <= 0 || b.top >= innerHeight || b.right <= 0) continue;
      const key = grid ? cell.position : cell.dataset.at;
      const there = grid ? cell.classList.contains('there') : cell.complete && cell.naturalWidth > 0;
      if (!seen.has(key)) seen.set(key, { came: now, there: null });
      if (there && seen.get(key).there === null) seen.get(key).there = now;
    }
    requestAnimationFrame(look);
  };
  look();
}"""
RESULT = """() => {
  const all = [...seen.values()];
  return { cells: all.length, instant: all.filter(s => s.there !== null && s.there - s.came <= 50).length / all.length,
           never: all.filter(s => s.there === null).length };
}"""


@functools.lru_cache(maxsize=DRAWN)
def drawn(at: int, width: int, height: int) -> bytes:
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(at)
    coarse = rng.integers(0, 255, (12, 16, 3), dtype=np.uint8)
    picture = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC), np.int16)
    grain = rng.integers(-14, 15, (height // 2, width // 2, 1), dtype=np.int16).repeat(2, 0).repeat(2, 1)
    out = io.BytesIO()
    high, wide = grain.shape[:2]
    Image.fromarray(np.clip(picture[:high, :wide] + grain, 0, 255).astype(np.uint8)).save(out, "JPEG", quality=85)
    return out.getvalue()


def draw(folder: Path, at: int) -> None:
    data = drawn(at, 1633, 1225) if at < LARGE else drawn(at % DRAWN, 640, 480) + b"%06d" % at
    (folder / f"{at:06d}.jpg").write_bytes(data)


def plain_pages(work: Any) -> list[Any]:
    """The two peers: a table of images, as anybody would write it."""
    from starlette.responses import HTMLResponse
    from starlette.routing import Route

    def page(source: str) -> Any:
        async def answer(request: Any) -> Any:
            refs = []
            cursor = ""
            while True:
                found = work.inventory.items(after=cursor, limit=1000)
                refs += [item.ref for item in found.items]
                cursor = found.next
                if not cursor:
                    break
            images = "".join(
                f'<img class=plain data-at={at} loading=lazy width=208 height=156 src="{source.format(ref[7:])}">'
                for at, ref in enumerate(refs)
            )
            return HTMLResponse(f"<!doctype html><title>plain</title>{images}")

        return answer

    return [Route("/plain/originals", page("/blobs/sha256:{}")), Route("/plain/thumbs", page("/thumbs/320/{}.webp"))]


def visit(browser: Any, url: str, *, scroll: bool) -> dict[str, float]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(60_000)
    session = context.new_cdp_session(page)
    session.send("Network.enable")
    session.send("Network.emulateNetworkConditions", {
            "offline": False, "latency": LATENCY_MS,
            "downloadThroughput": MBIT_S * 125_000, "uploadThroughput": MBIT_S * 125_000,
    })  # fmt: skip
    page.goto(url, wait_until="commit")
    found = {"painted": float(page.wait_for_function(PAINTED, polling="raf").json_value())}
    if scroll:
        page.wait_for_timeout(1500)  # a person looks before scrolling; what is ahead is fetched meanwhile
        page.evaluate(WATCH)
        session.send("Input.synthesizeScrollGesture", {
            "x": 640, "y": 450, "yDistance": -DISTANCE, "speed": SPEED, "gestureSourceType": "mouse",
        })  # fmt: skip
        page.wait_for_timeout(100)
        found |= page.evaluate(RESULT)
    context.close()
    return found


def main() -> None:
    from _report import report
    from playwright.sync_api import sync_playwright

    import boxwork
    from boxwork.packs.thumbs import PACK
    from boxwork.packs.thumbs.facts import placeholder
    from boxwork.serve.http import asgi
    from boxwork.serve.server import Server, bind

    plain = boxwork.Pack("plain", "The peers of the bench.", routes=plain_pages)
    assert PACK.prepare is not None
    with tempfile.TemporaryDirectory() as name, sync_playwright() as play:
        folder = Path(name) / "photos"
        folder.mkdir()
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda at: draw(folder, at), range(ITEMS)))
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=[*CHROMIUM_FLAGS])
        results: dict[str, list[dict[str, float]]] = {}
        with boxwork.open(Path(name) / "data", packs=[plain]) as work:
            refs = [seen.ref for seen in work.inventory.scan(folder)]
            server = Server(asgi(work), bind("127.0.0.1", 0, 1), work.settings)
            url = server.start()
            results["cold"] = [visit(browser, url, scroll=False)]
            with ThreadPoolExecutor(2) as pool:

                def prepare(ref: Any) -> None:
                    box, inputs = PACK.prepare(ref)  # type: ignore[misc]
                    work.derive(placeholder, thumb=work.derive(box, **inputs))

                list(pool.map(prepare, refs[:PREPARED]))
            for _ in range(ROUNDS):
                for peer, path in (("gallery", "/"), ("thumbs", "/plain/thumbs"), ("originals", "/plain/originals")):
                    results.setdefault(peer, []).append(visit(browser, url + path, scroll=peer != "originals"))
            server.stop()
        browser.close()

    def median(who: str, what: str) -> float:
        return statistics.median(float(found[what]) for found in results[who])

    warm = median("gallery", "painted")
    for peer in ("originals", "thumbs"):
        report(name="edge.page_painted", value=warm, unit="ms", peer=f"lazy {peer}", peer_value=median(peer, "painted"),
               items=ITEMS)  # fmt: skip
    report(name="edge.page_painted_cold", value=median("cold", "painted"), unit="ms", peer="lazy originals",
           peer_value=median("originals", "painted"), items=ITEMS)  # fmt: skip
    report(name="edge.page_instant", value=100 * median("gallery", "instant"), unit="%", peer="lazy thumbs",
           peer_value=100 * median("thumbs", "instant"), items=ITEMS, cells=median("gallery", "cells"))  # fmt: skip


if __name__ == "__main__":
    main()
