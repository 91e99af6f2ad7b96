"""Files that stay where they are: found, listed, served under their name, and never under another's."""

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

import pytest

from boxwork.clock import SECOND_NS, SystemClock
from boxwork.content.content import Content
from boxwork.content.inventory import TABLES, Inventory
from boxwork.content.sources import folder as folder_source
from boxwork.database import Database
from boxwork.errors import BadInput, BadRef, BlobMissing, StorageReadOnly
from boxwork.keys import Ref, ref_of
from boxwork.testing.stores import content_settings


class LaterClock(SystemClock):
    """As if everything had happened a while ago, so that nothing is racy."""

    def now_ns(self):
        return super().now_ns() + 10 * SECOND_NS


@pytest.fixture
def database(tmp_path):
    with contextlib.closing(Database(tmp_path / "db", TABLES, durable=True)) as opened:
        yield opened


@pytest.fixture
def place(database):
    return Inventory(database, LaterClock())


@pytest.fixture
def photos(tmp_path):
    root = tmp_path / "my photos"
    (root / "2024" / "summer").mkdir(parents=True)
    (root / "a.jpg").write_bytes(b"a")
    (root / "2024" / "b.JPG").write_bytes(b"b")
    (root / "2024" / "summer" / "c d.png").write_bytes(b"c" * 100_000)
    (root / "notes.txt").write_bytes(b"notes")
    (root / ".hidden.jpg").write_bytes(b"hidden")
    return root


def scan(place, root, **options):
    return {seen.path: seen.state for seen in place.scan(root, **options)}


def test_a_folder_is_taken_in_and_served(place, photos):
    found = list(place.scan(photos, suffixes=[".jpg", ".png"]))
    assert [(seen.path, seen.ref, seen.state) for seen in sorted(found)] == [
        ("2024/b.JPG", ref_of(b"b"), "new"),
        ("2024/summer/c d.png", ref_of(b"c" * 100_000), "new"),
        ("a.jpg", ref_of(b"a"), "new"),
    ]
    for seen in found:
        data = (photos / seen.path).read_bytes()
        assert data == place.get(seen.ref)
        assert len(data) == place.size(seen.ref)
        assert place.has(seen.ref)
        assert place.paths(seen.ref) == [photos / seen.path]
        with place.open(seen.ref) as file:
            file.seek(-1, os.SEEK_END)
            assert data[-1:] == file.read()
            assert not file.writable()
    assert sorted(seen.ref for seen in found) == sorted(place.refs())
    assert scan(place, photos, suffixes=[".jpg", ".png"]) == dict.fromkeys((seen.path for seen in found), "known")


def test_what_changed_came_or_went_is_told(place, photos):
    scan(place, photos)
    ids = {item.path: item.id for item in place.items().items}
    (photos / "a.jpg").write_bytes(b"A")
    (photos / "2024" / "b.JPG").unlink()
    (photos / "new.jpg").write_bytes(b"new")
    os.utime(photos / "notes.txt")
    assert scan(place, photos) == {
        "a.jpg": "changed",
        "2024/b.JPG": "gone",
        "new.jpg": "new",
        "notes.txt": "known",
        "2024/summer/c d.png": "known",
    }
    assert not place.has(ref_of(b"b"))
    assert not place.has(ref_of(b"a"))
    assert place.get(ref_of(b"A")) == b"A"
    assert {item.path: item.id for item in place.items().items if item.path in ids} == {
        path: item_id for path, item_id in ids.items() if path != "2024/b.JPG"
    }


def test_a_changed_file_is_never_served_under_its_old_name(place, photos):
    scan(place, photos)
    before = (photos / "a.jpg").stat()
    (photos / "a.jpg").write_bytes(b"X")
    os.utime(photos / "a.jpg", ns=(before.st_atime_ns, before.st_mtime_ns))
    for ask in (place.get, place.open, place.size):
        with pytest.raises(BlobMissing, match="other bytes now"):
            ask(ref_of(b"a"))
    assert not place.has(ref_of(b"a"))
    (photos / "a.jpg").unlink()
    with pytest.raises(BlobMissing, match=r"a\.jpg"):
        place.get(ref_of(b"a"))


def test_a_file_that_was_only_touched_is_hashed_once_and_served(place, photos, monkeypatch):
    scan(place, photos)
    os.utime(photos / "a.jpg", ns=(1, 1))
    hashed = []
    real = folder_source.ref_of_file
    monkeypatch.setattr(folder_source, "ref_of_file", lambda file: hashed.append(file.name) or real(file))
    assert place.get(ref_of(b"a")) == b"a"
    assert place.get(ref_of(b"a")) == b"a"
    assert len(hashed) == 1


