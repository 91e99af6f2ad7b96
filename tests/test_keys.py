"""Names and forms: the golden ones never change, different values never share one."""

from __future__ import annotations

import datetime as dt
import decimal
import fractions
import hashlib
import io
import itertools
import json
import math
import pickle
import uuid
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boxwork import keys
from boxwork.errors import BadInput, BadRef, UnsupportedType
from boxwork.keys import Ref, RefHasher, canonical, ref_of, ref_of_digest, ref_of_file

GOLDEN = json.loads((Path(__file__).parent / "golden" / "keys.json").read_text("utf-8"))

# Every value whose form is golden, by the name it has in the file.
VALUES: dict[str, Any] = {
    "None": None,
    "True": True,
    "False": False,
    "0": 0,
    "-1": -1,
    "2**64": 2**64,
    "-(2**20000)": -(2**20000),
    "1.0": 1.0,
    "-0.0": -0.0,
    "nan": math.nan,
    "inf": math.inf,
    "1+2j": 1 + 2j,
    "''": "",
    "'ü'": "ü",
    "lone surrogate": "\udc80",
    "b''": b"",
    "b'abc'": b"abc",
    "bytearray(b'abc')": bytearray(b"abc"),
    "ref of b'abc'": ref_of(b"abc"),
    "[1, 2]": [1, 2],
    "(1, 2)": (1, 2),
    "{'b': 1, 'a': 2}": {"b": 1, "a": 2},
    "OrderedDict b, a": OrderedDict(b=1, a=2),
    "{1, 2}": {1, 2},
    "frozenset({1, 2})": frozenset({1, 2}),
    "range(1, 9, 2)": range(1, 9, 2),
    "date": dt.date(2024, 2, 29),
    "datetime": dt.datetime(2024, 2, 29, 12, 30, 1, 5),
    "datetime utc": dt.datetime(2024, 2, 29, 12, 30, tzinfo=dt.UTC),
    "datetime fold": dt.datetime(2024, 10, 27, 2, 30, fold=1),
    "time": dt.time(1, 2, 3),
    "timedelta": dt.timedelta(days=1, seconds=2, microseconds=3),
    "Decimal 1.0": decimal.Decimal("1.0"),
    "Decimal 1.00": decimal.Decimal("1.00"),
    "Fraction": fractions.Fraction(1, 3),
    "UUID": uuid.UUID(int=7),
    "nested": {"a": [1, (2.0, {"b": b"c"})], "d": {frozenset({1})}},
}


# --- refs


@pytest.mark.parametrize(
    ("data", "digest"),
    [  # FIPS 180-4 and its example values
        (b"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        (b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (
            b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
        ),
        (b"a" * 1_000_000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"),
    ],
)
def test_a_ref_is_the_sha256_of_the_bytes_in_the_spelling_of_oci(data: bytes, digest: str) -> None:
    assert f"sha256:{digest}" == ref_of(data)
    assert digest == ref_of(data).hex
    assert bytes.fromhex(digest) == ref_of(data).digest
    assert ref_of(data) == ref_of_digest(bytes.fromhex(digest))


@given(st.lists(st.binary(max_size=50)))
def test_bytes_in_pieces_have_the_ref_of_the_whole(pieces: list[bytes]) -> None:
    hasher = RefHasher()
    for piece in pieces:
        hasher.update(piece)
    whole = b"".join(pieces)
    assert ref_of(whole) == hasher.ref() == ref_of(bytearray(whole)) == ref_of(memoryview(whole))
    assert len(whole) == hasher.size


def test_a_file_is_named_from_its_position_to_its_end() -> None:
    data = b"x" * (keys.CHUNK_BYTES + 1)
    assert ref_of(data) == ref_of_file(io.BytesIO(data))
    file = io.BytesIO(b"head" + data)
    file.seek(4)
    assert ref_of(data) == ref_of_file(file)


def test_a_ref_is_read_with_or_without_its_prefix() -> None:
    ref = ref_of(b"abc")
    assert ref == Ref.parse(str(ref)) == Ref.parse(ref.hex)
    assert ref is Ref.parse(ref)
    assert isinstance(Ref.parse(str(ref)), Ref)
    assert "Ref('sha256:ba78" == repr(ref)[:16]
    assert keys.REF_LENGTH == len(ref)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha256:",
        "sha512:" + "0" * 64,
        "sha256:" + "0" * 63,
        "sha256:" + "0" * 65,
        "sha256:" + "A" * 64,
        "sha256:" + "g" * 64,
        "SHA256:" + "0" * 64,
        " sha256:" + "0" * 64,
        "sha256:" + "٣" * 64,
        "x" * 10_000,
        "sha256:sha256:" + "0" * 57,
        "0" * 63 + "\n",
        "../" + "0" * 61,
    ],
)
def test_a_text_that_is_no_ref_is_refused_with_what_was_expected(text: str) -> None:
    with pytest.raises(BadRef, match="expected sha256: and 64 lower-case hexadecimal digits") as caught:
        Ref.parse(text)
    assert len(caught.value.message) < 250


