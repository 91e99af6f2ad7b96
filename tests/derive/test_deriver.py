"""Computes once per distinct input, remembers by hash, and forgets nothing it should not."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time
import types
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from boxwork.box import derivation
from boxwork.content.tree import Tree, compose
from boxwork.derive.fingerprint import Fingerprinter
from boxwork.derive.handles import Blob
from boxwork.derive.indexes import PRODUCERS
from boxwork.derive.outputs import OUTPUTS, read_row
from boxwork.errors import BadInput, BlobMissing, DerivationFailed, NotFound, UnsupportedType
from boxwork.keys import Ref, ref_of
from tests.derive.node import Node, node

RUNS: list[object] = []


@pytest.fixture(autouse=True)
def fresh() -> None:
    RUNS.clear()


@derivation
def shout(text: bytes) -> bytes:
    RUNS.append(text)
    return text.upper()


@derivation(durable=True)
def keep(text: bytes) -> bytes:
    RUNS.append(text)
    return text.upper()


@derivation
def folder(text: bytes) -> Tree:
    RUNS.append(text)
    raise AssertionError("another node made this")


@derivation
def add(a: int, b: int = 2) -> int:
    RUNS.append((a, b))
    return a + b


@derivation
def large(n: int) -> bytes:
    RUNS.append(n)
    return bytes(n)


@dataclass
class Crop:
    x: int


@derivation
def crop(x: int) -> list[Crop]:
    RUNS.append(x)
    return [Crop(x)]


def test_it_computes_once_and_remembers(tmp_path: Path) -> None:
    with node(tmp_path / "data") as work:
        for _ in range(3):
            assert 3 == work.call(add, {"a": 1})
            assert 3 == work.call(add, {"b": 2}, (1,))
            assert [Crop(7)] == work.call(crop, {"x": 7})
        assert [(1, 2), 7] == RUNS
        assert 1 == work.pulse.count("derive.miss", "add")
        assert 5 == work.pulse.count("derive.hit", "add")
        assert 1 == work.pulse.count("derive.run", "add")


def test_it_remembers_after_the_node_was_closed(tmp_path: Path) -> None:
    with node(tmp_path / "data") as work:
        ref = work.derive(shout, {"text": b"abc"})
    with node(tmp_path / "data") as work:
        assert ref == work.derive(shout, {"text": b"abc"})
        assert b"ABC" == work.content.get(ref)
    assert [b"abc"] == RUNS


def test_bytes_and_a_ref_to_them_are_one_call(tmp_path: Path) -> None:
    with node(tmp_path / "data") as work:
        ref = work.content.put(b"abc")
        assert b"ABC" == work.call(shout, {"text": b"abc"})
        assert b"ABC" == work.call(shout, {"text": ref})
        assert b"ABC" == work.call(shout, {"text": Blob.of(b"abc")})
    assert [b"abc"] == RUNS


def test_boxes_compose_by_refs(tmp_path: Path) -> None:
    with node(tmp_path / "data") as work:
        loud = work.derive(shout, {"text": b"abc"})
        assert loud == work.derive(shout, {"text": loud})
        assert [b"abc", b"ABC"] == RUNS


def test_the_ref_of_a_value_that_was_only_called_can_be_read(tmp_path: Path) -> None:
    with node(tmp_path / "data") as work:
        assert b"ABC" == work.call(shout, {"text": b"abc"})
        assert not work.content.has(ref_of(b"ABC"))  # nobody asked for its name yet
        ref = work.derive(shout, {"text": b"abc"})
        assert b"ABC" == work.content.get(ref)
        assert [b"abc"] == RUNS


@pytest.mark.parametrize("size", [10, 5_000, 100_000])
def test_a_hit_whose_blob_is_gone_is_a_miss_or_is_put_back(tmp_path: Path, size: int) -> None:
    with node(tmp_path / "data") as work:
        ref = work.derive(large, {"n": size})
        work.content.delete(ref)
        assert ref == work.derive(large, {"n": size})
        assert bytes(size) == work.content.get(ref)
        work.content.delete(ref)
        assert bytes(size) == work.call(large, {"n": size})
        assert len(RUNS) == (1 if size == 10 else 3)


def test_a_hit_that_names_a_blob_that_is_gone_is_a_miss(tmp_path: Path) -> None:
    with node(tmp_path / "data") as work:

        @derivation
        def split(n: int) -> list[Ref]:
            RUNS.append(n)
            return [work.content.put(b"half", durable=False)]

        for ask in (work.call, work.derive):
            ask(split, {"n": 1})
            work.content.delete(ref_of(b"half"))
        assert [ref_of(b"half")] == work.call(split, {"n": 1})
        assert b"half" == work.content.get(ref_of(b"half"))
        assert [1, 1, 1] == RUNS
        ref = work.derive(split, {"n": 1})
        assert work.explainer.producer(ref)
        assert [ref_of(b"half")] == list(work.follow(ref))


def test_a_damaged_row_is_a_miss(tmp_path: Path) -> None:
    with node(tmp_path / "data") as work:
        work.call(shout, {"text": b"abc"})
        key = work.key(shout, {"text": b"abc"})
        raw = bytearray(work.content.cache_db.get(OUTPUTS, key) or b"")
        raw[42] ^= 1
        work.content.cache_db.update(lambda edit: edit.put(OUTPUTS, key, bytes(raw)))
        assert b"ABC" == work.call(shout, {"text": b"abc"})
        assert 2 == len(RUNS)


def test_an_output_of_a_class_that_changed_its_fields_is_computed_again(tmp_path: Path) -> None:
    @dataclass
    class Renamed:
        y: int

    with node(tmp_path / "data") as work:
        assert [Crop(1)] == work.call(crop, {"x": 1})
        known: dict[str, Any] = work._asks.plan(crop).codec._known  # type: ignore[assignment]
        (name,) = known
        known[name] = Renamed  # what a changed module would bring; a fingerprint that missed it must not matter
        with pytest.raises(UnsupportedType):
            work.call(crop, {"x": 1})
        assert [1, 1] == RUNS  # it ran again instead of serving what it could not read


def test_code_that_comes_back_finds_its_old_outputs(tmp_path: Path) -> None:
    with node(tmp_path / "data") as work:
        for extra in ("a", "b", "a", "b"):
            work.fingerprinter.extra = {"helper": extra.encode()}
            work.call(add, {"a": 1})
        assert 2 == len(RUNS)


def test_durable_outputs_lie_in_the_durable_class(tmp_path: Path) -> None:
    with node(tmp_path / "data") as work:
        ref = work.derive(keep, {"text": b"abc"})
        assert work.content.durable.has(ref)
        assert not work.content.cache.has(ref)
        assert ("output of keep", ref) in set(work.roots())
        assert ref == work.derive(keep, {"text": b"abc"})
        assert [b"abc"] == RUNS


def test_a_durable_output_makes_durable_what_it_names(tmp_path: Path) -> None:
    @derivation(durable=True)
    def collect(n: int) -> list[Any]:
        return [cached]

    with node(tmp_path / "data") as work:
        cached = work.content.put(b"cached", durable=False)
        work.derive(collect, {"n": 1})
        assert work.content.durable.has(cached)
        assert cached in {ref for _, ref in work.roots()}


def test_what_runs_holds_on_to_its_inputs(tmp_path: Path) -> None:
    with node(tmp_path / "data") as work:
        ref = work.content.put(b"abc", durable=False)
        held: list[tuple[str, Any]] = []

        @derivation
        def look(text: list[bytes]) -> int:
            held.extend(work.roots())
            return 1

        work.call(look, {"text": [ref]})
        assert [("running look", ref)] == held


def test_an_output_can_be_forgotten(tmp_path: Path) -> None:
    with node(tmp_path / "data") as work:
        ref = work.derive(shout, {"text": b"abc"})
        assert work.explainer.producer(ref)
        key = work.key(shout, {"text": b"abc"})
        assert work.forget(key)
        assert not work.forget(key)
        assert work.remembered(shout, {"text": b"abc"}) is None
        assert work.content.cache_db.get(PRODUCERS, ref.digest) is None
        with pytest.raises(NotFound):
            work.why(ref)


def test_the_cost_of_an_output_is_how_long_it_took(tmp_path: Path) -> None:
    @derivation
    def sleepy(n: int) -> bytes:
        time.sleep(0.01)
        return b"output"

    with node(tmp_path / "data") as work:
        assert work.cost(work.derive(sleepy, {"n": 1})) > 9_000_000
        assert 0 == work.cost(ref_of(b"never derived"))


def test_what_is_no_box_is_refused(tmp_path: Path) -> None:
    with node(tmp_path / "data") as work, pytest.raises(BadInput, match=r"is no box: make one"):
        work.call(len, {"obj": b""})  # type: ignore[arg-type]


def test_an_output_that_cannot_be_stored_is_told_at_the_first_run(tmp_path: Path) -> None:
    @derivation
    def wrong(n: int) -> object:
        return object()

    with node(tmp_path / "data") as work:
        with pytest.raises(UnsupportedType, match="cannot be stored as an output"):
            work.call(wrong, {"n": 1})
        assert [] == list(work.rows())


def test_a_box_that_is_gone_leaves_no_plan(tmp_path: Path) -> None:
    with node(tmp_path / "data") as work:
        cell = derivation(lambda n: n)
        work.call(cell, {"n": 1})
        assert 1 == len(work._asks._plans)
        gone = weakref.ref(cell)
        del cell
        gc.collect()
        assert gone() is None
        assert 0 == len(work._asks._plans)


def test_mutable_results_are_nobodys_but_the_callers(tmp_path: Path) -> None:
    with node(tmp_path / "data") as work:
        work.call(crop, {"x": 1}).append(Crop(2))
        work.call(crop, {"x": 1}).append(Crop(3))
        assert [Crop(1)] == work.call(crop, {"x": 1})


def test_the_real_fingerprint_works_here_too(tmp_path: Path) -> None:
    with node(tmp_path / "data", fingerprinter=Fingerprinter()) as work:

        @derivation
        def scale(grid: np.ndarray, factor: float = 2.0) -> np.ndarray:
            return grid * factor

        expected = np.arange(3) * 2.0
        for _ in range(2):
            assert np.array_equal(expected, work.call(scale, {"grid": np.arange(3)}))
        assert 1 == work.pulse.count("derive.run", "scale")
        table = tmp_path / "table.txt"
        table.write_text("1")

        @derivation(files=[str(table)])
        def read(n: int) -> int:
            return n

        work.call(read, {"n": 1})
        table.write_text("22")
        work.call(read, {"n": 1})
        assert 2 == work.pulse.count("derive.run", "read")
        miss = work.last_miss(read)
        assert miss is not None
        assert f"file {table} changed" in str(miss)


def test_a_class_defined_anew_is_what_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A notebook cell that defines the class runs again: remembered outputs are of the class as it is now."""
    module = types.ModuleType("cells")
    monkeypatch.setitem(sys.modules, "cells", module)
    cells = module.__dict__
    cells.update(dataclass=dataclass, derivation=derivation)
    define = "@dataclass\nclass Cut:\n    x: int\n"
    exec(define + "@derivation\ndef cut(x: int) -> 'Cut':\n    return Cut(x)\n", cells)
    with node(tmp_path / "data", fingerprinter=Fingerprinter()) as work:
        for n in (1, 1):
            assert cells["Cut"] is type(work.call(cells["cut"], {"x": n}))
        exec(define, cells)
        for n in (1, 2):
            assert cells["Cut"] is type(work.call(cells["cut"], {"x": n}))


