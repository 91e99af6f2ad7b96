"""A version is used only if it says what was signed."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from boxwork import errors, ref_of
from boxwork.packs.images.signing import KEY, Signer


def version(signer: Signer) -> dict[str, Any]:
    a, b = ref_of(b"a"), ref_of(b"b")
    return {"name": "web", "number": 1, "set": str(a), "tree": str(b), **signer.sign("web", a, b)}


def test_a_signed_version_is_verified_by_the_key_that_signed_it(tmp_path: Path) -> None:
    signer, other = Signer(tmp_path / "one"), Signer(tmp_path / "two")
    signer.verify(version(signer))
    other.verify(version(signer), signer.public())
    assert 0o600 == (tmp_path / "one" / KEY).stat().st_mode & 0o777
    with pytest.raises(errors.Forbidden, match="web version 1 is not signed by the key"):
        other.verify(version(signer))


@pytest.mark.parametrize("field", ["name", "set", "tree", "signature"])
def test_a_version_that_was_changed_is_refused(tmp_path: Path, field: str) -> None:
    signer = Signer(tmp_path)
    made = version(signer)
    changed = base64.b64encode(bytes(64)).decode() if field == "signature" else str(ref_of(b"c"))
    with pytest.raises(errors.Forbidden):
        signer.verify({**made, field: changed})
    with pytest.raises(errors.Forbidden):
        signer.verify({key: value for key, value in made.items() if key != field})