@pytest.mark.parametrize("value", [None, 7, b"sha256:" + b"0" * 64])
def test_what_is_not_even_a_text_is_no_ref(value: Any) -> None:
    with pytest.raises(BadRef, match="is not a ref"):
        Ref.parse(value)


def test_a_ref_survives_a_copy_between_processes() -> None:
    ref = pickle.loads(pickle.dumps(ref_of(b"abc")))
    assert ref_of(b"abc") == ref
    assert type(ref) is Ref


# --- forms


def test_every_form_is_the_golden_one() -> None:
    forms = {name: shown(canonical(value)) for name, value in VALUES.items()}
    changed = {name: form for name, form in forms.items() if name in GOLDEN["forms"] and GOLDEN["forms"][name] != form}
    assert {} == changed, "a form is on disk in every key: give the changed one a new tag byte, add it, edit no golden"
    assert GOLDEN["forms"] == forms


def shown(form: bytes) -> str:
    """A form as the golden file has it; a long one by its digest."""
    return form.hex() if len(form) < 200 else "sha256:" + hashlib.sha256(form).hexdigest()


def test_every_digest_is_the_golden_one() -> None:
    fingerprint = keys.fingerprint_digest([("function a", bytes(32)), ("constant B", b"\1" * 32)])
    digests = {
        "LOG_ROOT": keys.LOG_ROOT,
        "part": keys.part_digest("function", b"body"),
        "fingerprint": fingerprint,
        "derivation": keys.derivation_key(fingerprint, keys.text_form("public"), [canonical("x"), canonical(1)]),
        "entry": keys.entry_digest(keys.LOG_ROOT, b"head", b"payload"),
        "answers": keys.answers_digest(b"answers"),
        "draw": keys.draw(b"seed", 1, 2),
        "array": keys.array_form("<f8", (2, 3), bytes(48)),
        "record": record(Path, [("a", 1)]),
        "blob": keys.blob_form(bytes(32)),
        "tree": keys.tree_form(bytes(32)),
        "plain": keys.plain_form("pattern", "a|b"),
    }
    assert GOLDEN["digests"] == {name: digest.hex() for name, digest in digests.items()}
    assert GOLDEN["subject"] == keys.subject_name("clinic", "ada")
    assert GOLDEN["checksum"] == keys.checksum(b"abc")


def record(kind: type, fields: list[tuple[str, object]]) -> bytes:
    out: list[bytes] = []
    keys.record_form(kind, fields, out, lambda described: b"described " + described.__name__.encode())
    return b"".join(out)


def test_all_golden_forms_differ_but_for_a_blob_and_its_ref() -> None:
    assert canonical(b"abc") == canonical(ref_of(b"abc"))
    forms = [canonical(value) for name, value in VALUES.items() if name != "ref of b'abc'"]
    assert len(forms) == len(set(forms))


def test_a_text_that_looks_like_a_ref_is_a_text() -> None:
    ref = ref_of(b"abc")
    assert canonical(str(ref)) != canonical(ref)


@pytest.mark.parametrize(
    ("first", "second"), list(itertools.permutations([1, 1.0, True, "1", b"1", 1 + 0j, [1], (1,), {1}], 2))
)
def test_equal_values_of_different_types_have_different_forms(first: Any, second: Any) -> None:
    assert canonical(first) != canonical(second)


def test_the_order_of_a_dict_and_of_a_set_does_not_show() -> None:
    assert canonical({"a": 1, "b": 2}) == canonical({"b": 2, "a": 1})
    assert canonical({3, 1, 2}) == canonical({2, 3, 1})
    assert canonical(OrderedDict(a=1, b=2)) != canonical(OrderedDict(b=2, a=1))


def test_every_nan_is_one() -> None:
    import struct

    odd = struct.unpack(">d", bytes.fromhex("fff8000000000001"))[0]
    assert canonical(math.nan) == canonical(odd)


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=6)
    | st.binary(max_size=6)
    | st.complex_numbers()
    | st.dates()
    | st.timedeltas()
    | st.uuids()
    | st.decimals(allow_nan=False),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3)
    ),
    max_leaves=8,
)


