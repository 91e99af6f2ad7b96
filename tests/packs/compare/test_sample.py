"""The made-up table is the same for the same seed, and wrong in all the ways it says."""

from __future__ import annotations

import csv
import io
from collections import Counter

from boxwork.packs.compare.sample import BLANKS, COLUMNS, raw_table


def test_the_seed_decides_every_byte() -> None:
    assert raw_table(1000, 3) == raw_table(1000, 3)
    assert raw_table(1000, 3) != raw_table(1000, 4)


def test_it_is_as_messy_as_it_says() -> None:
    head, *rows = csv.reader(io.StringIO(raw_table(3000, 1).decode()))
    assert list(COLUMNS) == head
    assert 3000 < len(rows) < 3100
    assert Counter(map(tuple, rows)).most_common(1)[0][1] == 2
    assert any(len(row) > len(head) for row in rows)
    cells = {name: [row[at] for row in rows] for at, name in enumerate(head)}
    assert set(BLANKS) <= set(cells["rating"])
    assert {"web", "WEB", "web "} <= set(cells["channel"])
    assert {"EUR"} == set(cells["currency"])
    assert "on request" in cells["price"]
    assert any(value.startswith("$") for value in cells["price"])
    paid = [end.strip() for refund, end in zip(cells["refund"], cells["cancelled"], strict=True) if refund]
    assert {"yes"} == set(paid) - set(BLANKS) - {""} - {"NA"}


def test_without_the_leak_the_other_columns_are_there() -> None:
    head = raw_table(1000, leak=False).decode().partition("\n")[0].split(",")
    assert [name for name in COLUMNS if name != "refund"] == head
