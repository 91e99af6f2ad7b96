"""Take the pictures of the documentation: `python tools/screenshots.py` writes docs/pictures/*.png.

It draws the sample inventory into a temporary folder, serves it, and photographs the gallery in a real Chromium:
light, dark, a search, the viewer with its lineage, and a phone.  Nothing of this machine is in the pictures.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import boxwork
from boxwork.packs.thumbs import PACK
from boxwork.packs.thumbs.sample import make_sample
from boxwork.serve.http import asgi
from boxwork.serve.server import Server, bind

PICTURES = Path(__file__).resolve().parent.parent / "docs" / "pictures"
BYTES_MAX = 400_000
CHROMIUM = shutil.which("chromium") or "chromium"
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
]


def prepare(work: Any, folder: Path) -> None:
    """Take the folder in and derive what the gallery shows, placeholders included."""
    from boxwork.packs.thumbs.facts import placeholder

    make_sample(folder)
    assert PACK.prepare is not None
    for seen in work.inventory.scan(folder):
        box, inputs = PACK.prepare(seen.ref)
        work.derive(placeholder, thumb=work.derive(box, **inputs))


def shrink(path: Path) -> None:
    """Fewer colours until it fits: these are pictures for a README."""
    from PIL import Image

    for colours in (256, 160, 96, 64):
        if path.stat().st_size <= BYTES_MAX:
            return
        with Image.open(path) as picture:
            plain = picture.convert("RGB")
        palette = plain.quantize(colours, Image.Quantize.MEDIANCUT)
        small = plain.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)
        small.save(path, optimize=True)


def settled(page: Any) -> None:
    """Every cell on the screen shows its picture."""
    page.wait_for_function(
        "() => { const on = [...document.querySelectorAll('.cell')].filter(c => { const b = c.getBoundingClientRect();"
        " return b.bottom > 0 && b.top < innerHeight; });"
        " return on.length > 5 && on.every(c => c.classList.contains('there') || c.classList.contains('broken')); }"
    )
    page.wait_for_timeout(200)


def shoot(page: Any, name: str) -> None:
    path = PICTURES / f"{name}.png"
    page.screenshot(path=str(path))
    shrink(path)
    print(f"{path.name}: {path.stat().st_size:,} bytes")


def take(url: str) -> None:
    from playwright.sync_api import sync_playwright

    PICTURES.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        for scheme in ("light", "dark"):
            page = browser.new_page(viewport={"width": 1280, "height": 800}, color_scheme=scheme)
            page.goto(url)
            settled(page)
            shoot(page, f"gallery-{scheme}")
            if scheme == "light":
                page.locator(".cell").nth(2).click(modifiers=["Control"])
                for at in (4, 8):
                    page.locator(".cell").nth(at).click()
                page.mouse.move(640, 60)
                page.wait_for_timeout(200)
                shoot(page, "gallery-selection")
            else:
                page.locator(".cell").nth(5).click()
                page.keyboard.press("i")
                page.wait_for_selector(".lineage")
                page.wait_for_timeout(900)
                shoot(page, "viewer-lineage")
            page.close()
        phone: dict[str, Any] = {"width": 390, "height": 800}
        page = browser.new_page(
            viewport=phone, device_scale_factor=2, is_mobile=True, has_touch=True, color_scheme="dark"
        )
        page.goto(url)
        settled(page)
        shoot(page, "gallery-phone")
        browser.close()


def main() -> None:
    if len(sys.argv) > 1:
        take(sys.argv[1])
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with boxwork.open(folder / "data") as work:
            prepare(work, folder / "sample")
            server = Server(asgi(work), bind("127.0.0.1", 0, 1), work.settings)
            take(server.start())
            server.stop()


if __name__ == "__main__":
    main()
