"""The state pages: a small shop under real load while they are photographed.

Short purchases, slow price changes, sessions that hold locks, bookings that are refused: nothing is made up.
"""

from __future__ import annotations

import contextlib
import random
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boxwork
from boxwork import Pack, transaction
from boxwork.errors import BoxworkError
from boxwork.testing.served import served
from tools.pictures.camera import camera

# The lines of the charts are two minutes long; so many of them are filled before the first picture.  Unit: seconds.
LOAD_SECONDS = 45


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
    with tempfile.TemporaryDirectory() as place, boxwork.open(Path(place) / "data", packs=[SHOP]) as work:
        for number in range(30):
            work.commit(label, shop="north", item=f"item {number}", cents=500)
        load = Load(work)
        for thread in load.threads:
            thread.start()
        # Somebody looks, so that the lines begin.
        with served(work) as node, camera(node.url) as eye, eye.page("/state") as watcher:
            watcher.wait_for_timeout(LOAD_SECONDS * 1000)
            eye.take("state-light", "/state", ready=is_live)
            eye.take("state-dark", "/state", "dark", ready=is_live)
            eye.take("state-phone", "/state", phone=True, ready=is_live)
            run = "/state/playground?transaction="
            eye.take("state-playground", f"{run}like", ready=committed)
            eye.take("state-refused", f"{run}book", "dark", ready=refused)
            eye.take("state-playground-phone", f"{run}like", phone=True, ready=committed)
            receipt = work.commit(reprice, shop="north", percent=1, receipt=True)[1]
            eye.take("state-explain", f"/state/commits?receipt={receipt}", ready=is_live)
        load.stopping.set()
        for thread in load.threads:
            thread.join()
