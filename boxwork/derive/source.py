"""The normal form of a function's code: what stays the same when only its looks change.

With source, the normal form is the syntax tree of the body and the argument names: no docstrings, comments,
positions or own name.  The source on disk may be newer than the function, so the tree is compiled again and taken
only if that gives the very code object at hand.  Otherwise (edited after import, generated, a lambda) the bytecode
is taken, with names and constants instead of indexes.  Everything here follows from the code object alone, never
from what surrounds it: decorators, defaults and annotations are live objects and judged as such.  That is why
the facts can be kept under the exact identity of the code object, and a later process reads no source.
"""

from __future__ import annotations
import __future__

import ast
import inspect
import linecache
import threading
import tokenize
import weakref
from collections.abc import Callable, Iterator
from types import CodeType

import msgspec

from boxwork import keys
from boxwork.derive.calls import Call, calls_of
from boxwork.derive.distributions import Index
from boxwork.derive.names import Read, imported_names, instructions, names_of

# Compiler flags a function's own code object still carries: they change how the text compiles.
_FUTURE_FLAGS = 0
for _name in __future__.all_feature_names:
    _FUTURE_FLAGS |= getattr(__future__, _name).compiler_flag

# Raised when anything in `Facts` or in how they are found changes: kept rows of other formats are not found.
FACTS_FORMAT = 4


class Facts(msgspec.Struct, frozen=True):
    """Everything the walk needs to know of one code object.

    `calls` is None when the source is not known: then nobody can say with which arguments it calls `open`.
    """

    digest: bytes
    reads: tuple[Read, ...]
    stores: tuple[str, ...]
    attributes: frozenset[str]
    calls: tuple[Call, ...] | None
    lines: dict[str, int]


class Sources:
    """Facts of code objects, remembered in memory and, with an index, on disk.  Safe from many threads."""

    def __init__(self, index: Index | None = None) -> None:
        self._index = index
        # By id, with a weak reference: a notebook that defines a box again and again leaves its code behind.
        self._known: dict[int, tuple[weakref.ref[CodeType], Facts]] = {}
        self._lock = threading.Lock()
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(Facts).decode

    def facts(self, code: CodeType, qualname: str) -> Facts:
        known = self._known.get(id(code))
        if known is not None and known[0]() is code:
            return known[1]
        key = keys.part_digest("code", b"%d:" % FACTS_FORMAT + exact_form(code))
        found = self._kept(key)
        if found is None:
            found = facts_of(code, qualname)
            if self._index is not None:
                self._index.put(key, self._encode(found))
        with self._lock:
            self._known[id(code)] = (weakref.ref(code, self._forgetter(id(code))), found)
        return found

    def _forgetter(self, number: int) -> Callable[[object], None]:
        known = self._known

        def forget(gone: object) -> None:
            row = known.get(number)
            if row is not None and row[0] is gone:
                del known[number]

        return forget

    def _kept(self, key: bytes) -> Facts | None:
        raw = self._index.get(key) if self._index is not None else None
        if raw is None:
            return None
        try:
            return self._decode(raw)
        except msgspec.MsgspecError:
            return None  # a torn or older row: found again from the source


def facts_of(code: CodeType, qualname: str) -> Facts:
    """The facts of `code`, from its source if that still is its source."""
    names = names_of(code)
    node = syntax_of(code, qualname)
    if node is None:
        digest = keys.part_digest("bytecode", bytecode_form(code))
        return Facts(digest, names.reads, names.stores, names.attributes, None, {})
    calls, lines = calls_of(node, code)
    digest = keys.part_digest("syntax", normal_form(node, code))
    return Facts(digest, names.reads, names.stores, names.attributes, calls, lines)


Function = ast.FunctionDef | ast.AsyncFunctionDef


def syntax_of(code: CodeType, qualname: str) -> Function | None:
    """The definition of `code` in its source, if compiling it gives this very code; else None."""
    if code.co_name.startswith("<"):
        return None
    lines = _lines(code.co_filename)
    first = code.co_firstlineno
    if not 0 < first <= len(lines):
        return None
    for last in _ends(code, lines):
        block = "".join(lines[first - 1 : last])
        # A method's block is indented: put it under a header on the line before, so that no text is touched.
        indented = block[:1] in " \t"
        try:
            tree = ast.parse("if 1:\n" + block if indented else block)
        except (SyntaxError, ValueError):
            continue
        body = tree.body[0].body if indented and isinstance(tree.body[0], ast.If) else tree.body
        node = body[0] if body else None
        if not isinstance(node, Function) or node.name != code.co_name:
            return None
        ast.increment_lineno(node, first - (2 if indented else 1))
        if _compiles_to(node, code, qualname):
            return node
    return None


def _lines(filename: str) -> list[str]:
    linecache.checkcache(filename)
    return linecache.getlines(filename)


def _ends(code: CodeType, lines: list[str]) -> Iterator[int]:
    """Where the definition may end, the cheapest guess first.

    The last position in the bytecode is almost always right; trailing `pass` and the like need a tokeniser.
    """
    yield _last_line(code)
    try:
        yield code.co_firstlineno - 1 + len(inspect.getblock(lines[code.co_firstlineno - 1 :]))
    except (SyntaxError, tokenize.TokenError):
        return


