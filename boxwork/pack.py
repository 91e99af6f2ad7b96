"""A pack: ready-made boxes, one folder each, as one frozen value.

A pack imports the front door only, sees no other pack and loads heavy libraries when a box runs.  It is found
by being given to `Boxwork(packs=…)`, by a scan of `boxwork.packs`, or by the entry-point group `boxwork.packs`.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from boxwork.box import Derivation
from boxwork.errors import BadInput
from boxwork.keys import Ref
from boxwork.live.offer import Rooms
from boxwork.settings import Setting
from boxwork.transactions import Transaction

ENTRY_POINTS = "boxwork.packs"

Routes = Callable[[Any], list[Any]]  # work -> Starlette routes
Opener = Callable[[Any], Any]  # work -> what the pack keeps while the node is open; has close()
Door = Callable[[Any], Callable[[Any], bool]]  # work -> connection -> may this machine come in
Commands = Callable[[Any], Any]  # the command line's context -> a cyclopts App
Prepare = Callable[[Ref], tuple[Derivation[..., Any], dict[str, Any]]]
Sample = Callable[[Path, Callable[[int, int], None]], int]


@dataclass(frozen=True, slots=True)
class Page:
    """An entry in the navigation: what it is called and where it is."""

    title: str
    path: str


@dataclass(frozen=True, slots=True)
class Pack:
    """A folder of boxes.  Every field but the first two may be left out.

    boxes         the derivations it offers, by their names to `boxwork derive` and `/derive/{box}`
    transactions  the transactions it offers, by their names to `boxwork commit`, `work.commit` and `/commit`
    inner         boxes and transactions that only the pack's own code asks for, because it has checked what goes in,
                  or because they may do what a stranger may not: known by their names, never offered over HTTP
    routes        called with the open node, answers with the routes to mount
    described     (path, method) → what /openapi.json says of a route beside its docstring: "path" (schemas of the
                  parameters in it), "parameters", "requestBody", "responses" of an OpenAPI operation
    rooms         the rooms it offers at /rooms/…: whose facts their members see, who they are, what they may call
    settings      what can be set; names begin with the pack's name
    pages         entries in the navigation
    commands      a command group, called with the command line's context (data directory, output, flags), answers
                  with a cyclopts App
    door          called with the open node, answers with a function of a connection: True lets a machine in that the
                  guard does not know, because it shows what this pack gave it, for an address of this pack's own
    opener        called at the first `work.part(name)`, answers with the pack's own part of the node
    suffixes      the files of a folder that are this pack's, in lower case: (".jpg", ".png")
    prepare       called with the ref of such a file that was taken in, answers with a box and its inputs: what
                  people will ask for first, derived ahead
    sample        called with (directory, progress(done, total)), fills it with made-up files, answers how many;
                  what `progress` raises ends it
    """

    name: str
    summary: str
    boxes: tuple[Derivation[..., Any], ...] = ()
    transactions: tuple[Transaction[..., Any], ...] = ()
    inner: tuple[Derivation[..., Any] | Transaction[..., Any], ...] = ()
    routes: Routes | None = None
    described: Mapping[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)
    rooms: tuple[Rooms, ...] = ()
    settings: tuple[Setting, ...] = ()
    pages: tuple[Page, ...] = ()
    commands: Commands | None = None
    door: Door | None = None
    opener: Opener | None = None
    suffixes: tuple[str, ...] = ()
    prepare: Prepare | None = None
    sample: Sample | None = None

    def __post_init__(self) -> None:
        if not self.name.isidentifier() or not self.name.islower():
            raise BadInput(f"a pack's name is a lower-case identifier, not {self.name!r}")
        for setting in self.settings:
            if not setting.name.startswith(self.name + "."):
                raise BadInput(f"pack {self.name}: the setting {setting.name!r} must begin with '{self.name}.'")


def find_packs(given: Iterable[Pack | str] = ()) -> tuple[Pack, ...]:
    """All packs: those given (values, or module names with a `PACK`), then shipped, then installed by others.

    The first of a name wins.
    """
    found: dict[str, Pack] = {}
    for pack in given:
        value = _load(pack) if isinstance(pack, str) else pack
        found.setdefault(value.name, value)
    import boxwork.packs

    for module in sorted(pkgutil.iter_modules(boxwork.packs.__path__, "boxwork.packs."), key=lambda m: m.name):
        value = _load(module.name)
        found.setdefault(value.name, value)
    for entry in sorted(importlib.metadata.entry_points(group=ENTRY_POINTS), key=lambda e: e.name):
        value = entry.load()
        if not isinstance(value, Pack):
            raise BadInput(f"the entry point {entry.name!r} of {ENTRY_POINTS} is {value!r}, not a Pack")
        found.setdefault(value.name, value)
    return tuple(found.values())


def _load(name: str) -> Pack:
    pack = getattr(importlib.import_module(name), "PACK", None)
    if not isinstance(pack, Pack):
        raise BadInput(f'{name} has no PACK: write `PACK = Pack({name.rsplit(".", 1)[-1]!r}, "…")` in it')
    return pack
