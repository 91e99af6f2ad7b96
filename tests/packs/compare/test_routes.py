"""What is answered over HTTP: pages for people, data for scripts, and a word for what is not there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from boxwork.testing.served import served


@pytest.fixture(scope="module")
def client(work: Any, compared: dict[str, Any]) -> Iterator[httpx.Client]:
    with served(work) as server, httpx.Client(base_url=server.url, timeout=30) as client:
        yield client


def test_the_list_and_a_run_are_data(client: httpx.Client, compared: dict[str, Any]) -> None:
    row = next(row for row in client.get("/compare/list.json").json() if row["name"] == "bookings")
    assert ("bookings", 1, 4, ["refund"]) == (row["name"], row["number"], row["models"], row["leaks"])
    for query in ("", "?number=1"):
        run = client.get(f"/compare/bookings/run.json{query}").json()
        assert compared["board"] == run["board_ref"]
        assert 4 == len(run["board"]["rows"])


def test_wrong_rows_are_data(client: httpx.Client) -> None:
    found = client.get("/compare/bookings/wrong.json", params={"model": "dummy"}).json()
    assert found["count"] == len(found["rows"]) > 50
    assert {"row", "true", "predicted"} == set(found["rows"][0])


def test_the_pages_say_what_the_data_says(client: httpx.Client) -> None:
    assert "bookings" in client.get("/compare").text
    page = client.get("/compare/bookings").text
    assert page == client.get("/compare/bookings/1").text
    for word in ("The column refund alone predicts", "dummy", "xgboost", "rows in", "the same value in every row"):
        assert word in page
    model = client.get("/compare/bookings/1/model/xgboost%20%28n_estimators%3D20%29").text
    assert "boxwork.packs.compare.models:xgboost" in model  # its own lineage, though others predict the same
    assert "xgboost-cpu" in model


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/compare/nothing", 404, "there is no comparison 'nothing'; there are: "),
        ("/compare/bookings/7", 404, "bookings has no run 7; it has 1 to 1"),
        ("/compare/bookings/1/model/oak", 404, "has no trained model 'oak'"),
        ("/compare/bookings/run.json?number=x", 400, "a run has a number from 1 on, not 'x'"),
        ("/compare/bookings/run.json?number=0", 400, "a run has a number from 1 on, not '0'"),
        ("/compare/bookings/wrong.json", 400, "say which model: ?model=NAME"),
        ("/compare/bookings/wrong.json?model=oak", 404, "bookings has no model 'oak'; it has tree"),
    ],
)
def test_what_is_not_there_is_told(client: httpx.Client, path: str, status: int, said: str) -> None:
    reply = client.get(path, headers={"accept": "application/json"})
    assert (status, True) == (reply.status_code, said in reply.json()["message"]), reply.text


def test_names_of_columns_and_models_are_no_html(work: Any, client: httpx.Client, tmp_path: Any) -> None:
    from tests.packs.compare.conftest import plan_of

    bad = "<b>bad</b>"
    path = tmp_path / "hostile.csv"
    rows = "".join(f"{at % 5},{'<i>x' if at % 2 else '<i>y'}\n" for at in range(200))
    path.write_text(f"n,{bad}\n{rows}", "utf-8")
    plan = plan_of(target=bad, clean={"duplicates": False}, model=[{"kind": "tree", "name": "<u>t</u>"}])
    work.part("compare").run(path, plan)
    for page in ("/compare", "/compare/hostile", "/compare/hostile/1/model/%3Cu%3Et%3C%2Fu%3E"):
        text = client.get(page).text
        assert "&lt;" in text
        assert not [word for word in (bad, "<i>", "<u>") if word in text]
    work.part("compare").forget("hostile")
