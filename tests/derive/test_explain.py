"""Why an output is what it is, and why a call was a miss."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from boxwork.box import derivation
from boxwork.database import Database
from boxwork.derive.explain import Difference, part_differences, read_record
from boxwork.derive.handles import File
from boxwork.derive.indexes import RECENT, RECENT_ROWS, Index
from boxwork.derive.outputs import FAILURE, OUTPUTS, read_row
from boxwork.errors import BadInput, DerivationFailed, NotFound
from boxwork.keys import Ref
from boxwork.testing.clock import FakeClock
from tests.derive.node import node


@derivation
def render(page: bytes, dpi: int = 150, *, mode: str = "grey") -> bytes:
    return page * 2


@derivation
def thumbnail(picture: bytes, size: int) -> bytes:
    return picture[:size]


@derivation
def montage(pictures: list[bytes]) -> bytes:
    return b"".join(pictures)


def test_a_record_says_everything_about_a_run(tmp_path: Path) -> None:
    clock = FakeClock()
    with node(tmp_path / "data", clock=clock) as work:
        ref = work.derive(render, {"page": b"abc"})
        why = work.why(ref)
        record = why.record
        assert ("render", ref, "bytes", 6, "inline") == (
            record.name,
            record.output,
            record.output_type,
            record.output_bytes,
            record.worker,
        )
        assert f"{__name__}:render" == record.box
        assert clock.now_ns() == record.time_ns
        assert record.duration_ns > 0
        assert {"dpi": "150", "mode": "'grey'", "page": "bytes ba7816bf…"} == {
            entry.name: entry.text for entry in record.inputs
        }
        assert ("function render",) == tuple(name for name, _ in why.parts)
        assert record == work.why(record.key).record == work.why(record.key.hex()).record


def test_lineage_is_followed_through_refs_containers_and_calls(tmp_path: Path) -> None:
    with node(tmp_path / "data") as work:
        page = work.derive(render, {"page": b"abc"})
        small = work.derive(thumbnail, {"picture": page, "size": 2})
        sheet = work.derive(montage, {"pictures": [small, page]})

        @derivation
        def publish(n: int) -> Ref:
            return work.derive(montage, {"pictures": [small, page]})

        why = work.why(work.key(publish, {"n": 1})) if work.derive(publish, {"n": 1}) else None
        assert why is not None
        assert sheet == why.record.output

        def names(found: Any) -> Any:
            return {found.record.name: [names(below) for below in found.lineage]}

        assert {"publish": [{"montage": [{"thumbnail": [{"render": []}]}]}]} == names(why)


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ({"dpi": 300}, "render: argument dpi 150 → 300"),
        ({"mode": "colour"}, "render: argument mode 'grey' → 'colour'"),
        ({"page": b"xyz"}, "render: argument page bytes ba7816bf… → bytes 3608bca1…"),
    ],
)
def test_a_miss_names_the_argument_that_differs(tmp_path: Path, inputs: dict[str, Any], expected: str) -> None:
    with node(tmp_path / "data") as work:
        work.call(render, {"page": b"abc"})
        work.call(render, {"page": b"abc", "dpi": 151, "mode": "other"})  # a call that differs in more is no nearer
        work.call(render, {"page": b"abc", **inputs})
        assert expected == str(work.last_miss(render))


def test_a_miss_names_the_part_of_the_code_that_differs(tmp_path: Path) -> None:
    with node(tmp_path / "data") as work:
        work.fingerprinter.extra = {"helper crop.scale": b"1", "package numpy 2.4.6": b"", "constant SIZE": b"1"}
        work.call(render, {"page": b"abc"})
        work.fingerprinter.extra = {"helper crop.scale": b"2", "package numpy 2.5.0": b"", "closure k": b""}
        work.call(render, {"page": b"abc"})
        miss = work.last_miss(render)
        assert miss is not None
        assert [
            "closure k is new",
            "helper crop.scale changed",
            "package numpy 2.4.6 → 2.5.0",
            "constant SIZE is gone",
        ] == [str(difference) for difference in miss.differences]


def test_the_first_call_and_the_evicted_one_say_so(tmp_path: Path) -> None:
    with node(tmp_path / "data") as work:
        assert work.last_miss(render) is None
        work.call(render, {"page": b"abc"})
        assert "render: the first call of this box that is remembered" == str(work.last_miss(render))


def test_a_miss_is_explained_to_another_process_by_its_key(tmp_path: Path) -> None:
    with node(tmp_path / "data") as work:
        work.call(render, {"page": b"abc"})
        work.call(render, {"page": b"abc", "dpi": 300})
        key = work.key(render, {"page": b"abc", "dpi": 300})
    with node(tmp_path / "data") as work:
        assert "render: argument dpi 150 → 300" == str(work.why(key.hex()).miss)


def test_long_inputs_are_shown_in_a_few_words(tmp_path: Path) -> None:
    @derivation
    def many(text: str, numbers: list[int], grid: np.ndarray, file: File) -> int:
        return 1

    (tmp_path / "x.jpg").write_bytes(b"light")
    with node(tmp_path / "data") as work:
        ask = {
            "text": "x" * 500,
            "numbers": list(range(100)),
            "grid": np.zeros((2, 3)),
            "file": File(tmp_path / "x.jpg"),
        }
        work.call(many, ask)
        first = work.why(work.key(many, ask))
        shown = {entry.name: entry.text for entry in first.record.inputs}
        assert "'xxxxxxxxxxxxxxxxxxxxxxxx'… (500 characters)" == shown["text"]
        assert "list of 100" == shown["numbers"]
        assert shown["grid"].startswith("array <f8 2x3 ")
        assert "file x.jpg" == shown["file"]
        assert ("file: file x.jpg",) == first.files
        work.call(many, {**ask, "numbers": [1, 2]})
        assert "many: argument numbers list of 100 → [1, 2]" == str(work.last_miss(many))


def test_a_typical_record_takes_less_than_400_bytes(tmp_path: Path) -> None:
    with node(tmp_path / "data") as work:
        ask = {"page": b"abc", "dpi": 300, "mode": "colour"}
        work.call(render, ask)
        (row,) = [row for _, row in work.rows()]
        assert len(row.record) < 250
        assert len(work.content.cache_db.get(OUTPUTS, work.key(render, ask)) or b"") < 400


def test_why_answers_within_5_ms_among_many(tmp_path: Path) -> None:
    with node(tmp_path / "data") as work:
        for n in range(3000):
            work.call(thumbnail, {"picture": b"abc", "size": n})
        key = work.key(thumbnail, {"picture": b"abc", "size": 2999})
        work.why(key)
        best = min(_timed(lambda: work.why(key)) for _ in range(20))
        assert best < 5_000_000
        assert 64 == len(work.explainer.recent(f"{__name__}:thumbnail"))


def _timed(run: Any) -> int:
    started = time.perf_counter_ns()
    run()
    return time.perf_counter_ns() - started


def test_what_is_not_remembered_is_told_so(tmp_path: Path) -> None:
    with node(tmp_path / "data") as work:
        with pytest.raises(NotFound, match="no derivation is remembered under"):
            work.why(work.content.put(b"put by hand"))
        with pytest.raises(BadInput, match="neither a key"):
            work.why("render")


def test_a_failure_is_explained_too(tmp_path: Path) -> None:
    @derivation
    def torn(page: int) -> bytes:
        raise ValueError("page is torn")

    with node(tmp_path / "data") as work:
        with pytest.raises(DerivationFailed):
            work.call(torn, {"page": 1})
        with pytest.raises(NotFound, match="there is no output under .*: torn failed with ValueError: page is torn"):
            work.why(work.key(torn, {"page": 1}))


def test_parts_that_changed_came_or_went_are_told_apart() -> None:
    before = [("helper a", b"1"), ("helper b", b"1"), ("python 3.11", b"")]
    after = [("helper a", b"2"), ("helper c", b"1"), ("python 3.12", b"")]
    assert [
        Difference("helper a changed"),
        Difference("helper c is new"),
        Difference("python", "3.11", "3.12"),
        Difference("helper b is gone"),
    ] == list(part_differences(before, after))


def test_a_record_of_another_version_is_no_record() -> None:
    assert read_record(b"k" * 32, b"d" * 32, b"") is None
    assert read_record(b"k" * 32, b"d" * 32, b"\x93\x02\x01\x01") is None
    assert read_row(FAILURE) is None


def test_the_ring_of_a_box_replaces_the_oldest_run_whichever_process_wrote_it(tmp_path: Path) -> None:
    database = Database(tmp_path / "db", ["derive.producers", RECENT], durable=False)
    for number in range(2 * RECENT_ROWS):  # each index starts anew, as each process does
        index = Index(database)
        index.note(b"d%031d" % number, b"k%031d" % number, "module:box", number)
        index.close()
    with database.view() as view:
        times = sorted(int.from_bytes(row[:8], "big") for _, row in view.scan(RECENT))
    assert list(range(RECENT_ROWS, 2 * RECENT_ROWS)) == times
    database.close()
