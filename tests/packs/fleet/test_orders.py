from __future__ import annotations

import json
from typing import Any

import pytest

from boxwork import errors
from boxwork.packs.fleet import orders

WHO = {"who": "ada", "why": "a test"}
KEY = {"key": "3f", **WHO}


def read(order: Any, kind: Any) -> Any:
    return orders.read(json.dumps(order).encode(), kind)


def test_a_whole_number_may_be_spelled_with_a_point() -> None:
    assert 2 == read({"version": 2.0, "who": "ada"}, orders.Start).version
    given = read({"version": 1, "who": "ada", "plan": {"failures_max": 3.0, "first": 0.5}}, orders.Start)
    assert (3, 0.5) == (given.plan.failures_max, given.plan.first)


@pytest.mark.parametrize(
    ("order", "kind", "said"),
    [
        ({**KEY, "anyway": "yes"}, orders.Retire, r"\$\.anyway"),
        ({**KEY, "anyway": 1}, orders.Retire, r"\$\.anyway"),
        ({**KEY, "key": "3F"}, orders.Retire, r"\$\.key"),
        ({**KEY, "force": True}, orders.Retire, "force"),
        ({"who": "ada", "why": " \t"}, orders.NewKey, r"\$\.why"),
        ({"who": "", "why": "x"}, orders.NewKey, r"\$\.who"),
        ({"version": "1", "who": "ada"}, orders.Start, r"\$\.version"),
        ({"version": 1.5, "who": "ada"}, orders.Start, r"\$\.version"),
        ({"version": 1, "who": "ada", "plan": {"frist": 1}}, orders.Start, "frist"),
        ({"version": 1, "who": "ada", "only": "site="}, orders.Start, r"\$\.only"),
        ({"scope": "web1", "values": {}, **WHO}, orders.Set, r"\$\.values"),
        ({"scope": "web1", "values": {"host": "x"}, **WHO}, orders.Set, "`key` in"),
        ({"scope": "web1", "values": {"a b": "x"}, **WHO}, orders.Set, "`key` in"),
        ({"scope": "web1", "values": {"a": 1}, **WHO}, orders.Set, r"\$\.values"),
        ({"scope": "Web 1", "values": {"a": "x"}, **WHO}, orders.Set, r"\$\.scope"),
        ({"scope": "site=a\nb", "values": {"a": "x"}, **WHO}, orders.Set, r"\$\.scope"),
        ({"template": "sha256:12", "author": "a", "reason": "b"}, orders.Publish, r"\$\.template"),
    ],
)
def test_nothing_is_taken_for_what_it_is_not(order: Any, kind: Any, said: str) -> None:
    with pytest.raises(errors.BadInput, match=said):
        read(order, kind)


def test_a_label_may_have_any_letters() -> None:
    given = read({"scope": "ort=Köln am Rhein", "values": {"größe": "9"}, **WHO}, orders.Set)
    assert ("ort=Köln am Rhein", {"größe": "9"}) == (given.scope, given.values)


def test_the_shape_of_an_order_is_whole_and_says_what_is_checked() -> None:
    shape = orders.shape(orders.Start)
    assert "$ref" not in json.dumps(shape)
    assert (["version", "who"], False) == (shape["required"], shape["additionalProperties"])
    assert {"type": "number", "exclusiveMinimum": 0, "maximum": 1} == shape["properties"]["plan"]["properties"]["first"]
    assert [] == shape["properties"]["plan"]["required"], "what is left out is as in the settings"