def _last_line(code: CodeType) -> int:
    last = code.co_firstlineno
    for _, line, _, _ in code.co_positions():
        if line is not None and line > last:
            last = line
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            last = max(last, _last_line(constant))
    return last


def _compiles_to(node: Function, code: CodeType, qualname: str) -> bool:
    """Whether compiling `node`, in the surroundings `qualname` and the free variables tell, gives `code`."""
    inner: ast.stmt = node
    enclosing = qualname.rsplit(".", 2)
    if "__class__" in code.co_freevars or (len(enclosing) > 1 and enclosing[-2] != "<locals>"):
        name = enclosing[-2] if len(enclosing) > 1 and enclosing[-2].isidentifier() else "_"
        inner = ast.ClassDef(name=name, bases=[], keywords=[], body=[inner], decorator_list=[])
        if hasattr(inner, "type_params"):
            inner.type_params = []
    if code.co_flags & inspect.CO_NESTED:
        free = [name for name in code.co_freevars if name != "__class__"]
        outer = ast.parse(f"def _({', '.join(free)}): pass").body[0]
        outer.body = [inner]  # type: ignore[attr-defined]
        inner = outer
    body = [inner]
    imported = sorted(imported_names(code))
    if imported:
        body.insert(0, ast.Import(names=[ast.alias(name=name) for name in imported]))
    module = ast.fix_missing_locations(ast.Module(body=body, type_ignores=[]))
    try:
        compiled = compile(module, code.co_filename, "exec", flags=code.co_flags & _FUTURE_FLAGS, dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError):
        return False
    wanted = exact_form(code, positions=False)
    return any(exact_form(one, positions=False) == wanted for one in _nested(compiled, code))


def _nested(code: CodeType, like: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            if constant.co_name == like.co_name and constant.co_firstlineno == like.co_firstlineno:
                yield constant
            yield from _nested(constant, like)


def normal_form(node: Function, code: CodeType) -> bytes:
    """The syntax of a function without its looks, its name and what is evaluated outside of it.

    Docstrings go only where they are docstrings; inside, definitions keep their decorators and defaults.
    """
    arguments = [
        [one.arg for one in (*node.args.posonlyargs, *node.args.args)],
        len(node.args.posonlyargs),
        node.args.vararg and node.args.vararg.arg,
        [one.arg for one in node.args.kwonlyargs],
        node.args.kwarg and node.args.kwarg.arg,
        isinstance(node, ast.AsyncFunctionDef),
        code.co_flags & _FUTURE_FLAGS,
    ]
    shown = "__doc__" in code.co_names or any(
        isinstance(one, ast.Attribute) and one.attr == "__doc__" for one in ast.walk(node)
    )
    for inner in () if shown else ast.walk(node):
        if isinstance(inner, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            inner.body = _without_docstring(inner.body)
    return (repr(arguments) + "".join(map(ast.dump, node.body))).encode("utf-8", "surrogatepass")


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    first = body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        return body[1:] or [ast.Pass()]
    return body


def bytecode_form(code: CodeType) -> bytes:
    """The bytecode without positions, constant indexes and the docstring."""
    arguments = code.co_varnames[
        : code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & 4) + bool(code.co_flags & 8)
    ]
    out = [
        repr(
            (
                arguments,
                code.co_argcount,
                code.co_posonlyargcount,
                code.co_kwonlyargcount,
                code.co_flags,
                code.co_freevars,
            )
        ).encode()
    ]
    for name, operand in instructions(code):
        out.append(name.encode())
        out.append(bytecode_form(operand) if isinstance(operand, CodeType) else constant_form(operand))
    out.append(code.co_exceptiontable)
    return b"".join(b"%d:%b" % (len(one), one) for one in out)


def exact_form(code: CodeType, *, positions: bool = True) -> bytes:
    """Everything in a code object that its source decides; without `positions`, as if lines did not matter."""
    out = [
        repr(
            (
                code.co_name,
                code.co_argcount,
                code.co_posonlyargcount,
                code.co_kwonlyargcount,
                code.co_flags,
                code.co_names,
                code.co_varnames,
                code.co_cellvars,
                code.co_freevars,
            )
        ).encode("utf-8", "surrogatepass"),
        code.co_code,
        code.co_exceptiontable,
    ]
    if positions:
        out += [code.co_linetable, b"%d" % code.co_firstlineno]
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            out.append(exact_form(constant, positions=positions))
        else:
            out.append(constant_form(constant))
    return b"".join(b"%d:%b" % (len(one), one) for one in out)


def constant_form(value: object) -> bytes:
    """A constant of a code object, with its type: 1, 1.0 and True differ, a frozenset has no order."""
    if isinstance(value, tuple):
        return b"(" + b"".join(constant_form(one) + b"," for one in value) + b")"
    if isinstance(value, frozenset):
        return b"{" + b"".join(sorted(constant_form(one) + b"," for one in value)) + b"}"
    return f"{type(value).__name__}:{value!r}".encode("utf-8", "surrogatepass")
