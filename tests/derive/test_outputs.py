"""Outputs as blobs and back: exactly, without pickle, in formats that stay."""

from __future__ import annotations

import collections
import datetime
import decimal
import enum
import fractions
import math
import uuid
import zoneinfo
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest

from boxwork.box import derivation
from boxwork.content.tree_value import HEADER, Tree
from boxwork.derive.explain import read_record, record_bytes
from boxwork.derive.handles import Blob, File
from boxwork.derive.indexes import ring_key, ring_row
from boxwork.derive.outputs import FAILURE, TEXT, OutputCodec, classes_of, read_row, row_bytes
from boxwork.derive.packing import MAGIC, Packer, Unpacker, Unreadable
from boxwork.errors import BadInput, BlobMissing, UnsupportedType
from boxwork.keys import Ref, ref_of
from tests.derive.node import node

GOLDEN = Path(__file__).parent / "golden" / "outputs.txt"


class Colour(enum.Enum):
    RED = 1


class Access(enum.Flag):
    READ = 1
    WRITE = 2


class Point(NamedTuple):
    x: int
    y: float


class Frame(msgspec.Struct):
    width: int


@dataclass
class Crop:
    x: int
    size: tuple[int, int] = (1, 2)
    half: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        self.half = self.x / 2


@dataclass(frozen=True, slots=True)
class Page:
    crops: list[Crop]
    colour: Colour
    point: Point
    frame: Frame
    access: Access


ZURICH = zoneinfo.ZoneInfo("Europe/Zurich")
VALUES: list[Any] = [
    None,
    True,
    False,
    0,
    1,
    -1,
    2**63,
    -(2**63),
    2**64,
    -(2**70),
    10**5000,
    1.0,
    -0.0,
    1e300,
    float("inf"),
    1 + 2j,
    "",
    "plain",
    "ä€😀",
    "\ud800",
    b"",
    b"\x00\xff",
    bytearray(b"x"),
    [],
    [1, 1.0, True],
    (),
    (1, (2,)),
    set(),
    {1, "a"},
    frozenset({(1, 2)}),
    {},
    {"a": 1},
    {1: "int", "1": "text", None: 0, (1, 2): "pair"},
    {"\ud800": 1},
    {True: 1},
    collections.OrderedDict([("b", 1), ("a", 2)]),
    range(0, 10, 3),
    datetime.date(2026, 1, 2),
    datetime.datetime(2026, 1, 2, 3, 4, 5, 6),
    datetime.time(1, 2, 3),
    datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC),
    datetime.datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=ZURICH),
    datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone(datetime.timedelta(hours=5, minutes=30))),
    datetime.timedelta(-1, 2, 3),
    decimal.Decimal("1.10"),
    fractions.Fraction(1, 3),
    uuid.UUID(int=5),
    ref_of(b"abc"),
    [ref_of(b"abc")],
]


def same(before: Any, after: Any) -> bool:
    """Equal, of the same type, all the way down, and dicts in the same order."""
    if type(before) is not type(after):
        return False
    if isinstance(before, dict):
        return same(list(before.items()), list(after.items()))
    if isinstance(before, (list, tuple)):
        return len(before) == len(after) and all(map(same, before, after))
    if isinstance(before, float) and before == 0:
        return math.copysign(1, before) == math.copysign(1, after)
    if isinstance(before, datetime.datetime):
        return before == after and before.fold == after.fold and str(before.tzinfo) == str(after.tzinfo)
    return bool(before == after)


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_a_value_comes_back_as_it_was(value: Any) -> None:
    codec = OutputCodec(Any, None)
    encoded = codec.encode(value)
    if encoded.data is not None:
        assert same(value, codec.decode(encoded.kind, encoded.data))
    packed = Packer(classes_of(Any).get).pack(value)
    assert same(value, Unpacker(classes_of(Any).get, None).unpack(packed))  # type: ignore[arg-type]


def test_nan_stays_nan() -> None:
    codec = OutputCodec(float, None)
    encoded = codec.encode(float("nan"))
    assert encoded.data is not None
    assert math.isnan(codec.decode(encoded.kind, encoded.data))


ARRAYS = [
    np.arange(6).reshape(2, 3),
    np.asfortranarray(np.ones((2, 3))),
    np.array(5),
    np.zeros((0, 2), "f4"),
    np.array(["a", "bc"]),
    np.array([b"a"]),
    np.array([1, 2], ">i2"),
    np.array(["2020-01-01"], "M8[D]"),
    np.array([(1, 2.0)], dtype=[("x", "i4"), ("y", "f8")]),
    np.arange(10)[::2],
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}{array.shape}")
def test_an_array_comes_back_as_it_was(array: Any) -> None:
    codec = OutputCodec(Any, None)
    for value in (array, [array]):
        encoded = codec.encode(value)
        assert encoded.data is not None
        back = codec.decode(encoded.kind, encoded.data)
        after = back[0] if isinstance(back, list) else back
        assert (array.dtype, array.shape) == (after.dtype, after.shape)
        assert np.array_equal(array, after)
        assert after.flags.writeable


