"""Whose code something is: the interpreter's, an installed distribution's, or the project's own.

Project code is followed function by function.  Everything else stands in a key by name, version and the hashes
that its installer recorded: a wheel rebuilt under the same version is another one.  A distribution brings the
distributions it requires along, because an upgrade of numpy may change what pandas answers.
"""

from __future__ import annotations

import functools
import os
import pkgutil
import re
import site
import sys
import sysconfig
import threading
from collections.abc import Iterable, Iterator
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import CellType, FunctionType, MethodType, ModuleType
from typing import Any, Literal, NamedTuple, Protocol

from boxwork import keys
from boxwork.box import BoundDerivation, Derivation

Kind = Literal["project", "stdlib", "package", "generated"]

PYTHON = f"{sys.implementation.name} {sys.version_info.major}.{sys.version_info.minor}"
STDLIB = f"{sys.implementation.name} {sys.version.split()[0]}"

# RECORDs held at the same time: some 50 KiB each, and megabytes for the largest.  Unit: files; a box that uses more
# distributions than this reads some of them again, once.
RECORDS_MAX = 32

# How deep wrappers are searched for project code.  Unit: levels; `references.py` needs as many.
WRAPPED_DEPTH_MAX = 3


class Index(Protocol):
    """Where facts are kept from process to process.  Losing a row costs a little time, never an answer."""

    def get(self, key: bytes) -> bytes | None: ...
    def put(self, key: bytes, value: bytes) -> None: ...


class Origin(NamedTuple):
    kind: Kind
    name: str = ""  # of the distribution


