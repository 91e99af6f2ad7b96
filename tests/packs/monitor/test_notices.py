"""Web hooks to a real receiver: signed, once for each word, tried again until they arrive or are given up."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import boxwork
from tests.packs.monitor.services import Service, free_port, service, until

BOOK = """
[defaults]
every_s = 0.5
attempts = 1
[tickets]
gather_s = 0.3
calm_s = 0.3
reopen_s = 0
storm_checks = 3
[notify.hook]
url = "{url}/hook"
secret_file = "{secret}"
give_up_s = {give_up_s}
[notify.pager]
command = ["/bin/sh", "-c", "cat >> {paged}; echo >> {paged}"]
""" + "".join(f'[checks.web-{n}]\nhttp = "{{url}}/web-{n}"\n' for n in range(8))


@pytest.fixture
def receiver() -> Iterator[Service]:
    with service() as made:
        yield made


class Place:
    def __init__(self, root: Path, receiver: Service, hook: str = "", give_up_s: float = 60) -> None:
        self.receiver, self.paged = receiver, root / "paged"
        secret = root / "secret"
        secret.write_text("open sesame\n", "utf-8")
        text = BOOK.format(url=receiver.url, secret=secret, paged=self.paged, give_up_s=give_up_s)
        (root / "monitor.toml").write_text(
            text.replace(f"{receiver.url}/hook", hook or f"{receiver.url}/hook"), "utf-8"
        )
        self.root = root
        self.open()

    def open(self) -> None:
        settings = {"monitor.book": str(self.root / "monitor.toml"), "monitor.url": "https://node.example.org/"}
        self.work = boxwork.open(self.root / "data", settings=settings)
        self.monitor: Any = self.work.part("monitor")
        self.monitor.start()

    def break_all(self) -> None:
        self.receiver.paths |= {f"/web-{n}": (500, b"") for n in range(8)}

    def mend_all(self) -> None:
        for n in range(8):
            self.receiver.paths.pop(f"/web-{n}", None)

    @property
    def heard(self) -> list[tuple[str, int]]:
        told = [json.loads(body) for headers, body in self.receiver.posted if headers["status"] == "200"]
        return [(one["event"], one["incident"]["checks"]) for one in told]


def test_a_storm_is_told_once_when_it_begins_and_once_when_it_ends(tmp_path: Path, receiver: Service) -> None:
    place = Place(tmp_path, receiver)
    with place.work:
        place.break_all()
        until(lambda: ("opened" in [word for word, _ in place.heard]) and len(place.monitor.mirror.going()[0].bad) == 8)
        place.mend_all()
        until(lambda: "resolved" in [word for word, _ in place.heard])
        until(lambda: not place.monitor.mirror.waiting())
        opened, resolved = place.heard
        assert "opened" == opened[0]
        assert ("resolved", 8) == resolved
        until(lambda: len(place.paged.read_text("utf-8").splitlines()) >= 2)
        assert ["opened", "resolved"] == [
            json.loads(line)["event"] for line in place.paged.read_text("utf-8").splitlines()
        ]
        headers, body = receiver.posted[0]
        stamp, seal = (part.partition("=")[2] for part in headers["boxwork-signature"].split(","))
        assert hmac.new(b"open sesame", f"{stamp}.".encode() + body, hashlib.sha256).hexdigest() == seal
        document = json.loads(body)
        assert headers["idempotency-key"] == document["id"]
        assert "https://node.example.org/monitor/incident/1" == document["incident"]["url"]
        assert 2 == len({headers["idempotency-key"] for headers, _ in receiver.posted})
        assert "hook: opened" in [one.text for one in place.monitor.mirror.incident(1).entries if one.what == "told"]


def test_a_receiver_that_is_away_is_asked_again_also_by_the_next_process(tmp_path: Path, receiver: Service) -> None:
    receiver.paths["/hook"] = (503, b"not now")
    place = Place(tmp_path, receiver)
    with place.work:
        receiver.paths["/web-1"] = (500, b"")
        until(lambda: len(receiver.posted) >= 2)
        assert [] == place.heard
    tries = len(receiver.posted)
    place.open()
    with place.work:
        receiver.paths.pop("/hook")
        until(lambda: place.heard)
        assert [("opened", 1)] == place.heard
        assert 1 == len({headers["idempotency-key"] for headers, _ in receiver.posted})
        assert len(receiver.posted) > tries
        until(lambda: not place.monitor.mirror.waiting())


def test_it_is_given_up_in_the_end_and_the_timeline_says_why(tmp_path: Path, receiver: Service) -> None:
    port = free_port()
    place = Place(tmp_path, receiver, hook=f"http://127.0.0.1:{port}/", give_up_s=1)
    with place.work:
        receiver.paths["/web-1"] = (500, b"")
        found = until(
            lambda: [
                one.text
                for incident in place.monitor.mirror.going()
                for one in incident.entries
                if one.what == "not told"
            ]
        )
        assert found[0].startswith("hook: opened was given up after ")
        assert found[0].endswith(f"tries: 127.0.0.1:{port}: connection refused")
