"""Canonical forms of what `derive` takes in beyond plain values: records, arrays, handles.

`boxwork.keys` knows the plain types, `boxwork.content` its trees; importing this module adds the others to the same
tables.  A record is a class and its named fields; the class goes in by what describes its code, so a value whose
methods changed is another value.
"""

from __future__ import annotations

import dataclasses
import enum
import re
import sys
from typing import Any

import msgspec

from boxwork.derive.handles import Blob, File
from boxwork.errors import UnsupportedType
from boxwork.keys import ENCODERS, FINDERS, Describe, Encoder, array_form, blob_form, encode, plain_form, record_form


def is_record(kind: type) -> bool:
    """Is it a class whose instances are their named fields: dataclass, struct, named tuple."""
    return dataclasses.is_dataclass(kind) or issubclass(kind, msgspec.Struct) or is_named_tuple(kind)


def is_named_tuple(kind: type) -> bool:
    return issubclass(kind, tuple) and kind.__bases__ == (tuple,) and hasattr(kind, "_fields")


def record_fields(value: Any) -> list[tuple[str, Any]]:
    """The named fields of a record, in the order of their definition."""
    kind = type(value)
    if dataclasses.is_dataclass(kind):
        names = [field.name for field in dataclasses.fields(kind)]
        extra = set(getattr(value, "__dict__", ())) - set(names)
        if extra:
            raise UnsupportedType(
                f"a {kind.__qualname__} carries attributes that are not fields of its dataclass"
                f" ({', '.join(sorted(extra))}): declare them as fields",
                type=kind.__qualname__,
            )
    elif is_named_tuple(kind):
        names = list(kind._fields)
    else:
        names = list(kind.__struct_fields__)
    return [(name, getattr(value, name)) for name in names if hasattr(value, name)]


def instance_form(instance: object, out: list[bytes], describe: Describe) -> None:
    """The form of the instance a box is a method of: its class and everything it carries."""
    kind = type(instance)
    if kind in ENCODERS or is_record(kind):
        encode(instance, out, describe)
        return
    state = dict(getattr(instance, "__dict__", {}))
    for base in kind.__mro__:
        slots = base.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and hasattr(instance, name):
                state[name] = getattr(instance, name)
    record_form(kind, sorted(state.items()), out, describe)


def _record(value: Any, out: list[bytes], describe: Describe) -> None:
    record_form(type(value), record_fields(value), out, describe)


def _enum(value: Any, out: list[bytes], describe: Describe) -> None:
    record_form(type(value), [("value", value.value)], out, describe)


def _array(value: Any, out: list[bytes], describe: Describe) -> None:
    numpy = sys.modules["numpy"]
    refuse_object_dtype(value)
    flat = numpy.ascontiguousarray(value).reshape(-1).view(numpy.uint8)
    out.append(array_form(dtype_text(value.dtype), value.shape, flat.data))


def _scalar(value: Any, out: list[bytes], describe: Describe) -> None:
    refuse_object_dtype(value)
    out.append(array_form("scalar " + dtype_text(value.dtype), (), value.tobytes()))


def dtype_text(dtype: Any) -> str:
    return str(dtype.str) if dtype.names is None else repr(sys.modules["numpy"].lib.format.dtype_to_descr(dtype))


def refuse_object_dtype(value: Any) -> None:
    if value.dtype.hasobject:
        raise UnsupportedType(
            f"an array of dtype {value.dtype} holds Python objects, whose bytes say nothing: convert it, for example"
            " with .astype(float) or .astype('U'), or pass a list",
            type=f"numpy.ndarray[{value.dtype}]",
        )


def _file(value: File, out: list[bytes], describe: Describe) -> None:
    out.append(plain_form("file", f"{value.name}|{value.ref}"))


def _pattern(value: re.Pattern[Any], out: list[bytes], describe: Describe) -> None:
    out.append(plain_form("pattern", f"{value.flags}|{value.pattern!r}"))


def _find(value: object) -> Encoder | None:
    kind = type(value)
    if isinstance(value, enum.Enum):
        return _enum
    if is_record(kind):
        return _record
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        if kind is numpy.ndarray:
            return _array
        if isinstance(value, numpy.generic):
            return _scalar
        if isinstance(value, numpy.ndarray):
            raise UnsupportedType(
                f"a {kind.__qualname__} is more than its numbers: pass numpy.asarray(…) of it, and what it adds beside",
                type=kind.__qualname__,
            )
    return None


def _blob(value: Blob, out: list[bytes], describe: Describe) -> None:
    out.append(blob_form(value.ref.digest))


ENCODERS[Blob] = _blob
ENCODERS[File] = _file
ENCODERS[re.Pattern] = _pattern
FINDERS.append(_find)
