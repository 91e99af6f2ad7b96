"""A raw table in, a typed table and a report out; nothing is done that the report does not say."""

from __future__ import annotations

import gzip
from typing import Any

import numpy as np
import pytest

from boxwork import Blob
from boxwork.packs.compare.cleaning import clean
from boxwork.packs.compare.sample import raw_table
from boxwork.packs.compare.table import CleanTable, Column


def cleaned(text: str | bytes, target: str = "y", **rules: Any) -> CleanTable:
    data = text if isinstance(text, bytes) else text.encode()
    return CleanTable.of(clean(Blob.of(data), target, **{"class_rows_min": 2, **rules}))


def table(rows: int, **columns: Any) -> str:
    """A CSV whose columns are functions of the row's number; its target is y."""
    columns.setdefault("y", lambda at: "ab"[at % 2])
    lines = [",".join(columns)] + [",".join(str(of(at)) for of in columns.values()) for at in range(rows)]
    return "\n".join(lines) + "\n"


def column(found: CleanTable, name: str) -> Column:
    return found.column(name)


def went(found: CleanTable) -> dict[str, int]:
    return {step.what: step.rows for step in found.about.report.steps}


def test_rows_in_are_rows_out_and_those_the_report_names() -> None:
    for leak in (True, False):
        report = cleaned(raw_table(1500, 3, leak=leak), "cancelled").about.report
        assert report.rows_in == report.rows_out + sum(step.rows for step in report.steps)
        assert report.rows_out < report.rows_in


def test_empty_rows_repeated_rows_rows_without_a_target_and_ragged_rows_go() -> None:
    text = table(20, n=lambda at: at * at) + "NA, ?\n1,a\n" + "5,\n" + " 1 ,b\n" + "1,a,and,more\n"
    found = cleaned(text, keep=("n",))
    assert {
        "were empty": 1,
        "had no y": 1,
        "repeated an earlier row, cell by cell": 1,
        "had more fields than the header": 1,
    } == {what: rows for what, rows in went(found).items() if rows}
    assert (25, 21) == (found.about.report.rows_in, found.about.report.rows_out)


def test_repeated_rows_stay_where_the_plan_says_so() -> None:
    text = table(40, n=lambda at: at % 4)
    assert 4 == cleaned(text).about.report.rows_out
    assert 40 == cleaned(text, duplicates=False).about.report.rows_out


def test_numbers_are_read_with_units_and_thousands_and_what_is_none_is_missing() -> None:
    spelled = ["1", "2.5", "1,234.5", "$ 12", "40 %", "-3e2", "lots", "1e999", "n/a", " 7 "]
    lines = "\n".join(f'"{value}";{"ab"[at % 2]}' for at, value in enumerate(spelled))
    found = cleaned(f"n;y\n{lines}\n", number_share_min=0.7)
    n = column(found, "n")
    assert ("number", 3) == (n.kind, n.missing)
    assert [1, 2.5, 1234.5, 12, 40, -300, None, None, None, 7] == [
        None if np.isnan(value) else value for value in found.values(n)
    ]
    assert ["2 cells are no numbers and count as missing: '1e999', 'lots'"] == n.notes


def test_spellings_that_differ_in_case_are_one_category_and_the_report_says_so() -> None:
    words = ["web", "web", "WEB", "phone ", "phone", "Web", "web", "app"]
    found = cleaned(table(8, channel=lambda at: words[at]), duplicates=False)
    assert ["app", "phone", "web"] == column(found, "channel").labels
    assert [2, 2, 2, 1, 1, 2, 2, 0] == found.values(column(found, "channel")).tolist()
    assert "'WEB', 'Web' → web" in column(found, "channel").notes[0]


def test_times_are_seconds_in_utc_whatever_zone_they_name() -> None:
    stamps = ["2024-01-01", "2024-01-01T00:00:00Z", "2024-01-01 02:00:00+02:00", "2024-02-30"] * 3
    found = cleaned(table(12, at=lambda at: stamps[at], n=lambda at: at), number_share_min=0.7, keep=("n",))
    at = column(found, "at")
    assert ("time", 3) == (at.kind, at.missing)
    assert {1704067200.0} == set(found.values(at)[~np.isnan(found.values(at))].tolist())


