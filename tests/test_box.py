"""A box is a value: making one does nothing, calling one is calling the function."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from boxwork.box import WORKERS, BoundDerivation, Derivation, Terms, derivation
from boxwork.errors import BadInput


@derivation
def shout(text: bytes, times: int = 1) -> bytes:
    """Make it louder."""
    return text.upper() * times


@derivation(
    name="crop.square",
    pins=["SIZES"],
    ignores=("LOG",),
    files=["a.icc"],
    env=["TZ"],
    version="2",
    worker="process",
    timeout_s=5,
    memory_bytes_max=1000,
    durable=True,
)
def crop(image: bytes) -> bytes:
    return image


def test_calling_a_box_is_calling_the_function() -> None:
    assert b"HIHI" == shout(b"hi", times=2)
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        shout()  # type: ignore[call-arg]


def test_a_box_looks_like_its_function() -> None:
    assert ("shout", "Make it louder.") == (shout.__name__, shout.__doc__)  # type: ignore[attr-defined]
    assert ["text", "times"] == list(inspect.signature(shout).parameters)
    assert "shout" == shout.name
    assert "<derivation shout>" == repr(shout)


def test_what_is_declared_is_kept_as_one_frozen_value() -> None:
    expected = Terms(("SIZES",), ("LOG",), ("a.icc",), ("TZ",), "2", "process", 5, 1000, True)
    assert expected == crop.terms
    assert "crop.square" == crop.name
    assert Terms() == shout.terms
    with pytest.raises(AttributeError):
        crop.terms.version = "3"  # type: ignore[misc]


@pytest.mark.parametrize("field", ["pins", "ignores", "files", "env"])
def test_one_name_in_place_of_a_list_of_names_is_refused(field: str) -> None:
    with pytest.raises(BadInput, match=rf"@derivation\({field}='TABLE'\): give a list of names, {field}=\['TABLE'\]"):
        derivation(**{field: "TABLE"})  # type: ignore[call-overload]


def test_a_worker_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(BadInput, match=", ".join(WORKERS)):
        derivation(worker="gpu")  # type: ignore[call-overload]


def test_what_is_no_function_makes_no_box() -> None:
    with pytest.raises(BadInput, match="wants a function, not 7"):
        derivation()(7)  # type: ignore[call-overload]
    with pytest.raises(BadInput, match="<derivation shout> is a box already"):
        derivation(shout)


def test_a_method_is_a_box_whose_first_input_is_its_instance() -> None:
    class Scaler:
        def __init__(self, factor: int) -> None:
            self.factor = factor

        @derivation
        def scale(self, value: int) -> int:
            return self.factor * value

    scaler = Scaler(3)
    bound: Any = scaler.scale
    assert isinstance(bound, BoundDerivation)
    assert (Scaler.scale, scaler) == (bound.box, bound.instance)
    assert 12 == bound(4)
    assert isinstance(Scaler.scale, Derivation)


def test_attributes_of_a_function_do_not_overwrite_those_of_its_box() -> None:
    def plain(text: bytes) -> bytes:
        return text

    vars(plain).update(name="somebody else's", terms="odd", function=None, note="kept")
    box = derivation(name="mine")(plain)
    assert ("mine", Terms(), plain) == (box.name, box.terms, box.function)
    assert "kept" == vars(box)["note"]


def test_a_callable_object_is_named_after_its_class() -> None:
    class Doubler:
        def __call__(self, value: int) -> int:
            return 2 * value

    box = derivation(Doubler())
    assert ("Doubler", 4) == (box.name, box(2))
