"""The edge: what hosts and people ask over HTTP, on a real server."""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import pytest

from boxwork import errors, ref_of
from boxwork.packs.fleet import protocol
from boxwork.packs.fleet.admission import door_of, token_of
from boxwork.packs.fleet.plan import Plan
from boxwork.serve.http import asgi
from boxwork.serve.server import Server, bind


class Site:
    """A served fleet, and a client of it."""

    def __init__(self, stage: Any, **options: Any) -> None:
        self.stage = stage
        self.server = Server(asgi(stage.work, **options), bind("127.0.0.1", 0, 1), stage.work.settings)
        self.url = self.server.start()
        self.client = httpx.Client(base_url=self.url, timeout=30)

    def close(self) -> None:
        self.client.close()
        self.server.stop()

    def desired(self, host: str, digest: str = "", wait_s: float = 0) -> httpx.Response:
        return self.client.get(f"/fleet/hosts/{host}", params={"digest": digest, "wait_s": wait_s})

    def report(self, host: str, **fields: Any) -> httpx.Response:
        return self.client.post(f"/fleet/hosts/{host}/reports", json={"host": host, **fields})

    def answer(self, host: str, wait_s: float = 10, digest: str = "") -> str:
        """Be a host once: take what is told, and say so."""
        reply = self.desired(host, digest, wait_s)
        signed = protocol.read_signed(reply.content)
        document = protocol.verify(protocol.public_key(self.stage.fleet.private_key), signed)
        self.report(host, position=document.position, release=document.release, state="applied").raise_for_status()
        return signed.digest


@pytest.fixture
def site(stage: Any) -> Iterator[Site]:
    stage.reopen(**{"fleet.source_poll_s": 0.05, "fleet.bake_s": 0})
    made = Site(stage)
    yield made
    made.close()


def test_a_host_waits_and_is_told_at_once_when_its_row_changes(site: Site) -> None:
    stage = site.stage
    stage.fleet.start(stage.publish().number, Plan(kind="once", bake_s=0), who="ada", why="x")
    digests = {host: site.answer(host) for host in ("web0", "web1", "web2")}
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        waits = {host: pool.submit(site.desired, host, digests[host], 5) for host in digests}
        stage.rows["web1"]["workers"] = "9"
        stage.save()
        told = waits["web1"].result()
        assert 200 == told.status_code
        assert told.headers["etag"].strip('"') != digests["web1"]
        assert "private, no-cache" == told.headers["cache-control"]
        assert [304, 304] == [waits[host].result().status_code for host in ("web0", "web2")]


def test_a_host_of_no_release_is_told_so(site: Site) -> None:
    reply = site.desired("nobody", wait_s=0.05)
    assert 404 == reply.status_code
    assert "add its row to the source" in reply.json()["message"]


def test_the_blobs_of_a_document_are_had_by_their_names(site: Site) -> None:
    stage = site.stage
    stage.roll_out(stage.publish().number)
    tree = stage.desired("web1").tree
    reply = site.client.get(f"/fleet/hosts/web1/blobs/{tree}")
    assert stage.work.get(tree) == reply.content
    assert 404 == site.client.get(f"/fleet/hosts/web1/blobs/sha256:{'0' * 64}").status_code
    assert 400 == site.client.get("/fleet/hosts/web1/blobs/etc-passwd").status_code


def test_what_a_host_lacks_comes_in_one_answer(site: Site) -> None:
    stage = site.stage
    stage.roll_out(stage.publish().number)
    old = stage.desired("web1").tree
    stage.write("etc/motd.j2", "something new\n")
    stage.write("etc/large", "x" * 100_000)
    stage.roll_out(stage.publish().number)
    new = stage.desired("web1").tree

    def pack(has: str) -> set[str]:
        reply = site.client.get("/fleet/hosts/web1/blobs", params={"not": has})
        return {ref_of(blob) for blob in msgspec.msgpack.decode(reply.content)}

    tree = stage.work.tree(new)
    lacking = {new, tree.find("etc").content, tree.find("etc/motd").content}  # the large one is asked for by name
    assert lacking == pack(old)
    assert lacking | {
        tree.find("etc/app.conf").content,
        tree.find("bin").content,
        tree.find("bin/health").content,
    } == pack("")
    assert pack("") == pack(f"sha256:{'0' * 64}")  # a tree of another server
    assert 400 == site.client.get("/fleet/hosts/web1/blobs", params={"not": "x"}).status_code
    assert 404 == site.client.get("/fleet/hosts/nobody/blobs").status_code


