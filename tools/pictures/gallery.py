"""The gallery, over a drawn sample: light, dark, a selection, the viewer with its lineage, a phone."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import boxwork
from boxwork.packs.thumbs import PACK
from boxwork.packs.thumbs.sample import make_sample
from boxwork.testing.served import served
from tools.pictures.camera import camera


def prepare(work: Any, folder: Path) -> None:
    """Take the folder in and derive what the gallery shows, placeholders included."""
    from boxwork.packs.thumbs.facts import placeholder

    make_sample(folder)
    assert PACK.prepare is not None
    for seen in work.inventory.scan(folder):
        box, inputs = PACK.prepare(seen.ref)
        work.derive(placeholder, thumb=work.derive(box, **inputs))


def settled(page: Any) -> None:
    """Every cell on the screen shows its picture."""
    page.wait_for_function(
        "() => { const on = [...document.querySelectorAll('.cell')].filter(c => { const b = c.getBoundingClientRect();"
        " return b.bottom > 0 && b.top < innerHeight; });"
        " return on.length > 5 && on.every(c => c.classList.contains('there') || c.classList.contains('broken')); }"
    )


def selected(page: Any) -> None:
    settled(page)
    page.locator(".cell").nth(2).click(modifiers=["Control"])
    for at in (4, 8):
        page.locator(".cell").nth(at).click()
    page.mouse.move(640, 60)


def explained(page: Any) -> None:
    settled(page)
    page.locator(".cell").nth(5).click()
    page.keyboard.press("i")
    page.wait_for_selector(".lineage")
    page.wait_for_timeout(700)  # the large picture replaces the small one


def main() -> None:
    with tempfile.TemporaryDirectory() as name, boxwork.open(Path(name) / "data") as work:
        prepare(work, Path(name) / "sample")
        with served(work) as node, camera(node.url) as eye:
            size = {"width": 1280, "height": 800}
            eye.take("gallery-light", "/", ready=settled, **size)
            eye.take("gallery-dark", "/", "dark", ready=settled, **size)
            eye.take("gallery-selection", "/", ready=selected, **size)
            eye.take("viewer-lineage", "/", "dark", ready=explained, **size)
            eye.take("gallery-phone", "/", "dark", ready=settled, phone=True)