KILLED = """
import sys
sys.path.insert(0, {root!r})
from pathlib import Path
from tests.derive.node import node
from tests.derive.test_deriver import large, shout
with node(Path(sys.argv[1])) as work:
    n = 0
    while True:
        ref = work.derive(large, {{"n": n * 97}})
        print(n * 97, ref, flush=True)
        work.call(shout, {{"text": b"%d" % n}})
        n += 1
"""


def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    code = KILLED.format(root=str(Path(__file__).parents[2]))
    acknowledged: list[tuple[int, str]] = []
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "data")], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            for line in writer.stdout:
                size, ref = line.split()
                acknowledged.append((int(size), ref.decode()))
                if len(acknowledged) % 400 == 399:
                    writer.kill()
                    break
    with node(tmp_path / "data") as work:
        for size, ref in acknowledged:
            assert ref == work.derive(large, {"n": size})
            assert ref == ref_of(work.content.get(ref_of(bytes(size))))
        assert [] == RUNS  # every one of them was remembered


def test_a_thousand_damaged_rows_serve_nothing_wrong(tmp_path: Path) -> None:
    with node(tmp_path / "data") as work:
        keys = {}
        for n in range(50):
            work.call(add, {"a": n})
            keys[n] = work.key(add, {"a": n})
        for round_ in range(20):
            for n, key in keys.items():
                raw = bytearray(work.content.cache_db.get(OUTPUTS, key) or b"")
                end = 41 + len((read_row(bytes(raw)) or _nothing()).inline or b"")
                raw[(round_ * 7 + n) % end] ^= 1 << (n % 8)
                work.content.cache_db.update(lambda edit, key=key, raw=raw: edit.put(OUTPUTS, key, bytes(raw)))
                assert n + 2 == work.call(add, {"a": n})


