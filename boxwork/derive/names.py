"""What a code object reads and writes, as its bytecode says.

The bytecode is what will run, so the names are taken from it and never from the text.  A read is a root and the
attributes loaded from it at once: `np.linalg.norm(x)` is `("g", ("np", "linalg", "norm"))`.  Roots are globals
(`g`), closure variables (`c`) and what is imported inside the function (`i`; the import itself is `m`).
"""

from __future__ import annotations

import dis
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType

Chain = tuple[str, ...]
Read = tuple[str, Chain]

_OP = dis.opname
_WIDE_ATTRIBUTE = sys.version_info >= (3, 12)  # the operand of LOAD_ATTR carries a flag in its lowest bit
_ROOTS_GLOBAL = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
_ROOTS_CLOSURE = frozenset({"LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF"})
_ROOTS = (
    _ROOTS_GLOBAL | _ROOTS_CLOSURE | {"LOAD_FAST", "LOAD_FAST_CHECK", "LOAD_FAST_BORROW"}
)  # names as they stand in the text
_ATTRIBUTES = frozenset({"LOAD_ATTR", "LOAD_METHOD"})
_CLOSURE_STORES = frozenset({"STORE_DEREF"})
_SKIPPED = frozenset({"CACHE", "EXTENDED_ARG", "NOP", "RESUME", "PRECALL"})


@dataclass(frozen=True, slots=True)
class Names:
    """`reads` in the order of the code, each once; `stores` are globals it binds; `attributes` is every attribute
    or method name it loads from anything."""

    reads: tuple[Read, ...]
    stores: tuple[str, ...]
    attributes: frozenset[str]


def names_of(code: CodeType) -> Names:
    """The names of `code` and of everything nested in it."""
    reads: dict[Read, None] = {}
    stores: dict[str, None] = {}
    attributes: set[str] = set()
    _collect(code, frozenset(code.co_freevars), {}, reads, stores, attributes)
    return Names(tuple(reads), tuple(stores), frozenset(attributes))


def imported_names(code: CodeType) -> set[str]:
    """Names that the compiler took for modules imported at the top: it loads what is called in them as an
    attribute, not as a method.  A name that is only looked into is among them; that makes no difference."""
    found: set[str] = set()
    methods: set[str] = set()
    _imported_names(code, found, methods)
    return found - methods


def _imported_names(code: CodeType, found: set[str], methods: set[str]) -> None:
    before: tuple[str, object] = ("", None)
    for step in instructions(code):
        if step[0] in _ATTRIBUTES and before[0] in _ROOTS and isinstance(before[1], str):
            (found if step[0] == "LOAD_ATTR" else methods).add(before[1])
        before = step
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            _imported_names(constant, found, methods)


def instructions(code: CodeType) -> Iterator[tuple[str, object]]:
    """Operation names with their operands as values: constants, names and variables instead of indexes.

    Positions do not show in it, nor does the index a constant happens to have.
    """
    raw = code.co_code
    wide = 0
    names, constants = code.co_names, code.co_consts
    variable = code._varname_from_oparg  # type: ignore[attr-defined]
    for offset in range(0, len(raw), 2):
        number = raw[offset]
        name = _OP[number]
        operand = raw[offset + 1] | wide
        wide = 0
        if name == "EXTENDED_ARG":
            wide = operand << 8
            continue
        if name in _SKIPPED:
            continue
        if name == "LOAD_GLOBAL":
            yield name, names[operand >> 1]
        elif name == "LOAD_SUPER_ATTR":
            yield name, names[operand >> 2]
        elif name == "LOAD_ATTR" and _WIDE_ATTRIBUTE:
            yield ("LOAD_METHOD" if operand & 1 else name), names[operand >> 1]
        elif name == "IMPORT_NAME" and sys.version_info >= (3, 15):
            yield name, names[operand >> 2]
        elif number in _HAS_NAME:
            yield name, names[operand]
        elif number in _HAS_CONSTANT:
            yield name, constants[operand]
        elif name.count("FAST") == 2:  # two variables in one operation, from 3.13 on
            second = max(name.rfind("LOAD_FAST"), name.rfind("STORE_FAST"))
            yield name[: second - 1], variable(operand >> 4)
            yield name[second:], variable(operand & 15)
        elif number in _HAS_FREE or number in _HAS_LOCAL:
            yield name, variable(operand)
        else:
            yield name, operand


