"""A release that stands on a root: what a host is told, when there is a new version, and why."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from boxwork import Ref, TreeEntry, errors
from boxwork.packs.fleet import wording
from boxwork.packs.fleet.outlook import Outlook
from boxwork.packs.fleet.roots import packages_between
from boxwork.packs.fleet.systems import lot
from tests.packs.fleet.conftest import MANIFEST, Stage
from tests.packs.fleet.systems import Systems


@pytest.fixture
def systems(stage: Stage) -> Systems:
    stage.write("release.toml", 'root = "images/web"\n' + MANIFEST)
    return Systems(stage)


def test_a_host_is_the_root_with_the_release_over_it(stage: Stage, systems: Systems) -> None:
    # `bin` of the release would lie in the place of a link of the system.
    (stage.release / "bin").rename(stage.release / "hooks")
    root = systems.pin()
    stage.publish()
    stage.roll_out(1)
    desired = stage.desired("web0")
    assert desired is not None
    assert desired.is_system
    assert str(root) == desired.root.tree  # type: ignore[union-attr]
    made = stage.work.tree(desired.tree)
    assert b"host=web0 workers=4 password=None\n" == made.read("etc/app.conf"), "the release wins"
    assert b"red\n" == made.read("etc/motd")
    assert (0o4755, 0, 0) == ((su := made.find("usr/bin/su")).mode, su.uid, su.gid)
    assert {0} == {entry.uid for _, entry in made.walk()}, "what the release adds is root's"
    assert ["pts"] == list(made.subtree(made.entries["dev"]).entries), "a host's devices are the host's"
    assert "release.toml" not in made.entries


def test_what_is_in_a_host_may_be_fetched_by_it_and_nothing_else(stage: Stage, systems: Systems) -> None:
    (stage.release / "bin").rename(stage.release / "hooks")
    systems.pin()
    stage.publish()
    stage.roll_out(1)
    made = stage.work.tree(stage.desired("web0").tree)  # type: ignore[union-attr]
    wanted = [made.ref, *(entry.ref for _, entry in made.walk() if entry.ref is not None)]
    for ref in wanted:
        assert stage.work.get(ref) == stage.fleet.blob("web0", ref)
    other = stage.work.put(b"nothing of theirs")
    assert lot(stage.fleet, "web0", [other]) == lot(stage.fleet, "web0", [])
    with pytest.raises(errors.NotFound):
        stage.fleet.blob("web0", other)


@pytest.mark.parametrize("path", ["bin/health", "etc"])
def test_a_folder_in_the_place_of_something_else_is_refused_with_its_path(
    stage: Stage, systems: Systems, path: str
) -> None:
    if path == "etc":
        (stage.release / "bin").rename(stage.release / "hooks")
        (stage.release / "usr").write_text("a file")
    systems.pin()
    with pytest.raises(errors.BadInput, match="is a link to usr/bin: put the files there|is a file of the release"):
        stage.publish()


def test_a_root_that_nobody_pinned_is_told_with_the_remedy(stage: Stage, systems: Systems) -> None:
    with pytest.raises(errors.NotFound, match="nothing is pinned as 'images/web'.*images build"):
        stage.publish()


def test_a_pin_that_moves_makes_a_version_which_says_what_differs(stage: Stage, systems: Systems) -> None:
    (stage.release / "bin").rename(stage.release / "hooks")
    old = systems.pin(libc6="2.36-9+deb12u8", nginx="1.22")
    stage.publish()
    stage.roll_out(1)
    before = stage.desired("web0")
    assert stage.fleet.follow_source() is None
    new = systems.pin(libc6="2.36-9+deb12u9", nginx="1.22")
    version = stage.fleet.follow_source()
    assert "images/web: libc6 2.36-9+deb12u8 → 2.36-9+deb12u9" == version.reason
    assert ("the root", True, {"": new}) == (version.author, version.follow, version.roots)
    assert {"": old} == stage.fleet.version(1).roots, "the first one stays what it was"
    stage.roll_out(2)
    after = stage.desired("web0")
    assert before is not None
    assert after is not None
    assert before.package_set != after.package_set
    assert ("nginx=1.22",) == after.packages, "what the release says is told as it stands"
    found = Outlook(stage.fleet).difference(1, 2)
    assert [("libc6", "2.36-9+deb12u8", "2.36-9+deb12u9")] == found["packages"]
    assert [] == found["root_files"], "dpkg's own notes are told as packages"
    assert "package libc6 2.36-9+deb12u8 → 2.36-9+deb12u9" in wording.of_difference(found)


def test_a_changed_file_of_the_root_is_no_changed_package(stage: Stage, systems: Systems) -> None:
    (stage.release / "bin").rename(stage.release / "hooks")
    (stage.release / "etc/motd.j2").unlink()
    systems.pin()
    stage.publish()
    stage.roll_out(1)
    before = stage.desired("web0")
    systems.pin(text="good day\n")
    assert "images/web: changed: /etc/motd" == stage.fleet.follow_source().reason
    stage.roll_out(2)
    after = stage.desired("web0")
    assert before is not None
    assert after is not None
    assert before.package_set == after.package_set
    assert before.tree != after.tree
    found = Outlook(stage.fleet).difference(1, 2)
    assert [("/etc/motd", ["@@ -1 +1 @@", "-hello", "+good day"])] == [
        (file["path"], file["lines"]) for file in found["root_files"]
    ]
    files = {file["path"] for file in Outlook(stage.fleet).host("web0")["files"]}
    assert {"etc/app.conf", "hooks/health"} == files, "of a system, what was laid over it"


def test_held_changes_of_a_root_wait_for_a_person(stage: Stage, systems: Systems) -> None:
    (stage.release / "bin").rename(stage.release / "hooks")
    systems.pin()
    stage.reopen(**{"fleet.on_source_change": "hold"})
    stage.publish()
    Systems(stage).pin(text="other\n")
    version = stage.fleet.follow_source()
    assert (2, False) == (version.number, version.follow)


def test_a_version_outlives_the_pin_of_its_root_and_a_sheet_that_is_away(stage: Stage, systems: Systems) -> None:
    (stage.release / "bin").rename(stage.release / "hooks")
    systems.pin()
    stage.publish()
    systems.pin(text="renewed\n")
    stage.sheet.rename(stage.sheet.with_suffix(".away"))
    assert "images/web: changed: /etc/motd" == stage.fleet.follow_source().reason, "it does not wait for a sheet"
    stage.sheet.with_suffix(".away").rename(stage.sheet)
    stage.work.unpin("images/web")
    assert stage.fleet.follow_source() is None
    stage.roll_out(2)
    stage.roll_out(1)
    assert stage.desired("web0") is not None


def test_what_was_taken_by_a_quota_is_made_again(stage: Stage, systems: Systems) -> None:
    (stage.release / "bin").rename(stage.release / "hooks")
    systems.pin()
    stage.publish()
    stage.roll_out(1)
    desired = stage.desired("web0")
    assert desired is not None
    top = Ref.parse(desired.tree)
    stage.work.content.cache.delete(top)
    assert stage.fleet.blob("web0", top).startswith(b"boxwork-tree")


def test_packages_are_compared_by_name_and_by_architecture_where_there_are_two() -> None:
    old = [("a", "1", "amd64"), ("b", "1", "amd64"), ("c", "1", "amd64"), ("c", "1", "i386")]
    new = [("a", "2", "amd64"), ("c", "1", "amd64"), ("c", "2", "i386"), ("d", "1", "all")]
    assert [("a", "1", "2"), ("b", "1", ""), ("c:i386", "1", "2"), ("d", "", "1")] == packages_between(old, new)


def test_a_root_that_no_release_fits_on_is_told_on_the_page_and_once_in_the_log(
    stage: Stage, systems: Systems, caplog: pytest.LogCaptureFixture
) -> None:
    (stage.release / "bin").rename(stage.release / "hooks")
    systems.pin()
    stage.reopen(**{"fleet.source_poll_s": 0.01})
    stage.publish()
    link = Systems(stage).folder(TreeEntry("etc", "symlink", target="/elsewhere", uid=0, gid=0))
    stage.work.pin(link, "images/web")
    stage.fleet.conductor = stage.conductor
    stage.conductor.start()
    until(lambda: "is a link to /elsewhere" in Outlook(stage.fleet).state()["source"]["problem"])
    Systems(stage).pin(text="right again\n")
    until(lambda: stage.fleet.mirror.latest == 2)
    until(lambda: not Outlook(stage.fleet).state()["source"]["problem"])
    assert 1 == sum("there is no new version" in record.message for record in caplog.records)
    stage.work.unpin("images/web")
    until(lambda: "nothing is pinned as" in Outlook(stage.fleet).state()["source"]["problem"])


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)
