"""From a call to its canonical inputs, and to what the function receives."""

from __future__ import annotations

import datetime
import enum
import itertools
import os
import pathlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest

from boxwork.box import Derivation, Terms, derivation
from boxwork.content.tree_value import HEADER, Tree
from boxwork.derive.forms import dtype_text
from boxwork.derive.handles import SETTLED_NS, Blob, File, FileDigests
from boxwork.derive.inputs import Binder
from boxwork.errors import BadInput, InputChanged, UnsupportedType
from boxwork.keys import Ref, describe_by_name, ref_of
from boxwork.testing.clock import FakeClock
from tests.derive.node import node

FRESH = itertools.count()


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Weight(enum.IntEnum):
    LIGHT = 1


@dataclass(frozen=True)
class Crop:
    x: int
    options: dict[str, int] = field(default_factory=dict)


class Point(NamedTuple):
    x: float
    y: float


class Frame(msgspec.Struct):
    width: int
    tags: list[str] = []


def binder(function: Callable[..., Any]) -> Binder:
    return Binder(derivation(function), describe=describe_by_name)


def form_of(value: Any) -> bytes:
    return b"".join(binder(lambda value: value).forms({"value": value}))


def some(a: Any, b: Any = 2, *rest: Any, c: Any = 3, **options: Any) -> None: ...


def plain(a: Any, b: Any = 2, /, d: Any = 4, *, c: Any = 3) -> None: ...


def forms(function: Callable[..., Any], *args: Any, **inputs: Any) -> bytes:
    made = binder(function)
    return b"".join(made.forms(made.bind(args, inputs)))


def test_position_name_and_default_do_not_show() -> None:
    assert forms(some, 1) == forms(some, a=1) == forms(some, 1, 2) == forms(some, b=2, a=1, c=3)
    assert forms(plain, 1, 2) == forms(plain, 1) == forms(plain, 1, d=4, c=3)
    assert forms(some, 1, 2, 5) != forms(some, 1, 2)
    assert forms(some, 1, 2, 5) != forms(some, 1, 2, 5, 5)
    assert forms(some, 1, x=1, y=2) == forms(some, 1, y=2, x=1)
    assert forms(some, 1, x=1) != forms(some, 1)


