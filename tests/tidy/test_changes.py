"""Change fragments have a known kind and become a section of the changelog."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from tests.tidy.source import ROOT


@pytest.fixture
def gather() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gather_changes", ROOT / "changes" / "gather.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_fragment_of_this_repository_can_be_gathered(gather: ModuleType) -> None:
    gather.gathered(gather.fragments())


def test_fragments_come_by_kind_and_name(gather: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "b.fix.md").write_text("Two\nlines.\n")
    (tmp_path / "a.fix.md").write_text("One.")
    (tmp_path / "c.safety.md").write_text("Careful.")
    (tmp_path / "README.md").write_text("not one")
    expected = "### Safety\n\n- Careful.\n\n### Fixes\n\n- One.\n- Two\n  lines.\n"
    assert expected == gather.gathered(gather.fragments(tmp_path))


@pytest.mark.parametrize("name", ["a.md", "a.surprise.md", "a.b.fix.md"])
def test_a_fragment_of_no_known_kind_is_refused(gather: ModuleType, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("x")
    with pytest.raises(SystemExit, match="safety, feature, speed, fix"):
        gather.fragments(tmp_path)
