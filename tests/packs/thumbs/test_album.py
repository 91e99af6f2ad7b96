from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

from boxwork.packs.thumbs.album import PAGE_ITEMS, REREAD_TIMES, Album


class Inventory:
    """Items by number; a cursor is the number of the next."""

    def __init__(self, paths: list[str]) -> None:
        self.paths = paths
        self.refs = {path: f"sha256:{at:064x}" for at, path in enumerate(paths)}
        self.read = 0
        self.changes = 0
        self.took_ns = 0
        self.clock: Clock | None = None

    def version(self) -> int:
        return self.changes

    def put(self, path: str, digest: str) -> None:
        if path not in self.refs:
            self.paths.append(path)
        self.refs[path] = f"sha256:{digest}"
        self.changes += 1

    def items(self, *, after: str, limit: int) -> Any:
        start = int(after or "0")
        self.read += 1
        if self.clock is not None:
            self.clock.now += self.took_ns
        paths = self.paths[start : start + limit]
        found = [SimpleNamespace(ref=self.refs[p], path=p, name=p, reason="") for p in paths]
        more = start + limit < len(self.paths)
        return SimpleNamespace(items=found, next=str(start + limit) if more else "")


class Clock:
    def __init__(self) -> None:
        self.now = 0

    def monotonic_ns(self) -> int:
        return self.now


def album(paths: list[str]) -> tuple[Album, Inventory, Clock]:
    inventory, clock = Inventory(paths), Clock()
    return Album(SimpleNamespace(inventory=inventory, clock=clock)), inventory, clock


def test_only_pictures_are_in_it_in_order() -> None:
    book, _, _ = album(["a/1.jpg", "a/2.TXT", "a/3.PNG", "b/4.heic"])
    book.refresh()
    assert [shot.path for shot in book.shots] == ["a/1.jpg", "a/3.PNG", "b/4.heic"]
    assert [shot.name for shot in book.shots] == ["1.jpg", "3.PNG", "4.heic"]


def test_a_search_wants_every_word_in_any_order_and_narrows() -> None:
    book, _, _ = album(["sea/Blue Wave.jpg", "sea/green.jpg", "hill/blue.jpg", "Größe.jpg"])
    book.refresh()
    assert [shot.path for shot in book.find("BLUE sea")] == ["sea/Blue Wave.jpg"]
    assert [shot.path for shot in book.find("b")] == ["sea/Blue Wave.jpg", "hill/blue.jpg"]
    assert [shot.path for shot in book.find("blue")] == ["sea/Blue Wave.jpg", "hill/blue.jpg"]
    assert [shot.path for shot in book.find("grösse")] == ["Größe.jpg"]
    assert len(book.find("  ")) == 4


def test_it_is_read_again_when_something_has_changed_and_not_before() -> None:
    book, inventory, _ = album(["1.jpg", "2.jpg"])
    book.refresh()
    book.refresh()
    assert (1, 1) == (book.version, inventory.read)
    inventory.put("3.jpg", "f" * 64)
    book.refresh()
    assert (2, 3) == (book.version, len(book.shots))
    inventory.put("1.jpg", "e" * 64)
    book.refresh()
    assert (3, "sha256:" + "e" * 64) == (book.version, book.shots[0].ref)
    inventory.put("notes.txt", "d" * 64)
    book.refresh()
    assert (3, 4) == (book.version, inventory.read)  # read, and nothing that is shown has changed


def test_while_it_changes_all_the_time_it_is_read_for_a_fifth_of_the_time() -> None:
    book, inventory, clock = album(["1.jpg"])
    inventory.took_ns = 1_000
    inventory.clock = clock
    book.refresh()
    for _ in range(REREAD_TIMES * 10):
        inventory.put("1.jpg", f"{clock.now:064x}")
        book.refresh()
        clock.now += 1_000
    assert 11 >= inventory.read >= 5
    clock.now += REREAD_TIMES * 1_000
    book.refresh()
    assert book.shots[0].ref == inventory.refs["1.jpg"]


def test_a_hundred_thousand_are_found_quickly() -> None:
    book, inventory, _ = album([f"year {n % 50}/photo {n:06d}.jpg" for n in range(100_000)])
    book.refresh()
    assert inventory.read == 100_000 // PAGE_ITEMS
    began = time.process_time()
    assert [shot.name for shot in book.find("year 7 photo 00000")] == ["photo 000007.jpg"]
    assert time.process_time() - began < 1.0  # 40 ms on a quiet core; a page per letter typed must stay usable
