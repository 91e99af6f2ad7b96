from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import boxwork
from boxwork import errors
from boxwork.app.work import Work
from boxwork.keys import ref_of


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Work]:
    with boxwork.open(tmp_path / "data") as opened:
        yield opened


@pytest.mark.parametrize("size", [0, 10, 200_000], ids=["empty", "small", "large"])
def test_a_blob_that_comes_in_pieces_is_the_blob_that_comes_at_once(work: Work, size: int) -> None:
    data = bytes(range(250)) * (size // 250) or bytes(size)
    with work.content.writer() as writer:
        for at in range(0, len(data), 999):
            writer.write(data[at : at + 999])
        assert writer.size == len(data)
        assert not work.has(ref_of(data))
        assert writer.commit() == ref_of(data)
    assert work.get(ref_of(data)) == data


def test_what_was_not_committed_leaves_nothing(work: Work) -> None:
    with work.content.writer() as writer:
        writer.write(bytes(200_000))
    with work.content.writer() as writer:
        writer.write(b"these")
        with pytest.raises(errors.BlobCorrupt):
            writer.commit(ref_of(b"others"))
    assert not list((work.node.root / "tmp").iterdir())
    assert not work.has(ref_of(b"these"))


def test_keeping_makes_a_cached_blob_durable_and_says_what_is_nowhere(work: Work) -> None:
    ref = work.put(b"an output", durable=False)
    work.content.keep(ref)
    work.content.keep(ref)
    assert work.content.durable.has(ref)
    with pytest.raises(errors.BlobMissing):
        work.content.keep(ref_of(b"nowhere"))


def test_a_tree_is_composed_of_blobs_that_are_here(work: Work) -> None:
    files = {"b": work.put(b"second", durable=False), "a": work.put(b"first")}
    tree = work.compose(files)
    assert ["a", "b"] == list(tree.entries)
    assert tree.read("b") == b"second"
    assert work.content.durable.has(files["b"])
    with pytest.raises(errors.BlobMissing):
        work.compose({"c": ref_of(b"nowhere")})
