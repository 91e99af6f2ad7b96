"""The walk over everything a box's code reads: functions, classes and values of the project, one part each.

Project code is followed by the live objects, not by names in a text: a decorated function is its wrapper and what
it wraps, a patched helper is the patch.  Whatever decides what a name means is guarded, so that the fingerprint
knows when it no longer holds.  Refusals are collected: one in a method is only raised when somebody could call a
method of that name.

This file is long because it is one machine: global, closed over or imported, a name is read by the same steps.
"""

from __future__ import annotations

import builtins
import importlib
import importlib.util
import inspect
import os
import sys
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from boxwork import keys
from boxwork.box import Derivation, Terms
from boxwork.derive import kinds
from boxwork.derive.distributions import PYTHON, Distributions, Origin, spec_of
from boxwork.derive.effects import LOCALE_METHODS, SILENT, ZONE_METHODS, Identities, effect_of
from boxwork.derive.guards import Guards
from boxwork.derive.names import Read
from boxwork.derive.references import References, bare, full_name
from boxwork.derive.refusals import Refusals, Spot, may_be_called
from boxwork.derive.rules import Rules
from boxwork.derive.source import Facts, Sources
from boxwork.derive.values import WATCHED_BYTES_MAX, Judge, Opaque
from boxwork.errors import BoxworkError, InvariantBroken, Undeclared

_MISSING: Any = object()
_EMPTY = types.CellType()
_MAIN = frozenset({"__main__", "__mp_main__"})
# Standard modules that are there in every process, or cost nothing to import: what they hold is looked at.
_AT_HAND = frozenset({*sys.builtin_module_names, "os", "io"})


@dataclass
class _Step:
    """Something that is still to be followed, and the methods one has to call to get there."""

    follow: Callable[[], None]
    terms: Terms
    methods: frozenset[str]


@dataclass
class Scope:
    """One function on the walk: where its names are looked up and how it is spoken of."""

    function: types.FunctionType
    facts: Facts
    label: str
    kind: type | None  # the class it is a method of
    methods: frozenset[str]  # the methods one has to call to get here
    terms: Terms
    edges: list[tuple[tuple[str, ...], str]] = field(default_factory=list)  # chains that are project functions

    @property
    def parameters(self) -> tuple[str, ...]:
        code = self.function.__code__
        count = code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & 4) + bool(code.co_flags & 8)
        return code.co_varnames[:count]

    def spot(self, name: str) -> Spot:
        code = self.function.__code__
        lines = [line for read, line in self.facts.lines.items() if read == name or read.startswith(name + ".")]
        line = min(lines, default=code.co_firstlineno)
        return Spot(code.co_filename, line, self.function.__qualname__)


