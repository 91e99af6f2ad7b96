"""What docs/monitor.md shows is good: its books are read, its receiver believes our signature."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from boxwork.packs.monitor.book import read_book
from boxwork.packs.monitor.notices import signature

TEXT = (Path(__file__).parents[3] / "docs" / "monitor.md").read_text("utf-8")
BOOKS = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.parametrize("book", BOOKS)
def test_every_book_in_the_docs_is_good(book: str) -> None:
    assert read_book(book) is not None


def test_the_receiver_in_the_docs_believes_us_and_nobody_else() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    there: dict[str, Any] = {}
    exec(code, there)
    signed = signature(b"secret", 1000, b"{}")
    assert there["is_ours"](b"secret", signed, b"{}", 1010)
    assert not there["is_ours"](b"secret", signed, b"{ }", 1010)
    assert not there["is_ours"](b"other", signed, b"{}", 1010)
    assert not there["is_ours"](b"secret", signed, b"{}", 2000)
