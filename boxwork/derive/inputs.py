"""From a call to its canonical inputs, and from those to what the function receives.

A `Binder` is made once per box.  `forms` answers with the canonical inputs in order of their names: defaults are
filled in, and whether an input came by name or by position does not show.

On a miss `receive` arranges the values, so that what two calls of one key can see is the same: bytes, a ref and a
blob become what the parameter's annotation asks for, dicts come in canonical order, arrays in C order.  Containers
are copied on the way: a box cannot change its caller's.
"""

from __future__ import annotations

import contextlib
import inspect
import types
import typing
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from boxwork.box import Derivation
from boxwork.content.tree_value import Tree
from boxwork.derive.forms import instance_form, is_record, record_fields
from boxwork.derive.handles import Blob, File, Later
from boxwork.derive.packing import rebuild_record
from boxwork.errors import BadInput, UnsupportedType
from boxwork.keys import ENCODERS, Describe, Ref, canonical, encode, text_form

Inputs = Mapping[str, Any]

_MISSING: Any = inspect.Parameter.empty
_BY_PLACE, _BY_NAME = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
_ANY_ARGS, _ANY_NAMED = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD
_SCALARS = frozenset({type(None), bool, int, float, complex, str, range})
PLAIN = _SCALARS | {bytes}
HANDLES = frozenset({File, Ref, Blob, Tree})
_BYTES = frozenset({bytes, Ref, Blob})


class Binder:
    """Binds inputs by a box's signature.  A first parameter called `self` is the instance of a method."""

    def __init__(self, box: Derivation[..., Any], *, describe: Describe) -> None:
        self.name = box.name
        self._describe = describe
        function = box.function
        try:
            self._signature = inspect.signature(function)
        except (TypeError, ValueError) as reason:
            raise BadInput(f"the box {box.name} has no signature ({reason}): wrap it in a Python function") from reason
        parameters = list(self._signature.parameters.values())
        self._taken = ", ".join(self._signature.parameters) or "none"
        self.annotations = annotations_of(function)
        self.method = bool(parameters) and parameters[0].name == "self"
        self.first = parameters[0].name if parameters else ""
        kinds = {parameter.kind for parameter in parameters}
        self._positional = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        self._rest = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), "")
        self._options = next((p.name for p in parameters if p.kind is p.VAR_KEYWORD), "")
        self._plain = not {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD} & kinds
        self._names = frozenset(p.name for p in parameters if p.name not in (self._rest, self._options))
        # (name, the name's form, default) in order of names: the order of the key.  Star parameters have a default.
        self._slots = tuple(
            (p.name, text_form(p.name), self._default(p)) for p in sorted(parameters, key=lambda p: p.name)
        )

        # The same in order of the signature: the order of the call.
        self._order = tuple(
            (
                p.name,
                _BY_PLACE if p.kind is p.POSITIONAL_ONLY else p.kind,
                self._default(p),
                self.annotations.get(p.name, _MISSING),
            )
            for p in parameters
        )

    @staticmethod
    def _default(parameter: inspect.Parameter) -> Any:
        if parameter.kind is parameter.VAR_POSITIONAL:
            return ()
        return {} if parameter.kind is parameter.VAR_KEYWORD else parameter.default

    def bind(self, args: tuple[Any, ...], inputs: Inputs) -> Inputs:
        """Inputs by name alone; what star parameters take stands under their own names."""
        if not args and self._plain:
            return inputs
        bound = dict(zip(self._positional, args, strict=False))
        rest = args[len(self._positional) :]
        if rest and not self._rest:
            raise BadInput(f"{self.name} takes {len(self._positional)} inputs by position, {len(args)} were given")
        options: dict[str, Any] = {}
        for name, value in inputs.items():
            if name in bound:
                raise BadInput(f"{self.name} was given {name!r} twice: by position and by name")
            if name in self._names:
                bound[name] = value
            elif self._options:
                options[name] = value
            else:
                raise self._unknown(name)
        if self._rest:
            bound[self._rest] = rest
        if self._options:
            bound[self._options] = options
        return bound

    def unbind(self, bound: Inputs) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The inverse of `bind`: inputs by position and by name."""
        if self._plain:
            return (), dict(bound)
        named = {name: value for name, value in bound.items() if name not in (self._rest, self._options)}
        args: tuple[Any, ...] = ()
        if bound.get(self._rest):
            args = (*(named.pop(name) for name in self._positional), *bound[self._rest])
        return args, {**named, **bound.get(self._options, {})}

    def forms(self, bound: Inputs) -> list[bytes]:
        """The canonical inputs in order of their names, for `keys.derivation_key`.  The hot path: keep it plain."""
        out: list[bytes] = []
        describe = self._describe
        used = 0
        for name, form, default in self._slots:
            value = bound.get(name, _MISSING)
            if value is not _MISSING:
                used += 1
            elif default is _MISSING:
                raise BadInput(f"{self.name} needs the input {name!r}; it takes {self._taken}")
            else:
                value = default
            out.append(form)
            try:
                encoder = ENCODERS.get(type(value))
                if encoder is not None:
                    encoder(value, out, describe)
                elif self.method and name == self.first:
                    instance_form(value, out, describe)
                else:
                    encode(value, out, describe)
            except (UnsupportedType, RecursionError) as reason:
                raise self._refusal(name, reason) from None
        if used != len(bound):
            raise self._unknown(next(name for name in bound if name not in self._signature.parameters))
        return out

    def grouped(self, forms: list[bytes]) -> list[tuple[str, bytes]]:
        """What `forms` answered, taken apart: the name and the form of every input."""
        starts = []
        position = 0
        for _, form, _ in self._slots:
            while forms[position] is not form:
                position += 1
            starts.append(position)
        ends = [*starts[1:], len(forms)]
        return [
            (name, b"".join(forms[start + 1 : end]))
            for (name, _, _), start, end in zip(self._slots, starts, ends, strict=True)
        ]

    def receive(self, bound: Inputs, store: Any, *, elsewhere: bool = False) -> tuple[Sequence[Any], dict[str, Any]]:
        """What the function is called with: positional and keyword arguments.

        With `elsewhere`, in another process: bytes that only have a name yet are `Later`, to be read there.
        """
        args: list[Any] = []
        named: dict[str, Any] = {}
        receiver = None
        for name, kind, default, annotation in self._order:
            value = bound.get(name, default)
            if type(value) not in _SCALARS and receiver is None:
                receiver = Receiver(store, self._describe, elsewhere=elsewhere)
            if receiver is None or type(value) in _SCALARS or (self.method and name == self.first):
                pass  # the instance is passed as it is: a copy would lose what a class does in its __init__
            elif kind is _ANY_ARGS or kind is _ANY_NAMED:
                value = receiver.starred(value, annotation)
            else:
                value = receiver.receive(value, annotation)
            if kind is _BY_PLACE:
                args.append(value)
            elif kind is _BY_NAME:
                named[name] = value
            elif kind is _ANY_ARGS:
                args.extend(value)
            else:
                named.update(value)
        return args, named

    def watches(self, bound: Inputs) -> bool:
        """May an input change while the box runs without anybody meaning it: a file, or a method's instance."""
        return self.method or any(type(named) is File for named in handles_in(bound.values()))

    def _unknown(self, name: str) -> BadInput:
        return BadInput(f"{self.name} has no input {name!r}; it takes {self._taken}")

    def _refusal(self, name: str, reason: Exception) -> UnsupportedType:
        if isinstance(reason, UnsupportedType):
            return UnsupportedType(f"input {name!r} of {self.name}: {reason.message}", input=name, **reason.details)
        return UnsupportedType(f"input {name!r} of {self.name} contains itself, or is nested too deeply: flatten it")


