"""Who a public course lets in: strangers to its pages, and to nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from starlette.requests import HTTPConnection

from boxwork.packs.course.door import door_of
from boxwork.testing.served import served
from tests.packs.course.conftest import NAME, Stage


def connection(method: str, path: str, **headers: str) -> HTTPConnection:
    raw = [
        (name.replace("_", "-").encode(), value.encode())
        for name, value in {"host": "course.example.org", **headers}.items()
    ]
    return HTTPConnection({"type": "http", "method": method, "path": path, "headers": raw})


@pytest.fixture
def door(tmp_path: Path) -> Any:
    stage = Stage(tmp_path, **{"course.public": True})
    yield door_of(stage.work)
    stage.close()


@pytest.mark.parametrize(
    ("method", "path", "headers", "may"),
    [
        ("GET", f"/course/{NAME}/", {}, True),
        ("HEAD", f"/course/{NAME}/schedule", {}, True),
        ("GET", "/static/course/0/course.css", {}, True),
        ("GET", "/static/shell/0/shell.css", {}, True),
        ("POST", f"/course/{NAME}/register", {"origin": "https://course.example.org"}, True),
        ("POST", f"/course/{NAME}/register", {}, True),
        ("POST", f"/course/{NAME}/register", {"origin": "https://evil.example"}, False),
        ("POST", f"/course/{NAME}/register", {"origin": "null"}, False),
        ("POST", f"/course/{NAME}/register", {"sec_fetch_site": "cross-site"}, False),
        ("PUT", f"/course/{NAME}/register", {}, False),
        ("GET", "/courses", {}, False),
        ("GET", f"/courses/{NAME}/participants.csv", {}, False),
        ("POST", f"/courses/{NAME}/cancel", {}, False),
        ("GET", "/", {}, False),
        ("GET", "/blobs/sha256:00", {}, False),
        ("GET", "/static/fleet/0/fleet.js", {}, False),
        ("POST", "/static/course/0/course.css", {}, False),
        ("GET", "/course", {}, False),
    ],
)
def test_strangers_get_the_pages_of_courses_and_no_others(
    door: Any, method: str, path: str, headers: dict[str, str], may: bool
) -> None:
    assert may is door(connection(method, path, **headers))


def test_without_the_setting_the_door_is_shut(stage: Stage) -> None:
    assert not door_of(stage.work)(connection("GET", f"/course/{NAME}/"))


def test_a_machine_that_the_guard_refuses_gets_in_here_alone(tmp_path: Path) -> None:
    """The guard knows a machine by the name it calls the server: here it calls a foreign one."""
    import httpx

    stage = Stage(tmp_path, **{"course.public": True})
    stage.publish()
    with (
        served(stage.work) as server,
        httpx.Client(base_url=server.url, headers={"host": "course.example.org"}) as client,
    ):
        assert 200 == client.get(f"/course/{NAME}/").status_code
        assert 200 == client.get(f"/course/{NAME}/register").status_code
        for path in ("/courses", f"/courses/{NAME}", f"/courses/{NAME}/participants.csv", "/state", "/openapi.json"):
            assert 403 == client.get(path).status_code, path
        assert 403 == client.post(f"/courses/{NAME}/registration", data={"closed": "yes"}).status_code
        assert "https://" not in client.get(f"/course/{NAME}/course.ics").text
        assert "http://course.example.org/course" in client.get(f"/course/{NAME}/course.ics").text.replace("\r\n ", "")
    stage.close()