@pytest.mark.parametrize(
    ("args", "inputs", "message"),
    [
        ((), {}, "needs the input 'a'; it takes a, b, d, c"),
        ((1, 2, 3, 4), {}, "takes 3 inputs by position, 4 were given"),
        ((1,), {"z": 1}, "has no input 'z'"),
        ((), {"a": 1, "z": 1}, "has no input 'z'"),
        ((1,), {"a": 1}, "was given 'a' twice"),
    ],
)
def test_a_wrong_call_is_told_what_the_box_takes(args: tuple[Any, ...], inputs: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        forms(plain, *args, **inputs)


DIFFERENT = [
    1,
    1.0,
    True,
    "1",
    b"1",
    None,
    [1],
    (1,),
    {1},
    frozenset({1}),
    {1: 1},
    OrderedDict({1: 1}),
    bytearray(b"1"),
    1 + 0j,
    range(1),
    Colour.RED,
    Colour.BLUE,
    Weight.LIGHT,
    Crop(1),
    Crop(2),
    Point(1, 2),
    Frame(1),
    np.int64(1),
    np.float64(1),
    np.array(1),
    np.array([1]),
    np.array([1.0]),
    np.array([[1]]),
    datetime.date(2020, 1, 1),
    np.datetime64("2020-01-01"),
    np.zeros(1, dtype=[("x", "<i4"), ("y", "<i4")]),
    np.zeros(1, dtype=[("x", "<i4"), ("z", "<i4")]),
]


def test_different_values_have_different_forms() -> None:
    seen = {}
    for value in DIFFERENT:
        form = form_of(value)
        assert form not in seen, f"{value!r} and {seen.get(form)!r}"
        seen[form] = value


def test_bytes_a_ref_and_a_blob_are_one_input() -> None:
    data = b"everything"
    assert form_of(data) == form_of(ref_of(data)) == form_of(Blob.of(data))
    assert form_of([data]) == form_of([ref_of(data)])
    assert form_of(data) != form_of(str(ref_of(data)))  # a text is never taken for a name


def test_arrays_are_their_type_shape_and_numbers() -> None:
    grid = np.arange(6).reshape(2, 3)
    assert form_of(grid) == form_of(np.asfortranarray(grid)) == form_of(grid[::1])
    assert form_of(grid) != form_of(grid.reshape(3, 2))
    assert form_of(grid) != form_of(grid.astype(">i8"))
    assert form_of(grid[:, ::2]) == form_of(grid[:, ::2].copy())
    assert form_of(np.zeros(0)) != form_of(np.zeros(0, "f4"))
    assert "<f8" == dtype_text(np.dtype(float))
    with pytest.raises(UnsupportedType, match="holds Python objects"):
        form_of(np.array([object()]))
    with pytest.raises(UnsupportedType, match=r"pass numpy.asarray"):
        form_of(np.ma.masked_array([1]))


@pytest.mark.parametrize(
    ("value", "advice"),
    [
        (pathlib.Path("x"), r"boxwork.File"),
        (object(), "pass plain values"),
        (print, "named function that is itself a box"),
        (memoryview(b"x"), "pass plain values"),
    ],
)
def test_an_unknown_type_is_refused_with_its_input_and_advice(value: Any, advice: str) -> None:
    with pytest.raises(UnsupportedType, match=f"input 'value' of .*{advice}"):
        form_of(value)


def test_a_value_that_contains_itself_is_refused() -> None:
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(UnsupportedType, match="contains itself"):
        form_of(circle)


def test_a_dataclass_with_attributes_that_are_no_fields_is_refused() -> None:
    crop = Crop(1)
    object.__setattr__(crop, "hidden", 1)
    with pytest.raises(UnsupportedType, match="not fields of its dataclass \\(hidden\\)"):
        form_of(crop)


# --- what the function receives


def received(tmp_path: Path, function: Any, value: Any, *, put: bytes = b"") -> Any:
    """What `function` saw of `value`, told through a list: the output itself does not matter."""
    seen: list[Any] = []

    def see(value: Any) -> None:
        seen.append(value)

    see.__annotations__ = dict(function.__annotations__)
    with node(tmp_path / "data") as work:
        if put:
            work.content.put(put)
        work.call(Derivation(see, "see", Terms(version=str(next(FRESH)))), {"value": value})
        return seen[0].read() if isinstance(seen[0], Blob) else seen[0]


def test_a_ref_becomes_what_the_annotation_asks_for(tmp_path: Path) -> None:
    ref = ref_of(b"abc")

    def nothing(value): ...  # type: ignore[no-untyped-def]
    def bytes_(value: bytes): ...  # type: ignore[no-untyped-def]
    def text(value: str): ...  # type: ignore[no-untyped-def]
    def name(value: Ref): ...  # type: ignore[no-untyped-def]
    def blob(value: Blob): ...  # type: ignore[no-untyped-def]
    def either(value: Blob | None): ...  # type: ignore[no-untyped-def]
    def many(value: list[str]): ...  # type: ignore[no-untyped-def]

    for given in (ref, b"abc", Blob.of(b"abc")):  # one key, so one thing is received
        for function, expected in (
            (nothing, b"abc"),
            (bytes_, b"abc"),
            (text, "abc"),
            (name, ref),
            (blob, b"abc"),
            (either, b"abc"),
        ):
            assert expected == received(tmp_path, function, given, put=b"abc")
        assert ["abc"] == received(tmp_path, many, [given], put=b"abc")


def test_a_ref_to_a_stored_output_becomes_its_value(tmp_path: Path) -> None:
    with node(tmp_path / "data") as work:

        @derivation
        def crop(x: int) -> Crop:
            return Crop(x, {"a": 1})

        @derivation
        def grid(n: int) -> np.ndarray:
            return np.arange(n)

        @derivation
        def use(crop: Crop, grid: np.ndarray, pair: tuple[Crop, int]) -> int:
            return crop.x + int(grid.sum()) + pair[0].x + pair[1]

        one = work.derive(crop, {"x": 5})
        assert 5 + 3 + 5 + 1 == work.call(use, {"crop": one, "grid": work.derive(grid, {"n": 3}), "pair": (one, 1)})


def test_bytes_that_are_no_such_value_are_refused(tmp_path: Path) -> None:
    with node(tmp_path / "data") as work:

        @derivation
        def use(crop: Crop) -> int:
            return crop.x

        @derivation
        def read(text: str) -> int:
            return len(text)

        with pytest.raises(BadInput, match="Crop is asked for, and they are no stored value"):
            work.call(use, {"crop": b"abc"})
        with pytest.raises(BadInput, match="they are no UTF-8"):
            work.call(read, {"text": b"\xff"})


def test_a_tree_is_received_as_a_tree(tmp_path: Path) -> None:
    with node(tmp_path / "data") as work:
        ref = work.content.put(HEADER)

        @derivation
        def count(tree: Tree) -> int:
            return len(tree.entries)

        assert 0 == work.call(count, {"tree": ref})
        assert 0 == work.call(count, {"tree": Tree(ref, work.content)})


def test_dicts_are_received_in_one_order(tmp_path: Path) -> None:
    with node(tmp_path / "data") as work:

        @derivation
        def order(options: dict[str, int], **more: int) -> list[str]:
            return [*options, *more]

        first = work.call(order, {"options": {"b": 1, "a": 2}, "z": 1, "y": 2})
        assert first == work.call(order, {"y": 2, "z": 1, "options": {"a": 2, "b": 1}})
        assert ["a", "b", "y", "z"] == first


def test_a_box_cannot_change_its_callers_values(tmp_path: Path) -> None:
    with node(tmp_path / "data") as work:

        @derivation
        def vandal(rows: list[list[int]], grid: np.ndarray) -> int:
            rows[0].append(9)
            grid[0] = 9
            return 1

        rows, grid = [[1]], np.zeros(2)
        work.call(vandal, {"rows": rows, "grid": grid})
        assert [[1]] == rows
        assert 0.0 == grid[0]


def test_arrays_are_received_in_c_order(tmp_path: Path) -> None:
    with node(tmp_path / "data") as work:

        @derivation
        def layout(grid: np.ndarray) -> bool:
            return bool(grid.flags.c_contiguous)

        assert work.call(layout, {"grid": np.asfortranarray(np.zeros((2, 3)))})


def test_a_method_takes_its_instance_as_the_first_input(tmp_path: Path) -> None:
    class Resizer:
        def __init__(self, size: int) -> None:
            self.size = size

        @derivation
        def resize(self, data: bytes) -> bytes:
            return data[: self.size]

    with node(tmp_path / "data") as work:
        assert b"ab" == work.call(Resizer(2).resize, {"data": b"abc"})
        assert b"a" == work.call(Resizer(1).resize, {"data": b"abc"})
        assert work.key(Resizer(2).resize, {"data": b"abc"}) == work.key(Resizer(2).resize, {}, (b"abc",))
        assert b"a" == Resizer(1).resize(b"abc")


# --- files


def test_a_file_is_its_content_and_its_name(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    for path in ("a/x.jpg", "b/x.jpg", "b/y.jpg"):
        (tmp_path / path).write_bytes(b"light")
    assert form_of(File(tmp_path / "a/x.jpg")) == form_of(File(tmp_path / "b/x.jpg"))
    assert form_of(File(tmp_path / "a/x.jpg")) != form_of(File(tmp_path / "b/y.jpg"))
    before = form_of(File(tmp_path / "a/x.jpg"))
    (tmp_path / "a/x.jpg").write_bytes(b"dark!")
    assert before != form_of(File(tmp_path / "a/x.jpg"))
    with pytest.raises(BadInput, match="cannot be read: No such file"):
        form_of(File(tmp_path / "none"))


def test_a_settled_file_is_hashed_once_and_a_fresh_one_each_time(tmp_path: Path, monkeypatch: Any) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"light")
    hashed: list[int] = []
    real = ref_of
    monkeypatch.setattr(
        "boxwork.derive.handles.ref_of_file",
        lambda file: hashed.append(1) or real(file.read()),  # type: ignore[func-returns-value]
    )
    changed = os.stat(path).st_ctime_ns
    fresh = FileDigests(FakeClock(changed + SETTLED_NS - 1))
    settled = FileDigests(FakeClock(changed + SETTLED_NS))
    for digests, expected in ((fresh, 3), (settled, 4)):
        for _ in range(3):
            assert ref_of(b"light") == digests.ref(path)
        assert expected == len(hashed)


def test_a_file_that_never_rests_is_refused(tmp_path: Path, monkeypatch: Any) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"")

    def disturbed(file: Any) -> Ref:
        with path.open("ab") as other:
            other.write(b"more")
        return ref_of(file.read())

    monkeypatch.setattr("boxwork.derive.handles.ref_of_file", disturbed)
    with pytest.raises(InputChanged, match="was written to while it was read, 3 times"):
        FileDigests(FakeClock()).ref(path)


def test_a_blob_reads_when_asked(tmp_path: Path) -> None:
    blob = Blob.of(b"abc")
    assert (3, b"abc", b"abc") == (blob.size, blob.read(), blob.open().read())
    with node(tmp_path / "data") as work:
        stored = Blob(work.content.put(b"abc"), work.content)
        assert stored == blob
        assert (3, b"abc") == (stored.size, stored.open().read())
        assert hash(stored) == hash(blob)
