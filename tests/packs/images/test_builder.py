"""An image is the output of its dependency set: built once, changed by what it depends on and by nothing else."""

from __future__ import annotations

import json
import os
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from boxwork import errors
from boxwork.packs.images import difference, progress
from boxwork.packs.images.builder import StepBroken
from boxwork.packs.images.workshop import Workshop
from tests.packs.images.archive_of_debs import Archive, shell_files
from tests.packs.images.conftest import recipe_of

pytestmark = [
    pytest.mark.servers,
    pytest.mark.skipif(shutil.which("mmdebstrap") is None, reason="needs Debian's mmdebstrap"),
    pytest.mark.skipif(shutil.which("dpkg-scanpackages") is None, reason="needs Debian's dpkg-dev"),
]
WORLD = 'packages = ["world"]'


def test_an_image_has_the_packages_and_all_they_need(debs: Archive, work: Any, workshop: Workshop) -> None:
    built = workshop.builder.build(recipe_of(debs, WORLD))
    root = work.tree(built.tree)
    assert (1, True) == (built.number, built.new)
    assert b"world 1\n" == root.read("usr/share/world/text")
    assert 0o4755 == root.find("usr/bin/hello").mode
    assert (0, 0) == (root.find("usr/bin/hello").uid, root.find("usr/bin/hello").gid)
    assert b"Package: hello" in root.read("var/lib/dpkg/status")


def test_the_same_dependency_set_is_never_built_twice(debs: Archive, work: Any, workshop: Workshop) -> None:
    first = workshop.builder.build(recipe_of(debs, WORLD))
    second = workshop.builder.build(recipe_of(debs, WORLD))
    assert (1, False, first.tree, first.set) == (second.number, second.new, second.tree, second.set)
    other = workshop.builder.build(recipe_of(debs, WORLD, name="other"))
    assert (first.tree, first.set) == (other.tree, other.set)
    assert {"remembered"} == {state for _, _, state in other.steps}


def test_two_nodes_build_the_same_bytes(debs: Archive, workshop: Workshop, tmp_path: Path) -> None:
    import boxwork

    text = WORLD + '\n\n[files."/etc/motd"]\ntext = "welcome"\n'
    here = workshop.builder.build(recipe_of(debs, text))
    with boxwork.open(tmp_path / "elsewhere") as other:
        there = other.part("images").builder.build(recipe_of(debs, text))
    assert (here.set, here.tree) == (there.set, there.tree)
    assert {"built"} == {state for _, _, state in there.steps}


def test_a_new_version_of_a_package_makes_a_new_version_of_the_image(
    debs: Archive, work: Any, workshop: Workshop, tmp_path: Path
) -> None:
    path = tmp_path / "small.toml"
    path.write_text(
        f'packages = ["world"]\n[base]\nvariant = "none"\nsuite = "test"\nsources = "{debs.sources.strip()}"\n'
    )
    workshop.builder.build_named(str(path))
    assert [("small", 1, False)] == [(name, found.number, found.new) for name, found in workshop.builder.check()]
    debs.put("hello", "2.0", files={"/usr/share/hello/text": "hello 2\n"})
    ((name, found),) = workshop.builder.check()
    assert ("small", 2, True) == (name, found.number, found.new)
    old, new = workshop.catalog.version("small", 1), workshop.catalog.version("small", 2)
    assert [("hello", "1.0", "2.0")] == difference.packages_between(work.get(old["set"]), work.get(new["set"]))
    changed = {
        row["path"]: row["kind"] for row in difference.files_between(work.tree(old["tree"]), work.tree(new["tree"]))
    }
    assert ("changed", "removed") == (changed["usr/share/hello/text"], changed["usr/bin/hello"])
    assert "hello 1.0 → 2.0" == new["reason"]


def test_a_changed_file_beside_the_recipe_runs_only_the_step_of_files(
    debs: Archive, work: Any, workshop: Workshop, tmp_path: Path
) -> None:
    (tmp_path / "motd").write_text("one")
    text = WORLD + '\n\n[files]\n"/etc/motd" = "motd"\n'
    workshop.builder.build(recipe_of(debs, text, folder=tmp_path))
    (tmp_path / "motd").write_text("two!")
    built = workshop.builder.build(recipe_of(debs, text, folder=tmp_path))
    assert ["remembered", "remembered", "built"] == [state for _, _, state in built.steps]
    assert b"two!" == work.tree(built.tree).read("etc/motd")
    assert "changed: /etc/motd" == workshop.catalog.version("small")["reason"]


def test_images_that_begin_alike_share_the_build_of_what_they_share(debs: Archive, workshop: Workshop) -> None:
    workshop.builder.build(recipe_of(debs, WORLD, name="one"))
    text = WORLD + '\n\n[files."/etc/name"]\ntext = "two"\n'
    built = workshop.builder.build(recipe_of(debs, text, name="two"))
    assert ["remembered", "remembered", "built"] == [state for _, _, state in built.steps]


