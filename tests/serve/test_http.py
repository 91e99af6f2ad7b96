from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from boxwork.serve.http import asgi


def test_every_answer_has_a_request_id_and_takes_a_given_one(client: httpx.Client) -> None:
    assert len(client.get("/healthz").headers["x-request-id"]) == 16
    assert client.get("/healthz", headers={"x-request-id": "mine-1"}).headers["x-request-id"] == "mine-1"
    hostile = client.get("/healthz", headers={"x-request-id": "a b" + "c" * 100}).headers["x-request-id"]
    assert len(hostile) == 16


def test_unknown_paths_and_methods_answer_in_the_one_shape(client: httpx.Client) -> None:
    missing = client.get("/nowhere")
    assert missing.status_code == 404
    assert {"error", "message", "retry", "details", "request"} == set(missing.json())
    wrong = client.delete("/healthz")
    assert (wrong.status_code, wrong.json()["error"]) == (405, "http.method")


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("GET", {"host": "evil.example"}),
        ("POST", {"origin": "https://evil.example"}),
        ("POST", {"sec-fetch-site": "cross-site"}),
        ("POST", {"origin": "null"}),
        ("GET", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}),
    ],
)
def test_foreign_pages_stay_outside(client: httpx.Client, method: str, headers: dict[str, str]) -> None:
    answer = client.request(method, "/blobs" if method == "POST" else "/healthz", headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (403, "access.forbidden")


def test_a_link_from_elsewhere_may_lead_here(client: httpx.Client) -> None:
    headers = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    assert client.get("/healthz", headers=headers).status_code == 200


def test_the_own_page_may_write(client: httpx.Client, server: Any) -> None:
    headers = {"origin": server.url, "sec-fetch-site": "same-origin"}
    assert client.post("/blobs", content=b"x", headers=headers).status_code == 201


def call(app: Any, **changes: Any) -> tuple[int, dict[str, Any]]:
    """One request straight into the application, with a scope of our own."""
    scope: dict[str, Any] = {
        "type": "http", "method": "GET", "path": "/healthz", "raw_path": b"/healthz", "query_string": b"",
        "headers": [(b"host", b"127.0.0.1")], "client": ("127.0.0.1", 1), "http_version": "1.1", "scheme": "http",
    } | changes  # fmt: skip
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    body = b"".join(message.get("body", b"") for message in sent)
    return sent[0]["status"], json.loads(body)


def test_a_stranger_is_not_let_in(work: Any) -> None:
    status, body = call(asgi(work), client=("192.0.2.7", 5))
    assert (status, body["error"]) == (403, "access.forbidden")
    assert call(asgi(work), client=None)[0] == 403


def test_a_bug_answers_500_and_tells_nothing(work: Any) -> None:
    async def broken(connection: Any) -> None:
        raise RuntimeError("a secret")

    status, body = call(asgi(work, guard=broken))
    assert (status, body["error"]) == (500, "internal")
    assert "secret" not in json.dumps(body)


def test_above_the_limit_of_requests_it_says_busy(work: Any) -> None:
    app: Any = asgi(work)
    app.requests = app.requests_max
    status, body = call(app, path="/derive")
    assert (status, body["error"], body["retry"]) == (503, "busy", "later")
    assert call(app)[0] == 200


def test_every_request_is_a_hop(client: httpx.Client, work: Any) -> None:
    client.get("/healthz")
    client.get("/blobs/xx")
    for route, status in (("/healthz", "2xx"), ("/blobs/{ref}", "4xx")):
        assert 1 == work.pulse.series("http", route=route, method="GET", status=status).count


def test_a_person_gets_an_error_as_a_page_and_a_program_as_json(client: httpx.Client) -> None:
    page = client.get("/no/<such>/page", headers={"accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert (404, "text/html; charset=utf-8") == (page.status_code, page.headers["content-type"])
    assert "<h1" in page.text
    assert "<such>" not in page.text
    assert page.headers["x-request-id"] in page.text
    assert "missing" == client.get("/no/such/page").json()["error"]


def test_a_method_that_is_not_there_says_which_are(client: httpx.Client) -> None:
    answer = client.request("PATCH", "/items")
    assert (405, "GET, HEAD, POST") == (answer.status_code, answer.headers["allow"])
