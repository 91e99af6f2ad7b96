from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal

import pytest

from boxwork.box import derivation
from boxwork.errors import BadInput
from boxwork.keys import ref_of
from boxwork.serve.inputs import from_json, schema


class Ink(Enum):
    BLACK = "black"
    BLUE = "blue"


@dataclass(frozen=True)
class Margin:
    top: int
    left: int = 5


@derivation
def press(
    scan: bytes, margin: Margin, ink: Ink = Ink.BLACK, mode: Literal["fine", "draft"] = "fine",
    mask: bytes | None = None, pages: list[int] | None = None, anything: Any = None,
) -> bytes:  # fmt: skip
    """Print it."""
    return scan


REF = ref_of(b"scan")


def test_json_becomes_what_the_signature_says() -> None:
    inputs = from_json(press, {"scan": REF, "margin": {"top": 3}, "ink": "blue", "mask": None, "pages": [1, 2]})
    assert inputs == {"scan": REF, "margin": Margin(3), "ink": Ink.BLUE, "mask": None, "pages": [1, 2]}
    assert from_json(press, {"scan": {"base64": "YQ=="}, "margin": {"top": 1}})["scan"] == b"a"


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"scan": "sha256:zz"}, "ref"),
        ({"scan": 5}, "scan"),
        ({"scan": {"base64": 5}}, "scan"),
        ({"scan": None}, "scan"),
        ({"margin": {"top": "3"}}, "margin"),
        ({"margin": {}}, "margin"),
        ({"ink": "green"}, "ink"),
        ({"mode": "coarse"}, "mode"),
        ({"pages": [1, "2"]}, "pages"),
        ({"other": 1}, "other"),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, Any], word: str) -> None:
    with pytest.raises(BadInput, match=word):
        from_json(press, {"scan": REF, "margin": {"top": 3}, **change})


def test_the_schema_says_the_same() -> None:
    found = schema(press)
    assert found["required"] == ["scan", "margin"]
    assert found["properties"]["margin"] == {"$ref": "#/components/schemas/Margin"}
    assert found["$defs"]["Margin"]["properties"]["left"]["default"] == 5
    assert found["properties"]["mode"]["enum"] == ["draft", "fine"]
    assert found["properties"]["mode"]["default"] == "fine"
