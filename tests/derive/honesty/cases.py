"""The honesty matrix: what may happen between two calls of a box, and what must follow.

Each case has a module `m` with a box called `box`, something that happens, and one of three verdicts:

    recompute   the old output must not be given
    same        the old output must be given: computing it again would be needless
    refused     the box is not run at all; the message says what to declare (`says`)

The first fifteen are the matrix on which memo libraries were measured; `bench/honesty.py` runs those against them.
docs/honest-keys.md lists every case; a test compares.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from textwrap import dedent
from typing import Literal

Verdict = Literal["recompute", "same", "refused"]


@dataclass(frozen=True)
class Case:
    """`before` and `after` are modules by name (`after` only what changes); `patch` runs in `m` instead.

    `{data}` in a text is a directory of the case.  `call` and `then` are the arguments of the two calls.
    """

    group: str
    title: str
    verdict: Verdict
    before: dict[str, str]
    after: dict[str, str] = field(default_factory=dict)
    patch: str = ""
    env: tuple[dict[str, str], dict[str, str]] = field(default_factory=lambda: ({}, {}))
    data: tuple[dict[str, str], dict[str, str]] = field(default_factory=lambda: ({}, {}))
    call: str = "3"
    then: str = ""
    says: str = ""
    hash_seeds: tuple[int, int] = (0, 0)
    loads: tuple[str, ...] = ()  # the modules that a run imports, from the outermost inwards

    @property
    def id(self) -> str:
        return self.title.replace(" ", "-")


def module(text: str) -> str:
    return "from boxwork.box import derivation\n" + dedent(text).lstrip("\n")


def case(group: str, title: str, verdict: Verdict, before: str, after: str = "", **more: object) -> Case:
    """A case whose modules are `m` alone, or `m` and others given as `others=({…}, {…})`."""
    first, second = more.pop("others", ({}, {}))  # type: ignore[misc]
    old = {"m": module(before)} | {name: dedent(text).lstrip("\n") for name, text in first.items()}
    new = ({"m": module(after)} if after else {}) | {name: dedent(text).lstrip("\n") for name, text in second.items()}
    return Case(group, title, verdict, old, new, **more)  # type: ignore[arg-type]


PLAIN = """
    @derivation
    def box(x):
        return x * 2
