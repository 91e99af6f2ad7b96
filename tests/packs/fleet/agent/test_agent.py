"""A host becomes what its server says, and says how that went."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import msgspec

from boxwork.packs.fleet.agent import Agent
from boxwork.packs.fleet.protocol import Hooks
from tests.packs.fleet.agent._server import RULES, Server, logging_hooks, shell

MakeAgent = Callable[..., Agent]


def test_a_host_becomes_what_its_server_says(server: Server, make_agent: MakeAgent, root: Path) -> None:
    desired = server.say(server.desired({"etc/app.conf": b"port = 80\n", "bin/run": b"#!/bin/sh\n"}))
    agent = make_agent()
    agent.start()
    agent.step()
    assert b"port = 80\n" == (root / "current/etc/app.conf").read_bytes()
    [report] = server.reports
    assert ("applied", desired.position, desired.tree, True) == (
        report.state,
        report.position,
        report.tree,
        report.healthy,
    )


def test_only_the_blobs_that_are_lacking_come(server: Server, make_agent: MakeAgent) -> None:
    server.say(server.desired({"a": b"a" * 100, "deep/b": b"b" * 100}))
    agent = make_agent()
    agent.start()
    agent.step()
    assert 4 == len(server.blobs_sent)
    server.blobs_sent.clear()
    server.say(server.desired({"a": b"changed", "deep/b": b"b" * 100}))
    agent.step()
    assert 2 == len(server.blobs_sent), "the tree at the top and one file"


def test_plain_config_reloads_and_the_drain_that_was_not_needed_is_counted(
    server: Server, make_agent: MakeAgent, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    hooks = msgspec.structs.replace(logging_hooks(log), drain=shell(f"sleep 0.2; echo drain >> {log}"))
    agent = make_agent()
    agent.start()

    def become(files: dict[str, bytes | str], packages: tuple[str, ...]) -> list[str]:
        log.unlink(missing_ok=True)
        server.say(server.desired(files, effects=RULES, hooks=hooks, packages=packages))
        agent.step()
        return log.read_text().splitlines() if log.exists() else []

    first = {"etc/app.conf": b"1", "etc/kernel.conf": b"1", "readme": b"1"}
    assert ["packages nginx", "resume"] == become(first, ("nginx",)), "nothing runs yet, so nothing is drained"
    assert [] == become({**first, "readme": b"2"}, ("nginx",))
    drained = ["drain", "packages nginx", "curl", "resume"]
    assert drained == become(first, ("nginx", "curl"))
    assert ["reload"] == become({**first, "etc/app.conf": b"2"}, ("nginx", "curl"))
    assert ["drain", "packages nginx", "curl", "resume"] == become(
        {**first, "etc/kernel.conf": b"2"}, ("nginx", "curl")
    )
    effects = [report.effect for report in server.reports]
    assert ["drain", "none", "drain", "reload", "drain"] == effects
    after_drain, reloaded = server.reports[2], server.reports[3]
    assert after_drain.downtime_ms >= 200
    assert 0 == reloaded.downtime_ms
    assert after_drain.downtime_ms == reloaded.saved_ms, "the last drain says what one would have cost"
    assert 2 == server.reports[-1].drains
    assert 2 == server.reports[-1].drains_avoided


def test_a_version_that_is_not_healthy_is_left_again(
    server: Server, make_agent: MakeAgent, root: Path, tmp_path: Path
) -> None:
    hooks = logging_hooks(tmp_path / "log", health="grep -q good etc/app.conf || { echo it is bad; exit 3; }")
    server.say(server.desired({"etc/app.conf": b"good"}, effects=RULES, hooks=hooks))
    agent = make_agent()
    agent.start()
    agent.step()
    good = server.reports[-1]
    bad = server.say(server.desired({"etc/app.conf": b"broken"}, effects=RULES, hooks=hooks))
    agent.step()
    report = server.reports[-1]
    assert b"good" == (root / "current/etc/app.conf").read_bytes()
    assert ("failed", good.position, bad.position) == (report.state, report.position, report.wanted_position)
    assert report.healthy
    assert "it is bad" in report.reason
    assert ["packages ", "resume", "reload", "reload"] == (tmp_path / "log").read_text().splitlines()
    agent.step()
    assert 2 == len(server.reports), "a version that failed is not tried again"
    server.say(server.desired({"etc/app.conf": b"good again"}, effects=RULES, hooks=hooks))
    agent.step()
    assert b"good again" == (root / "current/etc/app.conf").read_bytes()


def test_a_first_version_that_is_not_healthy_leaves_none(server: Server, make_agent: MakeAgent, root: Path) -> None:
    server.say(server.desired({"a": b"1"}, hooks=Hooks(health=shell("exit 1", 0.3))))
    agent = make_agent()
    agent.start()
    agent.step()
    assert not (root / "current").is_symlink()
    [report] = server.reports
    assert ("failed", False, 0) == (report.state, report.healthy, report.position)


def test_a_drain_that_does_not_end_is_over_at_its_deadline_and_one_that_fails_stops_the_change(
    server: Server, make_agent: MakeAgent, root: Path
) -> None:
    agent = make_agent()
    agent.start()
    for drain, packages, expected in (("true", (), b"0"), ("sleep 60", ("a",), b"1"), ("exit 1", ("b",), b"2")):
        hooks = Hooks(drain=shell(drain, 0.3))
        server.say(server.desired({"a": expected}, packages=packages, hooks=hooks))
        agent.step()
        assert expected == (root / "current/a").read_bytes(), "the drain is that of the version that runs"
    server.say(server.desired({"a": b"3"}, packages=("c",)))
    agent.step()
    assert b"2" == (root / "current/a").read_bytes()
    assert "could not be drained" in server.reports[-1].reason


def test_a_hooks_children_end_with_it(server: Server, make_agent: MakeAgent, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    hooks = Hooks(resume=shell(f"sleep 300 & echo $! > {pid}; wait", 0.5))
    server.say(server.desired({"a": b"1"}, hooks=hooks))
    agent = make_agent()
    agent.start()
    agent.step()
    assert "did not end within" in server.reports[0].reason
    status = Path(f"/proc/{pid.read_text().strip()}/status")
    assert not status.exists() or "zombie" in status.read_text()


def test_a_server_that_waits_is_answered_at_once_when_something_changes(server: Server, make_agent: MakeAgent) -> None:
    server.say(server.desired({"a": b"1"}))
    agent = make_agent()
    agent.start()
    agent.step()
    assert 0.0 == agent.step(), "304: the next question follows at once"
    assert server.asked[-1] == server.signed.digest  # type: ignore[union-attr]


def test_memory_is_one_small_file_that_people_can_read(server: Server, make_agent: MakeAgent, root: Path) -> None:
    server.say(server.desired({"a": b"1"}))
    agent = make_agent()
    agent.start()
    agent.step()
    memory = json.loads((root / "memory.json").read_text())
    assert memory["running"] in memory["versions"]
    assert 0o600 == (root / "memory.json").stat().st_mode & 0o777
    assert (root / "memory.json").stat().st_size < 4096
