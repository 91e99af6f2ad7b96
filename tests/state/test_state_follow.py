"""Following a log that somebody else writes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from boxwork.errors import LogCorrupt
from boxwork.state.engine import Engine
from boxwork.state.follow import Follower, follow
from boxwork.state.logs import disk
from boxwork.transactions import transaction


@transaction
def note(tx: Any, number: int) -> None:
    tx.put(("notes", number), "x" * 100)
    tx.delete(("notes", number - 1))


def test_a_log_is_followed_across_its_segments_in_order(
    tmp_path: Path, open_engine: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk.DiskLog.__init__, "__kwdefaults__", {"segment_bytes": 1000, "sector": 512})
    engine = open_engine("state")
    engine.commit(note, 1)
    rounds = 0

    def pause(_: float) -> None:
        nonlocal rounds
        rounds += 1
        engine.commit_many(note, [(10 * rounds + row,) for row in range(3)])

    changes = follow(tmp_path / "state", ("notes",), pause=pause)
    heard = [next(changes) for _ in range(60)]
    assert len(list((tmp_path / "state").glob("*.log"))) > 3
    versions = [change.version for change in heard]
    assert (2, sorted(versions)) == (versions[0], versions)
    assert ("note", "x" * 100) == next((change.by, change.value) for change in heard if not change.deleted)


def test_half_an_entry_is_none_yet_and_a_changed_one_is_named(
    tmp_path: Path, open_engine: Callable[..., Engine]
) -> None:
    assert [] == list(Follower(tmp_path / "nothing").records())
    engine = open_engine("state")
    for number in range(2):
        engine.commit(note, number)
    engine.close()
    data = next((tmp_path / "state").glob("*.log")).read_bytes()
    (tmp_path / "copy").mkdir()
    growing = tmp_path / "copy" / "00000000000000000001.log"
    follower, heard = Follower(tmp_path / "copy"), []
    for size in range(0, len(data) + 1, 7):
        growing.write_bytes(data[:size])
        heard += [(size, record.version) for record in follower.records()]
    growing.write_bytes(data)
    heard += [(len(data), record.version) for record in follower.records()]
    assert [1, 2] == [version for _, version in heard]
    assert heard[0][0] < heard[1][0]
    growing.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(LogCorrupt, match="entry 2 .* does not follow"):
        list(Follower(tmp_path / "copy").records())


def test_room_for_more_is_no_entry_and_what_is_just_being_written_into_it_is_waited_for(
    tmp_path: Path, open_engine: Callable[..., Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("boxwork.state.follow.READ_BYTES", 1000)
    engine = open_engine("state")
    follower, heard = Follower(tmp_path / "state"), []
    for number in range(30):
        engine.commit(note, number)
        heard += [record.version for record in follower.records()]
        assert [] == list(follower.records())
    assert list(range(1, 31)) == heard
    file = next((tmp_path / "state").glob("*.log"))
    data = file.read_bytes()
    end = len(data.rstrip(b"\0"))
    assert end < len(data)
    last = data.rfind(b"BWE1")
    (tmp_path / "copy").mkdir()
    copy = tmp_path / "copy" / file.name
    for size in range(last, end, 5):
        copy.write_bytes(data[:size] + bytes(len(data) - size))
        assert 29 == len(list(Follower(tmp_path / "copy").records()))
    copy.write_bytes(data)
    assert 30 == len(list(Follower(tmp_path / "copy").records()))
    engine.close()
    assert end == file.stat().st_size
