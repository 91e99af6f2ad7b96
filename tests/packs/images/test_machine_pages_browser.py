"""The pages of machines in a real Chromium: by keyboard, in the dark, on a phone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import boxwork
from boxwork.testing.served import served
from tests.packs.images.test_machine_pages import machine

pytestmark = pytest.mark.servers
PICTURES = os.environ.get("BOXWORK_TEST_PICTURES", "")
CONSOLE = b"boxwork: slot b\r\nthe database is not there\r\nboxwork: sick /etc/boxwork/health.d/10-web answered 2\r\n"


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    with boxwork.open(tmp_path / "data") as work:
        machine(work, "web", CONSOLE, ("healthy", "healthy", "sick"))
        with served(work) as server:
            yield server.url


def test_a_machine_is_read_by_keyboard_in_the_dark_and_on_a_phone(open_page: Any, url: str) -> None:
    page = open_page(timeout_s=30, viewport={"width": 1200, "height": 900})
    page.goto(f"{url}/images/machines")
    shot(page, "images-machines")
    page.get_by_role("link", name="web").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/images/machines/web")
    assert ["runs"] == page.locator("section table .tag").all_inner_texts()
    # The last boot is open; the one before opens by keyboard.
    assert "the database is not there" in page.locator("details[open] pre").inner_text()
    page.locator("details:not([open]) summary").first.focus()
    page.keyboard.press("Enter")
    assert 2 == page.locator("details[open]").count()
    shot(page, "images-machine-light")
    page.emulate_media(color_scheme="dark")
    shot(page, "images-machine-dark")
    page.set_viewport_size({"width": 390, "height": 844})
    shot(page, "images-machine-phone-dark")
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")


def shot(page: Any, name: str) -> None:
    if PICTURES:
        page.screenshot(path=str(Path(PICTURES) / f"{name}.png"), full_page=True)