def test_a_racy_file_is_hashed_at_every_read_until_it_is_old(database, photos, monkeypatch):
    class AtTheWrite(SystemClock):
        later = 0

        def now_ns(self):
            return (photos / "a.jpg").stat().st_ctime_ns + 1 + self.later

    clock = AtTheWrite()
    place = Inventory(database, clock)
    scan(place, photos)
    hashed = []
    real = folder_source.ref_of_file
    monkeypatch.setattr(folder_source, "ref_of_file", lambda file: hashed.append(file.name) or real(file))
    assert [place.get(ref_of(b"a")) for _ in range(2)] == [b"a", b"a"]
    assert len(hashed) == 2
    clock.later = 10 * SECOND_NS
    assert [place.get(ref_of(b"a")) for _ in range(3)] == [b"a"] * 3
    assert len(hashed) == 3


def test_the_same_bytes_in_two_files_are_one_blob_with_two_items(place, photos):
    (photos / "copy.jpg").write_bytes(b"a")
    scan(place, photos)
    assert sorted(place.paths(ref_of(b"a"))) == [photos / "a.jpg", photos / "copy.jpg"]
    assert len([ref for ref in place.refs() if ref == ref_of(b"a")]) == 1
    (photos / "a.jpg").unlink()
    assert place.get(ref_of(b"a")) == b"a"
    scan(place, photos)
    assert place.get(ref_of(b"a")) == b"a"


def test_strange_names_and_links_are_handled(place, photos):
    for name in (b"with space.jpg", b"line\nfeed.jpg", b"\xff\xfe.jpg", b"-rf.jpg", "ü".encode() + b".jpg"):
        (photos / os.fsdecode(name)).write_bytes(name)
    long = photos
    for _ in range(6):
        long = long / ("x" * 100)
        long.mkdir()
    (long / "deep.jpg").write_bytes(b"deep")
    (long / "deep2.jpg").write_bytes(b"deep2")
    (photos / "loop").symlink_to(photos)
    (photos / "broken.jpg").symlink_to("nowhere")
    (photos / "link.jpg").symlink_to("a.jpg")
    os.mkfifo(photos / "pipe.jpg")
    found = {seen.path: seen for seen in place.scan(photos, suffixes=[".jpg"])}
    assert found["broken.jpg"].state == found["link.jpg"].state == found["pipe.jpg"].state == "unreadable"
    assert "follow=True" in found["link.jpg"].reason
    assert found["pipe.jpg"].reason == "no regular file"
    assert "loop" not in found
    for seen in found.values():
        if seen.ref is not None:
            assert (photos / seen.path).read_bytes() == place.get(seen.ref)
    assert {b"deep", b"deep2"} == {place.get(seen.ref) for seen in found.values() if "deep" in seen.path}
    assert next(item for item in place.items(contains="deep2").items).path.endswith("deep2.jpg")
    assert place.items(contains="�").items[0].name == "��.jpg"

    followed = {seen.path: seen for seen in place.scan(photos, suffixes=[".jpg"], follow=True)}
    assert followed["link.jpg"].ref == ref_of(b"a")
    assert followed["broken.jpg"].reason == "a link to nothing"
    assert "leads back" in followed["loop"].reason


def test_a_file_that_cannot_be_read_is_listed_with_its_reason(place, photos, monkeypatch):
    real = os.open

    def refuse(path, *rest, **options):
        if os.fspath(path).endswith(b"a.jpg"):
            raise PermissionError(13, "Permission denied")
        return real(path, *rest, **options)

    with monkeypatch.context() as patch:
        patch.setattr(folder_source.os, "open", refuse)
        found = {seen.path: seen for seen in place.scan(photos)}
        assert (found["a.jpg"].state, found["a.jpg"].reason, found["a.jpg"].ref) == (
            "unreadable",
            "Permission denied",
            None,
        )
    item = next(item for item in place.items().items if item.path == "a.jpg")
    assert (item.ref, item.reason) == (None, "Permission denied")
    assert scan(place, photos)["a.jpg"] == "new"


@pytest.mark.servers  # needs root, to be somebody else for a moment
def test_what_lies_in_a_closed_directory_is_not_gone(database):
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        root = Path(name)
        root.chmod(0o755)
        (root / "open.jpg").write_bytes(b"open")
        (root / "closed").mkdir()
        (root / "closed" / "inner.jpg").write_bytes(b"inner")
        (root / "secret.jpg").write_bytes(b"secret")
        place = Inventory(database, LaterClock())
        scan(place, root)
        (root / "closed").chmod(0o700)
        (root / "secret.jpg").chmod(0o600)
        os.seteuid(65534)
        try:
            found = {seen.path: seen for seen in place.scan(root)}
            assert (found["closed"].state, found["closed"].reason) == ("unreadable", "directory: Permission denied")
            assert "closed/inner.jpg" not in found
            assert (found["secret.jpg"].state, found["secret.jpg"].reason) == ("unreadable", "Permission denied")
            with pytest.raises(BlobMissing, match="Permission denied"):
                place.get(ref_of(b"inner"))
        finally:
            os.seteuid(0)
        assert place.get(ref_of(b"inner")) == b"inner"


