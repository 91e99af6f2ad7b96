"""The pages of the monitor in a real Chromium: what is wrong first, live, by keyboard, and on a phone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import boxwork
from boxwork.testing.served import served
from tests.packs.monitor.services import service, until

pytestmark = pytest.mark.servers

BOOK = (
    '''
[defaults]
every_s = 2
attempts = 2
retry_s = 0.2
[tickets]
gather_s = 60
calm_s = 1
[checks.disk]
about = "the root file system of this machine"
shell = """echo 'DISK WARNING - free space: / 812 MiB (9%) | /=7400MB;7000;7800;0;8212 inodes=12%;80;90'
exit 1"""
[checks.queue]
tcp = "127.0.0.1:1"
runbook = "drain"
[runbooks.drain]
command = ["/bin/echo", "no worker answers"]
tries = 1
wait_s = 0
'''
    + "".join(f'[checks.host-{h}]\nhttp = "{{url}}/host-{h}"\n' for h in range(10))
    + "".join(
        f'[checks.host-{h}-service-{s}]\nhttp = "{{url}}/host-{h}/{s}"\nneeds = ["host-{h}"]\n'
        for h in range(10)
        for s in range(19)
    )
)  # fmt: skip


class Place:
    def __init__(self, work: Any, url: str, web: Any) -> None:
        self.work, self.url, self.web = work, url, web
        self.monitor = work.part("monitor")

    def number(self, word: str) -> int:
        found: int = until(lambda: next((i.number for i in self.monitor.mirror.going() if word == i.key), 0))
        return found


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    book = tmp_path / "monitor.toml"
    with service() as web:
        book.write_text(BOOK.replace("{url}", web.url), "utf-8")
        settings = {"monitor.book": str(book), "monitor.book_poll_s": 0.1}
        with boxwork.open(tmp_path / "data", settings=settings) as work, served(work) as server:
            made = Place(work, server.url, web)
            until(lambda: len(list(made.monitor.roster)) == 202)
            until(lambda: all(entry.last for entry in made.monitor.roster))
            made.book = book  # type: ignore[attr-defined]
            yield made


@pytest.fixture(params=["desktop", "phone"])
def page(request: pytest.FixtureRequest, open_page: Any) -> Any:
    wide = request.param == "desktop"
    opened = open_page(
        viewport={"width": 1360, "height": 900} if wide else {"width": 390, "height": 844},
        color_scheme="light" if wide else "dark",
        allowed=("404",),
    )
    opened.wide = wide
    return opened


def shoot(page: Any, name: str) -> None:
    """A picture for the docs, where BOXWORK_PICTURES says."""
    folder = os.environ.get("BOXWORK_PICTURES")
    if folder:
        page.screenshot(path=str(Path(folder) / f"{name}-{'light' if page.wide else 'phone'}.png"))


def fits(page: Any) -> bool:
    found: bool = page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    return found


def test_what_is_wrong_comes_first_and_moves_by_itself(place: Place, page: Any) -> None:
    place.number("queue")
    page.goto(f"{place.url}/monitor")
    page.wait_for_selector('#line[data-state="live"]')
    assert 202 == page.locator("#rows tr").count()
    assert "queue" == page.locator("#rows tr").first.locator("th a").first.inner_text()

    # a host dies while the page is open: one incident for it and its nineteen, at the top of the page
    place.web.paths = {f"/host-3{more}": (503, b"") for more in ("", *(f"/{s}" for s in range(19)))}
    page.locator(".incident h2", has_text="host-3 failed and 19 that need it").wait_for()
    assert 2 == page.locator(".incident").count()
    page.locator('.chip[data-is="critical"] b', has_text="21").wait_for()
    shoot(page, "monitor")
    assert fits(page)
    page.locator('.chip[data-is="critical"]').click()
    assert 21 == page.locator("#rows tr").count()
    page.locator("#filter").fill("host-3-service-1")
    assert 10 == page.locator("#rows tr").count()  # that one, and 10 to 18; itself is among them

    # taken by keyboard only
    page.locator(".incident", has_text="host-3").locator("button", has_text="Acknowledge").focus()
    page.keyboard.press("Enter")
    page.keyboard.type("ada")
    page.keyboard.press("Tab")
    page.keyboard.type("on my way")
    page.keyboard.press("Enter")
    page.locator(".incident", has_text="ada has it: on my way").wait_for()

    place.web.paths = {}
    page.locator("#over", has_text="host-3 failed and 19 that need it").wait_for()
    assert 1 == page.locator(".incident").count()


def test_maintenance_is_begun_and_ended_and_a_bad_book_is_told(place: Place, page: Any) -> None:
    place.number("queue")
    page.goto(f"{place.url}/monitor")
    page.locator("#maintenance").click()
    page.locator('input[name="who"]').fill("ada")
    page.locator('input[name="checks"]').fill("queue")
    page.locator('input[name="why"]').fill("a new disk")
    page.locator(".ask button", has_text="Begin").click()
    page.locator("#windows", has_text="a new disk — ada").wait_for()
    page.locator(".pill", has_text="maintenance").wait_for()
    page.locator(".incident").wait_for(state="detached")  # the window lets it end
    page.locator("#windows button").click()
    page.locator(".ask button", has_text="End it").click()
    page.locator(".incident h2", has_text="queue failed").wait_for()
    place.book.write_text(place.book.read_text("utf-8") + "[checks.x]\ntpc = 1\n", "utf-8")  # type: ignore[attr-defined]
    page.locator("#mistakes li", has_text="checks.x has no 'tpc'").wait_for()
    assert fits(page)


def test_a_check_shows_its_output_figures_and_results(place: Place, page: Any) -> None:
    page.goto(f"{place.url}/monitor/check/disk")
    page.wait_for_selector('#line[data-state="live"]')
    assert "DISK WARNING - free space: / 812 MiB (9%)" == page.locator("#output").inner_text()
    assert ["/", "7,400 MB", "7000", "7800"] == page.locator("#figures tbody tr").first.locator(
        "th, td"
    ).all_inner_texts()[:4]
    before = page.locator("#history tr").count()
    page.locator("#now").click()
    until(lambda: page.locator("#history tr").count() > before)
    shoot(page, "monitor-check")
    assert fits(page)
    page.locator("#figures a").first.click()
    page.wait_for_url("**/pulse?**")
    page.locator("h1, h2", has_text="monitor.figure").first.wait_for()


def test_an_incident_shows_its_runbook_and_its_timeline_and_is_resolved(place: Place, page: Any) -> None:
    number = place.number("queue")
    page.goto(f"{place.url}/monitor/incident/{number}")
    page.locator("#runs .pill", has_text="did not help").wait_for()
    assert "no worker answers" == page.locator("#runs pre").inner_text().strip()
    page.locator("#timeline b", has_text="runbook given up").wait_for()
    shoot(page, "monitor-incident")
    assert fits(page)
    page.locator("#actions button", has_text="Resolve").click()
    page.locator('input[name="who"]').fill("ada")
    page.locator('input[name="note"]').fill("replaced")
    page.locator(".ask button", has_text="Resolve").click()
    page.locator("#says .pill", has_text="resolved").wait_for()
    assert "by ada: replaced" in page.locator("#says").inner_text()
    assert 0 == page.locator("#actions button", has_text="Resolve").count()


def test_nothing_on_the_pages_keeps_anybody_out(place: Place, open_page: Any) -> None:
    from axe_playwright_python.sync_playwright import Axe

    number = place.number("queue")
    for scheme in ("light", "dark"):
        page = open_page(viewport={"width": 1360, "height": 900}, color_scheme=scheme)
        for path in ("/monitor", "/monitor/check/disk", f"/monitor/incident/{number}"):
            page.goto(place.url + path)
            page.wait_for_selector('#line[data-state="live"]')
            found = Axe().run(page).response["violations"]
            assert [] == [(one["id"], [node["html"][:120] for node in one["nodes"][:3]]) for one in found], path
