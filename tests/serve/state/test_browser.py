"""The pages in a real Chromium, over a real node: what a person sees and does, with the keyboard alone."""

from __future__ import annotations

import asyncio
import datetime
import threading
from collections.abc import Iterator
from typing import Any, Literal

import pytest

import boxwork
from boxwork import Pack, Ref, transaction
from boxwork.testing.served import served

pytestmark = pytest.mark.servers

PAINTED = """(id) => { const c = document.getElementById(id); if (!c.width) return false;
  const p = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; const seen = new Set();
  for (let k = 0; k < p.length; k += 4) if (p[k + 3] > 40) seen.add(`${p[k] >> 4} ${p[k + 1] >> 4} ${p[k + 2] >> 4}`);
  return seen.size > 4; }"""


@transaction
def book(tx: Any, show: str, seats: int = 1, aisle: bool = False, class_: Literal["stalls", "box"] = "stalls") -> int:
    """Book seats."""
    left = tx.get(("seats", show), 10)
    tx.require(left >= seats, "sold out", left=left)
    tx.put(("seats", show), left - seats)
    return int(left - seats)


@transaction
def file_away(
    tx: Any, photo: Ref | None, day: datetime.date, marks: list[int], note: bytes = b"", weight: float = 0.5
) -> Any:
    """Everything a form can ask for."""
    tx.put(("filed", day.isoformat()), (photo, day, marks, note, weight))
    return [day, marks, note, weight]


@transaction
async def ponder(tx: Any) -> int:
    await asyncio.sleep(0)
    tx.put(("pondered",), 1)
    return 1


THEATRE = Pack("theatre", "Transactions for the tests.", transactions=(book, file_away, ponder))


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, str]]:
    with boxwork.open(tmp_path_factory.mktemp("state") / "data", packs=[THEATRE]) as work, served(work) as server:
        yield work, server.url


@pytest.fixture
def page(open_page: Any) -> Any:
    # a refusal is a 409, and the browser says so in its console; nothing else may go wrong
    return open_page(allowed=("409", "400"), viewport={"width": 1200, "height": 800})


def playground(page: Any, url: str, name: str) -> None:
    page.goto(f"{url}/state/playground?transaction={name}")
    page.locator("#view h1", has_text=name).wait_for()


def test_the_live_page_shows_what_is_committed_while_it_is_open(page: Any, node: tuple[Any, str]) -> None:
    work, url = node
    page.goto(url + "/state")
    page.locator('#line[data-state="live"]').wait_for()
    stopping = threading.Event()

    def press() -> None:
        while not stopping.wait(0.01):
            work.commit(book, show="Aida", seats=0)

    thread = threading.Thread(target=press)
    thread.start()
    try:
        page.wait_for_function("() => parseFloat(document.querySelector('#commits').textContent) > 5")
        page.wait_for_function("() => document.querySelectorAll('#entries > li').length > 5")
        page.locator("#hottest .fact", has_text="Aida").wait_for()
        page.wait_for_function(PAINTED, arg="rate")
        page.wait_for_function(PAINTED, arg="sizes")
    finally:
        stopping.set()
        thread.join()
    assert "This process owns the facts" in page.locator("#owner").inner_text()
    assert int(page.locator("#lanes tr").first.locator("td").first.inner_text().replace(",", "")) > 5
    entry = page.locator("#entries > li summary").first
    entry.focus()
    page.keyboard.press("Enter")
    assert "book" in page.locator("#entries [open] .calls li").first.inner_text()


def test_lock_waits_are_shown_while_somebody_waits(page: Any, node: tuple[Any, str]) -> None:
    work, url = node
    page.goto(url + "/state")
    with work.engine.session(who="desk 1") as first:
        first.tx.put(("board",), 1)

        def wait() -> None:
            with work.engine.session(who="desk 2", age=1) as second:
                second.tx.put(("board",), 2)
                second.commit()

        thread = threading.Thread(target=wait)
        thread.start()
        page.locator("#waits li", has_text="desk 2").wait_for()
        assert "held by desk 1" in page.locator("#waits").inner_text()
        first.commit()
    thread.join(20)
    page.locator("#no-waits").wait_for()


