"""A content store and a deriver over a temporary directory, with a fingerprint that is only the box's own code.

The fingerprint proper has its own tests; here a box may count its runs in a file without declaring it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boxwork import database
from boxwork.clock import Clock, SystemClock
from boxwork.content import content as content_module
from boxwork.content.content import Content
from boxwork.derive import deriver as deriver_module
from boxwork.derive.deriver import Deriver
from boxwork.keys import describe_by_name, fingerprint_digest, part_digest
from boxwork.settings import Settings, merge


@dataclass(frozen=True)
class StubFingerprint:
    parts: tuple[tuple[str, bytes], ...]
    files: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    ambient: tuple[str, ...] = ()

    @property
    def digest(self) -> bytes:
        return fingerprint_digest(self.parts)


def body(code: Any) -> bytes:
    """The byte code with its constants, those of nested functions inside."""
    constants = (body(each) if hasattr(each, "co_code") else repr(each).encode() for each in code.co_consts)
    return code.co_code + b"".join(constants)  # type: ignore[no-any-return]


class StubFingerprinter:
    """Fingerprints a box by its own byte code, its version and what `extra` says."""

    def __init__(self) -> None:
        self.extra: dict[str, bytes] = {}
        self._known: dict[tuple[Any, ...], StubFingerprint] = {}

    def of(self, box: Any) -> StubFingerprint:
        """The same object as long as nothing changed, like the fingerprint proper."""
        key = (box.function.__code__, box.terms, tuple(self.extra.items()))
        return self._known.get(key) or self._known.setdefault(key, self._make(box))

    def _make(self, box: Any) -> StubFingerprint:
        code = box.function.__code__
        parts = [(f"function {box.name}", part_digest("code", body(code)))]
        if box.terms.version:
            parts.append((f"version {box.terms.version}", b"v" * 32))
        parts += [(name, part_digest("extra", body)) for name, body in self.extra.items()]
        return StubFingerprint(tuple(parts), files=box.terms.files)

    def declared(self, box: Any) -> tuple[tuple[str, bytes], ...]:
        return tuple((f"file {path}", part_digest("file", Path(path).read_bytes())) for path in box.terms.files)

    def describe_class(self, kind: type) -> bytes:
        return describe_by_name(kind)


class Recorder:
    """Stands for a `Pulse`: counts what was recorded."""

    def __init__(self) -> None:
        self.recorded: dict[tuple[str, str], list[int]] = {}

    def series(self, name: str, **labels: str) -> Any:
        rows = self.recorded.setdefault((name, labels.get("box") or labels.get("worker", "")), [])
        return type("Series", (), {"record": staticmethod(rows.append)})

    def count(self, name: str, box: str) -> int:
        return len(self.recorded.get((name, box), ()))


class Node(Deriver):
    """A deriver with its content, settings and recorder at hand."""

    pulse: Recorder
    fingerprinter: StubFingerprinter


def settings(**flags: object) -> Settings:
    declared = [*database.SETTINGS, *content_module.SETTINGS, *deriver_module.SETTINGS]
    return merge(declared, environment={}, flags={name.replace("__", "."): value for name, value in flags.items()})


@contextlib.contextmanager
def node(
    root: Path,
    *,
    clock: Clock | None = None,
    executors: Mapping[str, Executor] | None = None,
    fingerprinter: Any = None,
    **flags: object,
) -> Iterator[Node]:
    """`flags` are settings with `__` for the dot."""
    merged = settings(database__map_bytes=1 << 30, **flags)
    when = clock or SystemClock()
    content = Content(
        root, merged, when, None, cache_tables=deriver_module.CACHE_TABLES, durable_tables=deriver_module.DURABLE_TABLES
    )
    fingerprinter = fingerprinter or StubFingerprinter()
    pulse = Recorder()
    deriver = Node(content, fingerprinter, when, pulse, merged, executors=executors)
    deriver.pulse, deriver.fingerprinter = pulse, fingerprinter
    try:
        yield deriver
    finally:
        deriver.close()
        content.close()


def count_line(path: str) -> None:
    """One run more: appended in one write, so that runs in many processes add up."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(fd, b"run\n")
    os.close(fd)


def runs(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0
