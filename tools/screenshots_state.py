"""Take the pictures of the state pages: `python tools/screenshots_state.py` writes docs/pictures/state-*.png.

A temporary node with a small shop runs real load while the pages are photographed in Chromium: short purchases, slow
price changes, sessions that hold locks, bookings that are refused.  Nothing in the pictures is made up.
"""

from __future__ import annotations

import contextlib
import random
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boxwork
from boxwork import Pack, transaction
from boxwork.errors import BoxworkError
from boxwork.serve.http import asgi
from boxwork.serve.server import Server, bind

PICTURES = Path(__file__).resolve().parent.parent / "docs" / "pictures"
CHROMIUM = shutil.which("chromium") or "chromium"
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
]  # fmt: skip
# The lines of the charts are two minutes long; so many of them are filled before the first picture.  Unit: seconds.
LOAD_SECONDS = 45 if "--quick" not in sys.argv else 8


@transaction
def like(tx: Any, post: str, user: str) -> int:
    """Like a post, once per person; answers with its likes."""
    if tx.put_new(("liked", post, user), True):
        tx.add(("likes", post), 1)
    return int(tx.get(("likes", post), 0))


@transaction
def book(tx: Any, show: str, seats: int = 1, guest: str = "ada") -> dict[str, Any]:
    """Book seats of a show; refused when it is sold out."""
    left = tx.get(("seats", show), 40)
    tx.require(left >= seats, "sold out", show=show, left=left)
    tx.put(("seats", show), left - seats)
    tx.append(("guests", show), f"{guest} × {seats}")
    return {"show": show, "left": left - seats}


@transaction
def restock(tx: Any, show: str, seats: int = 40) -> None:
    """Put seats of a show on sale."""
    tx.put(("seats", show), seats)
    tx.delete(("guests", show))


@transaction(slow=True, ignores=["time"])
def reprice(tx: Any, shop: str, percent: int) -> int:
    """Change all prices of a shop; takes its time, beside everybody."""
    prices = tx.scan(("price", shop))
    time.sleep(0.004)
    for key, price in prices:
        tx.put(key, max(100, price * (100 + percent) // 100))
    return len(prices)


@transaction
def label(tx: Any, shop: str, item: str, cents: int) -> None:
    """Set the price of one item."""
    tx.put(("price", shop, item), cents)


SHOP = Pack("theatre", "A small theatre with a shop.", transactions=(like, book, restock, reprice, label))
SHOWS, POSTS = ["Macbeth", "Hamlet", "Tosca"], [f"post {number}" for number in range(40)]


class Load:
    """A dozen people who do what people do, until `stop`."""

    def __init__(self, work: Any) -> None:
        self.work = work
        self.stopping = threading.Event()
        people = [self.press] * 8 + [self.book] * 2 + [self.reprice] * 3 + [self.edit] * 3
        self.threads = [
            threading.Thread(target=self.person, args=(one, n), daemon=True) for n, one in enumerate(people)
        ]

    def person(self, doing: Callable[[random.Random], None], number: int) -> None:
        chance, began = random.Random(number), time.monotonic()
        while not self.stopping.is_set():
            with contextlib.suppress(BoxworkError):  # a refusal or an abort: it is counted, and the next call follows
                doing(chance)
            wave = 1 + 0.8 * ((time.monotonic() - began) % 30 > 15)
            self.stopping.wait(chance.expovariate(400 / wave))

    def press(self, chance: random.Random) -> None:
        post = POSTS[min(int(chance.paretovariate(0.9)) - 1, len(POSTS) - 1)]
        self.work.commit(like, post=post, user=f"user {chance.randrange(5000)}")

    def book(self, chance: random.Random) -> None:
        show = chance.choice(SHOWS)
        self.work.commit(restock if chance.random() < 0.01 else book, show=show)
        self.stopping.wait(0.02)

    def reprice(self, chance: random.Random) -> None:
        if chance.random() < 0.5:
            self.work.commit(label, shop="north", item=f"item {chance.randrange(30)}", cents=chance.randrange(100, 900))
        else:
            self.work.commit(reprice, shop="north", percent=chance.randrange(-9, 10))

    def edit(self, chance: random.Random) -> None:
        with self.work.engine.session(who=chance.choice(["desk 1", "desk 2", "desk 3"])) as session:
            seen = session.tx.get(("board", "today"), 0)
            self.stopping.wait(0.05)
            session.tx.put(("board", "today"), seen + 1)
            session.commit()


def picture(browser: Any, url: str, path: str, name: str, *, scheme: str = "light", phone: bool = False,
            prepare: Callable[[Any], None] = lambda page: None, whole: bool = False) -> None:  # fmt: skip
    size = {"width": 390, "height": 844} if phone else {"width": 1360, "height": 900}
    context = browser.new_context(viewport=size, color_scheme=scheme, device_scale_factor=2 if phone else 1)
    page = context.new_page()
    page.goto(url + path)
    prepare(page)
    page.wait_for_timeout(500)
    page.screenshot(path=PICTURES / f"state-{name}.png", full_page=whole)
    context.close()


def is_live(page: Any) -> None:
    page.locator('#line[data-state="live"]').wait_for()
    page.wait_for_function("() => document.querySelectorAll('#entries > li').length > 3")
    page.wait_for_timeout(1500)


def committed(page: Any) -> None:
    page.fill("[name=post]", "post 0")
    page.fill("[name=user]", "ada")
    page.keyboard.press("Control+Enter")
    page.locator("#outcome .chip").wait_for()


def refused(page: Any) -> None:
    page.fill("[name=show]", "Hamlet")
    page.fill("[name=seats]", "4000")
    page.keyboard.press("Control+Enter")
    page.locator("#outcome .chip").wait_for()


def main() -> None:
    from playwright.sync_api import sync_playwright

    PICTURES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place, boxwork.open(Path(place) / "data", packs=[SHOP]) as work:
        for number in range(30):
            work.commit(label, shop="north", item=f"item {number}", cents=500)
        server = Server(asgi(work), bind("127.0.0.1", 0, 1), work.settings)
        url = server.start()
        load = Load(work)
        for thread in load.threads:
            thread.start()
        with sync_playwright() as play:
            browser = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            watcher = browser.new_page()  # somebody looks, so that the lines begin
            watcher.goto(url + "/state")
            watcher.wait_for_timeout(LOAD_SECONDS * 1000)
            picture(browser, url, "/state", "light", prepare=is_live)
            picture(browser, url, "/state", "dark", scheme="dark", prepare=is_live)
            picture(browser, url, "/state", "phone", phone=True, prepare=is_live)
            run = "/state/playground?transaction="
            picture(browser, url, f"{run}like", "playground", prepare=committed)
            picture(browser, url, f"{run}book", "refused", scheme="dark", prepare=refused)
            picture(browser, url, f"{run}like", "playground-phone", phone=True, prepare=committed)
            receipt = work.commit(reprice, shop="north", percent=1, receipt=True)[1]
            picture(browser, url, f"/state/commits?receipt={receipt}", "explain", prepare=is_live)
            browser.close()
        load.stopping.set()
        for thread in load.threads:
            thread.join()
        server.stop()


if __name__ == "__main__":
    main()
