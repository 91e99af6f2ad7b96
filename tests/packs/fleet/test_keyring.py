"""The keys of documents: a second one, learnt from a document of the first, and the first one out of use."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest

from boxwork import errors
from boxwork.packs.fleet import protocol
from boxwork.packs.fleet.agent import Agent
from boxwork.packs.fleet.agent_settings import AgentSettings


class Line:
    """A client without a wire: what the fleet says now, or a document that a test puts there."""

    server = "the fleet"

    def __init__(self, stage: Any) -> None:
        self.stage = stage
        self.planted: protocol.Signed | None = None
        self.reports: list[protocol.Report] = []

    def ask(self, digest: str, wait_s: float, reports: Any = (), tree: str = "") -> tuple[Any, dict[Any, bytes]]:
        self.reports += reports
        signed = self.planted or self.stage.fleet.desired("web1")
        return (None if signed.digest == digest else signed), {}

    def report(self, report: protocol.Report) -> None:
        self.reports.append(report)

    def lot(self, refs: Any) -> dict[Any, bytes]:
        return {}

    def pack(self, have: str) -> dict[Any, bytes]:
        return {}

    def blob(self, ref: Any, bytes_max: int) -> Any:
        yield self.stage.fleet.blob("web1", ref)

    def next_server(self) -> None: ...

    def close(self) -> None: ...


def make_agent(stage: Any, line: Line, key: str, root: Path) -> Agent:
    settings = AgentSettings({"wait_s": 0}, environment={})
    agent = Agent(root, "web1", bytes.fromhex(key), line, settings)  # type: ignore[arg-type]
    agent.start()
    return agent


@pytest.fixture
def begun(stage: Any) -> Any:
    (stage.release / "bin/health").chmod(0o755)
    stage.roll_out(stage.publish().number)
    return stage


def test_a_host_learns_the_next_key_from_the_old_one_and_then_refuses_the_old_one(begun: Any, tmp_path: Path) -> None:
    stage, ring, line = begun, begun.fleet.keyring, Line(begun)
    [old] = ring.ring.keys
    agent = make_agent(stage, line, old, tmp_path / "host")
    agent.step()
    first = agent.ledger.read()
    new = ring.new(who="ada", why="the yearly change")
    signed = stage.fleet.desired("web1")
    for key in (old, new):
        assert protocol.verify(bytes.fromhex(key), signed).keys == (old, new)
    agent.step()
    assert [old, new] == agent.ledger.read().keys
    stage.answer()
    ring.retire(old[:12], who="ada", why="the yearly change")
    agent.step()
    assert [new] == agent.ledger.read().keys
    assert first.running == agent.ledger.read().running  # nothing of it concerned what the host runs
    desired = stage.desired_by("web1", new)
    forged = protocol.sign(ring.private(old), _later(desired))
    line.planted = forged
    agent.step()
    assert agent.ledger.read().position == desired.position
    assert "is not by the key" in agent.ledger.read().refused
    line.planted = protocol.sign(ring.private(new), _later(desired))
    agent.step()
    assert agent.ledger.read().position == desired.position + 1
    agent.close()


def _later(desired: protocol.Desired) -> protocol.Desired:
    import msgspec

    return msgspec.structs.replace(desired, position=desired.position + 1)


def test_what_was_learnt_outlives_the_agent_and_another_given_key_begins_anew(begun: Any, tmp_path: Path) -> None:
    stage, ring, line = begun, begun.fleet.keyring, Line(begun)
    [old] = ring.ring.keys
    agent = make_agent(stage, line, old, tmp_path / "host")
    agent.step()
    new = ring.new(who="ada", why="x")
    agent.step()
    agent.close()
    stage.answer()
    ring.retire(old, who="ada", why="x")
    agent = make_agent(stage, line, old, tmp_path / "host")
    agent.step()
    assert [new] == agent.ledger.read().keys
    agent.close()
    memory = agent.ledger.read()
    assert (bytes.fromhex(new),) == memory.believed(bytes.fromhex(old))
    assert (b"\1" * 32,) == memory.believed(b"\1" * 32)


def test_a_key_is_retired_only_when_every_host_knows_the_other_one(begun: Any) -> None:
    ring = begun.fleet.keyring
    [old] = ring.ring.keys
    with pytest.raises(errors.Refused, match="the only key"):
        ring.retire(old, who="ada", why="x")
    new = ring.new(who="ada", why="x")
    with pytest.raises(errors.Refused, match=r"3 hosts have not said .*web0, web1, web2"):
        ring.retire(old, who="ada", why="x")
    with pytest.raises(errors.Refused, match="retire"):
        ring.new(who="ada", why="a third")
    with pytest.raises(errors.NotFound, match="begin of 0 keys"):
        ring.retire("feed", who="ada", why="x")
    assert (old, new) == ring.ring.keys
    assert old == ring.retire(old, who="ada", why="it was copied", anyway=True)
    assert [(new, "in use"), (old, "retired")] == [(row["key"], row["state"]) for row in ring.about()]
    assert ("ada", "it was copied") == tuple(next(iter(begun.fleet.history()))[name] for name in ("who", "why"))


def test_keys_and_documents_are_the_same_after_a_restart(begun: Any) -> None:
    ring = begun.fleet.keyring
    new = ring.new(who="ada", why="x")
    files = sorted((Path(begun.work.node.root) / "keys").glob("fleet*.ed25519"))
    assert [0o600, 0o600] == [stat.S_IMODE(file.stat().st_mode) for file in files]
    before = begun.digests()
    begun.reopen()
    assert before == begun.digests()
    assert new == begun.fleet.keyring.ring.keys[-1]
    assert 1 == len(begun.fleet.desired("web1").also)


def test_a_document_of_one_key_has_the_bytes_it_always_had(begun: Any) -> None:
    signed = begun.fleet.desired("web1")
    assert '"keys"' not in signed.document
    assert () == signed.also
