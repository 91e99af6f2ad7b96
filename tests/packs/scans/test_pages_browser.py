"""The pages of scans in a real Chromium: a scan is sent with the keyboard, its plan and measures are read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import boxwork
from boxwork.packs.scans import sample
from boxwork.testing.served import served
from tests.packs.scans.stages import SCENES

pytestmark = pytest.mark.servers
# Where pictures of the pages go, for people who want to see them.
PICTURES = os.environ.get("BOXWORK_TEST_PICTURES", "")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    place = tmp_path_factory.mktemp("pages")
    with boxwork.open(place / "data") as work, served(work) as server:
        yield server.url


def shot(page: Any, name: str) -> None:
    if PICTURES:
        page.screenshot(path=str(Path(PICTURES) / f"{name}.png"), full_page=True)


def test_a_scan_is_sent_and_read_in_light_and_dark_on_a_desk_and_a_phone(
    open_page: Any, url: str, tmp_path: Path
) -> None:
    for name, scan in (
        ("flat.usdz", sample.parametric()),
        ("room-mesh.usdz", sample.noisy_mesh(missing=0.02, clutter=2)),
        ("odd.usda", SCENES["with_losses"]()[0]),
    ):
        (tmp_path / name).write_bytes(scan)
    page = open_page(timeout_s=40, viewport={"width": 1200, "height": 900}, color_scheme="light")
    page.goto(f"{url}/scans")
    assert "No scan yet" in page.inner_text("main")
    page.get_by_label("Send a scan").set_input_files(str(tmp_path / "flat.usdz"))
    page.wait_for_url("**/scans/*")
    assert "Living room" in (page.text_content(".plan") or "")
    assert "19.110 m²" in page.inner_text("table")
    assert "Everything in the scan is in the GLB" in page.inner_text("main")
    assert [] == serious(page)
    shot(page, "scans-flat-light")
    flat = page.url
    with page.expect_download() as download:
        page.get_by_role("link", name="GLB", exact=True).focus()
        page.keyboard.press("Enter")
    assert "flat-gltf.glb" == download.value.suggested_filename
    for name in ("room-mesh.usdz", "odd.usda"):
        page.goto(f"{url}/scans")
        page.get_by_label("Send a scan").set_input_files(str(tmp_path / name))
        page.wait_for_url("**/scans/*")
        shot(page, f"scans-{name.split('.')[0]}-light")
    page.get_by_text("see which").click()
    page.locator("details.loss summary").first.focus()
    page.keyboard.press("Enter")
    assert page.locator("details.loss[open] code").first.is_visible()
    page.goto(f"{url}/scans")
    assert 3 == page.locator("a.scan").count()
    shot(page, "scans-list-light")
    for name, options in (
        ("dark", {"viewport": {"width": 1200, "height": 900}, "color_scheme": "dark"}),
        ("phone", {"viewport": {"width": 390, "height": 800}, "color_scheme": "light"}),
    ):
        other = open_page(timeout_s=40, **options)
        other.goto(flat)
        assert [] == serious(other)
        wide = other.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0
        shot(other, f"scans-flat-{name}")


def test_what_is_no_scan_is_told_where_it_was_sent(open_page: Any, url: str, tmp_path: Path) -> None:
    (tmp_path / "cat.usdz").write_bytes(b"GIF89a")
    page = open_page(allowed=("400",))
    page.goto(f"{url}/scans")
    page.get_by_label("Send a scan").set_input_files(str(tmp_path / "cat.usdz"))
    page.wait_for_selector("#said.fault")
    assert "cat.usdz: not a USD scan" in page.inner_text("#said")


def serious(page: Any) -> list[str]:
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [
        f"{one['id']}: {one['nodes'][0]['html'][:120]}" for one in found if one["impact"] in ("serious", "critical")
    ]
