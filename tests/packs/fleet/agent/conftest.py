"""A lying server, and agents that ask it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from boxwork import errors
from boxwork.packs.fleet.agent import Agent
from boxwork.packs.fleet.agent_client import Client
from boxwork.packs.fleet.agent_settings import AgentSettings
from tests.packs.fleet.agent._server import Server


class Stepping(Agent):
    """Its step ends with what the next question would take along, so that a test need not wait for that one."""

    def step(self) -> float:
        pause_s = super().step()
        with contextlib.suppress(errors.BoxworkError):
            self.deliver()
        return pause_s


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "server").mkdir()
    one = Server(tmp_path / "server")
    yield one
    one.close()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "host"


@pytest.fixture
def make_agent(server: Server, root: Path) -> Iterator[Callable[..., Agent]]:
    made: list[Agent] = []

    def make(servers: list[str] | None = None, settings: dict[str, object] | None = None, **seams: Any) -> Agent:
        client = Client(servers or [server.url], "web1")
        values = AgentSettings({"wait_s": 0.05, **(settings or {})}, environment={})
        place = seams.pop("root", root)
        key = seams.pop("key", server.key)
        agent = Stepping(place, "web1", key, client, values, **seams)
        made.append(agent)
        return agent

    yield make
    for agent in made:
        agent.close()