def test_concurrent_builds_with_a_common_prefix_build_it_once(debs: Archive, work: Any, workshop: Workshop) -> None:
    found: dict[str, Any] = {}
    gate = threading.Barrier(2)

    def build(name: str) -> None:
        gate.wait(10)
        found[name] = workshop.builder.build(
            recipe_of(debs, f'{WORLD}\n\n[files."/etc/name"]\ntext = "{name}"\n', name=name)
        )

    threads = [threading.Thread(target=build, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found["one"].tree != found["two"].tree
    ran = [key for key, row in work.node.deriver.rows() if row.kind == b"t"]
    assert 4 == len(ran)  # one base, one of packages, and the files of each


def test_a_failed_build_says_which_step_with_its_log(debs: Archive, work: Any, workshop: Workshop) -> None:
    debs.put("broken", postinst="echo it went wrong >&2; exit 3")
    with pytest.raises(StepBroken, match=r"step 2 \(packages: broken\) failed: (.|\n)*it went wrong"):
        workshop.builder.build(recipe_of(debs, 'packages = ["broken"]'))
    (record,) = progress.past(work, "small")
    assert ["remembered", "failed"] == [
        {"built": "remembered"}.get(step["state"], step["state"]) for step in record["steps"]
    ]
    assert b"it went wrong" in progress.log_of(work, record["steps"][1]["id"])
    assert [] == workshop.catalog.names()


def test_a_script_runs_in_the_image_as_root_and_without_a_network(debs: Archive, work: Any, workshop: Workshop) -> None:
    debs.put("sh", paths=shell_files(), files={"/proc/.keep": ""})
    script = "echo made by a script > /etc/made; while read -r line; do echo $line; done < /proc/net/dev"
    text = f'packages = ["sh"]\nscripts = ["{script}"]'
    built = workshop.builder.build(recipe_of(debs, text))
    assert b"made by a script\n" == work.tree(built.tree).read("etc/made")
    (record,) = progress.past(work, "small")
    interfaces = [
        line
        for line in progress.log_of(work, record["steps"][-1]["id"]).decode().splitlines()
        if ":" in line and " 0 " in line
    ]
    assert ["lo"] == [line.split(":")[0].strip() for line in interfaces]


def test_a_package_that_does_not_exist_is_named(debs: Archive, workshop: Workshop) -> None:
    with pytest.raises(errors.BadInput, match="nowhere cannot be resolved: .*Unable to locate package nowhere"):
        workshop.builder.build(recipe_of(debs, 'packages = ["nowhere"]'))


def test_a_file_of_the_archive_that_is_not_what_its_index_says_is_refused(debs: Archive, workshop: Workshop) -> None:
    package = next(debs.folder.glob("hello_*.deb"))
    package.write_bytes(package.read_bytes() + b"tampered")
    with pytest.raises(errors.Busy, match="packages cannot be fetched"):
        workshop.builder.build(recipe_of(debs, 'packages = ["hello"]'))


def test_a_rollback_is_a_decision_and_the_next_check_does_not_undo_it(debs: Archive, workshop: Workshop) -> None:
    build = workshop.builder.build
    build(recipe_of(debs, 'packages = ["hello"]'))
    build(recipe_of(debs, WORLD))
    assert (2, 1) == workshop.builder.rollback("small", who="ada", reason="it was better")
    assert 1 == workshop.catalog.version("small")["number"]
    assert not build(recipe_of(debs, WORLD)).new
    assert 1 == workshop.catalog.version("small")["number"]
    assert ["rolled back", "released", "released"] == [row[1] for row in workshop.catalog.log("small")]


def test_a_version_whose_facts_were_changed_is_not_rolled_back_to(debs: Archive, work: Any, workshop: Workshop) -> None:
    from boxwork import transaction

    build = workshop.builder.build
    first = build(recipe_of(debs, 'packages = ["hello"]'))
    second = build(recipe_of(debs, WORLD))

    @transaction
    def tamper(tx: Any, tree: str) -> None:
        tx.put(("images", "small", "version", 1), {**tx.get(("images", "small", "version", 1)), "tree": tree})

    work.commit(tamper, tree=str(second.tree))
    with pytest.raises(errors.Forbidden, match="small version 1 is not signed"):
        workshop.builder.rollback("small")
    assert first.tree != second.tree


def test_everything_in_a_version_outlives_the_cache_and_a_sweep(debs: Archive, work: Any, workshop: Workshop) -> None:
    built = workshop.builder.build(recipe_of(debs, WORLD))
    root = work.tree(built.tree)
    held = [built.tree, *(entry.content for _, entry in root.walk() if entry.ref is not None)]
    assert [] == work.content.durable.touch(ref.digest for ref in held)
    assert not any(work.content.cache.has(ref) for ref in held)


def test_the_bill_of_materials_names_every_package_with_its_hash(debs: Archive, work: Any, workshop: Workshop) -> None:
    workshop.builder.build(recipe_of(debs, WORLD))
    bill = json.loads(workshop.bill("small"))
    assert {"hello": "1.0", "world": "1.0"} == {one["name"]: one["version"] for one in bill["components"]}
    from boxwork import ref_of

    hashes = {one["name"]: one["hashes"][0]["content"] for one in bill["components"]}
    assert ref_of(next(debs.folder.glob("hello_*.deb")).read_bytes()).hex == hashes["hello"]
    assert workshop.bill("small") == workshop.bill("small")


def test_a_step_of_which_the_cache_let_go_a_part_is_run_again(debs: Archive, work: Any, workshop: Workshop) -> None:
    motd = WORLD + '\n\n[files."/etc/motd"]\ntext = "{}"\n'
    workshop.builder.build(recipe_of(debs, motd.format("one")))
    step = workshop.catalog.version("small")["steps"][1]
    lost = work.tree(step["tree"]).find("etc").content  # of the step of packages alone: the version has another /etc
    assert work.content.cache.delete(lost)
    built = workshop.builder.build(recipe_of(debs, motd.format("two")))
    assert ["remembered", "built", "built"] == [state for _, _, state in built.steps]
    assert b"two" == work.tree(built.tree).read("etc/motd")


def test_a_set_uid_file_beside_the_recipe_needs_its_mode_said(
    debs: Archive, work: Any, workshop: Workshop, tmp_path: Path
) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "su").write_text("x")
    (tmp_path / "site" / "su").chmod(0o4755)
    with pytest.raises(errors.BadInput, match="site/su is set-uid or set-gid"):
        workshop.builder.build(recipe_of(debs, '\n\n[files]\n"/srv" = "site"\n', folder=tmp_path))
    rule = '\n\n[files."/srv/su"]\nsource = "site/su"\nmode = "4755"\n'
    built = workshop.builder.build(recipe_of(debs, rule, folder=tmp_path))
    assert 0o4755 == work.tree(built.tree).find("srv/su").mode


def test_a_folder_beside_the_recipe_keeps_its_attributes_pipes_and_shared_files(
    debs: Archive, work: Any, workshop: Workshop, tmp_path: Path
) -> None:
    for site in ("site", "other"):
        (tmp_path / site / "sub").mkdir(parents=True)
        (tmp_path / site / "one").write_bytes(b"shared")
        os.link(tmp_path / site / "one", tmp_path / site / "sub" / "one")
        os.mkfifo(tmp_path / site / "pipe")
    try:
        os.setxattr(tmp_path / "site/one", "user.mime", b"text/plain")
    except OSError as reason:
        pytest.skip(f"this file system has no attributes: {reason}")
    rules = '\n\n[files]\n"/srv/site" = "site"\n"/srv/other" = "other"\n"/etc/one" = "site/one"\n'
    root = work.tree(workshop.builder.build(recipe_of(debs, rules, folder=tmp_path)).tree)
    assert (("user.mime", b"text/plain"),) == root.find("srv/site/sub/one").attributes
    assert (("user.mime", b"text/plain"),) == root.find("etc/one").attributes
    assert "pipe" == root.find("srv/site/pipe").kind
    assert {"srv/site/one": "srv/site/one", "srv/site/sub/one": "srv/site/one",
            "srv/other/one": "srv/other/one", "srv/other/sub/one": "srv/other/one"} == {
        path: entry.group for path, entry in root.walk() if entry.group
    }  # fmt: skip


def test_pruning_keeps_the_newest_and_the_one_that_counts(debs: Archive, work: Any, workshop: Workshop) -> None:
    text = '\n\n[files."/etc/motd"]\ntext = "{}"\n'
    built = [workshop.builder.build(recipe_of(debs, text.format(number))) for number in range(5)]
    workshop.builder.rollback("small", 2)
    assert [1, 3, 4] == workshop.builder.prune("small", 1)
    assert [5, 2] == [version["number"] for version in workshop.catalog.versions("small")]
    assert {built[1].tree, built[4].tree} == {ref for _, ref in work.pins("images/small/tree/")}
    assert workshop.builder.build(recipe_of(debs, text.format(9))).number == 6


def test_the_pin_of_an_image_is_the_version_that_counts(debs: Archive, work: Any, workshop: Workshop) -> None:
    def pinned() -> Any:
        return work.content.pinned("images/small")

    first = workshop.builder.build(recipe_of(debs, WORLD))
    assert first.tree == pinned()
    debs.put("world", "2.0", files={"/usr/share/world/text": "world 2\n"}, depends="hello")
    second = workshop.builder.build(recipe_of(debs, WORLD), age_s_max=0.0)
    assert second.tree == pinned()
    workshop.builder.rollback("small")
    assert first.tree == pinned()
    workshop.builder.prune("small", 1)
    assert first.tree == pinned(), "it counts, so it is kept"
    work.unpin("images/small")  # a builder that was killed before it came so far
    assert not workshop.builder.build(recipe_of(debs, WORLD), age_s_max=0.0).new
    assert first.tree == pinned()
