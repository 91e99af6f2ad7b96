"""Texts of people are cleaned, compared and searched for names."""

from __future__ import annotations

import pytest

from boxwork.packs.lounge.wording import is_name, mentions, plain, unwanted


def test_a_text_is_one_line_without_what_cannot_be_seen() -> None:
    assert "hello world" == plain("  hello\n\n\tworld \u202e\u200b\x00")
    assert "é" == plain("e\u0301")
    assert "👩‍🚀" == plain("👩‍🚀")


@pytest.mark.parametrize("name", ["", "a b", "a@b", "x" * 33, "<b>"])
def test_what_is_no_name(name: str) -> None:
    assert not is_name(name)


def test_mentions_are_names_behind_an_at_sign_each_once_and_not_too_many() -> None:
    assert ["ada", "bob"] == mentions("@Ada, @bob and @ADA; mail x@example.org")
    assert 5 == len(mentions(" ".join(f"@p{number}" for number in range(9))))


def test_an_unwanted_word_is_found_however_it_is_written_but_not_inside_of_another() -> None:
    assert "foo" == unwanted("such a ＦＯＯ!", ["bar", "foo"])
    assert "foo" == unwanted("f\u200doo", ["foo"])
    assert "" == unwanted("food", ["foo"])
