"""The order of keys."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boxwork.errors import BadInput, UnsupportedType
from boxwork.state.order import KEY_BYTES_MAX, SortedKeys, bounds, check_key, check_keys, encode_key

part = st.text(st.characters(exclude_categories=["Cs"]), max_size=5) | st.integers() | st.binary(max_size=5)
keys = st.lists(part, min_size=1, max_size=4).map(tuple)


def rank(key: tuple[Any, ...]) -> list[tuple[int, Any]]:
    """The order as the docstring says it: bytes, then ints, then texts; a prefix first."""
    return [({bytes: 0, int: 1, str: 2}[type(p)], p) for p in key]


@given(keys, keys)
def test_bytes_are_in_the_order_of_the_keys(one: Any, other: Any) -> None:
    assert (rank(one) < rank(other)) == (encode_key(one) < encode_key(other))


@given(keys, keys)
def test_a_prefix_of_a_key_is_a_prefix_of_its_bytes(one: Any, more: Any) -> None:
    low, high = bounds(one, None, None)
    assert encode_key(one + more).startswith(encode_key(one))
    assert low <= encode_key(one + more) < high


@given(st.lists(keys, max_size=60), st.lists(keys, max_size=20))
def test_sorted_keys_are_sorted_whatever_comes_and_goes(added: Any, gone: Any) -> None:
    kept = SortedKeys(added[:10])
    for key in added[10:]:
        kept.add(key)
    for key in gone:
        kept.discard(key)
    expected = sorted(set(map(encode_key, added)) - set(map(encode_key, gone)))
    assert expected == [form for form, _ in kept.between(b"", b"\xff")]
    assert len(expected) == len(kept)


def test_runs_are_split_and_still_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SortedKeys, "RUN_MAX", 4)
    kept = SortedKeys()
    for number in [5, 3, 9, 1, 7, 2, 8, 4, 6, 0] * 2:
        kept.add(("n", number))
    assert list(range(10)) == [key[1] for _, key in kept.between(*bounds(("n",), None, None))]
    for number in range(0, 10, 2):
        kept.discard(("n", number))
    assert [3, 5, 7] == [key[1] for _, key in kept.between(*bounds(("n",), ("n", 2), ("n", 9)))]


@pytest.mark.parametrize("key", ["likes", ("a", 1.5), ("a", True), (), ("a", None), ["a"], ("a", ("b",))])
def test_what_is_no_key_is_refused(key: Any) -> None:
    with pytest.raises(UnsupportedType, match="is not a key"):
        check_key(key)


def test_a_key_has_a_bearable_size() -> None:
    check_key(("a" * (KEY_BYTES_MAX - 10),))
    with pytest.raises(BadInput, match="move the long part into the value"):
        check_key(("a" * (KEY_BYTES_MAX + 1),))
    with pytest.raises(UnsupportedType, match="beyond 64 bits"):
        check_key(("a", 2**63))


@pytest.mark.parametrize(
    "bad",
    [
        ("t", 2**63), ("t", -(2**63) - 1), ("t", True), ("t", 1.0), ("t", None), ("t", "x" * 2000), ("t", b"x" * 2000),
        ("t", "a\ud800"), ("t", ("u",)), (), "t", ("t", *["x" * 90] * 20),
    ],
    ids=lambda key: repr(key)[:30],
)  # fmt: skip
def test_of_many_keys_none_is_let_through_that_is_none_by_itself(bad: Any) -> None:
    good = [("t", number, "x" * 96, b"x") for number in (1, -(2**63), 2**63 - 1)] + [("tö", "x" * 500, b"\xff")]
    check_keys(good)
    with pytest.raises(BadInput):
        check_key(bad)
    with pytest.raises(BadInput):
        check_keys([*good[:3], bad])
    with pytest.raises(BadInput):
        check_keys([*good, bad])