def test_numpy_scalars_keep_their_type() -> None:
    codec = OutputCodec(Any, None)
    for value in (np.float64(1.5), np.int8(3), np.bool_(True), np.datetime64("2020-01-01"), np.complex64(1j)):
        encoded = codec.encode(value)
        assert encoded.data is not None
        back = codec.decode(encoded.kind, encoded.data)
        assert (type(value), value) == (type(back), back)


PAGE = Page([Crop(3)], Colour.RED, Point(1, 2.0), Frame(5), Access.READ | Access.WRITE)


def test_records_come_back_by_the_return_annotation() -> None:
    codec = OutputCodec(list[Page] | None, None)
    encoded = codec.encode([PAGE])
    assert encoded.data is not None
    assert [PAGE] == codec.decode(encoded.kind, encoded.data)


def test_a_class_that_the_annotation_does_not_name_is_refused_at_the_first_store() -> None:
    with pytest.raises(UnsupportedType, match="holds a Crop, which the box's return annotation does not .*-> Crop"):
        OutputCodec(dict, None).encode({"crop": Crop(1)})


def test_reading_never_makes_a_class_that_nobody_named() -> None:
    data = OutputCodec(Crop, None).encode(Crop(1)).data
    assert data is not None
    with pytest.raises(Unreadable, match="class .*Crop, which nobody named"):
        OutputCodec(int, None).decode(b"V", data)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (object(), "cannot be stored as an output: return bytes"),
        (lambda: 1, "cannot be stored as an output"),
        (collections.defaultdict(list), "cannot be stored"),
        (memoryview(b"x"), "cannot be stored"),
        (np.array([object()]), "holds Python objects"),
        ({"file": File("x")}, "return its bytes or a Blob"),
        ([Blob.of(b"in memory")], "only in memory"),
    ],
)
def test_what_could_not_be_read_back_is_refused_with_advice(value: Any, message: str) -> None:
    with pytest.raises((UnsupportedType, BadInput), match=message):
        OutputCodec(Any, None).encode(value)


def test_a_value_that_contains_itself_is_refused() -> None:
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(UnsupportedType, match="contains itself"):
        OutputCodec(list, None).encode(circle)


@pytest.mark.parametrize("data", [b"", MAGIC, MAGIC + b"\xc1", MAGIC + b"\xc7\x03\x63abc", b"\x80\x04K\x01."])
def test_foreign_bytes_are_unreadable_and_never_run(data: bytes) -> None:
    with pytest.raises(Unreadable):
        OutputCodec(Any, None).decode(b"V", data)


def test_the_same_set_has_the_same_bytes_in_any_order() -> None:
    codec = OutputCodec(set, None)
    colliding = [n * 2**61 - n for n in range(50)]  # equal hashes modulo the table: insertion order shows
    backwards = colliding[::-1]
    first, second = set(colliding), set(backwards)
    assert list(first) != list(second)
    assert codec.encode(first).data == codec.encode(second).data


def test_blobs_are_what_the_value_plainly_is(tmp_path: Path) -> None:
    @derivation
    def echo(kind: str) -> Any:
        return {"bytes": b"abc", "text": "äbc", "array": np.arange(3)}[kind]

    with node(tmp_path / "data") as work:
        assert b"abc" == work.content.get(work.derive(echo, {"kind": "bytes"}))
        assert "äbc".encode() == work.content.get(work.derive(echo, {"kind": "text"}))
        with work.content.open(work.derive(echo, {"kind": "array"})) as file:
            assert [0, 1, 2] == list(np.load(file, allow_pickle=False))


def test_a_ref_a_blob_and_a_tree_pass_by_name(tmp_path: Path) -> None:
    with node(tmp_path / "data") as work:
        ref, tree = work.content.put(b"abc"), work.content.put(HEADER)

        @derivation
        def pass_on(ref: Ref, kind: str) -> Any:
            if kind == "blob":
                return Blob(ref, work.content)
            return Tree(ref, work.content) if kind == "tree" else ref

        for kind, given, expected in (("ref", ref, Ref), ("blob", ref, Blob), ("tree", tree, Tree)):
            for _ in range(2):
                value = work.call(pass_on, {"ref": given, "kind": kind})
                assert expected is type(value)
                assert given == getattr(value, "ref", value)
            assert given == work.derive(pass_on, {"ref": given, "kind": kind})


