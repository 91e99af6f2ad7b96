"""The site builds without a warning, has every page, and fetches nothing from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tidy.source import ROOT

pytestmark = pytest.mark.servers  # it needs the packages of the layer `docs`


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("site")
    build = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(place)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert build.returncode == 0, build.stdout + build.stderr
    return place


def test_every_page_is_built(site: Path) -> None:
    pages = [path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")]
    assert [] == [str(page) for page in pages if not (site / page).exists()]
    assert all((site / name).exists() for name in ("architecture.html", "contributing.html", "changelog.html"))


def test_a_browser_fetches_nothing_from_elsewhere(site: Path) -> None:
    remote = re.compile(
        r"""<(?:script|img|iframe|source)[^>]+src=["']?https?:|<link[^>]+href=["']?https?:|url\(["']?https?:|@import\s*["']https?:"""
    )
    slips = [
        f"{path.relative_to(site)}: {found[0]}"
        for path in site.rglob("*")
        if path.suffix in {".html", ".css"} and (found := remote.search(path.read_text("utf-8")))
    ]
    assert [] == slips
