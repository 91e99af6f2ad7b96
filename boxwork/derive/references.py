"""Following what is not a plain value: functions, classes, modules and boxes.

A reference answers with a form that names its target; what the target is goes into the target's own part.  Code
of the project is put on the walk's list, foreign code stands for itself by name and version.
"""

from __future__ import annotations

import functools
import sys
import types
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from boxwork import keys
from boxwork.box import BoundDerivation, Derivation, Terms
from boxwork.derive import kinds
from boxwork.derive.distributions import STDLIB, Origin
from boxwork.derive.effects import effect_of
from boxwork.derive.refusals import QUIET, Spot
from boxwork.derive.values import WATCHED_BYTES_MAX, Judge, Opaque, has_visible_state

if TYPE_CHECKING:
    from boxwork.derive.walk import Walk

_BUILTIN_CALLABLES = (
    types.BuiltinFunctionType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    types.MethodWrapperType,
    types.ClassMethodDescriptorType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
)
_FOLLOWED = (
    types.FunctionType,
    type,
    types.ModuleType,
    types.MethodType,
    BoundDerivation,
    functools._lru_cache_wrapper,
    *_BUILTIN_CALLABLES,
)
# Bases that call no methods but special ones.
_QUIET_BASES = frozenset(
    {
        "builtins",
        "typing",
        "abc",
        "enum",
        "collections",
        "collections.abc",
        "dataclasses",
        "msgspec",
        "typing_extensions",
    }
)
# How deep a foreign wrapper is searched for project code.  Unit: levels; `tenacity`, `attrs` and `click` need two.
CARRIED_DEPTH_MAX = 3


