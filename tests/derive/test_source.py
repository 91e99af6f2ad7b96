"""The normal form: looks do not count, everything else does."""

from __future__ import annotations

import importlib
import textwrap
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from boxwork.derive import source
from boxwork.derive.calls import Call
from boxwork.derive.names import names_of

Make = Callable[[str], Any]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Compiles a text as a file of its own and answers with its `f`."""
    count = [0]

    def function(text: str) -> Any:
        count[0] += 1
        path = tmp_path / f"m{count[0]}.py"
        path.write_text(textwrap.dedent(text))
        scope: dict[str, Any] = {"__name__": path.stem}
        exec(compile(path.read_text(), str(path), "exec"), scope)
        return scope["f"]

    return function


def facts(function: Any) -> source.Facts:
    return source.facts_of(function.__code__, function.__qualname__)


SAME = [
    ("def f(x):\n    return x+1", "def f( x ):\n    '''Doc.'''\n    # why\n    return (x +\n        1)"),
    (
        "def f(x):\n    return [a for a in x if a]",
        "def same(g):\n    return g\n@same\ndef f(x):\n    return [a\n      for a in x if a]",
    ),
    ("def f(x, y=1):\n    return x", "def f(x: int, y: int = 2) -> int:\n    return x"),
    ("async def f(x):\n    return await x", "async def f(x):\n    'Doc.'\n    return await x"),
    (
        "class C:\n  def m(self):\n    return self.__x\nf = C.m",
        "class C:\n    k = 1\n    def m(self):\n        return self.__x\nf = C.m",
    ),
    (
        "def o(k):\n  def f(x):\n    return x * k\n  return f\nf = o(1)",
        "def o(k):\n    def f(x):\n        return (x * k)\n    return f\nf = o(1)",
    ),
]
DIFFERENT = [
    ("def f(x):\n    return x + 1", "def f(x):\n    return x + True"),
    ("def f(x):\n    return x", "def f(*x):\n    return x"),
    ("def f(x):\n    return x", "async def f(x):\n    return x"),
    ("def f(x, y):\n    return x", "def f(x, *, y):\n    return x"),
    ("def f(x, y):\n    return x", "def f(x, y, /):\n    return x"),
    ("def f(x):\n    'a'\n    return f.__doc__", "def f(x):\n    'b'\n    return f.__doc__"),
    ("def f(x):\n    return 'a'", "def f(x):\n    return b'a'"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_looks_do_not_count(make: Make, one: str, other: str) -> None:
    first, second = make(one), make(other)
    assert facts(first).calls is not None  # by its syntax, not by its bytecode
    assert facts(first).digest == facts(second).digest


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_everything_else_counts(make: Make, one: str, other: str) -> None:
    assert facts(make(one)).digest != facts(make(other)).digest


LIBRARIES = (
    "json.encoder",
    "textwrap",
    "difflib",
    "argparse",
    "email.message",
    "asyncio.queues",
    "numpy.lib._polynomial_impl",
)


@pytest.mark.parametrize("name", LIBRARIES)
def test_the_source_of_real_functions_compiles_to_their_code(name: str) -> None:
    """In all the ways in which people write functions; a miss is honest, only more easily disturbed."""
    module = importlib.import_module(name)
    functions = [one for one in vars(module).values() if isinstance(one, types.FunctionType)]
    for kind in [one for one in vars(module).values() if isinstance(one, type)]:
        functions += [one for one in vars(kind).values() if isinstance(one, types.FunctionType)]
    own = [one for one in functions if one.__code__.co_filename == module.__file__ and one.__name__ != "<lambda>"]
    missed = [one.__qualname__ for one in own if source.syntax_of(one.__code__, one.__qualname__) is None]
    assert len(own) > 3
    assert [] == missed


def test_reads_are_roots_with_their_attributes(make: Make) -> None:
    function = make("""
        import os.path
        def o(k):
            def f(x):
                import json as j
                from a.b import c
                from . import d
                global written
                written = os.path.join(x, k.name)
                return [j.dumps(c.e) for y in x if (lambda: K.inner.value)()]
            return f
        f = o(1)
    """)
    found = names_of(function.__code__)
    assert {
        ("m", ("json",)),
        ("m", ("a.b",)),
        ("i", ("a.b", "c")),
        ("m", (".",)),
        ("i", (".", "d")),
        ("g", ("os", "path", "join")),
        ("c", ("k", "name")),
        ("i", ("json", "dumps")),
        ("i", ("a.b", "c", "e")),
        ("g", ("K", "inner", "value")),
    } == set(found.reads)
    assert ("written",) == found.stores
    assert {"path", "join", "name", "dumps", "e", "inner", "value"} == found.attributes


def test_calls_say_what_their_arguments_are(make: Make) -> None:
    function = make("""
        def f(path, n):
            other = path + "/x"
            for part in other:
                open(part)
            open("a.txt", mode="w")
            open(ROOT / "b" / "c.txt")
            open(unknown())
            load(io.BytesIO(n))
            return map(open, [])
    """)
    found = {call.line: call for call in facts(function).calls or () if call.chain[1] in {"open", "load"}}
    assert ("input", "path") == found[5].arguments[0]
    assert (("const", "a.txt"),) == found[6].arguments
    assert {"mode": ("const", "w")} == found[6].keywords
    assert (("text", "ROOT / 'b' / 'c.txt'"),) == found[7].arguments
    assert (("other",),) == found[8].arguments
    assert (("memory",),) == found[9].arguments
    assert Call(("g", "open"), "bare", 10) == found[10]