def test_a_folder_that_is_away_forgets_nothing(place, photos):
    scan(place, photos)
    photos.rename(photos.with_name("unmounted"))
    with pytest.raises(BadInput, match="cannot be listed"):
        place.scan(photos)
    photos.with_name("unmounted").rename(photos)
    assert set(scan(place, photos).values()) == {"known"}


def test_other_suffixes_are_left_alone(place, photos):
    scan(place, photos)
    assert scan(place, photos, suffixes=[".txt"]) == {"notes.txt": "known"}
    assert place.has(ref_of(b"a"))


def test_a_scan_that_is_left_early_forgets_nothing(place, photos):
    scan(place, photos)
    (photos / "a.jpg").unlink()
    walking = place.scan(photos)
    next(walking)
    walking.close()
    assert place.count() == 4


def test_a_file_that_grows_while_it_is_read_is_tried_again_later(place, photos, monkeypatch):
    real = folder_source.ref_of_file

    def growing(file):
        ref = real(file)
        with open(f"/proc/self/fd/{file.fileno()}", "ab") as writer:
            writer.write(b"more")
        return ref

    with monkeypatch.context() as patch:
        patch.setattr(folder_source, "ref_of_file", growing)
        assert set(scan(place, photos).values()) == {"unreadable"}
    assert set(scan(place, photos).values()) == {"new"}
    assert place.get(ref_of(b"amore")) == b"amore"


def test_items_are_listed_by_pages_and_found_by_text(place, photos, tmp_path):
    for number in range(25):
        (photos / f"page {number:02}.jpg").write_bytes(b"%d" % number)
    other = tmp_path / "other"
    other.mkdir()
    (other / "Page ÄB.jpg").write_bytes(b"other")
    scan(place, photos)
    scan(place, other)
    assert sorted(place.folders()) == [photos, other]
    assert place.count() == 30
    names, cursor = [], ""
    while True:
        page = place.items(after=cursor, limit=7, folder=str(photos))
        names += [item.path for item in page.items]
        cursor = page.next
        if not cursor:
            break
        (photos / "zzz.jpg").write_bytes(b"came meanwhile")
    assert names == sorted(names)
    assert len(names) == 29
    assert [item.path for item in place.items(contains="PAGE 0", limit=3).items] == [
        "page 00.jpg",
        "page 01.jpg",
        "page 02.jpg",
    ]
    assert [item.folder for item in place.items(contains="äb").items] == [str(other)]
    assert len(place.items(contains="page", limit=1000).items) == 26
    assert place.items(contains="nowhere") == ([], "")
    item = place.items().items[0]
    assert place.item(item.id) == item
    assert place.item("0" * 32) is None
    assert place.item("nonsense") is None
    assert (item.size, item.mtime_ns) == (
        os.stat(f"{item.folder}/{item.path}").st_size,
        os.stat(f"{item.folder}/{item.path}").st_mtime_ns,
    )
    with pytest.raises(BadInput, match="no cursor"):
        place.items(after="nonsense")
    assert place.forget(other) == 1
    assert place.folders() == [photos]
    assert (other / "Page ÄB.jpg").exists()


def test_it_is_the_read_part_of_a_store(place, photos):
    scan(place, photos)
    ref = ref_of(b"never seen")
    for ask in (place.get, place.open, place.size):
        with pytest.raises(BlobMissing) as caught:
            ask(ref)
        assert ref in caught.value.message
        with pytest.raises(BadRef):
            ask(Ref("nonsense"))
    assert not place.has(ref)
    assert not place.delete(ref)
    for write in (lambda: place.put(b"x"), lambda: place.put_stream([b"x"]), lambda: place.delete(ref_of(b"a"))):
        with pytest.raises(StorageReadOnly):
            write()
    with place.open(ref_of(b"a")) as file:
        (photos / "a.jpg").unlink()
        assert file.read() == b"a"
    place.close()
    place.close()


def test_content_reads_from_folders_behind_its_own_places(tmp_path, photos):
    with contextlib.closing(
        Content(tmp_path / "data", content_settings(), LaterClock(), durable_tables=TABLES)
    ) as content:
        place = Inventory(content.durable_db, LaterClock())
        content.add_place(place)
        scan(place, photos)
        assert content.get(ref_of(b"a")) == b"a"
        assert content.has(ref_of(b"b"))
        shutil.rmtree(photos)
        with pytest.raises(BlobMissing):
            content.get(ref_of(b"a"))


