from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

SOURCE = '''
from boxwork import derivation

@derivation
def shout(text: str, times: int = 1) -> str:
    """Says it louder."""
    return text.upper() * times

@derivation
def size(data: bytes) -> int:
    return len(data)
'''


@pytest.fixture(autouse=True)
def own_boxes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_own_boxes.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "my_own_boxes", raising=False)


def test_a_box_of_ones_own_is_derived_then_remembered_and_explained(boxwork: Any, tmp_path: Path) -> None:
    first, again, other = (
        boxwork.json("derive", "my_own_boxes:shout", "text=hi", f"times={times}")[0] for times in (3, 3, 4)
    )
    assert (False, True, False) == (first["remembered"], again["remembered"], other["remembered"])
    assert first["ref"] == again["ref"]
    assert "times 3 → 4" in str(other["miss"])
    why = boxwork.json("why", str(other["ref"]))[0]
    assert {"text": "'hi'", "times": "4"} == why["inputs"]
    assert "times = 4" in boxwork("why", str(other["ref"]))
    boxwork("get", str(first["ref"]), "--to", str(tmp_path / "out"))
    assert "HIHIHI" == (tmp_path / "out").read_text()


def test_bytes_come_from_a_file_and_refs_stand_for_them(boxwork: Any, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"12345")
    ref = boxwork("put", str(tmp_path / "data")).strip()
    by_path = boxwork.json("derive", "my_own_boxes:size", f"data=@{tmp_path / 'data'}")[0]
    by_ref = boxwork.json("derive", "my_own_boxes:size", f"data={ref}")[0]
    assert (by_path["ref"], True) == (by_ref["ref"], by_ref["remembered"])


def test_audit_finds_nothing_in_a_pure_box(boxwork: Any) -> None:
    boxwork("derive", "my_own_boxes:shout", "text=hi")
    answer = boxwork.json("audit", "my_own_boxes:shout", "--share", "1")[0]
    assert ({"shout": 1}, []) == (answer["compared"], answer["not_deterministic"])


def test_unknown_boxes_and_inputs_are_explained(boxwork: Any) -> None:
    assert "thumbnail" in boxwork("derive", "nothing", code=1)
    assert "module:function" in boxwork("derive", "my_own_boxes:nothing", code=1)
    assert "name=value" in boxwork("derive", "my_own_boxes:shout", "hi", code=1)
    assert "cannot be read" in boxwork("derive", "my_own_boxes:size", "data=@nowhere", code=1)


def test_boxes_packs_and_settings_are_listed(boxwork: Any) -> None:
    assert "thumbnail" in {row["box"] for row in boxwork.json("boxes")}
    assert "thumbs" in {row["pack"] for row in boxwork.json("packs")}
    rows = boxwork.json("--set", "log.level=debug", "settings", "log.")
    assert ("debug", "flag") == next((row["value"], row["from"]) for row in rows if row["setting"] == "log.level")


def test_bench_measures_beside_the_plain_way_and_leaves_nothing_behind(boxwork: Any, tmp_path: Path) -> None:
    before = sorted(path.name for path in tmp_path.iterdir())
    rows = boxwork.json("bench")
    assert {"put 4 KiB, on disk", "derive, remembered"} < {row["what"] for row in rows}
    assert all(row["boxwork"] and row["plain"] for row in rows)
    assert before == sorted(path.name for path in tmp_path.iterdir())
