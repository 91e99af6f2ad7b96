"""The purity audit: a transaction may look at the world only through `tx`.

Two nets.  Before its first run the code of a transaction, and of what it calls in its own project, is searched for
clocks, chance, files, processes and the network.  And one batch of many is run again from its inputs: what it wrote
and answered must be the same.
"""

from __future__ import annotations

import dis
import sys
import types
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from boxwork.errors import Impure
from boxwork.transactions import Transaction

if TYPE_CHECKING:
    from boxwork.state.batch import Batch
    from boxwork.state.snapshot import Facts

# Modules (with what is under them) of which nothing is a function of its arguments alone, and what to use instead.
_MODULES = {
    "time": "tx.now()",
    "random": "tx.random() or tx.uid()",
    "_random": "tx.random() or tx.uid()",
    "secrets": "tx.uid()",
    "os": "an input",
    "posix": "an input",
    "io": "an input",
    "_io": "an input",
    "socket": "an input",
    "_socket": "an input",
    "ssl": "an input",
    "subprocess": "an input",
    "shutil": "an input",
    "tempfile": "an input",
    "threading": "nothing, it runs alone",
    "multiprocessing": "nothing, it runs alone",
    "requests": "an input",
    "httpx": "an input",
    "urllib.request": "an input",
    "http.client": "an input",
    "aiohttp": "an input",
    "select": "an input",
    "glob": "an input",
    "sqlite3": "the facts",
    "lmdb": "the facts",
}
_BUILTINS = {
    "open": "an input",
    "input": "an input",
    "id": "tx.uid()",
    "print": "the answer",
    "globals": "an input",
    "hash": "a digest of your own",
    "exec": "plain code",
    "eval": "plain code",
}
# Functions that look at the world though their module or class is harmless.
_MEMBERS = {
    "datetime.datetime": ({"now", "utcnow", "today"}, "tx.now()"),
    "datetime.date": ({"today"}, "tx.now()"),
    "uuid": ({"uuid1", "uuid4"}, "tx.uid()"),
    "pathlib.Path": ({"cwd", "home"}, "an input"),
    "pathlib._local.Path": ({"cwd", "home"}, "an input"),  # what it calls itself in Python 3.13
}
# Instructions that read a name of the surroundings; the last two are Python 3.12's for the body of a class.
_LOADS = frozenset(
    {
        "LOAD_GLOBAL",
        "LOAD_NAME",
        "LOAD_DEREF",
        "LOAD_CLASSDEREF",
        "LOAD_FROM_DICT_OR_DEREF",
        "LOAD_FROM_DICT_OR_GLOBALS",
    }
)
# How far calls are followed.  Unit: calls.  Reason: arbitrary; a transaction is a short function.
DEPTH_MAX = 6


class Audit:
    """What the node knows about the purity of its transactions."""

    def __init__(self, every: int, checks: bool) -> None:
        self._every = every
        self._checks = checks
        self._checked: set[int] = set()
        self._count = 0
        self._findings: dict[str, str] = {}
        self.batches_compared = 0

    def check(self, box: Transaction[..., Any]) -> None:
        """Raise `Impure` if the code of `box` looks at the world; looked at once."""
        if id(box) in self._checked:
            return
        if self._checks:
            check(box)
        self._checked.add(id(box))
        box.__dict__["_audited_by"] = self  # keeps the id from being used again while it is remembered

    def is_due(self) -> bool:
        """Is it this batch's turn to be run again?"""
        self._count += 1
        return self._every > 0 and self._count % self._every == 0

    def run_again(self, facts: Facts, batch: Batch) -> None:
        """Run a batch again before it becomes visible, and note who answers or writes otherwise."""
        from boxwork.state.sessions import BY_HAND
        from boxwork.state.verify import run_again

        # Without its code a batch is passed over: what was done step by step is no function of inputs.
        boxes = {}
        for job in batch.jobs:
            if job.box is not BY_HAND:
                boxes.update(job.transactions())
        difference = run_again(facts, batch.payload, boxes)
        self.batches_compared += 1
        if difference is not None:
            self.note(difference.name, difference.what)

    def note(self, name: str, what: str) -> None:
        self._findings[name] = what

    def findings(self) -> dict[str, str]:
        """Name -> what was found, newest last."""
        return dict(self._findings)


def check(box: Transaction[..., Any]) -> None:
    """Raise `Impure`, with the place and what to use instead, if the code of `box` looks at the world."""
    function = box.function
    ignored = set(box.rules.ignores)
    seen: set[types.CodeType] = set()
    for where, what, instead in _search(function, box.name, ignored, seen, 0):
        raise Impure(
            f"transaction {box.name}: {where} uses {what}, so a second run could differ; use {instead}"
            f" instead, or declare @transaction(ignores=[{what.split('.')[0]!r}]) if it cannot matter",
            transaction=box.name,
            uses=what,
            where=where,
        )


