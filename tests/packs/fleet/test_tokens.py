"""Tokens of hosts when the key is changed: the old ones are good for a while, and hosts fetch the next ones."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from boxwork import errors
from boxwork.packs.fleet import protocol
from boxwork.packs.fleet.admission import door_of, is_by, token_of
from boxwork.packs.fleet.agent import Agent
from boxwork.packs.fleet.agent_client import Client
from boxwork.packs.fleet.agent_settings import AgentSettings
from boxwork.packs.fleet.agent_token import Token
from tests.packs.fleet.test_routes import Site


async def nobody(connection: Any) -> None:
    raise errors.Forbidden("nobody comes in here")


@pytest.fixture
def begun(stage: Any) -> Any:
    (stage.release / "bin/health").chmod(0o755)
    stage.roll_out(stage.publish().number)
    return stage


def opens(work: Any) -> Callable[[str], bool]:
    """Does this token of web1 open its address."""
    door = door_of(work)

    def ask(token: str) -> bool:
        headers = [(b"authorization", f"Bearer {token}".encode())]
        return door(SimpleNamespace(scope={"path": "/fleet/hosts/web1", "headers": headers}))

    return ask


def test_a_retired_keys_tokens_are_good_until_the_grace_is_over(begun: Any) -> None:
    ring, door = begun.fleet.keyring, opens(begun.work)
    [old] = ring.ring.keys
    first = token_of(ring.newest, "web1")
    assert door(first)
    new = ring.new(who="ada", why="x")
    second = token_of(ring.newest, "web1")
    assert (True, True) == (is_by(bytes.fromhex(new), "web1", second), not is_by(bytes.fromhex(old), "web1", second))
    assert (True, True) == (door(first), door(second))
    begun.answer()
    ring.retire(old, who="ada", why="x", grace_s=100)
    begun.advance(99)
    assert (True, True) == (door(first), door(second))
    begun.advance(2)
    assert (False, True) == (door(first), door(second))
    begun.reopen()
    assert (False, True) == (opens(begun.work)(first), opens(begun.work)(second))


def test_the_grace_is_a_setting_and_ends_at_once_for_a_key_that_was_stolen(begun: Any) -> None:
    begun.reopen(**{"fleet.token_grace_s": 1000.0})
    ring, door = begun.fleet.keyring, opens(begun.work)
    [old] = ring.ring.keys
    first = token_of(ring.newest, "web1")
    ring.new(who="ada", why="x")
    begun.answer()
    ring.retire(old, who="ada", why="x")
    begun.advance(999)
    assert door(first)
    before = begun.digests()
    ring.retire(old[:9], who="ada", why="it was stolen", grace_s=0)
    assert not door(first)
    assert before == begun.digests(), "no host is told anything"
    assert "it was stolen" == next(iter(begun.fleet.history()))["why"]
    with pytest.raises(errors.BadInput, match="a year"):
        ring.retire(old, who="ada", why="x", grace_s=1e9)


def test_a_host_fetches_its_next_token_by_itself_and_the_old_one_is_refused(begun: Any, tmp_path: Path) -> None:
    ring = begun.fleet.keyring
    [old] = ring.ring.keys
    first = token_of(ring.newest, "web1")
    site = Site(begun, guard=nobody)
    try:
        root, said = tmp_path / "host", []
        client = Client([site.url], "web1", first)
        agent = Agent(
            root, "web1", bytes.fromhex(old), client, AgentSettings({"wait_s": 0}, environment={}),
            token=Token(root, "web1", first), log=lambda level, message: said.append(message),
        )  # fmt: skip
        agent.start()
        agent.step()
        assert not (root / "token").exists(), "its token is by the newest key"
        new = ring.new(who="ada", why="x")
        agent.step()  # learns the key
        agent.step()
        kept = (root / "token").read_text().strip()
        assert is_by(bytes.fromhex(new), "web1", kept)
        assert 0o600 == stat.S_IMODE((root / "token").stat().st_mode)
        assert any("has a token by the new one" in line for line in said)
        begun.answer()
        ring.retire(old, who="ada", why="x", grace_s=0)
        agent.step()
        assert [new] == agent.ledger.read().keys
        assert 403 == site.client.get("/fleet/hosts/web1", headers={"authorization": f"Bearer {first}"}).status_code
        agent.close()
        # A restarted agent is given the old token file, and shows what it fetched.
        client = Client([site.url], "web1", first)
        again = Agent(
            root, "web1", bytes.fromhex(old), client, AgentSettings({"wait_s": 0}, environment={}),
            token=Token(root, "web1", first), log=lambda level, message: said.append(message),
        )  # fmt: skip
        again.start()
        said.clear()
        again.step()
        assert [] == said
        again.close()
    finally:
        site.close()


class Line:
    def __init__(self, answer: Callable[[], str]) -> None:
        self.answer, self.shown, self.asked = answer, "", 0

    def show(self, token: str) -> None:
        self.shown = token

    def token(self) -> str:
        self.asked += 1
        return self.answer()


def test_a_token_by_another_key_is_not_taken_and_asked_for_again(tmp_path: Path) -> None:
    old, new, evil = protocol.new_key(), protocol.new_key(), protocol.new_key()
    keys = [protocol.public_key(old), protocol.public_key(new)]
    given = token_of(old, "web1")
    line = Line(lambda: token_of(evil, "web1"))
    token = Token(tmp_path, "web1", given)
    with pytest.raises(errors.Forbidden, match="not by the key"):
        token.keep(keys, line)
    assert (given, False) == (line.shown, (tmp_path / "token").exists())
    line.answer = lambda: token_of(new, "web1")
    assert token.keep(keys, line)
    assert not token.keep(keys, line)
    assert (2, token_of(new, "web1")) == (line.asked, line.shown)


def test_a_host_of_the_servers_machine_needs_no_token(tmp_path: Path) -> None:
    line = Line(lambda: "")
    assert not Token(tmp_path, "web1", "").keep([protocol.public_key(protocol.new_key())], line)
    assert (0, "") == (line.asked, line.shown)


def test_a_person_gives_a_token_by_a_newer_key_than_the_one_that_was_fetched(tmp_path: Path) -> None:
    old, new = protocol.new_key(), protocol.new_key()
    (tmp_path / "token").write_text(token_of(old, "web1"))
    line = Line(lambda: "")
    keys = [protocol.public_key(old), protocol.public_key(new)]
    assert not Token(tmp_path, "web1", token_of(new, "web1")).keep(keys, line)
    assert token_of(new, "web1") == line.shown
