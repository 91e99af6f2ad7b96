"""A data directory says what it is."""

import contextlib
import os
import stat
import threading

import pytest

from boxwork.content import format as data_format
from boxwork.content.backup import verify
from boxwork.content.content import Content
from boxwork.content.format import prepare, read_version
from boxwork.errors import Busy, FormatError
from boxwork.testing.clock import FakeClock
from boxwork.testing.stores import content_settings

CLOCK = FakeClock()


def test_an_empty_or_absent_directory_becomes_a_data_directory(tmp_path):
    (tmp_path / "empty").mkdir(mode=0o755)
    (tmp_path / "configured").mkdir()
    (tmp_path / "configured" / "boxwork.toml").write_text("")
    for root in (tmp_path / "new" / "deep", tmp_path / "empty", tmp_path / "configured"):
        assert prepare(root, CLOCK) == data_format.VERSION
        assert (root / "FORMAT").read_bytes() == b"boxwork 1\n"
        assert stat.S_IMODE(root.stat().st_mode) == 0o700
        assert stat.S_IMODE((root / "FORMAT").stat().st_mode) == 0o600
        assert prepare(root, CLOCK) == data_format.VERSION


def test_somebody_elses_directory_is_refused_and_not_touched(tmp_path):
    root = tmp_path / "photos"
    root.mkdir(mode=0o755)
    (root / "a.jpg").write_bytes(b"a")
    with pytest.raises(FormatError, match=r"a\.jpg.*choose an empty"):
        prepare(root, CLOCK)
    assert os.listdir(root) == ["a.jpg"]
    assert stat.S_IMODE(root.stat().st_mode) == 0o755


@pytest.mark.parametrize("text", [b"", b"boxwork", b"boxwork x\n", b"boxwork 1\n\n", b"\xff" * 200, b"boxwork -1\n"])
def test_a_damaged_format_file_is_refused(tmp_path, text):
    (tmp_path / "FORMAT").write_bytes(text)
    with pytest.raises(FormatError, match="damaged"):
        prepare(tmp_path, CLOCK)


def test_a_newer_format_is_refused(tmp_path):
    (tmp_path / "FORMAT").write_text("boxwork 2\n")
    with pytest.raises(FormatError, match="format 2.*up to 1.*upgrade"):
        prepare(tmp_path, CLOCK)
    assert os.listdir(tmp_path) == ["FORMAT"]


def test_an_interrupted_first_start_is_taken_up(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "format.lock").write_bytes(b"")
    prepare(tmp_path, CLOCK)
    assert read_version(tmp_path) == 1


def test_open_modes_are_closed(tmp_path):
    prepare(tmp_path / "d", CLOCK)
    (tmp_path / "d").chmod(0o755)
    prepare(tmp_path / "d", CLOCK)
    assert stat.S_IMODE((tmp_path / "d").stat().st_mode) == 0o700


def old_directory(tmp_path):
    """A directory of format 1 with a blob, as a fake older format."""
    root = tmp_path / "data"
    prepare(root, CLOCK)
    with contextlib.closing(Content(root, content_settings(), CLOCK)) as content:
        ref = content.put(b"kept")
    return root, ref


def test_an_older_format_is_backed_up_and_migrated_step_by_step(tmp_path):
    root, ref = old_directory(tmp_path)
    steps = []
    migrations = {
        1: lambda path: steps.append((1, path, read_version(path))),
        2: lambda path: steps.append((2, path, read_version(path))),
    }
    assert prepare(root, CLOCK, version=3, migrations=migrations) == 1
    assert steps == [(1, root, 1), (2, root, 2)]
    assert read_version(root) == 3
    copy = tmp_path / "data.before-format-3"
    assert read_version(copy) == 1
    assert verify(copy) == []
    with contextlib.closing(Content(root, content_settings(), CLOCK)) as content:
        assert content.get(ref) == b"kept"


def test_a_migration_that_breaks_off_goes_on_where_it_was(tmp_path):
    root, _ = old_directory(tmp_path)
    done = []

    def second(path):
        done.append(2)
        if done.count(2) == 1:
            raise RuntimeError("power cut")

    migrations = {1: lambda path: done.append(1), 2: second}
    with pytest.raises(RuntimeError):
        prepare(root, CLOCK, version=3, migrations=migrations)
    assert read_version(root) == 2
    prepare(root, CLOCK, version=3, migrations=migrations)
    assert done == [1, 2, 2]
    assert read_version(root) == 3
    assert read_version(tmp_path / "data.before-format-3") == 1


def test_a_format_without_a_way_forward_is_refused(tmp_path):
    root, _ = old_directory(tmp_path)
    with pytest.raises(FormatError, match="no way from 2 to 3"):
        prepare(root, CLOCK, version=3, migrations={1: lambda path: None})
    assert read_version(root) == 1


def test_a_directory_that_is_open_is_not_migrated(tmp_path):
    root, _ = old_directory(tmp_path)
    with contextlib.closing(Content(root, content_settings(), CLOCK)), pytest.raises(Busy, match="stop it first"):
        prepare(root, CLOCK, version=2, migrations={1: lambda path: None})
    assert read_version(root) == 1


def test_two_first_starts_at_once_both_succeed(tmp_path):
    found = []
    threads = [threading.Thread(target=lambda: found.append(prepare(tmp_path / "d", CLOCK))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [1] * 6