def test_progress_is_told(place, photos):
    told = []
    scan(place, photos, progress=lambda *numbers: told.append(numbers))
    assert told[-1] == (4, 100_007)


# --- watching


def test_a_glance_changes_with_everything_a_scan_would_find(place, photos):
    marks = [place.look(photos).mark]

    def changed():
        marks.append(place.look(photos).mark)
        return marks[-1] != marks[-2] and marks[-1] == place.look(photos).mark

    (photos / "new.jpg").write_bytes(b"new")
    assert changed()
    (photos / "new.jpg").write_bytes(b"NEW")
    assert changed()
    (photos / "new.jpg").rename(photos / "newer.jpg")
    assert changed()
    (photos / "newer.jpg").unlink()
    assert changed()
    assert marks[0] == marks[-1]
    (photos / ".hidden.jpg").write_bytes(b"what a scan does not see")
    assert not changed()
    shutil.rmtree(photos)
    assert changed()


def test_a_glance_at_what_may_still_change_unseen_says_nothing(database, photos):
    place = Inventory(database, SystemClock())
    (photos / "now.jpg").write_bytes(b"now")
    os.utime(photos / "now.jpg", ns=(0, SystemClock().now_ns() + SECOND_NS))
    assert place.look(photos).mark is None
    (photos / "now.jpg").unlink()
    assert Inventory(database, LaterClock()).look(photos).mark is not None


def test_the_version_changes_with_the_list_and_only_then(place, photos):
    versions = [place.version()]

    def changed():
        versions.append(place.version())
        return versions[-1] != versions[-2]

    scan(place, photos)
    assert changed()
    scan(place, photos)
    assert not changed()
    (photos / "a.jpg").write_bytes(b"other")
    scan(place, photos)
    assert changed()
    (photos / "a.jpg").unlink()
    scan(place, photos)
    assert changed()
    (photos / "dead").symlink_to(photos / "nothing")
    scan(place, photos)
    assert changed()
    scan(place, photos)
    assert not changed()
    place.forget(photos)
    assert changed()


# --- one by one


def test_what_was_taken_out_stays_out_until_it_is_taken_in(place, photos):
    scan(place, photos)
    item = next(item for item in place.items().items if item.name == "a.jpg")
    assert item == place.hide(item.id)
    assert place.hide(item.id) is None
    assert "a.jpg" not in scan(place, photos)
    assert not place.has(item.ref)
    assert (photos / "a.jpg").read_bytes() == b"a"
    seen = place.take(photos, "a.jpg")
    assert ("a.jpg", item.ref, "new", item.id) == (seen.path, seen.ref, seen.state, seen.id)
    assert scan(place, photos)["a.jpg"] == "known"
    assert place.get(item.ref) == b"a"


def test_a_hidden_file_that_is_gone_is_not_hidden_when_it_comes_again(place, photos):
    scan(place, photos)
    item = next(item for item in place.items().items if item.name == "a.jpg")
    place.hide(item.id)
    (photos / "a.jpg").unlink()
    scan(place, photos)
    (photos / "a.jpg").write_bytes(b"another one")
    assert scan(place, photos)["a.jpg"] == "new"


def test_a_folder_that_was_forgotten_forgets_what_was_hidden(place, photos):
    scan(place, photos)
    place.hide(next(item.id for item in place.items().items if item.name == "a.jpg"))
    place.forget(photos)
    assert scan(place, photos)["a.jpg"] == "new"


def test_what_cannot_be_used_is_listed_with_its_reason_and_leaves_with_its_bytes(place, photos):
    scan(place, photos)
    before = place.version()
    place.note(ref_of(b"a"), "it is broken")
    assert before != place.version()
    before = place.version()
    place.note(ref_of(b"a"), "it is broken")
    assert before == place.version()
    assert [("a.jpg", "it is broken")] == [(item.name, item.reason) for item in place.items(faulty=True).items]
    (photos / "a.jpg").write_bytes(b"good")
    scan(place, photos)
    assert [] == place.items(faulty=True).items
    place.note(ref_of(b"good"), "not good")
    place.note(ref_of(b"good"), "")
    assert [] == place.items(faulty=True).items


def test_reasons_that_are_noted_together_are_one_change(place, photos):
    scan(place, photos)
    names = {item.name: item.ref for item in place.items().items}
    before = place.version()
    place.note_all({ref: f"{name} is broken" for name, ref in names.items()})
    assert before + 1 == place.version()
    assert {name: f"{name} is broken" for name in names} == {i.name: i.reason for i in place.items(faulty=True).items}
    place.note_all(dict.fromkeys(names.values(), ""))
    assert [] == place.items(faulty=True).items
