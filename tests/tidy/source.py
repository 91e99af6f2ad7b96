"""The files of this repository as the manners tests read them."""

from __future__ import annotations

import ast
import functools
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "boxwork"

# What a tree without git (an unpacked source archive) may hold beside the sources.
BUILT = {".venv", ".git", "build", "dist", "site", "data", "node_modules", "__pycache__", ".mypy_cache", ".ruff_cache"}


@dataclass(frozen=True)
class Source:
    """One Python file, parsed."""

    path: Path
    text: str
    tree: ast.Module

    @property
    def name(self) -> str:
        """`boxwork/content/store.py`"""
        return self.path.relative_to(ROOT).as_posix()

    def at(self, node: ast.AST) -> str:
        return f"{self.name}:{getattr(node, 'lineno', 1)}"


@functools.cache
def modules(folder: str = "boxwork") -> tuple[Source, ...]:
    """Every Python file under a folder of the repository, parsed once."""
    found = []
    for path in sorted((ROOT / folder).rglob("*.py")):
        text = path.read_text("utf-8")
        found.append(Source(path, text, ast.parse(text, str(path))))
    return tuple(found)


@functools.cache
def tracked_files() -> tuple[Path, ...]:
    """Every file that is, or is about to be, in the repository."""
    try:
        listed = (
            subprocess.run(
                ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                cwd=ROOT,
                capture_output=True,
                check=True,
            )
            .stdout.decode()
            .split("\0")
        )
    except (OSError, subprocess.CalledProcessError):
        return tuple(p for p in sorted(ROOT.rglob("*")) if p.is_file() and not BUILT & set(p.relative_to(ROOT).parts))
    return tuple(ROOT / name for name in sorted(listed) if name and (ROOT / name).is_file())


def texts() -> Iterator[tuple[str, str]]:
    """Name and text of each file of the repository that is text."""
    for path in tracked_files():
        try:
            yield path.relative_to(ROOT).as_posix(), path.read_text("utf-8")
        except UnicodeDecodeError:
            continue


def names_used(source: Source) -> Iterator[tuple[ast.expr | ast.stmt, str]]:
    """Every dotted name that a file uses, spelled from the module it was imported from.

    After `import time as t` and `from os import urandom`, the uses `t.time()` and `urandom(8)` are `time.time`
    and `os.urandom`.  Text is not looked at: a list of forbidden names may name them.
    """
    known: dict[str, str] = {}
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                known[alias.asname or alias.name.split(".")[0]] = (
                    alias.name if alias.asname else alias.name.split(".")[0]
                )
                yield node, alias.name
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                known[alias.asname or alias.name] = f"{node.module}.{alias.name}"
                yield node, f"{node.module}.{alias.name}"
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Attribute):
            parts = [node.attr]
            inner: ast.expr = node.value
            while isinstance(inner, ast.Attribute):
                parts.append(inner.attr)
                inner = inner.value
            if isinstance(inner, ast.Name) and inner.id in known:
                yield node, ".".join([known[inner.id], *reversed(parts)])