class Distributions:
    """Answers whose a file or module is, and with what digest.  Safe from many threads; answers are remembered.

    `project_roots` are directories that count as project even where the rules say otherwise.
    """

    def __init__(self, project_roots: Iterable[str | os.PathLike[str]] = (), index: Index | None = None) -> None:
        self._index = index
        self._roots = tuple(_directory(root) for root in project_roots)
        self._sites = tuple(_directory(path) for path in _site_directories())
        paths = sysconfig.get_paths()
        self._stdlib = tuple({_directory(paths["stdlib"]), _directory(paths["platstdlib"])})
        # Boxwork itself goes by version like any other library, but the packs are boxes and are followed.
        self._own = _directory(Path(__file__).parent.parent)
        self._packs = self._own + "packs" + os.sep
        self._files: dict[str, Origin] = {}
        self._records: dict[str, str] = {}
        self._parts: dict[str, tuple[tuple[str, bytes], ...]] = {}
        self._folders: dict[str, dict[str, str]] = {}
        self._lock = threading.RLock()

    def of_module(self, name: str | None) -> Origin:
        """Whose the module `name` is; it need not be imported."""
        if not name:
            return Origin("generated")
        if name in {"__main__", "__mp_main__"}:
            return Origin("project")  # whatever started the interpreter: a notebook's cells live there
        while name:
            found = self.find(name)
            if found is not None:
                return found
            name = name.rpartition(".")[0]  # `six.moves.urllib` is nowhere on disk, and six's all the same
        return Origin("project")

    def find(self, name: str) -> Origin | None:
        """Whose the module `name` is, imported or not; None if there is no such module.  Nothing is imported."""
        module = sys.modules.get(name)
        # One that has another name of its own is an alias that somebody put there, as `six.moves.queue` is.
        if isinstance(module, ModuleType) and module.__name__ == name:
            file = getattr(module, "__file__", None)
            where = list(getattr(module, "__path__", ()))
        else:
            spec = spec_of(name)
            if spec is None:
                return None
            file = spec.origin if spec.has_location else None
            where = list(spec.submodule_search_locations or ())
        if file is not None:
            return self.of_file(file)
        top, _, rest = name.partition(".")
        if top in sys.builtin_module_names or top in sys.stdlib_module_names:
            return Origin("stdlib")
        if where:
            return self.of_file(os.path.join(where[0], "__init__.py"))
        return self.of_module(name.rpartition(".")[0]) if rest else Origin("project")

    def along(self, name: str, attributes: tuple[str, ...]) -> list[tuple[str, Origin]]:
        """The modules on the way of `name.attribute.…` whose owner is known, from the outermost to the innermost."""
        parts = [*name.split("."), *attributes]
        found: list[tuple[str, Origin]] = []
        for count in range(1, len(parts) + 1):
            path = ".".join(parts[:count])
            origin = self.find(path)
            if origin is None:
                break
            found.append((path, origin))
        return found

    def is_ours(self, value: Any, depth: int = 0) -> bool:
        """Whether a value is, or wraps, code that certainly is the project's."""
        origin: Origin | None = None
        inner: list[Any] = []
        if isinstance(value, FunctionType):
            origin = self.of_file(value.__code__.co_filename)
            if origin.kind == "generated":
                origin = self.find(value.__module__) if value.__module__ else None
            held = [value.__dict__.get("__wrapped__"), *map(_content, value.__closure__ or ())]
            inner = [one for one in held if isinstance(one, (FunctionType, functools._lru_cache_wrapper))]
        elif isinstance(value, (Derivation, BoundDerivation)):
            return True
        elif isinstance(value, MethodType):
            inner = [value.__func__, value.__self__]
        elif isinstance(value, functools.partial):
            inner = [value.func]
        elif isinstance(value, functools._lru_cache_wrapper):
            inner = [value.__wrapped__]
        else:
            kind = value if isinstance(value, type) else type(value)
            module = value.__name__ if isinstance(value, ModuleType) else kind.__module__
            origin = self.find(module) if isinstance(module, str) and module != "builtins" else None
        if origin is not None and origin.kind == "project":
            return True
        return depth < WRAPPED_DEPTH_MAX and any(self.is_ours(one, depth + 1) for one in inner)

    def of_file(self, file: str) -> Origin:
        known = self._files.get(file)
        if known is None:
            known = self._files[file] = self._classify(file)
        return known

    def _classify(self, file: str) -> Origin:
        if file.startswith("<frozen"):
            return Origin("stdlib")
        if file.startswith("<"):
            return Origin("generated")
        path = os.path.realpath(file)
        if path.startswith((*self._roots, self._packs)):
            return Origin("project")
        for directory in self._sites:
            if path.startswith(directory):
                return Origin("package", self._owner(directory, path))
        if path.startswith(self._own):
            return Origin("package", "boxwork")
        if path.startswith(self._stdlib) or "/lib-dynload/" in path:
            return Origin("stdlib")
        return Origin("project")

    def _owner(self, directory: str, path: str) -> str:
        """The distribution that installed `path` under `directory`; the top-level name if none says so."""
        # By file and not by folder: a distribution may put files into the package of another, and the answer must not
        # depend on which file was asked for first.
        relative = path[len(directory) :]
        kept = keys.part_digest("owner", f"2|{directory}|{relative}|{os.stat(directory).st_mtime_ns}".encode())
        if self._index is not None:
            found = self._index.get(kept)
            if found is not None:
                return found.decode()
        name = self._search(directory, relative)
        if self._index is not None:
            self._index.put(kept, name.encode())
        return name

    def _search(self, directory: str, relative: str) -> str:
        # Most distributions are named like their package.
        folders = self._installed(directory)
        top = relative.split(os.sep)[0]
        bare = top.split(".")[0]
        like = _normal(bare)
        names = sorted(folders, key=lambda name: (name != like, like not in name, name))
        for wanted in dict.fromkeys((relative, f"{top}/__init__.py")):  # a file in no record goes with its package
            for name in names:
                if f"\n{wanted}," in self._record(folders[name]):
                    return name
        for name, folder in folders.items():
            if bare in _read(folder + "/top_level.txt").split():
                return name
        return like

    def _record(self, folder: str) -> str:
        """The lines of a RECORD; those of the distributions in use are kept, because each of their files asks."""
        known = self._records.get(folder)
        if known is None:
            known = self._records[folder] = "\n" + _read(folder + "/RECORD")
            while len(self._records) > RECORDS_MAX:
                self._records.pop(next(iter(self._records)), None)
        return known

    def _installed(self, directory: str) -> dict[str, str]:
        with self._lock:
            known = self._folders.get(directory)
            if known is None:
                known = {}
                for entry in sorted(os.listdir(directory)):
                    if entry.endswith((".dist-info", ".egg-info")):
                        known[_normal(entry.rsplit(".", 1)[0].split("-")[0])] = directory + entry
                self._folders[directory] = known
            return known

    def parts(self, name: str) -> tuple[tuple[str, bytes], ...]:
        """The parts of a distribution and of all it requires: ("package numpy 2.4.6", digest)."""
        known = self._parts.get(name)
        if known is None:
            found: dict[str, tuple[str, bytes]] = {}
            self._gather(name, found)
            known = self._parts[name] = tuple(sorted(found.values()))
        return known

    def _gather(self, name: str, found: dict[str, tuple[str, bytes]]) -> None:
        if name in found:
            return
        folder = next((f[name] for f in map(self._installed, self._sites) if name in f), None)
        if folder is None:
            if not found:  # a library somebody copied there: its name is all there is
                found[name] = (f"package {name}", keys.part_digest("package", b""))
            return
        version, digest, required = self._facts(folder)
        found[name] = (f"package {name} {version}", digest)
        for one in required:
            self._gather(one, found)

    def _facts(self, folder: str) -> tuple[str, bytes, list[str]]:
        """Version, digest and requirements; kept under what `stat` says of the files they were read from."""
        stats = [
            f"{stat.st_size},{stat.st_mtime_ns},{stat.st_ctime_ns}"
            for stat in map(_stat, (f"{folder}/RECORD", f"{folder}/METADATA", f"{folder}/direct_url.json"))
            if stat is not None
        ]
        kept = keys.part_digest("installed", f"1|{folder}|{'|'.join(stats)}".encode())
        row = self._index.get(kept) if self._index is not None else None
        if row is not None:
            version, *required = row[keys.DIGEST_BYTES :].decode().split("\n")
            return version, row[: keys.DIGEST_BYTES], required
        header = (_read(f"{folder}/METADATA") or _read(f"{folder}/PKG-INFO")).split("\n\n", 1)[0]
        version = _field(header, "Version")
        required = list(_requires(header))
        body = record_form(_read(f"{folder}/RECORD")) + _read(f"{folder}/direct_url.json").encode()
        digest = keys.part_digest("package", version.encode() + b"\n" + body)
        if self._index is not None:
            self._index.put(kept, digest + "\n".join([version, *required]).encode())
        return version, digest, required


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return None


