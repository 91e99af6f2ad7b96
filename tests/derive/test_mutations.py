"""Whatever is changed in code that a box reaches changes its fingerprint: every constant and operator, one by one."""

from __future__ import annotations

import ast
import copy
import importlib
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from boxwork.derive.fingerprint import Fingerprinter

PROGRAM = textwrap.dedent("""
    import dataclasses
    import enum
    import functools
    import re
    from boxwork.box import derivation

    LIMIT = 10
    TABLE = {"a": [1, 2], "b": (3, 4.5)}
    WORD = re.compile("x+")

    class Mode(enum.Enum):
        FAST = 1
        GOOD = 2

    @dataclasses.dataclass(frozen=True)
    class Config:
        dpi: int = 300
        names: tuple = ("u", "v")

        @property
        def doubled(self):
            return self.dpi * 2

        def area(self, x):
            return self.doubled + x - 7

    CONFIG = Config(dpi=150)

    class Base:
        K = 5

        def run(self, x, *, m=6):
            return x * self.K + m

    class Child(Base):
        def run(self, x, *, m=8):
            return super().run(x, m=m) - 9

    def decorated(extra):
        def wrap(function):
            @functools.wraps(function)
            def wrapper(*args):
                return function(*args) + extra
            return wrapper
        return wrap

    @decorated(11)
    def helper(x, k=12):
        values = [y * 13 for y in range(x) if y % 14]
        return sum(values) + k

    twice = functools.partial(lambda k, x: k * x + 15, 16)

    @functools.lru_cache(maxsize=None)
    def cached(x):
        def inner(y):
            return y - 17
        return inner(x)

    @derivation
    def box(x, k=18):
        if x > LIMIT:
            return TABLE["a"][0]
        total = helper(x) + CONFIG.area(x) + Child().run(x) + twice(x) + cached(k)
        return total, WORD.findall(str(x)), Mode.GOOD.value
""")


def mutants() -> Iterator[tuple[str, str]]:
    """The program with one constant or one operator changed."""
    tree = ast.parse(PROGRAM)
    nodes = [node for node in ast.walk(tree) if isinstance(node, (ast.Constant, ast.BinOp, ast.Compare))]
    for index, node in enumerate(nodes):
        other = copy.deepcopy(tree)
        twin = [one for one in ast.walk(other) if isinstance(one, (ast.Constant, ast.BinOp, ast.Compare))][index]
        if isinstance(twin, ast.Constant) and isinstance(twin.value, (int, float)):
            twin.value = twin.value + 100
        elif isinstance(twin, ast.BinOp):
            twin.op = ast.FloorDiv() if not isinstance(twin.op, ast.FloorDiv) else ast.Add()
        elif isinstance(twin, ast.Compare):
            twin.ops = [ast.NotEq()]
        else:
            continue
        yield f"{node.lineno}:{node.col_offset} {ast.unparse(node)[:30]}", ast.unparse(ast.fix_missing_locations(other))


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return digest_of(PROGRAM, tmp_path_factory.mktemp("original"))


def digest_of(text: str, directory: Path) -> bytes:
    (directory / "mutant.py").write_text(text)
    sys.path.insert(0, str(directory))
    importlib.invalidate_caches()
    try:
        return Fingerprinter().of(importlib.import_module("mutant").box).digest
    finally:
        sys.path.remove(str(directory))
        sys.modules.pop("mutant", None)


def test_looks_alone_change_nothing(original: bytes, tmp_path: Path) -> None:
    assert original == digest_of(ast.unparse(ast.parse(PROGRAM)), tmp_path)


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in mutants()])
def test_the_mutant_has_another_fingerprint(text: str, original: bytes, tmp_path: Path) -> None:
    assert original != digest_of(text, tmp_path)
