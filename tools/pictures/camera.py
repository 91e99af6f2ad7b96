"""A Chromium that takes pictures: small files, no trace of this machine."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from boxwork.testing.chromium import CHROMIUM_FLAGS

PICTURES = Path(__file__).resolve().parent.parent.parent / "docs" / "pictures"
# A picture of a README.  Unit: bytes.
BYTES_MAX = 400_000
DESKTOP = {"width": 1360, "height": 900}
PHONE = {"width": 390, "height": 844}


class Camera:
    """Takes pictures of the pages of one node."""

    def __init__(self, browser: Any, url: str) -> None:
        self.browser = browser
        self._url = url

    @contextmanager
    def page(self, path: str, scheme: str = "light", *, phone: bool = False, **size: int) -> Iterator[Any]:
        """The page at `path`, on a desktop screen (`width`, `height` in CSS pixels) or on a phone."""
        context = self.browser.new_context(
            viewport=PHONE if phone else {**DESKTOP, **size},
            device_scale_factor=2 if phone else 1,
            is_mobile=phone,
            has_touch=phone,
            color_scheme=scheme,
        )
        page = context.new_page()
        answer = page.goto(self._url + path)
        kind = answer.headers.get("content-type", "") if answer is not None and answer.ok else ""
        if not kind.startswith("text/html"):
            raise RuntimeError(f"{path} answers {answer and answer.status} {kind}: no page to take a picture of")
        yield page
        context.close()

    def take(
        self,
        name: str,
        path: str,
        scheme: str = "light",
        *,
        ready: Callable[[Any], None] = lambda page: None,
        whole: bool = False,
        phone: bool = False,
        **size: int,
    ) -> None:
        """docs/pictures/`name`.png of `path`, once `ready` has brought the page to where it is worth a picture."""
        with self.page(path, scheme, phone=phone, **size) as page:
            ready(page)
            page.wait_for_timeout(300)  # transitions
            self.shoot(page, name, whole=whole)

    def shoot(self, page: Any, name: str, *, whole: bool = False) -> None:
        PICTURES.mkdir(parents=True, exist_ok=True)
        path = PICTURES / f"{name}.png"
        page.screenshot(path=str(path), full_page=whole)
        shrink(path)
        print(f"{path.name}: {path.stat().st_size:,} bytes", flush=True)


@contextmanager
def camera(url: str) -> Iterator[Camera]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=[*CHROMIUM_FLAGS])
        try:
            yield Camera(browser, url)
        finally:
            browser.close()


def shrink(path: Path) -> None:
    """Fewer colours until it fits."""
    from PIL import Image

    for colours in (256, 160, 96, 64):
        if path.stat().st_size <= BYTES_MAX:
            return
        with Image.open(path) as picture:
            plain = picture.convert("RGB")
        palette = plain.quantize(colours, Image.Quantize.MEDIANCUT)
        plain.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).save(path, optimize=True)