def test_columns_that_say_nothing_go_and_say_why() -> None:
    found = cleaned(
        table(
            200,
            same=lambda at: "x",
            id=lambda at: f"u{at}",
            number=lambda at: at,
            free=lambda at: f"t{at // 3}",
            hardly=lambda at: "1" if at == 7 else "",
            never=lambda at: "",
            n=lambda at: at % 7,
            twin=lambda at: at % 7,
        ),
        categories_max=50,
    )
    assert {
        "same": "the same value in every row",
        "id": "an identifier or free text: nearly every row has its own value",
        "number": "an identifier or free text: nearly every row has its own value",
        "free": "free text: 67 distinct values, more than 50",
        "hardly": "99.5% missing, more than 98%",
        "never": "nothing in it",
        "twin": "the same values as n",
    } == {one.name: one.why for one in found.about.columns if one.action == "dropped"}
    assert ["n"] == [one.name for one in found.features]
    assert ["identifier"] * 2 == [one.mark for one in found.about.columns if one.name in ("id", "number")]


def test_what_is_asked_for_is_done_whatever_a_column_looks_like() -> None:
    text = table(100, id=lambda at: at, zip=lambda at: 1000 + at % 5, n=lambda at: at % 3)
    found = cleaned(text, keep=("id",), drop=("n",), types=(("zip", "category"),))
    assert [("id", "number"), ("zip", "category")] == [(one.name, one.kind) for one in found.features]
    assert ["1000", "1001", "1002", "1003", "1004"] == column(found, "zip").labels
    aside = cleaned(text, aside=("id",)).column("id")
    assert ("aside", True) == (aside.action, aside.member != "")


def test_classes_are_in_their_order_and_small_ones_go() -> None:
    text = table(60, n=lambda at: at % 9, y=lambda at: 10 if at == 5 else [2, 10, 1][at % 3] if at % 3 != 1 else 2)
    found = cleaned(text, class_rows_min=5, duplicates=False)
    assert ["1", "2"] == found.about.classes
    assert 1 == went(found)["were of a class with fewer than 5 rows ('10')"]


def test_gzip_a_byte_order_mark_and_other_separators_are_read() -> None:
    text = table(30, n=lambda at: at % 4)
    plain = cleaned(text, duplicates=False)
    for other in (gzip.compress(text.encode()), b"\xef\xbb\xbf" + text.encode(), text.replace(",", "\t").encode()):
        found = cleaned(other, duplicates=False)
        assert plain.about == found.about
        assert plain.values(plain.column("n")).tolist() == found.values(found.column("n")).tolist()


def test_the_row_numbers_are_those_of_the_raw_table() -> None:
    text = 'n,y\n1,a\n"2\n2",b\n1,a\n3,\n\n4,b,more\n5,b\n6,a,more\n6,a\n'
    found = cleaned(text, keep=("n",))
    assert [1, 2, 7, 9] == found.rows.tolist()
    report = found.about.report
    assert (9, 4, 5) == (report.rows_in, report.rows_out, sum(step.rows for step in report.steps))


@pytest.mark.parametrize(
    ("text", "rules", "said"),
    [
        ("", {}, "the table is empty"),
        (b"PK\x03\x04\0\0", {}, "the table is no text"),
        (b"\x1f\x8bnot gzip", {}, "cannot be unpacked"),
        ("only\n1\n", {}, "1 columns"),
        ("n,n,y\n1,2,a\n", {"target": "z"}, "there is no column 'z'; the table has n, n.1, y"),
        (table(10, n=lambda at: at), {"drop": ("m",)}, "there is no column 'm'; the table has n, y"),
        (table(10, n=lambda at: at), {"types": (("n", "colour"),)}, "number, time or category, not 'colour'"),
        (table(10, n=lambda at: at), {"drop": ("n",)}, "no column is left"),
        (table(10, n=lambda at: at % 2, y=lambda at: "a"), {}, "y has 1 classes left"),
        (table(300, n=lambda at: at % 2, y=lambda at: at // 2), {"duplicates": False}, "that is a quantity"),
    ],
)
def test_a_table_that_cannot_be_used_is_told_why(text: str | bytes, rules: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        cleaned(text, **rules)


def test_the_same_table_makes_the_same_bytes() -> None:
    data = Blob.of(raw_table(1000, 5))
    assert clean(data, "cancelled") == clean(data, "cancelled")