def _nothing() -> Any:
    raise AssertionError("a row that was just written cannot be read")


def test_a_failure_says_which_box_and_why(tmp_path: Path) -> None:
    @derivation
    def torn(page: int) -> bytes:
        raise ValueError(f"page {page} is torn")

    with node(tmp_path / "data", derive__failure_ttl_s=0.0) as work:
        for _ in range(2):
            with pytest.raises(DerivationFailed, match="torn failed with ValueError: page 3 is torn") as failure:
                work.call(torn, {"page": 3})
            assert isinstance(failure.value.__cause__, ValueError)
        assert [] == list(work.rows())


def test_a_closed_node_leaves_no_thread_and_no_process(tmp_path: Path) -> None:
    with node(tmp_path / "data") as work:
        work.submit(add, {"a": 1}).result(5)
        assert isinstance(work, Node)
    work.close()  # twice is once
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    assert not [child for child in children if "worker_main" in Path(f"/proc/{child}/cmdline").read_text()]


def test_an_output_of_another_node_is_remembered_as_if_the_box_had_run(tmp_path: Path) -> None:
    with node(tmp_path) as work:
        made = compose(work.content, {"a": work.content.put(b"A")})
        assert work.adopt(folder, made, {"text": b"a"})
        assert made.ref == work.derive(folder, {"text": b"a"})
        assert ("folder", 0) == (work.why(made.ref).record.name.rpartition(".")[2], len(RUNS))
        absent = Tree(ref_of(b"not here"), work.content)
        with pytest.raises(BlobMissing):
            work.adopt(folder, absent, {"text": b"b"})
