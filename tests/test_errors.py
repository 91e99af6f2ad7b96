"""Errors: one tree, one shape, and every one survives the way between processes."""

from __future__ import annotations

import copy
import inspect
import json
import pickle
import re

import pytest

from boxwork import errors
from boxwork.errors import BadRef, BoxworkError, InvariantBroken

CLASSES = [kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, BoxworkError)]


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_has_a_code_a_status_and_retry_advice(kind: type[BoxworkError]) -> None:
    assert re.fullmatch(r"[a-z]+(\.[a-z_]+)?", kind.code)
    assert 400 <= kind.status < 600
    assert kind.retry in {"never", "now", "later", "unknown"}


@pytest.mark.parametrize("kind", CLASSES)
def test_one_json_shape_leaves_the_process(kind: type[BoxworkError]) -> None:
    told = kind("the disk is full: free some", free=3).as_json()
    assert {
        "error": kind.code,
        "message": "the disk is full: free some",
        "retry": kind.retry,
        "details": {"free": 3},
    } == json.loads(json.dumps(told))


@pytest.mark.parametrize("kind", CLASSES)
def test_an_error_survives_the_way_between_processes(kind: type[BoxworkError]) -> None:
    error = kind("what was wrong", ref="sha256:…", count=3)
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert kind is type(again)
        assert error.as_json() == again.as_json()
        assert str(error) == str(again) == "what was wrong"


def test_a_detail_may_have_any_name() -> None:
    error = BadRef("what was wrong", message="of the other side", self="x")
    assert {"message": "of the other side", "self": "x"} == pickle.loads(pickle.dumps(error)).details
    assert "what was wrong" == error.message


def test_what_a_client_did_is_a_4xx_that_is_not_repeated() -> None:
    for kind in CLASSES:
        if issubclass(kind, (errors.BadInput, errors.NotFound, errors.Forbidden)):
            assert 400 <= kind.status < 500
            assert "never" == kind.retry


def test_what_may_work_later_is_no_fault_of_the_client() -> None:
    assert [] == [kind.__name__ for kind in CLASSES if kind.retry == "later" and kind.status < 500]


def test_a_broken_invariant_is_caught_by_no_handler_of_errors() -> None:
    assert not issubclass(InvariantBroken, BoxworkError)
