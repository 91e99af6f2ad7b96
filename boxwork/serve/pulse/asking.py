"""What a request asks for: a series or a pattern, and a range of time.

A time is unix seconds (`1789000000.5`), nanoseconds (from 10**15 on), `now`, or an age: `-15m`, `-24h`.
A length is `90s`, `15m`, `24h`, `7d`, or plain seconds.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from starlette.datastructures import QueryParams

from boxwork.clock import SECOND_NS
from boxwork.errors import BadInput

_LENGTH = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(ms|s|m|h|d)?")
_UNITS = {"ms": 0.001, None: 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
# Seconds reach 10**15 in some 30 million years; nanoseconds passed it eleven days after the epoch.
_NANOSECONDS_FROM = 10**15
# A year of hours is 8,760 intervals of each series: no page asks for more at once.  Unit: nanoseconds.
RANGE_MAX_NS = 366 * 86400 * SECOND_NS
SERIES_LENGTH_MAX = 1000
DEFAULT_LAST_NS = 3600 * SECOND_NS


@dataclass(frozen=True, slots=True)
class Range:
    """[start, end) in wall nanoseconds; `live` when it ends now."""

    start_ns: int
    end_ns: int
    live: bool

    @property
    def length_ns(self) -> int:
        return self.end_ns - self.start_ns


def length_ns(text: str) -> int:
    found = _LENGTH.fullmatch(text)
    length = round(float(found[1]) * _UNITS[found[2]] * SECOND_NS) if found else 0
    if not 0 < length <= RANGE_MAX_NS:
        raise BadInput(f"{text[:40]!r} is not a length of time up to 366d: write 90s, 15m, 24h or 7d")
    return length


def time_ns(text: str, now_ns: int) -> int:
    if text == "now":
        return now_ns
    if text.startswith("-"):
        return now_ns - length_ns(text[1:])
    try:
        number = int(text) if text.isascii() and text.isdigit() else float(text)
        if math.isfinite(number) and 0 <= number < 2**63:
            return int(number) if number >= _NANOSECONDS_FROM else round(number * SECOND_NS)
    except (ValueError, OverflowError):
        pass
    raise BadInput(f"{text[:40]!r} is not a time: write unix seconds, nanoseconds, `now`, or an age as `-15m`")


def range_of(query: QueryParams, now_ns: int) -> Range:
    """`from` and `to`, or `last`; the last hour without any."""
    if "from" not in query:
        end = time_ns(query.get("to", "now"), now_ns)
        length = length_ns(query["last"]) if "last" in query else DEFAULT_LAST_NS
        return Range(end - length, end, "to" not in query)
    start, end = time_ns(query["from"], now_ns), time_ns(query.get("to", "now"), now_ns)
    if not start < end <= start + RANGE_MAX_NS:
        raise BadInput(
            f"from={query['from'][:40]} to={query.get('to', 'now')[:40]}: a range ends after it begins, "
            "and has at most 366 days"
        )
    return Range(start, end, "to" not in query)


def series_of(query: QueryParams) -> str:
    series = query.get("series", "")
    if not series or len(series) > SERIES_LENGTH_MAX or any(sign < " " or sign == "\x7f" for sign in series):
        raise BadInput(
            "the parameter `series` names a series or a pattern, for example `http{route=*}`; /pulse/series lists them"
        )
    return series


def number_of(query: QueryParams, name: str, otherwise: float) -> float:
    text = query.get(name, "")
    try:
        number = float(text) if text else otherwise
    except ValueError:
        number = math.nan
    if math.isnan(number):
        raise BadInput(f"{name}={text[:40]!r} is not a number")
    return number


def count_of(query: QueryParams, name: str, otherwise: int, most: int) -> int:
    number = number_of(query, name, otherwise)
    if not 1 <= number <= most:
        raise BadInput(f"{name}={query.get(name, '')[:40]!r} lies outside 1 … {most}")
    return int(number)
