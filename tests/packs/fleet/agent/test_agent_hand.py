"""What a person does on the host itself: without the network, without the agent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from boxwork import errors
from boxwork.packs.fleet.agent import Agent
from boxwork.packs.fleet.agent_hand import Hand
from boxwork.packs.fleet.protocol import Hooks
from tests.packs.fleet.agent._server import RULES, Server, logging_hooks, shell

MakeAgent = Callable[..., Agent]


@pytest.fixture
def three(server: Server, make_agent: MakeAgent, tmp_path: Path) -> Agent:
    agent = make_agent()
    agent.start()
    for number in (1, 2, 3):
        hooks = logging_hooks(tmp_path / "log")
        server.say(server.desired({"etc/app.conf": b"%d" % number}, effects=RULES, hooks=hooks))
        agent.step()
    return agent


def test_any_earlier_release_runs_again_without_the_network(
    server: Server, three: Agent, root: Path, tmp_path: Path
) -> None:
    asked = len(server.asked)
    (tmp_path / "log").unlink()
    report = Hand(root, content=three.content).rollback(1)
    assert b"1" == (root / "current/etc/app.conf").read_bytes()
    assert ("applied", 1, "reload") == (report.state, report.release, report.effect)
    assert ["reload"] == (tmp_path / "log").read_text().splitlines()
    assert asked == len(server.asked)
    three.step()
    assert b"1" == (root / "current/etc/app.conf").read_bytes(), "it holds while the server says nothing new"
    assert "rolled back on the host by" in server.reports[-1].reason
    server.say(server.desired({"etc/app.conf": b"4"}))
    three.step()
    assert b"4" == (root / "current/etc/app.conf").read_bytes()


def test_the_switch_takes_milliseconds(three: Agent, root: Path) -> None:
    hand = Hand(root, content=three.content)
    took = sorted(hand.rollback(release).switch_ms for release in (1, 2, 3, 1, 2, 3, 1))
    assert took[3] < 50, took  # a rename and a sync of a directory; a busy disk is forgiven a lot


def test_a_release_that_is_not_here_is_refused_with_those_that_are(three: Agent, root: Path) -> None:
    with pytest.raises(errors.NotFound, match=r"there are: \[1, 2, 3\]"):
        Hand(root, content=three.content).rollback(17)


def test_a_release_that_was_tampered_with_on_the_disk_is_not_gone_back_to(three: Agent, root: Path) -> None:
    [old] = [version for version in Hand(root, content=three.content).versions() if version.release == 1]
    (root / "versions" / old.name / "etc/app.conf").write_bytes(b"evil")
    with pytest.raises(errors.BlobCorrupt, match=r"etc/app\.conf differ"):
        Hand(root, content=three.content).rollback(1)
    assert b"3" == (root / "current/etc/app.conf").read_bytes()


def test_a_rollback_to_a_version_that_is_not_healthy_any_more_goes_back_too(
    server: Server, make_agent: MakeAgent, root: Path, tmp_path: Path
) -> None:
    agent = make_agent()
    agent.start()
    mark = tmp_path / "outside-is-fine"
    mark.touch()
    server.say(server.desired({"a": b"1"}, hooks=Hooks(health=shell(f"test -e {mark}", 0.3))))
    agent.step()
    server.say(server.desired({"a": b"2"}))
    agent.step()
    mark.unlink()
    report = Hand(root, content=agent.content).rollback(1)
    assert "failed" == report.state
    assert b"2" == (root / "current/a").read_bytes()


def test_old_versions_go_and_the_newest_stay(server: Server, make_agent: MakeAgent, root: Path) -> None:
    agent = make_agent(settings={"versions_max": 3})
    agent.start()
    for number in range(6):
        server.say(server.desired({"a": b"%d" % number}))
        agent.step()
    assert [6, 5, 4] == [version.release for version in Hand(root, content=agent.content).versions()]
    assert 3 == len(list((root / "versions").iterdir()))


def test_status_says_what_runs_and_what_was_saved(three: Agent, root: Path) -> None:
    found = Hand(root, content=three.content).status()
    assert ("web1", 3, 0) == (found["host"], found["release"], found["drift"])
    assert 2 == found["drains_avoided"]


def test_a_directory_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(errors.NotFound, match="is no agent's root"):
        Hand(tmp_path)