"""

DOUBLE = "def double(x):\n    return x * 2\n"
TWENTY = "def double(x):\n    return x * 20\n"

CLASSIC = [
    case(
        "classic",
        "the body changed",
        "recompute",
        PLAIN,
        """
        @derivation
        def box(x):
            return x * 3
    """,
    ),
    case(
        "classic",
        "a comment changed",
        "same",
        PLAIN,
        """
        @derivation
        def box(x):
            # twice as much
            return x * 2  # really
    """,
    ),
    case(
        "classic",
        "the module was reformatted",
        "same",
        """
        @derivation
        def box(x, y=1):
            return (x and y or x) + sum([x * 2, y])
    """,
        """
        @derivation
        def box(
            x,
            y = 1,
        ):
            return (
                x
                and y
                or x
            ) + sum(
                [
                    x*2,
                    y
                ]
            )
    """,
    ),
    case(
        "classic",
        "the box moved down the file",
        "same",
        PLAIN,
        """
        import json


        def other():
            return json.dumps(1)


        @derivation
        def box(x):
            return x * 2
    """,
    ),
    case(
        "classic",
        "a helper in the same module changed",
        "recompute",
        """
        def double(x):
            return x * 2

        @derivation
        def box(x):
            return double(x)
    """,
        """
        def double(x):
            return x * 20

        @derivation
        def box(x):
            return double(x)
    """,
    ),
    case(
        "classic",
        "an imported helper changed",
        "recompute",
        """
        from helpers import double

        @derivation
        def box(x):
            return double(x)
    """,
        others=({"helpers": DOUBLE}, {"helpers": TWENTY}),
    ),
    case(
        "classic",
        "a global constant changed",
        "recompute",
        """
        FACTOR = 2

        @derivation
        def box(x):
            return x * FACTOR
    """,
        """
        FACTOR = 3

        @derivation
        def box(x):
            return x * FACTOR
    """,
    ),
    case(
        "classic",
        "a closure value changed",
        "recompute",
        """
        def make(k):
            @derivation
            def box(x):
                return x * k
            return box

        box = make(2)
    """,
        """
        def make(k):
            @derivation
            def box(x):
                return x * k
            return box

        box = make(3)
    """,
    ),
    case(
        "classic",
        "a default argument changed",
        "recompute",
        """
        @derivation
        def box(x, k=2):
            return x * k
    """,
        """
        @derivation
        def box(x, k=3):
            return x * k
    """,
    ),
    case(
        "classic",
        "the file at a path changed",
        "refused",
        """
        @derivation
        def box(path):
            with open(path) as file:
                return file.read()
    """,
        call="'{data}/f'",
        data=({"f": "one"}, {"f": "two"}),
        says="boxwork.File",
    ),
    case(
        "classic",
        "an environment variable changed",
        "refused",
        """
        import os

        @derivation
        def box(x):
            return os.environ.get("HONESTY", "") + str(x)
    """,
        env=({"HONESTY": "a"}, {"HONESTY": "b"}),
        says="env=['HONESTY']",
    ),
    case(
        "classic",
        "1, 1.0 and True are three inputs",
        "recompute",
        """
        @derivation
        def box(x):
            return repr(x)
    """,
        call="1",
        then="True",
    ),
    case(
        "classic",
        "a set under another hash seed",
        "same",
        """
        @derivation
        def box(x):
            return sorted(x)
    """,
        call="{'a', 'b', 'c', 'd', 'e'}",
        then="{'e', 'd', 'c', 'b', 'a'}",
        hash_seeds=(1, 2),
    ),
    case(
        "classic",
        "a dict in another order",
        "same",
        """
        @derivation
        def box(x):
            return sorted(x)
    """,
        call="{'a': 1, 'b': 2}",
        then="{'b': 2, 'a': 1}",
    ),
    case("classic", "a keyword instead of a position", "same", PLAIN, call="3", then="x=3"),
]

CODE = [
    case(
        "code",
        "the docstring changed",
        "same",
        PLAIN,
        '''
        @derivation
        def box(x):
            """Twice as much."""
            return x * 2
    ''',
    ),
    case(
        "code",
        "the box was renamed",
        "same",
        PLAIN,
        """
        @derivation
        def other(x):
            return x * 2

        box = other
    """,
    ),
    case(
        "code",
        "a constant of another type",
        "recompute",
        PLAIN,
        """
        @derivation
        def box(x):
            return x * 2.0
    """,
    ),
    case(
        "code",
        "a nested function changed",
        "recompute",
        """
        @derivation
        def box(x):
            def inner(y):
                return y + 1
            return inner(x)
    """,
        """
        @derivation
        def box(x):
            def inner(y):
                return y + 2
            return inner(x)
    """,
    ),
    case(
        "code",
        "a helper called in a comprehension changed",
        "recompute",
        """
        def one(x):
            return x + 1

        @derivation
        def box(x):
            return [one(y) for y in range(x)]
    """,
        """
        def one(x):
            return x + 2

        @derivation
        def box(x):
            return [one(y) for y in range(x)]
    """,
    ),
    case(
        "code",
        "a lambda in a global changed",
        "recompute",
        """
        scale = lambda x: x * 2

        @derivation
        def box(x):
            return scale(x)
    """,
        """
        scale = lambda x: x * 3

        @derivation
        def box(x):
            return scale(x)
    """,
    ),
    case(
        "code",
        "star arguments became plain ones",
        "recompute",
        """
        @derivation
        def box(*x):
            return x
    """,
        """
        @derivation
        def box(x):
            return x
    """,
    ),
    case(
        "code",
        "a helper of a helper in a package changed",
        "recompute",
        """
        from tools.upper import outer

        @derivation
        def box(x):
            return outer(x)
    """,
        others=(
            {
                "tools/__init__": "",
                "tools/upper": "from . import lower\ndef outer(x):\n    return lower.inner(x)\n",
                "tools/lower": "def inner(x):\n    return x + 1\n",
            },
            {"tools/lower": "def inner(x):\n    return x + 2\n"},
        ),
    ),
    case(
        "code",
        "an unrelated function of a used module changed",
        "same",
        """
        import helpers

        @derivation
        def box(x):
            return helpers.used(x)
    """,
        others=(
            {"helpers": "def used(x):\n    return x\n\ndef unused(x):\n    return 1\n"},
            {"helpers": "def unused(x):\n    return 2\n\ndef used(x):\n    return x\n"},
        ),
    ),
    case(
        "code",
        "two helpers changed places",
        "recompute",
        """
        def one(x):
            return x + 1

        def two(x):
            return x + 2

        f, g = one, two

        @derivation
        def box(x):
            return f(x) * 10 + g(x)
    """,
        """
        def one(x):
            return x + 1

        def two(x):
            return x + 2

        f, g = two, one

        @derivation
        def box(x):
            return f(x) * 10 + g(x)
    """,
    ),
    case(
        "code",
        "one of two helpers that call each other changed",
        "recompute",
        """
        def even(n):
            return n == 0 or odd(n - 1)

        def odd(n):
            return n != 0 and even(n - 1)

        @derivation
        def box(x):
            return even(x)
    """,
        """
        def even(n):
            return n == 0 or odd(n - 1)

        def odd(n):
            return n != 0 and even(n - 1) and True

        @derivation
        def box(x):
            return even(x)
    """,
    ),
    case(
        "code",
        "a helper imported inside the box changed",
        "recompute",
        """
        @derivation
        def box(x):
            from helpers import double as twice
            return twice(x)
    """,
        others=({"helpers": DOUBLE}, {"helpers": TWENTY}),
    ),
    case(
        "code",
        "a constant of a module imported inside the box changed",
        "recompute",
        """
        @derivation
        def box(x):
            import helpers as h
            return x * h.FACTOR
    """,
        others=({"helpers": "FACTOR = 2\n"}, {"helpers": "FACTOR = 3\n"}),
    ),
    case(
        "code",
        "the version of the box changed",
        "recompute",
        """
        @derivation(version="1")
        def box(x):
            return x
    """,
        """
        @derivation(version="2")
        def box(x):
            return x
    """,
    ),
    case(
        "code",
        "the worker of the box changed",
        "same",
        """
        @derivation(worker="thread")
        def box(x):
            return x
    """,
        """
        @derivation(worker="inline")
        def box(x):
            return x
    """,
    ),
    case(
        "code",
        "a box called by the box changed",
        "recompute",
        """
        @derivation
        def inner(x):
            return x + 1

        @derivation
        def box(x):
            return inner(x)
    """,
        """
        @derivation
        def inner(x):
            return x + 2

        @derivation
        def box(x):
            return inner(x)
    """,
    ),
    case(
        "code",
        "code made by exec changed",
        "recompute",
        """
        exec("def made(x):\\n    return x + 1\\n")

        @derivation
        def box(x):
            return made(x)
    """,
        """
        exec("def made(x):\\n    return x + 2\\n")

        @derivation
        def box(x):
            return made(x)
    """,
    ),
    case(
        "code",
        "the annotation of an input changed",
        "recompute",
        """
        @derivation
        def box(x: int):
            return x
    """,
        """
        @derivation
        def box(x: float):
            return x
    """,
    ),
]

OBJECTS = [
    case(
        "objects",
        "what a decorator of the project does changed",
        "recompute",
        """
        import functools

        def plus(function):
            @functools.wraps(function)
            def wrapper(*args):
                return function(*args) + 1
            return wrapper

        @derivation
        @plus
        def box(x):
            return x
    """,
        """
        import functools

        def plus(function):
            @functools.wraps(function)
            def wrapper(*args):
                return function(*args) + 2
            return wrapper

        @derivation
        @plus
        def box(x):
            return x
    """,
    ),
    case(
        "objects",
        "the function under a decorator changed",
        "recompute",
        """
        import functools

        def same(function):
            @functools.wraps(function)
            def wrapper(*args):
                return function(*args)
            return wrapper

        @same
        def helper(x):
            return x + 1

        @derivation
        def box(x):
            return helper(x)
    """,
        """
        import functools

        def same(function):
            @functools.wraps(function)
            def wrapper(*args):
                return function(*args)
            return wrapper

        @same
        def helper(x):
            return x + 2

        @derivation
        def box(x):
            return helper(x)
    """,
    ),
    case(
        "objects",
        "a function under lru_cache changed",
        "recompute",
        """
        import functools

        @functools.lru_cache(maxsize=None)
        def helper(x):
            return x + 1

        @derivation
        def box(x):
            return helper(x)
    """,
        """
        import functools

        @functools.lru_cache(maxsize=None)
        def helper(x):
            return x + 2

        @derivation
        def box(x):
            return helper(x)
    """,
    ),
    case(
        "objects",
        "an argument of a partial changed",
        "recompute",
        """
        import functools

        def scale(k, x):
            return k * x

        twice = functools.partial(scale, 2)

        @derivation
        def box(x):
            return twice(x)
    """,
        """
        import functools

        def scale(k, x):
            return k * x

        twice = functools.partial(scale, 3)

        @derivation
        def box(x):
            return twice(x)
    """,
    ),
    case(
        "objects",
        "a method of a class changed",
        "recompute",
        """
        class Scaler:
            def scale(self, x):
                return x * 2

        @derivation
        def box(x):
            return Scaler().scale(x)
    """,
        """
        class Scaler:
            def scale(self, x):
                return x * 3

        @derivation
        def box(x):
            return Scaler().scale(x)
    """,
    ),
    case(
        "objects",
        "a method of a base class changed",
        "recompute",
        """
        from helpers import Base

        class Scaler(Base):
            pass

        @derivation
        def box(x):
            return Scaler().scale(x)
    """,
        others=(
            {"helpers": "class Base:\n    def scale(self, x):\n        return x\n"},
            {"helpers": "class Base:\n    def scale(self, x):\n        return -x\n"},
        ),
    ),
    case(
        "objects",
        "a property changed",
        "recompute",
        """
        class Scaler:
            @property
            def k(self):
                return 2

        @derivation
        def box(x):
            return Scaler().k * x
    """,
        """
        class Scaler:
            @property
            def k(self):
                return 3

        @derivation
        def box(x):
            return Scaler().k * x
    """,
    ),
    case(
        "objects",
        "a class attribute changed",
        "recompute",
        """
        class Sizes:
            SMALL = 2

        @derivation
        def box(x):
            return Sizes.SMALL * x
    """,
        """
        class Sizes:
            SMALL = 3

        @derivation
        def box(x):
            return Sizes.SMALL * x
    """,
    ),
    case(
        "objects",
        "the value of an enum member changed",
        "recompute",
        """
        import enum

        class Mode(enum.Enum):
            FAST = 1
            GOOD = 2

        @derivation
        def box(x):
            return Mode.FAST.value + x
    """,
        """
        import enum

        class Mode(enum.Enum):
            FAST = 3
            GOOD = 2

        @derivation
        def box(x):
            return Mode.FAST.value + x
    """,
    ),
    case(
        "objects",
        "a default of a dataclass changed",
        "recompute",
        """
        from dataclasses import dataclass

        @dataclass(frozen=True)
        class Config:
            dpi: int = 300

        @derivation
        def box(x):
            return Config().dpi * x
    """,
        """
        from dataclasses import dataclass

        @dataclass(frozen=True)
        class Config:
            dpi: int = 150

        @derivation
        def box(x):
            return Config().dpi * x
    """,
    ),
    case(
        "objects",
        "the state of a configured instance changed",
        "recompute",
        """
        class Model:
            def __init__(self, weight):
                self.weight = weight

            def run(self, x):
                return self.weight * x

        MODEL = Model(2)

        @derivation
        def box(x):
            return MODEL.run(x)
    """,
        """
        class Model:
            def __init__(self, weight):
                self.weight = weight

            def run(self, x):
                return self.weight * x

        MODEL = Model(3)

        @derivation
        def box(x):
            return MODEL.run(x)
    """,
    ),
    case(
        "objects",
        "a bound method in a global has another instance",
        "recompute",
        """
        class Model:
            def __init__(self, weight):
                self.weight = weight

            def run(self, x):
                return self.weight * x

        run = Model(2).run

        @derivation
        def box(x):
            return run(x)
    """,
        """
        class Model:
            def __init__(self, weight):
                self.weight = weight

            def run(self, x):
                return self.weight * x

        run = Model(3).run

        @derivation
        def box(x):
            return run(x)
    """,
    ),
    case(
        "objects",
        "a compiled pattern changed",
        "recompute",
        """
        import re

        WORD = re.compile("[a-z]+")

        @derivation
        def box(x):
            return WORD.findall(str(x))
    """,
        """
        import re

        WORD = re.compile("[a-z]+", re.IGNORECASE)

        @derivation
        def box(x):
            return WORD.findall(str(x))
    """,
    ),
    case(
        "objects",
        "an array in a global changed",
        "recompute",
        """
        import numpy as np

        KERNEL = np.array([1.0, 2.0])

        @derivation
        def box(x):
            return (KERNEL * x).tolist()
    """,
        """
        import numpy as np

        KERNEL = np.array([1.0, 3.0])

        @derivation
        def box(x):
            return (KERNEL * x).tolist()
    """,
    ),
    case(
        "objects",
        "a function in a table changed",
        "recompute",
        """
        def add(x):
            return x + 1

        TABLE = {"add": add}

        @derivation
        def box(x):
            return TABLE["add"](x)
    """,
        """
        def add(x):
            return x + 2

        TABLE = {"add": add}

        @derivation
        def box(x):
            return TABLE["add"](x)
    """,
    ),
    case(
        "objects",
        "an implementation of singledispatch changed",
        "recompute",
        """
        import functools

        @functools.singledispatch
        def show(x):
            return "?"

        @show.register
        def _(x: int):
            return "int"

        @derivation
        def box(x):
            return show(x)
    """,
        """
        import functools

        @functools.singledispatch
        def show(x):
            return "?"

        @show.register
        def _(x: int):
            return "integer"

        @derivation
        def box(x):
            return show(x)
    """,
    ),
    case(
        "objects",
        "a library's decorator carries another function",
        "recompute",
        """
        import contextlib

        @contextlib.contextmanager
        def scaled(x):
            yield x * 2

        @derivation
        def box(x):
            with scaled(x) as y:
                return y
    """,
        """
        import contextlib

        @contextlib.contextmanager
        def scaled(x):
            yield x * 3

        @derivation
        def box(x):
            with scaled(x) as y:
                return y
    """,
    ),
    case(
        "objects",
        "a static method and a class method changed",
        "recompute",
        """
        class Tool:
            K = 1

            @staticmethod
            def one(x):
                return x

            @classmethod
            def two(cls, x):
                return cls.one(x) + cls.K

        @derivation
        def box(x):
            return Tool.two(x)
    """,
        """
        class Tool:
            K = 1

            @staticmethod
            def one(x):
                return -x

            @classmethod
            def two(cls, x):
                return cls.one(x) + cls.K

        @derivation
        def box(x):
            return Tool.two(x)
    """,
    ),
    case(
        "objects",
        "the default of a helper changed",
        "recompute",
        """
        def helper(x, k=2, *, m=3):
            return x * k * m

        @derivation
        def box(x):
            return helper(x)
    """,
        """
        def helper(x, k=2, *, m=4):
            return x * k * m

        @derivation
        def box(x):
            return helper(x)
    """,
    ),
    case(
        "objects",
        "the class of an input changed",
        "recompute",
        """
        from dataclasses import dataclass

        @dataclass(frozen=True)
        class Crop:
            width: int

            def area(self):
                return self.width * 2

        @derivation
        def box(crop: Crop):
            return crop.area()
    """,
        """
        from dataclasses import dataclass

        @dataclass(frozen=True)
        class Crop:
            width: int

            def area(self):
                return self.width * 3

        @derivation
        def box(crop: Crop):
            return crop.area()
    """,
        call="__import__('m').Crop(3)",
    ),
    case(
        "objects",
        "a parent's method called by super changed",
        "recompute",
        """
        class Base:
            def run(self, x):
                return x

        class Child(Base):
            def run(self, x):
                return super().run(x) + 1

        @derivation
        def box(x):
            return Child().run(x)
    """,
        """
        class Base:
            def run(self, x):
                return -x

        class Child(Base):
            def run(self, x):
                return super().run(x) + 1

        @derivation
        def box(x):
            return Child().run(x)
    """,
    ),
    case(
        "objects",
        "a docstring that is read changed",
        "recompute",
        '''
        def helper():
            """One."""

        @derivation
        def box(x):
            return helper.__doc__
    ''',
        '''
        def helper():
            """Two."""

        @derivation
        def box(x):
            return helper.__doc__
    ''',
    ),
    case(
        "objects",
        "a method nobody calls reads the clock",
        "same",
        """
        import time

        class Timer:
            def scale(self, x):
                return x * 2

            def now_for_the_log(self):
                return time.time()

        @derivation
        def box(x):
            return Timer().scale(x)
    """,
    ),
    case(
        "objects",
        "a method that is called reads the clock",
        "refused",
        """
        import time

        class Timer:
            def scale(self, x):
                return x * time.time()

        @derivation
        def box(x):
            return Timer().scale(x)
    """,
        says="time.time",
    ),
    case(
        "objects",
        "a logger was configured otherwise",
        "same",
        """
        import logging

        log = logging.getLogger("a")

        @derivation
        def box(x):
            log.debug("x")
            return x
    """,
        patch="log.setLevel(10)",
    ),
]

RUNTIME = [
    case(
        "while it runs",
        "a helper was patched",
        "recompute",
        """
        def helper(x):
            return x + 1

        @derivation
        def box(x):
            return helper(x)
    """,
        patch="def helper(x):\n    return x + 2",
    ),
    case(
        "while it runs",
        "a helper of another module was patched",
        "recompute",
        """
        import helpers

        @derivation
        def box(x):
            return helpers.double(x)
    """,
        others=({"helpers": "def double(x):\n    return x * 2\n"}, {}),
        patch="helpers.double = lambda x: x * 20",
    ),
    case(
        "while it runs",
        "a builtin was shadowed",
        "recompute",
        """
        @derivation
        def box(x):
            return abs(x)
    """,
        patch="abs = lambda x: 42",
    ),
    case(
        "while it runs",
        "a function of a library was patched",
        "recompute",
        """
        import json

        @derivation
        def box(x):
            return json.dumps(x)
    """,
        patch="old = json.dumps; json.dumps = lambda x: '?'; undo = lambda: setattr(json, 'dumps', old)",
    ),
    case(
        "while it runs",
        "the code of a helper was exchanged in place",
        "recompute",
        """
        def helper(x):
            return x + 1

        @derivation
        def box(x):
            return helper(x)
    """,
        patch="def other(x):\n    return x + 2\nhelper.__code__ = other.__code__",
    ),
    case(
        "while it runs",
        "the defaults of a helper were exchanged in place",
        "recompute",
        """
        def helper(x, k=1):
            return x + k

        @derivation
        def box(x):
            return helper(x)
    """,
        patch="helper.__defaults__ = (2,)",
    ),
    case(
        "while it runs",
        "a method was patched",
        "recompute",
        """
        class Scaler:
            def scale(self, x):
                return x * 2

        @derivation
        def box(x):
            return Scaler().scale(x)
    """,
        patch="Scaler.scale = lambda self, x: x * 3",
    ),
    case(
        "while it runs",
        "a constant was rebound to an equal value of another type",
        "recompute",
        """
        FACTOR = 1

        @derivation
        def box(x):
            return repr(FACTOR)
    """,
        patch="FACTOR = True",
    ),
    case(
        "while it runs",
        "a table was changed in place",
        "recompute",
        """
        TABLE = {"a": 1, "b": [1, 2]}

        @derivation
        def box(x):
            return TABLE["b"][-1]
    """,
        patch="TABLE['b'].append(3)",
    ),
    case(
        "while it runs",
        "a table was changed in place and back",
        "same",
        """
        TABLE = {"a": 1, "b": [1, 2]}

        @derivation
        def box(x):
            return TABLE["b"][-1]
    """,
        patch="TABLE['b'].append(3); TABLE['b'].pop()",
    ),
    case(
        "while it runs",
        "the order of a table changed",
        "recompute",
        """
        TABLE = {"a": 1, "b": 2}

        @derivation
        def box(x):
            return list(TABLE)
    """,
        patch="TABLE['a'] = TABLE.pop('a')",
    ),
    case(
        "while it runs",
        "an attribute of an instance changed in place",
        "recompute",
        """
        class Config:
            def __init__(self):
                self.dpi = 300

        CONFIG = Config()

        @derivation
        def box(x):
            return CONFIG.dpi * x
    """,
        patch="CONFIG.dpi = 150",
    ),
    case(
        "while it runs",
        "an array changed in place",
        "recompute",
        """
        import numpy as np

        KERNEL = np.array([1.0, 2.0])

        @derivation
        def box(x):
            return (KERNEL * x).tolist()
    """,
        patch="KERNEL[0] = 9",
    ),
    case(
        "while it runs",
        "a closure variable was rebound",
        "recompute",
        """
        def make():
            k = 1

            def put(value):
                nonlocal k
                k = value

            @derivation
            def box(x):
                return x * k
            return box, put

        box, put = make()
    """,
        patch="put(5)",
    ),
    case(
        "while it runs",
        "a module was imported again with other code",
        "recompute",
        """
        import helpers

        @derivation
        def box(x):
            return helpers.double(x)
    """,
        others=({"helpers": "def double(x):\n    return x * 2\n"}, {}),
        patch="""
