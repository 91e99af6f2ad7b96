"""Whose code something is, and what an upgrade changes."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from boxwork.box import Derivation, derivation
from boxwork.derive import distributions
from boxwork.derive.distributions import Distributions, Origin, record_form
from boxwork.derive.fingerprint import Fingerprinter


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A `site-packages` of our own on the path."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    for name in ("demo_core", "demo_plus"):
        sys.modules.pop(name, None)


def install(site: Path, name: str, version: str, body: str = "", requires: str = "", row: str = "") -> None:
    package = name.replace("-", "_")
    (site / f"{package}.py").write_text(body or "def f(x):\n    return x\n")
    for old in site.glob(f"{package}-*.dist-info"):
        for file in old.iterdir():
            file.unlink()
        old.rmdir()
    info = site / f"{package}-{version}.dist-info"
    info.mkdir()
    required = f"Requires-Dist: {requires}\n" if requires else ""
    (info / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n{required}")
    (info / "RECORD").write_text(f"{package}.py,sha256={row or 'abc'},10\n{info.name}/RECORD,,\n")
    sys.modules.pop(package, None)
    importlib.invalidate_caches()


def box_over(name: str) -> Derivation[..., object]:
    scope: dict[str, object] = {"__name__": "__main__"}
    exec(f"import {name}\ndef box(x):\n    return {name}.f(x)\n", scope)
    return derivation(scope["box"])  # type: ignore[arg-type]


def parts(name: str) -> dict[str, bytes]:
    return dict(Fingerprinter().of(box_over(name)).parts)


def test_an_upgrade_of_a_package_is_seen(site: Path) -> None:
    install(site, "demo-core", "1.0")
    before = parts("demo_core")
    assert "package demo-core 1.0" in before
    install(site, "demo-core", "1.1")
    assert "package demo-core 1.1" in parts("demo_core")


def test_another_build_of_the_same_version_is_seen(site: Path) -> None:
    install(site, "demo-core", "1.0", row="abc")
    before = parts("demo_core")
    install(site, "demo-core", "1.0", row="def")
    after = parts("demo_core")
    assert before["package demo-core 1.0"] != after["package demo-core 1.0"]


def test_an_upgrade_of_what_a_package_requires_is_seen(site: Path) -> None:
    install(site, "demo-core", "1.0")
    install(site, "demo-plus", "5", requires="demo-core>=1; python_version>'3'")
    assert {"package demo-core 1.0", "package demo-plus 5"} <= set(parts("demo_plus"))
    install(site, "demo-core", "2.0")
    assert "package demo-core 2.0" in parts("demo_plus")


def test_a_requirement_of_an_extra_is_not_followed(site: Path) -> None:
    install(site, "demo-core", "1.0")
    install(site, "demo-plus", "5", requires="demo-core; extra == 'all'")
    assert not [name for name in parts("demo_plus") if "demo-core" in name]


def test_a_place_that_differs_from_machine_to_machine_is_not_in_a_record() -> None:
    rows = [
        "numpy/a.py,sha256=1,2",
        "../../../bin/f2py,sha256=AAA,9",
        "numpy/__pycache__/a.pyc,,",
        "n-1.dist-info/METADATA,sha256=3,4",
    ]
    assert b"numpy/a.py,sha256=1,2" == record_form("\n".join(rows))


def test_the_origin_of_modules_and_files(tmp_path: Path) -> None:
    seen = Distributions()
    assert Origin("stdlib") == seen.of_module("json")
    assert Origin("stdlib") == seen.of_module("sys")
    assert Origin("package", "numpy") == seen.of_module("numpy.linalg")
    assert Origin("package", "pillow") == seen.of_module("PIL.Image")
    assert Origin("package", "boxwork") == seen.of_module("boxwork.keys")
    assert "project" == seen.of_module("__main__").kind
    assert "project" == seen.of_file(str(tmp_path / "mine.py")).kind
    assert "generated" == seen.of_file("<string>").kind


def test_packs_are_followed_like_the_project(tmp_path: Path) -> None:
    seen = Distributions()
    packs = Path(distributions.__file__).parents[1] / "packs" / "anything.py"
    assert "project" == seen.of_file(str(packs)).kind


def test_a_project_root_counts_even_inside_a_site(site: Path) -> None:
    assert "package" == Distributions().of_file(str(site / "mine.py")).kind
    assert "project" == Distributions([site]).of_file(str(site / "mine.py")).kind


def test_a_module_that_is_not_imported_is_not_imported(site: Path) -> None:
    install(site, "demo-core", "1.0", body="raise RuntimeError('imported')\n")
    scope: dict[str, object] = {"__name__": "__main__"}
    exec("def box(x):\n    import demo_core\n    return demo_core.f(x)\n", scope)
    found = Fingerprinter().of(derivation(scope["box"]))  # type: ignore[arg-type]
    assert "package demo-core 1.0" in dict(found.parts)
    assert "demo_core" not in sys.modules


def test_an_upgrade_of_a_package_imported_inside_is_seen_loaded_or_not(site: Path) -> None:
    scope: dict[str, object] = {"__name__": "__main__"}
    exec("def box(x):\n    import demo_core as d\n    return d.f(x)\n", scope)
    box = derivation(scope["box"])  # type: ignore[arg-type]
    found = []
    for version in ("1.0", "1.1"):
        install(site, "demo-core", version)
        before = Fingerprinter().of(box)
        assert 3 == box(3)
        assert before.digest == Fingerprinter().of(box).digest
        assert f"package demo-core {version}" in dict(before.parts)
        found.append(before.digest)
    assert found[0] != found[1]


def test_where_a_module_comes_from_is_known_without_importing_its_parents(site: Path) -> None:
    folder = site / "demo_space" / "inner"
    folder.mkdir(parents=True)
    (folder / "part.py").write_text("raise RuntimeError('imported')\n")
    info = site / "demo_parts-2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: demo-parts\nVersion: 2\n")
    (info / "RECORD").write_text("demo_space/inner/part.py,sha256=abc,10\n")
    importlib.invalidate_caches()
    seen = Distributions()
    assert Origin("package", "demo-parts") == seen.find("demo_space.inner.part")
    assert ["demo_space", "demo_space.inner", "demo_space.inner.part"] == [
        name for name, _ in seen.along("demo_space", ("inner", "part", "f"))
    ]
    assert seen.find("demo_space.nothing") is None
    assert not [name for name in sys.modules if name.startswith("demo_space")]


def test_a_module_under_a_name_that_is_not_its_own_is_found_by_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    import json

    monkeypatch.setitem(sys.modules, "numpy.alias_of_json", json)
    seen = Distributions()
    assert seen.find("numpy.alias_of_json") is None
    assert Origin("package", "numpy") == seen.of_module("numpy.alias_of_json")


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_file_put_into_the_package_of_another_has_its_own_owner(site: Path, order: tuple[int, int]) -> None:
    (site / "shared").mkdir()
    for name, file in (("shared", "__init__"), ("guest", "extra")):
        (site / "shared" / f"{file}.py").write_text("")
        info = site / f"{name}-1.dist-info"
        info.mkdir()
        (info / "RECORD").write_text(f"shared/{file}.py,sha256=abc,0\n")
    seen = Distributions()
    files = [str(site / "shared" / "__init__.py"), str(site / "shared" / "extra.py")]
    found = {index: seen.of_file(files[index]).name for index in order}
    assert {0: "shared", 1: "guest"} == found
    assert "shared" == seen.of_file(str(site / "shared" / "made_by_the_build.py")).name


def test_only_what_is_certainly_the_projects_is_ours() -> None:
    import functools
    import types

    import numpy as np

    seen = Distributions()
    inside = np.median._implementation  # a copy of it: `wraps` changes what it is given, for everybody
    wrapped = functools.wraps(np.mean)(types.FunctionType(inside.__code__, inside.__globals__))
    mine = [install, functools.partial(install), functools.lru_cache(install), box_over("numpy"), sys.modules[__name__]]
    assert [True] * 5 == [seen.is_ours(one) for one in mine]
    others = [np.mean, np, np.float64, np.pi, sys.version, print, dict, Path, wrapped]
    assert [False] * 9 == [seen.is_ours(one) for one in others]
    nowhere = type("Nowhere", (), {"__module__": "no_such_module_at_all"})
    assert not seen.is_ours(nowhere)


def test_facts_about_packages_are_kept_until_the_files_change(site: Path) -> None:
    class Memory(dict[bytes, bytes]):
        def put(self, key: bytes, value: bytes) -> None:
            self[key] = value

    index = Memory()
    install(site, "demo-core", "1.0", row="abc")
    before = Distributions(index=index).parts("demo-core")
    assert before == Distributions(index=index).parts("demo-core")
    install(site, "demo-core", "1.0", row="xyzw")
    os.utime(site / "demo_core-1.0.dist-info" / "RECORD", ns=(1, 1))
    assert before != Distributions(index=index).parts("demo-core")
