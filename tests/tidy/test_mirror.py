"""Code and tests mirror each other, so that nobody has to search."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.tidy.source import PACKAGE, ROOT, Source, modules

# Folders of tests that are about no one package.
ACROSS = {"tidy", "workloads", "examples", "bench", "golden"}


def imported(source: Source) -> Iterator[str]:
    """`boxwork.a.b` for `from boxwork.a.b import C` and for `from boxwork.a import b`."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_every_module_is_tested_where_its_mirror_lies() -> None:
    """By a file of its name, by one in the mirrored folder that imports it, or through a tested module that uses it.

    The last holds inside one package only: what another package uses has tests of its own.
    """
    parts = {source.path.relative_to(PACKAGE).with_suffix("").parts: source for source in modules()}
    by_name = {".".join(["boxwork", *path]).removesuffix(".__init__"): path for path in parts}
    tested = set()
    for name, path in by_name.items():
        mirror = ROOT.joinpath("tests", *path[:-1]) / f"test_{path[-1]}.py"
        # The test kit is tested by whoever uses it.
        folder = ROOT / "tests" / ("" if path[0] == "testing" else path[0])
        used = any(name in imported(test) for test in modules("tests") if test.path.is_relative_to(folder))
        if mirror.exists() or used:
            tested.add(name)
    waiting = list(tested)
    while waiting:
        user = waiting.pop()
        for name in set(imported(parts[by_name[user]])) & set(by_name) - tested:
            if by_name[name][0] == by_name[user][0]:
                tested.add(name)
                waiting.append(name)
    slips = [
        f"{name} has no tests/{'/'.join([*path[:-1], f'test_{path[-1]}.py'])}"
        for name, path in by_name.items()
        if name not in tested and path[-1] not in {"__init__", "__main__"}
    ]
    assert [] == slips, "\n".join(slips)


def test_every_folder_of_tests_mirrors_a_package() -> None:
    slips = [
        f"tests/{path.name} mirrors no boxwork/{path.name}"
        for path in sorted((ROOT / "tests").iterdir())
        if path.is_dir() and path.name not in {"__pycache__", *ACROSS} and not (PACKAGE / path.name).is_dir()
    ]
    assert [] == slips, "\n".join(slips)
