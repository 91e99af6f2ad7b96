"""How a function calls what it reads: with constants, with what came in, or with something nobody can follow.

Whether `open` is harmless depends on its argument.  This file says of every call of a name from outside the
function what its arguments are, as far as the syntax tells:

    ("const", "x.json")      the constant text, number or None itself (its repr when it is no text)
    ("input", "path", "n")   made from these parameters
    ("name", "g", "CONFIG")  a global (or closure, or module) and its attributes: the walk knows the value
    ("text", "HERE / 'x'")   an expression of constants and names from outside: the walk can evaluate it
    ("memory",)              a BytesIO or StringIO: no file at all
    ("other",)               anything else

`calls_of` also lists every name that is read without being called: `handler = open` has no argument to look at.
"""

from __future__ import annotations

import ast
import copy
from types import CodeType

import msgspec

Argument = tuple[str, ...]
Chain = tuple[str, ...]

LOOKUPS = frozenset({("g", "getattr"), ("g", "hasattr")})
IN_MEMORY = frozenset({"BytesIO", "StringIO"})
# Methods of a path that look at the file system, on a receiver that is no name from outside.
PATH_METHODS = frozenset({"read_text", "read_bytes"})
# The same on a receiver that is known to be a path.
PATH_ONLY_METHODS = frozenset(
    {"open", "exists", "is_file", "is_dir", "stat", "lstat", "iterdir", "glob", "rglob", "walk"}
)
# What may be called in an expression that the walk evaluates: it only puts paths and texts together.
JOINERS = frozenset(
    {
        "Path",
        "PosixPath",
        "PurePath",
        "join",
        "joinpath",
        "with_name",
        "with_suffix",
        "str",
        "format",
        "fspath",
        "dirname",
        "abspath",
        "parent",
    }
)
TEMPORARY_MAKERS = frozenset(
    {"NamedTemporaryFile", "TemporaryFile", "TemporaryDirectory", "SpooledTemporaryFile", "mkdtemp", "mkstemp"}
)
TEMPORARY = "<temporary>"  # stands among the parameters a path was made from
PATH_MAKERS = frozenset({"Path", "PosixPath", "WindowsPath"})


class Call(msgspec.Struct, frozen=True):
    """`form` is how the name is used: "call", "item" (`name[...]`), "in" (`... in name`) or "bare".

    The chain of a method on something that is no name from outside is ("@", method), with the receiver as first
    argument; these are listed when the method may read a file, or gets a constant text.
    """

    chain: Chain
    form: str
    line: int
    arguments: tuple[Argument, ...] = ()
    keywords: dict[str, Argument] = {}
    more: bool = False  # there are star arguments


def calls_of(node: ast.FunctionDef | ast.AsyncFunctionDef, code: CodeType) -> tuple[tuple[Call, ...], dict[str, int]]:
    """The uses of outside names in order, and the first line of each name and of each attribute."""
    reader = _Reader(node, code)
    for statement in node.body:
        reader.visit(statement)
    return tuple(reader.calls), reader.lines


class _Inline(ast.NodeTransformer):
    """Puts the expression of a local in its place; a local made from itself stays."""

    def __init__(self, paths: dict[str, ast.expr]) -> None:
        self._paths = paths
        self._open: set[str] = set()

    def visit_Name(self, node: ast.Name) -> ast.expr:
        expression = self._paths.get(node.id)
        if expression is None or node.id in self._open:
            return node
        self._open.add(node.id)
        found: ast.expr = self.visit(copy.deepcopy(expression))
        self._open.discard(node.id)
        return found


