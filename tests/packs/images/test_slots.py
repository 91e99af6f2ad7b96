from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import boxwork
from boxwork import Tree, errors
from boxwork.packs.images.slots import HISTORY_MAX, Boot, Slots


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Any]:
    with boxwork.open(tmp_path / "data") as opened:
        yield opened


@pytest.fixture
def slots(work: Any) -> Iterator[Slots]:
    with Slots(work, "web").locked() as held:
        yield held


def version(work: Any, text: str) -> Tree:
    return work.compose({"kernel": work.put(b"a kernel"), "root.squashfs": work.put(text.encode() * 10_000)})


def boot(slots: Slots, verdict: str, reason: str = "") -> Boot:
    """The next boot, and that this came of it."""
    slot = slots.next(2)
    number = slots.count(slot)
    log = f"{number:06d}-{slot}.log"
    (slots.folder / "log" / log).write_text("console")
    over = Boot(number, slot, str(slots.version(slot).ref), verdict, reason, 0, 1, log)
    slots.record(over)
    return over


def test_a_version_is_good_after_it_said_that_it_is_healthy(work: Any, slots: Slots) -> None:
    assert slots.next(2) == ""
    slots.install(version(work, "one"))
    assert (slots.state().trial, slots.state().good) == ("a", "")
    boot(slots, "healthy")
    assert (slots.state().trial, slots.state().good) == ("", "a")
    slots.install(version(work, "two"))
    assert (slots.state().trial, slots.state().good) == ("b", "a")
    boot(slots, "healthy")
    assert slots.state().good == "b"
    slots.install(version(work, "three"))
    assert slots.state().trial == "a"


def test_a_sick_version_is_refused_and_the_good_one_starts(work: Any, slots: Slots) -> None:
    good, bad = version(work, "one"), version(work, "bad")
    slots.install(good)
    boot(slots, "healthy")
    before = {path.name: path.read_bytes() for path in (slots.folder / "a").iterdir()}
    slots.install(bad)
    boot(slots, "sick", "no database")
    assert slots.next(2) == "a"
    assert {path.name: path.read_bytes() for path in (slots.folder / "a").iterdir()} == before
    assert slots.state().refused == {str(bad.ref): "no database"}
    slots.install(bad)
    assert slots.state().trial == ""
    slots.install(bad, again=True)
    assert slots.state().trial == "b"


def test_tries_are_counted_before_the_boot_and_survive_it(work: Any, slots: Slots) -> None:
    slots.install(version(work, "one"))
    boot(slots, "healthy")
    slots.install(version(work, "two"))
    for _ in range(2):
        assert slots.next(2) == "b"
        slots.count("b")  # and then the host went down
        slots.install(version(work, "two"))  # whoever starts it again asks for the same version
    assert slots.next(2) == "a"


def test_a_version_that_is_good_already_is_not_tried(work: Any, slots: Slots) -> None:
    one = version(work, "one")
    slots.install(one)
    boot(slots, "healthy")
    slots.install(version(work, "two"))
    slots.install(one)
    assert (slots.state().trial, slots.next(2)) == ("", "a")


def test_going_back_puts_what_was_good_before_on_trial(work: Any, slots: Slots) -> None:
    with pytest.raises(errors.NotFound, match="good before"):
        slots.back()
    one, two = version(work, "one"), version(work, "two")
    for each in (one, two):
        slots.install(each)
        boot(slots, "healthy")
    assert slots.back() == one.ref
    boot(slots, "healthy")
    assert slots.version(slots.state().good) == one


def test_a_damaged_slot_is_noticed_and_taken_from_the_store_again(work: Any, slots: Slots) -> None:
    one = version(work, "one")
    slots.install(one)
    assert slots.mend("a")
    path = slots.folder / "a" / "root.squashfs"
    path.unlink()
    path.write_bytes(b"changed")
    assert not slots.is_intact("a")
    assert not slots.mend("a")
    assert path.read_bytes() == one.read("root.squashfs")
    assert slots.mend("a")


def test_both_versions_and_nothing_else_are_kept_from_a_sweep(work: Any, slots: Slots) -> None:
    one, two, bad = version(work, "one"), version(work, "two"), version(work, "bad")
    for each in (one, two):
        slots.install(each)
        boot(slots, "healthy")
    assert {ref for _, ref in work.pins("images/machine/web/")} == {one.ref, two.ref}
    slots.install(bad)
    boot(slots, "sick")
    assert {ref for _, ref in work.pins("images/machine/web/")} == {two.ref}


def test_only_the_last_boots_and_their_consoles_are_kept(work: Any, slots: Slots) -> None:
    slots.install(version(work, "one"))
    for _ in range(HISTORY_MAX + 5):
        boot(slots, "healthy")
    state = slots.state()
    assert len(state.history) == HISTORY_MAX
    assert {path.name for path in (slots.folder / "log").iterdir()} == {each.log for each in state.history}
    assert state.history[-1].number == HISTORY_MAX + 5


def test_one_process_boots_a_machine_at_a_time(work: Any, slots: Slots) -> None:
    with pytest.raises(errors.Busy, match="another process"), Slots(work, "web").locked():
        pass
    with Slots(work, "other").locked():
        pass


def test_a_damaged_state_says_what_to_do(work: Any, slots: Slots) -> None:
    (slots.folder / "STATE").write_text("{")
    with pytest.raises(errors.FormatError, match="remove it"):
        slots.state()


def test_the_state_is_a_file_that_people_can_read(work: Any, slots: Slots) -> None:
    slots.install(version(work, "one"))
    told = json.loads((slots.folder / "STATE").read_text())
    assert (told["trial"], told["tries"], told["good"]) == ("a", 0, "")


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".", "x" * 101])
def test_a_machine_is_called_by_a_plain_name(work: Any, name: str) -> None:
    with pytest.raises(errors.BadInput, match="a machine is called by"):
        Slots(work, name)
