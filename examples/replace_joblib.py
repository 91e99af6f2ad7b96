"""Replace `joblib.Memory`: the same two lines, and helpers, constants and files count too.

    before:  memory = Memory("cache"); slow = memory.cache(slow); slow(3)
    after:   work = boxwork.open("data"); work.call(slow, n=3)

Run it twice: the second run computes nothing.  Change RATE, or `grow`, and only then it computes again.
"""

from __future__ import annotations

import time

import boxwork
from boxwork import derivation

RATE = 1.07


def grow(value: float) -> float:
    return value * RATE


@derivation
def balance(years: int, start: float = 100.0) -> float:
    value = start
    for _ in range(years):
        value = grow(value)
    return value


def main(directory: str = "data") -> None:
    with boxwork.open(directory) as work:
        begin = time.perf_counter()
        for years in range(5):
            print(years, round(work.call(balance, years=years), 2))
        print(f"{(time.perf_counter() - begin) * 1e3:.2f} ms")


if __name__ == "__main__":
    main()
