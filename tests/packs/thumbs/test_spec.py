from __future__ import annotations

import pytest

from boxwork.errors import BadInput, Forbidden
from boxwork.packs.thumbs.spec import PRESETS, Spec


@pytest.mark.parametrize("text", ["320", "640x480", "640x480-cover", "200-attention", "320-q60", "1x1-cover-q100"])
def test_a_spec_reads_what_it_writes(text: str) -> None:
    assert text == str(Spec.parse(text, "webp"))


@pytest.mark.parametrize("text", ["", "0", "x", "99999", "320x", "320-blur", "320-q101", "³20", "320-q", "-1", "5121"])
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        Spec.parse(text, "webp")


def test_presets_are_specs_and_can_be_all_there_is() -> None:
    for name, text in PRESETS.items():
        assert text == str(Spec.parse(name, "webp", presets_only=True))
    with pytest.raises(Forbidden):
        Spec.parse("321", "webp", presets_only=True)