def test_a_blob_made_by_the_box_is_kept(tmp_path: Path) -> None:
    @derivation
    def make(n: int) -> Blob:
        return Blob.of(b"made")

    with node(tmp_path / "data") as work:
        assert b"made" == work.call(make, {"n": 1}).read()
        assert b"made" == work.call(make, {"n": 1}).read()
        assert b"made" == work.content.get(work.derive(make, {"n": 1}))


def test_a_name_of_nothing_is_refused(tmp_path: Path) -> None:
    @derivation
    def lie(deep: bool) -> Any:
        return [ref_of(b"never put")] if deep else ref_of(b"never put")

    with node(tmp_path / "data") as work:
        for deep in (False, True):
            with pytest.raises(BlobMissing, match="lie returned the ref sha256:.*put them first"):
                work.call(lie, {"deep": deep})


# --- rows


def test_a_row_is_read_as_it_was_written() -> None:
    for inline in (b"abc", b"", None):
        row = read_row(row_bytes(TEXT, b"d" * 32, inline, b"record"))
        assert row is not None
        assert (TEXT, b"d" * 32, inline, b"record") == row
    assert FAILURE != TEXT


def test_a_damaged_row_is_no_row() -> None:
    raw = row_bytes(TEXT, b"d" * 32, b"abc", b"record")
    assert all(read_row(raw[:n]) is None for n in range(len(raw) - len(b"record")))
    for n in range(len(raw) - len(b"record")):
        assert read_row(raw[:n] + bytes([raw[n] ^ 1]) + raw[n + 1 :]) is None


# --- what must never change


def test_rows_and_records_are_written_and_read_as_ever() -> None:
    known = dict(line.split(" = ") for line in GOLDEN.with_name("rows.txt").read_text("ascii").splitlines())
    record = record_bytes(
        "module:box",
        "box",
        b"f" * 32,
        b"s1:ai1;",
        1_700_000_000_000_000_000,
        5000,
        "inline",
        "int",
        5,
        [b"r" * 32],
        [b"s" * 32],
        (b"u" * 32,),
    )
    assert known["record"] == record.hex()
    for name, inline in (("inline", b"abc"), ("outside", None)):
        row = row_bytes(TEXT, b"d" * 32, inline, record)
        assert known[name] == row.hex()
        assert (TEXT, b"d" * 32, inline, record) == read_row(bytes.fromhex(known[name]))
    read = read_record(b"k" * 32, b"d" * 32, bytes.fromhex(known["record"]))
    assert read is not None
    assert ("module:box", "inline", 5000, "1") == (read.box, read.worker, read.duration_ns, read.inputs[0].text)
    assert known["ring"] == (ring_key("module:box", 3) + ring_row(5, b"k" * 32)).hex()


def golden_values() -> dict[str, Any]:
    return {
        "none": None,
        "true": True,
        "one": 1,
        "one point": 1.0,
        "big": 2**70,
        "text": "ä",
        "bytes": b"\x00",
        "list": [1, [2]],
        "tuple": (1, "a"),
        "set": {3, 1, 2},
        "frozenset": frozenset({1}),
        "dict": {"b": 1, "a": 2},
        "pairs": {1: (2,), None: 3},
        "ordered": collections.OrderedDict(a=1),
        "complex": 1 + 2j,
        "bytearray": bytearray(b"x"),
        "range": range(1, 9, 2),
        "date": datetime.date(2026, 1, 2),
        "moment": datetime.datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=ZURICH),
        "decimal": decimal.Decimal("1.10"),
        "fraction": fractions.Fraction(1, 3),
        "uuid": uuid.UUID(int=5),
        "delta": datetime.timedelta(1, 2, 3),
        "ref": [ref_of(b"abc")],
        "page": PAGE,
        "array": [np.arange(3, dtype="<i4")],
        "scalar": np.float64(1.5),
        "surrogate": "\ud800",
    }


def test_packed_values_are_written_and_read_as_ever() -> None:
    """Goldens are added, never edited: another form needs another MAGIC."""
    known = dict(line.split(" = ") for line in GOLDEN.read_text("ascii").splitlines())
    classes = classes_of(Page)
    for name, value in golden_values().items():
        data = Packer(classes.get).pack(value)
        assert known[name.replace(" ", "-")] == data.hex(), name
        back = Unpacker(classes.get, None).unpack(data)  # type: ignore[arg-type]
        assert np.array_equal(value[0], back[0]) if name == "array" else value == back
