from __future__ import annotations

import pytest

from boxwork.serve.ranges import Span, Unsatisfiable, parse_etags, parse_range


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-0", Span(0, 1)),
        ("bytes=90-", Span(90, 100)),
        ("bytes=90-999", Span(90, 100)),
        ("bytes=-10", Span(90, 100)),
        ("bytes=-1000", Span(0, 100)),
        ("bytes=0-4,5-9", Span(0, 10)),
        ("bytes=5-9, 0-6", Span(0, 10)),
        ("bytes=0-4,200-300", Span(0, 5)),
    ],
)
def test_one_span_is_cut(header: str, expected: Span) -> None:
    assert expected == parse_range(header, 100)


@pytest.mark.parametrize(
    "header",
    ["", "bytes", "bytes=", "bytes=-", "bytes=a-b", "bytes=9-5", "lines=1-2", "bytes=0-1,50-51", "bytes=²-",
     "bytes=" + "9" * 40 + "-", "bytes=" + ",".join(f"{i}-{i}" for i in range(40)), "bytes=0--1"],
)  # fmt: skip
def test_what_is_malformed_or_scattered_is_answered_whole(header: str) -> None:
    assert parse_range(header, 100) is None


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=100-200", "bytes=-0"])
def test_what_does_not_exist_is_not_satisfiable(header: str) -> None:
    with pytest.raises(Unsatisfiable):
        parse_range(header, 100)


def test_etags_compare_weakly_and_star_is_any() -> None:
    assert frozenset({"a", "b"}) == parse_etags('W/"a", "b"')
    assert parse_etags(" * ") is None
