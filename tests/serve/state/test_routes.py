"""The API of the pages, over a real server: figures, previews, explanations, and the live line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from boxwork import Pack, transaction
from boxwork.app.work import Work
from boxwork.serve.state.activity import Activity
from boxwork.testing.served import served


@transaction
def pour(tx: Any, glass: str, cl: int = 10) -> int:
    """Fill a glass."""
    tx.require(cl <= 20, "it spills", glass=glass)
    tx.add(("glass", glass), cl)
    return int(tx.get(("glass", glass)))


@transaction
def peek(tx: Any, glass: str) -> Any:
    return tx.get(("glass", glass))


@transaction(slow=True)
def level(tx: Any) -> int:
    for key, held in tx.scan(("glass",)):
        tx.put(key, held // 2)
    return 1


@transaction
async def wait_for_it(tx: Any) -> None:
    tx.put(("waited",), 1)


BAR = Pack("bar", "Transactions for the tests.", transactions=(pour, peek, level, wait_for_it))


@pytest.fixture(scope="module")
def work(make_work: Callable[..., Work]) -> Work:
    return make_work((BAR,))


@pytest.fixture(scope="module")
def client(work: Work) -> Iterator[httpx.Client]:
    with served(work) as server, httpx.Client(base_url=server.url, timeout=10) as session:
        yield session


def test_a_preview_shows_everything_and_changes_nothing(client: httpx.Client) -> None:
    told = client.post("/state/preview/pour", json={"glass": "a", "cl": 7}).json()
    assert (7, None) == (told["answer"], told["error"])
    assert [{"key": ["glass", "a"], "merge": "add", "value": 7}] == told["merges"]
    assert told["version"] == client.post("/state/preview/pour", json={"glass": "a", "cl": 7}).json()["version"]
    refused = client.post("/state/preview/pour", json={"glass": "a", "cl": 70}).json()
    assert (True, "transaction.refused", {"glass": "a"}) == (
        refused["error"]["refused"], refused["error"]["error"], refused["error"]["details"],
    )  # fmt: skip
    assert [["glass"]] == client.post("/state/preview/level", json={}).json()["scans"]
    assert "cannot be previewed" in client.post("/state/preview/wait_for_it", json={}).json()["message"]
    assert 404 == client.post("/state/preview/nothing", json={}).status_code


def test_a_commit_is_explained_by_its_receipt(client: httpx.Client) -> None:
    client.post("/commit/pour", json={"glass": "b"})
    receipt = client.post("/commit/pour", json={"glass": "b", "cl": 5}).json()["receipt"]
    told = client.get(f"/state/explain/{receipt}").json()
    assert ("pour", {"glass": "b", "cl": 5}, 15, 1) == (
        told["transaction"], told["inputs"], told["answer"], told["runs"],
    )  # fmt: skip
    assert [] == told["reads"]  # a merge says how a fact changes without reading it
    assert [{"key": ["glass", "b"], "value": 15}] == told["writes"]
    false = receipt[:-1] + ("0" if receipt[-1] != "0" else "1")
    assert "missing" == client.get(f"/state/explain/{false}").json()["error"]
    assert "is not a receipt" in client.get("/state/explain/nonsense").json()["message"]
    only_read = client.post("/commit/peek", json={"glass": "b"}).json()["receipt"]
    assert "only read" in client.get(f"/state/explain/{only_read}").json()["message"]


def test_a_log_that_takes_too_long_is_left_to_the_command_line(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    receipt = client.post("/commit/pour", json={"glass": "c"}).json()["receipt"]
    monkeypatch.setattr("boxwork.state.past.LOOKUPS_MAX", 0)  # as if it had scanned: everything before is replayed
    monkeypatch.setattr("boxwork.serve.state.telling.EXPLAIN_S_MAX", -1.0)
    told = client.get(f"/state/explain/{receipt}")
    assert (504, True) == (told.status_code, "boxwork state explain" in told.json()["message"])


def test_the_live_line_begins_with_the_past_and_counts(client: httpx.Client) -> None:
    events = []
    with client.stream("GET", "/state/live") as reply:
        assert reply.headers["content-type"].startswith("text/event-stream")
        for line in reply.iter_lines():
            if line.startswith("data: "):
                events.append(json.loads(line[6:]))
                client.post("/commit/pour", json={"glass": "d"})
                if len(events) == 3:
                    break
    assert "past" in events[0]
    assert "past" not in events[1]
    last = events[-1]
    assert last["owner"] == 0
    assert last["point"]["lanes"]["serial"]["commits"] > 0
    assert last["point"]["batch"] >= 1
    assert ["glass", "d"] in [row["key"] for row in last["hottest"]]
    newest = last["recent"][0]
    assert ("pour", ["d", 10]) == (newest["first"][0]["name"], newest["first"][0]["inputs"])
    assert newest["version"] == last["version"]
    assert 1 == newest["calls"]


def test_figures_are_made_once_for_all_who_look(work: Work) -> None:
    activity = Activity(work)
    assert activity.look() is activity.look()


def test_rates_are_per_second_and_begin_anew_after_a_pause(work: Work) -> None:
    from boxwork.serve.state import activity as module

    activity = Activity(work)
    activity.look()
    assert activity._before is not None
    at, numbers = activity._before
    activity._before = at - 2 * module.STEP_NS, numbers
    for _ in range(10):
        work.commit(pour, "e")
    rate = activity.look()["point"]["lanes"]["serial"]["commits"]
    assert 4 < rate <= 5
    assert 1 == len(activity.past())
    at, numbers = activity._before
    activity._before = at - 2 * module.FORGET_NS, numbers
    assert activity.look()["point"] is None
    assert [] == activity.past()


def test_a_process_that_does_not_own_the_facts_shows_those_of_the_owner(work: Work) -> None:
    """The figures come over the socket; here both ends are in one process."""
    work.commit(pour, "f")
    told = work.node.forwarding._courier.numbers(10)
    assert told["owner"] > 0
    assert told["numbers"]["facts"] > 0
    assert told["recent"][0]["names"]


def test_the_api_is_described(client: httpx.Client) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert {"/state/numbers", "/state/preview/{transaction}", "/state/explain/{receipt}"} <= paths.keys()
    assert "/state" not in paths


@pytest.mark.parametrize("path", ["/state", "/state/playground", "/state/commits"])
def test_every_page_stands_in_the_shell_and_loads_what_exists(client: httpx.Client, path: str) -> None:
    page = client.get(path)
    assert 200 == page.status_code
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert ' style="' not in page.text
    for address in [part.split('"')[0] for part in page.text.split('"/static/')[1:]]:
        assert 200 == client.get(f"/static/{address}").status_code, address
