from __future__ import annotations

from typing import Any

import httpx

from boxwork.keys import ref_of


def test_a_derivation_is_computed_once_and_then_found(client: httpx.Client, work: Any) -> None:
    ref = work.put(b"quiet")
    first = client.post("/derive/shout", json={"text": ref}).json()
    second = client.post("/derive/shout", json={"text": ref}).json()
    assert (first["outcome"], second["outcome"]) == ("computed", "hit")
    assert first["ref"] == second["ref"] == ref_of(b"QUIET")
    assert client.get(first["url"]).content == b"QUIET"
    assert first["key"]
    assert 1 == work.pulse.series("derive.run", box="shout").count


def test_short_bytes_may_stand_in_the_request(client: httpx.Client) -> None:
    answer = client.post("/derive/shout", json={"text": {"base64": "YWI="}, "times": 2})
    assert client.get(answer.json()["url"]).content == b"ABAB"


def test_wrong_inputs_are_named(client: httpx.Client) -> None:
    for body, word in [
        ({}, "'text'"),
        ({"text": "hello"}, "sha256"),
        ({"text": {"base64": "@@"}}, "base64"),
        ({"text": {"base64": ""}, "times": "2"}, "times"),
        ({"text": {"base64": ""}, "colour": 1}, "colour"),
        ([], "object"),
    ]:
        answer = client.post("/derive/shout", json=body)
        assert answer.status_code == 400, body
        assert word in answer.json()["message"]
    assert client.post("/derive/shout", content=b"{").status_code == 400
    assert client.post("/derive/nothing", json={}).status_code == 404


def test_a_failing_box_says_why(client: httpx.Client) -> None:
    answer = client.post("/derive/fail", json={"text": {"base64": ""}})
    assert (answer.status_code, answer.json()["error"]) == (422, "derivation.failed")
    assert "always fails" in answer.json()["message"]


def test_why_tells_the_lineage(client: httpx.Client) -> None:
    made = client.post("/derive/shout", json={"text": {"base64": "YWI="}}).json()
    assert client.get(f"/why/{made['ref']}").json()["name"] == "shout"
    assert client.get(f"/why/{ref_of(b'unknown')}").status_code == 404