def test_reports_are_on_disk_when_they_are_acknowledged(site: Site) -> None:
    stage = site.stage
    stage.roll_out(stage.publish().number)
    drift = [{"path": "etc/app.conf", "kind": "changed"}]
    assert {"ok": True} == site.report("web1", position=1, release=1, state="drifted", drift=drift).json()
    assert "etc/app.conf" == stage.fleet.mirror.status["web1"].report.drift[0].path
    assert 400 == site.client.post("/fleet/hosts/web1/reports", json={"host": "web2"}).status_code
    assert 400 == site.client.post("/fleet/hosts/web1/reports", content=b"{").status_code
    assert 413 == site.client.post("/fleet/hosts/web1/reports", content=b"x" * 300_000).status_code


def test_many_hosts_report_together_and_each_gets_its_answer(site: Site) -> None:
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        replies = list(pool.map(lambda n: site.report(f"web{n}", position=n, release=1), range(100)))
    assert {200} == {reply.status_code for reply in replies}
    assert list(range(100)) == [site.stage.fleet.mirror.status[f"web{n}"].report.position for n in range(100)]


def test_more_hosts_wait_than_requests_are_answered(stage: Any) -> None:
    stage.reopen(**{"serve.requests_max": 4, "fleet.waiting_max": 20})
    stage.roll_out(stage.publish().number)
    site = Site(stage)
    try:
        digest = stage.digests()["web1"]
        gate = threading.Barrier(20)

        def wait() -> int:
            gate.wait()
            return site.desired("web1", digest, 2).status_code

        with concurrent.futures.ThreadPoolExecutor(20) as pool:
            found = [future.result() for future in [pool.submit(wait) for _ in range(20)]]
        assert set(found) <= {304, 503}
        assert found.count(304) > 4
    finally:
        site.close()


def test_too_many_waiting_hosts_are_told_to_come_back(stage: Any) -> None:
    stage.reopen(**{"fleet.waiting_max": 0})
    stage.roll_out(stage.publish().number)
    site = Site(stage)
    try:
        reply = site.desired("web1", stage.digests()["web1"], 5)
        assert (503, "later") == (reply.status_code, reply.json()["retry"])
    finally:
        site.close()


def test_a_server_that_stops_lets_waiting_hosts_go(site: Site) -> None:
    stage = site.stage
    stage.roll_out(stage.publish().number)
    digest = stage.digests()["web1"]
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waits = pool.submit(site.desired, "web1", digest, 50)
        while not site.server.uvicorn.server_state.tasks:  # the request has come in
            threading.Event().wait(0.01)
        site.server.stop()
        assert waits.result(5).status_code == 304


def test_orders_come_over_http_and_only_as_json(site: Site) -> None:
    stage = site.stage
    template = stage.work.put_tree(stage.release).ref
    order = {"template": str(template), "author": "ada", "reason": "by http"}
    assert 400 == site.client.post("/fleet/versions", data=order).status_code  # a form of a foreign page
    made = site.client.post("/fleet/versions", json=order)
    assert (201, 1) == (made.status_code, made.json()["number"])
    started = site.client.post("/fleet/rollouts", json={"version": 1, "who": "ada", "plan": {"bake_s": 60}})
    assert (201, 3) == (started.status_code, started.json()["cohort"])
    for action, state in (("pause", "paused"), ("resume", "running"), ("abort", "aborted")):
        reply = site.client.post(f"/fleet/rollouts/1/{action}", json={"who": "ada", "why": "a test"})
        assert state == reply.json()["state"]
    assert 404 == site.client.post("/fleet/rollouts/1/explode", json={"who": "ada", "why": "x"}).status_code
    assert 400 == site.client.post("/fleet/rollouts", json={"version": 1, "who": "a", "plan": {"first": 7}}).status_code
    told = [row["what"] for row in site.client.get("/fleet/history").json()]
    assert "rollout 1 aborted" in told
    assert 3 == site.client.get("/fleet/state").json()["hosts"]
    assert "web1" == site.client.get("/fleet/about/web1").json()["host"]
    assert 3 == len(site.client.get("/fleet/hosts.json").json()["rows"])


