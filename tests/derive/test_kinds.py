"""Classes of every make: fields, defaults, factories and methods count, what was generated from them does not."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from boxwork.derive import kinds
from boxwork.derive.fingerprint import Fingerprinter

HEAD = """
import collections, dataclasses, enum, typing
import attr, msgspec
def make(): return [1]
class Check:
    def __init__(self, limit): self.limit = limit
"""

# (a class, changes of it that must be seen)
CLASSES: list[tuple[str, tuple[str, ...]]] = [
    (
        "@dataclasses.dataclass\nclass C:\n    a: int = 1\n    b: list = dataclasses.field(default_factory=make)\n",
        ("a: int = 2", "a: float = 1", "default_factory=list"),
    ),
    (
        "class C(msgspec.Struct):\n    a: int = 1\n    b: list = msgspec.field(default_factory=make)\n",
        ("a: int = 2", "a: float = 1", "default_factory=list"),
    ),
    (
        "@attr.s\nclass C:\n    a: int = attr.ib(default=1)\n    b: list = attr.ib(factory=make)\n",
        ("default=2", "factory=list"),
    ),
    ("class C(typing.NamedTuple):\n    a: int = 1\n    b: int = 2\n", ("a: int = 3", "a: float = 1")),
    ("C = collections.namedtuple('C', 'a b', defaults=[1])\n", ("'b a'", "defaults=[2]")),
    ("class C(enum.Enum):\n    A = 1\n    B = 2\n    def f(self): return 3\n", ("A = 5", "return 4")),
    ("class C(enum.Flag):\n    A = 1\n    B = 2\n", ("A = 4",)),
    ("class C(typing.Generic[typing.TypeVar('T')]):\n    x: typing.Annotated[int, Check(1)] = 1\n", ("= 2",)),
    (
        "class C:\n    __slots__ = ('a',)\n    @property\n    def p(self): return 1\n    q = staticmethod(make)\n",
        ("return 2", "('b',)", "classmethod(make)"),
    ),
    ("class C(typing.TypedDict, total=False):\n    a: int\n", ("a: float",)),
]


def digest(text: str, directory: Path) -> bytes:
    (directory / "kinds_case.py").write_text(HEAD + text)
    sys.path.insert(0, str(directory))
    importlib.invalidate_caches()
    try:
        return Fingerprinter().describe_class(importlib.import_module("kinds_case").C)
    finally:
        sys.path.remove(str(directory))
        sys.modules.pop("kinds_case", None)


def changed(text: str, change: str) -> str:
    """The text with the piece replaced that `change` is another form of."""
    pieces = {
        "a: int = 2": "a: int = 1",
        "a: int = 3": "a: int = 1",
        "a: float = 1": "a: int = 1",
        "a: float": "a: int",
        "default_factory=list": "default_factory=make",
        "default=2": "default=1",
        "factory=list": "factory=make",
        "'b a'": "'a b'",
        "defaults=[2]": "defaults=[1]",
        "A = 5": "A = 1",
        "A = 4": "A = 1",
        "return 4": "return 3",
        "= 2": "= 1",
        "return 2": "return 1",
        "('b',)": "('a',)",
        "classmethod(make)": "staticmethod(make)",
    }
    assert pieces[change] in text
    return text.replace(pieces[change], change)


@pytest.mark.parametrize(("text", "changes"), CLASSES, ids=lambda one: one[:40] if isinstance(one, str) else "")
def test_every_change_of_a_class_is_seen(
    text: str, changes: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    first = digest(text, tmp_path)
    assert first == digest(text + "\n\n# a comment\n", tmp_path)
    for change in changes:
        assert first != digest(changed(text, change), tmp_path), change


def test_no_digest_depends_on_an_address_or_a_hash_seed(tmp_path: Path) -> None:
    """A `repr` with an address would make every process compute again."""
    classes = "".join(
        text.replace("class C", f"class C{n}").replace("C = ", f"C{n} = ") for n, (text, _) in enumerate(CLASSES)
    )
    (tmp_path / "all_kinds.py").write_text(
        HEAD
        + classes
        + "\nclass C:\n    ALL = ["
        + ", ".join(f"C{n}" for n in range(len(CLASSES)))
        + "]\n    SET = {'a', 'b', 'c'}\n    CHECK = Check(1)\n"
    )
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import all_kinds\n"
        "from boxwork.derive.fingerprint import Fingerprinter\n"
        "print(Fingerprinter().describe_class(all_kinds.C).hex())"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", program, str(tmp_path)],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed, "PATH": ""},
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert 1 == len(found)


def test_pydantic_fields_are_told_by_what_they_say() -> None:
    class Info:
        default, default_factory, annotation, metadata = 1, None, int, [object()]

    model: Any = type("Model", (), {"__pydantic_fields__": {"a": Info}, "__pydantic_validator__": object()})
    assert [] == [name for name, _ in kinds.attributes(model) if name.startswith("__pydantic_")]
    ((name, said),) = kinds.fields_of(model)
    assert ("a", [1, None, "builtins.int", "[<object object>]"]) == (name, said)
