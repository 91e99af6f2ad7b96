"""The pages of the fleet in a real Chromium: what a person sees and does, live."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from boxwork.errors import Refused
from boxwork.packs.fleet.decisions import heard, spell
from boxwork.packs.fleet.overrides import set_over
from boxwork.packs.fleet.plan import Plan
from boxwork.packs.fleet.protocol import Drift, Report
from boxwork.testing.served import served
from tests.packs.fleet.conftest import MANIFEST
from tests.packs.fleet.systems import Systems

pytestmark = pytest.mark.servers


@pytest.fixture
def stage(make_stage: Any) -> Iterator[Any]:
    """Sixty hosts in the middle of a rollout that a person has paused; one has drifted, one mistake is in the sheet."""
    made = make_stage(60)
    made.reopen(**{"fleet.source_poll_s": 0.1})
    made.roll_out(made.publish("the first one").number, kind="once")
    made.write("etc/motd.j2", "welcome to {{ host }}\nhave a good day\n")
    rollout = made.fleet.start(made.publish("a friendlier greeting").number, Plan(first=0.2), who="ada", why="greeting")
    made.conductor.tick()
    made.answer()
    made.fleet.steer(rollout.number, "paused", who="ada", why="lunch")
    drift = (Drift(path="etc/app.conf", kind="changed"),)
    made.work.commit(
        heard,
        spell(Report(host="web7", position=made.fleet.mirror.assigned["web7"].position, release=1, state="drifted",
                     drift=drift, drift_count=1)),
    )  # fmt: skip
    with served(made.work) as server:
        made.url = server.url
        yield made


@pytest.fixture(params=["desktop", "phone"])
def page(request: pytest.FixtureRequest, stage: Any, open_page: Any) -> Any:
    wide = request.param == "desktop"
    opened = open_page(
        viewport={"width": 1360, "height": 900} if wide else {"width": 390, "height": 844},
        color_scheme="light" if wide else "dark",
    )
    opened.wide = wide
    return opened


def shoot(page: Any, name: str) -> None:
    """A picture for the docs, where BOXWORK_PICTURES says."""
    folder = os.environ.get("BOXWORK_PICTURES")
    if folder:
        page.screenshot(path=str(Path(folder) / f"{name}-{'light' if page.wide else 'phone'}.png"))


def no_wider_than_the_screen(page: Any) -> bool:
    found: bool = page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    return found


def test_the_fleet_is_seen_and_steered_and_moves_by_itself(stage: Any, page: Any) -> None:
    page.goto(f"{stage.url}/fleet")
    page.wait_for_selector('#line[data-state="live"]')
    assert "60" == page.locator("#hosts").inner_text()
    assert "paused" == page.locator("#rollout .pill").inner_text()
    assert "12 of 60 hosts" == page.locator("#rollout strong").inner_text()
    assert "web7" == page.locator("#rows th").first.inner_text()  # who needs somebody comes first
    shoot(page, "fleet")
    assert no_wider_than_the_screen(page)

    # by keyboard only: resume, with a name and a reason
    page.locator("#rollout button", has_text="Resume").focus()
    page.keyboard.press("Enter")
    page.keyboard.type("ada")
    page.keyboard.press("Tab")
    page.keyboard.type("lunch is over")
    page.keyboard.press("Enter")
    page.locator("#rollout .pill", has_text="running").wait_for()
    page.locator("#history", has_text="lunch is over").wait_for()

    # a filter, and a mistake in the sheet that is told while the page is open
    page.locator('.chip[data-is="drifted"]').click()
    assert 1 == page.locator("#rows tr").count()
    stage.rows["web3"]["workers"] = "lots"
    stage.save()
    page.locator("#mistakes li", has_text="line 5 (web3), column workers: 'lots' is not allowed").wait_for()
    shoot(page, "fleet-mistake")


def test_a_host_a_version_and_a_rollout_have_pages(stage: Any, page: Any) -> None:
    page.goto(f"{stage.url}/fleet/host/web7")
    assert "web7" == page.locator("h1").inner_text()
    assert 2 == page.locator(".pill", has_text="drifted").count()  # in the head, and at the file
    shoot(page, "fleet-host")
    assert no_wider_than_the_screen(page)
    page.goto(f"{stage.url}/fleet/version/2")
    assert ["-{{ color }}", "+welcome to {{ host }}", "+have a good day"] == [
        line for line in page.locator(".diff").inner_text().splitlines() if line and line[0] in "+-"
    ]
    shoot(page, "fleet-version")
    assert no_wider_than_the_screen(page)
    page.goto(f"{stage.url}/fleet/rollout/2")
    assert 12 == page.locator(".hosts li").count()
    page.wait_for_selector('#line[data-state="live"]')
    shoot(page, "fleet-rollout")
    assert no_wider_than_the_screen(page)


def test_an_override_is_shown_as_one_on_the_hosts_page_while_it_is_open(stage: Any, page: Any) -> None:
    page.goto(f"{stage.url}/fleet/host/web8")
    page.wait_for_selector('#line[data-state="live"]')
    assert 0 == page.locator(".override").count()
    set_over(stage.fleet, "web8", {"workers": "9"}, who="bob", why="it has more memory")
    shown = page.locator(".override")
    shown.wait_for()
    assert "override by bob, " == shown.inner_text().replace("\n", " ")[:17]
    assert shown.inner_text().endswith("it has more memory")
    shoot(page, "fleet-override")
    assert no_wider_than_the_screen(page)


def test_a_rollout_moves_on_its_page_and_one_beside_it_is_named(stage: Any, page: Any) -> None:
    fleet = stage.fleet
    fleet.steer(2, "aborted", who="ada", why="in two parts instead")
    stage.answer()
    first = fleet.start(2, Plan(kind="once", bake_s=0), who="ada", why="one first", only="web9")
    second = fleet.start(2, Plan(bake_s=3600), who="ada", why="a second", only="web10")
    page.goto(f"{stage.url}/fleet")
    page.locator("#rollout .beside", has_text="rollout 3").wait_for()
    assert "Rollout 4 to version 2 for web10" == page.locator("#rollout h2").inner_text()
    shoot(page, "fleet-beside")
    assert no_wider_than_the_screen(page)
    page.goto(f"{stage.url}/fleet/rollout/{first.number}")
    page.wait_for_selector('#line[data-state="live"]')
    for _ in range(3):
        with contextlib.suppress(Refused):  # the served conductor took the step already
            stage.conductor.tick()
        stage.answer()
    page.locator(".pill", has_text="done").first.wait_for()
    assert "running" == stage.rollout(second.number).state


def test_a_version_tells_its_root_and_what_differs_in_it(stage: Any, page: Any) -> None:
    (stage.release / "bin").rename(stage.release / "hooks")
    stage.write("release.toml", 'root = "images/web"\n' + MANIFEST)
    systems = Systems(stage)
    (stage.release / "etc/motd.j2").unlink()
    systems.pin(libc6="2.36-9+deb12u8", zlib1g="1:1.2.13")
    stage.publish("the hosts run an image")
    systems.pin(text="good day\n", libc6="2.36-9+deb12u9", zlib1g="1:1.2.13", tzdata="2026b")
    with contextlib.suppress(Refused):  # the served conductor saw it in the same moment
        stage.fleet.follow_source()
    assert 4 == stage.fleet.mirror.latest
    page.goto(f"{stage.url}/fleet/version/4")
    rows = [row.split("\t") for row in page.locator("tbody tr").all_inner_texts()]
    assert [["libc6", "2.36-9+deb12u8", "2.36-9+deb12u9"], ["tzdata", "–", "2026b"]] == rows
    assert "/etc/motd" == page.locator(".file code").first.inner_text()
    assert "+good day" in page.locator(".diff").inner_text()
    root = page.locator(".card", has=page.locator("h2", has_text="Root"))
    assert ["images/web", "3"] == [root.locator("dd").nth(at).inner_text() for at in (0, 2)]
    assert "images/web: libc6 2.36-9+deb12u8 → 2.36-9+deb12u9, +tzdata 2026b" in page.locator("#says").inner_text()
    shoot(page, "fleet-root")
    assert no_wider_than_the_screen(page)
