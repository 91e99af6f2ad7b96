"""Rows are checked before anything of them is served, and every mistake is found again by row and column."""

from __future__ import annotations

from typing import Any

import pytest

from boxwork.packs.fleet.protocol import Hooks
from boxwork.packs.fleet.release import Column, Kind, Manifest, json_schema
from boxwork.packs.fleet.table import BadTable, Raw, Table, check

COLUMNS = {
    "workers": Column("integer", min=1, max=64),
    "ratio": Column("number", min=0, max=1, default=0.5),
    "proxy": Column("flag", default=False),
    "color": Column("choice", choices=("red", "blue"), default="red"),
    "name": Column("text", required=False, pattern="^[a-z]+$", length_max=5),
    "password": Column("secret", required=False),
}
TREE: Any = None
KINDS = {"": Kind("", Manifest(COLUMNS, (), Hooks()), TREE)}


def rows(*values: dict[str, Any]) -> list[Raw]:
    return [
        Raw(f"line {number}", {"host": f"web{number}", "workers": "4", **one}) for number, one in enumerate(values, 2)
    ]


def test_texts_of_a_sheet_and_types_of_a_database_are_one_table() -> None:
    sheet = check(rows({"ratio": "0.25", "proxy": "yes", "color": "blue", "name": ""}), KINDS)
    database = check(rows({"workers": 4, "ratio": 0.25, "proxy": True, "color": "blue", "name": None}), KINDS)
    assert sheet.ref == database.ref
    assert {"workers": 4, "ratio": 0.25, "proxy": True, "color": "blue"} == sheet.rows["web2"]


def test_the_order_of_rows_and_columns_changes_nothing() -> None:
    there = check(rows({}, {"color": "blue"}), KINDS)
    back = check(list(reversed(rows({}, {"color": "blue"}))), KINDS)
    assert there.ref == back.ref
    assert there == Table.from_bytes(there.to_bytes())


@pytest.mark.parametrize(
    ("row", "column", "word"),
    [
        ({"workers": "many"}, "workers", "a whole number from 1 to 64"),
        ({"workers": "0"}, "workers", "from 1 to 64"),
        ({"workers": "65"}, "workers", "from 1 to 64"),
        ({"workers": "4.5"}, "workers", "a whole number"),
        ({"workers": ""}, "workers", "is empty"),
        ({"ratio": "nan"}, "ratio", "a number from 0 to 1"),
        ({"ratio": "inf"}, "ratio", "a number from 0 to 1"),
        ({"proxy": "perhaps"}, "proxy", "yes or no"),
        ({"color": "green"}, "color", "one of red, blue"),
        ({"name": "UPPER"}, "name", "^[a-z]+$"),
        ({"name": "toolong"}, "name", "at most 5"),
        ({"password": "hunter2"}, "password", "a reference secret:NAME"),
        ({"password": "secret:../../etc/shadow"}, "password", "a reference secret:NAME"),
        ({"colour": "red"}, "colour", "no such column"),
        ({"host": "../etc"}, "host", "is no host name"),
        ({"host": "Web1"}, "host", "is no host name"),
        ({"host": ""}, "host", "is empty"),
        ({"host": "web2"}, "host", "stands twice, also in line 2"),
    ],
)
def test_a_mistake_is_told_with_its_row_its_column_and_what_is_wanted(
    row: dict[str, str], column: str, word: str
) -> None:
    with pytest.raises(BadTable) as told:
        check(rows({}, row), KINDS)
    (mistake,) = told.value.details["mistakes"]
    assert ("line 3", column) == (mistake["where"], mistake["column"])
    assert word in told.value.message
    assert f"column {column}" in told.value.message


def test_a_secret_that_was_pasted_into_the_sheet_is_told_without_itself() -> None:
    with pytest.raises(BadTable) as told:
        check(rows({"password": "hunter2"}), KINDS)
    assert "hunter2" not in str(told.value.as_json())


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(BadTable) as told:
        check(rows(*[{"workers": "x"}] * 30), KINDS)
    assert 30 == len(told.value.details["mistakes"])
    assert "and 10 more" in told.value.message


def test_a_row_chooses_its_kind_where_the_release_has_several() -> None:
    kinds = {"web": KINDS[""], "db": Kind("db", Manifest({"disks": Column("integer")}), TREE)}
    raw = [Raw("a", {"host": "w", "kind": "web", "workers": "1"}), Raw("b", {"host": "d", "kind": "db", "disks": "2"})]
    assert {"kind": "db", "disks": 2} == check(raw, kinds).rows["d"]
    with pytest.raises(BadTable, match="'mail' is none of db, web"):
        check([Raw("c", {"host": "m", "kind": "mail"})], kinds)


def test_the_schema_of_a_row_can_be_had_as_json_schema() -> None:
    schema = json_schema(KINDS[""])
    fields = schema["$defs"]["row"]["properties"]
    assert (1, 64) == (fields["workers"]["minimum"], fields["workers"]["maximum"])
    assert ["host", "workers"] == schema["$defs"]["row"]["required"]
