"""Runs one case of the matrix: its modules on disk, imported, fingerprinted before and after what happens."""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from boxwork.box import Derivation
from boxwork.derive.fingerprint import Fingerprinter
from tests.derive.honesty.cases import Case


class Stage:
    """The key of a case's box (its fingerprint and what it declares) at two moments."""

    def __init__(self, case: Case, directory: Path) -> None:
        self.case = case
        self.directory = directory
        self.data = directory / "data"
        self.data.mkdir()

    def keys(self, fingerprinter: Fingerprinter) -> tuple[object, object]:
        """Raises what the fingerprinter raises."""
        case = self.case
        self._data(case.data[0])
        with self.imported("before", case.before) as module, surroundings(case.env[0]):
            before = key_of(fingerprinter, module)
            if case.patch:
                exec(compile(case.patch, "<patch>", "exec"), vars(module))
                try:
                    return before, key_of(fingerprinter, module)
                finally:
                    vars(module).get("undo", int)()
        self._data(case.data[1])
        with self.imported("after", case.before | case.after) as module, surroundings(case.env[1]):
            return before, key_of(fingerprinter, module)

    def _data(self, files: Mapping[str, str]) -> None:
        for name, text in files.items():
            (self.data / name).write_text(text)

    @contextmanager
    def imported(self, version: str, modules: Mapping[str, str]) -> Iterator[ModuleType]:
        """The modules of one version, importable; afterwards it is as if they had never been."""
        root = self.directory / version
        write(root, modules, self.data)
        known = set(sys.modules)
        sys.path.insert(0, str(root))
        importlib.invalidate_caches()
        try:
            yield importlib.import_module("m")
        finally:
            sys.path.remove(str(root))
            for name in set(sys.modules) - known:
                if str(root) in str(getattr(sys.modules[name], "__file__", "")):
                    del sys.modules[name]


def write(root: Path, modules: Mapping[str, str], data: Path) -> None:
    for name, text in modules.items():
        path = root / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("{data}", str(data)))


def key_of(fingerprinter: Fingerprinter, module: ModuleType) -> tuple[bytes, object]:
    box = module.box
    assert isinstance(box, Derivation)
    return fingerprinter.of(box).digest, fingerprinter.declared(box)


@contextmanager
def surroundings(variables: Mapping[str, str]) -> Iterator[None]:
    old = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    time.tzset()
    try:
        yield
    finally:
        for name, value in old.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value
        time.tzset()