def spec_of(name: str) -> ModuleSpec | None:
    """Where the module `name` would come from if it were imported now; None if there is none.

    `importlib.util.find_spec("a.b")` imports `a`, and asking for a key must not import what a box imports in its
    body.  So the finders are asked level by level, with the places of each package taken from its own spec.
    """
    parent = name.rpartition(".")[0]
    where: list[str] | None = None
    if parent:
        loaded = sys.modules.get(parent)
        outer = spec_of(parent) if loaded is None else None
        places: Iterable[str] | None = outer.submodule_search_locations if outer else getattr(loaded, "__path__", None)
        if places is None:
            return None
        where = list(places)
    for finder in list(sys.meta_path):
        try:
            spec = (
                _on_path(name, sys.path if where is None else where)
                if finder is PathFinder
                else finder.find_spec(name, where)
            )
        except Exception:  # a finder of somebody else, asked in an order that it did not expect
            continue
        if spec is not None:
            return spec
    return None


def _on_path(name: str, places: Iterable[str]) -> ModuleSpec | None:
    """As `PathFinder` does it, which wants the parents of a namespace package to be imported."""
    portions: list[str] = []
    for place in places:
        importer = pkgutil.get_importer(place or ".")
        spec = importer.find_spec(name) if importer is not None else None
        if spec is None:
            continue
        if spec.loader is not None:
            return spec
        portions += spec.submodule_search_locations or ()
    if not portions:
        return None
    namespace = ModuleSpec(name, None, is_package=True)
    namespace.submodule_search_locations = portions
    return namespace


def record_form(record: str) -> bytes:
    """The rows of a RECORD that say what the code is: no bytecode, scripts or metadata, which differ by place."""
    rows = [
        row
        for row in record.splitlines()
        if ",sha256=" in row and ".dist-info/" not in row.split(",")[0] and not row.startswith("../")
    ]
    return "\n".join(sorted(rows)).encode()


def _requires(header: str) -> Iterator[str]:
    """Names of requirements that no extra guards; markers are not evaluated, so some may not be installed."""
    for line in header.splitlines():
        if line.startswith("Requires-Dist:") and "extra ==" not in line:
            match = re.match(r"[A-Za-z0-9._-]+", line[14:].strip())
            if match:
                yield _normal(match.group())


def _field(header: str, name: str) -> str:
    match = re.search(rf"^{name}: *(.*)$", header, re.MULTILINE)
    return match.group(1).strip() if match else ""


def _normal(name: str) -> str:
    """PEP 503."""
    plain = name.lower().replace("_", "-").replace(".", "-")
    return re.sub("-+", "-", plain) if "--" in plain else plain


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _stat(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError:
        return None


def _directory(path: str | os.PathLike[str]) -> str:
    return os.path.realpath(path).rstrip(os.sep) + os.sep


def _site_directories() -> list[str]:
    paths = sysconfig.get_paths()
    found = [paths["purelib"], paths["platlib"], *site.getsitepackages()]
    if site.ENABLE_USER_SITE:
        found.append(site.getusersitepackages())
    found += [entry for entry in sys.path if entry.rstrip("/").endswith(("site-packages", "dist-packages"))]
    return list(dict.fromkeys(entry for entry in found if os.path.isdir(entry)))
