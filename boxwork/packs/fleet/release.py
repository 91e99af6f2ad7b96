"""A release: a folder of templates with a `release.toml`, which says what a row must look like and what a change costs.

A folder is one kind of host, or holds one folder a kind; then the column `kind` of a row chooses.  Each kind declares
its columns, so that a table is checked before anything of it is served, and every mistake has its row and column.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import msgspec

from boxwork import Tree, errors
from boxwork.packs.fleet.protocol import SECRET_NAME, EffectRule, Hooks

MANIFEST = "release.toml"
TEMPLATE_SUFFIX = ".j2"
SECRET = "secret:"
REFERENCE = SECRET_NAME.replace("^", "^" + SECRET)

ColumnType = Literal["text", "integer", "number", "flag", "choice", "secret"]
Value = str | int | float | bool


class Column(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What may stand in one column."""

    type: ColumnType = "text"
    about: str = ""
    default: Value | None = None
    required: bool = True
    min: float | None = None
    max: float | None = None
    choices: tuple[str, ...] = ()
    pattern: str = ""
    length_max: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 1_000


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`release.toml`, read.  `effects` and `hooks` go to the host as they stand; so do `packages`, its package set.

    root  the system that the folder is laid over: the name of a pinned tree of the node's store, or a ref
    """

    columns: dict[str, Column] = {}
    effects: tuple[EffectRule, ...] = ()
    hooks: Hooks = Hooks()
    packages: tuple[str, ...] = ()
    root: str = ""


class Kind(msgspec.Struct, frozen=True):
    """One kind of host: its manifest and its templates."""

    name: str
    manifest: Manifest
    tree: Tree


def kinds_of(tree: Tree) -> dict[str, Kind]:
    """The kinds in a release folder; the name is empty where the folder itself is the one kind."""
    if MANIFEST in tree.entries:
        return {"": Kind("", _manifest(tree, MANIFEST), tree)}
    found = {
        entry.name: Kind(entry.name, _manifest(tree, f"{entry.name}/{MANIFEST}"), tree.subtree(entry))
        for entry in tree.entries.values()
        if entry.kind == "directory" and MANIFEST in tree.subtree(entry).entries
    }
    if not found:
        raise errors.BadInput(
            f"there is no {MANIFEST} in the release folder, nor in a folder of it: write one, docs/fleet.md has an"
            " example"
        )
    return found


def _manifest(tree: Tree, path: str) -> Manifest:
    try:
        manifest = msgspec.convert(tomllib.loads(tree.read(path).decode("utf-8")), Manifest)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as fault:
        raise errors.BadInput(f"{path}: {fault}", path=path) from None
    for name, column in manifest.columns.items():
        try:
            _check_column(name, column)
        except (ValueError, TypeError) as fault:
            raise errors.BadInput(f"{path}: column {name!r}: {fault}", path=path, column=name) from None
    return manifest


def _check_column(name: str, column: Column) -> None:
    if not name.isidentifier():
        raise ValueError("a template calls it by its name, so it must be a name such as max_clients")
    if name in ("host", "kind"):
        raise ValueError("host and kind are there by themselves")
    if column.type == "choice" and not column.choices:
        raise ValueError('a choice needs choices = ["…"]')
    if column.default is not None:
        msgspec.convert(column.default, value_type(column), strict=False)


def value_type(column: Column) -> Any:
    """The type whose conversion is the check."""
    match column.type:
        case "integer":
            return Annotated[int, msgspec.Meta(ge=_whole(column.min), le=_whole(column.max))]
        case "number":
            return Annotated[float, msgspec.Meta(ge=column.min, le=column.max)]
        case "flag":
            return bool
        case "choice":
            return Literal[column.choices]
        case "secret":
            return Annotated[str, msgspec.Meta(pattern=REFERENCE)]
        case _:
            return Annotated[str, msgspec.Meta(pattern=column.pattern or None, max_length=column.length_max)]


def _whole(bound: float | None) -> int | None:
    return None if bound is None else int(bound)


def json_schema(kind: Kind) -> dict[str, Any]:
    """The JSON Schema of a row of this kind, for editors and forms."""
    fields = [
        (name, value_type(column)) if column.required and column.default is None else (name, value_type(column), None)
        for name, column in kind.manifest.columns.items()
    ]
    return msgspec.json.schema(msgspec.defstruct(kind.name or "row", [("host", str), *fields], kw_only=True))


def secrets_in(values: Mapping[str, Value]) -> Iterator[str]:
    """The names of the secrets that a row refers to."""
    for value in values.values():
        if isinstance(value, str) and value.startswith(SECRET):
            yield value.removeprefix(SECRET)