import importlib, pathlib
path = pathlib.Path(helpers.__file__)
path.write_text("def double(x):\\n    return x * 2000\\n")
importlib.reload(helpers)
""",
    ),
    case(
        "while it runs",
        "the source was edited and not imported again",
        "same",
        """
        import helpers

        @derivation
        def box(x):
            return helpers.double(x)
    """,
        others=({"helpers": "def double(x):\n    return x * 2\n"}, {}),
        patch="""
import pathlib
pathlib.Path(helpers.__file__).write_text("def double(x):\\n    return x * 2000\\n")
""",
    ),
    case(
        "while it runs",
        "a cached property of an instance was asked for",
        "same",
        """
        import functools

        class Config:
            def __init__(self):
                self.dpi = 300

            @functools.cached_property
            def inches(self):
                return 1 / self.dpi

        CONFIG = Config()

        @derivation
        def box(x):
            return CONFIG.inches * x
    """,
        patch="CONFIG.inches",
    ),
    case(
        "while it runs",
        "a pinned table of 10,000 rows changed",
        "recompute",
        """
        TABLE = {n: n for n in range(10_000)}

        @derivation(pins=["TABLE"])
        def box(x):
            return TABLE[x]
    """,
        patch="TABLE[9_999] = 0",
    ),
    case(
        "while it runs",
        "an ignored table changed",
        "same",
        """
        STATISTICS = {"calls": 0}

        @derivation(ignores=["STATISTICS"])
        def box(x):
            STATISTICS["calls"] += 1
            return x
    """,
        patch="STATISTICS['calls'] = 7",
    ),
]

WORLD = [
    case(
        "world",
        "a declared file changed",
        "recompute",
        """
        @derivation(files=["{data}/f"])
        def box(x):
            with open("{data}/f") as file:
                return file.read()
    """,
        data=({"f": "one"}, {"f": "two"}),
    ),
    case(
        "world",
        "a file at a constant path",
        "refused",
        """
        PATH = "{data}/f"

        @derivation
        def box(x):
            with open(PATH) as file:
                return file.read()
    """,
        data=({"f": "one"}, {"f": "two"}),
        says="files=[",
    ),
    case(
        "world",
        "a file opened by a helper with a constant path",
        "refused",
        """
        def load(path):
            with open(path) as file:
                return file.read()

        @derivation
        def box(x):
            return load("{data}/f")
    """,
        data=({"f": "one"}, {"f": "two"}),
        says="files=[",
    ),
    case(
        "world",
        "a file read by a method of a path",
        "refused",
        """
        from pathlib import Path

        @derivation
        def box(x):
            return Path("{data}/f").read_text()
    """,
        data=({"f": "one"}, {"f": "two"}),
        says="files=[",
    ),
    case(
        "world",
        "an array loaded from a constant path",
        "refused",
        """
        import numpy as np

        @derivation
        def box(x):
            return np.load("{data}/f.npy")
    """,
        says="files=[",
    ),
    case(
        "world",
        "a declared variable changed",
        "recompute",
        """
        import os

        @derivation(env=["HONESTY"])
        def box(x):
            return os.environ["HONESTY"]
    """,
        env=({"HONESTY": "a"}, {"HONESTY": "b"}),
    ),
    case(
        "world",
        "an undeclared variable through an alias",
        "refused",
        """
        from os import environ as surroundings

        @derivation
        def box(x):
            return surroundings["HONESTY"]
    """,
        says="env=['HONESTY']",
    ),
    case(
        "world",
        "the clock",
        "refused",
        """
        from time import time as now

        @derivation
        def box(x):
            return now()
    """,
        says="time.time",
    ),
    case(
        "world",
        "the clock by a format",
        "refused",
        """
        import time

        @derivation
        def box(x):
            return time.strftime("%Y")
    """,
        says="time.strftime",
    ),
    case(
        "world",
        "the clock in a table",
        "refused",
        """
        import time

        CLOCKS = {"wall": time.time}

        @derivation
        def box(x):
            return CLOCKS["wall"]()
    """,
        says="time.time",
    ),
    case(
        "world",
        "the clock as a default",
        "refused",
        """
        import time

        @derivation
        def box(x, now=time.time):
            return now()
    """,
        says="time.time",
    ),
    case(
        "world",
        "the whole environment as a default",
        "refused",
        """
        import os

        @derivation
        def box(x, surroundings=os.environ):
            return surroundings["HONESTY"]
    """,
        says="environment",
    ),
    case(
        "world",
        "an error stream as a default",
        "same",
        """
        import sys

        def report(x, file=sys.stderr):
            print(x, file=file)

        @derivation
        def box(x):
            report(x)
            return x
    """,
    ),
    case(
        "world",
        "today in a helper",
        "refused",
        """
        from datetime import datetime

        def stamp():
            return datetime.now().isoformat()

        @derivation
        def box(x):
            return stamp()
    """,
        says="datetime.datetime.now",
    ),
    case(
        "world",
        "chance",
        "refused",
        """
        import random

        @derivation
        def box(x):
            return random.random() * x
    """,
        says="seed",
    ),
    case(
        "world",
        "chance imported by name",
        "refused",
        """
        from random import randint

        @derivation
        def box(x):
            return randint(0, x)
    """,
        says="seed",
    ),
    case(
        "world",
        "a generator with a seed",
        "same",
        """
        import random
        import numpy as np

        @derivation
        def box(x):
            return random.Random(x).random() + np.random.default_rng(x).random()
    """,
    ),
    case(
        "world",
        "a generator without a seed",
        "refused",
        """
        import numpy as np

        @derivation
        def box(x):
            return np.random.default_rng().random() * x
    """,
        says="seed",
    ),
    case(
        "world",
        "a random name",
        "refused",
        """
        import uuid

        @derivation
        def box(x):
            return str(uuid.uuid4())
    """,
        says="uuid.uuid4",
    ),
    case(
        "world",
        "the time zone changed",
        "recompute",
        """
        import time

        @derivation
        def box(x):
            return time.strftime("%H", time.localtime(x))
    """,
        env=({"TZ": "UTC"}, {"TZ": "Asia/Tokyo"}),
        call="0",
    ),
    case(
        "world",
        "the locale changed",
        "recompute",
        """
        import locale

        @derivation
        def box(x):
            return locale.format_string("%.2f", x)
    """,
        patch="locale.setlocale(locale.LC_ALL, 'C.UTF-8'); undo = lambda: locale.setlocale(locale.LC_ALL, 'C')",
    ),
    case(
        "world",
        "a module imported by a computed name",
        "refused",
        """
        import importlib

        @derivation
        def box(name):
            return importlib.import_module(name).VALUE
    """,
        call="'json'",
        says="import_module",
    ),
    case(
        "world",
        "a function of a module found by a computed name",
        "refused",
        """
        import helpers

        @derivation
        def box(name):
            return getattr(helpers, name)()
    """,
        others=({"helpers": "def one():\n    return 1\n"}, {}),
        call="'one'",
        says="attribute",
    ),
    case(
        "world",
        "a function found by a constant name changed",
        "recompute",
        """
        import helpers

        @derivation
        def box(x):
            return getattr(helpers, "one")()
    """,
        others=({"helpers": "def one():\n    return 1\n"}, {"helpers": "def one():\n    return 2\n"}),
    ),
    case(
        "world",
        "a text is evaluated",
        "refused",
        """
        @derivation
        def box(text):
            return eval(text)
    """,
        call="'1'",
        says="eval",
    ),
    case(
        "world",
        "another program is run",
        "refused",
        """
        import subprocess

        @derivation
        def box(x):
            return subprocess.run(["date"], capture_output=True).stdout
    """,
        says="version=",
    ),
    case(
        "world",
        "the network",
        "refused",
        """
        import urllib.request

        @derivation
        def box(url):
            return urllib.request.urlopen(url).read()
    """,
        call="'http://localhost'",
        says="observe",
    ),
    case(
        "world",
        "the hash of a text",
        "refused",
        """
        @derivation
        def box(x):
            return hash(str(x))
    """,
        says="hash",
    ),
    case(
        "world",
        "a module handed on as a value",
        "refused",
        """
        import helpers

        def first(module):
            return module.one()

        @derivation
        def box(x):
            return first(helpers)
    """,
        others=({"helpers": "def one():\n    return 1\n"}, {}),
        says="helpers",
    ),
    case(
        "world",
        "a global that the box itself binds",
        "refused",
        """
        COUNT = 0

        @derivation
        def box(x):
            global COUNT
            COUNT += 1
            return x + COUNT
    """,
        says="COUNT",
    ),
    case(
        "world",
        "an object whose state is hidden",
        "refused",
        """
        import random

        GENERATOR = random.Random(7)

        @derivation
        def box(x):
            return GENERATOR.random() * x
    """,
        says="GENERATOR",
    ),
    case(
        "world",
        "a file beside the module",
        "refused",
        """
        from pathlib import Path

        HERE = Path("{data}")

        @derivation
        def box(x):
            return (HERE / "f").read_text()
    """,
        data=({"f": "one"}, {"f": "two"}),
        says="files=[",
    ),
    case(
        "world",
        "a file at a path put together in the box",
        "refused",
        """
        from pathlib import Path

        @derivation
        def box(x):
            folder = Path("{data}")
            path = folder / "f"
            with path.open() as file:
                return file.read()
    """,
        data=({"f": "one"}, {"f": "two"}),
        says="files=[",
    ),
    case(
        "world",
        "a file given as a file",
        "same",
        """
        from boxwork.derive.handles import File

        @derivation
        def box(scan: File):
            with open(scan.path) as file:
                return file.read()
    """,
        call="__import__('boxwork').File('{data}/f')",
        data=({"f": "one"}, {"f": "one"}),
    ),
    case(
        "world",
        "a declared file beside the module changed",
        "recompute",
        """
        from pathlib import Path

        HERE = Path("{data}")

        @derivation(files=[str(HERE / "f")])
        def box(x):
            return (HERE / "f").read_text()
    """,
        data=({"f": "one"}, {"f": "two"}),
    ),
    case(
        "world",
        "a file given to a reader nobody has heard of",
        "refused",
        """
        import xml.dom.minidom

        @derivation
        def box(x):
            return xml.dom.minidom.parse("{data}/f.xml").toxml()
    """,
        data=({"f.xml": "<a/>"}, {"f.xml": "<b/>"}),
        says="files=[",
    ),
    case(
        "world",
        "the content of a file given as an input",
        "same",
        """
        import io

        @derivation
        def box(data: bytes):
            return io.BytesIO(data).read()
    """,
        call="b'abc'",
    ),
    case(
        "world",
        "the class of the clock under another name",
        "refused",
        """
        import datetime

        @derivation
        def box(x):
            kind = datetime.datetime
            return str(kind.now())
    """,
        says="datetime.datetime.now",
    ),
    case(
        "world",
        "a method that the library calls draws at random",
        "refused",
        """
        import json
        import random

        class Encoder(json.JSONEncoder):
            def default(self, o):
                return random.random()

        @derivation
        def box(x):
            return json.dumps({"a": object()}, cls=Encoder)
    """,
        says="seed",
    ),
    case(
        "world",
        "the clock, which the box says cannot matter",
        "same",
        """
        import time

        @derivation(ignores=["time.perf_counter"])
        def box(x):
            start = time.perf_counter()
            y = x * 2
            print(time.perf_counter() - start)
            return y
    """,
    ),
    case(
        "world",
        "a temporary file",
        "same",
        """
        import tempfile

        @derivation
        def box(x):
            with tempfile.TemporaryDirectory() as folder:
                with open(folder + "/x", "w") as file:
                    file.write("x")
                with open(folder + "/x") as file:
                    return file.read()
    """,
    ),
    case(
        "world",
        "a table too large to watch",
        "refused",
        """
        TABLE = {n: n for n in range(10_000)}

        @derivation
        def box(x):
            return TABLE[x]
    """,
        says="pins=['TABLE']",
    ),
]


def loading(title: str, loads: tuple[str, ...], text: str, **more: object) -> Case:
    """What the box would import is loaded by somebody else between the two calls."""
    return case(
        "imports",
        f"{title} is loaded",
        "same",
        text,
        patch="".join(f"import {one}\n" for one in loads),
        loads=loads,
        **more,
    )


SHOP = {"shop/__init__": "", "shop/tools": DOUBLE}

IMPORTS = [
    loading(
        "a library imported inside the box",
        ("PIL", "PIL.Image", "PIL.ImageOps"),
        """
        @derivation
        def box(x):
            from PIL import Image, ImageOps
            return ImageOps.invert(Image.new("L", (x, x))).size, Image.Resampling.LANCZOS.value
    """,
    ),
    loading(
        "a part of a library imported by its path",
        ("PIL", "PIL.ImageColor"),
        """
        @derivation
        def box(x):
            import PIL.ImageColor
            return PIL.ImageColor.getrgb("red")
    """,
    ),
    loading(
        "a part of a library imported under another name",
        ("PIL", "PIL.ImageColor"),
        """
        @derivation
        def box(x):
            import PIL.ImageColor as colours
            return colours.getrgb("red")
    """,
    ),
    loading(
        "a part of a standard package three levels down",
        ("xml", "xml.dom", "xml.dom.minidom"),
        """
        @derivation
        def box(x):
            import xml.dom.minidom as dom
            return dom.parseString("<a/>").documentElement.tagName
    """,
    ),
    loading(
        "a standard module imported inside the box",
        ("colorsys",),
        """
        @derivation
        def box(x):
            import colorsys
            return colorsys.rgb_to_hls(x, x, x)
    """,
    ),
    loading(
        "a standard module whose constant is read",
        ("stringprep",),
        """
        @derivation
        def box(x):
            from stringprep import b1_set, in_table_b1 as inside
            return len(b1_set), inside("a")
    """,
    ),
    loading(
        "a part that a standard package fills in lazily",
        ("concurrent", "concurrent.futures.thread"),
        """
        @derivation
        def box(x):
            from concurrent import futures
            return futures.ThreadPoolExecutor.__name__
    """,
    ),
    loading(
        "a library imported inside a helper",
        ("PIL", "PIL.ImageColor"),
        """
        from helpers import colour

        @derivation
        def box(x):
            return colour("red")
    """,
        others=({"helpers": "def colour(x):\n    from PIL.ImageColor import getrgb\n    return getrgb(x)\n"}, {}),
    ),
    loading(
        "a library handed on as a module",
        ("PIL", "PIL.ImageColor"),
        """
        def colour(module, x):
            return module.getrgb(x)

        @derivation
        def box(x):
            from PIL import ImageColor
            return colour(ImageColor, "red")
    """,
    ),
    loading(
        "a part of a library whose package is imported above",
        ("PIL", "PIL.ImageStat", "PIL.Image"),
        """
        import PIL

        def load():
            import PIL.Image, PIL.ImageStat

        @derivation
        def box(x):
            load()
            return PIL.ImageStat.Stat(PIL.Image.new("L", (x, x))).count
    """,
    ),
    loading(
        "a library that is tried, with a fallback",
        ("PIL", "PIL.ImageColor"),
        """
        @derivation
        def box(x):
            try:
                from PIL import ImageColor as colours
            except ImportError:
                import colorsys as colours
            return colours.__name__
    """,
    ),
    loading(
        "the fallback for a library that is not there",
        ("colorsys",),
        """
        @derivation
        def box(x):
            try:
                import nowhere_at_all.fast as colours
            except ImportError:
                import colorsys as colours
            return colours.rgb_to_hls(x, x, x)
    """,
    ),
    loading(
        "a part of a package of the project",
        ("shop", "shop.tools"),
        """
        @derivation
        def box(x):
            from shop import tools
            return tools.double(x)
    """,
        others=(SHOP, {}),
    ),
    loading(
        "a part of the project imported by its path",
        ("shop", "shop.tools"),
        """
        @derivation
        def box(x):
            import shop.tools
            return shop.tools.double(x)
    """,
        others=(SHOP, {}),
    ),
    loading(
        "a part of the project whose package is imported above",
        ("shop", "shop.tools"),
        """
        import shop

        def load():
            import shop.tools

        @derivation
        def box(x):
            load()
            return shop.tools.double(x)
    """,
        others=(SHOP, {}),
    ),
    loading(
        "a part of a package without an __init__",
        ("space", "space.inner", "space.inner.tools"),
        """
        @derivation
        def box(x):
            import space.inner.tools as tools
            return tools.double(x)
    """,
        others=({"space/inner/tools": DOUBLE}, {}),
    ),
    case(
        "imports",
        "a part of a package imported inside the box changed",
        "recompute",
        """
        @derivation
        def box(x):
            from shop import tools
            return tools.double(x)
    """,
        others=(SHOP, {"shop/tools": TWENTY}),
    ),
    case(
        "imports",
        "a part imported under another name changed",
        "recompute",
        """
        @derivation
        def box(x):
            import shop.inner.tools as t
            return t.double(x)
    """,
        others=(
            {"shop/__init__": "", "shop/inner/__init__": "", "shop/inner/tools": DOUBLE},
            {"shop/inner/tools": TWENTY},
        ),
    ),
    case(
        "imports",
        "what a helper imports inside changed",
        "recompute",
        """
        def helper(x):
            import shop.tools
            return shop.tools.double(x)

        @derivation
        def box(x):
            return helper(x)
    """,
        others=(SHOP, {"shop/tools": TWENTY}),
    ),
    case(
        "imports",
        "the fallback of an import changed",
        "recompute",
        """
        @derivation
        def box(x):
            try:
                from nowhere_at_all import double
            except ImportError:
                from shop.tools import double
            return double(x)
    """,
        others=(SHOP, {"shop/tools": TWENTY}),
    ),
    case(
        "imports",
        "a module that was tried in vain is there",
        "recompute",
        """
        @derivation
        def box(x):
            try:
                from fast_at_last import double
            except ImportError:
                from shop.tools import double
            return double(x)
    """,
        others=(SHOP, {"fast_at_last": TWENTY}),
    ),
    case(
        "imports",
        "an unrelated function of a module imported inside changed",
        "same",
        """
        @derivation
        def box(x):
            from shop import tools
            return tools.double(x)
    """,
        others=(SHOP, {"shop/tools": DOUBLE + "def other():\n    return 1\n"}),
    ),
    case(
        "imports",
        "a function of a library imported inside was patched",
        "recompute",
        """
        @derivation
        def box(x):
            from PIL import ImageColor
            return ImageColor.getrgb("red")
    """,
        patch="""
from PIL import ImageColor
old = ImageColor.getrgb
ImageColor.getrgb = lambda text: (0, 0, 0)
def undo():
    ImageColor.getrgb = old
""",
    ),
    case(
        "imports",
        "chance of a library imported inside the box",
        "refused",
        """
        @derivation
        def box(x):
            import numpy as np
            return float(np.random.rand())
    """,
        says="seed",
    ),
    case(
        "imports",
        "the clock of a module imported inside and handed on",
        "refused",
        """
        def now(kind):
            return kind.now()

        @derivation
        def box(x):
            from datetime import datetime as kind
            made = kind
            return made.now()
    """,
        says="datetime.datetime.now",
    ),
]

CASES = [*CLASSIC, *CODE, *OBJECTS, *RUNTIME, *WORLD, *IMPORTS]
