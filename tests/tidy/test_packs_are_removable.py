"""A pack is one folder: adding or deleting it touches nothing else."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tidy.source import PACKAGE

PACKS = sorted(
    path.name
    for path in (PACKAGE / "packs").iterdir()
    if not path.name.startswith("_") and ((path / "__init__.py").exists() or path.suffix == ".py")
)

NEW_PACK = '''
"""A pack that was not there before."""

from boxwork import Pack, Setting, derivation


@derivation
def shout(text: bytes) -> bytes:
    return text.upper()


PACK = Pack("shouting", "makes bytes louder", boxes=(shout,), settings=(Setting("shouting.times", 1, "times", "why"),))
'''

ASK = """
import json, sys
from boxwork.pack import find_packs
import boxwork.app.node, boxwork.cli.program
assert boxwork.__file__.startswith(sys.argv[1]), boxwork.__file__
settings = [s.name for s in boxwork.app.node.all_settings(find_packs())]
print(json.dumps({"packs": [p.name for p in find_packs()], "settings": settings}))
"""


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """The package alone, in a place of its own."""
    shutil.copytree(PACKAGE, tmp_path / "boxwork", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def ask(house: Path) -> dict[str, list[str]]:
    answer = subprocess.run(
        [sys.executable, "-W", "error", "-c", ASK, str(house)],
        cwd=house,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    told: dict[str, list[str]] = json.loads(answer.stdout)
    return told


def test_a_new_folder_is_a_new_pack(house: Path) -> None:
    before = ask(house)
    folder = house / "boxwork" / "packs" / "shouting"
    folder.mkdir()
    (folder / "__init__.py").write_text(NEW_PACK)
    after = ask(house)
    assert sorted([*before["packs"], "shouting"]) == sorted(after["packs"])
    assert {*before["settings"], "shouting.times"} == set(after["settings"])


@pytest.mark.parametrize("pack", [*PACKS, "all of them"])
def test_deleting_a_pack_leaves_everything_else_as_it_was(house: Path, pack: str) -> None:
    before = ask(house)
    gone = PACKS if pack == "all of them" else [pack.removesuffix(".py")]
    for name in gone:
        folder = house / "boxwork" / "packs" / name
        shutil.rmtree(folder) if folder.is_dir() else folder.with_suffix(".py").unlink()
    after = ask(house)
    assert [name for name in before["packs"] if name not in gone] == after["packs"]


def test_nobody_else_names_a_pack() -> None:
    """Outside its own folder a pack is named in documents and tests only, so nothing dangles when it is gone."""
    slips = []
    for path in PACKAGE.rglob("*.py"):
        if "packs" in path.relative_to(PACKAGE).parts:
            continue
        text = path.read_text("utf-8")
        slips += [
            f"{path.relative_to(PACKAGE)} names boxwork.packs.{pack}" for pack in PACKS if f"packs.{pack}" in text
        ]
    assert [] == slips