_HAS_NAME = frozenset(dis.hasname)
_HAS_CONSTANT = (
    frozenset(dis.hasconst)
    if sys.version_info < (3, 14)
    else frozenset(number for number in dis.hasconst if dis.opname[number] != "LOAD_SMALL_INT")
)
_HAS_LOCAL = frozenset(dis.haslocal)
_HAS_FREE = frozenset(dis.hasfree)


def _collect(
    code: CodeType,
    free: frozenset[str],
    bound: dict[str, set[Read]],
    reads: dict[Read, None],
    stores: dict[str, None],
    attributes: set[str],
) -> None:
    """`free` are closure variables of the outermost function; `bound` maps locals of enclosing functions that
    hold an imported module, or something loaded from one, to what they hold."""
    steps = list(instructions(code))
    bound = {name: set(held) for name, held in bound.items() if name in code.co_freevars}
    for name, held in _imports(steps):
        bound.setdefault(name, set()).add(held)

    index, count = 0, len(steps)
    module: str | None = None
    plain = False
    while index < count:
        name, operand = steps[index]
        index += 1
        roots: list[Read] = []
        if name in _ROOTS_GLOBAL:
            roots = [("g", (str(operand),))]
        elif name in _ROOTS_CLOSURE and operand in free:
            roots = [("c", (str(operand),))]
        elif (name in _ROOTS_CLOSURE or name.startswith("LOAD_FAST")) and operand in bound:
            roots = sorted(bound[str(operand)])
        elif name == "IMPORT_NAME":
            module = _module(steps, index - 1)
            plain = index >= 2 and steps[index - 2][1] is None
            if index < count and steps[index] == ("IMPORT_STAR", steps[index][1]):
                reads[("i", (module, "*"))] = None
            else:
                reads[("m", (module,))] = None
        elif name == "IMPORT_FROM" and module is not None and not plain:  # plain: the steps of `import a.b as c`
            reads[("i", (module, str(operand)))] = None
        elif name in {"STORE_GLOBAL", "DELETE_GLOBAL"}:
            stores[str(operand)] = None
        elif name in _ATTRIBUTES or name.startswith("LOAD_SUPER_"):
            attributes.add(str(operand))
        if roots:
            suffix: list[str] = []
            while index < count and steps[index][0] in _ATTRIBUTES:
                suffix.append(str(steps[index][1]))
                index += 1
            attributes.update(suffix)
            for kind, chain in roots:
                reads[(kind, (*chain, *suffix))] = None
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            _collect(constant, free, bound, reads, stores, attributes)


def _module(steps: list[tuple[str, object]], index: int) -> str:
    """The module an IMPORT_NAME at `index` asks for; a relative one keeps its leading dots."""
    level = steps[index - 2][1] if index >= 2 else 0
    return "." * (level if isinstance(level, int) else 0) + str(steps[index][1])


def _imports(steps: list[tuple[str, object]]) -> Iterator[tuple[str, Read]]:
    """Locals that hold what was imported.

    `import a.b` binds the module `a`, `import a.b as c` the module `a.b`, `from m import f as g` the attribute.
    """
    module = ""
    held: Read | None = None
    plain = False
    for index, (name, operand) in enumerate(steps):
        if name == "IMPORT_NAME":
            module = _module(steps, index)
            plain = steps[index - 1][1] is None
            held = ("i", (module.split(".")[0] if plain and not module.startswith(".") else module,))
        elif name == "IMPORT_FROM":
            held = ("i", (f"{module}",)) if plain else ("i", (module, str(operand)))
        elif name in {"STORE_FAST", "STORE_DEREF"} and held is not None:
            yield str(operand), held
            held = None
        elif name not in {"SWAP", "POP_TOP"}:
            held = None
