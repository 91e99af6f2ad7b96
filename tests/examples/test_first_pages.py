"""What a newcomer copies from the first pages and from examples/ runs as it stands, twice."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = ["README.md", "docs/index.md"]
EXAMPLES = sorted(path.name for path in (ROOT / "examples").glob("*.py"))


def blocks(page: str) -> list[str]:
    """The Python blocks of a page that are programs, not fragments: they import what they use."""
    text = (ROOT / page).read_text("utf-8")
    found = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    return [block for block in found if re.search(r"^(import|from) boxwork", block, re.MULTILINE)]


def run(script: Path, folder: Path) -> None:
    # A newcomer runs it again at once, and the second run finds what the first one left.
    for _ in range(2):
        answer = subprocess.run(
            [sys.executable, "-W", "error", str(script)],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert answer.returncode == 0, answer.stderr


@pytest.mark.parametrize("page", PAGES)
def test_the_programs_on_the_first_pages_run(page: str, tmp_path: Path) -> None:
    for number, block in enumerate(blocks(page)):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "program.py").write_text(block, "utf-8")
        run(folder / "program.py", folder)


def test_there_is_a_program_on_the_first_page_of_the_site() -> None:
    assert blocks("docs/index.md")


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_example_runs(name: str, tmp_path: Path) -> None:
    run(ROOT / "examples" / name, tmp_path)