class References:
    """The part of a walk that knows what code an object stands for, and whose it is."""

    def __init__(self, walk: Walk) -> None:
        self._walk = walk

    def reference(self, value: Any) -> bytes | None:
        """Follow a function, class or module and answer with a form that names it; None for any other value.

        What has an effect is refused inside a value: with which arguments it will be called, nobody can see.
        """
        self._refuse_effect(value)
        if isinstance(value, Derivation):
            self._walk.boxes.append(value)
            outer, self._walk.terms = self._walk.terms, joined(self._walk.terms, value.terms)
            try:
                return b"box:" + value.terms.version.encode() + self.form_of_reference(value.function)
            finally:
                self._walk.terms = outer
        if isinstance(value, _FOLLOWED):
            return self.form_of_reference(value)
        if _stands_under_its_name(value) and self.origin_of(value).kind != "project":
            return self.foreign_name(value, f"{value.__module__}.{value.__qualname__}")
        return None

    def _refuse_effect(self, value: Any) -> None:
        name = self._walk.identities.name(value) or (full_name(value) if callable(value) else None)
        effect = effect_of(name) if name is not None else None
        if name is None or effect is None or isinstance(value, types.ModuleType):
            return
        if effect.kind in {"zone", "zoned", "locale"}:
            self._walk.ambient["locale" if effect.kind == "locale" else "time zone"] = None
            return
        short = name.removeprefix("builtins.")
        if short != "id" and not any(short == one or short.startswith(one + ".") for one in self._walk.terms.ignores):
            raise Opaque(f"{short}, which {effect.what}")

    def form_of_reference(self, value: Any) -> bytes:
        if isinstance(value, type) and not isinstance(value, types.GenericAlias):
            return self.describe_instance(value)
        if isinstance(value, types.FunctionType):
            return self._function_reference(value)
        if isinstance(value, functools._lru_cache_wrapper):
            return b"cached:" + self._inner(value.__wrapped__)
        if isinstance(value, types.MethodType):
            return b"method:" + self._inner(value.__func__) + b"," + self._inner(value.__self__)
        if isinstance(value, BoundDerivation):
            return b"method:" + self._inner(value.box) + b"," + self._inner(value.instance)
        if isinstance(value, types.BuiltinFunctionType) and not isinstance(
            value.__self__, (types.ModuleType, type, types.NoneType)
        ):
            return b"method:" + value.__name__.encode() + b"," + self._inner(value.__self__)
        if isinstance(value, types.ModuleType):
            origin = self.origin_of(value)
            self.foreign(origin)
            return f"module:{origin.kind}:{self._walk.module_name(value.__name__)}".encode()
        if isinstance(value, functools.partial):
            return Judge(self._walk).form(value)
        if isinstance(value, _BUILTIN_CALLABLES):
            return self.foreign_name(value, full_name(value) or repr(value))
        return self._inner(value)

    def _inner(self, value: object) -> bytes:
        """The form of a value inside another.  What can be refused about it is said of the whole."""
        judge = Judge(self._walk)
        form = judge.form(value)
        if judge.watched:
            if judge.size > WATCHED_BYTES_MAX:
                raise Opaque(f"a mutable {type(value).__name__} of some {judge.size} bytes")
            self._walk.guards.value(value, judge.watched)
        return form

    def _function_reference(self, function: types.FunctionType) -> bytes:
        known = self._walk.labels.get(id(function))
        if known is not None:
            self._walk.meet(function)
            return b"follow:" + known[1].encode()
        origin = self.origin_of(function)
        if origin.kind == "project":
            name = self._walk.qualified(function.__module__, function.__qualname__)
            label = self._walk.label(function, f"helper {name}")
            self._walk.later(function, lambda: self._walk.function(function, label, None, f"{name}."))
            return b"follow:" + label.encode()
        self._walk.label(function, f"foreign {function.__module__}.{function.__qualname__}")
        self.foreign(origin)
        inner = self._through(function)
        return f"{origin.kind}:{function.__module__}.{function.__qualname__}".encode() + inner

    def _through(self, function: types.FunctionType) -> bytes:
        """Project code that a foreign wrapper carries: `@retry(…)` calls the function in its closure."""
        forms: list[bytes] = []
        held = [getattr(function, "__wrapped__", None), getattr(function, "registry", None)]
        for cell in function.__closure__ or ():
            try:
                held.append(cell.cell_contents)
            except ValueError:
                continue
            self._walk.guards.cell(cell, held[-1])
        for one in held:
            self._carried(one, forms, 0)
        return b"".join(b"%d:%b" % (len(one), one) for one in forms)

    def _carried(self, value: Any, forms: list[bytes], depth: int) -> None:
        """Functions and plain values inside foreign objects.  Mutable state there belongs to the library."""
        if depth > CARRIED_DEPTH_MAX or isinstance(value, types.ModuleType):
            return
        if isinstance(
            value,
            (types.FunctionType, type, types.MethodType, Derivation, functools.partial, functools._lru_cache_wrapper),
        ):
            if isinstance(value, (Derivation, types.MethodType, functools.partial, functools._lru_cache_wrapper)) or (
                self.origin_of(value).kind in {"project", "generated"} or isinstance(value, types.FunctionType)
            ):
                try:
                    forms.append(self._inner(value))
                except Opaque:
                    forms.append(b"opaque")
        elif isinstance(value, (bool, int, float, str, bytes)):
            forms.append(keys.canonical(value))
        elif isinstance(value, (tuple, list)):
            for one in value:
                self._carried(one, forms, depth + 1)
        elif isinstance(value, Mapping):
            for one in list(value.values()):
                if callable(one):
                    self._carried(one, forms, depth + 1)
            self._walk.guards.value(value, [value])
        elif hasattr(value, "__dict__") and has_visible_state(type(value)):
            for one in list(vars(value).values()):
                if callable(one) or isinstance(one, (bool, int, float, str, bytes)):
                    self._carried(one, forms, depth + 1)

    # --- classes ---

    def describe_instance(self, kind: type) -> bytes:
        """The form that names a class; one of the project is followed."""
        known = self._walk.labels.get(id(kind))
        if known is not None:
            self._walk.meet(kind)
            return b"follow:" + known[1].encode()
        origin = self.origin_of_class(kind)
        if origin.kind != "project":
            self.foreign(origin)
            return f"{origin.kind}:{kind.__module__}.{kind.__qualname__}".encode()
        label = self._walk.label(kind, f"class {self._walk.qualified(kind.__module__, kind.__qualname__)}")
        self._walk.later(kind, lambda: self._class(kind, label))
        return b"follow:" + label.encode()

    def _class(self, kind: type, label: str) -> None:
        self._walk.guards.class_size(kind)
        name = label.partition(" ")[2]
        forms = [kind.__qualname__.encode(), *(self.describe_instance(base) for base in kind.__bases__)]
        if type(kind) is not type:
            forms.append(self.describe_instance(type(kind)))
        forms += [text.encode() for text in kinds.annotations_text(kind)]
        ignores = tuple(kind.__dict__.get("__boxwork_ignores__", ()))
        outer_terms, self._walk.terms = self._walk.terms, joined(self._walk.terms, Terms(ignores=ignores))
        outer_methods = self._walk.methods
        called_by_others = any(
            base.__module__ not in _QUIET_BASES and self.origin_of_class(base).kind != "project"
            for base in kind.__mro__[1:-1]
        )
        try:
            for attribute, raw in kinds.attributes(kind):
                self._walk.guards.class_entry(kind, attribute, raw)
                # A class that extends a library's is called by that library, by names our code does not show.
                called = called_by_others and attribute not in QUIET
                self._walk.methods = outer_methods if called else outer_methods | {attribute}
                if attribute == "__boxwork_ignores__":
                    continue
                forms.append(attribute.encode())
                for one in kinds.parts_of_attribute(raw):
                    forms.append(self._attribute(kind, name, attribute, one))
            self._walk.methods = outer_methods
            for attribute, values in kinds.fields_of(kind):
                forms.append(attribute.encode())
                for one in values:
                    forms.append(self._attribute(kind, name, attribute, one))
        finally:
            self._walk.methods, self._walk.terms = outer_methods, outer_terms
        self._walk.part(label, b"".join(b"%d:%b" % (len(one), one) for one in forms))

    def _attribute(self, kind: type, name: str, attribute: str, value: Any) -> bytes:
        if isinstance(value, types.FunctionType) and self.origin_of(value).kind == "project":
            new = not self._walk.is_labelled(value)
            label = self._walk.label(value, f"helper {name}.{value.__name__}")
            if not new:
                self._walk.meet(value)
            else:
                self._walk.later(value, lambda: self._walk.function(value, label, kind, f"{name}.{value.__name__}."))
            return b"follow:" + label.encode()
        judge = Judge(self._walk)
        try:
            form = judge.form(value)
        except Opaque as reason:
            self._refuse_attribute(kind, name, attribute, str(reason))
            return b"opaque"
        if judge.watched:
            if judge.size > WATCHED_BYTES_MAX:
                self._refuse_attribute(kind, name, attribute, f"a mutable value of some {judge.size} bytes")
            self._walk.guards.value(value, judge.watched)
        return form

    def _refuse_attribute(self, kind: type, name: str, attribute: str, reason: str) -> None:
        dotted = f"{name}.{attribute}"
        if dotted in self._walk.terms.ignores or attribute in self._walk.terms.ignores:
            return
        module = sys.modules.get(kind.__module__)
        spot = Spot(getattr(module, "__file__", None) or kind.__module__, 0, kind.__qualname__)
        self._walk.refusals.add(
            spot,
            dotted,
            f"uses the class {name}, whose attribute {attribute} is {reason}",
            "make it inside a method",
            self._walk.methods | {attribute},
        )

    # --- origins ---

    def foreign_name(self, value: object, name: str) -> bytes:
        origin = self.origin_of(value)
        self.foreign(origin)
        return f"{origin.kind}:{name}".encode()

    def foreign(self, origin: Origin) -> None:
        """Code that is not followed is part of the key by its version."""
        if origin.kind == "stdlib":
            self._walk.part(f"stdlib {STDLIB}", STDLIB.encode())
        elif origin.kind == "package":
            self._walk.parts.update(self._walk.distributions.parts(origin.name))

    def origin_of(self, value: Any) -> Origin:
        if isinstance(value, types.ModuleType):
            return self._walk.distributions.of_module(value.__name__)
        if isinstance(value, types.FunctionType):
            found = self._walk.distributions.of_file(value.__code__.co_filename)
            if found.kind == "generated":
                found = self._walk.distributions.of_module(value.__module__)
                return Origin("project") if found.kind == "generated" else found
            return found
        if isinstance(value, type):
            return self.origin_of_class(value)
        module = getattr(value, "__module__", None)
        if not isinstance(module, str):
            owner = getattr(value, "__objclass__", None) or type(getattr(value, "__self__", None) or value)
            module = owner.__module__
        if module == "builtins":
            return Origin("generated")  # the interpreter itself: `python 3.11` covers it
        return self._walk.distributions.of_module(module)

    def origin_of_class(self, kind: type) -> Origin:
        if kind.__module__ == "builtins":
            return Origin("generated")
        found = self._walk.distributions.of_module(kind.__module__)
        return Origin("project") if found.kind == "generated" else found


def _stands_under_its_name(value: Any) -> bool:
    """Whether the value is what its module has under its name: `numpy.mean`, whatever type numpy gave it."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str) or not callable(value):
        return False
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found is value


def bare(value: object) -> object:
    while True:
        if isinstance(value, Derivation):
            value = value.function
        elif isinstance(value, functools._lru_cache_wrapper):
            value = value.__wrapped__
        else:
            return value


def full_name(value: object) -> str | None:
    """`time.time` of the function time; None for values that have no name of their own."""
    if isinstance(value, types.ModuleType):
        return value.__name__
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if isinstance(module, str) and isinstance(name, str) and (callable(value) or isinstance(value, type)):
        return f"{module}.{name}"
    return None


def joined(terms: Terms, more: Terms) -> Terms:
    return Terms(
        pins=terms.pins + more.pins,
        ignores=terms.ignores + more.ignores,
        files=terms.files + more.files,
        env=terms.env + more.env,
        version=terms.version,
    )
