"""What differs on a host is found, told apart by whether somebody meant it, and undone or left as wanted."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from boxwork import errors, sweep
from boxwork.packs.fleet.agent import Agent
from boxwork.packs.fleet.agent_hand import Hand
from boxwork.packs.fleet.protocol import Hooks
from boxwork.testing.clock import FakeClock
from tests.packs.fleet.agent._server import RULES, Server, logging_hooks

MakeAgent = Callable[..., Agent]
FILES: dict[str, bytes | str] = {"etc/app.conf": b"port = 80\n", "etc/other.conf": b"x", "link": "etc/app.conf"}


def settled(server: Server, agent: Agent, hooks: Hooks | None = None) -> Agent:
    server.say(server.desired(FILES, effects=RULES, hooks=hooks or Hooks()))
    agent.start()
    agent.step()
    assert "applied" == server.reports[-1].state
    return agent


def seen(agent: Agent) -> set[tuple[str, str, str]]:
    return {(drift.path, drift.kind, drift.intent) for drift in agent.look()}


def test_every_way_in_which_a_host_can_differ_is_found(server: Server, make_agent: MakeAgent, root: Path) -> None:
    agent = settled(server, make_agent())
    assert set() == seen(agent)
    etc = root / "current/etc"
    (etc / "app.conf").write_bytes(b"port = 81\n")
    (etc / "other.conf").chmod(0o600)
    (etc / "new.conf").write_bytes(b"n")
    (root / "current/link").unlink()
    expected = {("etc/app.conf", "changed"), ("etc/other.conf", "mode"), ("etc/new.conf", "added"), ("link", "removed")}
    assert expected == {(path, kind) for path, kind, _ in seen(agent)}
    agent.deliver()
    report = server.reports[-1]
    assert ("drifted", 4) == (report.state, report.drift_count)
    agent.look()
    agent.deliver()
    assert report == server.reports[-1], "what is known is not told again"


def test_a_file_of_the_same_size_and_time_is_found_too(server: Server, make_agent: MakeAgent, root: Path) -> None:
    agent = settled(server, make_agent())
    agent.look()
    path = root / "current/etc/app.conf"
    before = path.stat()
    path.write_bytes(b"port = 99\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert {("etc/app.conf", "changed", "accidental")} == seen(agent)


def test_accidental_drift_is_reverted_where_that_is_wanted_and_what_runs_is_told(
    server: Server, make_agent: MakeAgent, root: Path, tmp_path: Path
) -> None:
    agent = settled(server, make_agent(settings={"drift_action": "revert"}), logging_hooks(tmp_path / "log"))
    (root / "current/etc/app.conf").write_bytes(b"broken")
    shutil.rmtree(root / "current/etc")
    agent.look()
    assert b"port = 80\n" == (root / "current/etc/app.conf").read_bytes()
    assert set() == seen(agent)
    agent.deliver()
    assert any("reverted: etc" in report.reason for report in server.reports)
    assert "reload" == (tmp_path / "log").read_text().splitlines()[-1]


@pytest.mark.parametrize("game", ["version removed", "current elsewhere", "current gone", "file is a link", "a pipe"])
def test_a_host_that_was_torn_apart_is_put_together(
    server: Server, make_agent: MakeAgent, root: Path, tmp_path: Path, game: str
) -> None:
    agent = settled(server, make_agent(settings={"drift_action": "revert"}))
    version = (root / "current").resolve()
    outside = tmp_path / "outside"
    outside.write_bytes(b"secret of somebody")
    if game == "version removed":
        shutil.rmtree(version)
    elif game == "current elsewhere":
        (root / "current").unlink()
        (root / "current").symlink_to(tmp_path)
    elif game == "current gone":
        (root / "current").unlink()
    elif game == "file is a link":
        (version / "etc/app.conf").unlink()
        (version / "etc/app.conf").symlink_to(outside)
    else:
        (version / "etc/app.conf").unlink()
        os.mkfifo(version / "etc/app.conf")
    assert seen(agent)
    assert set() == seen(agent)
    assert b"port = 80\n" == (root / "current/etc/app.conf").read_bytes()
    assert b"secret of somebody" == outside.read_bytes()


def test_an_edit_session_is_left_alone_until_it_ends(server: Server, make_agent: MakeAgent, root: Path) -> None:
    clock = FakeClock()
    agent = settled(server, make_agent(settings={"drift_action": "revert"}, now=clock))
    Hand(root, clock, agent.content).edit(30)
    (root / "current/etc/app.conf").write_bytes(b"port = 8080\n")
    assert {("etc/app.conf", "changed", "editing")} == seen(agent)
    clock.advance(31 * 60 * 10**9)
    assert {("etc/app.conf", "changed", "accidental")} == seen(agent)
    assert b"port = 80\n" == (root / "current/etc/app.conf").read_bytes()


def test_what_is_accepted_stays_and_what_comes_after_it_does_not(
    server: Server, make_agent: MakeAgent, root: Path
) -> None:
    agent = settled(server, make_agent(settings={"drift_action": "revert"}))
    hand = Hand(root, content=agent.content)
    hand.edit(30)
    (root / "current/etc/app.conf").write_bytes(b"port = 8080\n")
    hand.accept()
    assert {("etc/app.conf", "changed", "accepted")} == seen(agent)
    (root / "current/etc/other.conf").write_bytes(b"slip")
    agent.look()
    assert b"x" == (root / "current/etc/other.conf").read_bytes()
    assert b"port = 8080\n" == (root / "current/etc/app.conf").read_bytes()
    server.say(server.desired({"etc/app.conf": b"port = 90\n"}))
    agent.step()
    assert set() == seen(agent), "the next version ends what was accepted"
    assert b"port = 90\n" == (root / "current/etc/app.conf").read_bytes()


def test_an_edit_session_has_a_limit(server: Server, make_agent: MakeAgent, root: Path) -> None:
    settled(server, make_agent())
    with pytest.raises(errors.BadInput, match="give 0 to 1440"):
        Hand(root).edit(100_000)


def test_drift_that_was_swept_from_the_store_is_still_found(server: Server, make_agent: MakeAgent, root: Path) -> None:
    # Far from the files' own times, so that the stat index believes them.
    clock = FakeClock(4_000_000_000 * 10**9)
    agent = settled(server, make_agent(now=clock))
    (root / "current/etc/app.conf").write_bytes(b"port = 81\n")
    assert {("etc/app.conf", "changed", "accidental")} == seen(agent)
    clock.advance(30 * 86_400 * 10**9)
    assert sweep(agent.content, grace_s=86_400).deleted
    assert {("etc/app.conf", "changed", "accidental")} == seen(agent)


def test_a_look_costs_what_differs(server: Server, make_agent: MakeAgent, root: Path) -> None:
    """Files that did not move are not read: one that cannot be opened is still known."""
    agent = settled(server, make_agent())
    agent.look()
    reads = []
    opened = os.open

    def watch(path: object, *arguments: object, **options: object) -> int:
        if path in ("app.conf", "other.conf"):
            reads.append(path)
        return opened(path, *arguments, **options)  # type: ignore[arg-type]

    (root / "current/etc/other.conf").write_bytes(b"y")
    os.open = watch  # type: ignore[assignment]
    try:
        assert {("etc/other.conf", "changed", "accidental")} == seen(agent)
    finally:
        os.open = opened
    assert "app.conf" not in reads