class _Reader(ast.NodeVisitor):
    def __init__(self, node: ast.FunctionDef | ast.AsyncFunctionDef, code: CodeType) -> None:
        nodes = list(ast.walk(node))[1:]
        self.parameters = _parameters(node.args)
        self.locals = _locals(code)
        self.tainted = _tainted(nodes, self.parameters)
        self.paths = {name: value for name, value in _path_locals(nodes).items() if name not in self.parameters}
        self.imported = _imported(nodes)
        self.calls: list[Call] = []
        self.lines: dict[str, int] = {}

    def chain(self, node: ast.expr) -> Chain | None:
        """The outside name `node` spells, or None."""
        attributes: list[str] = []
        while isinstance(node, ast.Attribute):
            attributes.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            return None
        if node.id in self.imported:
            return ("i", *self.imported[node.id], *reversed(attributes))
        return None if node.id in self.locals else ("g", node.id, *reversed(attributes))

    def describe(self, node: ast.expr) -> Argument:
        if any(isinstance(one, ast.Name) and one.id in self.paths for one in ast.walk(node)):
            node = _Inline(self.paths).visit(copy.deepcopy(node))
        if isinstance(node, ast.Constant):
            return ("const", node.value if isinstance(node.value, str) else repr(node.value))
        chain = self.chain(node)
        if chain is not None:
            return ("name", *chain)
        if isinstance(node, ast.Call) and _last(node.func) in IN_MEMORY:
            return ("memory",)
        if isinstance(node, ast.Call) and _last(node.func) in PATH_MAKERS and len(node.args) == 1:
            return self.describe(node.args[0])
        if self._is_fixed(node):
            return ("text", ast.unparse(node))
        found: set[str] = set()
        for inner in ast.walk(node):
            if isinstance(inner, ast.Name):
                found |= self.tainted.get(inner.id, frozenset())
            if isinstance(inner, ast.Call) and _last(inner.func) in IN_MEMORY:
                return ("memory",)
        return ("input", *sorted(found)) if found else ("other",)

    def add(
        self,
        chain: Chain,
        form: str,
        node: ast.expr,
        call: ast.Call | None = None,
        arguments: tuple[Argument, ...] = (),
    ) -> None:
        keywords: dict[str, Argument] = {}
        more = False
        if call is not None:
            more = any(isinstance(one, ast.Starred) for one in call.args) or any(k.arg is None for k in call.keywords)
            arguments += tuple(self.describe(one) for one in call.args)
            keywords = {one.arg: self.describe(one.value) for one in call.keywords if one.arg is not None}
        self.calls.append(Call(chain, form, node.lineno, arguments, keywords, more))
        self.lines.setdefault(".".join(chain[1:]), node.lineno)

    def visit_Call(self, node: ast.Call) -> None:
        chain = self.chain(node.func)
        if chain is not None:
            self.add(chain, "call", node.func, node)
        elif isinstance(node.func, ast.Attribute):
            method = node.func.attr
            known = method in PATH_ONLY_METHODS and self._is_path(node.func.value)
            texts = any(self.describe(one)[0] in {"const", "text"} for one in node.args)
            if method in PATH_METHODS or known or texts:
                self.add(("@", method), "call", node.func, node, (self.describe(node.func.value),))
            self.lines.setdefault("." + method, node.lineno)
            self.visit(node.func.value)
        else:
            self.visit(node.func)
        arguments = node.args
        constant = len(arguments) >= 2 and isinstance(arguments[1], ast.Constant)
        if chain in LOOKUPS and constant and self.chain(arguments[0]):
            arguments = arguments[1:]  # the same as `module.name`: the module itself is not handed on
        for argument in arguments:
            self.visit(argument)
        for keyword in node.keywords:
            self.visit(keyword.value)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        chain = self.chain(node.value)
        if chain is not None and isinstance(node.ctx, ast.Load):
            self.add(chain, "item", node.value, arguments=(self.describe(node.slice),))
            self.visit(node.slice)
        else:
            self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        chain = self.chain(node.comparators[0])
        if len(node.ops) == 1 and isinstance(node.ops[0], (ast.In, ast.NotIn)) and chain is not None:
            self.add(chain, "in", node.comparators[0], arguments=(self.describe(node.left),))
            self.visit(node.left)
        else:
            self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> None:
        self._bare(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if self._bare(node):
            return
        self.lines.setdefault("." + node.attr, node.lineno)
        self.visit(node.value)

    def _bare(self, node: ast.Name | ast.Attribute) -> bool:
        chain = self.chain(node)
        if chain is not None and isinstance(node.ctx, ast.Load):
            self.add(chain, "bare", node)
        return chain is not None

    def _is_path(self, node: ast.expr) -> bool:
        node = _Inline(self.paths).visit(copy.deepcopy(node))
        while isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            node = node.left
        return (isinstance(node, ast.Call) and _last(node.func) in PATH_MAKERS) or self._is_fixed(node)

    def _is_fixed(self, node: ast.expr) -> bool:
        """Whether an expression is made of constants and outside names alone, by operations that do nothing else."""
        if isinstance(node, ast.Constant):
            return True
        if isinstance(node, (ast.Name, ast.Attribute)):
            return self.chain(node) is not None or (isinstance(node, ast.Attribute) and self._is_fixed(node.value))
        if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Div, ast.Add, ast.Mod)):
            return self._is_fixed(node.left) and self._is_fixed(node.right)
        if isinstance(node, ast.JoinedStr):
            return all(self._is_fixed(one.value) for one in node.values if isinstance(one, ast.FormattedValue))
        if isinstance(node, ast.Call) and _last(node.func) in JOINERS and not node.keywords:
            receiver = isinstance(node.func, ast.Name) or self._is_fixed(node.func)
            return receiver and all(map(self._is_fixed, node.args))
        return False


