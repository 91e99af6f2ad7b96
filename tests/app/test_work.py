from __future__ import annotations

import io
from pathlib import Path

import pytest

import boxwork
from boxwork import Ref, derivation, ref_of
from boxwork.app.work import Work
from boxwork.errors import BadInput, BadRef, BlobMissing, NotFound

RUNS: list[str] = []


@derivation(ignores=["RUNS"])
def shout(text: bytes) -> bytes:
    RUNS.append("shout")
    return text.upper()


@derivation
def double(text: bytes, times: int = 2) -> bytes:
    return text * times


@pytest.fixture
def work(tmp_path: Path) -> Work:
    RUNS.clear()
    with boxwork.open(tmp_path / "d") as opened:
        yield opened


def test_bytes_files_paths_and_streams_of_the_same_content_have_one_name(work: Work, tmp_path: Path) -> None:
    data = b"everything is a hashing problem" * 5000
    path = tmp_path / "a file"
    path.write_bytes(data)
    with path.open("rb") as file:
        refs = {
            work.put(data),
            work.put(path),
            work.put(file),
            work.put(iter([data[:7], data[7:]])),
            work.put(io.BytesIO(data)),
            work.put(memoryview(data)),
        }
    assert {ref_of(data)} == refs
    assert data == work.get(ref_of(data))
    assert len(data) == work.size(ref_of(data))
    with work.open(ref_of(data)) as blob:
        blob.seek(11)
        assert data[11:30] == blob.read(19)


def test_a_text_is_refused_because_it_could_be_a_path_or_content(work: Work) -> None:
    with pytest.raises(BadInput, match="Path"):
        work.put("photo.jpg")


def test_a_missing_file_names_itself(work: Work, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="nowhere"):
        work.put(tmp_path / "nowhere")


def test_a_ref_may_be_given_as_plain_text_and_a_bad_one_is_explained(work: Work) -> None:
    ref = work.put(b"x")
    assert b"x" == work.get(str(ref))
    with pytest.raises(BadRef, match="64"):
        work.get("sha256:12")
    with pytest.raises(BlobMissing):
        work.get("sha256:" + "0" * 64)


def test_boxes_compose_by_refs_and_bytes_and_their_ref_are_one_key(work: Work) -> None:
    loud = work.derive(shout, text=b"ha")
    assert b"HAHA" == work.get(work.derive(double, text=loud))
    assert b"HAHA" == work.call(double, b"HA")
    assert work.peek(double, text=b"HA", times=2) == ref_of(b"HAHA")
    assert work.derive(shout, text=work.put(b"ha")) == loud
    assert ["shout"] == RUNS


def test_calling_a_box_is_calling_the_plain_function(work: Work) -> None:
    assert b"A" == shout(b"a")
    assert b"A" == shout(b"a")
    assert ["shout", "shout"] == RUNS


def test_what_was_derived_is_remembered_after_a_restart(tmp_path: Path) -> None:
    RUNS.clear()
    for _ in range(2):
        with boxwork.open(tmp_path / "r") as work:
            assert b"AGAIN" == work.call(shout, text=b"again")
    assert ["shout"] == RUNS


def test_why_tells_function_inputs_lineage_and_what_differed(work: Work) -> None:
    loud = work.derive(shout, text=b"ha")
    first = work.derive(double, text=loud, times=3)
    work.derive(double, text=loud, times=4)
    assert "times 3 → 4" in str(work.last_miss(double))
    why = work.why(first)
    assert "double" in why.record.box
    assert {"text", "times"} == {entry.name for entry in why.record.inputs}
    assert ["shout"] == [below.record.name for below in why.lineage]


def test_a_box_of_a_pack_can_be_called_by_name_and_an_unknown_name_lists_what_there_is(work: Work) -> None:
    with pytest.raises(NotFound, match="thumbnail"):
        work.derive("thumbnale", photo=b"")


def test_a_directory_goes_in_as_a_value_and_comes_out_the_same(work: Work, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "below").mkdir(parents=True)
    (source / "below" / "b").write_bytes(b"b")
    (source / "a").write_bytes(b"a")
    tree = work.put_tree(source)
    work.pin(tree.ref, "release")
    work.checkout(tree, tmp_path / "copy", mode="copy")
    assert b"b" == (tmp_path / "copy" / "below" / "b").read_bytes()
    assert tree == work.put_tree(tmp_path / "copy")
    assert [("release", tree.ref)] == list(work.pins())
    assert isinstance(tree.ref, Ref)


def test_an_observation_is_kept_with_its_source_and_found_by_time(work: Work) -> None:
    work.observe("price", {"eur": 3}, source="shop", at=10)
    work.observe("price", {"eur": 4}, source="shop", at=20)
    latest = work.latest("price", "shop")
    assert latest is not None
    assert (20, 2) == (latest.at_ns, latest.version)
    assert [10, 20] == sorted(row.at_ns for row in work.history("price"))
    earlier = work.latest("price", "shop", at=15)
    assert earlier is not None
    assert {"eur": 3} == work.node.observations.value(earlier)