def identity(value: Any) -> Any:
    """What makes a value the value it is, spelled without any of the code under test."""
    if isinstance(value, (list, tuple)):
        return (type(value).__name__, tuple(identity(member) for member in value))
    if isinstance(value, dict):
        return ("dict", frozenset((identity(key), identity(item)) for key, item in value.items()))
    if isinstance(value, complex):
        return ("complex", identity(value.real), identity(value.imag))
    if isinstance(value, float):
        return ("float", "nan" if math.isnan(value) else value.hex())
    return (type(value).__name__, repr(value))


@settings(max_examples=300)
@given(PLAIN, PLAIN)
def test_two_values_share_a_form_exactly_when_they_are_the_same(first: Any, second: Any) -> None:
    assert (identity(first) == identity(second)) == (canonical(first) == canonical(second))


@settings(max_examples=200)
@given(st.lists(PLAIN, max_size=4), st.lists(PLAIN, max_size=4))
def test_forms_one_after_another_cannot_be_cut_differently(first: list[Any], second: list[Any]) -> None:
    """A key joins forms without separators, so no form may be the beginning of another."""
    if identity(first) != identity(second):
        assert b"".join(map(canonical, first)) != b"".join(map(canonical, second))


@given(PLAIN)
def test_a_form_does_not_depend_on_the_run(value: Any) -> None:
    assert canonical(value) == canonical(pickle.loads(pickle.dumps(value)))


@pytest.mark.parametrize(
    ("value", "advice"),
    [
        (object(), "pass plain values, dataclasses"),
        (Path("somewhere"), "a path says nothing about what lies there"),
        (io.BytesIO(b"x"), "an open file has a position"),
        (len, "pass a named function that is itself a box"),
    ],
)
def test_a_value_without_a_form_is_refused_with_advice(value: object, advice: str) -> None:
    with pytest.raises(UnsupportedType, match=advice) as caught:
        canonical([value])
    assert type(value).__name__ in caught.value.message


def test_a_value_that_contains_itself_is_refused() -> None:
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(BadInput, match="contains itself, or is nested too deep"):
        canonical(loop)


def test_a_subclass_of_a_plain_type_is_not_taken_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "FINDERS", [])

    class Celsius(float):
        pass

    with pytest.raises(UnsupportedType, match="Celsius"):
        canonical(Celsius(1.0))


def test_a_finder_gives_a_form_to_a_type_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    class Point:
        x = 3

    def find(value: object) -> keys.Encoder | None:
        if not isinstance(value, Point):
            return None
        return lambda v, out, describe: keys.record_form(Point, [("x", v.x)], out, describe)

    monkeypatch.setattr(keys, "FINDERS", [find])
    assert canonical(Point(), lambda kind: b"one") != canonical(Point(), lambda kind: b"two")
    assert canonical(Point()) == canonical(Point())


# --- digests that are not blobs


def test_every_kind_of_preimage_has_a_tag_of_its_own() -> None:
    tags = {name: value for name, value in vars(keys).items() if name.startswith("TAG_")}
    assert len(tags) == len(set(tags.values()))
    for name, tag in tags.items():
        assert tag.startswith(f"boxwork.{name[4:].lower()}.".encode()), name
        assert tag.endswith(b"\0")


def test_a_fingerprint_does_not_depend_on_the_order_of_its_parts() -> None:
    parts = [("a", b"1" * 32), ("b", b"2" * 32), ("c", b"3" * 32)]
    assert 1 == len({keys.fingerprint_digest(order) for order in itertools.permutations(parts)})
    assert keys.fingerprint_digest(parts) != keys.fingerprint_digest([("a", b"2" * 32), ("b", b"1" * 32), parts[2]])


def test_a_key_depends_on_code_space_and_inputs() -> None:
    space, form = keys.text_form("public"), canonical(1)
    base = keys.derivation_key(bytes(32), space, [form])
    assert 32 == len(base)
    assert base != keys.derivation_key(b"\1" * 32, space, [form])
    assert base != keys.derivation_key(bytes(32), keys.text_form("private"), [form])
    assert base != keys.derivation_key(bytes(32), space, [canonical(2)])


def test_a_subject_is_not_given_away_and_belongs_to_its_space() -> None:
    assert "ada" not in keys.subject_name("clinic", "ada")
    assert keys.subject_name("clinic", "ada") != keys.subject_name("school", "ada")
    assert keys.subject_name("ab", "c") != keys.subject_name("a", "bc")


def test_draws_differ_in_seed_place_and_count() -> None:
    draws = [keys.draw(seed, place, count) for seed in (b"s", b"t") for place in (0, 1) for count in (0, 1)]
    assert 8 == len(set(draws))
    assert keys.draw(b"1", 2, 3) != keys.draw(b"1:2", 2, 3)
