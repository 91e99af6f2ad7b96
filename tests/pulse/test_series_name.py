"""Names are spelled one way, and any text can be one."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boxwork.errors import BadInput
from boxwork.pulse.series_name import Pattern, SeriesName

words = st.text(min_size=1, max_size=12).filter(lambda text: text == text.strip().strip('"') and text)


@settings(max_examples=80, deadline=None)
@given(words, st.dictionaries(words, words, max_size=3))
def test_any_text_comes_back_from_its_spelling(name: str, labels: dict[str, str]) -> None:
    series = SeriesName.of(name, labels)
    assert series == SeriesName.parse(str(series))
    assert Pattern.parse(str(series)).matches(series)


def test_labels_are_sorted() -> None:
    assert "path{dst=cme,src=ny4}" == str(SeriesName.of("path", {"src": "ny4", "dst": "cme"}))


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        ("path", True),
        ("*", True),
        ("path{src=ny4}", True),
        ("path{src=ny4,dst=*}", True),
        ("path{dst=c?e}", True),
        ("path{src=ld4}", False),
        ("pat", False),
        ("path{via=*}", False),
    ],
)
def test_a_pattern_matches_mentioned_labels_only(pattern: str, matches: bool) -> None:
    assert matches is Pattern.parse(pattern).matches(SeriesName.of("path", {"src": "ny4", "dst": "cme"}))


@pytest.mark.parametrize("text", ["", "{a=b}", "a{b=c", "a{b}", "a{=c}"])
def test_a_text_that_is_no_series_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        SeriesName.parse(text)