class Walk:
    """One pass over a box or a class.  `parts`, `notes`, `ambient` and `guards` are its result."""

    def __init__(
        self,
        sources: Sources,
        distributions: Distributions,
        identities: Identities,
        name: str,
        module: str,
        terms: Terms,
        *,
        lenient: bool = False,
    ) -> None:
        self.sources = sources
        self.distributions = distributions
        self.identities = identities
        self.module = module
        self.terms = terms
        self.guards = Guards()
        self.parts: dict[str, bytes] = {}
        self.notes: dict[str, None] = {}
        self.boxes: list[Derivation[..., Any]] = []
        self.scopes: list[Scope] = []
        self.attributes: set[str] = set()
        self.refusals = Refusals(name, lenient)
        self.references = References(self)
        self.rules = Rules(self)
        self.ambient: dict[str, None] = {}
        self.labels: dict[int, tuple[object, str]] = {}
        self.methods: frozenset[str] = frozenset()
        self.open_values: dict[int, int] = {}
        self._pending: dict[int, _Step] = {}
        self._used: dict[str, object] = {}
        self.part(f"python {PYTHON}", PYTHON.encode())
        self.part(f"optimisation {sys.flags.optimize}", b"%d" % sys.flags.optimize)

    # --- the list of what is still to be followed ---

    def later(self, value: object, follow: Callable[[], None]) -> None:
        """Follow a labelled value after what is at hand, under the terms that hold here."""
        self._pending[id(value)] = _Step(follow, self.terms, self.methods)

    def meet(self, value: object) -> None:
        """A value that may still be on the list is reached again: the way that is really taken is what counts."""
        step = self._pending.get(id(value))
        if step is not None and not may_be_called(step.methods, self.attributes):
            step.terms, step.methods = self.terms, self.methods

    def finish(self) -> list[str]:
        """Follow everything on the list, then raise what has to be refused.  Answers with notes.

        What is reached without calling any method, or by methods that are called, goes first: whatever it leads to
        must not be taken for something that only an uncalled method leads to.
        """
        terms, methods = self.terms, self.methods
        while self._pending:
            called = (key for key, step in self._pending.items() if may_be_called(step.methods, self.attributes))
            step = self._pending.pop(next(called, next(iter(self._pending))))
            self.terms, self.methods = step.terms, step.methods
            step.follow()
        self.terms, self.methods = terms, methods
        self.rules.settle()
        return self.refusals.raise_first(self.attributes)

    # --- parts and labels ---

    def part(self, label: str, body: bytes) -> None:
        self.parts[label] = keys.part_digest(label.partition(" ")[0], body)

    def label(self, value: object, wish: str) -> str:
        """The label of an object, one each: a second object of the same name gets a number."""
        known = self.labels.get(id(value))
        if known is not None:
            return known[1]
        label, count = wish, 1
        while label in self._used:
            count += 1
            label = f"{wish}#{count}"
        self._used[label] = value
        self.labels[id(value)] = (value, label)
        return label

    def is_labelled(self, value: object) -> bool:
        return id(value) in self.labels

    def qualified(self, module: str | None, name: str) -> str:
        spelled = self.module_name(module)
        return name if spelled == self.module_name(self.module) or not spelled else f"{spelled}.{name}"

    def module_name(self, module: str | None) -> str:
        """A script has one name, whether it runs or is imported by a worker."""
        if module in _MAIN:
            main = sys.modules[str(module)]
            spec = getattr(main, "__spec__", None)
            if spec is not None and spec.name not in _MAIN:
                return str(spec.name)
            file = getattr(main, "__file__", None)
            return os.path.splitext(os.path.basename(file))[0] if file else "__main__"
        return module or ""

    # --- functions ---

    def box(self, function: object, label: str) -> None:
        """Walk the function of the box itself."""
        target = function
        if isinstance(target, types.FunctionType) and self.references.origin_of(target).kind == "project":
            self.labels[id(target)] = (target, label)
            self._used[label] = target
            self._annotations(target)
            self.function(target, label, None, "")
            return
        try:
            self.part(label, self.references.reference(target) or self.references.form_of_reference(target))
        except Opaque as reason:
            self.refusals.add(
                Spot("", 0, ""),
                label.partition(" ")[2],
                f"is or carries {reason}",
                "make a box of a function",
                frozenset(),
            )

    def function(self, function: types.FunctionType, label: str, kind: type | None, prefix: str) -> None:
        code = function.__code__
        guards = self.guards
        guards.attribute(function, "__code__", code)
        facts = self.sources.facts(code, function.__qualname__)
        self.attributes |= facts.attributes
        scope = Scope(function, facts, label, kind, self.methods, self.terms)
        self.scopes.append(scope)
        for name in facts.attributes & ZONE_METHODS:
            self.ambient["time zone"] = None
            self.notes[f"{label} calls .{name}(): the time zone is part of the key"] = None
        if facts.attributes & LOCALE_METHODS:
            self.ambient["locale"] = None
        for name in facts.stores:
            if not self.ignored(scope, name):
                self.refusals.add(
                    scope.spot(name),
                    name,
                    f"binds the global {name}, so its next run may differ",
                    "return the value, or keep it with functools.cache",
                    self.methods,
                )
        forms = [facts.digest]
        for read in facts.reads:
            forms.append(".".join(read[1]).encode())
            forms.append(self.read(scope, read))
        for call in facts.calls or ():
            if call.chain[0] == "@":
                self.rules.unnamed(scope, call)
            else:
                self.rules.texts(scope, call)
        self._defaults(function, scope, prefix)
        wrapped = function.__dict__.get("__wrapped__", _MISSING)
        if wrapped is not _MISSING:
            guards.entry(function.__dict__, "__wrapped__", wrapped)
            forms.append(self.value(scope, f"__wrapped__ of {label}", wrapped, "__wrapped__"))
        self.part(label, b"".join(b"%d:%b" % (len(one), one) for one in forms))

    def _defaults(self, function: types.FunctionType, scope: Scope, prefix: str) -> None:
        code = function.__code__
        if code.co_argcount:
            self.guards.attribute(function, "__defaults__", function.__defaults__)
        for name, value in zip(
            reversed(code.co_varnames[: code.co_argcount]), reversed(function.__defaults__ or ()), strict=False
        ):
            self._constant(scope, f"default {prefix}{name}", name, value)
        if code.co_kwonlyargcount:
            self.guards.attribute(function, "__kwdefaults__", function.__kwdefaults__)
            keyword_defaults = function.__kwdefaults__ or {}
            for name, value in keyword_defaults.items():
                self.guards.entry(keyword_defaults, name, value)
                self._constant(scope, f"default {prefix}{name}", name, value)

    def _annotations(self, function: types.FunctionType) -> None:
        """The box's own annotations decide how its inputs are decoded; their classes are followed."""
        try:
            found = inspect.get_annotations(function, eval_str=True)
        except Exception:  # an annotation that cannot be evaluated is a text
            found = inspect.get_annotations(function)
        self.rules.annotations = found
        texts = []
        for name, annotation in found.items():
            texts.append(f"{name}:{annotation if isinstance(annotation, str) else kinds.spelled(annotation)}")
            for kind in _classes_in(annotation):
                if self.references.origin_of_class(kind).kind == "project":
                    self.references.describe_instance(kind)
        if texts:
            self.part("annotations", "\n".join(texts).encode())

    # --- reads ---

    def ignored(self, scope: Scope, *names: str | None) -> bool:
        """Whether the terms take one of these names, or what it is an attribute of, out of the key."""
        return self._listed(scope.terms.ignores, scope, names, "ignored")

    def pinned(self, scope: Scope, *names: str | None) -> bool:
        return self._listed(scope.terms.pins, scope, names, "")

    def _listed(self, listed: tuple[str, ...], scope: Scope, names: tuple[str | None, ...], note: str) -> bool:
        if not listed:
            return False
        for name in names:
            if name is None:
                continue
            module = self.module_name(scope.function.__module__)
            for spelled in (name, f"{module}.{name}", f"{module.rpartition('.')[2]}.{name}"):
                for entry in listed:
                    if spelled == entry or spelled.startswith(entry + "."):
                        if note:
                            self.notes[f"{entry} is {note}: the box says it cannot matter"] = None
                        return True
        return False

    def read(self, scope: Scope, read: Read) -> bytes:
        """The form of what a name stands for; values and functions become parts of their own."""
        name = ".".join(read[1])
        if self.ignored(scope, name):
            return b"ignored"
        try:
            return self._read(scope, *read)
        except (BoxworkError, InvariantBroken):
            raise
        except Exception as reason:  # proxies and lazy objects run their own code when one looks at them
            self.refusals.add(
                scope.spot(name),
                name,
                f"reads {name}, which cannot be looked at ({reason!r})",
                "pass it as an input",
                self.methods,
            )
            return b"unseen"

    def _read(self, scope: Scope, kind: str, chain: tuple[str, ...]) -> bytes:
        if kind in "im":
            return self._read_import(scope, kind, chain)
        function = scope.function
        if kind == "c":
            cell = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=False))[chain[0]]
            try:
                value = cell.cell_contents
            except ValueError:
                self.guards.test(lambda: cell == _EMPTY)
                return b"unbound"
            self.guards.cell(cell, value)
            return self._steps(scope, chain, value, 1, None, "closure")
        namespace = function.__globals__
        if chain[0] in namespace:
            value = namespace[chain[0]]
            self.guards.entry(namespace, chain[0], value)
            return self._steps(scope, chain, value, 1, None, "constant")
        self.guards.absent(namespace, chain[0])
        if hasattr(builtins, chain[0]):
            value = getattr(builtins, chain[0])
            return self._steps(scope, chain, value, 1, f"builtins.{chain[0]}", "constant")
        return b"missing"

    def _read_import(self, scope: Scope, kind: str, chain: tuple[str, ...]) -> bytes:
        function = scope.function
        name = chain[0]
        if name.startswith("."):
            package = function.__globals__.get("__package__") or ""
            try:
                name = importlib.util.resolve_name(name, package)
            except ImportError:
                return b"missing"
        if len(chain) > 1 and chain[1] == "*":
            return b"star"
        blocked = name in sys.modules and sys.modules[name] is None
        along = self.distributions.along(name, chain[1:]) if not blocked else []
        owner = self.distributions.of_module(name)
        if any(origin.kind == "project" for _, origin in along) or owner.kind not in {"stdlib", "package"} or blocked:
            return self._read_project(scope, kind, chain, name, along)
        if kind == "i" and (name.partition(".")[0] in _AT_HAND or self.pinned(scope, ".".join(chain))):
            module = importlib.import_module(name)
            self.guards.entry(sys.modules, name, module)
            return self._steps(scope, chain, module, 1, None, "constant")
        for _, origin in along:
            self.references.foreign(origin)
        if kind == "m":
            return name.encode()
        # What a hit finds loaded depends on who ran before, and a hit should import nothing.  So an installed module
        # is its names and its distribution, whether it is loaded or not; `_exchanged` adds only what patches it.
        dotted = ".".join((name, *chain[1:]))
        self.rules.apply(scope, dotted, chain, None)
        self.rules.passed_on(scope, dotted, chain)
        return f"{along[-1][1].kind}:{dotted}".encode() + self._exchanged(scope, name, chain)

    def _read_project(
        self, scope: Scope, kind: str, chain: tuple[str, ...], name: str, along: list[tuple[str, Origin]]
    ) -> bytes:
        """A module of the project is imported, as the box will do, and followed like one that was imported above."""
        ours = next((path for path, origin in along if origin.kind == "project" and len(path) > len(name)), name)
        if any(path == name and origin.kind == "project" for path, origin in along):
            ours = name
        index = 1 + ours.count(".") - name.count(".")
        try:
            module = importlib.import_module(ours)
            if kind == "m":
                module = importlib.import_module(name)
        except ImportError as reason:
            self.part(f"module {name}", b"missing")
            if name in sys.modules:
                self.guards.entry(sys.modules, name, sys.modules[name])
            else:
                self.guards.absent(sys.modules, name)
            self.notes[f"{name} cannot be imported ({reason}): the key says so"] = None
            return b"missing"
        self.guards.entry(sys.modules, ours, module)
        return name.encode() if kind == "m" else self._steps(scope, chain, module, index, None, "constant")

    def _exchanged(self, scope: Scope, name: str, chain: tuple[str, ...]) -> bytes:
        """What code of the project stands in an installed module where the library's own would be.

        Without a patch it is nothing, so that the form is the same before and after the module is loaded.
        """
        namespace: Mapping[str, Any] = sys.modules
        value: Any = None
        for index, attribute in enumerate((name, *chain[1:])):
            if attribute not in namespace:
                self.guards.absent(namespace, attribute)
                return b""
            value = namespace[attribute]
            self.guards.entry(namespace, attribute, value)
            if self.distributions.is_ours(value):
                return b"=" + self._steps(scope, chain, value, index + 1, None, "constant")
            if not isinstance(value, types.ModuleType):
                break
            namespace = vars(value)
        known = self.identities.name(value)
        if known is not None and index == len(chain) - 1:
            self.rules.apply(scope, known, chain, value)  # the library's name for something that has an effect
        return b""

    def _steps(
        self, scope: Scope, chain: tuple[str, ...], value: Any, index: int, name: str | None, role: str
    ) -> bytes:
        """Go along the attributes of a chain as far as they are known, and take the form of what stands there.

        `name` is the full name of the value in foreign code, for the table of effects.
        """
        while True:
            name = self.identities.name(value) or name or full_name(value)
            if self.ignored(scope, name, ".".join(chain[:index])):
                return b"ignored"
            rest = chain[index:]
            if name is not None and effect_of(".".join((name, *rest))) is not None:
                full = ".".join((name, *rest))
                self.rules.apply(scope, full, chain, value)
                if rest or not isinstance(value, types.ModuleType):
                    return self.references.foreign_name(value, full)
            if not rest and name is not None and isinstance(value, (types.ModuleType, type)):
                self.rules.passed_on(scope, name, chain)
            if not rest or self.pinned(scope, ".".join(chain[:index])):
                break
            attribute = rest[0]
            if attribute == "__doc__":
                self.guards.attribute(value, "__doc__", value.__doc__)
                return self.value(scope, f"docstring {'.'.join(chain)}", value.__doc__, ".".join(chain))
            if isinstance(value, types.ModuleType):
                name = f"{value.__name__}.{attribute}"
                if name in SILENT:
                    return b"silent"
                value = self._module_attribute(value, attribute)
                if value is _MISSING:
                    return b"missing"
            elif isinstance(value, type) and self.references.origin_of_class(value).kind != "project":
                name = f"{value.__module__}.{value.__qualname__}.{attribute}"
                return self.references.foreign_name(value, name)
            elif _plain_attribute(value, attribute):
                held = vars(value)[attribute]
                self.guards.entry(vars(value), attribute, held)
                self.guards.class_size(type(value))  # a property of that name would come first
                if isinstance(value, types.FunctionType):
                    self.references.reference(value)
                value, name = held, None
            else:
                break
            index += 1
        self.rules.apply_methods(scope, chain, value, chain[index:])
        dotted = ".".join(chain[:index])
        found = self.value(scope, f"{role} {self.qualified(scope.function.__module__, dotted)}", value, dotted)
        label = self.labels.get(id(bare(value)))
        if label is not None and not chain[index:]:
            scope.edges.append((chain, label[1]))
        return found

    def _module_attribute(self, module: types.ModuleType, attribute: str) -> Any:
        namespace = vars(module)
        if attribute not in namespace:
            try:
                found = getattr(module, attribute)  # lazy modules fill themselves in here
            except AttributeError:
                if not self._import_submodule(module, attribute):
                    self.guards.absent(namespace, attribute)
                    return _MISSING
            if attribute not in namespace:
                self.guards.absent(namespace, attribute)
                if "__getattr__" in namespace:
                    self.guards.entry(namespace, "__getattr__", namespace["__getattr__"])
                return found
        found = namespace[attribute]
        self.guards.entry(namespace, attribute, found)
        return found

    def _import_submodule(self, module: types.ModuleType, attribute: str) -> bool:
        """Import a part of a package that nobody imported so far: somebody will, while the box runs at the latest."""
        name = f"{module.__name__}.{attribute}"
        if not hasattr(module, "__path__") or sys.modules.get(name, module) is None or spec_of(name) is None:
            return False
        try:
            importlib.import_module(name)
        except ImportError:
            return False
        return attribute in vars(module)

    # --- values ---

    def value(self, scope: Scope, label: str, value: object, name: str) -> bytes:
        """The form of a value as it stands in the function that reads it: a reference or the label of its part."""
        try:
            found = self.references.reference(value)
        except Opaque as reason:
            self._refuse_value(scope, name, value, str(reason))
            return b"opaque"
        if found is not None:
            if isinstance(value, types.ModuleType) and self.references.origin_of(value).kind == "project":
                self._bare_module(scope, value, name)
            return found
        return b"label:" + self._constant(scope, label, name, value).encode()

    def _constant(self, scope: Scope, label: str, name: str, value: object) -> str:
        label = self._constant_label(value, label)
        if label in self.parts:
            return label
        judge = Judge(self)
        pinned = self.pinned(scope, name)
        try:
            form = judge.form(value)
        except Opaque as reason:
            if pinned:
                form = self._pinned_form(scope, name, value, str(reason))
                judge.watched.clear()
            else:
                self._refuse_value(scope, name, value, str(reason))
                return label
        if judge.silent:
            self.notes[f"{name} is a {type(value).__name__}: left out, it does not change what is computed"] = None
            return label
        if judge.watched and judge.size > WATCHED_BYTES_MAX and not pinned:
            self._refuse_value(
                scope,
                name,
                value,
                f"a mutable {type(value).__name__} of some {judge.size} bytes, too"
                f" large to compare at every call without being asked (limit {WATCHED_BYTES_MAX})",
            )
            return label
        if judge.watched:
            self.guards.value(value, judge.watched)
        self.part(label, form)
        return label

    def _constant_label(self, value: object, wish: str) -> str:
        """The label of a value: its own, unless another value had that first."""
        label, count = wish, 1
        while label in self._used and self._used[label] is not value:
            count += 1
            label = f"{wish}#{count}"
        self._used[label] = value
        return label

    def _pinned_form(self, scope: Scope, name: str, value: object, reason: str) -> bytes:
        try:
            form = keys.canonical(value, self.describe_class)
        except BoxworkError as error:
            raise Undeclared(
                f"pins=[{name!r}] cannot be kept: {name} at {scope.spot(name)} is {reason}, and {error.message};"
                f" pass it as an input, or say ignores=[{name!r}] if it cannot change the output",
                name=name,
            ) from error
        describe = self.describe_class

        def same() -> bool:
            return keys.canonical(value, describe) == form

        self.guards.test(same)
        return form

    def describe_class(self, kind: type) -> bytes:
        return keys.part_digest("class", self.references.describe_instance(kind))

    def _refuse_value(self, scope: Scope, name: str, value: object, reason: str) -> None:
        advice = "pass it as an input"
        declare = f"pins=[{name!r}]"
        if "cannot be seen" in reason or "module" in reason:
            advice, declare = "make it inside the box or pass what it is made from", ""
        self.refusals.add(scope.spot(name), name, f"reads {name}, {reason}", advice, self.methods, declare)

    def _bare_module(self, scope: Scope, module: types.ModuleType, name: str) -> None:
        if scope.facts.calls is not None and not any(".".join(one.chain[1:]) == name for one in scope.facts.calls):
            return  # only looked into, by a constant name
        self.refusals.add(
            scope.spot(name),
            name,
            f"uses the module {module.__name__} as a value, so nobody can see what it calls in it",
            f"write {name}.function(…) where it is called",
            self.methods,
        )


def _plain_attribute(value: Any, attribute: str) -> bool:
    """Whether `value.attribute` is simply what lies in its `__dict__`."""
    kind = type(value)
    looked_up = isinstance(value, (type, Derivation)) or "__getattribute__" in {
        name for base in kind.__mro__[:-1] for name in base.__dict__
    }
    if looked_up and not isinstance(value, types.FunctionType):
        return False
    return attribute in getattr(value, "__dict__", ()) and not hasattr(kind, attribute)


def _classes_in(annotation: object) -> list[type]:
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return [annotation]
    found: list[type] = []
    for one in getattr(annotation, "__args__", ()):
        found += _classes_in(one)
    return found
