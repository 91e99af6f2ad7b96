from __future__ import annotations

import json
from typing import Any

import pytest

from boxwork.clock import SECOND_NS
from boxwork.pulse.page import parse_history
from boxwork.serve.pulse.overview import Overview
from boxwork.testing.clock import FakeClock

FEED = "feed{venue=cme}"


def test_every_series_is_listed_with_its_unit(client: Any) -> None:
    names = {one["series"]: one["unit"] for one in client.get("/pulse/series").json()["series"]}
    assert "ns" == names[FEED]
    assert "ns" == names["path{dst=cme,probe=tcp,src=ny4}"]


def test_a_query_answers_with_exact_quantiles_of_a_rectangle(client: Any) -> None:
    whole = client.get("/pulse/query", params={"series": FEED, "last": "60s"}).json()
    assert (600, 1.0, 3) == (whole["count"], whole["share"], whole["coverage"]["lost"])
    part = client.get("/pulse/query", params={"series": FEED, "from": "-10s", "low": 50_500, "high": 1e6}).json()
    assert (50, 0.5) == (part["count"], part["share"])
    assert part["quantiles"]["0.5"] == pytest.approx(80_050, rel=0.006)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/pulse/query?series=nobody", 404), ("/pulse/query", 400), ("/pulse/query?series=feed&from=then", 400),
        ("/pulse/query?series=feed&low=x", 400), ("/pulse/history?series=nobody", 404),
        ("/pulse/history?series=feed%7Bvenue%3Dcme%7D&columns=0", 400), ("/pulse/query?series=feed%7B", 400),
        ("/pulse/live?series=feed&after=x", 400), ("/pulse/machine/processes?limit=0", 400),
    ],
)  # fmt: skip
def test_a_wrong_question_is_answered_in_the_one_shape(client: Any, path: str, status: int) -> None:
    answer = client.get(path)
    assert status == answer.status_code
    assert {"error", "message", "retry", "details", "request"} == set(answer.json())


def test_a_history_that_does_not_answer_is_no_empty_page(
    client: Any, pulse: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulse.history, "away", "Connection refused — é", raising=False)
    reply = client.get("/pulse/query?series=of.another.host")
    assert (503, "storage") == (reply.status_code, reply.json()["error"])
    assert "does not answer: Connection refused" in reply.json()["message"]
    assert 200 == client.get("/pulse/query?series=feed{venue=cme}").status_code
    assert "Connection refused — é" == client.get("/pulse/mesh?last=1m").json()["away"]
    history = client.get("/pulse/history?series=feed{venue=cme}&last=1m")
    assert "Connection refused ? ?" == history.headers["pulse-away"]


def test_history_ends_where_the_stream_begins(client: Any, clock: FakeClock) -> None:
    answer = client.get("/pulse/history", params={"series": FEED, "last": "60s"})
    until = int(answer.headers["pulse-until"])
    width, columns = parse_history(answer.content)
    found = list(columns)
    assert (SECOND_NS, 0, "ns") == (width, until % SECOND_NS, answer.headers["pulse-unit"])
    assert until - SECOND_NS == found[-1].start_ns
    assert until <= clock.now_ns()
    assert 10 == found[-1].histogram.count
    # a coarse column that is not over is left to the stream, or its samples would count twice
    wide = client.get("/pulse/history", params={"series": FEED, "last": "1d", "columns": 1440})
    assert 0 == int(wide.headers["pulse-until"]) % (60 * SECOND_NS)


def test_a_percentile_plot_and_columns(client: Any) -> None:
    plot = client.get("/pulse/percentiles", params={"series": FEED, "last": "60s"}).json()
    assert 600 == plot["count"]
    assert [1.0, pytest.approx(10_000, rel=0.01)] == plot["points"][0]
    columns = client.get("/pulse/columns", params={"series": FEED, "last": "60s"}).json()["columns"]
    assert ["seen", "loss"] == [column["state"] for column in columns[-2:]]


def test_the_mesh_has_a_cell_and_is_made_once_for_all(client: Any, pulse: Any, clock: FakeClock) -> None:
    (cell,) = client.get("/pulse/mesh", params={"last": "1m"}).json()["cells"]
    assert ("ny4", "cme", "tcp", 0.5) == (cell["src"], cell["dst"], cell["probe"], cell["negative"])
    pulse.series("path", src="ny4", dst="ld4", probe="tcp").record(7)
    assert 1 == len(client.get("/pulse/mesh", params={"last": "1m"}).json()["cells"])
    clock.advance(2 * SECOND_NS)
    pulse.tick()
    assert 2 == len(client.get("/pulse/mesh", params={"last": "1m"}).json()["cells"])


