"""The form of a class: its bases, methods, attributes and fields, as they are now.

What a class statement generates (a dataclass's `__init__`, the slots of a named tuple) follows from the fields and
the parameters and is left out; so are docstrings and bookkeeping.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import re
import types
from collections.abc import Iterator
from typing import Any

import msgspec

_BOOKKEEPING = frozenset(
    {
        "__module__",
        "__qualname__",
        "__doc__",
        "__dict__",
        "__weakref__",
        "__annotations__",
        "__firstlineno__",
        "__static_attributes__",
        "__abstractmethods__",
        "_abc_impl",
        "__parameters__",
        "__orig_bases__",
        "__dataclass_fields__",
        "__dataclass_params__",
        "__match_args__",
        "__annotate__",
        "__annotate_func__",
        "__annotations_cache__",
        "__annotate_cache__",
        "__type_params__",
        "__classcell__",
        "__classdictcell__",
        "__struct_config__",
        "__struct_fields__",
        "__struct_encode_fields__",
        "__struct_defaults__",
        "__fields__",
        "__orig_class__",
        "__protocol_attrs__",
        "_is_protocol",
        "_is_runtime_protocol",
        "__non_callable_proto_members__",
        "__final__",
        "__callable_proto_members_only__",
        "_fields",
        "_field_defaults",
        "__getnewargs__",
        "_make",
        "_asdict",
        "__attrs_attrs__",
        "__attrs_own_setattr__",
        "model_fields",
        "model_computed_fields",
        "__signature__",
        "__private_attributes__",
        "__class_vars__",
        "__attrs_props__",
        "_missing_",
        "__new_member__",
    }
)
_BOOKKEEPING_ENUM = frozenset(
    {
        "_generate_next_value_",
        "_member_names_",
        "_member_map_",
        "_value2member_map_",
        "_unhashable_values_",
        "_unhashable_values_map_",
        "_hashable_values_",
        "_member_type_",
        "_value_repr_",
        "_use_args_",
        "_new_member_",
        "_flag_mask_",
        "_singles_mask_",
        "_all_bits_",
        "_boundary_",
        "_inverted_",
        "__new__",
        "__reduce_ex__",
        "__or__",
        "__and__",
        "__xor__",
        "__invert__",
        "__ror__",
        "__rand__",
        "__rxor__",
        "__set_name__",
        "_iter_member_",
        "__members__",
        "__str__",
        "__format__",
        "__repr__",
        "_numeric_repr_",
        "_add_alias_",
        "_add_value_alias_",
    }
)


# What a default `repr` says of an object that has no better one: it differs in every process.
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def attributes(kind: type) -> Iterator[tuple[str, object]]:
    """Names and raw values in `kind.__dict__` that somebody wrote, in order."""
    is_enum = isinstance(kind, enum.EnumMeta)
    members = getattr(kind, "__members__", {}) if is_enum else {}
    for name, value in list(kind.__dict__.items()):
        if (
            name in _BOOKKEEPING
            or name in members
            or name.startswith("__pydantic_")
            or isinstance(value, (types.MemberDescriptorType, types.GetSetDescriptorType, types.WrapperDescriptorType))
        ):
            continue
        if is_enum and name in _BOOKKEEPING_ENUM and not _written(value):
            continue
        if type(value).__name__ in {"_tuplegetter", "_abc_data"} or _is_generated(value, kind):
            continue
        yield name, value


def _written(value: object) -> bool:
    """Whether a special method of an enum was written in the class and not copied from `enum`."""
    found = value.__func__ if isinstance(value, (staticmethod, classmethod)) else value
    return isinstance(found, types.FunctionType) and found.__module__ != "enum"


def _is_generated(value: object, kind: type) -> bool:
    found = value.__func__ if isinstance(value, (staticmethod, classmethod)) else value
    found = getattr(found, "__wrapped__", found)
    if not isinstance(found, types.FunctionType):
        return False
    file = found.__code__.co_filename
    generated = file.startswith(("<string>", "<attrs generated", "<collections", "<namedtuple"))
    named_tuple = issubclass(kind, tuple) and file.endswith("collections/__init__.py")
    fields = dataclasses.is_dataclass(kind) or hasattr(kind, "__attrs_attrs__") or issubclass(kind, tuple)
    return (generated and fields) or named_tuple or (dataclasses.is_dataclass(kind) and "dataclasses.py" in file)


def parts_of_attribute(value: object) -> list[object]:
    """The functions behind a descriptor, or the value itself."""
    if isinstance(value, (staticmethod, classmethod)):
        return [type(value).__name__, value.__func__]
    if isinstance(value, property):
        return ["property", value.fget, value.fset, value.fdel]
    if isinstance(value, functools.cached_property):
        return ["cached_property", value.func]
    if isinstance(value, functools.singledispatchmethod):
        return ["singledispatch", value.dispatcher, value.func]
    return [value]


def fields_of(kind: type) -> Iterator[tuple[str, list[object]]]:
    """What the fields of a record class say beyond its attributes: defaults, factories, order, switches."""
    if dataclasses.is_dataclass(kind) and "__dataclass_fields__" in kind.__dict__:
        yield "parameters", [repr(kind.__dict__["__dataclass_params__"])]
        for field in dataclasses.fields(kind):
            yield (
                field.name,
                [
                    field.default,
                    field.default_factory,
                    field.init,
                    field.repr,
                    field.hash,
                    field.compare,
                    field.kw_only is True,
                ],
            )
    elif issubclass(kind, msgspec.Struct) and kind is not msgspec.Struct:
        config = kind.__struct_config__
        yield "parameters", [repr([(name, getattr(config, name)) for name in dir(config) if not name.startswith("_")])]
        yield "fields", [kind.__struct_fields__, kind.__struct_encode_fields__]
        yield "defaults", [_plain_default(one) for one in kind.__struct_defaults__]
    elif issubclass(kind, tuple) and "_fields" in kind.__dict__:
        yield "fields", [kind.__dict__["_fields"], kind.__dict__.get("_field_defaults")]
    elif isinstance(kind, enum.EnumMeta):
        members: dict[str, Any] = dict(kind.__members__)
        for name, member in members.items():
            state = {key: one for key, one in vars(member).items() if not key.startswith(("_", "__"))}
            yield name, [member._value_, *(x for pair in sorted(state.items()) for x in pair)]
    attrs: Any = kind.__dict__.get("__attrs_attrs__")
    if attrs is not None:
        for one in attrs:
            yield one.name, [_plain_default(one.default), one.validator, one.converter, one.init, one.kw_only]
    models: Any = kind.__dict__.get("__pydantic_fields__")
    for name, info in (models or {}).items():
        metadata = _ADDRESS.sub("", repr(info.metadata))
        yield name, [info.default, info.default_factory, spelled(info.annotation), metadata]


def _plain_default(value: Any) -> object:
    return value.factory if type(value).__name__ == "Factory" else value


def annotations_text(kind: type) -> list[str]:
    """Names and types of the fields, in order, without making the class grow an `__annotations__`."""
    found = vars(kind).get("__annotations__")  # `kind.__annotations__` would make one
    if found is None and "__annotate_func__" in kind.__dict__:
        found = kind.__annotations__
    if not isinstance(found, dict):
        return []
    return [f"{name}:{one if isinstance(one, str) else spelled(one)}" for name, one in found.items()]


def spelled(annotation: object) -> str:
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return f"{annotation.__module__}.{annotation.__qualname__}"
    return _ADDRESS.sub("", repr(annotation))
