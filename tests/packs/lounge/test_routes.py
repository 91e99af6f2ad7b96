"""The pages, and the one request that opens a room."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from boxwork.packs.lounge import routes
from boxwork.packs.lounge.moderation import open_lounge


def test_a_room_is_opened_once_and_its_key_is_in_the_answer_only(work: Any, key: str, url: str) -> None:
    again = httpx.post(f"{url}/lounge/rooms/open", json={"room": "friday", "title": "Mine"}, timeout=10)
    assert (409, "there is a room friday already") == (again.status_code, again.json()["message"])
    with work.read() as facts:
        assert not [fact for fact in facts.scan(()) if key in str(fact)]


@pytest.mark.parametrize(
    "given", [{}, [], {"room": "a"}, {"room": "A b", "title": "x"}, {"room": "a", "title": "x" * 81},
              {"room": 1, "title": 2}, {"room": "a", "title": "x", "more": 1}]
)  # fmt: skip
def test_what_opens_no_room_is_said(url: str, given: Any) -> None:
    assert 400 == httpx.post(f"{url}/lounge/rooms/open", json=given, timeout=10).status_code


def test_a_title_has_bounds_and_a_body_too(url: str) -> None:
    assert 409 == httpx.post(f"{url}/lounge/rooms/open", json={"room": "a", "title": " "}, timeout=10).status_code
    assert 413 == httpx.post(f"{url}/lounge/rooms/open", content=b"x" * 5000, timeout=10).status_code


def test_the_transactions_are_not_offered_to_strangers(url: str, key: str) -> None:
    names = [one["name"] for one in httpx.get(f"{url}/commit", timeout=10).json()["transactions"]]
    assert not [name for name in names if name.startswith("lounge")]
    body = {"room": "friday", "person": "x", "keeper": True, "name": "x", "text": "x"}
    assert 404 == httpx.post(f"{url}/commit/lounge_comment", json=body, timeout=10).status_code


def test_the_pages_say_what_is_there(work: Any, key: str, url: str) -> None:
    work.commit(open_lounge, room="evil", title="<script>alert(1)</script>", lock="x")
    page = httpx.get(f"{url}/lounge", timeout=10).text
    assert "Friday night" in page
    assert "<script>alert" not in page
    assert "&lt;script&gt;" in httpx.get(f"{url}/lounge/evil", timeout=10).text
    assert 404 == httpx.get(f"{url}/lounge/nowhere", timeout=10).status_code


def test_every_route_is_of_the_lounge(work: Any) -> None:
    assert all(route.path.startswith("/lounge") for route in routes.routes(work))  # type: ignore[attr-defined]
