"""A question that has to wait is held inside the server's protocol: the same answers, on the way of real agents."""

from __future__ import annotations

import concurrent.futures
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from boxwork import errors
from boxwork.packs.fleet import questions as module
from boxwork.packs.fleet import waiting
from boxwork.packs.fleet.admission import token_of
from boxwork.packs.fleet.agent_client import Client, Unreachable
from boxwork.packs.fleet.protocol import Report, read_document
from tests.packs.fleet.test_routes import Site


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)


class Fleet:
    """A site whose hosts have version 1, and what it holds the short way."""

    def __init__(self, stage: Any, monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
        stage.reopen(**{"fleet.source_poll_s": 0.05, "fleet.bake_s": 0})
        stage.roll_out(stage.publish().number)
        self.stage, self.site = stage, Site(stage, **options)
        self.clients: list[Client] = []
        self.held: list[module.Question] = []
        real = module.Question

        def counted(*arguments: Any) -> module.Question:
            self.held.append(real(*arguments))
            return self.held[-1]

        monkeypatch.setattr(module, "Question", counted)
        monkeypatch.setattr(module, "SHORT_S", 0.5)
        monkeypatch.setattr(waiting, "LOOK_S", 0.05)

    def close(self) -> None:
        for client in self.clients:
            client.close()
        self.site.close()

    def client(self, host: str, token: str = "") -> Client:
        self.clients.append(Client([self.site.url], host, token))
        return self.clients[-1]

    def host(self, host: str, token: str = "") -> tuple[Client, str, str]:
        """Its client, the digest of its document, and its tree."""
        client = self.client(host, token)
        signed, _ = client.ask("", 5)
        assert signed is not None
        return client, signed.digest, read_document(signed).tree


@pytest.fixture
def fleet(stage: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    made = Fleet(stage, monkeypatch)
    yield made
    made.close()


def test_a_host_that_waits_is_told_at_once_and_its_report_is_on_disk_by_then(fleet: Fleet) -> None:
    client, digest, tree = fleet.host("web1")
    said = Report(host="web1", position=1, release=1, state="applied", at_ns=7)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waits = pool.submit(client.ask, digest, 30, [said], tree)
        until(lambda: len(fleet.held) == 1)
        until(lambda: fleet.stage.fleet.mirror.status["web1"].report.at_ns == 7)
        fleet.stage.rows["web1"]["workers"] = "9"
        fleet.stage.save()
        signed, blobs = waits.result(10)
    assert signed is not None
    assert signed.digest == fleet.stage.fleet.desired("web1").digest != digest
    assert any(b"workers=9" in blob for blob in blobs.values())
    assert not any(b"red" in blob for blob in blobs.values()), "what it has does not travel again"
    assert 0 == len(fleet.stage.fleet._told.keys() - {"web0", "web1", "web2"})
    with concurrent.futures.ThreadPoolExecutor(1) as pool:  # the same connection, and again
        waits = pool.submit(client.ask, signed.digest, 30, [], tree)
        until(lambda: len(fleet.held) == 2)
        fleet.site.server.stop()
        assert (None, {}) == waits.result(5)


def test_a_wait_that_brings_no_news_ends_with_304_a_little_early(fleet: Fleet) -> None:
    client, digest, tree = fleet.host("web1")
    began = time.monotonic()
    assert (None, {}) == client.ask(digest, module.SHORT_S, [], tree)
    assert module.SHORT_S - 2 * waiting.LOOK_S <= time.monotonic() - began <= module.SHORT_S + 1
    assert 1 == len(fleet.held)


def test_a_host_that_hangs_up_waits_no_longer(fleet: Fleet) -> None:
    client, digest, tree = fleet.host("web1")
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waits = pool.submit(client.ask, digest, 30, [], tree)
        until(lambda: len(fleet.held) == 1)
        assert client._connection is not None
        client._connection.sock.shutdown(socket.SHUT_RDWR)
        until(lambda: fleet.held[0].line is None)
        until(lambda: len(fleet.held) == 2)  # an agent whose kept connection breaks asks again on a new one
        assert 1 == fleet.held[1].questions.waiting.count
        fleet.site.server.stop()
        assert (None, {}) == waits.result(5)


def test_a_host_whose_release_is_gone_while_it_waits_is_heard_by_the_long_way(fleet: Fleet) -> None:
    client, digest, tree = fleet.host("web1")
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waits = pool.submit(client.ask, digest, 3, [], tree)
        until(lambda: len(fleet.held) == 1)
        del fleet.stage.rows["web1"]
        fleet.stage.save()
        with pytest.raises(errors.NotFound, match="add its row to the source"):
            waits.result(15)


def test_a_report_that_cannot_be_written_is_said_at_once(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    client, digest, tree = fleet.host("web1")

    def full(*_: object) -> None:
        raise errors.StorageError("no space left on the device")

    monkeypatch.setattr(fleet.stage.work, "commit_many", full)
    began = time.monotonic()
    with pytest.raises(Unreachable, match="no space left on the device"):
        client.ask(digest, 40, [Report(host="web1")], tree)
    assert time.monotonic() - began < 10
    assert 1 == len(fleet.held)


def test_what_is_wrong_with_a_question_is_said_by_the_long_way(fleet: Fleet) -> None:
    client, digest, tree = fleet.host("web1")
    with pytest.raises(errors.BadInput, match="came to the address of 'web1'"):
        client.ask(digest, 30, [Report(host="web2")], tree)
    with pytest.raises(errors.BadInput, match="etc"):
        client.ask(digest, 30, [], "../etc")
    assert 0 == sum(question.line is not None for question in fleet.held)


def test_a_machine_with_its_token_waits_the_short_way_and_with_another_it_is_refused(
    stage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nobody(connection: Any) -> None:
        raise errors.Forbidden("nobody comes in here")

    fleet = Fleet(stage, monkeypatch, guard=nobody)
    try:
        client, digest, tree = fleet.host("web1", token_of(stage.fleet.private_key, "web1"))
        assert (None, {}) == client.ask(digest, module.SHORT_S, [], tree)
        assert 1 == len(fleet.held)
        for token in ("", token_of(stage.fleet.private_key, "web2")):
            with pytest.raises(errors.Forbidden):
                fleet.client("web1", token).ask(digest, 30, [], tree)
        assert 1 == len(fleet.held)
    finally:
        fleet.close()


def test_a_server_that_stops_lets_a_host_go(fleet: Fleet) -> None:
    client, digest, tree = fleet.host("web1")
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waits = pool.submit(client.ask, digest, 50, [], tree)
        until(lambda: len(fleet.held) == 1)
        fleet.site.server.stop()
        assert (None, {}) == waits.result(5)
