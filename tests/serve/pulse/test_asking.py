from __future__ import annotations

import pytest
from starlette.datastructures import QueryParams

from boxwork.clock import SECOND_NS
from boxwork.errors import BadInput
from boxwork.serve.pulse import asking

NOW = 1_700_000_000 * SECOND_NS


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now", NOW), ("-15m", NOW - 900 * SECOND_NS), ("-1.5h", NOW - 5400 * SECOND_NS),
        ("1699999000.5", 1_699_999_000_500_000_000), ("1699999000000000123", 1_699_999_000_000_000_123),
    ],
)  # fmt: skip
def test_a_time_is_seconds_or_nanoseconds_or_an_age(text: str, expected: int) -> None:
    assert expected == asking.time_ns(text, NOW)


@pytest.mark.parametrize("text", ["", "soon", "-", "-5y", "1e400", "nan", "-400d", "9" * 40])
def test_what_is_no_time_is_said_so(text: str) -> None:
    with pytest.raises(BadInput):
        asking.time_ns(text, NOW)


def test_a_range_is_live_unless_it_ends_somewhere() -> None:
    assert asking.Range(NOW - 60 * SECOND_NS, NOW, True) == asking.range_of(QueryParams(last="60s"), NOW)
    assert asking.Range(NOW - 3600 * SECOND_NS, NOW, True) == asking.range_of(QueryParams(), NOW)
    assert asking.Range(NOW - 120 * SECOND_NS, NOW - 60 * SECOND_NS, False) == asking.range_of(
        QueryParams({"from": "-2m", "to": "-1m"}), NOW
    )
    for backwards in ({"from": "-1m", "to": "-2m"}, {"from": "0"}):
        with pytest.raises(BadInput):
            asking.range_of(QueryParams(backwards), NOW)


def test_counts_and_numbers_have_limits() -> None:
    assert 900 == asking.count_of(QueryParams(), "columns", 900, 1440)
    for wrong in ("0", "1441", "x", "nan", "inf"):
        with pytest.raises(BadInput):
            asking.count_of(QueryParams(columns=wrong), "columns", 900, 1440)
