"""What is installed is what is in the repository: types, pages and all."""

from __future__ import annotations

import subprocess
import sys
import zipfile

import pytest

from tests.tidy.source import PACKAGE, ROOT, tracked_files

# Beside Python files, the wheel carries these.
SHIPPED = {".py", ".typed", ".css", ".js", ".html", ".svg", ".md", ".json", ".txt"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Built offline from a copy, so that the build's leavings do not land in the working tree."""
    place = tmp_path_factory.mktemp("wheel")
    source = place / "source"
    for path in tracked_files():
        name = path.relative_to(ROOT)
        if name.parts[0] in {"boxwork", "pyproject.toml", "README.md", "LICENSE"}:
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes(path.read_bytes())
    build = subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--quiet",
            "--no-deps",
            "--no-build-isolation",
            "--no-index",
            "--wheel-dir",
            str(place),
            str(source),
        ],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert build.returncode == 0, build.stderr
    (made,) = place.glob("boxwork-*.whl")
    return zipfile.ZipFile(made)


def test_the_wheel_has_every_file_of_the_package(wheel: zipfile.ZipFile) -> None:
    wanted = {
        p.relative_to(ROOT).as_posix() for p in tracked_files() if p.is_relative_to(PACKAGE) and p.suffix in SHIPPED
    }
    missing = wanted - set(wheel.namelist())
    assert set() == missing, f"name their kind in [tool.setuptools.package-data]: {missing}"
    assert "boxwork/py.typed" in wheel.namelist()


def test_the_wheel_has_nothing_else(wheel: zipfile.ZipFile) -> None:
    others = {name for name in wheel.namelist() if not name.startswith(("boxwork/", "boxwork-"))}
    assert set() == others


def test_the_wheel_says_what_it_is(wheel: zipfile.ZipFile) -> None:
    metadata = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    text = wheel.read(metadata).decode()
    assert "License-Expression: Apache-2.0" in text
    assert "Requires-Python: >=3.11" in text
    entry_points = wheel.read(metadata.replace("METADATA", "entry_points.txt")).decode()
    assert "boxwork = boxwork.cli:main" in entry_points
    assert any(name.endswith("licenses/LICENSE") for name in wheel.namelist())