def _last(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _parameters(arguments: ast.arguments) -> list[str]:
    found = [one.arg for one in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    found += [one.arg for one in (arguments.vararg, arguments.kwarg) if one is not None]
    return found


def _locals(code: CodeType) -> frozenset[str]:
    """Names that belong to the function or to anything nested in it."""
    found = set(code.co_varnames) | set(code.co_cellvars)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found |= _locals(constant)
    return frozenset(found)


def _tainted(nodes: list[ast.AST], parameters: list[str]) -> dict[str, frozenset[str]]:
    """Each local with the parameters it was made from, however indirectly.

    Parameters of nested functions may be given anything that came in, so they count as made from all of it.
    """
    tainted: dict[str, frozenset[str]] = {name: frozenset({name}) for name in parameters}
    flows: list[tuple[str, ast.AST]] = []
    for inner in nodes:
        if isinstance(inner, ast.Assign):
            flows += [(name, inner.value) for target in inner.targets for name in _targets(target)]
        elif isinstance(inner, (ast.AnnAssign, ast.AugAssign, ast.NamedExpr)) and inner.value is not None:
            flows += [(name, inner.value) for name in _targets(inner.target)]
        elif isinstance(inner, (ast.For, ast.AsyncFor, ast.comprehension)):
            flows += [(name, inner.iter) for name in _targets(inner.target)]
        elif isinstance(inner, ast.withitem) and inner.optional_vars is not None:
            flows += [(name, inner.context_expr) for name in _targets(inner.optional_vars)]
        elif isinstance(inner, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            for name in _parameters(inner.args):
                tainted.setdefault(name, frozenset(parameters))
    made_of = [(name, *_sources(value)) for name, value in flows]
    changed = True
    while changed:
        changed = False
        for name, names, fixed in made_of:
            found = fixed.union(*(tainted.get(one, frozenset()) for one in names))
            if not found <= tainted.get(name, frozenset()):
                tainted[name] = tainted.get(name, frozenset()) | found
                changed = True
    return tainted


def _sources(value: ast.AST) -> tuple[list[str], frozenset[str]]:
    """The names in an expression, and whether it makes something temporary."""
    names: list[str] = []
    fixed: frozenset[str] = frozenset()
    for one in ast.walk(value):
        if isinstance(one, ast.Name):
            names.append(one.id)
        elif isinstance(one, ast.Call) and _last(one.func) in TEMPORARY_MAKERS:
            fixed = frozenset({TEMPORARY})
    return names, fixed


def _targets(target: ast.AST) -> list[str]:
    return [inner.id for inner in ast.walk(target) if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store)]


def _path_locals(nodes: list[ast.AST]) -> dict[str, ast.expr]:
    """Locals bound exactly once, to a text or what joins paths: as good as the expression itself."""
    bound: dict[str, int] = {}
    found: dict[str, ast.expr] = {}
    for inner in nodes:
        if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
            bound[inner.id] = bound.get(inner.id, 0) + 1
        if isinstance(inner, ast.Assign) and len(inner.targets) == 1 and isinstance(inner.targets[0], ast.Name):
            value = inner.value
            joined = isinstance(value, ast.Call) and _last(value.func) in PATH_MAKERS | JOINERS
            if (
                joined
                or isinstance(value, (ast.BinOp, ast.JoinedStr))
                or (isinstance(value, ast.Constant) and isinstance(value.value, str))
            ):
                found[inner.targets[0].id] = value
    return {name: value for name, value in found.items() if bound[name] == 1}


def _imported(nodes: list[ast.AST]) -> dict[str, Chain]:
    """Locals that hold an imported module or something from one, as `names.py` spells them."""
    found: dict[str, Chain] = {}
    for inner in nodes:
        if isinstance(inner, ast.Import):
            for one in inner.names:
                found[one.asname or one.name.split(".")[0]] = (one.name if one.asname else one.name.split(".")[0],)
        elif isinstance(inner, ast.ImportFrom):
            module = "." * inner.level + (inner.module or "")
            for one in inner.names:
                found[one.asname or one.name] = (module, one.name)
    return found
