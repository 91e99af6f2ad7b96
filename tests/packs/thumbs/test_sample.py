from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from boxwork.packs.thumbs.sample import KINDS, make_sample


def test_a_sample_has_every_kind_and_is_the_same_each_time(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    made = make_sample(tmp_path / "one", 12, lambda done, count: told.append((done, count)))
    assert told[-1] == (12, 12)
    assert {name.split("-")[2].removesuffix(".jpg") for name in (path.name for path in made)} >= set(KINDS) - {"x"}
    assert [path.read_bytes() for path in made] == [path.read_bytes() for path in make_sample(tmp_path / "two", 12)]
    orientations = set()
    for path in made:
        with Image.open(path) as picture:
            picture.load()
            assert "sample" in picture.getexif()[0x010E]
            orientations.add(picture.getexif()[0x0112])
    assert orientations > {1}


def test_who_has_seen_enough_ends_it(tmp_path: Path) -> None:
    def enough(done: int, total: int) -> None:
        if done == 2:
            raise KeyError(total)

    with pytest.raises(KeyError, match="60"):
        make_sample(tmp_path, 60, enough)
    assert 2 <= len(list(tmp_path.glob("*.jpg"))) < 60
    assert [] == list(tmp_path.glob("*.part"))
