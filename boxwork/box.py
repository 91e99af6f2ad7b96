"""A box: a named, versioned, pure function.

This file says what a box *is*; `derive` runs the boxes over content, `state` those over facts.  Making a box
does nothing but make a value: it computes no hash, registers nothing and looks at no source.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, ParamSpec, TypeVar, overload

from boxwork.errors import BadInput

P = ParamSpec("P")
R = TypeVar("R")

Worker = Literal["inline", "thread", "process", "sandbox"]
WORKERS: tuple[Worker, ...] = ("inline", "thread", "process", "sandbox")


@dataclass(frozen=True, slots=True)
class Terms:
    """What a box declares beside its code.

    pins     names of mutable globals (or dotted attributes of them) whose value is part of the key
    ignores  names of globals that cannot change the output: they stay out of the key
    files    paths the box reads by itself: their content is part of the key
    env      environment variables the box reads: their values are part of the key
    version  a text of your own in the key, for what nobody can see (a model on a device, a manual step)
    worker   where a miss runs: in the calling thread, a pool thread, a spawned process, or a sandbox
    timeout_s        limit for one run in seconds; holds in `process` and `sandbox` workers
    memory_bytes_max limit for one run; holds in `process` and `sandbox` workers; 0 is no limit
    durable  keep outputs in the durable store instead of the cache
    """

    pins: tuple[str, ...] = ()
    ignores: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    version: str = ""
    worker: Worker = "inline"
    timeout_s: float = 0.0
    memory_bytes_max: int = 0
    durable: bool = False


class Derivation(Generic[P, R]):
    """A box over content.  Calling it is calling the plain function: nothing is looked up or stored."""

    def __init__(self, function: Callable[P, R], name: str, terms: Terms) -> None:
        # First, because it also takes over the function's own attributes, whatever their names.
        functools.update_wrapper(self, function)
        self.function = function
        self.name = name
        self.terms = terms

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.function(*args, **kwargs)

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        return self if instance is None else BoundDerivation(self, instance)

    def __repr__(self) -> str:
        return f"<derivation {self.name}>"


class BoundDerivation:
    """A box that is a method, with its instance: the instance is the input named by the first parameter."""

    __slots__ = ("box", "instance")

    def __init__(self, box: Derivation[..., Any], instance: object) -> None:
        self.box = box
        self.instance = instance

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.box.function(self.instance, *args, **kwargs)


@overload
def derivation(function: Callable[P, R], /) -> Derivation[P, R]: ...
@overload
def derivation(
    *,
    name: str = ...,
    pins: Sequence[str] = ...,
    ignores: Sequence[str] = ...,
    files: Sequence[str] = ...,
    env: Sequence[str] = ...,
    version: str = ...,
    worker: Worker = ...,
    timeout_s: float = ...,
    memory_bytes_max: int = ...,
    durable: bool = ...,
) -> Callable[[Callable[P, R]], Derivation[P, R]]: ...
def derivation(
    function: Callable[P, R] | None = None,
    /,
    *,
    name: str = "",
    pins: Sequence[str] = (),
    ignores: Sequence[str] = (),
    files: Sequence[str] = (),
    env: Sequence[str] = (),
    version: str = "",
    worker: Worker = "inline",
    timeout_s: float = 0.0,
    memory_bytes_max: int = 0,
    durable: bool = False,
) -> Derivation[P, R] | Callable[[Callable[P, R]], Derivation[P, R]]:
    """Make a box over content of a function.  What can be declared: see `Terms`.

    The name (default: the function's own) is what people see and type; the key does not depend on it.
    """
    for field, value in (("pins", pins), ("ignores", ignores), ("files", files), ("env", env)):
        if isinstance(value, str):
            raise BadInput(f"@derivation({field}={value!r}): give a list of names, {field}=[{value!r}]")
    if worker not in WORKERS:
        raise BadInput(f"@derivation(worker={worker!r}): there are {', '.join(WORKERS)}")
    terms = Terms(
        tuple(pins), tuple(ignores), tuple(files), tuple(env), version, worker, timeout_s, memory_bytes_max, durable
    )

    def make(target: Callable[P, R]) -> Derivation[P, R]:
        if isinstance(target, Derivation):
            raise BadInput(f"{target!r} is a box already")
        if not callable(target):
            raise BadInput(f"@derivation wants a function, not {target!r}")
        return Derivation(target, name or getattr(target, "__name__", type(target).__name__), terms)

    return make if function is None else make(function)