def _search(
    function: Any, name: str, ignored: set[str], seen: set[types.CodeType], depth: int
) -> Iterator[tuple[str, str, str]]:
    code = getattr(function, "__code__", None)
    if code is None or code in seen or depth > DEPTH_MAX:
        return
    seen.add(code)
    scope = {**_globals(function), **dict(zip(code.co_freevars, _cells(function), strict=False))}
    called: list[Any] = []
    for part in _codes(code):
        for chain, line in _chains(part):
            where = f"{code.co_filename.rsplit('/', 1)[-1]}:{line} in {part.co_name}"
            if chain[0].startswith("="):
                if chain[0][1:] not in ignored:
                    yield where, f"{chain[0][1:]} (it assigns to it)", "a fact"
                continue
            if chain[0] in ignored:
                continue
            path = _resolve(chain, scope)
            instead = _impurity(path)
            if instead is not None:
                yield where, ".".join(chain[: len(path)] or chain).removeprefix("import "), instead
            elif path and isinstance(path[-1], (types.FunctionType, Transaction)):
                called.append(path[-1])
    home = getattr(function, "__module__", "").split(".")[0]
    for target in called:
        inner = target.function if isinstance(target, Transaction) else target
        if getattr(inner, "__module__", "").split(".")[0] == home:
            yield from _search(inner, name, ignored, seen, depth + 1)


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)


def _cells(function: Any) -> list[Any]:
    values = []
    for cell in getattr(function, "__closure__", None) or ():
        try:
            values.append(cell.cell_contents)
        except ValueError:
            values.append(None)
    return values


def _globals(function: Any) -> dict[str, Any]:
    import builtins

    return {**vars(builtins), **getattr(function, "__globals__", {})}


def _chains(code: types.CodeType) -> Iterator[tuple[list[str], int]]:
    """Names of globals, closures and imports with the attributes taken of them; assigned ones begin with =."""
    chain: list[str] = []
    line = code.co_firstlineno
    for step in dis.get_instructions(code):
        at = step.positions.lineno if step.positions is not None and step.positions.lineno is not None else line
        line = at
        if step.opname in ("LOAD_ATTR", "LOAD_METHOD") and chain:
            chain.append(str(step.argval))
            continue
        if step.opname in ("CACHE", "PUSH_NULL", "PRECALL"):
            continue
        if chain:
            yield chain, line
            chain = []
        if step.opname in _LOADS:
            chain = [str(step.argval)]
        elif step.opname == "IMPORT_NAME":
            chain = ["import " + str(step.argval)]
        elif step.opname in ("STORE_GLOBAL", "DELETE_GLOBAL") or (
            step.opname == "STORE_DEREF" and step.argval in code.co_freevars
        ):
            yield ["=" + str(step.argval)], line
    if chain:
        yield chain, line


def _resolve(chain: list[str], scope: dict[str, Any]) -> list[Any]:
    """The objects along a chain of attributes, as far as they can be found without running anything."""
    if chain[0].startswith("import "):
        return [sys.modules.get(chain[0][7:])]
    if chain[0] not in scope:
        return []
    path = [scope[chain[0]]]
    for part in chain[1:]:
        holder = path[-1]
        if isinstance(holder, types.ModuleType):
            path.append(vars(holder).get(part))
        elif isinstance(holder, type):
            path.append(next((vars(kind)[part] for kind in holder.__mro__ if part in vars(kind)), None))
        else:
            break  # an attribute of a value may run code
    return path


def _impurity(path: list[Any]) -> str | None:
    """What to use instead, if the last object of a path looks at the world."""
    if not path:
        return None
    last = path[-1]
    if isinstance(last, types.ModuleType):
        return _of_module(last.__name__)
    if len(path) > 1:
        holder = path[-2]
        if isinstance(holder, types.ModuleType):
            name = holder.__name__
            members, instead = _MEMBERS.get(name, (set(), ""))
            if getattr(last, "__name__", "") in members:
                return instead
            return _of_module(name)
        for kind in holder.__mro__:
            members, instead = _MEMBERS.get(f"{kind.__module__}.{kind.__qualname__}", (set(), ""))
            if getattr(last, "__name__", getattr(getattr(last, "__func__", None), "__name__", "")) in members:
                return instead
    if last is None or not callable(last):
        return None
    module, name = getattr(last, "__module__", "") or "", getattr(last, "__name__", "")
    bound = getattr(last, "__self__", None)
    if bound is not None and not isinstance(bound, types.ModuleType):  # random.randint is a method of a Random
        kind = bound if isinstance(bound, type) else type(bound)
        members, instead = _MEMBERS.get(f"{kind.__module__}.{kind.__qualname__}", (set(), ""))
        if name in members:
            return instead
        module = kind.__module__
    if name in _BUILTINS and module in ("builtins", "io", "_io"):
        return _BUILTINS[name]
    members, instead = _MEMBERS.get(module, (set(), ""))
    return instead if name in members else _of_module(module)


def _of_module(name: str) -> str | None:
    while name:
        if name in _MODULES:
            return _MODULES[name]
        name = name.rpartition(".")[0]
    return None
