"""The pages of images in a real Chromium: a build is watched, a difference read, a version rolled back."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import boxwork
from boxwork.testing.served import served
from tests.packs.images.archive_of_debs import Archive

pytestmark = pytest.mark.servers
# Where pictures of the pages go, for people who want to see them.
PICTURES = os.environ.get("BOXWORK_TEST_PICTURES", "")


@pytest.fixture(scope="module")
def debs(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    archive = Archive(tmp_path_factory.mktemp("pages") / "archive")
    archive.put("hello", files={"/usr/share/hello/text": "hello 1\n"}, postinst="echo setting up hello >&2")
    archive.put("world", files={"/usr/share/world/text": "world 1\n"}, depends="hello")
    return archive


@pytest.fixture(scope="module")
def url(debs: Archive) -> Iterator[str]:
    place = debs.folder.parent
    recipe = place / "web.toml"
    base = f'[base]\nvariant = "none"\nsuite = "test"\nsources = "{debs.sources.strip()}"\n'
    recipe.write_text(f'packages = ["world"]\n{base}[files."/etc/motd"]\ntext = "hi"\n')
    with boxwork.open(place / "data", settings={"images.index_age_s": 0.0}) as work:
        work.part("images").builder.build_named(str(recipe), who="ada")
        debs.put(
            "hello", "2.0", files={"/usr/share/hello/text": "hello 2\n"}, postinst="echo setting up hello again >&2"
        )
        with served(work) as server:
            yield server.url


@pytest.fixture
def page(open_page: Any) -> Any:
    return open_page(timeout_s=30, viewport={"width": 1200, "height": 900})


def shot(page: Any, name: str) -> None:
    if PICTURES:
        page.screenshot(path=str(Path(PICTURES) / f"{name}.png"), full_page=True)


def test_a_build_is_watched_to_its_end_and_makes_a_version(page: Any, url: str) -> None:
    page.goto(f"{url}/images")
    shot(page, "images-list")
    page.get_by_role("button", name="Build").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/images/builds/*")
    page.wait_for_function("() => document.getElementById('state').textContent.startsWith('Done: version 2')")
    page.wait_for_function("() => document.getElementById('log').textContent.includes('setting up hello again')")
    shot(page, "images-build")


def test_a_version_shows_what_differs_and_a_rollback_lets_the_earlier_one_count(page: Any, url: str) -> None:
    page.goto(f"{url}/images/web/2")
    assert "hello" in page.inner_text("section table tbody")
    assert "2.0" in page.inner_text("section table tbody")
    assert "usr/share/hello/text" in page.inner_text(".paths")
    assert "signed by this node" in page.inner_text(".facts")
    shot(page, "images-version")
    page.goto(f"{url}/images/web")
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Go to 1").click()
    page.wait_for_function("() => document.querySelector('tbody tr:nth-child(2) .tag.on') !== null")
    shot(page, "images-image")
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size({"width": 390, "height": 844})
    shot(page, "images-image-phone-dark")
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