def test_a_transaction_is_run_with_the_keyboard_alone(page: Any, node: tuple[Any, str]) -> None:
    _, url = node
    playground(page, url, "book")
    page.locator("[name=show]").focus()
    page.keyboard.type("Tosca")
    page.keyboard.press("Tab")
    page.keyboard.press("Control+a")
    page.keyboard.type("3")
    page.keyboard.press("Control+Enter")
    page.locator("#outcome .chip.good").wait_for()
    said = page.locator("#outcome").inner_text()
    assert "Committed" in said
    assert "1 of 1" in said
    rows = page.locator("#outcome .facts").last.locator("tr")
    assert ["seats·Tosca", "7"] == [cell.replace(" ", "") for cell in rows.first.inner_text().split("\t")]
    page.locator("#outcome a", has_text="Explain").click()
    page.locator("#outcome h2", has_text="book").wait_for()
    assert "show" in page.locator("#outcome").inner_text()


def test_a_preview_changes_nothing_and_a_refusal_says_why(page: Any, node: tuple[Any, str]) -> None:
    work, url = node
    playground(page, url, "book")
    page.fill("[name=show]", "Hamlet")
    page.click("#preview")
    page.locator("#outcome .chip.mere").wait_for()
    with work.read() as facts:
        assert facts.get(("seats", "Hamlet")) is None
    page.fill("[name=seats]", "11")
    page.click("#run")
    page.locator("#outcome .chip.refused").wait_for()
    said = page.locator("#outcome").inner_text()
    assert "sold out" in said
    assert "transaction.refused" in said
    assert "Nothing was changed" in said


def test_every_kind_of_input_arrives_as_its_type(page: Any, node: tuple[Any, str]) -> None:
    work, url = node
    playground(page, url, "file_away")
    page.fill("[name=day]", "2026-11-29")
    page.fill("[name=marks]", "[1, 2]")
    page.fill("[name=note]", "héllo")
    page.fill("[name=weight]", "1.5")
    page.click("#run")
    page.locator("#outcome .chip").wait_for()
    with work.read() as facts:
        assert (None, datetime.date(2026, 11, 29), [1, 2], "héllo".encode(), 1.5) == facts.get(("filed", "2026-11-29"))
    page.fill("[name=marks]", "[1,")
    page.click("#run")
    assert page.locator("[name=marks]").evaluate("field => field.validationMessage") == "marks is not JSON"


def test_many_at_once_show_who_shared_a_batch(page: Any, node: tuple[Any, str]) -> None:
    _, url = node
    playground(page, url, "ponder")
    assert page.locator("#preview").is_disabled()
    playground(page, url, "book")
    page.fill("[name=show]", "Norma")
    page.click(".options summary")
    page.fill("#times", "12")
    page.click("#run")
    page.locator("#outcome table.many").wait_for()
    assert 12 == page.locator("#outcome table.many tbody tr").count()
    assert "10 of 12 committed" in page.locator("#outcome .said").inner_text()


def test_the_code_beside_it_really_does_the_same(page: Any, node: tuple[Any, str]) -> None:
    import os
    import subprocess
    import sys

    work, url = node
    playground(page, url, "book")
    page.fill("[name=show]", "it's $HOME")
    page.check("[name=aisle]")
    page.click(".options summary")
    page.fill("#once", "order 1")
    curl = page.locator("#code").inner_text()
    assert "curl -X POST" in curl
    assert 0 == subprocess.run(curl + " -fsS", shell=True, capture_output=True, timeout=20, check=False).returncode
    with work.read() as facts:
        assert 9 == facts.get(("seats", "it's $HOME"))
    page.click("[data-code=python]")
    python = page.locator("#code").inner_text().replace("boxwork.open(", "boxwork.open(packs=[THEATRE], directory=")
    program = [sys.executable, "-c", f"from {__name__} import THEATRE\n{python}"]
    paths = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    told = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False, env=paths)
    assert told.stdout.startswith("9 1."), told.stderr  # the same idempotency id: nothing was booked twice
    page.click("[data-code=shell]")
    assert "commit book" in page.locator("#code").inner_text()


@pytest.mark.parametrize("path", ["/state", "/state/playground", "/state/commits"])
def test_nothing_is_cut_off_on_a_phone_and_in_the_dark(browser: Any, node: tuple[Any, str], path: str) -> None:
    _, url = node
    context = browser.new_context(viewport={"width": 360, "height": 740}, color_scheme="dark")
    page = context.new_page()
    page.goto(url + path)
    page.wait_for_function(
        "() => document.querySelector('#boxes li') || document.querySelector('#line[data-state=live]')"
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(16, 16, 20)"
    context.close()
