"""Packs: how they are named and where they are found."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from starlette.routing import Route

import boxwork
from boxwork.box import derivation
from boxwork.errors import BadInput, NotFound
from boxwork.pack import ENTRY_POINTS, Pack, Page, find_packs
from boxwork.serve import commits, derivations, openapi
from boxwork.settings import Setting
from boxwork.transactions import transaction


@derivation
def shout(text: bytes) -> bytes:
    return text.upper()


LOUD = Pack("loud", "makes bytes louder", boxes=(shout,), pages=(Page("Loud", "/loud"),))


@pytest.fixture
def nobody_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No packs but those that a test writes into the folder."""
    import boxwork.packs

    monkeypatch.setattr(boxwork.packs, "__path__", [str(tmp_path)])
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [])
    return tmp_path


@pytest.mark.parametrize("name", ["", "Loud", "very-loud", "1st", "a b", "../x"])
def test_a_pack_has_a_name_that_can_stand_in_a_url_and_in_code(name: str) -> None:
    with pytest.raises(BadInput, match="a pack's name is a lower-case identifier"):
        Pack(name, "summary")


def test_the_settings_of_a_pack_begin_with_its_name() -> None:
    with pytest.raises(BadInput, match="pack loud: the setting 'quiet.times' must begin with 'loud.'"):
        Pack("loud", "summary", settings=(Setting("quiet.times", 1, "times", "why"),))


def test_a_pack_is_a_frozen_value() -> None:
    with pytest.raises(AttributeError):
        LOUD.name = "other"  # type: ignore[misc]


@pytest.mark.usefixtures("nobody_else")
def test_a_pack_that_is_given_is_found() -> None:
    assert (LOUD,) == find_packs([LOUD])


@pytest.mark.usefixtures("nobody_else")
def test_a_pack_is_given_by_the_name_of_its_module(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("somewhere_loud")
    module.PACK = LOUD  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "somewhere_loud", module)
    assert (LOUD,) == find_packs(["somewhere_loud"])


def test_a_folder_of_packs_is_scanned_in_the_order_of_names(nobody_else: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("zebra", "ant"):
        folder = nobody_else / name
        folder.mkdir()
        (folder / "__init__.py").write_text(f"from boxwork import Pack\nPACK = Pack({name!r}, 'an animal')\n")
    try:
        assert ["ant", "zebra"] == [pack.name for pack in find_packs()]
    finally:
        for name in ("zebra", "ant"):
            sys.modules.pop(f"boxwork.packs.{name}", None)


def test_packs_of_others_come_by_entry_points(nobody_else: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def entry_points(group: str) -> list[Any]:
        asked.append(group)
        return [
            SimpleNamespace(name="b", load=lambda: Pack("b", "theirs")),
            SimpleNamespace(name="a", load=lambda: LOUD),
        ]

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)
    assert ["loud", "b"] == [pack.name for pack in find_packs()]
    assert [ENTRY_POINTS] == asked


def test_the_first_of_a_name_wins(nobody_else: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = Pack("loud", "mine")
    monkeypatch.setattr(
        importlib.metadata, "entry_points", lambda group: [SimpleNamespace(name="loud", load=lambda: LOUD)]
    )
    assert (mine,) == find_packs([mine])


def test_an_entry_point_that_is_no_pack_is_refused_by_name(nobody_else: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [SimpleNamespace(name="odd", load=lambda: 7)])
    with pytest.raises(BadInput, match=r"the entry point 'odd' of boxwork\.packs is 7, not a Pack"):
        find_packs()


def test_a_folder_without_a_pack_is_refused_with_what_to_write(nobody_else: Path) -> None:
    (nobody_else / "empty.py").write_text("")
    try:
        with pytest.raises(BadInput, match=r"boxwork\.packs\.empty has no PACK: write `PACK = Pack\('empty', "):
            find_packs()
    finally:
        sys.modules.pop("boxwork.packs.empty", None)


def test_what_only_a_pack_commits_is_known_to_the_log_and_offered_to_nobody(tmp_path: Path) -> None:
    @transaction(name="wallet.settle")
    def settle(tx: Any, cents: int) -> int:
        tx.add(("cents",), cents)
        return cents

    @derivation(name="coin")
    def coin(cents: int) -> bytes:
        return bytes(cents)

    pack = Pack("wallet", "Money.", inner=(settle, coin))
    with boxwork.open(tmp_path / "data", packs=[pack]) as work:
        assert "wallet.settle" in work.transactions
        assert "wallet.settle" not in work.offered_transactions
        assert "coin" in work.boxes
        assert "coin" not in work.offered_boxes
        assert 5 == work.commit("wallet.settle", cents=5)
        assert bytes(5) == work.get(work.derive("coin", cents=5))
        offered = [
            Route("/commit/{transaction}", commits.commit, methods=["POST"]),
            Route("/derive/{box}", derivations.derive, methods=["POST"]),
        ]
        paths = openapi.document(work, offered)["paths"]
        assert "/derive/thumbnail" in paths
        assert "/derive/coin" not in paths
        assert "/commit/like_photo" in paths
        assert "/commit/wallet.settle" not in paths
        app = SimpleNamespace(state=SimpleNamespace(work=work))
        request: Any = SimpleNamespace(app=app, path_params={"transaction": "wallet.settle"})
        with pytest.raises(NotFound, match="like_photo"):
            commits.transaction_of(request)