def test_the_state_is_told_live(site: Site) -> None:
    stage = site.stage
    with site.client.stream("GET", "/fleet/events?hosts=1") as events:
        lines = events.iter_lines()
        assert "retry: 1000" == next(lines)
        stage.publish()
        for line in lines:
            if '"latest":1' in line:
                break


def test_a_stranger_needs_the_token_of_the_host(stage: Any) -> None:
    stage.roll_out(stage.publish().number)
    door = door_of(stage.work)

    class Connection:
        def __init__(self, path: str, token: str = "") -> None:
            self.scope = {"path": path, "headers": [(b"authorization", f"Bearer {token}".encode())] if token else []}

    token = token_of(stage.fleet.private_key, "web1")
    assert door(Connection("/fleet/hosts/web1", token))
    assert door(Connection("/fleet/hosts/web1/reports", token))
    assert not door(Connection("/fleet/hosts/web1"))
    assert not door(Connection("/fleet/hosts/web2", token))
    assert not door(Connection("/fleet/hosts/web1", token[:-1] + ("1" if token[-1] == "0" else "0")))
    assert not door(Connection("/fleet/hosts/web1", "no hexadecimal"))
    assert not door(Connection("/fleet/state", token))
    assert not door(Connection("/blobs/x", token))


def test_a_machine_with_its_token_comes_in_where_the_guard_lets_nobody(stage: Any) -> None:
    from boxwork.errors import Forbidden

    async def nobody(connection: Any) -> None:
        raise Forbidden("nobody comes in here")

    stage.roll_out(stage.publish().number)
    site = Site(stage, guard=nobody)
    try:
        token = token_of(stage.fleet.private_key, "web1")
        shown = {"authorization": f"Bearer {token}"}
        assert 200 == site.client.get("/fleet/hosts/web1", headers=shown).status_code
        assert 403 == site.client.get("/fleet/hosts/web2", headers=shown).status_code
        assert 403 == site.client.get("/fleet/state", headers=shown).status_code
        assert 403 == site.client.get("/fleet/hosts/web1").status_code
    finally:
        site.close()


def test_one_question_hands_reports_in_and_brings_the_document_with_its_blobs(site: Site) -> None:
    stage = site.stage
    stage.roll_out(stage.publish().number)
    reports = [{"host": "web1", "state": "alive", "at_ns": number} for number in (1, 2)]
    reply = site.client.post("/fleet/hosts/web1", params={"wait_s": 5}, json=reports)
    signed, blobs = protocol.read_parcel(reply.content)
    document = protocol.read_document(signed)
    assert ref_of(blobs[[str(ref_of(blob)) for blob in blobs].index(document.tree)]) == ref_of(
        stage.work.get(document.tree)
    )
    assert 2 == stage.fleet.mirror.status["web1"].report.at_ns
    again = site.client.post("/fleet/hosts/web1", params={"wait_s": 0, "digest": signed.digest}, json=[])
    assert (304, f'"{signed.digest}"') == (again.status_code, again.headers["etag"])
    params = {"tree": document.tree}
    assert [] == protocol.read_parcel(site.client.post("/fleet/hosts/web1", params=params).content)[1]


def test_a_question_with_reports_of_another_host_or_too_many_is_refused(site: Site) -> None:
    stage = site.stage
    stage.roll_out(stage.publish().number)
    address = "/fleet/hosts/web1"
    assert 400 == site.client.post(address, json=[{"host": "web2", "at_ns": 1}]).status_code
    assert 400 == site.client.post(address, json=[{"host": "web1"}] * (protocol.REPORTS_MAX + 1)).status_code
    assert 400 == site.client.post(address, content=b"{").status_code
    assert 400 == site.client.post(address, params={"tree": "../etc"}, json=[]).status_code
    assert 413 == site.client.post(address, content=b"[" * 600_000).status_code
    assert 0 == stage.fleet.mirror.status["web2"].report.at_ns


def test_a_report_that_cannot_be_written_is_said_at_once_and_not_after_the_wait(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = site.stage
    stage.roll_out(stage.publish().number)
    digest = site.answer("web1")

    def full(*_: object) -> None:
        raise errors.StorageError("no space left on the device")

    monkeypatch.setattr(stage.work, "commit_many", full)
    reply = site.client.post(
        "/fleet/hosts/web1", params={"wait_s": 25, "digest": digest}, json=[{"host": "web1"}], timeout=10
    )
    assert (errors.StorageError.status, "no space left on the device") == (reply.status_code, reply.json()["message"])
