"""The table of effects, and the rules that say when one of them is harmless."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import pytest

from boxwork.box import derivation
from boxwork.derive import effects, kinds, references, refusals, rules
from boxwork.derive.effects import EFFECTS, PREFIXES, Identities, effect_of
from boxwork.derive.fingerprint import Fingerprinter
from boxwork.derive.refusals import Refusals, Spot
from boxwork.errors import Undeclared


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("time.time", "clock"),
        ("random.shuffle", "chance"),
        ("random.Random", "seeded"),
        ("os.environ.get", "environment"),
        ("subprocess.run", "process"),
        ("requests.sessions.Session", "network"),
        ("numpy.random.rand", "chance"),
        ("sys.argv", "machine"),
        ("builtins.eval", "dynamic"),
        ("locale.strcoll", "locale"),
    ],
)
def test_names_with_an_effect(name: str, kind: str) -> None:
    found = effect_of(name)
    assert found is not None
    assert kind == found.kind


@pytest.mark.parametrize(
    "name",
    [
        "time.sleep",
        "subprocess.CalledProcessError",
        "subprocess.PIPE",
        "os.path.join",
        "math.sin",
        "socket.AF_INET",
        "numpy.random.Generator",
        "requests.exceptions.ConnectionError",
        "builtins.len",
        "json.load",
    ],
)
def test_names_without(name: str) -> None:
    assert effect_of(name) is None


def test_an_alias_has_the_name_of_what_it_is() -> None:
    seen = Identities()
    assert "time.time" == seen.name(time.time)
    assert "random.randint" == seen.name(random.randint)
    assert "builtins.open" == seen.name(open)
    assert seen.name(object()) is None
    assert all(seen.name(value) is None for value in (time.timezone, time.tzname, None, 0, ""))


def test_a_class_has_the_name_it_is_imported_by() -> None:
    seen = Identities()
    assert "pathlib.Path" == seen.name(Path)
    assert "pathlib.Path.read_text" == seen.name(Path.read_text)
    assert "pathlib.Path.cwd" == seen.name(Path.cwd)
    assert seen.name(Path("x").as_posix) is None


@pytest.mark.parametrize(
    "function",
    [
        lambda: Path.cwd(),
        lambda: Path.home(),
        lambda name: Path.exists(Path(name)),
        lambda names: list(map(Path.read_text, names)),
    ],
)
def test_a_method_of_a_class_imported_by_name_is_seen(function: Any) -> None:
    with pytest.raises(Undeclared, match=r"pathlib\.Path\."):
        Fingerprinter().of(derivation(function))


def test_every_effect_says_what_to_do() -> None:
    for name, effect in {**EFFECTS, **PREFIXES}.items():
        assert effect.what, name
        assert effect.advice or effect.kind in {"zone", "zoned", "locale"}, name


def test_a_refusal_in_a_method_counts_when_the_method_may_be_called() -> None:
    def collected(*methods: str) -> Refusals:
        found = Refusals("box", lenient=False)
        found.add(Spot("a.py", 3, "C.m"), "time.time", "reads the clock", "pass it", frozenset(methods))
        return found

    for called in ({"m"}, {"*"}):
        with pytest.raises(Undeclared, match=r"a\.py:3 \(in C\.m\)"):
            collected("m").raise_first(called)
    assert collected("m").raise_first({"other"})
    assert collected("__repr__").raise_first(set())
    with pytest.raises(Undeclared):
        collected("__init__").raise_first(set())


def test_the_parts_of_the_walk_do_nothing_at_import() -> None:
    modules: list[Any] = [effects, kinds, references, refusals, rules]
    assert all(module.__doc__ for module in modules)