def annotations_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Annotations as types; one that cannot be evaluated (a name that only a type checker sees) is left out."""
    target = inspect.unwrap(function)
    with contextlib.suppress(Exception):
        return typing.get_type_hints(target)
    names = getattr(target, "__globals__", {})
    found: dict[str, Any] = {}
    for name, annotation in getattr(target, "__annotations__", {}).items():
        try:
            found[name] = eval(annotation, names) if isinstance(annotation, str) else annotation
        except Exception:
            continue
    return found


class Receiver:
    """Turns canonical inputs into what an annotation asks for.  `store` is where refs are read."""

    __slots__ = ("_describe", "_elsewhere", "_store")

    def __init__(self, store: Any, describe: Describe, *, elsewhere: bool = False) -> None:
        self._store = store
        self._elsewhere = elsewhere
        self._describe = describe

    def receive(self, value: Any, annotation: Any = _MISSING) -> Any:
        kind = type(value)
        if kind in _SCALARS or kind is File:
            return value
        if kind in _BYTES:
            return self._named(value, _wanted(annotation))
        if kind is list:
            inner = _argument(annotation, 0)
            return [self.receive(item, inner) for item in value]
        if kind is tuple:
            return tuple(self.receive(item, _element(annotation, index)) for index, item in enumerate(value))
        if kind is dict:
            return self._mapping(value, annotation)
        if kind in (set, frozenset):
            inner = _argument(annotation, 0)
            return kind(self.receive(item, inner) for item in value)
        if kind is OrderedDict:
            return OrderedDict((key, self.receive(item, _argument(annotation, 1))) for key, item in value.items())
        if kind is bytearray:
            return bytearray(value)
        if kind is Tree:
            return value
        if is_record(kind):
            return self._record(value)
        if kind.__module__ == "numpy" and kind.__name__ == "ndarray":
            return value.copy(order="C")
        return value

    def starred(self, value: Any, annotation: Any) -> Any:
        """What `*args: T` or `**options: T` take: each of them is a T."""
        if type(value) is dict:
            return self._mapping(value, typing.Dict[str, annotation] if annotation is not _MISSING else _MISSING)  # noqa: UP006
        return tuple(self.receive(item, annotation) for item in value)

    def _mapping(self, value: dict[Any, Any], annotation: Any) -> dict[Any, Any]:
        inner = _argument(annotation, 1)
        keys = sorted(value, key=lambda key: canonical(key, self._describe))
        return {key: self.receive(value[key], inner) for key in keys}

    def _record(self, value: Any) -> Any:
        fields = dict(record_fields(value))
        hints: dict[str, Any] = {}
        with contextlib.suppress(Exception):  # a name that only a type checker sees
            hints = typing.get_type_hints(type(value))
        arranged = {name: self.receive(item, hints.get(name, _MISSING)) for name, item in fields.items()}
        if all(arranged[name] is item for name, item in fields.items()):
            return value
        return rebuild_record(type(value), arranged)

    def _named(self, value: bytes | Ref | Blob, wanted: Any) -> Any:
        """Bytes, a ref and a blob are one input; the annotation alone decides what the function gets."""
        if wanted is Blob:
            if type(value) is Blob:
                return value
            return Blob(value, self._store) if type(value) is Ref else Blob.of(bytes(value))  # type: ignore[arg-type]
        if wanted is Ref or wanted is Tree:
            ref = self._ref(value)
            return ref if wanted is Ref else Tree(ref, self._store)
        if self._elsewhere and wanted is bytes and type(value) is Ref:
            self._store.size(value)  # is it here: who asks is told by us, not by the worker
            return Later(value)
        data = self._bytes(value)
        if wanted is bytes or wanted is _MISSING:
            return data
        return self._decoded(data, wanted)

    def _ref(self, value: bytes | Ref | Blob) -> Ref:
        if type(value) is Ref:
            return value
        if type(value) is Blob and value.data is None:
            return value.ref
        ref: Ref = self._store.put(self._bytes(value), durable=False)
        return ref

    def _bytes(self, value: bytes | Ref | Blob) -> bytes:
        if type(value) is Ref:
            data: bytes = self._store.get(value)
            return data
        return value.read() if type(value) is Blob else bytes(value)  # type: ignore[arg-type]

    def _decoded(self, data: bytes, wanted: Any) -> Any:
        from boxwork.derive.outputs import value_of_blob  # outputs asks this module for annotations

        return value_of_blob(data, wanted, self._store)


def _wanted(annotation: Any) -> Any:
    """What a bytes-like input should become: `bytes` wherever an annotation allows it or says nothing."""
    if annotation is _MISSING or annotation in (Any, object, bytes):
        return bytes
    if annotation in (Blob, Ref, Tree):
        return annotation
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return _wanted(typing.get_args(annotation)[0])
    if origin in (typing.Union, types.UnionType):
        choices = [_wanted(choice) for choice in typing.get_args(annotation) if choice is not type(None)]
        return next((kind for kind in (bytes, Blob, Ref, Tree) if kind in choices), choices[0] if choices else bytes)
    if isinstance(annotation, typing.TypeVar):
        return bytes
    return annotation


def _argument(annotation: Any, index: int) -> Any:
    """The annotation of what a container holds: `list[Blob]` → Blob, `dict[str, Blob]` → Blob."""
    if annotation is _MISSING:
        return _MISSING
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType, typing.Annotated):
        for choice in typing.get_args(annotation):
            if typing.get_args(choice):
                return _argument(choice, index)
        return _MISSING
    arguments = typing.get_args(annotation)
    return arguments[index] if len(arguments) > index else _MISSING


def _element(annotation: Any, index: int) -> Any:
    """The annotation of one place of a tuple: `tuple[Blob, int]`, `tuple[Blob, ...]`."""
    arguments = typing.get_args(annotation)
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return arguments[0]
    return arguments[index] if index < len(arguments) else _MISSING


def handles_in(values: Iterable[Any]) -> Iterator[File | Ref | Blob | Tree]:
    """Every handle and name among these values, at any depth of containers and records."""
    for value in values:
        kind = type(value)
        if kind in PLAIN:
            continue
        if kind in HANDLES:
            yield value
        elif kind in (list, tuple, set, frozenset):
            yield from handles_in(value)
        elif kind in (dict, OrderedDict):
            yield from handles_in(value.values())
        elif kind not in ENCODERS and is_record(kind):
            yield from handles_in(item for _, item in record_fields(value))
