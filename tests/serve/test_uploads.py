from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from boxwork.errors import BadInput, StorageError
from boxwork.serve.uploads import NAME_BYTES_MAX, keep, plain_name


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("sea.jpg", "sea.jpg"), ("../../etc/sea.jpg", "sea.jpg"), ("C:\\Photos\\Sea.JPG", "Sea.JPG"),
        (".hidden.jpg", "hidden.jpg"), ("Größe 1.jpg", "Größe 1.jpg"),
    ],
)  # fmt: skip
def test_a_name_is_plain(given: str, name: str) -> None:
    assert name == plain_name(given, (".jpg",))


@pytest.mark.parametrize(
    "given", ["", "sea", "sea.txt", "a\nb.jpg", "a\0.jpg", "x" * NAME_BYTES_MAX + ".jpg", "sea.jpg/", ".."]
)
def test_what_is_no_name_of_a_picture_is_refused(given: str) -> None:
    with pytest.raises(BadInput, match="name="):
        plain_name(given, (".jpg",))


def test_what_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    def broken() -> Iterator[bytes]:
        yield b"some"
        raise RuntimeError

    with pytest.raises(RuntimeError):
        keep(tmp_path / "up", "sea.jpg", broken(), "1")
    assert [] == os.listdir(tmp_path / "up")


def test_a_disk_that_says_no_is_said(tmp_path: Path) -> None:
    (tmp_path / "up").write_bytes(b"a file where the folder should be")
    with pytest.raises(StorageError):
        keep(tmp_path / "up", "sea.jpg", [b"x"], "1")
