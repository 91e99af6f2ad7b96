"""Secrets and keys: what the facts have of them."""

from __future__ import annotations

import pytest

from boxwork.errors import BadInput
from boxwork.packs.lounge.keys import PERSON_LENGTH, lock_of, person_of


def test_a_person_is_a_hash_of_the_secret_as_the_page_makes_it() -> None:
    # printf 'lounge person bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb' | sha256sum
    assert "99790f3babcac09c" == person_of("b" * 32)
    assert PERSON_LENGTH == len(person_of("b" * 32))
    assert person_of("a" * 32) != person_of("b" * 32)


@pytest.mark.parametrize("secret", [None, 5, "", "b" * 31, "B" * 32, "x" * 32, ["b" * 32]])
def test_what_is_no_secret(secret: object) -> None:
    with pytest.raises(BadInput):
        person_of(secret)


def test_one_key_in_two_rooms_is_two_locks() -> None:
    assert lock_of("a", "k") != lock_of("b", "k")
