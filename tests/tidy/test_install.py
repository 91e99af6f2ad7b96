"""The installer says what is missing, and does nothing when nothing is to be done."""

from __future__ import annotations

import importlib.util
import resource
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.tidy.source import ROOT


@pytest.fixture
def installer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """requirements/install.py, at work in a folder of its own, with a pip that only tells what it was asked."""
    spec = importlib.util.spec_from_file_location("install_layers", ROOT / "requirements" / "install.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements" / "run.lock").write_text("lmdb==3.0.0\n")
    (tmp_path / "requirements" / "test.lock").write_text("pytest==9.2.0\n")
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    venv = tmp_path / ".venv"
    values = {"ROOT": tmp_path, "LOCKS": tmp_path / "requirements", "VENV": venv, "INSTALLED": venv / "installed"}
    for name, value in values.items():
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(module, "PYTHON", venv / "bin" / "python")
    module.asked = []

    def make_environment() -> None:
        (venv / "bin").mkdir(parents=True, exist_ok=True)
        interpreter = Path(sys.executable).resolve()
        (venv / "lib" / interpreter.name).mkdir(parents=True, exist_ok=True)
        if not module.PYTHON.exists():
            module.PYTHON.symlink_to(interpreter)
        (venv / "bin" / "boxwork").touch()
        module.asked.append("environment")

    def install(title: str, arguments: list[str], total: int) -> None:
        module.asked.append(Path(arguments[-1]).stem if "-r" in arguments else "project")

    monkeypatch.setattr(module, "make_environment", make_environment)
    monkeypatch.setattr(module, "install", install)
    return module


def test_what_is_installed_is_not_installed_again(installer: ModuleType) -> None:
    installer.main(["run"])
    assert ["environment", "run", "project"] == installer.asked
    installer.main(["run"])
    assert ["environment", "run", "project"] == installer.asked


def test_a_further_layer_is_added_to_those_that_are_there(installer: ModuleType) -> None:
    installer.main(["run"])
    installer.main(["run", "test"])
    assert ["environment", "run", "project", "test"] == installer.asked


def test_a_changed_lock_is_installed(installer: ModuleType) -> None:
    installer.main(["run"])
    (installer.LOCKS / "run.lock").write_text("lmdb==3.0.1\n")
    installer.main(["run"])
    assert ["environment", "run", "project", "run"] == installer.asked


@pytest.mark.parametrize("harm", ["moved", "upgraded", "removed"])
def test_an_environment_that_cannot_work_is_made_anew(installer: ModuleType, harm: str) -> None:
    installer.main(["run"])
    if harm == "moved":
        (installer.INSTALLED / "place").write_text("/somewhere/else/.venv")
    elif harm == "upgraded":
        (installer.VENV / "lib" / installer.PYTHON.resolve().name).rename(installer.VENV / "lib" / "python3.1")
    else:
        installer.PYTHON.unlink()
    installer.main(["run"])
    assert "environment" == installer.asked[3]


def test_an_environment_of_somebody_elses_making_is_taken_over(installer: ModuleType) -> None:
    installer.make_environment()
    installer.main(["run"])
    assert ["environment", "run", "project"] == installer.asked


def test_a_layer_that_does_not_exist_is_refused_with_those_that_do(
    installer: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        installer.main(["rum"])
    assert "error: there is no layer 'rum'; there are: run, test\n" == capsys.readouterr().err


def test_an_old_python_is_told_which_package_has_a_newer_one(
    installer: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(installer, "PYTHON_MIN", (3, 99))
    monkeypatch.setattr(installer.shutil, "which", lambda name: None)
    with pytest.raises(SystemExit):
        installer.main(["run"])
    told = capsys.readouterr().err
    assert "Boxwork needs Python 3.99 or newer" in told
    assert "apt-get install python3 python3-venv" in told


def test_a_python_without_venv_is_told_which_package_has_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = importlib.util.spec_from_file_location("install_layers", ROOT / "requirements" / "install.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setitem(sys.modules, "ensurepip", None)
    with pytest.raises(SystemExit):
        module.make_environment()
    assert "apt-get install python3-venv" in capsys.readouterr().err


def test_nothing_to_do_takes_no_time() -> None:
    """Of a second `make up` this is all that is not the server itself.  Measured: 20 ms."""
    if not (ROOT / ".venv" / "installed" / "test").exists():
        pytest.xfail("this environment was not made by requirements/install.py")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, ROOT / "requirements" / "install.py", "run", "test"], check=True, timeout=100)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1  # s of the processor
