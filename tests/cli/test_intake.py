"""Folders are watched: real files come, change, move and go, and a deadline says how long that may take to show."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

import boxwork
from boxwork.app.work import Work
from boxwork.cli import intake
from boxwork.cli.intake import Tally, counted, take_in, watch
from boxwork.content.sources.source import Look
from boxwork.errors import StorageError

# How long a change may take to be noticed on a loaded machine; looks are every 50 ms here.  Unit: seconds.
PATIENCE_S = 30
LOOK_S = 0.05


def paint(path: Path, colour: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (60, 40), (colour, 9, 9)).save(path)


class Watched:
    """A node whose folder is watched in a thread, as `boxwork up` does it."""

    def __init__(self, work: Work, folder: Path) -> None:
        self.work = work
        self.folder = folder
        self.tallies: list[Tally] = []
        self.stop = threading.Event()
        take_in(work, str(folder), self.stop, lambda _: None, 1)
        self.thread = threading.Thread(target=watch, args=(work, self.stop, self.tallies.append, 1, [str(folder)]))
        self.thread.start()

    def names(self) -> dict[str, str | None]:
        return {item.name: item.ref for item in self.work.inventory.items(limit=1000).items}

    def until(self, true: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not true():
            assert time.monotonic() < deadline, (self.names(), [tally.text() for tally in self.tallies])
            time.sleep(LOOK_S / 5)

    def close(self) -> None:
        self.stop.set()
        self.thread.join(PATIENCE_S)


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Work]:
    with boxwork.open(tmp_path / "data", settings={"inventory.rescan_s": LOOK_S}) as node:
        yield node


@pytest.fixture
def watched(work: Work, tmp_path: Path) -> Iterator[Watched]:
    for number in range(3):
        paint(tmp_path / "photos" / f"{number}.png", number)
    running = Watched(work, tmp_path / "photos")
    yield running
    running.close()


def test_new_changed_renamed_and_removed_files_are_noticed(watched: Watched) -> None:
    folder = watched.folder
    assert {"0.png", "1.png", "2.png"} == set(watched.names())
    before = watched.names()
    paint(folder / "deep" / "3.png", 30)
    watched.until(lambda: "deep/3.png" in watched.names())
    paint(folder / "0.png", 200)
    watched.until(lambda: watched.names()["0.png"] != before["0.png"])
    (folder / "1.png").rename(folder / "one.png")
    watched.until(lambda: "1.png" not in watched.names())
    assert before["1.png"] == watched.names()["one.png"]
    (folder / "2.png").unlink()
    watched.until(lambda: "2.png" not in watched.names())
    shutil.rmtree(folder / "deep")
    watched.until(lambda: {"0.png", "one.png"} == set(watched.names()))
    changes = [sum(getattr(tally, name) for tally in watched.tallies) for name in ("new", "changed", "gone")]
    assert [2, 1, 3] == changes


def test_a_new_photo_gets_its_thumbnail_and_old_ones_are_left_alone(watched: Watched) -> None:
    paint(watched.folder / "new.png", 90)
    watched.until(lambda: any(tally.computed for tally in watched.tallies))
    assert [(1, 0)] == [(tally.computed, tally.remembered) for tally in watched.tallies]


def test_a_broken_photo_is_told_once_and_not_tried_again(watched: Watched) -> None:
    (watched.folder / "broken.jpg").write_bytes(b"\xff\xd8 no picture")
    watched.until(lambda: any(tally.failed for tally in watched.tallies))
    paint(watched.folder / "later.png", 91)
    watched.until(lambda: any(tally.computed for tally in watched.tallies))
    assert [1, 0] == [tally.failed for tally in watched.tallies]


def test_a_folder_that_goes_away_is_told_once_and_not_forgotten(watched: Watched) -> None:
    watched.folder.rename(watched.folder.with_name("elsewhere"))
    watched.until(lambda: len(watched.tallies) == 1)
    assert "cannot be listed" in watched.tallies[0].faults[0][1]
    assert 3 == len(watched.names())
    watched.folder.with_name("elsewhere").rename(watched.folder)
    paint(watched.folder / "back.png", 92)
    watched.until(lambda: "back.png" in watched.names())
    watched.until(lambda: [0, 1] == [tally.new for tally in watched.tallies])


def test_a_folder_that_comes_back_as_it_was_is_told(watched: Watched) -> None:
    watched.folder.rename(watched.folder.with_name("elsewhere"))
    watched.until(lambda: len(watched.tallies) == 1)
    assert watched.tallies[0].text().startswith(f"{watched.folder}: {watched.folder} cannot be listed")
    watched.folder.with_name("elsewhere").rename(watched.folder)
    watched.until(lambda: len(watched.tallies) == 2)
    assert f"{watched.folder}: it answers again" == watched.tallies[1].text()
    assert "it answers again" == watched.tallies[1].as_json()["note"]


def test_a_folder_that_somebody_else_added_is_prepared_whole(watched: Watched, tmp_path: Path) -> None:
    paint(tmp_path / "others" / "a.png", 120)
    (seen,) = watched.work.inventory.scan(tmp_path / "others", suffixes=(".png",))
    pack = next(pack for pack in watched.work.packs if ".png" in pack.suffixes)
    assert seen.ref is not None
    assert pack.prepare is not None
    box, inputs = pack.prepare(seen.ref)
    watched.until(lambda: watched.work.peek(box, **inputs) is not None)


def test_nothing_is_written_while_nothing_changes(watched: Watched) -> None:
    watched.until(lambda: watched.work.inventory.look(watched.folder).mark is not None)
    version = watched.work.inventory.version()
    assert {"known"} == {seen.state for seen in watched.work.inventory.scan(watched.folder)}
    assert version == watched.work.inventory.version()


def test_why_a_photo_cannot_be_shown_is_listed_until_it_can(watched: Watched) -> None:
    good = (watched.folder / "0.png").read_bytes()
    (watched.folder / "0.png").write_bytes(good[:-20])

    def faults() -> list[tuple[str, str]]:
        return [(item.name, item.reason) for item in watched.work.inventory.items(faulty=True).items]

    watched.until(lambda: bool(faults()))
    assert ["0.png"] == [name for name, _ in faults()]
    assert "broken" in faults()[0][1]
    (watched.folder / "0.png").write_bytes(good)
    watched.until(lambda: not faults())


def test_a_source_is_counted_beside_its_scan(work: Work, tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(2100):
        (folder / f"{number}.jpg").touch()
    (folder / "notes.txt").touch()
    assert [1000, 2000, 2100] == list(work.inventory.expected(folder, suffixes=[".JPG"]))
    with counted(work, str(folder)) as whole:
        deadline = time.monotonic() + 20
        while whole() is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert 2100 == whole()


def test_a_source_that_cannot_be_counted_has_no_end_and_does_not_hold_up_who_leaves(work: Work) -> None:
    entered, leave = threading.Event(), threading.Event()

    def forever(source: str, *, suffixes: object) -> Iterator[int]:
        for number in itertools.count(1000, 1000):
            entered.set()
            leave.wait(20)
            yield number

    def away(source: str, *, suffixes: object) -> Iterator[int]:
        raise StorageError("it is away")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(work.inventory, "expected", away)
        with counted(work, "s3://bucket") as whole:
            assert whole() is None
        patch.setattr(work.inventory, "expected", forever)
        with counted(work, "s3://bucket") as whole:
            assert entered.wait(20)
            assert whole() is None
            leave.set()
    assert not any(thread.name == "boxwork-count" for thread in threading.enumerate())


def test_a_source_that_was_away_is_asked_again_soon_and_its_taking_in_is_shown(
    work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a bucket: looked at once a minute (an hour here), but not when it is its first scan that waits."""
    folder = tmp_path / "bucket"
    folder.mkdir()
    paint(folder / "a.jpg", 1)
    list(work.inventory.scan(folder))
    monkeypatch.setattr(intake, "AWAY_S", 0.1)
    monkeypatch.setattr(work.inventory, "looks_are_cheap", lambda source: False)
    real, looks = work.inventory.look, []

    def look(source: str, *arguments: object, **options: object) -> object:
        looks.append(source)
        if len(looks) < 3:
            raise StorageError(f"it does not answer {len(looks)}")
        return real(source, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(work.inventory, "look", look)
    stop, shown, told = threading.Event(), [], []

    @contextlib.contextmanager
    def showing(source: str) -> Iterator[Callable[[Tally], None]]:
        yield lambda tally: shown.append(tally.seen)

    def tell(tally: Tally) -> None:
        told.append((tally.computed, tally.faults))
        if tally.computed:
            stop.set()

    patience = threading.Timer(PATIENCE_S, stop.set)
    patience.start()
    settings = {"inventory.rescan_s": LOOK_S, "inventory.rescan_remote_s": 3600.0}
    monkeypatch.setattr(work.settings, "number", settings.__getitem__)
    watch(work, stop, tell, 1, (), showing)
    patience.cancel()
    assert [(0, [(".", "it does not answer 1")]), (1, [])] == told
    assert 1 in shown
    assert 3 == len(looks)


def test_a_source_that_is_slow_to_answer_is_looked_at_as_often_as_was_said(
    work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list of 100,000 objects takes half a minute of waiting: a twentieth of the time would be every ten minutes."""
    folder = tmp_path / "bucket"
    folder.mkdir()
    list(work.inventory.scan(folder))
    stop, looks = threading.Event(), []

    def look(source: str, mark: object, **options: object) -> Look:
        looks.append(source)
        threading.Event().wait(1)
        if len(looks) == 3:
            stop.set()
        return Look(1, ())

    monkeypatch.setattr(work.inventory, "looks_are_cheap", lambda source: False)
    monkeypatch.setattr(work.inventory, "look", look)
    settings = {"inventory.rescan_s": LOOK_S, "inventory.rescan_remote_s": 0.1}
    monkeypatch.setattr(work.settings, "number", settings.__getitem__)
    patience = threading.Timer(PATIENCE_S, stop.set)
    patience.start()
    watch(work, stop, lambda tally: None, 1, [str(folder)])
    patience.cancel()
    assert 3 == len(looks)
