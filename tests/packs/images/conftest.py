"""An archive of small packages, a node, and the parts of the pack over it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import boxwork
from boxwork.packs.images.recipe import Recipe, parse
from boxwork.packs.images.workshop import Workshop
from tests.packs.images.archive_of_debs import Archive


@pytest.fixture
def debs(tmp_path: Path) -> Archive:
    archive = Archive(tmp_path / "archive")
    archive.put(
        "hello",
        files={"/usr/share/hello/text": "hello 1\n", "/usr/bin/hello": "#!/bin/sh\n"},
        modes={"/usr/bin/hello": 0o4755},
    )
    archive.put("world", files={"/usr/share/world/text": "world 1\n"}, depends="hello")
    return archive


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Any]:
    with boxwork.open(tmp_path / "data") as node:
        yield node


@pytest.fixture
def workshop(work: Any) -> Workshop:
    shop: Workshop = work.part("images")
    return shop


def recipe_of(debs: Archive, text: str = "", name: str = "small", folder: Path | None = None) -> Recipe:
    """A recipe over the test's own archive, which begins with nothing."""
    head, _, rest = text.partition("\n\n")
    base = f'\n[base]\nvariant = "none"\nsuite = "test"\nsources = "{debs.sources.strip()}"\n'
    return parse(head + base + rest, name, str(folder or debs.folder))
