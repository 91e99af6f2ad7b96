"""The API: what it answers, what it refuses, and who may ask."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import boxwork
from boxwork.testing.served import served
from tests.packs.monitor.services import until

BOOK = """
[defaults]
every_s = 0.5
attempts = 1
[tickets]
gather_s = 0
calm_s = 0
[checks.web]
tcp = "127.0.0.1:1"
[checks.shop]
tcp = "127.0.0.1:1"
needs = ["web"]
[checks.rare]
plugin = ["/bin/echo", "fine"]
every_s = 3600
"""


class Asked:
    def __init__(self, url: str) -> None:
        self.url = url

    def __call__(self, path: str, order: Any = None, **headers: str) -> tuple[int, Any]:
        data = None if order is None else (order if isinstance(order, bytes) else json.dumps(order).encode())
        request = urllib.request.Request(self.url + path, data, {"content-type": "application/json", **headers})
        try:
            with urllib.request.urlopen(request, timeout=10) as reply:
                return reply.status, json.load(reply)
        except urllib.error.HTTPError as fault:
            return fault.code, json.load(fault)


@pytest.fixture
def asked(tmp_path: Path) -> Iterator[Asked]:
    book = tmp_path / "monitor.toml"
    book.write_text(BOOK, "utf-8")
    with boxwork.open(tmp_path / "data", settings={"monitor.book": str(book)}) as work, served(work) as server:
        made = Asked(server.url)
        until(lambda: any(one["checks"] == 2 for one in made("/monitor/state")[1]["incidents"]))
        yield made


def test_checks_and_incidents_are_told_and_orders_are_taken(asked: Asked) -> None:
    _, checks = asked("/monitor/checks")
    assert ["shop", "web", "rare"] == [one["name"] for one in checks]
    status, web = asked("/monitor/checks/web")
    assert (200, "critical", ["shop"]) == (status, web["state"], web["needed_by"])
    (incident,) = asked("/monitor/state")[1]["incidents"]
    number = incident["number"]
    status, found = asked(f"/monitor/incidents/{number}/acknowledge", {"who": "ada", "note": "mine"})
    assert (200, "acknowledged", "ada") == (status, found["state"], found["who"])
    status, said = asked(f"/monitor/incidents/{number}/acknowledge", {"who": "bob"})
    assert (409, "transaction.refused") == (status, said["error"])
    status, found = asked(f"/monitor/incidents/{number}/resolve", {"who": "ada"})
    assert (200, "resolved") == (status, found["state"])
    status, window = asked("/monitor/silences", {"checks": "we*", "minutes": 5, "who": "ada", "why": "cables"})
    assert 201 == status
    until(
        lambda: (
            {"web": True, "shop": True}.items() <= {o["name"]: o["silent"] for o in asked("/monitor/checks")[1]}.items()
        )
    )
    assert 200 == asked(f"/monitor/silences/{window['id']}/end", {"who": "ada"})[0]
    assert 409 == asked(f"/monitor/silences/{window['id']}/end", {"who": "ada"})[0]


def test_a_check_is_looked_at_now_when_it_is_asked_for(asked: Asked) -> None:
    assert 202 == asked("/monitor/checks/rare", {})[0]
    until(lambda: asked("/monitor/checks/rare")[1]["state"] == "ok")


@pytest.mark.parametrize(
    ("path", "order", "status", "told"),
    [
        ("/monitor/checks/nobody", None, 404, "there is no check 'nobody'"),
        ("/monitor/incidents/999", None, 404, "there is no incident 999"),
        ("/monitor/incidents/x", None, 400, "'x' is no number"),
        ("/monitor/incidents/1/burn", {"who": "ada"}, 404, "acknowledge or resolve"),
        ("/monitor/incidents/1/resolve", {"who": " "}, 400, "who"),
        ("/monitor/incidents/1/resolve", {"who": "a", "why": "b"}, 400, "unknown field `why`"),
        ("/monitor/incidents/1/resolve", b"{", 400, "cannot be read"),
        ("/monitor/incidents/999/resolve", {"who": "ada"}, 409, "there is no incident 999"),
        ("/monitor/silences", {"checks": "a b", "minutes": 5, "who": "a", "why": "b"}, 400, "checks"),
        ("/monitor/silences", {"checks": "web", "minutes": 0, "who": "a", "why": "b"}, 400, "minutes"),
        ("/monitor/silences/000000000000/end", {"who": "ada"}, 409, "there is no maintenance window"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(asked: Asked, path: str, order: Any, status: int, told: str) -> None:
    found, said = asked(path, order)
    assert status == found, said
    assert told in said["message"]


def test_an_order_is_json_and_not_endless_and_no_foreign_page_may_give_one(asked: Asked) -> None:
    order = {"who": "ada"}
    assert 400 == asked("/monitor/incidents/1/resolve", order, **{"content-type": "text/plain"})[0]
    assert 413 == asked("/monitor/incidents/1/resolve", {"who": "a" * 100_000})[0]
    assert 403 == asked("/monitor/incidents/1/resolve", order, origin="http://evil.example")[0]
    assert "open" == asked("/monitor/incidents/1")[1]["state"]


def test_events_tell_what_changed(asked: Asked) -> None:
    with urllib.request.urlopen(f"{asked.url}/monitor/events", timeout=10) as stream:
        told = []
        while len(told) < 2:
            line = stream.readline()
            if line.startswith(b"data: "):
                told.append(json.loads(line[6:]))
    assert {"web", "shop", "rare"} == {row["name"] for row in told[0]["rows"]}
    assert {"web", "shop"} >= {row["name"] for row in told[1]["rows"]}