def test_metrics_are_text_or_protobuf_as_the_scraper_likes(client: Any) -> None:
    plain = client.get("/metrics")
    assert plain.headers["content-type"].startswith("text/plain")
    assert 'boxwork_feed_nanoseconds_count{venue="cme"} 600' in plain.text
    native = client.get("/metrics", headers={"accept": "application/vnd.google.protobuf;q=0.9"})
    assert native.headers["content-type"].startswith("application/vnd.google.protobuf")
    assert b"boxwork_feed_nanoseconds" in native.content


def test_pages_stand_in_the_shell_and_mark_where_they_are(client: Any) -> None:
    for path, title in (("/pulse", "Latency"), ("/pulse/paths", "Paths"), ("/pulse/machine", "Machine")):
        answer = client.get(path)
        assert 200 == answer.status_code
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert f'<a href="{path}" aria-current=page>{title}</a>' in answer.text
        assert '<a href="/pulse" aria-current=page>Pulse</a>' in answer.text
        assert "style=" not in answer.text
        assert "<script>" not in answer.text
    listed = client.get("/pulse").text.partition('id="data">')[2].partition("</script>")[0]
    assert FEED in [row["series"] for row in json.loads(listed)["series"]]


def test_every_module_a_page_names_is_there(client: Any) -> None:
    for path in ("/pulse", "/pulse/paths", "/pulse/machine"):
        text = client.get(path).text
        names = [part.partition('"')[0] for part in text.split('href="')[1:] + text.split('src="')[1:]]
        files = [name for name in names if name.startswith("/static/")]
        assert len(files) > 4
        for name in files:
            assert 200 == client.get(name).status_code
            assert "immutable" in client.get(name).headers["cache-control"]


def test_the_figures_of_the_machine_begin_when_somebody_looks(client: Any, pulse: Any, clock: FakeClock) -> None:
    assert [] == client.get("/pulse/machine/figures", params={"last": "60s"}).json()["series"]
    for _ in range(4):
        clock.advance(SECOND_NS)
        pulse.tick()
    names = {one["name"] for one in client.get("/pulse/machine/figures", params={"last": "60s"}).json()["series"]}
    assert {"machine.memory", "machine.load"} <= names  # shares of time need time to pass, and this clock is made up
    assert client.get("/pulse/machine/processes", params={"limit": 3}).json()["processes"]


def test_the_list_has_a_figure_and_a_line_for_each_series(client: Any) -> None:
    rows = {row["series"]: row for row in Overview(client.app.state.work.pulse).look()}
    assert 600 == rows[FEED]["count"]
    assert 30 == len(rows[FEED]["spark"])
    assert rows[FEED]["spark"][-1] == pytest.approx(100_059, rel=0.01)


def test_rules_say_how_they_stand_and_what_changed(client: Any, app: Any) -> None:
    alarms = app.state.work.alarms
    alarms.look()
    reply = client.get("/pulse/rules").json()
    assert ["slow feed", "lost(path) > 0"] == [rule["rule"] for rule in reply["rules"]]
    slow, lost = reply["rules"]
    assert ("firing", "feed{venue=cme}", "ns") == (slow["condition"], slow["example"], slow["unit"])
    assert ("quiet", 0) == (lost["condition"], lost["value"])
    assert [("fired", "slow feed")] == [(event["kind"], event["rule"]) for event in reply["events"]]
    assert (2, 0) == (reply["health"]["series"], reply["health"]["faults"])
    seen = client.get("/pulse/rules", params={"series": "feed{venue=cme}"}).json()["rules"]
    assert ["slow feed"] == [rule["rule"] for rule in seen]


def test_the_page_of_rules_has_them_without_a_script_and_the_tab_counts_what_fires(client: Any, app: Any) -> None:
    app.state.work.alarms.look()
    page = client.get("/pulse/watch")
    assert 200 == page.status_code
    assert '"rule":"slow feed"' in page.text
    assert '<b class="firing" title="rules that fire now">1</b>' in client.get("/pulse").text
